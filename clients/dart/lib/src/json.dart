/// JSON without loss: integers stay exact, keys keep their order, what stands twice or is no JSON is refused.
library natsbridge.json;

import 'dart:convert';
import 'dart:typed_data';

import 'errors.dart';
import 'text.dart';

typedef Json = Map<String, Object?>;

/// Arrays and objects of JSON within each other
const maxDepth = 127;

/// A value that stays where it is in the text; a string without its quotes
class Raw {
  const Raw(this.start, this.end, this.isText);

  final int start;
  final int end;
  final bool isText;
}

/// What a value is in the envelope, for the keys that may stand only once and the data that is left as it is
enum JsonKind { any, envelope, payloads, payload, metadata, data }

/// Reads JSON strictly: integers stay exact ([BigInt] beyond 64 bits), keys keep their order
Object? fromJson(Uint8List bytes, {int depth = maxDepth}) => JsonReader(bytes, depth).whole(JsonKind.any);

class JsonReader {
  JsonReader(this.bytes, this.room);

  final Uint8List bytes;

  /// How much deeper it may go
  int room;
  int at = 0;

  int get byte => at < bytes.length ? bytes[at] : -1;

  Object? whole(JsonKind kind) {
    final found = value(kind);
    space();
    if (at < bytes.length) throw _notJson(bytes, at, 'text after the value');
    return found;
  }

  void space() {
    while (byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09) {
      at++;
    }
  }

  Object? value(JsonKind kind) {
    space();
    final start = at;
    if (byte == 0x22) {
      string();
      return kind == JsonKind.data ? Raw(start + 1, at - 1, true) : textAt(bytes, start + 1, at - 1);
    }
    final Object? found;
    if (byte == 0x7b || byte == 0x5b) {
      if (room == 0) throw _notJson(bytes, at, 'nested too deep');
      room--;
      found = byte == 0x7b ? object(kind) : array(kind);
      room++;
    } else if (word('null')) {
      found = null;
    } else if (word('true')) {
      found = true;
    } else {
      found = word('false') ? false : number();
    }
    return kind == JsonKind.data ? Raw(start, at, false) : found;
  }

  bool word(String text) {
    for (var i = 0; i < text.length; i++) {
      if (at + i >= bytes.length || bytes[at + i] != text.codeUnitAt(i)) return false;
    }
    at += text.length;
    return true;
  }

  Json object(JsonKind kind) {
    final found = <String, Object?>{};
    final wire = kind == JsonKind.envelope || kind == JsonKind.payload;
    at++;
    space();
    if (byte == 0x7d) {
      at++;
      return found;
    }
    do {
      space();
      if (byte != 0x22) throw _notJson(bytes, at, 'expected a key');
      final start = at + 1;
      string();
      final key = textAt(bytes, start, at - 1);
      if ((wire || kind == JsonKind.metadata) && found.containsKey(key)) throw _notJson(bytes, start, 'duplicate key `$key`');
      space();
      if (byte != 0x3a) throw _notJson(bytes, at, 'expected :');
      at++;
      var child = JsonKind.any;
      if (kind == JsonKind.envelope && key == 'payloads') child = JsonKind.payloads;
      if (wire && key == 'metadata') child = JsonKind.metadata;
      if (kind == JsonKind.payload && key == 'data') child = JsonKind.data;
      found[key] = value(child);
    } while (another(0x7d));
    return found;
  }

  List<Object?> array(JsonKind kind) {
    final found = <Object?>[];
    at++;
    space();
    if (byte == 0x5d) {
      at++;
      return found;
    }
    do {
      found.add(value(kind == JsonKind.payloads ? JsonKind.payload : JsonKind.any));
    } while (another(0x5d));
    return found;
  }

  bool another(int closing) {
    space();
    final found = byte;
    if (found != 0x2c && found != closing) throw _notJson(bytes, at, 'expected , or ${String.fromCharCode(closing)}');
    at++;
    return found == 0x2c;
  }

  void string() {
    at++;
    while (byte != 0x22) {
      if (byte < 0x20) {
        throw _notJson(bytes, at, at < bytes.length ? 'a control character in a string' : 'a string without end');
      }
      at += byte == 0x5c ? 2 : 1;
    }
    at++;
  }

  void digits() {
    final start = at;
    while (byte >= 0x30 && byte <= 0x39) {
      at++;
    }
    if (at == start) throw _notJson(bytes, at, 'expected a value');
  }

  Object number() {
    final start = at;
    if (byte == 0x2d) at++;
    final first = at;
    digits();
    if (at - first > 1 && bytes[first] == 0x30) throw _notJson(bytes, first, 'a number that begins with 0');
    var whole = true;
    if (byte == 0x2e) {
      whole = false;
      at++;
      digits();
    }
    if (byte == 0x65 || byte == 0x45) {
      whole = false;
      at++;
      if (byte == 0x2b || byte == 0x2d) at++;
      digits();
    }
    final text = String.fromCharCodes(bytes, start, at);
    if (whole && text != '-0') return integerOf(text);
    final found = double.parse(text);
    final lost = found == 0 && RegExp('[1-9]').hasMatch(text.split(RegExp('[eE]')).first);
    return found.isFinite && !lost ? found : throw _notJson(bytes, start, 'a number out of range');
  }
}

