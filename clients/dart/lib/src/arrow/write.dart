/// Tables as Arrow IPC streams: schema, dictionaries, one batch, end mark.
library natsbridge.arrow.write;

import 'dart:typed_data';

import '../errors.dart';
import 'buffers.dart';
import 'flat_out.dart';
import 'table.dart';
import 'types.dart';

/// The stream of a table
Uint8List writeArrow(ArrowTable table) {
  final writer = _Writer(table.dictionaries);
  final fields = [for (final column in table.columns) writer.field(column.field)];
  writer.message(1, {1: fields, if (table.metadata.isNotEmpty) 2: _pairs(table.metadata)}, Buffers());
  final batch = Buffers();
  for (final column in table.columns) {
    naming(column, () => writer.column(batch, column.field, column.stored));
  }
  // Dictionaries stand before the batch that needs them.
  writer.message(3, writer.batch(table.rows, batch), batch);
  writer.out.add(Uint8List(8)..fillRange(0, 4, 0xff));
  return writer.out.takeBytes();
}

T naming<T>(ArrowColumn column, T Function() run) {
  try {
    return run();
  } on NotThere catch (error) {
    throw unconvertible(column.name, error.why);
  }
}

List<Table> _pairs(Map<String, String> pairs) => [for (final pair in pairs.entries) {0: pair.key, 1: pair.value}];

class _Writer {
  _Writer(this._dictionaries);

  final Map<ArrowType, List<Object?>> _dictionaries;
  final out = BytesBuilder(copy: false);
  final _ids = Map<ArrowType, int>.identity();

  Table field(ArrowField field) {
    final type = field.type.kind == ArrowKind.dictionary ? field.type.item : field.type;
    final number = _type(type, field.name);
    return {
      0: field.name,
      if (field.nullable) 1: byte(1),
      2: byte(number.key),
      3: number.value,
      if (field.type.kind == ArrowKind.dictionary)
        4: {
          0: long(_ids[field.type] ??= _ids.length),
          1: _integer(field.type.index!),
          if (field.type.sorted) 2: byte(1),
        },
      5: _children(field, type),
      if (field.metadata.isNotEmpty) 6: _pairs(field.metadata),
    };
  }

  List<Table> _children(ArrowField owner, ArrowType type) {
    switch (type.kind) {
      case ArrowKind.list:
      case ArrowKind.fixedList:
      case ArrowKind.struct:
        return [for (final child in type.children) field(child)];
      case ArrowKind.map:
        return [field(ArrowField('entries', ArrowType(ArrowKind.struct, children: type.children), nullable: false))];
      case ArrowKind.runs:
        return [field(ArrowField('run_ends', type.index!, nullable: false)), field(ArrowField('values', type.item))];
      case ArrowKind.dictionary:
        throw unconvertible(owner.name, 'a dictionary of a dictionary has no form in Arrow');
      default:
        return const [];
    }
  }

  static Table _integer(ArrowType type) => {0: word(type.bits), if (type.signed) 1: byte(1)};

  static MapEntry<int, Table> _type(ArrowType type, String column) {
    MapEntry<int, Table> of(int number, [Table table = const {}]) => MapEntry(number, table);
    switch (type.kind) {
      case ArrowKind.nothing:
        return of(1);
      case ArrowKind.boolean:
        return of(6);
      case ArrowKind.integer:
        return of(2, _integer(type));
      case ArrowKind.float:
        return of(3, {0: short(type.bits == 16 ? 0 : (type.bits == 32 ? 1 : 2))});
      case ArrowKind.decimal:
        return of(7, {0: word(type.precision), 1: word(type.scale), 2: word(type.bits)});
      case ArrowKind.date32:
        return of(8, {0: short(0)});
      case ArrowKind.date64:
        return of(8, {0: short(1)});
      case ArrowKind.time:
        return of(9, {0: short(type.unit.index), 1: word(type.bits)});
      case ArrowKind.timestamp:
        return of(10, {0: short(type.unit.index), 1: type.zone});
      case ArrowKind.duration:
        return of(18, {0: short(type.unit.index)});
      case ArrowKind.interval:
        return of(11, {0: short(type.bits == 32 ? 0 : (type.bits == 64 ? 1 : 2))});
      case ArrowKind.utf8:
        return of(type.isView ? 24 : (type.isLarge ? 20 : 5));
      case ArrowKind.binary:
        return of(type.isView ? 23 : (type.isLarge ? 19 : 4));
      case ArrowKind.fixedBinary:
        return of(15, {0: word(type.size)});
      case ArrowKind.list:
        return of(type.isView ? (type.isLarge ? 26 : 25) : (type.isLarge ? 21 : 12));
      case ArrowKind.fixedList:
        return of(16, {0: word(type.size)});
      case ArrowKind.struct:
        return of(13);
      case ArrowKind.map:
        return of(17, {0: byte(type.sorted ? 1 : 0)});
      case ArrowKind.runs:
        return of(22);
      case ArrowKind.dictionary:
        throw unconvertible(column, 'a dictionary of a dictionary has no form in Arrow');
    }
  }

