/// Rules of the Arrow reader that no vector breaks, because other languages answer otherwise, and what few bytes may become.
import 'dart:typed_data';

import 'package:natsbridge/src/arrow/flat_out.dart';
import 'package:natsbridge/src/arrow_io.dart';

import 'arrow_test.dart' show refused, stream;
import 'runner.dart';

Table field(int type, Table parameters, {List<Table> children = const [], Table? coded}) =>
    {0: 'c', 1: byte(1), 2: byte(type), 3: parameters, if (coded != null) 4: coded, if (children.isNotEmpty) 5: children};

Table schema(List<Table> fields) => {1: fields};

Table batch(int rows, List<int> nodes, List<int> places, [Table more = const {}]) =>
    {0: long(rows), 1: Longs(nodes, 2), 2: Longs(places, 2), ...more};

final int32 = field(2, {0: word(32), 1: byte(1)});
Table codedBy(int id, {int kind = 0}) => {0: long(id), 3: short(kind)};

/// Streams of one schema: what is refused, with its words
Future<void> schemas() async {
  Table nested(int depth) => depth == 0 ? int32 : field(12, {}, children: [nested(depth - 1)]);
  Future<String> said(List<Table> fields) => wordsOf(() => readArrow(stream([MapEntry(1, schema(fields))])));
  for (final entry in {
    field(3, {0: short(3)}): 'floats of an unknown width',
    field(3, {0: short(-1)}): 'floats of an unknown width',
    field(8, {0: short(2)}): 'dates of an unknown unit',
    field(9, {0: short(-1), 1: word(32)}): 'an unknown unit of time',
    field(10, {0: short(9)}): 'an unknown unit of time',
    field(10, {0: short(-1)}): 'an unknown unit of time',
    field(11, {0: short(-1)}): 'intervals of an unknown unit',
    field(18, {0: short(4)}): 'an unknown unit of time',
    field(16, {0: word(-1)}, children: [int32]): 'lists of -1 items',
    field(7, {0: word(10), 1: word(2000)}): 'decimals of 10 digits, 2000 of them a fraction',
  }.entries) {
    same(await said([entry.key]), refused(entry.value), 'schemas');
  }
  same(await said([field(5, {}, coded: codedBy(7)), field(6, {}, coded: codedBy(7))]), refused('one dictionary has two types'), 'schemas');
  same((await said([field(5, {}, coded: codedBy(7, kind: 1))])).split(':').first, 'unsupported', 'a dictionary of tomorrow');
  same(await said([nested(64)]), 'taken', 'as deep as may be');
  same((await said([nested(65)])).split(':').first, 'unsupported', 'a level deeper');
  same((await said(List.filled(20000, int32))), 'taken', 'as many fields as may be');
  same((await said(List.filled(20001, int32))).split(':').first, 'too_large', 'a field more');
  same((await said(List.filled(17, {...int32, 0: 'n' * 1000000}))).split(':').first, 'too_large', 'text of names');
}

Future<void> batches() async {
  Uint8List of(Table column, Table rows, Uint8List body) => stream([MapEntry(1, schema([column])), MapEntry(3, rows)], body: body);
  Future<String> said(Table column, Table rows, List<int> numbers) =>
      wordsOf(() => readArrow(of(column, rows, Uint8List.sublistView(Int32List.fromList(numbers)))));
  final views = field(24, {});
  same(await said(views, batch(1, [1, 0], [0, 0, 0, 16]), [3, 0x636261, 0, 0]),
      refused('a column of views without its number of buffers'), 'views');
  Table viewed(int buffers) => batch(1, [1, 0], [0, 0, 0, 16, 16, 16], {4: Longs([buffers], 1)});
  const letters = [0x61616161, 0x61616161, 0x61616161, 0x61616161];
  same(await said(views, viewed(1), [16, 0x61616161, 0, 0, ...letters]), 'taken', 'views');
  for (final view in [
    [16, 0x61616161, -1, 0],
    [16, 0x61616161, 1, 0],
    [16, 0x61616161, 0, -1],
    [16, 0x61616161, 0, 1],
  ]) {
    same(await said(views, viewed(1), [...view, ...letters]), refused('a view leads beyond its buffers'), 'views');
  }
  final listViews = field(25, {}, children: [int32]);
  Future<String> list(int start, int size) =>
      said(listViews, batch(1, [1, 0, 2, 0], [0, 0, 0, 4, 8, 4, 16, 0, 16, 8]), [start, 0, size, 0, 1, 2]);
  same(await list(1, 1), 'taken', 'list views');
  for (final place in [
    [-1, 1],
    [0, -1],
    [3, 0],
    [2, 1]
  ]) {
    same(await list(place[0], place[1]), refused('a list ends beyond its items'), 'list views');
  }
  final coded = schema([field(5, {}, coded: codedBy(7))]);
  same(await wordsOf(() => readArrow(stream([MapEntry(1, coded), MapEntry(2, {0: long(7)})]))),
      refused('a dictionary without values'), 'dictionaries');
}

