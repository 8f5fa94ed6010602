/// Arrow tables: what is written is read again, what is guessed, what is refused, and rules that each have an input that breaks them.
import 'dart:typed_data';

import 'package:natsbridge/natsbridge.dart';
import 'package:natsbridge/src/arrow/flat_out.dart';
import 'package:natsbridge/src/arrow_io.dart';

import 'runner.dart';

ArrowTable again(ArrowTable table) => readArrow(writeArrow(table));

List<Object?> typesOf(ArrowTable table) => [for (final column in table.columns) '${column.name}: ${column.type}'];

/// A value of every type that can be written
const kinds = {
  'null': <Object?>[null, null],
  'bool': [true, null, false],
  'int8': [-128, null, 127],
  'uint8': [255, null],
  'int16': [-32768, 32767],
  'uint16': [65535, null],
  'int32': [-2147483648, 2147483647],
  'uint32': [4294967295, null],
  'float16': [1.5, null, -65504.0, 5.960464477539063e-8, double.infinity],
  'float32': [1.5, null, -0.0],
  'float64': [0.1, null, 1e300, double.nan],
  'decimal128(10,2)': ['12.50', null, '-0.01'],
  'decimal256(76,2)': ['-12.50', null],
  'decimal32(9,2)': ['1.00'],
  'utf8': ['a', null, 'größe', '', '\u{1f600}', '\ufeffmark'],
  'large_utf8': ['a', null],
  'utf8_view': ['short', null, 'a text that is longer than twelve bytes', 'another text that is longer'],
  'dictionary<int8, utf8>': ['b', 'a', null, 'b'],
  'dictionary<uint16, int64>': [7, null, 7],
  'run_end_encoded<int32, utf8>': ['u', 'u', null, 'v'],
  'list<int32>': [
    [1, null],
    null,
    <Object?>[]
  ],
  'large_list<utf8>': [
    ['x'],
    null
  ],
  'list_view<int64>': [
    [1],
    null,
    [2, 3]
  ],
  'fixed_size_list<int16, 2>': [
    [1, 2],
    null
  ],
  'struct<a: utf8, b: list<bool>>': [
    {
      'a': 'x',
      'b': [true]
    },
    null,
    {'a': null, 'b': null}
  ],
  'list<struct<d: dictionary<int8, utf8>>>': [
    [
      {'d': 'x'},
      {'d': 'y'}
    ],
    [
      {'d': 'x'}
    ]
  ],
};

void roundTrips() {
  for (final kind in kinds.entries) {
    final rows = [for (final value in kind.value) {'c': value}];
    final table = ArrowTable.fromRows(rows, types: {'c': kind.key});
    final found = again(table);
    same(typesOf(found), ['c: ${kind.key}'], kind.key);
    same(found.toList(), rows, kind.key);
    same(ArrowType.parse(kind.key), kind.key, 'parse');
  }
  final moments = ArrowTable.fromRows([
    {'s': DateTime.utc(2026, 5, 13, 8), 'ns': DateTime.utc(1969, 12, 31, 23, 59, 59, 999), 'd': DateTime.utc(1582, 1, 1), 't': const Duration(hours: 24)}
  ], types: {'s': 'timestamp[s, Europe/Berlin]', 'ns': 'timestamp[ns]', 'd': 'date32', 't': 'time64[us]'});
  same(again(moments).toList(), moments.toList(), 'moments');
  same(again(moments).columns[1].stored, [-1000000], 'nanoseconds');
  same(moments.toJsonRows(), [
    {'s': '2026-05-13T08:00:00Z', 'ns': '1969-12-31T23:59:59.999', 'd': '1582-01-01', 't': '24:00:00'}
  ], 'texts');
  final bytes = ArrowTable.fromRows([
    {'b': Uint8List.fromList([0, 255]), 'f': Uint8List.fromList([1, 2])}
  ], types: {'f': 'fixed_size_binary(2)'});
  same(again(bytes).toList(), bytes.toList(), 'bytes');
  final far = ArrowTable([
    ArrowColumn(ArrowField('t', ArrowType.parse('timestamp[s]')), [9223372036854775807, -9223372036854775807 - 1])
  ]);
  same(again(far).toJsonRows().length, 2, 'far moments');
  same(again(far)[0]['t'] is ArrowTime, true, 'a moment that DateTime lacks');
  same(again(ArrowTable.fromRows(const [])).length, 0, 'no rows');
  same(again(ArrowTable(const [], rows: 3)).length, 3, 'rows without columns');
}

