/// The envelope: its fields as they are read, each with the error that a wrong one is (specification, sections 1, 2 and 5).
// ignore_for_file: non_constant_identifier_names
library natsbridge.envelope;

import 'dart:convert';
import 'dart:typed_data';

import 'errors.dart';
import 'json.dart';
import 'payload.dart';
import 'text.dart';

const maxSubject = 2000;

const fields = [
  'correlation_id', 'msg_id', 'timestamp', 'send_to', 'msg_purpose', 'sender_name', 'sender_id',
  'receiver_name', 'receiver_id', 'reply_to', 'reply_to_msg_id', 'broker_url',
];

/// Checks a subject to publish to: tokens between dots, none of them empty or a wildcard
void checkSubject(String name, String value) {
  if (!isSound(value)) throw wrong('`$name` has a lone surrogate');
  final odd = value.split('.').any((token) => const ['', '*', '>'].contains(token));
  if (odd || utf8.encode(value).length > maxSubject) {
    throw wrong('`$name` is no subject to publish to: ${shown(value)}; use words with dots between them, such as lab.results');
  }
  if (RegExp(r'[\s\x00-\x1f\x7f-\x9f]').hasMatch(value)) {
    throw wrong('`$name` has white space or control characters: ${shown(value)}');
  }
}

String? textField(Json raw, String name) {
  final value = raw[name];
  if (value is String?) return value;
  throw NATSBridgeException('wrong_type', '`$name` is not a string');
}

Json metadataOf(Json raw) {
  final value = raw['metadata'] ?? <String, Object?>{};
  return value is Json ? value : throw NATSBridgeException('wrong_type', '`metadata` is not an object');
}

/// The digest to check; what is no digest must not switch the check off
String? digestOf(Json payload, bool strict) {
  final stated = (payload['metadata'] as Json)['sha256'];
  if (stated == null) {
    if (strict && payload['transport'] == 'link') {
      throw NATSBridgeException('digest_missing', 'it is a link without sha256');
    }
    return null;
  }
  if (stated is String && RegExp(r'^[0-9a-fA-F]{64}$').hasMatch(stated) && stated.length == 64) {
    return stated.toLowerCase();
  }
  throw NATSBridgeException('digest', 'its sha256 is no digest');
}

/// The fields of a payload, and its bytes where it came direct
class Arrival {
  Arrival(Uint8List bytes, Object? raw, int index) {
    if (raw is! Json) throw NATSBridgeException('wrong_type', 'item $index of `payloads` is not an object');
    final name = naming('#$index', () => textField(raw, 'dataname') ?? '');
    naming(name, () => _read(bytes, raw, name));
  }

  final Json payload = {};
  Uint8List? body;

  void _read(Uint8List bytes, Json raw, String name) {
    payload['id'] = textField(raw, 'id') ?? '';
    payload['dataname'] = name;
    void word(String field, List<String> words) {
      final found = textField(raw, field);
      if (found == null) throw NATSBridgeException('missing_field', '`$field` is missing');
      if (!words.contains(found)) throw NATSBridgeException('unknown_$field', 'unknown $field ${shown(found)}');
      payload[field] = found;
    }

    word('payload_type', payloadTypes);
    word('transport', const ['direct', 'link']);
    final encoding = payload['encoding'] = textField(raw, 'encoding') ?? '';
    payload['size'] = _size(raw['size']);
    payload['metadata'] = metadataOf(raw);
    final data = raw['data'];
    if (data is! Raw) throw NATSBridgeException('missing_field', '`data` is missing');
    final direct = payload['transport'] == 'direct';
    if (direct && !const ['', 'base64', 'json', 'arrow-ipc', 'none'].contains(encoding)) {
      throw NATSBridgeException('unknown_encoding', 'unknown encoding ${shown(encoding)}');
    }
    if (!data.isText) {
      if (direct && encoding == 'json') {
        body = Uint8List.sublistView(bytes, data.start, data.end);
        return;
      }
      if (data.end - data.start == 4 && bytes[data.start] == 0x6e) {
        throw NATSBridgeException('missing_field', '`data` is missing');
      }
      throw NATSBridgeException('wrong_type', '`data` is not a string');
    }
    if (direct && encoding != 'none') {
      final plain = String.fromCharCodes(bytes, data.start, data.end);
      // An escape is JSON's, not base64's.
      body = unbase64(plain.contains('\\') ? textAt(bytes, data.start, data.end) : plain);
      return;
    }
    final text = textAt(bytes, data.start, data.end);
    if (direct) {
      body = utf8Of(text);
    } else {
      payload['data'] = text;
    }
  }

  static int _size(Object? value) {
    if (value == null) return 0;
    if (value is int && value >= 0) return value;
    if (value is double && value >= 0 && value == value.truncateToDouble() && value < 9e15) return value.toInt();
    // A size between 2^63 and 2^64 is a number of bytes, though none that anything has.
    if (value is BigInt && !value.isNegative && value.bitLength <= 64) return 9007199254740992;
    throw NATSBridgeException('wrong_type', '`size` is not a number of bytes');
  }
}
