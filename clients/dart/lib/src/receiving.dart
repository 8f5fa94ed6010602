/// [smartreceive]: from a message to its payloads, with links followed where they may lead.
// ignore_for_file: non_constant_identifier_names
library natsbridge.receiving;

import 'dart:typed_data';

import 'codec.dart';
import 'envelope.dart';
import 'errors.dart';
import 'json.dart';
import 'links_none.dart' if (dart.library.io) 'links_io.dart';
import 'log.dart';
import 'payload.dart';
import 'policy.dart';
import 'sending.dart' show settled;
import 'sha256.dart';
import 'text.dart';

/// What [smartreceive] makes: every field of the wire but the payloads, and these
class Received {
  Received(this.envelope, this.payloads);

  final Json envelope;
  final List<Payload> payloads;

  /// A field of the envelope, such as `correlation_id`
  String operator [](String field) => envelope[field] as String;

  Json get metadata => envelope['metadata'] as Json;

  /// The first payload of this name
  Payload payload(String dataname) => payloads.firstWhere((payload) => payload.dataname == dataname,
      orElse: () => throw wrong('the message has no payload ${shown(dataname)}'));
}

/// Reads a message (a String or its bytes) and downloads what came as a link.
///
/// Links are followed to the origin of [fileserver_url], or only to [allowed_origins] where it is given: one origin (a String)
/// or several, such as `https://files.example.com`; an empty list allows nothing. Without a file server (`''` as
/// [fileserver_url]) and without [allowed_origins], links are followed to any address that the specification (section 8) does
/// not forbid. Delays are milliseconds. [leave_links] leaves links where they are: the payload's data is a [RemotePayload].
/// [on_payload] sees each payload's fields and its serialised bytes before they are decoded. Every error is a
/// [NATSBridgeException].
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
  bool leave_links = false,
  void Function(Json payload, Uint8List body)? on_payload,
  Log? log,
}) async {
  final envelope = <String, Object?>{};
  Json current = const {};
  try {
    final allowed = originsOf(allowed_origins, settled(fileserver_url, 'FILESERVER_URL', 'http://localhost:8080'));
    if (msg_json_str is! String && msg_json_str is! List<int>) throw wrong('a message is a String or its bytes');
    if (msg_json_str is String && !isSound(msg_json_str)) {
      throw NATSBridgeException('not_json', 'not JSON: a lone surrogate');
    }
    final bytes = msg_json_str is String ? utf8Of(msg_json_str) : msg_json_str as List<int>;
    final reader = JsonReader(bytes is Uint8List ? bytes : Uint8List.fromList(bytes), maxDepth);
    final raw = await fenced('not_json', 'the message is not an envelope', null, () async => reader.whole(JsonKind.envelope));
    if (raw is! Json) throw NATSBridgeException('wrong_type', 'the message is not an envelope: it is JSON, but not an object');
    for (final field in fields) {
      envelope[field] = textField(raw, field) ?? '';
    }
    envelope['metadata'] = metadataOf(raw);
    final list = raw['payloads'];
    if (list == null) {
      throw NATSBridgeException('missing_field', 'the message is not an envelope: `payloads` is missing');
    }
    if (list is! List) throw NATSBridgeException('wrong_type', "the envelope's `payloads` is not an array");
    final checked = await fenced('wrong_type', "a payload can't be read", null,
        () async => [for (var at = 0; at < list.length; at++) Arrival(reader.bytes, list[at], at)]);
    final linked = checked.where((arrival) => arrival.body == null);
    final bytesOfLinks = linked.fold<double>(0, (sum, arrival) => sum + (arrival.payload['size'] as int));
    final seconds = 60 + (bytesOfLinks / 1000000).clamp(0, 86400).floor();
    final reading = _Reading(
        strict: strict,
        limit: max_payload_size,
        leave: leave_links,
        handler: fileserver_download_handler,
        onPayload: on_payload,
        log: log,
        deadline: DateTime.now().add(Duration(seconds: seconds)),
        link: (arrival, deadline, sink) {
          final size = arrival.payload['size'] as int;
          final metadata = arrival.payload['metadata'] as Json;
          final expires = metadata['expires_at'];
          return Link(arrival.payload['data'] as String, arrival.payload['dataname'] as String,
              size: size,
              limit: size > 0 ? size : max_payload_size,
              one_shot: metadata['one_shot'] == true,
              expires_at: expires is String ? parseTimestamp(expires) : null,
              allowed_origins: allowed ?? const [],
              any_origin: allowed == null,
              deadline: deadline,
              max_retries: max_retries,
              base_delay: base_delay,
              max_delay: max_delay,
              on_bytes: sink,
              log: log);
        });
    final payloads = <Payload>[];
    for (final arrival in checked) {
      current = arrival.payload;
      payloads.add(await reading.payload(arrival, envelope));
    }
    return Received(envelope, payloads);
  } on NATSBridgeException catch (error) {
    error.msg_id ??= envelope['msg_id'] as String?;
    error.correlation_id ??= envelope['correlation_id'] as String?;
    final record = recordOf('failed', envelope, current);
    tell(
        log,
        LogRecord('failed',
            correlation_id: record.correlation_id,
            msg_id: record.msg_id,
            sender_name: record.sender_name,
            receiver_name: record.receiver_name,
            payload_type: record.payload_type,
            transport: record.transport,
            dataname: harmless(error.dataname ?? ''),
            code: error.code,
            message: harmless(error.message)));
    rethrow;
  }
}

class _Reading {
  _Reading(
      {required this.strict,
      required this.limit,
      required this.leave,
      required this.handler,
      required this.onPayload,
      required this.log,
      required this.deadline,
      required this.link});

  final bool strict;
  final int limit;
  final bool leave;
  final DownloadHandler handler;
  final void Function(Json payload, Uint8List body)? onPayload;
  final Log? log;
  final DateTime deadline;
  final Link Function(Arrival arrival, DateTime? deadline, void Function(List<int> bytes)? sink) link;

  Future<Payload> payload(Arrival arrival, Json envelope) {
    final payload = arrival.payload;
    final name = payload['dataname'] as String;
    final type = payload['payload_type'] as String;
    final size = payload['size'] as int;
    return fenced('undecodable', 'it is not a readable $type', name, () async {
      final digest = digestOf(payload, strict);
      Uint8List body;
      if (arrival.body != null) {
        body = arrival.body!;
      } else {
        if (size > limit) throw tooLarge(size, limit);
        if (leave) {
          tell(log, recordOf('received', envelope, payload, size));
          return Payload(name, LinkedPayload((until, sink) => link(arrival, until, sink), digest, handler), type);
        }
        body = await fenced('handler', 'the download failed', name, () => handler(link(arrival, deadline, null)));
      }
      if (body.length > limit) throw tooLarge(body.length, limit);
      if (size != 0 && size != body.length) {
        final text = 'it has ${body.length} bytes, the envelope says $size';
        if (strict || arrival.body == null) throw NATSBridgeException('size_mismatch', text);
        tell(log, LogRecord('warning', dataname: harmless(name), message: 'payload ${shown(name)}: $text'));
      }
      if (digest != null && sha256Hex(body) != digest) {
        throw NATSBridgeException('digest', 'it holds other bytes than were sent');
      }
      onPayload?.call(payload, body);
      final value = deserialised(body, type);
      tell(log, recordOf('received', envelope, payload, body.length));
      return Payload(name, value, type);
    });
  }
}
