/// Every test that needs no server: `dart run test/all.dart`, or with `--packages=` where there is no pub.
import 'runner.dart';
import 'wire_test.dart' as wire;

Future<void> main() async {
  await run(wire.groups);
  end();
}
