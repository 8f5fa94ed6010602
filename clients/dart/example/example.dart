/// The README's program, with a file beside it: `dart run example/example.dart [FILE]`.
import 'dart:io';

import 'package:natsbridge/natsbridge.dart';

Future<void> main(List<String> arguments) async {
  final bridge = await Bridge.connect(sender_name: 'example');
  final heard = bridge.subscribe('lab.results', leave_links: true).first;
  await bridge.send('lab.results', [
    const Payload('note', 'run 7', 'text'),
    Payload('readings', [
      {'time': DateTime.utc(2026, 5, 13), 'volts': 0.5},
      {'time': DateTime.utc(2026, 5, 14), 'volts': null},
    ], 'arrowtable'),
    if (arguments.isNotEmpty) Payload('file', await fileSource(arguments.first), 'binary'),
  ]);
  for (final payload in (await heard).payloads) {
    final data = payload.data;
    var shown = '$data';
    if (data is List<int>) shown = '${data.length} bytes';
    if (data is RemotePayload) shown = 'saved as ${await data.save('${Directory.systemTemp.path}/')}';
    print('${payload.dataname} (${payload.payload_type}): $shown');
  }
  await bridge.drain();
}
