/// Flatbuffers, written: tables as maps from field number to value.
library natsbridge.arrow.flat_out;

import 'dart:typed_data';

import '../text.dart';

/// A number of so many bytes
class Fixed {
  const Fixed(this.size, this.value);

  final int size;
  final int value;
}

Fixed byte(int value) => Fixed(1, value);
Fixed short(int value) => Fixed(2, value);
Fixed word(int value) => Fixed(4, value);
Fixed long(int value) => Fixed(8, value);

/// Structs of 64-bit numbers, one after the other
class Longs {
  const Longs(this.values, this.perStruct);

  final List<int> values;
  final int perStruct;
}

typedef Table = Map<int, Object?>;

/// A message: a table is written before what it points to, so that every offset leads forward
class FlatOut {
  var _bytes = Uint8List(1024);
  var _data = ByteData(0);
  var _length = 0;

  Uint8List message(Table root) {
    _data = ByteData.sublistView(_bytes);
    final start = _grow(4);
    _point(start, _table(root));
    return Uint8List.fromList(Uint8List.sublistView(_bytes, 0, _length));
  }

  int _grow(int count) {
    final at = _length;
    _length += count;
    if (_length > _bytes.length) {
      final bigger = Uint8List(_length * 2)..setRange(0, at, _bytes);
      _bytes = bigger;
      _data = ByteData.sublistView(_bytes);
    }
    return at;
  }

  void _align(int to, [int rest = 0]) {
    while (_length % to != rest) {
      _grow(1);
    }
  }

  void _point(int from, int to) => _data.setUint32(from, to - from, Endian.little);

  static int _size(Object? value) => value is Fixed ? value.size : 4;

  int _table(Table table) {
    final fields = [
      for (final entry in table.entries)
        if (entry.value != null) entry
    ]..sort((a, b) => _size(b.value).compareTo(_size(a.value)));
    final slots = fields.fold<int>(0, (most, entry) => entry.key >= most ? entry.key + 1 : most);
    _align(2);
    final words = _grow(4 + 2 * slots);
    // The first number stands 4 bytes behind, where eight can stand.
    _align(8, 4);
    final size = fields.fold<int>(4, (sum, entry) => sum + _size(entry.value));
    final start = _grow(size);
    _data.setUint16(words, 4 + 2 * slots, Endian.little);
    _data.setUint16(words + 2, size, Endian.little);
    _data.setInt32(start, start - words, Endian.little);
    var at = start + 4;
    final later = <int, Object>{};
    for (final field in fields) {
      _data.setUint16(words + 4 + 2 * field.key, at - start, Endian.little);
      final value = field.value!;
      if (value is Fixed) {
        _number(at, value);
      } else {
        later[at] = value;
      }
      at += _size(value);
    }
    later.forEach((place, value) => _point(place, _behind(value)));
    return start;
  }

  void _number(int at, Fixed number) {
    switch (number.size) {
      case 1:
        _data.setInt8(at, number.value);
        break;
      case 2:
        _data.setInt16(at, number.value, Endian.little);
        break;
      case 4:
        _data.setInt32(at, number.value, Endian.little);
        break;
      default:
        _data.setInt64(at, number.value, Endian.little);
    }
  }

  int _behind(Object value) {
    if (value is Table) return _table(value);
    if (value is String) {
      final text = utf8Of(value);
      _align(4);
      final start = _grow(4 + text.length + 1);
      _data.setUint32(start, text.length, Endian.little);
      _bytes.setRange(start + 4, start + 4 + text.length, text);
      return start;
    }
    if (value is Longs) {
      _align(8, 4);
      final start = _grow(4 + 8 * value.values.length);
      _data.setUint32(start, value.values.length ~/ value.perStruct, Endian.little);
      for (var at = 0; at < value.values.length; at++) {
        _data.setInt64(start + 4 + 8 * at, value.values[at], Endian.little);
      }
      return start;
    }
    final tables = value as List<Table>;
    _align(4);
    final start = _grow(4 + 4 * tables.length);
    _data.setUint32(start, tables.length, Endian.little);
    for (var at = 0; at < tables.length; at++) {
      _point(start + 4 + 4 * at, _table(tables[at]));
    }
    return start;
  }
}
