/// NATSBridge for Dart 2.17 and newer: [smartsend] and [smartreceive], with nothing but the SDK (dart:io, so not in a browser).
///
/// The wire is docs/specification.md. Named arguments bear the names that every platform has.
// ignore_for_file: non_constant_identifier_names
library natsbridge;

import 'dart:async';
import 'dart:convert';
import 'dart:io';
import 'dart:math';
import 'dart:typed_data';

const defaultMaxMessageSize = 1048576;
const defaultMaxPayloadSize = 10000000000;

/// Bytes of the envelope that a link may take, before its URL is known
const linkAllowance = 2048;
const linkTtl = 24 * 60 * 60;
const micropythonMaxPayload = 50000;
const maxSubject = 2000;

/// Arrays and objects of JSON within each other
const maxDepth = 127;

const fields = [
  'correlation_id', 'msg_id', 'timestamp', 'send_to', 'msg_purpose', 'sender_name', 'sender_id',
  'receiver_name', 'receiver_id', 'reply_to', 'reply_to_msg_id', 'broker_url',
];
const bytesTypes = ['image', 'audio', 'video', 'binary'];
const payloadTypes = ['text', 'dictionary', 'arrowtable', 'jsontable', ...bytesTypes];

/// A Plik up to 1.3.8 redirects other agents to a web page when it fails
const userAgent = 'plik_client/natsbridge-dart';

typedef Json = Map<String, Object?>;

/// What went wrong: [code] is a word of the specification's section 9, [dataname] the payload at fault, where it is one's,
/// [msg_id] the message's, where it could be read
class NATSBridgeException implements Exception {
  NATSBridgeException(this.code, this.message, [this.dataname]);

  final String code;
  final String message;
  String? dataname;
  String? msg_id;

  @override
  String toString() => dataname == null ? '$message ($code)' : 'payload `$dataname`: $message ($code)';
}

/// A payload as people hold it
class Payload {
  const Payload(this.dataname, this.data, this.payload_type);

  final String dataname;

  /// `text`: a String; `dictionary`: any JSON value; `jsontable`: a list of maps; else bytes
  final Object? data;
  final String payload_type;
}

/// What [smartsend] makes: the message as a map, and the JSON to publish
class Sent {
  Sent._(this.envelope, this.json, this._deletes);

  final Json envelope;
  final String json;
  final List<Future<void> Function()> _deletes;

  /// Deletes the uploads, for a message that could not be published
  Future<void> discard() => _discard(_deletes);
}

/// What [smartreceive] makes: every field of the wire but the payloads, and these
class Received {
  Received._(this.envelope, this.payloads);

  final Json envelope;
  final List<Payload> payloads;

  String operator [](String field) => envelope[field] as String;
}

/// What an upload handler is given
class Upload {
  const Upload(this.fileserver_url, this.dataname, this.data, {this.one_shot = false, this.ttl = linkTtl, this.token = ''});

  final String fileserver_url;
  final String dataname;
  final Uint8List data;
  final bool one_shot;

  /// Seconds
  final int ttl;
  final String token;
}

/// What an upload handler answers
class Stored {
  const Stored(this.url, {this.expires_at, this.one_shot = false, this.delete});

  final String url;
  final String? expires_at;
  final bool one_shot;
  final Future<void> Function()? delete;
}

/// What a download handler is given; it answers the bytes, which are checked afterwards
class Link {
  const Link(this.url, this.dataname,
      {this.size = 0,
      this.limit = defaultMaxPayloadSize,
      this.one_shot = false,
      this.expires_at,
      this.allowed_origins = const [],
      this.any_origin = false,
      this.max_retries = 5,
      this.base_delay = 100,
      this.max_delay = 5000});

  final String url;
  final String dataname;

  /// Bytes, as the sender says; 0 if it says nothing
  final int size;

  /// Most bytes to read
  final int limit;
  final bool one_shot;
  final DateTime? expires_at;

  /// The only origins that are asked
  final List<String> allowed_origins;

  /// Whether any address is asked that the specification (section 8) does not forbid
  final bool any_origin;
  final int max_retries;

  /// Milliseconds
  final int base_delay;
  final int max_delay;
}

typedef UploadHandler = Future<Stored> Function(Upload upload);
typedef DownloadHandler = Future<Uint8List> Function(Link link);

// ---------------------------------------------------------------------------------------------------------- sending

/// Serialises [data] into one message and uploads what is too large for NATS; the caller publishes its JSON on [subject].
///
/// [receiver] is `desktop`, `browser` or `micropython`. Say [awaits_ack] when you repeat the message until it is acknowledged.
/// A link is one-shot when [receiver_id] names one receiver who is asked for no acknowledgement and no answer ([reply_to]);
/// false as [one_shot] makes it expire instead, and true in any other case is an error. Sizes are bytes, [ttl] is seconds.
/// Every error is a [NATSBridgeException].
Future<Sent> smartsend(
  String subject,
  List<Payload> data, {
  String? broker_url,
  String? fileserver_url,
  UploadHandler fileserver_upload_handler = plik_upload,
  String fileserver_token = '',
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
  String? timestamp,
  String Function() new_id = uuid4,
}) async {
  final deletes = <Future<void> Function()>[];
  return _fenced('wrong_value', "the message can't be sent", null, () async {
    final environment = Platform.environment;
    final broker = broker_url ?? environment['NATS_URL'] ?? 'nats://localhost:4222';
    final server = fileserver_url ?? environment['FILESERVER_URL'] ?? 'http://localhost:8080';
    final stated = environment['SIZE_THRESHOLD'] ?? '500000';
    final threshold = size_threshold ?? int.tryParse(stated) ?? (throw _wrong('SIZE_THRESHOLD is not a number: ${_shown(stated)}'));
    _checkSubject('subject', subject);
    if (reply_to.isNotEmpty) _checkSubject('reply_to', reply_to);
    if (!const ['desktop', 'browser', 'micropython'].contains(receiver)) {
      throw _wrong('`receiver` is not desktop, browser or micropython');
    }
    final answered = awaits_ack || reply_to.isNotEmpty;
    if (one_shot == true && (receiver_id.isEmpty || answered)) {
      final why = receiver_id.isEmpty
          ? 'no receiver_id names the one who reads it'
          : 'it may be read again for an acknowledgement or an answer';
      throw _wrong("a link of this message can't be one-shot: $why; leave `one_shot` out");
    }
    final once = one_shot ?? (receiver_id.isNotEmpty && !answered);
    String givenOrNew(String id) => id.isEmpty ? new_id() : id;
    final envelope = <String, Object?>{
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
    };
    final mayLink = links && receiver != 'micropython';
    final drafts = [for (var at = 0; at < data.length; at++) _draft(at, data[at], receiver, convert_tables, new_id)];
    _plan(envelope, drafts, mayLink ? threshold : null, max_message_size, mayLink, digest_direct);
    try {
      for (final draft in drafts) {
        final payload = draft.payload;
        payload['size'] = draft.body.length;
        if (draft.direct) {
          payload['data'] = base64.encode(draft.body);
        } else {
          final upload = Upload(server, draft.name, draft.body, one_shot: once, ttl: ttl, token: fileserver_token);
          final stored =
              await _fenced('handler', 'the upload handler failed', draft.name, () => fileserver_upload_handler(upload));
          if (stored.delete != null) deletes.add(stored.delete!);
          payload.addAll({'transport': 'link', 'encoding': 'none', 'data': stored.url});
          payload['metadata'] = <String, Object?>{
            'sha256': sha256Hex(draft.body),
            if (stored.expires_at != null) 'expires_at': stored.expires_at,
            if (stored.one_shot) 'one_shot': true,
          };
        }
        (envelope['payloads'] as List).add(payload);
      }
      return Sent._(envelope, toJson(envelope), deletes);
    } catch (_) {
      await _discard(deletes);
      rethrow;
    }
  });
}