/// Digits as an int where that is exact, else as a [BigInt]
Object integerOf(String text) {
  if (!onWeb) return int.tryParse(text) ?? BigInt.parse(text);
  final big = BigInt.parse(text);
  return big.bitLength <= 53 ? big.toInt() : big;
}

NATSBridgeException _notJson(Uint8List bytes, int at, String why) {
  var line = 1, start = 0;
  for (var i = 0; i < at && i < bytes.length; i++) {
    if (bytes[i] == 0x0a) {
      line++;
      start = i + 1;
    }
  }
  return NATSBridgeException('not_json', 'not JSON at line $line, column ${at - start + 1}: $why');
}

/// The string between two places, which are inside its quotes
String textAt(Uint8List bytes, int start, int end) {
  var plain = start;
  while (plain < end && bytes[plain] < 0x80 && bytes[plain] != 0x5c) {
    plain++;
  }
  if (plain == end) return String.fromCharCodes(bytes, start, end);
  final pieces = StringBuffer();
  while (true) {
    var back = start;
    while (back < end && bytes[back] != 0x5c) {
      back++;
    }
    try {
      pieces.write(utf8Text(Uint8List.sublistView(bytes, start, back)));
    } on FormatException {
      throw _notJson(bytes, start, 'not UTF-8');
    }
    if (back == end) return pieces.toString();
    final simple = back + 1 < end ? '"\\/bfnrt'.indexOf(String.fromCharCode(bytes[back + 1])) : -1;
    if (simple >= 0) {
      pieces.write('"\\/\b\f\n\r\t'[simple]);
      start = back + 2;
      continue;
    }
    final unit = _unit(bytes, back, end);
    start = back + 6;
    if (unit >= 0xd800 && unit < 0xdc00 && start < end && bytes[start] == 0x5c) {
      final low = _unit(bytes, start, end);
      if (low >= 0xdc00 && low < 0xe000) {
        pieces.writeCharCode(0x10000 + ((unit - 0xd800) << 10) + low - 0xdc00);
        start += 6;
        continue;
      }
    }
    if (unit >= 0xd800 && unit < 0xe000) throw _notJson(bytes, start, 'a lone surrogate');
    pieces.writeCharCode(unit);
  }
}

int _unit(Uint8List bytes, int back, int end) {
  final digits = back + 6 <= end && bytes[back + 1] == 0x75 ? String.fromCharCodes(bytes, back + 2, back + 6) : '';
  if (!RegExp(r'^[0-9a-fA-F]{4}$').hasMatch(digits)) throw _notJson(bytes, back, 'an unknown escape');
  return int.parse(digits, radix: 16);
}

/// The JSON of a value: maps, lists, strings, numbers (also [BigInt]), booleans and null
String toJson(Object? value, {int depth = maxDepth}) {
  final out = StringBuffer();
  _write(out, value, depth);
  return out.toString();
}

void _write(StringBuffer out, Object? value, int depth) {
  if (value is String) {
    _writeText(out, value);
  } else if (value is BigInt && depth <= maxDepth && (value < -(BigInt.one << 63) || value >= BigInt.one << 64)) {
    throw wrong('an integer beyond 64 bits; send it as text');
  } else if (value == null || value is bool || value is int || value is BigInt) {
    out.write(value);
  } else if (value is double) {
    if (!value.isFinite) throw NATSBridgeException('wrong_value', 'JSON has no $value');
    out.write(value);
  } else if (value is Map || value is Iterable) {
    if (depth == 0) throw NATSBridgeException('too_deep', 'nested deeper than $maxDepth levels');
    var separator = '';
    if (value is Map) {
      out.write('{');
      final known = <String>{}; // a map may compare its keys in its own way
      value.forEach((key, item) {
        if (key is! String) throw wrong('the key ${shown('$key')} is not a string');
        if (!known.add(key)) throw wrong('two keys are ${shown(key)}, of which one would be lost');
        out.write(separator);
        separator = ',';
        _writeText(out, key);
        out.write(':');
        _write(out, item, depth - 1);
      });
      out.write('}');
    } else {
      out.write('[');
      for (final item in value as Iterable) {
        out.write(separator);
        separator = ',';
        _write(out, item, depth - 1);
      }
      out.write(']');
    }
  } else {
    throw NATSBridgeException('wrong_value', 'JSON has no ${value.runtimeType}');
  }
}

void _writeText(StringBuffer out, String text) {
  if (!isSound(text)) throw NATSBridgeException('wrong_value', 'a string with a lone surrogate');
  out.write(jsonEncode(text));
}
