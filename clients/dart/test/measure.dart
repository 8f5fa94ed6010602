/// What things cost: `measure.dart up|down|table`. `up` sends 200 MB by link and prints its message, `down` takes one from standard
/// input, `table` writes and reads 100,000 rows. Each prints its time and its peak of memory on standard error.
import 'dart:convert';
import 'dart:io';
import 'dart:typed_data';

import 'package:natsbridge/natsbridge.dart';
import 'package:natsbridge/src/arrow_io.dart';

const megabytes = 200;

Future<void> main(List<String> arguments) async {
  final before = ProcessInfo.maxRss;
  final watch = Stopwatch()..start();
  var said = '';
  switch (arguments.first) {
    case 'up':
      final piece = Uint8List(65536);
      // A fixed length, so that nothing has to be made first.
      final source = ByteSource(megabytes * 1000000, () async* {
        for (var left = megabytes * 1000000; left > 0; left -= piece.length) {
          yield left < piece.length ? Uint8List(left) : piece;
        }
      });
      final sent = await smartsend('lab.film', [Payload('film', source, 'video')]);
      stdout.writeln(sent.json);
      said = '$megabytes MB up';
      break;
    case 'down':
      final message = await stdin.transform(utf8.decoder).join();
      final received = await smartreceive(message.trim(), leave_links: true);
      final path = await (received.payloads.first.data as RemotePayload).save('${Directory.systemTemp.path}/');
      said = '${File(path).lengthSync() ~/ 1000000} MB down';
      File(path).deleteSync();
      break;
    default:
      final rows = [
        for (var at = 0; at < 100000; at++)
          {'n': at, 'f': at / 8, 'word': 'row $at', 'flag': at.isEven, 'when': DateTime.fromMillisecondsSinceEpoch(at * 1000, isUtc: true)}
      ];
      final made = watch.elapsedMilliseconds;
      final bytes = writeArrow(ArrowTable.fromRows(rows));
      final written = watch.elapsedMilliseconds;
      final table = readArrow(bytes);
      final read = watch.elapsedMilliseconds;
      var sum = 0;
      for (final row in table) {
        sum += row['n'] as int;
      }
      final walked = watch.elapsedMilliseconds;
      if (sum != 4999950000) throw StateError('the table has other rows: $sum');
      said = '100,000 rows of 5 columns (${bytes.length} bytes) written in ${written - made} ms, read in ${read - written} ms, '
          'walked in ${walked - read} ms';
  }
  final peak = ProcessInfo.maxRss;
  // A virtual machine that compiles the source first has 140 MB before anything is done: run a kernel snapshot.
  final bound = arguments.first == 'table' ? 400 : 100;
  stderr.writeln('$said: ${watch.elapsedMilliseconds} ms, peak ${peak ~/ 1000000} MB (${before ~/ 1000000} MB before; Dart ${Platform.version.split(' ').first}, 32 bits: ${Platform.version.contains('ia32')})');
  if (peak > bound * 1000000 || watch.elapsed.inSeconds > 60) {
    stderr.writeln('FAILED: more than $bound MB, or more than 60 s');
    exit(1);
  }
  exit(0);
}