NATSBridgeException _wrong(String message, [String? dataname]) => NATSBridgeException('wrong_value', message, dataname);

/// Strangers' text for an error: at most 80 characters, escaped
String _shown(String text) {
  String escaped(Match found) => '\\u{${found[0]!.codeUnitAt(0).toRadixString(16)}}';
  final cut = text.length > 80 ? text.substring(0, 80) : text;
  return '`${cut.replaceAllMapped(RegExp('[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufeff]'), escaped)}`';
}

/// Checks a subject to publish to: tokens between dots, none of them empty or a wildcard
void _checkSubject(String name, String value) {
  if (!_isSound(value)) throw _wrong('`$name` has a lone surrogate');
  final odd = value.split('.').any((token) => const ['', '*', '>'].contains(token));
  if (odd || utf8.encode(value).length > maxSubject) {
    throw _wrong('`$name` is no subject to publish to: ${_shown(value)}; use words with dots between them, such as lab.results');
  }
  if (RegExp(r'[\s\x00-\x1f\x7f-\x9f]').hasMatch(value)) {
    throw _wrong('`$name` has white space or control characters: ${_shown(value)}');
  }
}

Future<void> _discard(List<Future<void> Function()> deletes) async {
  for (final delete in deletes) {
    try {
      await delete();
    } on Exception catch (error) {
      stderr.writeln('natsbridge: an upload could not be deleted: $error'); // it expires by itself
    }
  }
  deletes.clear();
}

/// A payload on its way: its fields, its bytes, and how it travels
class _Draft {
  _Draft(this.payload, this.body);

  final Json payload;
  final Uint8List body;
  bool direct = true;
  int fixedLength = 0;

  String get name => payload['dataname'] as String;
  int get directLength => fixedLength + '${body.length}'.length - 1 + (body.length + 2) ~/ 3 * 4;
  int get linkLength => fixedLength + linkAllowance;
}

_Draft _draft(int index, Payload given, String receiver, bool convertTables, String Function() newId) =>
    _naming(given.dataname, () {
      if (!_isSound(given.dataname)) throw _wrong('`dataname` has a lone surrogate', '#$index');
      var type = given.payload_type;
      if (!payloadTypes.contains(type)) {
        throw NATSBridgeException('unknown_payload_type', 'unknown payload_type `$type`');
      }
      if (type == 'arrowtable' && receiver != 'desktop') {
        if (!convertTables) {
          throw NATSBridgeException('unsupported', 'a $receiver receiver reads no arrowtable; send it as jsontable');
        }
        type = 'jsontable';
      }
      final body = _serialised(given.data, type);
      if (receiver == 'micropython' && body.length > micropythonMaxPayload) {
        throw NATSBridgeException(
            'too_large', 'it has ${body.length} bytes, a MicroPython receiver takes $micropythonMaxPayload');
      }
      return _Draft({
        'id': newId(), 'dataname': given.dataname, 'payload_type': type, 'transport': 'direct', 'encoding': 'base64',
        'size': 0, 'data': '', 'metadata': <String, Object?>{},
      }, body);
    });

/// Chooses by the threshold, then turns the largest direct payloads into links until the envelope fits
void _plan(Json envelope, List<_Draft> drafts, int? threshold, int limit, bool mayLink, bool digest) {
  var total = utf8.encode(toJson(envelope)).length + max(0, drafts.length - 1);
  for (final draft in drafts) {
    draft.direct = threshold == null || draft.body.length < threshold;
    if (draft.direct && digest) (draft.payload['metadata'] as Json)['sha256'] = sha256Hex(draft.body);
    draft.fixedLength = utf8.encode(toJson(draft.payload)).length;
    total += draft.direct ? draft.directLength : draft.linkLength;
  }
  while (mayLink && total > limit) {
    _Draft? largest; // the first of the largest
    for (final draft in drafts) {
      if (draft.direct && draft.body.length > (largest?.body.length ?? -1)) largest = draft;
    }
    if (largest == null || largest.directLength <= largest.linkLength) break;
    total -= largest.directLength - largest.linkLength;
    largest.direct = false;
  }
  if (total > limit) {
    final sizes = [for (final draft in drafts.where((draft) => draft.direct)) '${draft.name}: ${draft.body.length}'];
    throw NATSBridgeException(
        'too_large', 'the message needs $total bytes, the broker takes $limit (direct: ${sizes.join(', ')})');
  }
}

