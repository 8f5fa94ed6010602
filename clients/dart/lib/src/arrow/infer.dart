/// From rows to columns: a type is chosen for each column, and a value that is not of it is refused, never changed.
library natsbridge.arrow.infer;

import 'dart:typed_data';

import '../errors.dart';
import '../json.dart';
import '../text.dart';
import 'table.dart';
import 'text.dart';
import 'types.dart';

const _exact = 9007199254740992; // 2^53, up to which a float64 holds every integer
final _top = BigInt.one << 63;

/// Rows as columns, in the order in which rows first name them
ArrowTable tableOf(List<Object?> rows, {Map<String, ArrowType> types = const {}}) {
  if (rows is ArrowTable && types.isEmpty) return rows;
  final cells = <String, List<Object?>>{};
  for (var at = 0; at < rows.length; at++) {
    final row = rows[at];
    if (row is! Map) throw wrong('a table is a list of maps, one for each row; row $at is a ${row.runtimeType}');
    row.forEach((key, value) {
      if (key is! String) throw wrong('the column ${shown('$key')} is not named by a string');
      if (!isSound(key)) throw wrong('the name of a column has a lone surrogate');
      (cells[key] ??= List<Object?>.filled(rows.length, null))[at] = value;
    });
  }
  for (final name in types.keys) {
    if (rows.isNotEmpty && !cells.containsKey(name)) throw wrong('`types` names ${shown(name)}, which is no column');
  }
  return ArrowTable([
    for (final entry in cells.entries) columnOf(ArrowField(entry.key, types[entry.key] ?? _typeOf(entry.key, entry.value, 0)), entry.value)
  ], rows: rows.length);
}

/// A column of Dart's values
ArrowColumn columnOf(ArrowField field, List<Object?> values) =>
    ArrowColumn(field, [for (final value in values) store(field.name, field.type, value)]);

/// Dart's kinds of values, as far as Arrow tells them apart
enum _Sort { boolean, integer, float, text, bytes, moment, length, interval, list, map }

_Sort? _sortOf(Object value) {
  if (value is bool) return _Sort.boolean;
  if (value is int || value is BigInt) return _Sort.integer;
  if (value is double) return _Sort.float;
  if (value is String) return _Sort.text;
  if (value is Uint8List || value is ByteBuffer) return _Sort.bytes;
  if (value is DateTime) return _Sort.moment;
  if (value is Duration) return _Sort.length;
  if (value is ArrowTime) return value.type.kind == ArrowKind.duration ? _Sort.length : _Sort.moment;
  if (value is ArrowInterval) return _Sort.interval;
  if (value is List) return _Sort.list;
  return value is Map ? _Sort.map : null;
}

ArrowType _typeOf(String column, List<Object?> values, int depth) {
  if (depth > maxDepth) throw NATSBridgeException('too_deep', 'column ${shown(column)} is nested deeper than $maxDepth levels');
  final sorts = <_Sort>{};
  for (final value in values) {
    if (value == null) continue;
    sorts.add(_sortOf(value) ?? (throw unconvertible(column, 'Arrow has no ${value.runtimeType}')));
  }
  if (sorts.isEmpty) return ArrowType.nothing;
  if (sorts.length == 2 && sorts.containsAll(const [_Sort.integer, _Sort.float])) {
    for (final value in values) {
      if (value is BigInt || (value is int && value.abs() > _exact)) {
        throw unconvertible(column, 'it mixes floats with an integer beyond 2^53');
      }
    }
    return ArrowType.float64;
  }
  if (sorts.length > 1) throw unconvertible(column, 'it mixes ${[for (final sort in sorts) sort.name].join(' and ')}');
  switch (sorts.first) {
    case _Sort.boolean:
      return ArrowType.boolean;
    case _Sort.integer:
      return _integer(column, values);
    case _Sort.float:
      return ArrowType.float64;
    case _Sort.text:
      return ArrowType.utf8;
    case _Sort.bytes:
      return ArrowType.binary;
    case _Sort.interval:
      return const ArrowType(ArrowKind.interval, bits: 128);
    case _Sort.moment:
    case _Sort.length:
      ArrowType? special;
      for (final value in values.whereType<ArrowTime>()) {
        if (special != null && '$special' != '${value.type}') throw unconvertible(column, 'it mixes $special and ${value.type}');
        special = value.type;
      }
      if (special != null) return special;
      return sorts.first == _Sort.length
          ? const ArrowType(ArrowKind.duration)
          : const ArrowType(ArrowKind.timestamp, zone: 'UTC');
    case _Sort.list:
      final items = [for (final value in values) if (value != null) ...(value as List)];
      return ArrowType(ArrowKind.list, children: [ArrowField('item', _typeOf(column, items, depth + 1))]);
    case _Sort.map:
      final cells = <String, List<Object?>>{};
      for (var at = 0; at < values.length; at++) {
        (values[at] as Map?)?.forEach((key, value) {
          if (key is! String) throw wrong('column ${shown(column)}: the key ${shown('$key')} is not a string');
          if (!isSound(key)) throw wrong('column ${shown(column)}: a key has a lone surrogate');
          (cells[key] ??= []).add(value);
        });
      }
      return ArrowType(ArrowKind.struct,
          children: [for (final entry in cells.entries) ArrowField(entry.key, _typeOf(column, entry.value, depth + 1))]);
  }
}

ArrowType _integer(String column, List<Object?> values) {
  var negative = false, huge = false;
  for (final value in values) {
    if (value is int && value < 0) negative = true;
    if (value is BigInt) {
      if (value.isNegative) negative = true;
      if (value >= _top) huge = true;
      if (value.bitLength > 64 || value < -_top) throw unconvertible(column, 'an integer beyond 64 bits');
    }
  }
  if (huge && negative) throw unconvertible(column, 'its integers need more than 64 bits');
  return huge ? ArrowType.uint64 : ArrowType.int64;
}

