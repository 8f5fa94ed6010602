/// Mutated Arrow streams: each gives a value or the library's error. `mutate.dart [STREAMS] [SECONDS] [SEED] [VECTORS]`
import 'dart:convert';
import 'dart:io';
import 'dart:math';
import 'dart:typed_data';

import 'package:natsbridge/natsbridge.dart';
import 'package:natsbridge/src/arrow_io.dart';

import 'arrow_test.dart';

/// Numbers that lengths and offsets are wrong with
const odd = [0, 1, -1, 7, 8, 127, 128, 255, 256, 65535, 0x7fffffff, -0x80000000, 0x40000000, 1 << 33];

/// A stream of every type that is written here, and what pyarrow and apache-arrow wrote for the vectors
List<Uint8List> seeds(String? vectors) => [
      for (final kind in kinds.entries)
        writeArrow(ArrowTable.fromRows([for (final value in kind.value) {'c': value, 'n': 1}], types: {'c': kind.key})),
      if (vectors != null)
        for (final file in Directory(vectors).listSync().whereType<File>())
          if (file.uri.pathSegments.last.startsWith('arrowtable_')) ...bodies(jsonDecode(file.readAsStringSync())),
    ];

List<Uint8List> bodies(Object? vector) {
  final envelope = vector is Map ? vector['envelope'] : null;
  if (envelope is! Map) return const [];
  return [
    for (final payload in (envelope['payloads'] as List).cast<Map<String, Object?>>())
      if (payload['transport'] == 'direct' && payload['data'] is String) base64.decode(base64.normalize(payload['data'] as String))
  ];
}

Uint8List damaged(List<Uint8List> all, Random draw) {
  final seed = all[draw.nextInt(all.length)];
  var copy = Uint8List.fromList(seed);
  for (var times = draw.nextInt(4) == 0 ? 3 : 1; times > 0 && copy.length > 16; times--) {
    final at = draw.nextInt(copy.length);
    switch (draw.nextInt(8)) {
      case 0:
      case 6:
      case 7:
        copy[at] ^= 1 << draw.nextInt(8);
        break;
      case 1:
        copy[at] = draw.nextInt(256);
        break;
      case 2:
        ByteData.sublistView(copy).setInt32(min(at & ~3, copy.length - 4), odd[draw.nextInt(odd.length)].toSigned(32), Endian.little);
        break;
      case 3:
        ByteData.sublistView(copy).setInt64(min(at & ~7, copy.length - 8), odd[draw.nextInt(odd.length)], Endian.little);
        break;
      case 4:
        copy = Uint8List.fromList(Uint8List.sublistView(copy, 0, at));
        break;
      default:
        final other = all[draw.nextInt(all.length)];
        final from = draw.nextInt(other.length), count = min(draw.nextInt(64), min(other.length - from, copy.length - at));
        copy.setRange(at, at + count, other, from);
    }
  }
  return copy;
}

void main(List<String> arguments) {
  int given(int at, int otherwise) => arguments.length > at ? int.parse(arguments[at]) : otherwise;
  final wanted = given(0, 100000), seconds = given(1, 60), seed = given(2, 20260513);
  final all = seeds(arguments.length > 3 ? arguments[3] : null);
  final draw = Random(seed);
  final codes = <String, int>{};
  final watch = Stopwatch()..start();
  var tried = 0, slowest = 0;
  for (; tried < wanted && watch.elapsed.inSeconds < seconds; tried++) {
    final bytes = damaged(all, draw);
    final began = watch.elapsedMilliseconds;
    var code = 'value';
    try {
      final table = readArrow(bytes);
      try {
        // Values are looked at, and sent on.
        for (var row = 0; row < min(table.length, 20); row++) {
          table[row];
        }
        if (table.length < 1000) {
          table.toJsonRows();
          readArrow(writeArrow(table));
        }
      } on NATSBridgeException catch (error) {
        code = 'value, then ${error.code}';
      }
    } on NATSBridgeException catch (error) {
      code = error.code;
    } catch (error, stack) {
      File('${Directory.systemTemp.path}/natsbridge-mutated.arrow').writeAsBytesSync(bytes);
      stdout.writeln('stream $tried of seed $seed: $error\n$stack');
      exit(1);
    }
    codes[code] = (codes[code] ?? 0) + 1;
    slowest = max(slowest, watch.elapsedMilliseconds - began);
  }
  final peak = ProcessInfo.maxRss ~/ 1000000;
  stdout.writeln('$tried of $wanted mutated Arrow streams (of ${all.length} whole ones) in ${watch.elapsed.inSeconds} s, the slowest $slowest ms, peak $peak MB: $codes');
  if (tried < wanted) stdout.writeln('the time was up before all were tried');
  if (!codes.containsKey('value') || !codes.containsKey('undecodable')) {
    stdout.writeln('FAILED: the mutations are too weak or too strong');
    exit(1);
  }
  exit(0);
}
