/// The Dart peer of the conformance suite: `adapter.dart vectors`, or `adapter.dart live --nats URL --files URL --name NAME`.
///
/// JSON lines in and out; logs go to stderr.
library adapter;

import 'dart:async';
import 'dart:convert';
import 'dart:io';
import 'dart:typed_data';

import 'package:natsbridge/natsbridge.dart';
import 'package:natsbridge/src/sha256.dart';
import 'package:natsbridge/src/text.dart' show uuid4;

import 'tables.dart';

typedef Json = Map<String, Object?>;

const longest = 4096;

void say(Json answer) => stdout.writeln(toJson(answer, depth: depth));

Stream<Json> orders() => stdin
    .transform(const _Lines())
    .where((line) => line.isNotEmpty)
    .map((line) => fromJson(line, depth: depth) as Json);

/// Lines as bytes: Dart's own decoder would take away byte-order marks
class _Lines extends StreamTransformerBase<List<int>, Uint8List> {
  const _Lines();

  @override
  Stream<Uint8List> bind(Stream<List<int>> stream) async* {
    var pending = BytesBuilder();
    await for (final chunk in stream) {
      var start = 0;
      while (true) {
        final end = chunk.indexOf(0x0a, start);
        if (end < 0) break;
        pending.add(chunk.sublist(start, end));
        yield pending.takeBytes();
        start = end + 1;
      }
      pending.add(chunk.sublist(start));
    }
    if (pending.isNotEmpty) yield pending.takeBytes();
  }
}

Uint8List bytesOf(Json tagged) {
  final text = tagged['text'], encoded = tagged['base64'], blob = tagged['blob'];
  if (text is String) return Uint8List.fromList(utf8.encode(text));
  if (encoded is String) return base64.decode(encoded);
  if (blob is String) {
    return File('${Platform.environment['NATSBRIDGE_BLOBS'] ?? 'testdata/blobs'}/$blob').readAsBytesSync();
  }
  final repeat = tagged['repeat'] as Json;
  final count = repeat['count'] as int;
  return Uint8List(count)..fillRange(0, count, repeat['byte'] as int);
}

Object? valueOf(Json tagged, String type) {
  if (tagged.containsKey('text')) return tagged['text'];
  if (tagged.containsKey('json')) return tagged['json'];
  final table = tagged['table'];
  if (table is Json) return tableOf(table);
  final bytes = bytesOf(tagged);
  if (type == 'text') return utf8.decode(bytes);
  return type == 'dictionary' || type == 'jsontable' ? fromJson(bytes, depth: depth) : bytes;
}

List<Payload> partsOf(Object? parts) => [
      for (final part in (parts as List).cast<Json>())
        Payload(part['name'] as String, valueOf(part['value'] as Json, part['type'] as String), part['type'] as String),
    ];

Json tagged(Payload payload) {
  final value = payload.data;
  if (payload.payload_type == 'text') return {'text': value};
  if (value is ArrowTable) return {'table': taggedTable(value)};
  if (!bytesTypes.contains(payload.payload_type)) return {'json': value};
  final bytes = value as Uint8List;
  if (bytes.length > longest) return {'sha256': sha256Hex(bytes), 'size': bytes.length};
  return {'base64': base64.encode(bytes)};
}

Json failed(NATSBridgeException error) =>
    {'error': error.code, if (error.dataname != null) 'dataname': error.dataname};

Map<Symbol, Object?> keywords(Object? given) =>
    {for (final entry in ((given ?? const <String, Object?>{}) as Json).entries) Symbol(entry.key): entry.value};

// ---------------------------------------------------------------------------------------------------------- vectors