  Table batch(int rows, Buffers buffers) => {
        0: long(rows),
        1: Longs(buffers.nodes, 2),
        2: Longs(buffers.places, 2),
        if (buffers.views.isNotEmpty) 4: Longs(buffers.views, 1),
      };

  void message(int kind, Table header, Buffers body) {
    final flat = FlatOut().message({0: short(4), 1: byte(kind), 2: header, 3: long(body.length)});
    final padded = (flat.length + 7) & ~7;
    final frame = ByteData(8)
      ..setInt32(0, -1, Endian.little)
      ..setInt32(4, padded, Endian.little);
    out.add(Uint8List.sublistView(frame));
    out.add(flat);
    out.add(Uint8List(padded - flat.length));
    body.pieces.forEach(out.add);
  }

  void column(Buffers to, ArrowField field, List<Object?> values) {
    final type = field.type;
    if (type.kind == ArrowKind.runs) {
      _runs(to, type, values);
      return;
    }
    var nulls = 0;
    for (final value in values) {
      if (value == null) nulls++;
    }
    to.node(values.length, nulls);
    if (type.kind == ArrowKind.nothing) return;
    to.validity(values, nulls);
    switch (type.kind) {
      case ArrowKind.utf8:
      case ArrowKind.binary:
        type.isView ? to.viewed(type, values) : to.texts(type, values);
        break;
      case ArrowKind.list:
      case ArrowKind.map:
        final items = <Object?>[];
        int size(Object value) {
          items.addAll(value as List);
          return value.length;
        }
        type.isView ? to.ranges(type, values, size) : to.offsets(type, values, size);
        if (type.kind == ArrowKind.map) {
          column(to, ArrowField('entries', ArrowType(ArrowKind.struct, children: type.children)), items);
        } else {
          column(to, type.children.first, items);
        }
        break;
      case ArrowKind.fixedList:
        final none = List<Object?>.filled(type.size, null);
        column(to, type.children.first, [for (final value in values) ...(value as List? ?? none)]);
        break;
      case ArrowKind.struct:
        for (var at = 0; at < type.children.length; at++) {
          column(to, type.children[at], [for (final value in values) (value as List?)?[at]]);
        }
        break;
      case ArrowKind.dictionary:
        _words(to, type, values);
        break;
      default:
        to.numbers(type, values);
    }
  }

  /// Values that are compared by what they hold
  static Object _same(Object value) =>
      value is Uint8List ? String.fromCharCodes(value) : (value is List ? '$value' : value);

  void _words(Buffers to, ArrowType type, List<Object?> values) {
    final known = <Object, int>{};
    final words = <Object?>[...?_dictionaries[type]];
    for (var at = 0; at < words.length; at++) {
      final word = words[at];
      if (word != null) known.putIfAbsent(_same(word), () => at);
    }
    final places = <Object?>[];
    for (final value in values) {
      places.add(value == null
          ? null
          : known.putIfAbsent(_same(value), () {
              words.add(value);
              return words.length - 1;
            }));
    }
    to.numbers(type.index!, places);
    final body = Buffers();
    column(body, type.children.first, words);
    message(2, {0: long(_ids[type]!), 1: batch(words.length, body)}, body);
  }

  void _runs(Buffers to, ArrowType type, List<Object?> values) {
    final ends = <Object?>[], held = <Object?>[];
    for (var at = 0; at < values.length; at++) {
      if (at > 0 && values[at] == held.last) {
        ends.last = at + 1;
      } else {
        held.add(values[at]);
        ends.add(at + 1);
      }
    }
    to.node(values.length, 0);
    column(to, ArrowField('run_ends', type.index!), ends);
    column(to, type.children.first, held);
  }
}
