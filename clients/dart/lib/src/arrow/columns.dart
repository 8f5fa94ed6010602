/// A batch's columns: every node, buffer, bitmap and offset is checked before a value is touched.
library natsbridge.arrow.columns;

import 'dart:math';
import 'dart:typed_data';

import '../errors.dart';
import '../text.dart';
import 'flat.dart';
import 'schema.dart';
import 'text.dart';
import 'types.dart';

/// What one table may become: few bytes can stand for very many values
class Budget {
  /// For a table of so many bytes: a bit may be a value, a column of nulls has none, and views may share their text
  Budget(int bytes)
      : _most = min(mostValues, 5000000 + 16 * bytes),
        _mostBytes = min(mostBytes, (1 << 26) + 100 * bytes);

  static const mostValues = 50000000;
  static const mostBytes = 1 << 29;

  final int _most;
  final int _mostBytes;
  int _values = 0;
  int _bytes = 0;

  void take(int values) {
    if (values > _most || (_values += values) > _most) {
      throw NATSBridgeException('too_large', 'the table has more than $_most values');
    }
  }

  void takeBytes(int bytes) {
    if ((_bytes += bytes) > _mostBytes) throw NATSBridgeException('too_large', 'the table has more than $_mostBytes bytes of text');
  }
}

class ColumnReader {
  ColumnReader(this.schema, this.dictionaries, this.budget, Flat batch, this.body)
      : nodes = batch.structs(1, 16),
        buffers = batch.structs(2, 16),
        variadics = batch.structs(4, 8) {
    final compression = batch.table(3);
    if (compression != null) {
      final codec = compression.int8(0);
      if (codec != 0 && codec != 1) throw undecodable('an unknown compression');
      compressed = codec == 0 ? 'LZ4' : 'ZSTD';
    }
  }

  final Schema schema;
  final Map<int, List<Object?>> dictionaries;
  final Budget budget;
  final Uint8List body;
  final Structs nodes;
  final Structs buffers;
  final Structs variadics;

  /// The codec of the buffers, where they have one
  String? compressed;

  int _node = 0;
  int _buffer = 0;
  int _variadic = 0;

  /// The next column; [wanted] rows, or as many as it says
  List<Object?> column(ArrowField field, int? wanted, {bool atLeast = false}) {
    final type = field.type;
    if (_node >= nodes.length) throw undecodable('a batch without a node for column ${shown(field.name)}');
    final length = nodes.int64(_node), nulls = nodes.int64(_node, 8);
    _node++;
    if (nulls < 0 || nulls > length) throw undecodable('$length values, of which $nulls are null');
    if (wanted != null && (atLeast ? length < wanted : length != wanted)) {
      throw undecodable('column ${shown(field.name)} has $length values, not $wanted');
    }
    budget.take(length);
    if (type.kind == ArrowKind.nothing) return List<Object?>.filled(length, null);
    if (type.kind == ArrowKind.runs) return _runs(type, length);
    final validity = _validity(length, nulls);
    switch (type.kind) {
      case ArrowKind.boolean:
        final bits = _bytes((length + 7) ~/ 8, length);
        return _each(length, validity, (at) => bits[at >> 3] >> (at & 7) & 1 == 1);
      case ArrowKind.utf8:
      case ArrowKind.binary:
        return type.isView ? _views(type, length, validity) : _texts(type, length, validity);
      case ArrowKind.fixedBinary:
        final data = _bytes(length * type.size, length), size = type.size;
        budget.takeBytes(length * size);
        return _each(length, validity, (at) => Uint8List.fromList(Uint8List.sublistView(data, at * size, at * size + size)));
      case ArrowKind.list:
      case ArrowKind.map:
        return _lists(field, length, validity);
      case ArrowKind.fixedList:
        final items = column(type.children.first, length * type.size, atLeast: true), size = type.size;
        return _each(length, validity, (at) => items.sublist(at * size, at * size + size));
      case ArrowKind.struct:
        final parts = [for (final child in type.children) column(child, length, atLeast: true)];
        return _each(length, validity, (at) => [for (final part in parts) part[at]]);
      case ArrowKind.dictionary:
        return _words(type, length, validity);
      default:
        return _numbers(type, length, validity);
    }
  }

  /// The next buffer
  Uint8List _next() {
    if (_buffer >= buffers.length) throw undecodable('a batch with too few buffers');
    final offset = buffers.int64(_buffer), length = buffers.int64(_buffer, 8);
    _buffer++;
    if (offset < 0 || length < 0 || length > body.length - offset) {
      throw undecodable('a buffer beyond its body');
    }
    final found = Uint8List.sublistView(body, offset, offset + length);
    return compressed == null || length == 0 ? found : _plain(found);
  }

