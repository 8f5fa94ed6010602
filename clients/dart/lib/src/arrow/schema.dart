/// Arrow's schema, out of its flatbuffer.
library natsbridge.arrow.schema;

import '../errors.dart';
import 'flat.dart';
import 'types.dart';

/// Types within each other
const deepest = 64;

/// The columns of a table, and the dictionaries' value types by their ids
class Schema {
  Schema(Flat flat) {
    if (flat.int16(0) != 0) throw undecodable('its numbers have their high byte first');
    for (final field in flat.tables(1)) {
      fields.add(_field(field, 0, null));
    }
    metadata = _metadata(flat, 2);
  }

  final fields = <ArrowField>[];
  late final Map<String, String> metadata;

  /// What the values of a dictionary are, by its id
  final dictionaries = <int, ArrowField>{};

  /// The ids of the dictionary columns, by their type's identity
  final ids = Map<ArrowType, int>.identity();

  /// A field may be named by many offsets, so that few bytes become many fields: both are counted
  int _fields = 0;
  int _letters = 0;

  String _text(Flat flat, int field) {
    final text = flat.text(field) ?? '';
    _letters += text.length;
    return _letters <= 1 << 24 ? text : throw NATSBridgeException('too_large', 'its schema holds too much text');
  }

  ArrowField _field(Flat flat, int depth, String? column) {
    if (++_fields > 20000) throw NATSBridgeException('too_large', 'its schema has more than 20,000 fields');
    if (depth > deepest) throw _unsupported(column ?? '', 'types nested deeper than $deepest levels');
    final name = _text(flat, 0);
    final children = [for (final child in flat.tables(5)) _field(child, depth + 1, column ?? name)];
    final type = _type(flat, children, column ?? name);
    final metadata = _metadata(flat, 6);
    final nullable = flat.int8(1) != 0;
    final encoding = flat.table(4);
    if (encoding == null) return ArrowField(name, type, nullable: nullable, metadata: metadata);
    if (encoding.int16(3) != 0) throw _unsupported(column ?? name, 'a dictionary that is no array');
    final value = ArrowField('value', type, metadata: metadata);
    final index = encoding.table(1);
    final words = ArrowType(ArrowKind.dictionary,
        index: index == null ? ArrowType.int32 : _integer(index), sorted: encoding.int8(2) != 0, children: [value]);
    final id = encoding.int64(0);
    final known = dictionaries[id];
    if (known != null && '${known.type}' != '$type') throw undecodable('one dictionary has two types');
    dictionaries[id] = value;
    ids[words] = id;
    return ArrowField(name, words, nullable: nullable, metadata: metadata);
  }

  static ArrowType _integer(Flat flat) {
    final bits = flat.int32(0);
    if (bits != 8 && bits != 16 && bits != 32 && bits != 64) throw undecodable('integers of $bits bits');
    return ArrowType(ArrowKind.integer, bits: bits, signed: flat.int8(1) != 0);
  }

  static TimeUnit _unit(Flat flat, [int absent = 0]) {
    final unit = flat.int16(0, absent);
    return unit >= 0 && unit < 4 ? TimeUnit.values[unit] : throw undecodable('an unknown unit of time');
  }