/// Few bytes that stand for very many
Future<void> budgets() async {
  final nothing = field(1, {});
  Future<String> code(List<Table> fields, List<Table> rows, [Uint8List? body]) => codeOf(
      () => readArrow(stream([MapEntry(1, schema(fields)), for (final batch in rows) MapEntry(3, batch)], body: body)));
  same(await code([nothing], [batch(1, [1, 0], []), batch(0x7fffffffffffffff, [0x7fffffffffffffff, 0], [])]), 'too_large', 'a sum beyond 64 bits');
  same(await code([nothing], [for (var at = 0; at < 6; at++) batch(1000000, [1000000, 0], [])]), 'too_large', 'batches of nulls');
  same(await code([], [batch(1 << 40, [], [])]), 'too_large', 'rows without columns');
  // 3,000 lists of the same 3,000 items
  final lists = Int32List(9000)
    ..fillRange(3000, 6000, 3000);
  same(await code([field(25, {}, children: [int32])], [batch(3000, [3000, 0, 3000, 0], [0, 0, 0, 12000, 12000, 12000, 0, 0, 24000, 12000])],
      Uint8List.sublistView(lists)), 'too_large', 'lists that share their items');
  // 2,000 texts of the same 64 KB
  final texts = Int32List(4 * 2000 + 16384)..fillRange(8000, 24384, 0x61616161);
  for (var at = 0; at < 8000; at += 4) {
    texts.setAll(at, [65536, 0x61616161, 0, 0]);
  }
  same(await code([field(24, {})], [batch(2000, [2000, 0], [0, 0, 0, 32000, 32000, 65536], {4: const Longs([1], 1)})],
      Uint8List.sublistView(texts)), 'too_large', 'texts that share their bytes');
  // 1,000 columns of the same 100 KB
  final shared = Uint8List(100008)..setAll(4, [0xa0, 0x86, 0x01]);
  for (final column in {
    field(5, {}): [0, 0, 0, 8, 8, 100000],
    field(15, {0: word(100000)}): [0, 0, 8, 100000],
  }.entries) {
    List<int> often(List<int> numbers, int times) => [for (var at = 0; at < times; at++) ...numbers];
    same(await code([column.key], [batch(1, [1, 0], column.value)], shared), 'taken', 'one column');
    same(await code(List.filled(1000, column.key), [batch(1, often([1, 0], 1000), often(column.value, 1000))], shared), 'too_large', 'columns that share their bytes');
  }
  // A dictionary that grows by itself
  final grows = stream([
    MapEntry(1, schema([field(1, {}, coded: codedBy(7))])),
    for (var at = 0; at < 4; at++) MapEntry(2, {0: long(7), 1: batch(1000000, [1000000, 0], []), 2: byte(1)}),
  ]);
  same(await codeOf(() => readArrow(grows)), 'too_large', 'a dictionary that grows');
}

final groups = {'rules of schemas': schemas, 'rules of batches': batches, 'budgets': budgets};
