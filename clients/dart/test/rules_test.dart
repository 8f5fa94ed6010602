/// Rules of the Arrow reader that no vector breaks, because other languages answer otherwise, and what few bytes may become.
import 'dart:convert';
import 'dart:io';
import 'dart:typed_data';

import 'package:natsbridge/src/arrow/flat.dart';
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

/// Metadata that leads astray: its own checks answer, before Dart's
Future<void> flats() async {
  final good = FlatOut().message({0: 'abc', 1: const Longs([1], 1), 2: const <Table>[{}], 3: byte(7)});
  final view = ByteData.sublistView(good);
  final root = view.getUint32(0, Endian.little), words = root - view.getInt32(root, Endian.little);
  int place(int field) => root + view.getUint16(words + 4 + 2 * field, Endian.little);
  int target(int field) => place(field) + view.getUint32(place(field), Endian.little);
  void read(Uint8List bytes) {
    final flat = Flat.root(bytes);
    flat
      ..text(0)
      ..structs(1, 8)
      ..tables(2)
      ..int8(3);
  }

  same(await wordsOf(() => read(good)), 'taken', 'as it should be');
  same(await wordsOf(() => Flat.root(Uint8List(4))), refused('a message of 4 bytes'), 'four bytes');
  const beyond = 'a message points beyond its end';
  for (final change in [
    [0, 4, 1000000, beyond],
    [root, 4, 1000000, beyond],
    [words, 2, 2, 'a table of fields of 2 bytes'],
    [words, 2, 13, 'a table of fields of 13 bytes'],
    [words, 2, 0x7ffe, beyond],
    [words + 4 + 2 * 3, 2, 0x7ffe, beyond],
    [place(0), 4, 1000000, beyond],
    [target(0), 4, 1000, beyond],
    [target(1), 4, 1000, beyond],
    [target(2), 4, 1000, beyond],
  ]) {
    final bytes = Uint8List.fromList(good), data = ByteData.sublistView(bytes);
    final at = change[0] as int, number = change[2] as int;
    change[1] == 2 ? data.setUint16(at, number, Endian.little) : data.setUint32(at, number, Endian.little);
    same(await wordsOf(() => read(bytes)), refused(change[3] as String), change);
  }
  // A list of one table, and the message ends before it
  final short = Uint8List.fromList(FlatOut().message({0: const <Table>[]}));
  final list = ByteData.sublistView(short), start = list.getUint32(0, Endian.little);
  final from = start + list.getUint16(start - list.getInt32(start, Endian.little) + 4, Endian.little);
  final end = from + list.getUint32(from, Endian.little) + 4;
  list.setUint32(end - 4, 1, Endian.little);
  same(await wordsOf(() => Flat.root(Uint8List.sublistView(short, 0, end)).tables(0)), refused(beyond), 'a list beyond the end');
}

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
    field(15, {0: word(-1)}): 'binaries of -1 bytes',
    field(16, {0: word(-1)}, children: [int32]): 'lists of -1 items',
    field(17, {}, children: [field(17, {}, children: [field(13, {}, children: [int32, int32])])]): 'a map without keys and values',
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
  final packed = batch(1, [1, 0], [0, 0, 0, 8], {
    3: <int, Object?>{0: byte(0)}
  });
  same(await said(int32, packed, [-8, -1]), refused('a compressed buffer of -8 bytes'), 'compressed');
  final coded = schema([field(5, {}, coded: codedBy(7))]);
  same(await wordsOf(() => readArrow(stream([MapEntry(1, coded), MapEntry(2, {0: long(7)})]))),
      refused('a dictionary without values'), 'dictionaries');
}

/// A file whose footer names a batch, right and wrong
Future<void> files() async {
  final numbers = schema([int32]);
  final begin = stream([MapEntry(1, numbers)]), body = Uint8List(8);
  final whole = stream([MapEntry(1, numbers), MapEntry(3, batch(2, [2, 0], [0, 0, 0, 8]))], body: body);
  Future<String> said(List<int> block) {
    final foot = FlatOut().message({0: short(4), 1: numbers, 3: Longs(block, 3)});
    final size = Uint8List.sublistView(ByteData(4)..setInt32(0, foot.length, Endian.little));
    return wordsOf(() => readArrow(Uint8List.fromList([...'ARROW1'.codeUnits, 0, 0, ...whole, ...foot, ...size, ...'ARROW1'.codeUnits])));
  }

  final at = 8 + begin.length, head = whole.length - begin.length - body.length;
  same(await said([at, head, 8]), 'taken', 'as it should be');
  for (final block in [
    [-8, head, 8],
    [1 << 40, head, 8],
    [at, 4, 8],
    [at, head, -8],
    [at, 1 << 20, 8],
    [at, head, 1 << 20],
  ]) {
    same(await said(block), refused('the footer points beyond the file'), block);
  }
  same(await wordsOf(() => readArrow(Uint8List.fromList('ARROW1ARROW1'.codeUnits))), refused('the file has no end'), 'two marks');
}

/// A vector says the code alone, which a later rule or Dart's own check may give too
Future<void> vectors() async {
  final folder = Directory.fromUri(Platform.script.resolve('../../../testdata/receive/invalid'));
  if (!folder.existsSync()) return stderr.writeln('skipped: words of the vectors: ${folder.path} is not here');
  for (final entry in {
    'schema_late': 'it does not begin with a schema',
    'schema_empty': 'an empty schema',
    'dictionary_empty': 'an empty dictionary',
    'cut_3': 'it ends within a length',
    'huge_message': 'a message of ',
    'file_cut': 'the file has no end',
    'file_footer_length': 'a footer of ',
    'file_footer_negative': 'a footer of ',
    'file_without_schema': 'a footer without a schema',
    'file_block_of_end': 'the footer points at an end',
    'file_block_of_schema': 'the footer points at a message of another kind',
    'view_buffers_many': '9 buffers of views',
    'list_offset_beyond': 'a list ends beyond its items',
    'map_offset_beyond': 'a list ends beyond its items',
    'run_values_short': 'a run without a value',
    'run_ends_short': 'the runs end before the rows do',
    'batch_compression_short': 'a compressed buffer without its length',
  }.entries) {
    final vector = jsonDecode(File('${folder.path}/arrowtable_${entry.key}.json').readAsStringSync());
    final data = base64.decode(vector['envelope']['payloads'][0]['data'] as String);
    final words = await wordsOf(() => readArrow(data));
    same(words.startsWith(refused(entry.value)) ? 'refused' : words, 'refused', entry.key);
  }
}

/// Few bytes that stand for very many
Future<void> budgets() async {
  final nothing = field(1, {});
  Future<String> code(List<Table> fields, List<Table> rows, [Uint8List? body]) => codeOf(
      () => readArrow(stream([MapEntry(1, schema(fields)), for (final batch in rows) MapEntry(3, batch)], body: body)));
  final sum = stream([MapEntry(1, schema([nothing])), MapEntry(3, batch(1, [1, 0], [])), MapEntry(3, batch(0x7fffffffffffffff, [0x7fffffffffffffff, 0], []))]);
  same((await wordsOf(() => readArrow(sum))).split('than').first, 'too_large: the table has more ', 'a sum beyond 64 bits');
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

final groups = {'metadata': flats, 'rules of schemas': schemas, 'rules of batches': batches, 'files': files, 'words of the vectors': vectors, 'budgets': budgets};