/// What a column holds for one of Dart's values
Object? store(String column, ArrowType type, Object? value) {
  if (value == null) return null;
  Never odd() => throw unconvertible(column, 'a ${value.runtimeType} is no $type');
  switch (type.kind) {
    case ArrowKind.nothing:
      return odd();
    case ArrowKind.boolean:
      return value is bool ? value : odd();
    case ArrowKind.integer:
      return _storedInteger(column, type, value) ?? odd();
    case ArrowKind.float:
      if (value is double) return value;
      return value is int && value.abs() <= _exact ? value.toDouble() : odd();
    case ArrowKind.decimal:
      return _storedDecimal(column, type, value) ?? odd();
    case ArrowKind.utf8:
      if (value is! String) return odd();
      return isSound(value) ? value : throw wrong('column ${shown(column)}: a string with a lone surrogate');
    case ArrowKind.binary:
    case ArrowKind.fixedBinary:
      final bytes = value is ByteBuffer ? value.asUint8List() : value;
      if (bytes is! Uint8List) return odd();
      if (type.kind == ArrowKind.binary || bytes.length == type.size) return bytes;
      throw unconvertible(column, '${bytes.length} bytes are no $type');
    case ArrowKind.interval:
      return value is ArrowInterval ? value : odd();
    case ArrowKind.date32:
    case ArrowKind.date64:
    case ArrowKind.time:
    case ArrowKind.timestamp:
    case ArrowKind.duration:
      return _storedTime(column, type, value) ?? odd();
    case ArrowKind.dictionary:
    case ArrowKind.runs:
      return store(column, type.item, value);
    case ArrowKind.list:
    case ArrowKind.fixedList:
      if (value is! List) return odd();
      if (type.kind == ArrowKind.fixedList && value.length != type.size) throw unconvertible(column, '${value.length} items are no $type');
      return [for (final item in value) store(column, type.item, item)];
    case ArrowKind.struct:
      if (value is! Map) return odd();
      for (final key in value.keys) {
        if (!type.children.any((child) => child.name == key)) throw unconvertible(column, '$type has no field ${shown('$key')}');
      }
      return [for (final child in type.children) store(column, child.type, value[child.name])];
    case ArrowKind.map:
      if (value is! Map) return odd();
      return [
        for (final entry in value.entries)
          [
            store(column, type.children[0].type, entry.key) ?? (throw unconvertible(column, 'a map has a key that is null')),
            store(column, type.children[1].type, entry.value)
          ]
      ];
  }
}

Object? _storedInteger(String column, ArrowType type, Object value) {
  if (value is! int && value is! BigInt) return null;
  if (value is int && type.signed && type.bits == 64) return value;
  final big = value is BigInt ? value : BigInt.from(value as int);
  final top = BigInt.one << (type.signed ? type.bits - 1 : type.bits);
  if (big >= top || big < (type.signed ? -top : BigInt.zero)) throw unconvertible(column, '$value is no $type');
  return big.isValidInt && big.bitLength < 64 ? big.toInt() : big;
}

/// [BigInt] without the scale, from digits or a whole number
BigInt? _storedDecimal(String column, ArrowType type, Object value) {
  if (value is! String && value is! int && value is! BigInt) return null;
  final found = RegExp(r'^([+-]?)(\d{1,100})(?:\.(\d{0,100}))?$').firstMatch('$value');
  if (found == null) return null;
  final digits = (found[3] ?? '').replaceFirst(RegExp(r'0+$'), '');
  final missing = type.scale - digits.length;
  var whole = BigInt.parse('${found[2]}$digits');
  if (missing >= 0) {
    whole *= BigInt.from(10).pow(missing);
  } else {
    final over = BigInt.from(10).pow(-missing);
    if (whole % over != BigInt.zero) throw unconvertible(column, '${shown('$value')} has more digits than $type');
    whole = whole ~/ over;
  }
  if ('$whole'.length > type.precision && whole != BigInt.zero) throw unconvertible(column, '${shown('$value')} is no $type');
  return found[1] == '-' ? -whole : whole;
}

/// The number of units; a value that has none exactly is refused
int? _storedTime(String column, ArrowType type, Object value) {
  if (value is int) return value;
  final unit = type.kind == ArrowKind.date64 ? TimeUnit.ms : type.unit;
  if (value is ArrowTime) {
    if ('${value.type}' == '$type') return value.stored;
    throw unconvertible(column, 'a ${value.type} is no $type');
  }
  final int micros;
  if (value is DateTime && type.kind != ArrowKind.time && type.kind != ArrowKind.duration) {
    micros = value.microsecondsSinceEpoch;
  } else if (value is Duration && (type.kind == ArrowKind.time || type.kind == ArrowKind.duration)) {
    micros = value.inMicroseconds;
  } else {
    return null;
  }
  if (type.kind == ArrowKind.date32) {
    // A local date is meant as the calendar shows it.
    final date = value as DateTime;
    if (date.hour + date.minute + date.second + date.millisecond + date.microsecond > 0) {
      throw unconvertible(column, 'a date with a time of day is no $type');
    }
    return floored(DateTime.utc(date.year, date.month, date.day).millisecondsSinceEpoch, 86400000);
  }
  if (unit == TimeUnit.ns) {
    final far = _top ~/ BigInt.from(1000);
    if (BigInt.from(micros).abs() >= far) throw unconvertible(column, '$value is no $type');
    return micros * 1000;
  }
  final by = 1000000 ~/ unit.perSecond;
  if (micros.remainder(by) != 0) throw unconvertible(column, '$value is no $type');
  return micros ~/ by;
}