/// Stores the bytes on a Plik file server
Future<Stored> plik_upload(Upload upload) async {
  final base = upload.fileserver_url.replaceFirst(RegExp(r'/+$'), '');

  Future<Json> ask(String method, String path, Map<String, String> headers, List<List<int>> body) async {
    final own = {...headers, if (upload.token.isNotEmpty) 'X-PlikToken': upload.token};
    final _Answer answer;
    try {
      answer = await _http(method, Uri.parse(base + path), own, body, 1 << 20);
    } on _HttpFailure catch (failure) {
      final code = failure.timeout ? 'timeout' : 'unreachable';
      throw NATSBridgeException(code, 'failed to upload: ${failure.reason}', upload.dataname);
    }
    final text = utf8.decode(answer.body, allowMalformed: true);
    if (answer.status != 200) {
      final code = {401: 'refused', 403: 'refused', 413: 'too_large'}[answer.status] ?? 'rejected';
      throw NATSBridgeException(code, 'failed to upload: ${answer.status} ${_first(text, 200)}', upload.dataname);
    }
    if (method != 'POST') return {};
    final value = fromJson(answer.body);
    return value is Json ? value : {};
  }

  NATSBridgeException odd(String what) => NATSBridgeException('rejected', 'failed to upload: $what', upload.dataname);
  String stated(Json answer, String key) {
    final value = answer[key];
    return value is String && value.isNotEmpty ? value : throw odd("the server's answer has no `$key`");
  }

  final wanted = toJson({'oneShot': upload.one_shot, 'ttl': upload.ttl});
  final created = await ask('POST', '/upload', {'Content-Type': 'application/json'}, [utf8.encode(wanted)]);
  final id = Uri.encodeComponent(stated(created, 'id'));
  final secret = {'X-UploadToken': stated(created, 'uploadToken')};
  Future<void> delete() => ask('DELETE', '/upload/$id', secret, const []);
  try {
    final boundary = 'natsbridge-${uuid4()}';
    const disposition = 'form-data; name="file"; filename="payload.bin"';
    final kept = await ask('POST', '/file/$id', {
      ...secret,
      'Content-Type': 'multipart/form-data; boundary=$boundary',
    }, [
      utf8.encode('--$boundary\r\nContent-Disposition: $disposition\r\nContent-Type: application/octet-stream\r\n\r\n'),
      upload.data,
      utf8.encode('\r\n--$boundary--\r\n'),
    ]);
    if (kept['status'] != 'uploaded' || kept['fileSize'] != upload.data.length) {
      throw odd('the server stored other bytes');
    }
    final hosts = [created['downloadURL'], created['downloadDomain'], base].whereType<String>();
    final host = hosts.firstWhere((host) => host.isNotEmpty).replaceFirst(RegExp(r'/+$'), '');
    final path = [id, ...['id', 'fileName'].map((key) => Uri.encodeComponent(stated(kept, key)))].join('/');
    return Stored('$host/file/$path',
        expires_at: _expiry(created), one_shot: created['oneShot'] == true, delete: delete);
  } catch (_) {
    try {
      await delete();
    } on Exception {
      // It expires by itself; the first error says more.
    }
    rethrow;
  }
}

String? _expiry(Json created) {
  final at = created['expireAt'];
  final seconds = created['ttl'];
  var moment = at is String ? parseTimestamp(at) : null;
  if (moment == null && seconds is int && seconds > 0) moment = DateTime.now().add(Duration(seconds: seconds));
  return moment == null ? null : timestampOf(moment);
}

// -------------------------------------------------------------------------------------------------------- receiving

/// Reads a message (a String or its bytes) and downloads what came as a link.
///
/// Links are followed to the origin of [fileserver_url], or only to [allowed_origins] where it is given: one origin (a String)
/// or several, such as `https://files.example.com`; an empty list allows nothing. Without a file server (`''` as
/// [fileserver_url]) and without [allowed_origins], links are followed to any address that the specification (section 8) does
/// not forbid. Delays are milliseconds. [on_payload] sees each payload's fields and its serialised bytes before they are
/// decoded. Every error is a [NATSBridgeException].
Future<Received> smartreceive(
  Object msg_json_str, {
  DownloadHandler fileserver_download_handler = fetch_with_backoff,
  int max_retries = 5,
  int base_delay = 100,
  int max_delay = 5000,
  Object? allowed_origins,
  String? fileserver_url,
  bool strict = false,
  int max_payload_size = defaultMaxPayloadSize,
  void Function(Json payload, Uint8List body)? on_payload,
}) async {
  final allowed = _origins(allowed_origins, fileserver_url ?? Platform.environment['FILESERVER_URL'] ?? 'http://localhost:8080');
  if (msg_json_str is! String && msg_json_str is! List<int>) throw _wrong('a message is a String or its bytes');
  if (msg_json_str is String && !_isSound(msg_json_str)) throw NATSBridgeException('not_json', 'not JSON: a lone surrogate');
  final bytes = msg_json_str is String ? utf8.encode(msg_json_str) : msg_json_str as List<int>;
  final reader = _Reader(bytes is Uint8List ? bytes : Uint8List.fromList(bytes), maxDepth);
  final raw = await _fenced('not_json', 'the message is not an envelope', null, () async => reader.whole(_Kind.envelope));
  if (raw is! Json) throw NATSBridgeException('wrong_type', 'the message is not an envelope: it is JSON, but not an object');
  final envelope = <String, Object?>{};
  final payloads = <Payload>[];
  try {
    for (final field in fields) {
      envelope[field] = _text(raw, field) ?? '';
    }
    envelope['metadata'] = _metadata(raw);
    final list = raw['payloads'];
    if (list == null) {
      throw NATSBridgeException('missing_field', 'the message is not an envelope: `payloads` is missing');
    }
    if (list is! List) throw NATSBridgeException('wrong_type', "the envelope's `payloads` is not an array");
    final checked = await _fenced('wrong_type', "a payload can't be read", null,
        () async => [for (var at = 0; at < list.length; at++) _Arrival(reader.bytes, list[at], at)]);
    for (final arrival in checked) {
      final payload = arrival.payload;
      final size = payload['size'] as int;
      final metadata = payload['metadata'] as Json;
      final name = payload['dataname'] as String;
      final type = payload['payload_type'] as String;
      await _fenced('undecodable', 'it is not a readable $type', name, () async {
        final digest = _digest(payload, strict);
        Uint8List body;
        if (arrival.body != null) {
          body = arrival.body!;
        } else {
          if (size > max_payload_size) throw _tooLarge(size, max_payload_size);
          final expires = metadata['expires_at'];
          final link = Link(payload['data'] as String, name,
              size: size,
              limit: size > 0 ? size : max_payload_size,
              one_shot: metadata['one_shot'] == true,
              expires_at: expires is String ? parseTimestamp(expires) : null,
              allowed_origins: allowed ?? const [],
              any_origin: allowed == null,
              max_retries: max_retries,
              base_delay: base_delay,
              max_delay: max_delay);
          body = await _fenced('handler', 'the download failed', name, () => fileserver_download_handler(link));
        }
        if (body.length > max_payload_size) throw _tooLarge(body.length, max_payload_size);
        if (size != 0 && size != body.length) {
          final text = 'it has ${body.length} bytes, the envelope says $size';
          if (strict || arrival.body == null) throw NATSBridgeException('size_mismatch', text);
          stderr.writeln('natsbridge: payload `$name`: $text');
        }
        if (digest != null && sha256Hex(body) != digest) {
          throw NATSBridgeException('digest', 'it holds other bytes than were sent');
        }
        on_payload?.call(payload, body);
        payloads.add(Payload(name, _deserialised(body, type), type));
      });
    }
  } on NATSBridgeException catch (error) {
    error.msg_id = envelope['msg_id'] as String?;
    rethrow;
  }
  return Received._(envelope, payloads);
}

