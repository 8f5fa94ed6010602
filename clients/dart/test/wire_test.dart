/// What is refused, and where links may lead: everything that needs no server.
import 'dart:convert';
import 'dart:io';
import 'dart:typed_data';

import 'package:natsbridge/natsbridge.dart';
import 'package:natsbridge/src/policy.dart';

import 'runner.dart';

typedef Json = Map<String, Object?>;

const id = '7a512910-bf40-4c64-a088-d2975d3d09ed';

String linked(String url) => jsonEncode({
      'payloads': [
        {'dataname': 'x', 'payload_type': 'text', 'transport': 'link', 'data': url}
      ]
    });

Future<void> addresses() async {
  final path = Platform.environment['ADDRESSES'] ?? Platform.script.resolve('../../../testdata/addresses.json').toFilePath();
  final known = jsonDecode(File(path).readAsStringSync()) as Json;
  List<Json> rows(String name) => (known[name] as List).cast<Json>();
  same(forbiddenNetworks, [for (final row in rows('forbidden')) row['network']], 'forbidden');
  same(embeddingNetworks, [for (final row in rows('embedding')) [row['network'], row['bit'], row['inverted']]], 'embedding');
  for (final row in rows('hosts')) {
    final url = 'http://${row['host']}/f';
    if (row['judgement'] == 'open') {
      final uri = readUrl(url);
      final address = uri == null ? null : addressOf(uri.host);
      same(address != null && !isForbidden(address), true, url);
    } else {
      same(await codeOf(() => smartreceive(linked(url), fileserver_url: '', max_retries: 0)), 'blocked_origin', url);
    }
  }
  for (final row in rows('origins')) {
    final origin = originOf(row['link'] as String);
    same(origin != null && origin == originOf(row['configured'] as String), row['followed'], row['link']);
  }
}

Future<void> origins() async {
  final other = linked('http://127.0.0.1:9/f');
  same(await codeOf(() => smartreceive(other)), 'blocked_origin', 'default');
  for (final allowed in <Object>[<String>[], 'http://127.0.0.1:10']) {
    same(await codeOf(() => smartreceive(other, allowed_origins: allowed)), 'blocked_origin', allowed);
  }
  for (final odd in <Object>['127.0.0.1:9', '*', ['x'], [1], 7]) {
    same(await codeOf(() => smartreceive(other, allowed_origins: odd)), 'wrong_value', odd);
  }
  for (final url in ['http://127.0.0.1:9', '']) {
    same(await codeOf(() => smartreceive(other, fileserver_url: url, max_retries: 0)), 'download_retry_exceeded', url);
  }
  same(await codeOf(() => fetch_with_backoff(const Link('http://127.0.0.1:9/f', 'x'))), 'blocked_origin', 'no list');
}

