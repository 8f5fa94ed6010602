/// [smartsend]: from payloads to one message, with what is too large for NATS uploaded first.
// ignore_for_file: non_constant_identifier_names
library natsbridge.sending;

import 'dart:convert';
import 'dart:math';
import 'dart:typed_data';

import 'codec.dart';
import 'envelope.dart';
import 'errors.dart';
import 'json.dart';
import 'links_none.dart' if (dart.library.io) 'links_io.dart';
import 'log.dart';
import 'payload.dart';
import 'platform_none.dart' if (dart.library.io) 'platform_io.dart' as platform;
import 'policy.dart';
import 'sha256.dart';
import 'text.dart';

/// Bytes of the envelope that a link may take, before its URL is known
const _linkAllowance = 2048;
const _micropythonMaxPayload = 50000;
const _digestPlace = '0000000000000000000000000000000000000000000000000000000000000000';

/// What [smartsend] makes: the message as a map, and the JSON to publish
class Sent {
  Sent(this.envelope, this.json, this._deletes, this._log);

  final Json envelope;
  final String json;
  final List<Future<void> Function()> _deletes;
  final Log? _log;

  /// What is published
  late final Uint8List bytes = utf8Of(json);

  String operator [](String field) => envelope[field] as String;

  /// Deletes the uploads: of a message that could not be published, or that all have acknowledged
  Future<void> discard() => _discard(_deletes, _log);
}

/// A variable's value, or the given one, or the default
String settled(String? given, String variable, String otherwise) {
  final found = given ?? platform.variable(variable);
  return found == null || (given == null && found.isEmpty) ? otherwise : found;
}