  /// A buffer of a compressed body, which may be kept as it is
  Uint8List _plain(Uint8List found) {
    if (found.length < 8) throw undecodable('a compressed buffer without its length');
    final size = ByteData.sublistView(found).getInt64(0, Endian.little);
    if (size == -1) return Uint8List.sublistView(found, 8);
    if (size < 0) throw undecodable('a compressed buffer of $size bytes');
    if (size > Budget.mostBytes) throw NATSBridgeException('too_large', 'a compressed buffer of $size bytes');
    throw NATSBridgeException('unsupported', '$compressed bodies are not read by this library; send the table uncompressed');
  }

  /// The next buffer, which has to hold so many bytes where there are values
  Uint8List _bytes(int least, int length) {
    final found = _next();
    if (length > 0 && found.length < least) throw undecodable('${found.length} bytes for $length values, which need $least');
    return found;
  }

  /// The bitmap of what is there; null where all is
  Uint8List? _validity(int length, int nulls) {
    final found = _next();
    if (nulls == 0) return null;
    if (found.length < (length + 7) ~/ 8) throw undecodable('${found.length} bytes of validity for $length values');
    return found;
  }

  static bool _is(Uint8List? validity, int at) => validity == null || validity[at >> 3] >> (at & 7) & 1 == 1;

  static List<Object?> _each(int length, Uint8List? validity, Object? Function(int at) value) {
    final found = List<Object?>.filled(length, null);
    for (var at = 0; at < length; at++) {
      if (_is(validity, at)) found[at] = value(at);
    }
    return found;
  }

  List<Object?> _numbers(ArrowType type, int length, Uint8List? validity) {
    final width = widthOf(type);
    final bytes = _bytes(length * width, length);
    final data = ByteData.sublistView(bytes);
    switch (type.kind) {
      case ArrowKind.integer:
        return _each(length, validity, _integers(type, data));
      case ArrowKind.float:
        if (width == 2) return _each(length, validity, (at) => _half(data.getUint16(2 * at, Endian.little)));
        if (width == 4) return _each(length, validity, (at) => data.getFloat32(4 * at, Endian.little));
        return _each(length, validity, (at) => data.getFloat64(8 * at, Endian.little));
      case ArrowKind.decimal:
        return _each(length, validity, (at) {
          var value = BigInt.zero;
          for (var byte = (at + 1) * width - 1; byte >= at * width; byte--) {
            value = value << 8 | BigInt.from(bytes[byte]);
          }
          return value.toSigned(type.bits);
        });
      case ArrowKind.interval:
        if (width == 4) return _each(length, validity, (at) => ArrowInterval(data.getInt32(4 * at, Endian.little), 0, 0));
        if (width == 8) {
          return _each(length, validity,
              (at) => ArrowInterval(0, data.getInt32(8 * at, Endian.little), data.getInt32(8 * at + 4, Endian.little) * 1000000));
        }
        return _each(
            length,
            validity,
            (at) => ArrowInterval(data.getInt32(16 * at, Endian.little), data.getInt32(16 * at + 4, Endian.little),
                data.getInt64(16 * at + 8, Endian.little)));
      default:
        if (width == 4) return _each(length, validity, (at) => data.getInt32(4 * at, Endian.little));
        return _each(length, validity, (at) => data.getInt64(8 * at, Endian.little));
    }
  }

  static Object Function(int at) _integers(ArrowType type, ByteData data) {
    switch (type.bits) {
      case 8:
        return type.signed ? data.getInt8 : data.getUint8;
      case 16:
        return type.signed ? (at) => data.getInt16(2 * at, Endian.little) : (at) => data.getUint16(2 * at, Endian.little);
      case 32:
        return type.signed ? (at) => data.getInt32(4 * at, Endian.little) : (at) => data.getUint32(4 * at, Endian.little);
    }
    if (type.signed) return (at) => data.getInt64(8 * at, Endian.little);
    return (at) {
      final value = data.getInt64(8 * at, Endian.little);
      return value >= 0 ? value : BigInt.from(value).toUnsigned(64);
    };
  }

  static double _half(int bits) {
    final exponent = bits >> 10 & 31, fraction = bits & 1023;
    double value;
    if (exponent == 31) {
      value = fraction == 0 ? double.infinity : double.nan;
    } else if (exponent == 0) {
      value = fraction / 16777216;
    } else {
      value = (1024 + fraction) * (exponent >= 25 ? (1 << (exponent - 25)).toDouble() : 1 / (1 << (25 - exponent)));
    }
    return bits & 0x8000 == 0 ? value : -value;
  }

  /// Offsets of so many values, which rise from at least 0 up to at most [limit]
  List<int> _offsets(ArrowType type, int length) {
    final width = type.isLarge ? 8 : 4;
    final bytes = _bytes((length + 1) * width, length);
    if (length == 0) return const [0];
    final data = ByteData.sublistView(bytes);
    final found = List<int>.filled(length + 1, 0);
    var before = 0;
    for (var at = 0; at <= length; at++) {
      final offset = width == 4 ? data.getInt32(4 * at, Endian.little) : data.getInt64(8 * at, Endian.little);
      if (offset < before) throw undecodable('an offset goes backwards');
      found[at] = before = offset;
    }
    return found;
  }

