/// Arrow's IPC stream and file: messages in their frames, every length checked before it is believed.
library natsbridge.arrow.read;

import 'dart:typed_data';

import '../errors.dart';
import 'columns.dart';
import 'flat.dart';
import 'schema.dart';
import 'table.dart';
import 'types.dart';

const _schemaMessage = 1;
const _dictionaryMessage = 2;
const _batchMessage = 3;

/// Reads a table: a stream, or a file, which begins with `ARROW1`
ArrowTable readArrow(Uint8List bytes) {
  final reader = _Tables(bytes);
  final magic = bytes.length >= 6 && String.fromCharCodes(bytes, 0, 6) == 'ARROW1';
  try {
    return magic ? reader.file() : reader.stream();
  } on NATSBridgeException {
    rethrow;
  } on RangeError catch (error) {
    // Dart checks every access once more; it would be a gap in the checks, but no wrong value.
    throw undecodable('a place beyond its end (${harmless('${error.message}', 60)})');
  } on OutOfMemoryError {
    throw NATSBridgeException('too_large', 'the table needs more memory than there is');
  } on StackOverflowError {
    throw undecodable('it is nested too deep');
  }
}

/// A message: its header, and its body's place in the bytes
class _Message {
  _Message(this.type, this.header, this.body, this.end);

  final int type;
  final Flat? header;
  final Uint8List body;
  final int end;
}

class _Tables {
  _Tables(this.bytes) : view = ByteData.sublistView(bytes);

  final Uint8List bytes;
  final ByteData view;
  Schema? schema;
  late final budget = Budget(bytes.length);
  final dictionaries = <int, List<Object?>>{};
  final columns = <List<Object?>>[];
  int rows = 0;

  ArrowTable stream() {
    var at = 0;
    while (at < bytes.length) {
      final message = _message(at, bytes.length);
      if (message == null) break;
      at = message.end;
      if (schema == null) {
        if (message.type != _schemaMessage) throw undecodable('it does not begin with a schema');
        _begin(Schema(message.header ?? (throw undecodable('an empty schema'))));
      } else if (message.type == _dictionaryMessage) {
        _dictionary(message);
      } else if (message.type == _batchMessage) {
        _batch(message);
      } else {
        throw undecodable('a message of the kind ${message.type}');
      }
    }
    return _table();
  }

  ArrowTable file() {
    final length = bytes.length;
    if (length < 24 || String.fromCharCodes(bytes, length - 6, length) != 'ARROW1') throw undecodable('the file has no end');
    final size = view.getInt32(length - 10, Endian.little);
    if (size < 8 || size > length - 18) throw undecodable('a footer of $size bytes');
    final limit = length - 10 - size;
    final footer = Flat.root(Uint8List.sublistView(bytes, limit, length - 10));
    _begin(Schema(footer.table(1) ?? (throw undecodable('a footer without a schema'))));
    for (final kind in const [_dictionaryMessage, _batchMessage]) {
      final blocks = footer.structs(kind, 24);
      for (var at = 0; at < blocks.length; at++) {
        final start = blocks.int64(at);
        final head = blocks.int32(at, 8);
        final body = blocks.int64(at, 16);
        if (start < 8 || head < 8 || body < 0 || body > limit - start - head) {
          throw undecodable('the footer points beyond the file');
        }
        final message = _message(start, limit) ?? (throw undecodable('the footer points at an end'));
        if (message.type != kind) throw undecodable('the footer points at a message of another kind');
        kind == _batchMessage ? _batch(message) : _dictionary(message);
      }
    }
    return _table();
  }

  /// The message that begins here; null at an end mark
  _Message? _message(int start, int limit) {
    int length(int at) {
      if (at > limit - 4) throw undecodable('it ends within a length');
      return view.getInt32(at, Endian.little);
    }

    var at = start;
    var size = length(at);
    at += 4;
    if (size == -1) {
      size = length(at); // before 0.15 there was no continuation mark
      at += 4;
    }
    if (size == 0) return null;
    if (size < 0 || size > limit - at) throw undecodable('a message of $size bytes');
    final flat = Flat.root(Uint8List.sublistView(bytes, at, at + size));
    at += size;
    final version = flat.int16(0);
    if (version != 3 && version != 4) throw undecodable('format version V${version + 1}');
    final body = flat.int64(3);
    if (body < 0 || body > limit - at) throw undecodable('a body of $body bytes');
    return _Message(flat.int8(1), flat.table(2), Uint8List.sublistView(bytes, at, at + body), at + body);
  }

  void _begin(Schema found) {
    schema = found;
    for (var at = 0; at < found.fields.length; at++) {
      columns.add([]);
    }
  }

  void _dictionary(_Message message) {
    final header = message.header ?? (throw undecodable('an empty dictionary'));
    final id = header.int64(0);
    final field = schema!.dictionaries[id] ?? (throw undecodable('a dictionary that no column has'));
    final batch = header.table(1) ?? (throw undecodable('a dictionary without values'));
    final decoder = ColumnReader(schema!, dictionaries, budget, batch, message.body);
    final values = decoder.column(field, null);
    if (header.int8(2) != 0) {
      // A new list: rows that were read keep the values that they had.
      dictionaries[id] = [...?dictionaries[id], ...values];
      budget.take(dictionaries[id]!.length);
    } else {
      dictionaries[id] = values;
    }
  }

  void _batch(_Message message) {
    final header = message.header ?? (throw undecodable('an empty batch'));
    final length = header.int64(0);
    if (length < 0) throw undecodable('$length rows');
    final decoder = ColumnReader(schema!, dictionaries, budget, header, message.body);
    for (var at = 0; at < columns.length; at++) {
      columns[at].addAll(decoder.column(schema!.fields[at], length));
    }
    if (columns.isEmpty) budget.take(length);
    rows += length;
  }

  ArrowTable _table() {
    final found = schema ?? (throw undecodable('it does not begin with a schema'));
    return ArrowTable([for (var at = 0; at < columns.length; at++) ArrowColumn(found.fields[at], columns[at])],
        rows: rows,
        metadata: found.metadata,
        dictionaries: Map<ArrowType, List<Object?>>.identity()
          ..addAll({for (final entry in found.ids.entries) entry.key: dictionaries[entry.value] ?? const []}));
  }
}