/// Serialises [data] into one message and uploads what is too large for NATS; the caller publishes its JSON on [subject].
///
/// [receiver] is `desktop`, `browser` or `micropython`. Say [awaits_ack] when you repeat the message until it is acknowledged.
/// A link is one-shot when [receiver_id] names one receiver who is asked for no acknowledgement and no answer ([reply_to]);
/// false as [one_shot] makes it expire instead, and true in any other case is an error. Sizes are bytes, [ttl] is seconds,
/// delays are milliseconds. Every error is a [NATSBridgeException].
Future<Sent> smartsend(
  String subject,
  List<Payload> data, {
  String? broker_url,
  String? fileserver_url,
  UploadHandler fileserver_upload_handler = plik_upload,
  String? fileserver_token,
  int? size_threshold,
  int max_message_size = defaultMaxMessageSize,
  String receiver = 'desktop',
  bool links = true,
  bool convert_tables = false,
  bool digest_direct = false,
  String correlation_id = '',
  String msg_purpose = 'chat',
  String sender_name = 'NATSBridge',
  String receiver_name = '',
  String receiver_id = '',
  String reply_to = '',
  String reply_to_msg_id = '',
  String msg_id = '',
  String sender_id = '',
  Json metadata = const {},
  bool awaits_ack = false,
  bool? one_shot,
  int ttl = linkTtl,
  int max_retries = 5,
  int base_delay = 100,
  int max_delay = 5000,
  String? timestamp,
  String Function() new_id = uuid4,
  Log? log,
}) async {
  final deletes = <Future<void> Function()>[];
  final envelope = <String, Object?>{};
  try {
    return await fenced('wrong_value', "the message can't be sent", null, () async {
      final broker = settled(broker_url, 'NATS_URL', 'nats://localhost:4222');
      final server = settled(fileserver_url, 'FILESERVER_URL', 'http://localhost:8080');
      final token = settled(fileserver_token, 'FILESERVER_TOKEN', '');
      final threshold = size_threshold ?? _threshold();
      checkSubject('subject', subject);
      if (reply_to.isNotEmpty) checkSubject('reply_to', reply_to);
      if (!const ['desktop', 'browser', 'micropython'].contains(receiver)) {
        throw wrong('`receiver` is not desktop, browser or micropython');
      }
      final answered = awaits_ack || reply_to.isNotEmpty;
      if (one_shot == true && (receiver_id.isEmpty || answered)) {
        final why = receiver_id.isEmpty
            ? 'no receiver_id names the one who reads it'
            : 'it may be read again for an acknowledgement or an answer';
        throw wrong("a link of this message can't be one-shot: $why; leave `one_shot` out");
      }
      final once = one_shot ?? (receiver_id.isNotEmpty && !answered);
      String givenOrNew(String id) => id.isEmpty ? new_id() : id;
      envelope.addAll({
        'correlation_id': givenOrNew(correlation_id),
        'msg_id': givenOrNew(msg_id),
        'timestamp': timestamp ?? timestampOf(DateTime.now()),
        'send_to': subject,
        'msg_purpose': msg_purpose,
        'sender_name': sender_name,
        'sender_id': givenOrNew(sender_id),
        'receiver_name': receiver_name,
        'receiver_id': receiver_id,
        'reply_to': reply_to,
        'reply_to_msg_id': reply_to_msg_id,
        'broker_url': broker.split(',').map((url) => withoutSecrets(url.trim())).join(','),
        'metadata': metadata,
        'payloads': <Object?>[],
      });
      final mayLink = links && receiver != 'micropython';
      final drafts = [for (var at = 0; at < data.length; at++) _draft(at, data[at], receiver, convert_tables, new_id)];
      _plan(envelope, drafts, mayLink ? threshold : null, max_message_size, mayLink, digest_direct);
      try {
        for (final draft in drafts) {
          final payload = draft.payload;
          if (draft.direct) {
            final body = await draft.bytes();
            payload['data'] = base64.encode(body);
            if (digest_direct) (payload['metadata'] as Json)['sha256'] = sha256Hex(body);
          } else {
            final upload = Upload(server, draft.name, draft.source,
                one_shot: once,
                strict_one_shot: answered || receiver_id.isEmpty,
                ttl: ttl,
                token: token,
                max_retries: max_retries,
                base_delay: base_delay,
                max_delay: max_delay,
                log: log);
            final stored =
                await fenced('handler', 'the upload handler failed', draft.name, () => fileserver_upload_handler(upload));
            if (stored.delete != null) deletes.add(stored.delete!);
            if (readUrl(stored.url) == null) throw wrong('the upload handler answers no http or https URL', draft.name);
            payload.addAll({'transport': 'link', 'encoding': 'none', 'data': stored.url});
            payload['metadata'] = <String, Object?>{
              'sha256': stored.sha256 ?? await draft.digest(),
              if (stored.expires_at != null) 'expires_at': stored.expires_at,
              if (stored.one_shot) 'one_shot': true,
            };
          }
          (envelope['payloads'] as List).add(payload);
        }
        final sent = Sent(envelope, toJson(envelope), deletes, log);
        for (final draft in drafts) {
          tell(log, recordOf('sent', envelope, draft.payload, draft.source.length));
        }
        return sent;
      } catch (_) {
        await _discard(deletes, log);
        rethrow;
      }
    });
  } on NATSBridgeException catch (error) {
    error.msg_id ??= envelope['msg_id'] as String? ?? msg_id;
    error.correlation_id ??= envelope['correlation_id'] as String? ?? correlation_id;
    _failed(log, error, sender_name, receiver_name);
    rethrow;
  }
}

void _failed(Log? log, NATSBridgeException error, String sender, String receiver) => tell(
    log,
    LogRecord('failed',
        msg_id: error.msg_id ?? '',
        correlation_id: error.correlation_id ?? '',
        sender_name: harmless(sender),
        receiver_name: harmless(receiver),
        dataname: harmless(error.dataname ?? ''),
        code: error.code,
        message: harmless(error.message)));

int _threshold() {
  final stated = settled(null, 'SIZE_THRESHOLD', '500000');
  final found = RegExp(r'^[0-9]{1,15}$').hasMatch(stated) ? int.parse(stated) : null;
  return found ?? (throw wrong('SIZE_THRESHOLD is not a number of bytes: ${shown(stated)}'));
}

