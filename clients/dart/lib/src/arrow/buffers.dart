/// The buffers of a batch that is written, with the nodes and places that describe them.
library natsbridge.arrow.buffers;

import 'dart:typed_data';

import '../text.dart';
import 'text.dart';
import 'types.dart';

/// A value that its column's type has no room for
class NotThere implements Exception {
  NotThere(this.why);

  final String why;
}

class Buffers {
  final pieces = <Uint8List>[];

  /// Length and nulls of each column
  final nodes = <int>[];

  /// Offset and length of each buffer
  final places = <int>[];

  /// Buffers of each column of views
  final views = <int>[];
  int length = 0;

  void node(int count, int nulls) => nodes
    ..add(count)
    ..add(nulls);

  void add(Uint8List piece) {
    places
      ..add(length)
      ..add(piece.length);
    pieces.add(piece);
    final missing = -piece.length % 8;
    if (missing > 0) pieces.add(Uint8List(missing));
    length += piece.length + missing;
  }

  /// The bitmap of what is there; nothing where all is
  void validity(List<Object?> values, int nulls) {
    if (nulls == 0) return add(Uint8List(0));
    final bits = Uint8List((values.length + 7) ~/ 8);
    for (var at = 0; at < values.length; at++) {
      if (values[at] != null) bits[at >> 3] |= 1 << (at & 7);
    }
    add(bits);
  }

  /// Offsets of values, whose lengths are asked for one after the other
  int offsets(ArrowType type, List<Object?> values, int Function(Object value) size) {
    final width = type.isLarge ? 8 : 4;
    final data = ByteData((values.length + 1) * width);
    var end = 0;
    for (var at = 0; at < values.length; at++) {
      final value = values[at];
      if (value != null) end += size(value);
      if (width == 8) {
        data.setInt64(8 * at + 8, end, Endian.little);
      } else {
        if (end > 0x7fffffff) throw NotThere('it holds more than 2 GB');
        data.setInt32(4 * at + 4, end, Endian.little);
      }
    }
    add(Uint8List.sublistView(data));
    return end;
  }

  /// Beginnings and sizes of list views
  void ranges(ArrowType type, List<Object?> values, int Function(Object value) size) {
    final width = type.isLarge ? 8 : 4;
    final starts = ByteData(values.length * width), sizes = ByteData(values.length * width);
    var end = 0;
    for (var at = 0; at < values.length; at++) {
      final value = values[at];
      final count = value == null ? 0 : size(value);
      if (width == 8) {
        starts.setInt64(8 * at, end, Endian.little);
        sizes.setInt64(8 * at, count, Endian.little);
      } else {
        starts.setInt32(4 * at, end, Endian.little);
        sizes.setInt32(4 * at, count, Endian.little);
      }
      end += count;
    }
    add(Uint8List.sublistView(starts));
    add(Uint8List.sublistView(sizes));
  }

  static Uint8List _bytes(Object value) => value is String ? utf8Of(value) : value as Uint8List;

  void texts(ArrowType type, List<Object?> values) {
    final data = BytesBuilder(copy: false);
    offsets(type, values, (value) {
      final bytes = _bytes(value);
      data.add(bytes);
      return bytes.length;
    });
    add(data.takeBytes());
  }

  void viewed(ArrowType type, List<Object?> values) {
    final heads = ByteData(16 * values.length);
    final all = Uint8List.sublistView(heads);
    final data = BytesBuilder(copy: false);
    for (var at = 0; at < values.length; at++) {
      final value = values[at];
      if (value == null) continue;
      final bytes = _bytes(value);
      heads.setInt32(16 * at, bytes.length, Endian.little);
      if (bytes.length <= 12) {
        all.setRange(16 * at + 4, 16 * at + 4 + bytes.length, bytes);
      } else {
        all.setRange(16 * at + 4, 16 * at + 8, bytes);
        heads.setInt32(16 * at + 12, data.length, Endian.little);
        data.add(bytes);
      }
    }
    add(all);
    views.add(data.isEmpty ? 0 : 1);
    if (data.isNotEmpty) add(data.takeBytes());
  }