  Object _text(ArrowType type, Uint8List data, int start, int end) {
    if (type.kind == ArrowKind.binary) return Uint8List.fromList(Uint8List.sublistView(data, start, end));
    for (var at = start; at < end; at++) {
      if (data[at] >= 0x80) {
        try {
          return utf8Text(Uint8List.sublistView(data, start, end));
        } on FormatException {
          throw undecodable('a string is not UTF-8');
        }
      }
    }
    return String.fromCharCodes(data, start, end);
  }

  List<Object?> _texts(ArrowType type, int length, Uint8List? validity) {
    final offsets = _offsets(type, length);
    final data = _next();
    if (offsets.last > data.length) throw undecodable('a value ends beyond its column');
    budget.takeBytes(offsets.last - offsets.first);
    return _each(length, validity, (at) => _text(type, data, offsets[at], offsets[at + 1]));
  }

  List<Object?> _views(ArrowType type, int length, Uint8List? validity) {
    final bytes = _bytes(16 * length, length);
    final data = ByteData.sublistView(bytes);
    if (_variadic >= variadics.length) throw undecodable('a column of views without its number of buffers');
    final count = variadics.int64(_variadic++);
    if (count < 0 || count > buffers.length - _buffer) throw undecodable('$count buffers of views');
    final pieces = [for (var at = 0; at < count; at++) _next()];
    return _each(length, validity, (at) {
      final size = data.getInt32(16 * at, Endian.little);
      if (size < 0) throw undecodable('a value of $size bytes');
      budget.takeBytes(size);
      if (size <= 12) return _text(type, bytes, 16 * at + 4, 16 * at + 4 + size);
      final which = data.getInt32(16 * at + 8, Endian.little), start = data.getInt32(16 * at + 12, Endian.little);
      if (which < 0 || which >= count || start < 0 || start > pieces[which].length - size) {
        throw undecodable('a view leads beyond its buffers');
      }
      for (var byte = 0; byte < 4; byte++) {
        if (bytes[16 * at + 4 + byte] != pieces[which][start + byte]) throw undecodable('a view begins otherwise than its value');
      }
      return _text(type, pieces[which], start, start + size);
    });
  }

  List<Object?> _lists(ArrowField field, int length, Uint8List? validity) {
    final type = field.type;
    if (type.isView) {
      final width = type.isLarge ? 8 : 4;
      final starts = ByteData.sublistView(_bytes(length * width, length));
      final sizes = ByteData.sublistView(_bytes(length * width, length));
      int of(ByteData data, int at) => width == 4 ? data.getInt32(4 * at, Endian.little) : data.getInt64(8 * at, Endian.little);
      final items = column(type.children.first, null);
      for (var at = 0; at < length; at++) {
        final start = of(starts, at), size = of(sizes, at);
        if (start < 0 || size < 0 || size > items.length - start) {
          throw undecodable('a list ends beyond its items');
        }
        budget.take(size); // lists may share their items
      }
      return _each(length, validity, (at) => items.sublist(of(starts, at), of(starts, at) + of(sizes, at)));
    }
    final offsets = _offsets(type, length);
    // A map's entries are structs of key and value.
    final item = type.kind == ArrowKind.map
        ? ArrowField('entries', ArrowType(ArrowKind.struct, children: type.children))
        : type.children.first;
    final items = column(item, null);
    if (offsets.last > items.length) throw undecodable('a list ends beyond its items');
    final found = _each(length, validity, (at) => items.sublist(offsets[at], offsets[at + 1]));
    if (type.kind != ArrowKind.map) return found;
    for (final map in found) {
      if (map is List && map.contains(null)) throw undecodable('a map has an entry that is null');
    }
    return found;
  }

  List<Object?> _words(ArrowType type, int length, Uint8List? validity) {
    final index = type.index!;
    final data = ByteData.sublistView(_bytes(length * index.bits ~/ 8, length));
    final words = dictionaries[schema.ids[type]] ?? const <Object?>[];
    final read = _integers(index, data);
    return _each(length, validity, (at) {
      final word = read(at);
      if (word is! int || word < 0 || word >= words.length) throw undecodable('an index leads beyond its dictionary');
      return words[word];
    });
  }

  List<Object?> _runs(ArrowType type, int length) {
    final ends = column(ArrowField('run_ends', type.index!), null);
    final values = column(type.children.first, null);
    if (values.length < ends.length) throw undecodable('a run without a value');
    var before = 0;
    for (final end in ends) {
      if (end is! int || end <= before) throw undecodable('the ends of runs do not rise');
      before = end;
    }
    if (before < length) throw undecodable('the runs end before the rows do');
    final found = List<Object?>.filled(length, null);
    var run = 0;
    for (var at = 0; at < length; at++) {
      while ((ends[run] as int) <= at) {
        run++;
      }
      found[at] = values[run];
    }
    return found;
  }
}