T _naming<T>(String dataname, T Function() run) {
  try {
    return run();
  } on NATSBridgeException catch (error) {
    error.dataname ??= dataname;
    rethrow;
  }
}

/// Lets no error out but the library's own, with the payload's name
Future<T> _fenced<T>(String code, String what, String? dataname, Future<T> Function() run) async {
  try {
    return await run();
  } on NATSBridgeException catch (error) {
    error.dataname ??= dataname;
    rethrow;
  } catch (error) {
    throw NATSBridgeException(code, '$what: ${_first('$error', 300)}', dataname);
  }
}

NATSBridgeException _tooLarge(int size, int limit) =>
    NATSBridgeException('too_large', 'it has $size bytes, the receiver takes $limit');

String? _text(Json raw, String name) {
  final value = raw[name];
  if (value is String?) return value;
  throw NATSBridgeException('wrong_type', '`$name` is not a string');
}

Json _metadata(Json raw) {
  final value = raw['metadata'] ?? <String, Object?>{};
  return value is Json ? value : throw NATSBridgeException('wrong_type', '`metadata` is not an object');
}

/// The digest to check; what is no digest must not switch the check off
String? _digest(Json payload, bool strict) {
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
class _Arrival {
  _Arrival(Uint8List bytes, Object? raw, int index) {
    if (raw is! Json) throw NATSBridgeException('wrong_type', 'item $index of `payloads` is not an object');
    final name = _naming('#$index', () => _text(raw, 'dataname') ?? '');
    _naming(name, () => _read(bytes, raw, name));
  }

  final Json payload = {};
  Uint8List? body;

  void _read(Uint8List bytes, Json raw, String name) {
    payload['id'] = _text(raw, 'id') ?? '';
    payload['dataname'] = name;
    void word(String field, List<String> words) {
      final found = _text(raw, field);
      if (found == null) throw NATSBridgeException('missing_field', '`$field` is missing');
      if (!words.contains(found)) throw NATSBridgeException('unknown_$field', 'unknown $field `$found`');
      payload[field] = found;
    }

    word('payload_type', payloadTypes);
    word('transport', const ['direct', 'link']);
    final encoding = payload['encoding'] = _text(raw, 'encoding') ?? '';
    payload['size'] = _size(raw['size']);
    payload['metadata'] = _metadata(raw);
    final data = raw['data'];
    if (data is! _Raw) throw NATSBridgeException('missing_field', '`data` is missing');
    final direct = payload['transport'] == 'direct';
    if (direct && !const ['', 'base64', 'json', 'arrow-ipc', 'none'].contains(encoding)) {
      throw NATSBridgeException('unknown_encoding', 'unknown encoding `$encoding`');
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
      body = _unbase64(bytes, data);
      return;
    }
    final text = _textAt(bytes, data.start, data.end);
    if (direct) {
      body = utf8.encode(text) as Uint8List;
    } else {
      payload['data'] = text;
    }
  }

  static int _size(Object? value) {
    if (value == null) return 0;
    if (value is int && value >= 0) return value;
    if (value is double && value >= 0 && value == value.truncateToDouble() && value < 9e18) return value.toInt();
    // A size between 2^63 and 2^64 is a number of bytes, though none that anything has.
    if (value is BigInt && !value.isNegative && value.bitLength <= 64) return 0x7fffffffffffffff;
    throw NATSBridgeException('wrong_type', '`size` is not a number of bytes');
  }
}

// -------------------------------------------------------------------------------------------------------- downloads

/// Reads a link: no redirects, a byte limit, `max_retries` retries after pauses that double up to `max_delay`
Future<Uint8List> fetch_with_backoff(Link link) async {
  NATSBridgeException failed(String code, String reason) =>
      NATSBridgeException(code, 'failed to fetch ${withoutSecrets(link.url)}: $reason', link.dataname);
  final uri = readUrl(link.url);
  if (uri == null) throw failed('blocked_origin', 'a link is an http or https URL without user info');
  final guard = link.any_origin;
  if (!guard && !link.allowed_origins.any((allowed) => originOf(allowed) == originOf(link.url))) {
    final places = link.allowed_origins.isEmpty ? 'nothing is' : link.allowed_origins.join(', ');
    throw failed('blocked_origin', 'its origin is not allowed (allowed: $places); pass allowed_origins if you trust it');
  }
  var delay = link.base_delay;
  var reason = '';
  for (var attempt = 0; attempt <= link.max_retries; attempt++) {
    var pause = 0.0;
    try {
      final answer = await _http('GET', uri, const {'Accept-Encoding': 'identity'}, const [], link.limit, guard: guard);
      var status = answer.status;
      var text = _first(utf8.decode(answer.body.take(200).toList(), allowMalformed: true), 200);
      if (status == 200 && answer.cut == null) return answer.body;
      if (status == 200 && answer.cut == _Cut.limit) {
        throw failed(link.size > 0 ? 'size_mismatch' : 'too_large', 'it holds more than ${link.limit} bytes');
      }
      if (status == 200) {
        status = 500;
        text = 'the body ended early';
      } else if (status >= 300 && status < 400) {
        // A Plik up to 1.3.8 hides its errors in a redirect.
        final location = answer.headers['location'] ?? '';
        final hidden = RegExp(r'[?&]errcode=(\d{3})').firstMatch(location);
        status = hidden == null ? 0 : int.parse(hidden[1]!);
        text = hidden == null ? 'a redirect is not followed' : location;
      }
      final code = _refusal(status, text, link);
      if (code != null) throw failed(code, '$status $text');
      reason = '$status $text';
      final after = answer.headers['retry-after'] ?? '';
      if (RegExp(r'^\d{1,4}$').hasMatch(after)) pause = min(int.parse(after) * 1000.0, 60000.0);
    } on _HttpFailure catch (failure) {
      if (failure.code != null) throw failed(failure.code!, failure.reason);
      if (link.one_shot && failure.sent) {
        throw failed('consumed', 'a link that can be read once broke (${failure.reason})');
      }
      reason = failure.reason;
    }
    if (attempt < link.max_retries) {
      final wait = max(pause, delay * (0.5 + _random.nextDouble() / 2));
      await Future<void>.delayed(Duration(milliseconds: wait.round()));
      delay = min(2 * delay, link.max_delay);
    }
  }
  throw failed('download_retry_exceeded', 'gave up after ${link.max_retries} retries: $reason');
}

/// The code of an answer that another try would not change
String? _refusal(int status, String text, Link link) {
  if (const [408, 425, 429].contains(status)) return null;
  if (status >= 500) return link.one_shot ? 'consumed' : null;
  final past = link.expires_at != null && link.expires_at!.isBefore(DateTime.now());
  if (const [401, 403, 404, 410].contains(status) && (past || text.contains('expired'))) return 'expired';
  if (status == 404 || status == 410) return link.one_shot ? 'consumed' : 'not_found';
  if (status == 0) return 'blocked_origin';
  return const [401, 403, 407].contains(status) ? 'refused' : 'rejected';
}

/// The origins that links may lead to; null where only the list of forbidden addresses decides
List<String>? _origins(Object? allowed, String fileserverUrl) {
  if (allowed == null && fileserverUrl.isEmpty) return null;
  final given = allowed ?? fileserverUrl;
  final list = given is String ? [given] : given;
  if (list is List && list.every((origin) => origin is String && originOf(origin) != null)) return list.cast<String>();
  throw _wrong('`allowed_origins` and `fileserver_url` are origins such as https://files.example.com');
}

/// Scheme, host and port, the same for every spelling of loopback; null for what is no http or https URL
String? originOf(String url) {
  final uri = readUrl(url);
  if (uri == null) return null;
  final host = uri.host.endsWith('.') ? uri.host.substring(0, uri.host.length - 1) : uri.host;
  final loopback = const ['localhost', '127.0.0.1', '::1'].contains(host);
  return '${uri.scheme}://${loopback ? 'localhost' : host}:${uri.port}';
}

/// Reads an http or https URL as the URL standard does, to be asked for as it is then; null for what is none, or has user
/// info. A host has to be ASCII, but for letters and digits of full width and full stops of other scripts.
Uri? readUrl(String text) {
  final found = RegExp(r'^(https?)://([^/?#\\]+)([^#]*)(?:#.*)?$', caseSensitive: false, dotAll: true).firstMatch(text.trim());
  if (found == null || !_isSound(text) || found[2]!.contains('@')) return null;
  final place = RegExp(r'^(\[[^\]]*\]|[^:]*)(?::([0-9]{0,5}))?$', dotAll: true).firstMatch(found[2]!);
  final host = place == null ? null : _host(place[1]!);
  if (host == null) return null;
  final scheme = found[1]!.toLowerCase();
  final stated = place![2] ?? '';
  final port = stated.isEmpty ? (scheme == 'https' ? 443 : 80) : int.parse(stated);
  if (port > 65535) return null;
  final target = StringBuffer(found[3]!.startsWith('/') ? '' : '/');
  for (final byte in utf8.encode(found[3]!)) {
    final hex = byte.toRadixString(16).toUpperCase().padLeft(2, '0');
    target.write(byte > 0x20 && byte < 0x7f && byte != 0x5c ? String.fromCharCode(byte) : '%$hex');
  }
  return Uri.tryParse('$scheme://${host.contains(':') ? '[$host]' : host}:$port$target');
}

String? _host(String text) {
  if (text.startsWith('[')) {
    if (!RegExp(r'^\[[0-9a-fA-F:.]+\]$').hasMatch(text)) return null;
    try {
      return InternetAddress.fromRawAddress(Uint8List.fromList(Uri.parseIPv6Address(text.substring(1, text.length - 1)))).address;
    } on FormatException {
      return null;
    }
  }
  final mapped = StringBuffer();
  final String plain;
  try {
    plain = Uri.decodeComponent(text.replaceAllMapped(RegExp(r'[^\x00-\x7f]+'), (found) => Uri.encodeComponent(found[0]!)));
  } catch (_) {
    return null; // not UTF-8, or an escape that is none
  }
  for (final rune in plain.runes) {
    if (rune == 0x3002 || rune == 0xff61) {
      mapped.write('.');
    } else if (rune >= 0xff01 && rune <= 0xff5e) {
      mapped.writeCharCode(rune - 0xfee0);
    } else {
      mapped.writeCharCode(rune);
    }
  }
  final name = '$mapped'.toLowerCase();
  if (!RegExp(r'^[!"$&-.0-9;=_`a-z{}~]+$').hasMatch(name)) return null;
  final labels = (name.endsWith('.') ? name.substring(0, name.length - 1) : name).split('.');
  if (RegExp(r'^([0-9]+|0x[0-9a-f]*)$').hasMatch(labels.last)) return _ipv4(labels);
  return name.length < 255 && labels.every((label) => label.isNotEmpty && label.length < 64) ? name : null;
}

/// One to four numbers, each decimal, octal or hexadecimal, of which the last fills what is left
String? _ipv4(List<String> labels) {
  final numbers = <BigInt>[];
  for (final label in labels) {
    final found = RegExp(r'^(?:0x([0-9a-f]*)|(0[0-7]*)|([1-9][0-9]*))$').firstMatch(label);
    if (found == null) return null;
    final digits = found[1] ?? found[2] ?? found[3]!;
    final radix = found[1] != null ? 16 : (found[2] != null ? 8 : 10);
    numbers.add(digits.isEmpty ? BigInt.zero : BigInt.parse(digits, radix: radix));
  }
  if (numbers.length > 4) return null;
  var whole = numbers.removeLast();
  if (whole >= BigInt.from(256).pow(4 - numbers.length) || numbers.any((number) => number > BigInt.from(255))) return null;
  for (var at = 0; at < numbers.length; at++) {
    whole += numbers[at] << (8 * (3 - at));
  }
  return [for (final shift in const [24, 16, 8, 0]) (whole >> shift) & BigInt.from(255)].join('.');
}

/// Networks that no link may lead to: the specification's list (section 8); testdata/addresses.json has the same
const forbiddenNetworks = [
  '0.0.0.0/8', '100.100.100.200/32', '168.63.129.16/32', '169.254.0.0/16', '192.0.0.192/32', '224.0.0.0/4', '240.0.0.0/4', //
  '::/128', '64:ff9b:1::/48', 'fd00:42::42/128', 'fd00:a9fe:a9fe::1/128', 'fd00:c1::a9fe:a9fe/128', 'fd00:ec2::/32',
  'fd20:ce::254/128', 'fe80::/10', 'fec0::/10', 'ff00::/8',
];

/// Where an IPv6 address holds one of version 4: network, first bit, whether all bits are inverted
const embeddingNetworks = [
  ['::/96', 96, false], ['::ffff:0:0/96', 96, false], ['::ffff:0:0:0/96', 96, false], ['64:ff9b::/96', 96, false], //
  ['2002::/16', 16, false], ['2001::/32', 96, true],
];

bool _within(Uint8List raw, String network) {
  final mark = network.indexOf('/');
  final start = InternetAddress(network.substring(0, mark)).rawAddress;
  final bits = int.parse(network.substring(mark + 1));
  if (start.length != raw.length) return false;
  for (var at = 0; at < bits; at++) {
    if (((raw[at >> 3] ^ start[at >> 3]) >> (7 - (at & 7))) & 1 == 1) return false;
  }
  return true;
}

/// Whether no link may lead to this address
bool isForbidden(InternetAddress address) {
  final raw = address.rawAddress;
  if (forbiddenNetworks.any((network) => _within(raw, network))) return true;
  if (raw.length == 4 || (raw[15] == 1 && raw.take(15).every((byte) => byte == 0))) return false;
  return embeddingNetworks.any((row) {
    final start = (row[1] as int) ~/ 8;
    final inner = [for (final byte in raw.sublist(start, start + 4)) row[2] as bool ? byte ^ 0xff : byte];
    return _within(raw, row[0] as String) && isForbidden(InternetAddress.fromRawAddress(Uint8List.fromList(inner)));
  });
}

enum _Cut { limit, early }

class _Answer {
  _Answer(this.status, this.headers, this.body, this.cut);

  final int status;
  final Map<String, String> headers;
  final Uint8List body;

  /// Why the body is not whole; null where it is
  final _Cut? cut;
}

/// No answer; [sent] where the server may have seen the request, [code] where another try can't help
class _HttpFailure implements Exception {
  _HttpFailure(this.reason, {this.timeout = false, this.sent = false, this.code});

  final String reason;
  final bool timeout;
  final bool sent;
  final String? code;
}

/// One request on a connection of its own, without redirects and proxies
Future<_Answer> _http(String method, Uri uri, Map<String, String> headers, List<List<int>> body, int limit,
    {bool guard = false}) async {
  final target = guard ? await _guarded(uri) : uri;
  // dart:io throws some of what it finds in a hostile answer where nobody can catch it, and that would end the program.
  final done = Completer<_Answer>();
  void fail(Object error, StackTrace stack) {
    if (!done.isCompleted) done.completeError(error is _HttpFailure ? error : _HttpFailure('$error', sent: true), stack);
  }

  runZonedGuarded(() async {
    try {
      done.complete(await _exchange(method, uri, target, headers, body, limit));
    } catch (error, stack) {
      fail(error, stack);
    }
  }, fail);
  return done.future;
}

Future<_Answer> _exchange(
    String method, Uri uri, Uri target, Map<String, String> headers, List<List<int>> body, int limit) async {
  final client = HttpClient()
    ..connectionTimeout = const Duration(seconds: 5)
    ..autoUncompress = false
    ..userAgent = userAgent
    ..findProxy = (_) => 'DIRECT';
  var sent = false;
  try {
    final request = await client.openUrl(method, target);
    request.followRedirects = false;
    request.persistentConnection = false;
    request.headers.set('Host', uri.authority);
    headers.forEach(request.headers.set);
    if (method != 'GET') request.contentLength = body.fold(0, (sum, piece) => sum + piece.length);
    body.forEach(request.add);
    sent = true;
    final response = await request.close().timeout(const Duration(seconds: 600));
    final found = <String, String>{};
    response.headers.forEach((name, values) => found[name.toLowerCase()] = values.last);
    final read = BytesBuilder(copy: false);
    _Cut? cut;
    try {
      await for (final piece in response.timeout(const Duration(seconds: 60))) {
        read.add(piece);
        if (read.length > limit) {
          cut = _Cut.limit;
          break;
        }
      }
    } on Exception {
      cut = _Cut.early;
    }
    if (cut == null && response.contentLength >= 0 && read.length < response.contentLength) cut = _Cut.early;
    return _Answer(response.statusCode, found, read.takeBytes(), cut);
  } on TimeoutException {
    throw _HttpFailure('no answer in time', timeout: true, sent: sent);
  } on IOException catch (error) {
    throw _HttpFailure(sent ? 'the connection broke' : 'no connection (${error.runtimeType})', sent: sent);
  } finally {
    client.close(force: true);
  }
}

/// The URL with an address that may be connected to. With http it is this one; with https the name stays, since the
/// certificate is for it.
Future<Uri> _guarded(Uri uri) async {
  final List<InternetAddress> found;
  try {
    found = await InternetAddress.lookup(uri.host);
  } on SocketException {
    throw _HttpFailure('the name can not be resolved');
  }
  final safe = [for (final address in found) if (!isForbidden(address)) address];
  if (safe.isEmpty || (uri.isScheme('https') && safe.length < found.length)) {
    throw _HttpFailure('it leads to an address that no link may lead to', code: 'blocked_origin');
  }
  return uri.isScheme('https') ? uri : uri.replace(host: safe.first.address);
}

String _first(String text, int count) {
  final line = text.trim();
  return line.length > count ? line.substring(0, count) : line;
}

/// A URL without user name, password, token, query and fragment
String withoutSecrets(String url) {
  final plain = url.split(RegExp('[?#]')).first;
  final mark = plain.indexOf('://');
  final rest = mark < 0 ? plain : plain.substring(mark + 3);
  final slash = rest.indexOf('/');
  final authority = slash < 0 ? rest : rest.substring(0, slash);
  return (mark < 0 ? '' : plain.substring(0, mark + 3)) + authority.split('@').last + rest.substring(authority.length);
}

final _random = Random.secure();

/// A random UUID as text
String uuid4() {
  final drawn = [for (var at = 0; at < 16; at++) _random.nextInt(256)];
  drawn[6] = drawn[6] & 0x0f | 0x40;
  drawn[8] = drawn[8] & 0x3f | 0x80;
  final text = _hex(drawn);
  return [text.substring(0, 8), text.substring(8, 12), text.substring(12, 16), text.substring(16, 20), text.substring(20)]
      .join('-');
}

String _hex(Iterable<int> bytes) => [for (final byte in bytes) byte.toRadixString(16).padLeft(2, '0')].join();

/// ISO 8601 in UTC with milliseconds
String timestampOf(DateTime moment) {
  final utc = moment.toUtc();
  return DateTime.utc(utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, utc.millisecond).toIso8601String();
}

/// The moment in UTC; null for what is no ISO 8601 date and time
DateTime? parseTimestamp(String text) {
  final found = RegExp(r'^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{0,9}))?(?:[Zz]|([+-])(\d\d):?(\d\d)?)?$')
      .firstMatch(text.trim());
  if (found == null) return null;
  final parts = [for (var at = 1; at <= 6; at++) int.parse(found[at]!)];
  final micros = int.parse((found[7] ?? '').padRight(6, '0').substring(0, 6));
  final moment = DateTime.utc(parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], 0, micros);
  // Dart carries over: the 30th of February would be the 2nd of March.
  if (moment.month != parts[1] || moment.day != parts[2] || parts[3] > 23 || parts[4] > 59 || parts[5] > 59) return null;
  if (found[8] == null) return moment;
  final offset = Duration(hours: int.parse(found[9]!), minutes: int.parse(found[10] ?? '0'));
  return found[8] == '+' ? moment.subtract(offset) : moment.add(offset);
}