void guesses() {
  final top = BigInt.parse('18446744073709551615');
  final cases = <List<Object?>, String>{
    [null, null]: 'null',
    [true]: 'bool',
    [1, null]: 'int64',
    [1, top]: 'uint64',
    [1, 2.5]: 'float64',
    ['a']: 'utf8',
    [Uint8List(1)]: 'binary',
    [DateTime(2026)]: 'timestamp[us, UTC]',
    [const Duration(seconds: 1)]: 'duration[us]',
    [
      [1],
      [2.5]
    ]: 'list<float64>',
    [
      {'a': 1},
      {'b': 'x'}
    ]: 'struct<a: int64, b: utf8>',
  };
  for (final entry in cases.entries) {
    final table = ArrowTable.fromRows([for (final value in entry.key) {'c': value}]);
    same(typesOf(table), ['c: ${entry.value}'], entry.value);
    again(table);
  }
  same(again(ArrowTable.fromRows([
    {'n': top}
  ])).columns.first.stored, [top], 'uint64');
  same(typesOf(ArrowTable.fromRows([
    {'b': 1},
    {'a': 1, 'b': 2}
  ])), ['b: int64', 'a: int64'], 'order');
}

Future<void> refusals() async {
  final top = BigInt.one << 63;
  for (final values in <List<Object?>>[
    [1, 'x'],
    [true, 1],
    [-1, top],
    [BigInt.one << 64],
    [9007199254740993, 0.5],
    [top, 0.5],
    [() => 1],
    [#x],
    [
      [1, 'x']
    ],
    [DateTime(2026), 'x'],
  ]) {
    same(await codeOf(() => ArrowTable.fromRows([for (final value in values) {'c': value}])), 'unconvertible', values);
  }
  for (final entry in <String, Object?>{
    'int8': 128,
    'uint8': -1,
    'uint64': -1,
    'int64': top,
    'bool': 1,
    'utf8': 1,
    'null': 1,
    'date32': DateTime.utc(2026, 1, 1, 1),
    'timestamp[s]': DateTime.utc(2026, 1, 1, 1, 1, 1, 1),
    'decimal128(3,1)': '1.25',
    'decimal128(3,0)': '1000',
    'fixed_size_binary(2)': Uint8List(3),
    'fixed_size_list<int8, 2>': [1],
    'struct<a: int8>': {'b': 1},
    'list<int8>': [300],
  }.entries) {
    same(await codeOf(() => writeArrow(ArrowTable.fromRows([{'c': entry.value}], types: {'c': entry.key}))), 'unconvertible', entry.key);
  }
  final words = [for (var at = 0; at < 200; at++) {'c': 'w$at'}];
  same(await codeOf(() => writeArrow(ArrowTable.fromRows(words, types: {'c': 'dictionary<int8, utf8>'}))), 'unconvertible', 'too many words');
  for (final rows in <List<Map<Object?, Object?>>>[
    [{1: 2}],
    [{'\ud800': 2}],
    [{'a': '\ud800'}],
    [{'a': {1: 2}}],
  ]) {
    same(await codeOf(() => writeArrow(ArrowTable.fromRows(rows))), 'wrong_value', rows);
  }
  same(await codeOf(() => ArrowTable.fromRows([{'a': 1}], types: {'b': 'int64'})), 'wrong_value', 'a type of no column');
  final cyclic = <Object?>[];
  cyclic.add(cyclic);
  same(await codeOf(() => ArrowTable.fromRows([{'c': cyclic}])), 'too_deep', 'cyclic');
  final twice = ArrowTable([ArrowColumn(const ArrowField('a', ArrowType.int64), const [1]), ArrowColumn(const ArrowField('a', ArrowType.utf8), const ['x'])]);
  same(await codeOf(() => again(twice).toList()), 'unconvertible', 'two columns of one name');
  same(again(twice).columns[1].stored, ['x'], 'their values');
}

String refused(String why) => 'undecodable: it is not a readable Arrow table: $why';

/// Every rule has bytes that break it: the place in a written table, what stands there then, and the code
Future<void> rules() async {
  final table = ArrowTable.fromRows([{'s': 'ab', 'd': 'x', 'n': 1}, {'s': null, 'd': 'y', 'n': 2}], types: {'d': 'dictionary<int32, utf8>'});
  final whole = writeArrow(table);
  same(readArrow(whole).length, 2, 'as it is');
  for (var cut = 1; cut < whole.length - 8; cut++) {
    final code = await codeOf(() => readArrow(Uint8List.sublistView(whole, 0, cut)));
    // A stream may end between two messages.
    if (code != 'undecodable' && code != 'taken') same(code, 'undecodable', 'cut at $cut');
  }
  // One value: its buffers are found by what stands in them.
  Uint8List changed(List<int> what, List<int> by, [Uint8List? of]) {
    final copy = Uint8List.fromList(of ?? whole);
    for (var at = 0; at + what.length <= copy.length; at += 4) {
      if ([for (var i = 0; i < what.length; i++) copy[at + i]].join(',') == what.join(',')) {
        copy.setRange(at, at + by.length, by);
        return copy;
      }
    }
    throw StateError('the table has no $what');
  }

  final offsets = [0, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0];
  final indices = [0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
  final views = writeArrow(ArrowTable.fromRows([{'v': 'abcd'}], types: {'v': 'utf8_view'}));
  final breaks = {
    changed(offsets, [0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0]): 'an offset goes backwards',
    changed(offsets, [255, 255, 255, 255]): 'an offset goes backwards',
    changed(offsets, [0, 0, 0, 0, 2, 0, 0, 0, 99, 0, 0, 0]): 'a value ends beyond its column',
    changed(indices, [0, 0, 0, 0, 2, 0, 0, 0]): 'an index leads beyond its dictionary',
    changed(indices, [0, 0, 0, 0, 255, 255, 255, 255]): 'an index leads beyond its dictionary',
    changed([97, 98, 0, 0], [97, 255]): 'a string is not UTF-8',
    changed([4, 0, 0, 0, 97, 98, 99, 100], [255, 255, 255, 255], views): 'a value of -1 bytes',
    Uint8List.fromList([255, 255, 255, 255, 251, 255, 255, 255]): 'a message of -5 bytes',
  };
  for (final entry in breaks.entries) {
    same(await wordsOf(() => readArrow(entry.key)), refused(entry.value), 'rules');
  }
  for (final bytes in [<int>[], 'hello, world'.codeUnits, '[{"a":1}]'.codeUnits, List.filled(64, 0), List.filled(64, 255)]) {
    same(await codeOf(() => readArrow(Uint8List.fromList(bytes))), 'undecodable', bytes);
  }
}

/// A stream of messages that no writer makes
Uint8List stream(List<MapEntry<int, Table>> messages, {int version = 4, int? bodyLength, Uint8List? body}) {
  final out = BytesBuilder();
  for (final message in messages) {
    final data = message.key == 1 ? Uint8List(0) : (body ?? Uint8List(0));
    final flat = FlatOut().message({0: short(version), 1: byte(message.key), 2: message.value, 3: long(bodyLength ?? data.length)});
    final padded = (flat.length + 7) & ~7;
    out.add(Uint8List.sublistView(ByteData(8)
      ..setInt32(0, -1)
      ..setInt32(4, padded, Endian.little)));
    out.add(flat);
    out.add(Uint8List(padded - flat.length + data.length)..setRange(padded - flat.length, padded - flat.length + data.length, data));
  }
  return out.takeBytes();
}

/// What stands in the messages: versions, byte order, numbers of rows, nulls and bytes
Future<void> frames() async {
  Table schema({int endian = 0, Object? fields}) => {
        if (endian != 0) 0: short(endian),
        1: fields ??
            <Table>[
              {
                0: 'n',
                1: byte(1),
                2: byte(2),
                3: <int, Object?>{0: word(32), 1: byte(1)}
              }
            ],
      };
  Table batch({int rows = 2, List<int> node = const [2, 0], List<int> places = const [0, 0, 0, 8]}) =>
      {0: long(rows), 1: Longs(node, 2), 2: Longs(places, 2)};
  ArrowTable read(Table begin, Table? rows, int version, int? bodyLength) => readArrow(stream(
      [MapEntry(1, begin), if (rows != null) MapEntry(3, rows)],
      version: version, bodyLength: bodyLength, body: Uint8List(8)));
  Future<String> code(Table begin, [Table? rows, int version = 4, int? bodyLength]) =>
      codeOf(() => read(begin, rows, version, bodyLength));
  Future<String> words(Table begin, Table rows, [int? bodyLength]) => wordsOf(() => read(begin, rows, 4, bodyLength));
  same(await code(schema(), batch()), 'taken', 'as it should be');
  for (var version = 0; version < 7; version++) {
    same(await code(schema(), null, version), version == 3 || version == 4 ? 'taken' : 'undecodable', 'V${version + 1}');
  }
  same(await code(schema(endian: 1)), 'undecodable', 'high byte first');
  for (final wrong in {
    batch(rows: -1, node: const [-1, 0]): '-1 rows',
    batch(node: const [-2, 0]): '-2 values, of which 0 are null',
    batch(node: const [2, 3]): '2 values, of which 3 are null',
    batch(node: const [2, -1]): '2 values, of which -1 are null',
    batch(node: const [2, 1]): '0 bytes of validity for 2 values',
    batch(rows: 3): 'column `n` has 2 values, not 3',
    batch(rows: 3, node: const [3, 0]): '8 bytes for 3 values, which need 12',
    batch(node: const []): 'a batch without a node for column `n`',
    batch(places: const []): 'a batch with too few buffers',
    batch(places: const [0, 0, 8, 8]): 'a buffer beyond its body',
    batch(places: const [0, 0, -8, 8]): 'a buffer beyond its body',
    batch(places: const [0, 0, 0, -8]): 'a buffer beyond its body',
    batch(places: const [0, 0, 9223372036854775800, 8]): 'a buffer beyond its body',
  }.entries) {
    same(await words(schema(), wrong.key), refused(wrong.value), 'frames');
  }
  same(await words(schema(), batch(), 1 << 60), refused('a body of ${1 << 60} bytes'), 'a body of an exabyte');
  same(await words(schema(), batch(), -8), refused('a body of -8 bytes'), 'a body below 0');
  same(await code(schema(fields: <Table>[{0: 'u', 2: byte(14), 3: <int, Object?>{}}])), 'unsupported', 'unions');
  same(await code(schema(fields: <Table>[{0: 'u', 2: byte(99), 3: <int, Object?>{}}])), 'unsupported', 'a type of tomorrow');
  same(await code(schema(fields: <Table>[{0: 'n', 2: byte(1), 3: <int, Object?>{}}]), {0: long(1 << 40), 1: const Longs([1 << 40, 0], 2)}), 'too_large', 'nulls without end');
  final two = stream([MapEntry(1, schema()), MapEntry(1, schema())]);
  same(await codeOf(() => readArrow(two)), 'undecodable', 'two schemas');
  same(await codeOf(() => readArrow(stream([MapEntry(3, batch())], body: Uint8List(8)))), 'undecodable', 'no schema');
}

final groups = {'round trips': roundTrips, 'guessed types': guesses, 'refused tables': refusals, 'rules of the reader': rules, 'frames': frames};