Future<void> _discard(List<Future<void> Function()> deletes, Log? log) async {
  for (final delete in deletes) {
    try {
      await delete();
    } on Exception catch (error) {
      // It expires by itself.
      tell(log, LogRecord('warning', message: 'an upload could not be deleted: ${harmless('$error')}'));
    }
  }
  deletes.clear();
}

/// A payload on its way: its fields, its bytes, and how it travels
class _Draft {
  _Draft(this.payload, this.source);

  final Json payload;
  final ByteSource source;
  bool direct = true;
  int fixedLength = 0;

  String get name => payload['dataname'] as String;
  int get length => source.length;
  int get directLength => fixedLength + '$length'.length - 1 + (length + 2) ~/ 3 * 4;
  int get linkLength => fixedLength + _linkAllowance;

  Future<Uint8List> bytes() => fenced('wrong_value', 'the data can not be read', name, () async {
        final all = BytesBuilder(copy: false);
        await for (final piece in source.open()) {
          all.add(piece);
          if (all.length > length) break;
        }
        return all.length == length ? all.takeBytes() : throw wrong('the data has another length than $length bytes', name);
      });

  Future<String> digest() => fenced('wrong_value', 'the data can not be read', name, () async {
        final digest = Sha256();
        await source.open().forEach(digest.add);
        return digest.hex();
      });
}

_Draft _draft(int index, Payload given, String receiver, bool convertTables, String Function() newId) =>
    naming(given.dataname, () {
      if (!isSound(given.dataname)) throw wrong('`dataname` has a lone surrogate', '#$index');
      var type = given.payload_type;
      if (!payloadTypes.contains(type)) {
        throw NATSBridgeException('unknown_payload_type', 'unknown payload_type ${shown(type)}; the types are ${payloadTypes.join(', ')}');
      }
      if (type == 'arrowtable' && receiver != 'desktop') {
        if (!convertTables) {
          throw NATSBridgeException('unsupported', 'a $receiver receiver reads no arrowtable; send it as jsontable');
        }
        type = 'jsontable';
      }
      var source = given.data;
      if (source is! ByteSource || !bytesTypes.contains(type)) {
        final body = serialised(source, type, given.payload_type);
        source = ByteSource(body.length, () => Stream.value(body));
      }
      if (source.length < 0) throw wrong('a length below 0');
      if (receiver == 'micropython' && source.length > _micropythonMaxPayload) {
        throw NATSBridgeException(
            'too_large', 'it has ${source.length} bytes, a MicroPython receiver takes $_micropythonMaxPayload');
      }
      return _Draft({
        'id': newId(), 'dataname': given.dataname, 'payload_type': type, 'transport': 'direct', 'encoding': 'base64',
        'size': source.length, 'data': '', 'metadata': <String, Object?>{},
      }, source);
    });

/// Chooses by the threshold, then turns the largest direct payloads into links until the envelope fits
void _plan(Json envelope, List<_Draft> drafts, int? threshold, int limit, bool mayLink, bool digest) {
  var total = utf8.encode(toJson(envelope)).length + max(0, drafts.length - 1);
  for (final draft in drafts) {
    draft.direct = threshold == null || draft.length < threshold;
    if (draft.direct && digest) (draft.payload['metadata'] as Json)['sha256'] = _digestPlace;
    // The digits of the size are counted apart.
    draft.fixedLength = utf8.encode(toJson({...draft.payload, 'size': 0})).length;
    total += draft.direct ? draft.directLength : draft.linkLength;
  }
  while (mayLink && total > limit) {
    _Draft? largest; // the first of the largest
    for (final draft in drafts) {
      if (draft.direct && draft.length > (largest?.length ?? -1)) largest = draft;
    }
    if (largest == null || largest.directLength <= largest.linkLength) break;
    total -= largest.directLength - largest.linkLength;
    largest.direct = false;
  }
  if (total > limit) {
    final direct = drafts.where((draft) => draft.direct).take(10);
    final sizes = [for (final draft in direct) '${shown(draft.name)}: ${draft.length}'];
    throw NATSBridgeException(
        'too_large', 'the message needs $total bytes, the broker takes $limit (direct: ${sizes.join(', ')})');
  }
}
