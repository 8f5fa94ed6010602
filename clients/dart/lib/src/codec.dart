/// Payload types: what is serialised how (specification, section 3).
library natsbridge.codec;

import 'dart:typed_data';

import 'arrow/infer.dart';
import 'arrow/table.dart';
import 'arrow_none.dart' if (dart.library.io) 'arrow_io.dart';
import 'errors.dart';
import 'json.dart';
import 'payload.dart';
import 'text.dart';

/// A table of what was given: rows, an [ArrowTable], or the bytes of an Arrow stream or file, which are checked
ArrowTable _table(Object? value, String type) {
  if (value is Uint8List) return readArrow(value);
  return value is List ? tableOf(value) : throw _odd(value, type);
}

NATSBridgeException _odd(Object? value, String type) {
  const wanted = {'text': 'a String', 'jsontable': 'a List of Maps', 'arrowtable': 'a List of Maps'};
  return wrong("a ${value.runtimeType} can't be sent as $type; give ${wanted[type] ?? 'a Uint8List or await fileSource(path)'}");
}

/// The bytes of a value. [given] is the type that the caller named, which may have become a jsontable for its receiver.
Uint8List serialised(Object? value, String type, [String? given]) {
  Never odd() => throw _odd(value, type);
  switch (type) {
    case 'text':
      if (value is! String) return odd();
      return isSound(value) ? utf8Of(value) : throw wrong('the text has a lone surrogate');
    case 'dictionary':
      return utf8Of(toJson(value));
    case 'jsontable':
      if (value is ArrowTable || given == 'arrowtable') return utf8Of(toJson(_table(value, type).toJsonRows()));
      return value is List && value.every((row) => row is Map) ? utf8Of(toJson(value)) : odd();
    case 'arrowtable':
      final table = _table(value, type);
      // A stream goes as it is; it begins with a length or a mark, a file with a word.
      return value is Uint8List && value[0] != 0x41 ? value : writeArrow(table);
  }
  if (value is Uint8List) return value;
  return value is List<int> && value.every((byte) => byte >= 0 && byte < 256) ? Uint8List.fromList(value) : odd();
}

/// The value of bytes
Object? deserialised(Uint8List body, String type) {
  if (type == 'text') {
    try {
      return utf8Text(body);
    } on FormatException {
      throw NATSBridgeException('undecodable', 'it is not UTF-8');
    }
  }
  if (type == 'arrowtable') return readArrow(body);
  if (bytesTypes.contains(type)) return body;
  final Object? value;
  try {
    value = fromJson(body);
  } on NATSBridgeException catch (error) {
    throw NATSBridgeException('undecodable', error.message);
  }
  if (type != 'jsontable') return value;
  if (value is List && value.every((row) => row is Json)) return value.cast<Json>();
  throw NATSBridgeException('undecodable', 'a jsontable is an array of objects, one for each row');
}