/// A message that may be anything: what is asked is that nothing but the library's error comes of it
Future<int> damaged(Json vector) async {
  final links = (vector['links'] ?? <String, Object?>{}) as Json;
  final got = await (Function.apply(smartreceive, [
    messageOf(vector)
  ], {
    ...keywords(vector['given'] ?? <String, Object?>{}),
    #max_retries: 0,
    #fileserver_download_handler: (Link link) async {
      final found = links[link.url];
      return found is Json ? bytesOf(found) : await fetch_with_backoff(link);
    },
  }) as Future<Received>);
  return got.payloads.length;
}

Object messageOf(Json vector) {
  final Object message;
  if (vector.containsKey('envelope')) {
    message = toJson(vector['envelope'], depth: depth);
  } else if (vector.containsKey('envelope_base64')) {
    message = base64.decode(vector['envelope_base64'] as String);
  } else {
    final joined = BytesBuilder();
    for (final piece in vector['envelope_pieces'] as List) {
      joined.add(piece is String ? utf8.encode(piece) : bytesOf(piece as Json));
    }
    message = joined.takeBytes();
  }
  return message;
}

Future<Json> received(Json vector) async {
  final message = messageOf(vector);
  final links = (vector['links'] ?? <String, Object?>{}) as Json;
  final transports = <Object?>[];
  final got = await (Function.apply(smartreceive, [
    message
  ], {
    ...keywords(vector['given']),
    #fileserver_download_handler: (Link link) async {
      final found = links[link.url];
      if (found is Json) return bytesOf(found);
      throw NATSBridgeException('not_found', 'the vector has no such link', link.dataname);
    },
    #on_payload: (Json payload, Uint8List _) => transports.add(payload['transport']),
  }) as Future<Received>);
  return {
    'subject': got['send_to'],
    'parts': [
      for (var at = 0; at < transports.length; at++)
        {
          'name': got.payloads[at].dataname,
          'type': got.payloads[at].payload_type,
          'transport': transports[at],
          'value': tagged(got.payloads[at]),
        },
    ],
    'fields': got.envelope,
  };
}

Future<Json> sent(Json given) async {
  final ids = (given['ids'] as List).cast<String>().iterator;
  final uploads = (given['uploads'] as List).cast<String>().iterator;
  String next(Iterator<String> list) => list.moveNext() ? list.current : throw StateError('the vector gives no more');
  final message = await (Function.apply(smartsend, [
    given['subject'],
    partsOf(given['parts'])
  ], {
    ...keywords(given['options']),
    ...keywords(given['limits']),
    #timestamp: given['timestamp'],
    #new_id: () => next(ids),
    #fileserver_upload_handler: (Upload _) async => Stored(next(uploads)),
  }) as Future<Sent>);
  final payloads = (message.envelope['payloads'] as List).cast<Json>();
  return {
    'envelope': fromJson(Uint8List.fromList(utf8.encode(message.json)), depth: depth),
    'transports': [for (final payload in payloads) payload['transport']],
  };
}

Future<void> vectors() async {
  await for (final vector in orders()) {
    final answer = <String, Object?>{'name': vector['name']};
    try {
      if (vector['kind'] == 'damaged') {
        answer['read'] = await damaged(vector);
        say(answer);
        continue;
      }
      answer['expect'] = vector['kind'] == 'send' ? await sent(vector['given'] as Json) : await received(vector);
    } on NATSBridgeException catch (error) {
      answer.addAll(failed(error));
    }
    say(answer);
  }
}

// ------------------------------------------------------------------------------------------------------------- live

class Live {
  Live(this.nats, this.url, this.files, String name)
      : own = 'conform.$name',
        answers = nats.inbox() {
    for (final subject in [own, answers]) {
      nats.subscribe(subject).messages.listen((message) => unawaited(take(message)));
    }
  }

  final Nats nats;
  final String url;
  final String files;
  final String own;
  final String answers;
  final waiting = <String, Completer<Json>>{};

