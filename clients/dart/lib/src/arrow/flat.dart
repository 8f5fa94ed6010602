/// Flatbuffers, read with every place checked against the message that it is in.
library natsbridge.arrow.flat;

import 'dart:typed_data';

import '../errors.dart';
import '../text.dart';

NATSBridgeException undecodable(String why) => NATSBridgeException('undecodable', 'it is not a readable Arrow table: $why');

/// A table inside a flatbuffer; a field that is not there has its default
class Flat {
  Flat._(this._data, this._at) {
    _need(_at, 4);
    _words = _at - _data.getInt32(_at, Endian.little);
    _need(_words, 4);
    _size = _data.getUint16(_words, Endian.little);
    if (_size < 4 || _size.isOdd) throw undecodable('a table of fields of $_size bytes');
    _need(_words, _size);
  }

  /// The first table of a message
  factory Flat.root(Uint8List message) {
    final data = ByteData.sublistView(message);
    if (data.lengthInBytes < 8) throw undecodable('a message of ${data.lengthInBytes} bytes');
    return Flat._(data, data.getUint32(0, Endian.little));
  }

  final ByteData _data;
  final int _at;
  late final int _words;
  late final int _size;

  void _need(int at, int count) {
    if (at < 0 || at > _data.lengthInBytes - count) throw undecodable('a message points beyond its end');
  }

  /// Where a field of so many bytes stands; 0 where it has its default
  int _place(int field, int bytes) {
    final slot = 4 + 2 * field;
    if (slot + 2 > _size) return 0;
    final offset = _data.getUint16(_words + slot, Endian.little);
    if (offset == 0) return 0;
    _need(_at + offset, bytes);
    return _at + offset;
  }

  int int8(int field, [int absent = 0]) {
    final place = _place(field, 1);
    return place == 0 ? absent : _data.getInt8(place);
  }

  int int16(int field, [int absent = 0]) {
    final place = _place(field, 2);
    return place == 0 ? absent : _data.getInt16(place, Endian.little);
  }

  int int32(int field, [int absent = 0]) {
    final place = _place(field, 4);
    return place == 0 ? absent : _data.getInt32(place, Endian.little);
  }

  int int64(int field, [int absent = 0]) {
    final place = _place(field, 8);
    return place == 0 ? absent : _data.getInt64(place, Endian.little);
  }

  /// Where a field's offset leads; 0 where there is none
  int _target(int field) {
    final place = _place(field, 4);
    if (place == 0) return 0;
    final target = place + _data.getUint32(place, Endian.little);
    _need(target, 4);
    return target;
  }

  Flat? table(int field) {
    final target = _target(field);
    return target == 0 ? null : Flat._(_data, target);
  }

  String? text(int field) {
    final target = _target(field);
    if (target == 0) return null;
    final length = _data.getUint32(target, Endian.little);
    _need(target + 4, length);
    try {
      return utf8Text(Uint8List.sublistView(_data, target + 4, target + 4 + length));
    } on FormatException {
      throw undecodable('a name is not UTF-8');
    }
  }

  List<Flat> tables(int field) {
    final target = _target(field);
    if (target == 0) return const [];
    final count = _data.getUint32(target, Endian.little);
    _need(target + 4, 4 * count);
    return [
      for (var at = target + 4; at < target + 4 + 4 * count; at += 4) Flat._(_data, at + _data.getUint32(at, Endian.little))
    ];
  }

  /// Structs of so many bytes each, one after the other
  Structs structs(int field, int bytes) {
    final target = _target(field);
    if (target == 0) return Structs(_data, 0, 0, bytes);
    final count = _data.getUint32(target, Endian.little);
    _need(target + 4, bytes * count);
    return Structs(_data, target + 4, count, bytes);
  }
}

class Structs {
  Structs(this._data, this._at, this.length, this._bytes);

  final ByteData _data;
  final int _at;
  final int length;
  final int _bytes;

  int int64(int index, [int offset = 0]) => _data.getInt64(_at + index * _bytes + offset, Endian.little);

  int int32(int index, int offset) => _data.getInt32(_at + index * _bytes + offset, Endian.little);
}