  static ArrowType _type(Flat field, List<ArrowField> children, String column) {
    final number = field.int8(2);
    final flat = field.table(3) ?? (throw undecodable('column ${shown(column)} has no type'));
    List<ArrowField> exactly(int count) =>
        children.length == count ? children : throw undecodable('column ${shown(column)} has ${children.length} children, not $count');
    switch (number) {
      case 1:
        return ArrowType.nothing;
      case 2:
        return _integer(flat);
      case 3:
        final precision = flat.int16(0);
        if (precision < 0 || precision > 2) throw undecodable('floats of an unknown width');
        return ArrowType(ArrowKind.float, bits: 16 << precision);
      case 4:
        return ArrowType.binary;
      case 5:
        return ArrowType.utf8;
      case 6:
        return ArrowType.boolean;
      case 7:
        final bits = flat.int32(2, 128);
        if (!const [32, 64, 128, 256].contains(bits)) throw undecodable('decimals of $bits bits');
        final precision = flat.int32(0), scale = flat.int32(1);
        if (precision < 1 || precision > 76 || scale.abs() > 1000) throw undecodable('decimals of $precision digits, $scale of them a fraction');
        return ArrowType(ArrowKind.decimal, bits: bits, precision: precision, scale: scale);
      case 8:
        final unit = flat.int16(0, 1);
        if (unit != 0 && unit != 1) throw undecodable('dates of an unknown unit');
        return unit == 0 ? ArrowType.date32 : const ArrowType(ArrowKind.date64);
      case 9:
        final unit = _unit(flat, 1), bits = flat.int32(1, 32);
        if (bits != (unit.index < 2 ? 32 : 64)) throw undecodable('times of $bits bits');
        return ArrowType(ArrowKind.time, bits: bits, unit: unit);
      case 10:
        return ArrowType(ArrowKind.timestamp, unit: _unit(flat), zone: flat.text(1));
      case 11:
        final unit = flat.int16(0);
        if (unit < 0 || unit > 2) throw undecodable('intervals of an unknown unit');
        return ArrowType(ArrowKind.interval, bits: 32 << unit);
      case 12:
        return ArrowType(ArrowKind.list, children: exactly(1));
      case 13:
        return ArrowType(ArrowKind.struct, children: children);
      case 15:
        final size = flat.int32(0);
        return size >= 0 ? ArrowType(ArrowKind.fixedBinary, size: size) : throw undecodable('binaries of $size bytes');
      case 16:
        final size = flat.int32(0);
        return size >= 0 ? ArrowType(ArrowKind.fixedList, size: size, children: exactly(1)) : throw undecodable('lists of $size items');
      case 17:
        final entries = exactly(1).first.type;
        if (entries.kind != ArrowKind.struct || entries.children.length != 2) throw undecodable('a map without keys and values');
        return ArrowType(ArrowKind.map, sorted: flat.int8(0) != 0, children: entries.children);
      case 18:
        return ArrowType(ArrowKind.duration, unit: _unit(flat, 1));
      case 19:
        return const ArrowType(ArrowKind.binary, layout: ArrowLayout.large);
      case 20:
        return const ArrowType(ArrowKind.utf8, layout: ArrowLayout.large);
      case 21:
        return ArrowType(ArrowKind.list, layout: ArrowLayout.large, children: exactly(1));
      case 22:
        final ends = exactly(2)[0].type;
        if (ends.kind != ArrowKind.integer || !ends.signed || ends.bits == 8) throw undecodable('runs that end at a $ends');
        return ArrowType(ArrowKind.runs, index: ends, children: [children[1]]);
      case 23:
        return const ArrowType(ArrowKind.binary, layout: ArrowLayout.view);
      case 24:
        return const ArrowType(ArrowKind.utf8, layout: ArrowLayout.view);
      case 25:
        return ArrowType(ArrowKind.list, layout: ArrowLayout.view, children: exactly(1));
      case 26:
        return ArrowType(ArrowKind.list, layout: ArrowLayout.largeView, children: exactly(1));
      case 14:
        throw _unsupported(column, 'unions');
    }
    if (number == 0) throw undecodable('column ${shown(column)} has no type');
    throw _unsupported(column, 'a type with the number $number');
  }

  static NATSBridgeException _unsupported(String column, String what) =>
      NATSBridgeException('unsupported', 'column ${shown(column)}: $what are not read by this library');

  Map<String, String> _metadata(Flat flat, int field) {
    final pairs = flat.tables(field);
    if (pairs.isEmpty) return const {};
    return {for (final pair in pairs) _text(pair, 0): _text(pair, 1)};
  }
}