// ------------------------------------------------------------------------------------------------------------ codec

Uint8List _serialised(Object? value, String type) {
  Never wrong() => throw NATSBridgeException('wrong_value', "a ${value.runtimeType} can't be sent as $type");
  switch (type) {
    case 'text':
      return value is String && _isSound(value) ? utf8.encode(value) as Uint8List : wrong();
    case 'dictionary':
      return utf8.encode(toJson(value)) as Uint8List;
    case 'jsontable':
      return value is List && value.every((row) => row is Map) ? utf8.encode(toJson(value)) as Uint8List : wrong();
    case 'arrowtable':
      throw NATSBridgeException('unsupported', 'Dart has no Arrow; send the table as jsontable');
  }
  if (value is Uint8List) return value;
  return value is List<int> && value.every((byte) => byte >= 0 && byte < 256) ? Uint8List.fromList(value) : wrong();
}

Object? _deserialised(Uint8List body, String type) {
  if (type == 'text') {
    try {
      return _utf8(body);
    } on FormatException {
      throw NATSBridgeException('undecodable', 'it is not UTF-8');
    }
  }
  if (type == 'arrowtable') throw NATSBridgeException('unsupported', 'Dart has no Arrow; ask for jsontable');
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

/// Dart's decoder takes a byte-order mark away, which is a part of the text here
String _utf8(Uint8List bytes) {
  var marks = 0;
  while (bytes.length >= marks + 3 && bytes[marks] == 0xef && bytes[marks + 1] == 0xbb && bytes[marks + 2] == 0xbf) {
    marks += 3;
  }
  return '\ufeff' * (marks ~/ 3) + utf8.decode(Uint8List.sublistView(bytes, marks));
}

/// Whether a string has no lone surrogates
bool _isSound(String text) {
  for (var at = 0; at < text.length; at++) {
    final unit = text.codeUnitAt(at);
    if (unit < 0xd800 || unit > 0xdfff) continue;
    if (unit > 0xdbff || at + 1 == text.length) return false;
    final low = text.codeUnitAt(++at);
    if (low < 0xdc00 || low > 0xdfff) return false;
  }
  return true;
}

/// Decodes strictly first, then without padding, in the URL-safe alphabet, with white space
Uint8List _unbase64(Uint8List bytes, _Raw raw) {
  final plain = String.fromCharCodes(bytes, raw.start, raw.end);
  try {
    // Dart's decoder takes both alphabets, and %3D for padding, which is none here.
    if (!plain.contains('%')) return base64.decode(plain);
  } on FormatException {
    // The other forms are tried below.
  }
  final text = _textAt(bytes, raw.start, raw.end).replaceAll(RegExp(r'[ \t\r\n]'), '');
  final body = text.replaceFirst(RegExp(r'={1,2}$'), '');
  final missing = -body.length % 4;
  if (missing < 3 && text.length - body.length <= missing && !body.contains(RegExp('[=%]'))) {
    try {
      return base64.decode(body + '=' * missing);
    } on FormatException {
      // It is base64 in no form.
    }
  }
  throw NATSBridgeException('base64', 'it is not base64');
}

/// SHA-256, as lower-case hexadecimal text
String sha256Hex(Uint8List data) {
  final words = Uint32List(64);
  final hash = Uint32List.fromList(_sha256Start);
  final tail = Uint8List((data.length % 64 < 56 ? 64 : 128));
  final whole = data.length ~/ 64 * 64;
  tail.setRange(0, data.length - whole, data, whole);
  tail[data.length - whole] = 0x80;
  ByteData.sublistView(tail).setUint64(tail.length - 8, data.length * 8);

  void block(ByteData view, int at) {
    for (var i = 0; i < 16; i++) {
      words[i] = view.getUint32(at + 4 * i);
    }
    for (var i = 16; i < 64; i++) {
      final a = words[i - 15], b = words[i - 2];
      final s0 = (a >> 7 | a << 25) ^ (a >> 18 | a << 14) ^ (a >> 3);
      final s1 = (b >> 17 | b << 15) ^ (b >> 19 | b << 13) ^ (b >> 10);
      words[i] = words[i - 16] + (s0 & 0xffffffff) + words[i - 7] + (s1 & 0xffffffff);
    }
    var a = hash[0], b = hash[1], c = hash[2], d = hash[3], e = hash[4], f = hash[5], g = hash[6], h = hash[7];
    for (var i = 0; i < 64; i++) {
      final s1 = ((e >> 6 | e << 26) ^ (e >> 11 | e << 21) ^ (e >> 25 | e << 7)) & 0xffffffff;
      final t1 = h + s1 + ((e & f) ^ (~e & 0xffffffff & g)) + _sha256Rounds[i] + words[i];
      final s0 = ((a >> 2 | a << 30) ^ (a >> 13 | a << 19) ^ (a >> 22 | a << 10)) & 0xffffffff;
      final t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
      h = g;
      g = f;
      f = e;
      e = (d + t1) & 0xffffffff;
      d = c;
      c = b;
      b = a;
      a = (t1 + t2) & 0xffffffff;
    }
    final added = [a, b, c, d, e, f, g, h];
    for (var i = 0; i < 8; i++) {
      hash[i] += added[i];
    }
  }

  final view = ByteData.sublistView(data);
  for (var at = 0; at < whole; at += 64) {
    block(view, at);
  }
  for (var at = 0; at < tail.length; at += 64) {
    block(ByteData.sublistView(tail), at);
  }
  return [for (final word in hash) word.toRadixString(16).padLeft(8, '0')].join();
}

const _sha256Start = [
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19, //
];
const _sha256Rounds = [
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, //
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

// ------------------------------------------------------------------------------------------------------------- JSON

/// A value that stays where it is in the text; a string without its quotes
class _Raw {
  const _Raw(this.start, this.end, this.isText);

  final int start;
  final int end;
  final bool isText;
}

/// What a value is in the envelope, for the keys that may stand only once and the data that is left as it is
enum _Kind { any, envelope, payloads, payload, metadata, data }

/// Reads JSON strictly: integers stay exact ([BigInt] beyond 64 bits), keys keep their order
Object? fromJson(Uint8List bytes, {int depth = maxDepth}) => _Reader(bytes, depth).whole(_Kind.any);

class _Reader {
  _Reader(this.bytes, this.room);

  final Uint8List bytes;

  /// How much deeper it may go
  int room;
  int at = 0;

  int get byte => at < bytes.length ? bytes[at] : -1;

  Object? whole(_Kind kind) {
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

  Object? value(_Kind kind) {
    space();
    final start = at;
    if (byte == 0x22) {
      string();
      return kind == _Kind.data ? _Raw(start + 1, at - 1, true) : _textAt(bytes, start + 1, at - 1);
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
    return kind == _Kind.data ? _Raw(start, at, false) : found;
  }

  bool word(String text) {
    for (var i = 0; i < text.length; i++) {
      if (at + i >= bytes.length || bytes[at + i] != text.codeUnitAt(i)) return false;
    }
    at += text.length;
    return true;
  }

  Json object(_Kind kind) {
    final found = <String, Object?>{};
    final wire = kind == _Kind.envelope || kind == _Kind.payload;
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
      final key = _textAt(bytes, start, at - 1);
      if ((wire || kind == _Kind.metadata) && found.containsKey(key)) throw _notJson(bytes, start, 'duplicate key `$key`');
      space();
      if (byte != 0x3a) throw _notJson(bytes, at, 'expected :');
      at++;
      var child = _Kind.any;
      if (kind == _Kind.envelope && key == 'payloads') child = _Kind.payloads;
      if (wire && key == 'metadata') child = _Kind.metadata;
      if (kind == _Kind.payload && key == 'data') child = _Kind.data;
      found[key] = value(child);
    } while (another(0x7d));
    return found;
  }

  List<Object?> array(_Kind kind) {
    final found = <Object?>[];
    at++;
    space();
    if (byte == 0x5d) {
      at++;
      return found;
    }
    do {
      found.add(value(kind == _Kind.payloads ? _Kind.payload : _Kind.any));
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
    if (whole && text != '-0') return int.tryParse(text) ?? BigInt.parse(text);
    final found = double.parse(text);
    final lost = found == 0 && RegExp('[1-9]').hasMatch(text.split(RegExp('[eE]')).first);
    return found.isFinite && !lost ? found : throw _notJson(bytes, start, 'a number out of range');
  }
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
String _textAt(Uint8List bytes, int start, int end) {
  final pieces = StringBuffer();
  while (true) {
    var back = start;
    while (back < end && bytes[back] != 0x5c) {
      back++;
    }
    try {
      pieces.write(_utf8(Uint8List.sublistView(bytes, start, back)));
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
    throw _wrong('an integer beyond 64 bits; send it as text');
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
        if (key is! String) throw _wrong('the key ${_shown('$key')} is not a string');
        if (!known.add(key)) throw _wrong('two keys are ${_shown(key)}, of which one would be lost');
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
  if (!_isSound(text)) throw NATSBridgeException('wrong_value', 'a string with a lone surrogate');
  out.write(jsonEncode(text));
}