  /// Values of one width
  void numbers(ArrowType type, List<Object?> values) {
    final count = values.length;
    if (type.kind == ArrowKind.boolean) {
      final bits = Uint8List((count + 7) ~/ 8);
      for (var at = 0; at < count; at++) {
        if (values[at] == true) bits[at >> 3] |= 1 << (at & 7);
      }
      return add(bits);
    }
    final width = widthOf(type);
    final bytes = Uint8List(count * width);
    final data = ByteData.sublistView(bytes);
    for (var at = 0; at < count; at++) {
      final value = values[at];
      if (value != null) _number(type, width, bytes, data, at * width, value);
    }
    add(bytes);
  }

  static void _number(ArrowType type, int width, Uint8List bytes, ByteData data, int at, Object value) {
    switch (type.kind) {
      case ArrowKind.fixedBinary:
        bytes.setRange(at, at + width, value as Uint8List);
        return;
      case ArrowKind.decimal:
        var rest = value as BigInt;
        if (rest.bitLength >= type.bits) throw NotThere('a decimal that needs more than ${type.bits} bits');
        for (var byte = at; byte < at + width; byte++) {
          bytes[byte] = (rest & BigInt.from(255)).toInt();
          rest = rest >> 8;
        }
        return;
      case ArrowKind.interval:
        final interval = value as ArrowInterval;
        _interval(data, at, width, interval);
        return;
      case ArrowKind.float:
        final number = value as double;
        if (width == 8) return data.setFloat64(at, number, Endian.little);
        if (width == 4) return data.setFloat32(at, number, Endian.little);
        return data.setUint16(at, _half(number), Endian.little);
      default:
        _integer(type, width, data, at, value);
    }
  }

  static void _integer(ArrowType type, int width, ByteData data, int at, Object value) {
    if (value is BigInt) return data.setInt64(at, value.toSigned(64).toInt(), Endian.little);
    final number = value as int;
    if (width == 8) return data.setInt64(at, number, Endian.little);
    final unsigned = type.kind == ArrowKind.integer && !type.signed;
    final top = 1 << (8 * width - (unsigned ? 0 : 1));
    if (number >= top || number < (unsigned ? 0 : -top)) throw NotThere('$number is beyond $type');
    if (width == 1) return data.setInt8(at, number);
    width == 2 ? data.setInt16(at, number, Endian.little) : data.setInt32(at, number, Endian.little);
  }

  static void _interval(ByteData data, int at, int width, ArrowInterval interval) {
    int narrow(int number) =>
        number >= -0x80000000 && number <= 0x7fffffff ? number : throw NotThere('$interval is beyond its type');
    if (width == 4) {
      if (interval.days != 0 || interval.nanoseconds != 0) throw NotThere('$interval has more than months');
      return data.setInt32(at, narrow(interval.months), Endian.little);
    }
    if (width == 8) {
      if (interval.months != 0 || interval.nanoseconds % 1000000 != 0) throw NotThere('$interval is more than days and milliseconds');
      data.setInt32(at, narrow(interval.days), Endian.little);
      return data.setInt32(at + 4, narrow(interval.nanoseconds ~/ 1000000), Endian.little);
    }
    data.setInt32(at, narrow(interval.months), Endian.little);
    data.setInt32(at + 4, narrow(interval.days), Endian.little);
    data.setInt64(at + 8, interval.nanoseconds, Endian.little);
  }

  /// The nearest float of 16 bits
  static int _half(double value) {
    if (value.isNaN) return 0x7e00;
    final sign = value.isNegative ? 0x8000 : 0;
    final size = value.abs();
    if (size >= 65520) return sign | 0x7c00;
    if (size < 1 / 16384) return sign | _even(size * 16777216);
    var exponent = 0;
    var scaled = size;
    while (scaled >= 2) {
      scaled /= 2;
      exponent++;
    }
    while (scaled < 1) {
      scaled *= 2;
      exponent--;
    }
    // A carry out of the fraction is one into the exponent.
    return sign | ((exponent + 15) << 10) + _even((scaled - 1) * 1024);
  }

  static int _even(double value) {
    final down = value.floor();
    final rest = value - down;
    return rest > 0.5 || (rest == 0.5 && down.isOdd) ? down + 1 : down;
  }
}