  Future<Sent> send(String to, List<Payload> parts, Map<Symbol, Object?> options) async {
    final message = await (Function.apply(smartsend, [
      to,
      parts
    ], {
      ...options,
      #broker_url: url,
      #fileserver_url: files,
      #sender_name: 'dart',
      #max_message_size: nats.max_payload,
    }) as Future<Sent>);
    try {
      nats.publish(to, utf8.encode(message.json));
      await nats.flush();
    } catch (_) {
      await message.discard();
      rethrow;
    }
    return message;
  }

  Future<void> obey(Json order) async {
    final done = <String, Object?>{'done': order['id']};
    try {
      final options = keywords(order['options']);
      final to = order['to'] as String;
      final parts = partsOf(order['parts']);
      if (order['do'] == 'send') {
        final message = await send(to, parts, options);
        final payloads = (message.envelope['payloads'] as List).cast<Json>();
        done['msg_id'] = message.envelope['msg_id'];
        done['transports'] = [for (final payload in payloads) payload['transport']];
      } else {
        // The answer may be there before the request is flushed.
        final msgId = uuid4();
        final answered = waiting[msgId] = Completer<Json>();
        await send(to, parts, {...options, #reply_to: answers, #msg_id: msgId});
        final answer = answered.future.timeout(const Duration(seconds: 10), onTimeout: () => {'error': 'timeout'});
        done.addAll(await answer);
        waiting.remove(msgId);
      }
    } on NATSBridgeException catch (error) {
      done.addAll(failed(error));
    }
    say(done);
  }

  Future<void> take(NatsMessage message) async {
    final seen = <Json>[];
    Json report;
    try {
      final got = await smartreceive(message.data, allowed_origins: [files], on_payload: (payload, body) {
        seen.add({'transport': payload['transport'], 'size': body.length, 'sha256': sha256Hex(body)});
      });
      final parts = [
        for (var at = 0; at < seen.length; at++)
          {
            'name': got.payloads[at].dataname,
            'type': got.payloads[at].payload_type,
            ...seen[at],
            'value': tagged(got.payloads[at]),
          },
      ];
      if (message.subject == answers) {
        final purpose = got['msg_purpose'];
        waiting[got['reply_to_msg_id']]?.complete({
          'answer': {
            'purpose': purpose,
            'reply_to_msg_id': got['reply_to_msg_id'],
            'correlation_id': got['correlation_id'],
            'parts': parts,
          },
        });
        return;
      }
      if (got['reply_to'].isNotEmpty) await answer(got);
      report = {'msg_id': got['msg_id'], 'subject': got['send_to'], 'parts': parts};
    } on NATSBridgeException catch (error) {
      stderr.writeln(error);
      report = {'msg_id': error.msg_id, ...failed(error)};
    }
    say({'received': report});
  }

  Future<void> answer(Received got) async {
    final acked = got['msg_purpose'] == 'chat' && got.payloads.isNotEmpty && got.payloads.first.dataname == 'ask-ack';
    try {
      await send(got['reply_to'], acked ? [] : got.payloads, {
        #correlation_id: got['correlation_id'],
        #reply_to_msg_id: got['msg_id'],
        if (acked) #msg_purpose: 'ACK',
      });
    } on NATSBridgeException catch (error) {
      stderr.writeln('no answer: $error');
    } on ArgumentError catch (error) {
      stderr.writeln('no answer: $error');
    }
  }
}

Future<void> live(Map<String, String> given) async {
  final nats = await Nats.connect(given['--nats']!);
  final live = Live(nats, given['--nats']!, given['--files'] ?? 'http://127.0.0.1:1', given['--name']!);
  await nats.flush();
  say({'ready': true});
  await for (final order in orders()) {
    if (order['do'] == 'quit') break;
    await live.obey(order);
  }
  await nats.close();
}

Future<void> main(List<String> arguments) async {
  if (arguments.first == 'vectors') {
    await vectors();
  } else {
    await live({for (var at = 1; at + 1 < arguments.length; at += 2) arguments[at]: arguments[at + 1]});
  }
  await stdout.flush();
  exit(0);
}
