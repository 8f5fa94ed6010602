/// Every test that needs no server: `dart run test/all.dart`, or with `--packages=` where there is no pub.
import 'arrow_test.dart' as arrow;
import 'links_test.dart' as links;
import 'rules_test.dart' as rules;
import 'runner.dart';
import 'web_test.dart' as web;
import 'wire_test.dart' as wire;

Future<void> main() async {
  await run({...wire.groups, ...arrow.groups, ...rules.groups, ...links.groups, ...web.groups});
  end();
}