Future<void> senders() async {
  Future<Object?> send(Object? value, [String type = 'dictionary', String name = 'x', String subject = 'lab.x']) =>
      smartsend(subject, [Payload(name, value, type)]);
  for (final subject in ['lab.*', 'lab..x', '', 'a b', 'lab\u0000', 'lab.\ud800', '.a', 'a.>', 'a' * 2001]) {
    same(await codeOf(() => send('x', 'text', 'x', subject)), 'wrong_value', subject);
  }
  same(await codeOf(() => send('x', 'text', '\ud800')), 'wrong_value', 'name');
  same(await codeOf(() => send('x', 'Text')), 'unknown_payload_type', 'type');
  final identity = Map<Object, Object?>.identity();
  identity[String.fromCharCodes([97, 98])] = 1;
  identity[String.fromCharCodes([97, 98])] = 2;
  for (final value in <Object?>[{1: 'a', '1': 'b'}, double.nan, DateTime(2026), '\ud800', {'\ud800': 1}, () => 1, #x]) {
    same(await codeOf(() => send(value)), 'wrong_value', value);
  }
  if (identity.length == 2) same(await codeOf(() => send(identity)), 'wrong_value', 'identity map');
  final cyclic = <Object?>[];
  cyclic.add(cyclic);
  same(await codeOf(() => send(cyclic)), 'too_deep', 'cyclic');
  final payloads = [const Payload('x', 'y', 'text')];
  same(await codeOf(() => smartsend('lab.x', payloads, reply_to: 'a.*')), 'wrong_value', 'reply_to');
  same(await codeOf(() => smartsend('lab.x', payloads, receiver: 'toaster')), 'wrong_value', 'receiver');
  same(await codeOf(() => smartsend('lab.x', payloads, sender_name: '\ud800')), 'wrong_value', 'sender_name');
  same(await codeOf(() => smartsend('lab.x', payloads, metadata: {'a': double.infinity})), 'wrong_value', 'metadata');
  same(await codeOf(() => smartsend('lab.x', payloads, new_id: () => throw StateError('mine'))), 'wrong_value', 'new_id');
}

Future<void> oneShot() async {
  final uploads = <Upload>[];
  Future<Stored> upload(Upload given) async {
    uploads.add(given);
    return Stored('http://f/x', one_shot: given.one_shot);
  }

  Future<Object?> send({String to = id, bool ack = false, String reply = '', bool? once}) async {
    final sent = await smartsend('lab.x', [const Payload('x', 'y', 'text')],
        fileserver_upload_handler: upload, size_threshold: 0, receiver_id: to, awaits_ack: ack, reply_to: reply, one_shot: once);
    return (((sent.envelope['payloads'] as List)[0] as Json)['metadata'] as Json)['one_shot'] ?? false;
  }

  same(await send(), true, 'one receiver');
  same(await send(to: ''), false, 'everybody');
  same(await send(ack: true), false, 'ack');
  same(await send(reply: 'r'), false, 'reply');
  same(await send(once: false), false, 'not wished');
  uploads.clear();
  same(await codeOf(() => send(to: '', once: true)), 'wrong_value', 'everybody, wished');
  same(await codeOf(() => send(ack: true, once: true)), 'wrong_value', 'ack, wished');
  same(await codeOf(() => send(reply: 'r', once: true)), 'wrong_value', 'reply, wished');
  same(uploads.length, 0, 'uploads');
}

Future<void> errors() async {
  final link = linked('http://f/x');
  Future<Uint8List> fails(Link _) => throw StateError('mine');
  same(await codeOf(() => smartreceive(link, fileserver_download_handler: fails)), 'handler', 'download');
  Future<Stored> breaks(Upload _) => throw StateError('mine');
  same(
      await codeOf(() => smartsend('lab.x', [const Payload('x', 'y', 'text')],
          size_threshold: 0, fileserver_upload_handler: breaks)),
      'handler', 'upload');
  for (final message in <Object>[7, <String>['x'], <String, Object>{}]) {
    same(await codeOf(() => smartreceive(message)), 'wrong_value', message);
  }
}

/// ACK, NACK and reply of a message, for a connection of the caller's own
Future<void> answers() async {
  Future<Received> message([Json more = const {}]) => smartreceive(jsonEncode({
        'msg_id': 'm1', 'correlation_id': 'c1', 'sender_name': 'them', 'sender_id': id, 'msg_purpose': 'chat', 'payloads': <Object?>[], ...more //
      }));
  final asked = await message({'reply_to': 'lab.answers'});
  final done = (await ack(asked, nats_reply: '_INBOX.x', sender_name: 'me'))!;
  same(done.subject, 'lab.answers', 'reply_to goes first');
  final fields = jsonDecode(done.json) as Json;
  same([for (final name in ['msg_purpose', 'reply_to_msg_id', 'correlation_id', 'receiver_name', 'receiver_id', 'sender_name', 'payloads']) fields[name]],
      ['ACK', 'm1', 'c1', 'them', id, 'me', <Object?>[]], 'ACK');
  final refused = jsonDecode((await nack(asked, 'busy', 'later\u001b[31m', retryable: true))!.json) as Json;
  same([refused['msg_purpose'], refused['metadata']], ['NACK', {'code': 'busy', 'reason': r'later\u{1b}[31m', 'retryable': true}], 'NACK');
  final answer = jsonDecode((await reply(asked, [const Payload('n', 49, 'dictionary')]))!.json) as Json;
  same([answer['msg_purpose'], (answer['payloads'] as List).length], ['chat', 1], 'reply');
  final plain = await message();
  same((await ack(plain, nats_reply: '_INBOX.x'))?.subject, '_INBOX.x', 'the NATS reply subject');
  for (final silent in [
    await ack(plain),
    await ack(plain, nats_reply: r'$JS.ACK.x'),
    await ack(await message({'reply_to': r'$SYS.x'})),
    await ack(await message({'reply_to': 'a b'})),
    await ack(await message({'reply_to': 'a.*'})),
    await ack(await message({'reply_to': 'x', 'msg_purpose': 'ACK'})),
    await nack(await message({'reply_to': 'x', 'msg_purpose': 'NACK'}), 'c', 'r'),
  ]) {
    same(silent, null, 'no answer');
  }
}

/// What beginners get wrong: the error names the payload, and what to do
Future<void> mistakes() async {
  Future<Object?> send(Object? value, String type) => smartsend('lab.x', [Payload('x', value, type)]);
  for (final entry in <Future<Object?> Function(), List<String>>{
    () => send('hi', 'string'): ['payload `x`', '`string`', 'text, dictionary'],
    () => send(7, 'text'): ['payload `x`', 'give a String'],
    () => send({'a': [1], 'b': [1, 2]}, 'arrowtable'): ['payload `x`', 'give a List of Maps'],
    () => send([1, 2], 'arrowtable'): ['payload `x`', 'row 0 is a int'],
    () => send('run7.png', 'image'): ['payload `x`', 'fileSource(path)'],
    () => fileSource('nowhere/run7.mp4'): ['`nowhere/run7.mp4`', 'No such file'],
    () => smartsend('lab results', const []): ['`lab results`', 'white space'],
    () async => ArrowTable([
          ArrowColumn(const ArrowField('a', ArrowType.int64), const [1]),
          ArrowColumn(const ArrowField('b', ArrowType.int64), const [1, 2])
        ]): ['`b` has 2 rows, not 1'],
    () async => ArrowTable.fromRows([{'a': 1}], types: {'b': 'int64'}): ['`b`', 'no column'],
    () => Nats.connect('nats://127.0.0.1:1'): ['127.0.0.1:1', 'start a nats-server', 'NATS_URL'],
    () => smartsend('lab.x', const [Payload('x', 'long', 'text')], size_threshold: 1, max_retries: 0, fileserver_url: 'http://u:secret@127.0.0.1:1'):
        ['payload `x`', 'to http://127.0.0.1:1:', '`natsbridge serve`', 'FILESERVER_URL'],
    () => smartreceive(linked('http://127.0.0.1:1/f'), max_retries: 0, fileserver_url: 'http://127.0.0.1:1'):
        ['payload `x`', 'http://127.0.0.1:1/f', 'no connection'],
  }.entries) {
    try {
      await entry.key();
      same('taken', 'an error', entry.value);
    } on NATSBridgeException catch (error) {
      for (final word in entry.value) {
        same('$error'.contains(word) ? word : '$error', word, 'mistakes');
      }
    }
  }
}

final groups = {
  'mistakes': mistakes,
  'answers': answers,
  'addresses': addresses,
  'origins': origins,
  'senders': senders,
  'one-shot links': oneShot,
  'errors': errors,
};
