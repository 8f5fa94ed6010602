/// Tests with real servers: `NATS_URL`, `FILESERVER_URL`, and `NATS_SERVER`, the program, for servers of their own.
import 'dart:async';
import 'dart:convert';
import 'dart:io';
import 'dart:typed_data';

import 'package:natsbridge/natsbridge.dart';
import 'package:natsbridge/src/sha256.dart';

import 'runner.dart';

final environment = Platform.environment;
final url = environment['NATS_URL'] ?? '';
final folder = Directory.systemTemp.createTempSync('natsbridge-dart-');
var subjects = 0;

String fresh() => 'dart.test.${pid}_${subjects++}';

Payload text(String value) => Payload('note', value, 'text');

Future<void> messages() async {
  final records = <LogRecord>[];
  final bridge = await Bridge.connect(sender_name: 'dart', log: records.add);
  final subject = fresh();
  final rows = [
    {'when': DateTime.utc(2026, 5, 13), 'n': 1, 'word': 'größe'},
    {'when': null, 'n': null, 'word': null}
  ];
  final large = Uint8List(700000)..fillRange(0, 700000, 7);
  final heard = bridge.subscribe(subject).first;
  final sent = await bridge.send(subject, [
    text('run 7'),
    const Payload('d', {'n': 9007199254740993}, 'dictionary'),
    Payload('t', rows, 'arrowtable'),
    Payload('b', large, 'binary'),
  ]);
  final message = await heard;
  same(message['msg_id'], sent['msg_id'], 'msg_id');
  same(message.payload('note').data, 'run 7', 'text');
  same(message.payload('d').data, {'n': 9007199254740993}, 'dictionary');
  same(message.payload('t').data, rows, 'table');
  same(sha256Hex(message.payload('b').data as Uint8List), sha256Hex(large), 'link');
  final taken = records.where((record) => record.event == 'received').toList();
  same([for (final record in taken) '${record.payload_type} ${record.transport}'],
      ['text direct', 'dictionary direct', 'arrowtable direct', 'binary link'], 'log');
  for (final record in [taken.last, records.firstWhere((record) => record.event == 'sent')]) {
    same([record.correlation_id, record.msg_id, record.sender_name, record.receiver_name],
        [sent['correlation_id'], sent['msg_id'], 'dart', ''], 'fields of the log');
    holds(record.timestamp.endsWith('Z'), 'timestamp');
  }
  await bridge.drain();
}

Future<void> answers() async {
  final bridge = await Bridge.connect(sender_name: 'asker');
  final other = await Bridge.connect(sender_name: 'answerer');
  final subject = fresh();
  final stop = other.serve(subject, (message) {
    final value = message.payload('n').data as int;
    if (value < 0) throw NATSBridgeException('wrong_value', 'a number below 0');
    return [Payload('n', value * value, 'dictionary')];
  });
  await other.nats.flush();
  final answer = await bridge.request(subject, [const Payload('n', 7, 'dictionary')]);
  same(answer.payload('n').data, 49, 'answer');
  same(answer['receiver_name'], 'asker', 'receiver of the answer');
  same(await codeOf(() => bridge.request(subject, [const Payload('n', -1, 'dictionary')])), 'wrong_value', 'refused');
  stop();
  await other.nats.flush();
  same(await codeOf(() => bridge.request(subject, [const Payload('n', 7, 'dictionary')])), 'unreachable', 'nobody');
  final silent = other.subscribe(subject).listen((_) {});
  await other.nats.flush();
  final watch = Stopwatch()..start();
  same(await codeOf(() => bridge.request(subject, [text('x')], timeout: const Duration(milliseconds: 300))), 'timeout', 'silence');
  holds(watch.elapsedMilliseconds < 3000, 'in time');
  await silent.cancel();
  await bridge.drain();
  await other.drain();
}

Future<void> deliveries() async {
  final bridge = await Bridge.connect(sender_name: 'sender', fileserver_url: environment['FILESERVER_URL']);
  final other = await Bridge.connect(sender_name: 'receiver');
  final subject = fresh();
  var seen = 0;
  final listening = other.subscribe(subject).listen((message) async {
    if (++seen == 1) return message.nack('busy', 'come again', retryable: true);
    await message.ack();
    await message.ack(); // an ACK twice counts once
  });
  await other.nats.flush();
  final from = await bridge.deliver(subject, [text('x'), Payload('b', Uint8List(600000), 'binary')],
      interval: const Duration(milliseconds: 200));
  same(from, {other.sender_id}, 'who acknowledged');
  same(seen, 2, 'given again after a NACK that may be repeated');
  same(
      await codeOf(() => bridge.deliver(subject, [text('y')],
          acks: 2, timeout: const Duration(seconds: 1), interval: const Duration(milliseconds: 100))),
      'timeout', 'one of two');
  same(seen, 3, 'repeats of what was acknowledged are not given');
  await listening.cancel();
  final refusing = other.subscribe(subject).listen((message) => message.nack('full', 'no space'));
  await other.nats.flush();
  same(await codeOf(() => bridge.deliver(subject, [text('z')], timeout: const Duration(seconds: 5))), 'full', 'refused');
  await refusing.cancel();
  await bridge.drain();
  await other.drain();
}

Future<void> groupsOfReceivers() async {
  final bridge = await Bridge.connect();
  final subject = fresh();
  final counts = [0, 0];
  final listening = [
    for (var at = 0; at < 2; at++) bridge.subscribe(subject, queue: 'workers').listen((_) => counts[at]++)
  ];
  await bridge.nats.flush();
  for (var at = 0; at < 100; at++) {
    await bridge.send(subject, [text('$at')]);
  }
  for (var wait = 0; wait < 100 && counts[0] + counts[1] < 100; wait++) {
    await Future<void>.delayed(const Duration(milliseconds: 20));
  }
  same(counts[0] + counts[1], 100, 'each message once');
  holds(counts[0] > 0 && counts[1] > 0, 'both work: $counts');
  for (final one in listening) {
    await one.cancel();
  }
  await bridge.drain();
}

Future<void> badMessages() async {
  final bridge = await Bridge.connect(sender_name: 'strict');
  final subject = fresh();
  final errors = <String>[];
  final heard = <String>[];
  final listening = bridge
      .subscribe(subject, on_error: (error) => errors.add(error.code))
      .listen((message) => heard.add(message.payload('note').data as String));
  final answers = bridge.nats.subscribe(bridge.nats.inbox());
  final answered = answers.messages.first;
  await bridge.nats.flush();
  for (final bad in ['not json', '[]', '{"payloads":7}']) {
    bridge.nats.publish(subject, utf8.encode(bad));
  }
  bridge.nats.publish(subject, utf8.encode('{"msg_id":"m1","correlation_id":"c1","sender_id":"s","reply_to":"${answers.subject}","payloads":'
      '[{"dataname":"x","payload_type":"text","transport":"link","data":"http://169.254.169.254/f"}]}'));
  await bridge.send(subject, [text('good')]);
  final nack = await smartreceive((await answered).data);
  same([nack['msg_purpose'], nack['reply_to_msg_id'], nack['correlation_id'], nack.metadata['code']],
      ['NACK', 'm1', 'c1', 'blocked_origin'], 'NACK');
  for (var wait = 0; wait < 100 && heard.isEmpty; wait++) {
    await Future<void>.delayed(const Duration(milliseconds: 20));
  }
  same(heard, ['good'], 'the loop goes on');
  same(errors, ['not_json', 'wrong_type', 'wrong_type', 'blocked_origin'], 'errors');
  await listening.cancel();
  await bridge.drain();
}

/// A server of the test's own, which can be ended and begun again
class OwnServer {
  OwnServer(this.port, this.settings);

  final int port;
  final String settings;
  Process? process;

  Future<void> start() async {
    final config = File('${folder.path}/nats-$port.conf')..writeAsStringSync('host: 127.0.0.1\nport: $port\n$settings');
    process = await Process.start(environment['NATS_SERVER']!, ['-c', config.path]);
    unawaited(process!.stdout.drain<void>());
    unawaited(process!.stderr.drain<void>());
    for (var wait = 0; wait < 200; wait++) {
      try {
        (await Socket.connect('127.0.0.1', port)).destroy();
        return;
      } on SocketException {
        await Future<void>.delayed(const Duration(milliseconds: 25));
      }
    }
    throw StateError('nats-server does not start');
  }

  Future<void> stop() async {
    process!.kill(ProcessSignal.sigkill);
    await process!.exitCode;
  }

  static Future<int> freePort() async {
    final socket = await ServerSocket.bind('127.0.0.1', 0);
    final port = socket.port;
    await socket.close();
    return port;
  }
}

Future<void> secrets() async {
  for (final settings in [
    'authorization { user: "bob", password: "s3cr:et" }',
    'authorization { token: "t0ken" }',
  ]) {
    final server = OwnServer(await OwnServer.freePort(), settings);
    await server.start();
    final place = '127.0.0.1:${server.port}';
    final isToken = settings.contains('token');
    final user = isToken ? '' : 'bob', password = isToken ? '' : 's3cr:et', token = isToken ? 't0ken' : '';
    await (await Bridge.connect(nats_url: 'nats://$place', user: user, password: password, token: token)).close();
    final inUrl = await Bridge.connect(nats_url: isToken ? 'nats://t0ken@$place' : 'nats://bob:s3cr%3Aet@$place');
    same((await inUrl.send('lab.x', [text('x')]))['broker_url'], 'nats://$place', 'no secret on the wire');
    await inUrl.close();
    for (final wrong in ['nats://$place', 'nats://x:y@$place', 'nats://z@$place']) {
      try {
        await Bridge.connect(nats_url: wrong);
        same('connected', 'refused', wrong);
      } on NATSBridgeException catch (error) {
        same(error.code, 'refused', wrong);
      }
    }
    await server.stop();
  }
  same(await codeOf(() => Bridge.connect(nats_url: 'nats://127.0.0.1:1')), 'unreachable', 'no server');
  same(await codeOf(() => Bridge.connect(nats_url: 'ws://127.0.0.1:1')), 'unsupported', 'WebSocket');
}

/// A server with a certificate of its own: taken with its authority, else refused, and never spoken to in the clear
Future<void> secured() async {
  final key = '${folder.path}/key.pem', certificate = '${folder.path}/certificate.pem';
  final made = await Process.run('openssl', [
    'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', certificate, '-days', '2', //
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'
  ]).then((found) => found.exitCode == 0, onError: (Object _) => false);
  if (!made) return stdout.writeln('skipped: no openssl to make a certificate with');
  final server = OwnServer(await OwnServer.freePort(), 'tls { cert_file: "$certificate", key_file: "$key" }');
  await server.start();
  final own = SecurityContext()..setTrustedCertificates(certificate);
  for (final scheme in ['tls', 'nats']) {
    final place = '$scheme://localhost:${server.port}';
    final bridge = await Bridge.connect(nats_url: place, tls: own);
    final heard = bridge.subscribe('lab.tls').first;
    await bridge.send('lab.tls', [text('a' * 300000)]);
    same(((await heard).payload('note').data as String).length, 300000, scheme);
    if (scheme == 'tls') {
      await server.stop();
      await server.start();
      await bridge.nats.connected();
      await bridge.send('lab.tls', [text('again')]);
    }
    await bridge.close();
    same(await codeOf(() => Bridge.connect(nats_url: place)), 'untrusted', '$scheme without the authority');
  }
  same(await codeOf(() => Bridge.connect(nats_url: 'tls://127.0.0.1:${server.port}', tls: own)), 'untrusted', 'another name');
  await server.stop();
  final plain = OwnServer(await OwnServer.freePort(), '');
  await plain.start();
  same(await codeOf(() => Bridge.connect(nats_url: 'tls://localhost:${plain.port}', tls: own)), 'unreachable', 'a server without TLS');
  same(await codeOf(() => Bridge.connect(tls: 'yes')), 'wrong_value', 'no context');
  await plain.stop();
}

Future<void> reconnecting() async {
  final server = OwnServer(await OwnServer.freePort(), '');
  await server.start();
  final records = <String>[];
  final bridge = await Bridge.connect(nats_url: 'nats://127.0.0.1:${server.port}', log: (record) => records.add(record.event));
  final heard = <String>[];
  final listening = bridge.subscribe('lab.>').listen((message) async {
    heard.add(message.payload('note').data as String);
    await message.ack();
  });
  await bridge.send('lab.a', [text('before')]);
  await server.stop();
  for (var wait = 0; wait < 100 && bridge.nats.isConnected; wait++) {
    await Future<void>.delayed(const Duration(milliseconds: 20));
  }
  same(await codeOf(() async => bridge.nats.publish('lab.a', [1])), 'unreachable', 'while it is away');
  final delivered = bridge.deliver('lab.b', [text('meanwhile')], interval: const Duration(milliseconds: 200));
  await Future<void>.delayed(const Duration(milliseconds: 500));
  await server.start();
  same((await delivered).length, 1, 'delivered when it is back');
  await bridge.send('lab.a', [text('after')]);
  for (var wait = 0; wait < 100 && heard.length < 3; wait++) {
    await Future<void>.delayed(const Duration(milliseconds: 20));
  }
  same(heard, ['before', 'meanwhile', 'after'], 'subscribed again');
  holds(records.contains('disconnected') && records.contains('reconnected'), 'said: $records');
  await listening.cancel();
  await bridge.close();
  await server.stop();
}

Future<void> files() async {
  final source = File('${folder.path}/film')..writeAsBytesSync(Uint8List(3000000)..fillRange(1000, 2000, 9));
  final bridge = await Bridge.connect();
  final subject = fresh();
  final steps = <String>[];
  void note(int done, int all) => steps.add('$done of $all');
  final heard = bridge.subscribe(subject, leave_links: true).first;
  await bridge.send(subject, [Payload('../../film', await fileSource(source.path, on_progress: note), 'video'), Payload('s', await fileSource(source.path), 'binary')]);
  final message = await heard;
  final remote = message.payloads.first.data as RemotePayload;
  same(remote.size, 3000000, 'size');
  same([steps.length > 1, steps.last], [true, '3000000 of 3000000'], 'progress of an upload');
  steps.clear();
  final path = await remote.save('${folder.path}/films/', on_progress: note);
  same([steps.length > 1, steps.last], [true, '3000000 of 3000000'], 'progress of a download');
  same(File(path).parent.path, '${folder.path}/films', 'the name is no path');
  same(sha256Hex(File(path).readAsBytesSync()), sha256Hex(source.readAsBytesSync()), 'saved');
  same((await remote.read()).length, 3000000, 'read');
  same(Directory('${folder.path}/films').listSync().length, 1, 'nothing is left');
  final small = File('${folder.path}/small')..writeAsStringSync('small');
  final sent = await bridge.send(subject, [Payload('s', await fileSource(small.path), 'binary')]);
  same(((sent.envelope['payloads'] as List).first as Map)['data'], 'c21hbGw=', 'small files go direct');
  final grows = ByteSource(700000, () => Stream.value(Uint8List(800000)));
  same(await codeOf(() => bridge.send(subject, [Payload('s', grows, 'binary')])), 'wrong_value', 'other length than said');
  same(await codeOf(() => fileSource('${folder.path}/none')), 'wrong_value', 'no file');
  same(await codeOf(() => fileSource(folder.path)), 'wrong_value', 'a folder');
  await bridge.drain();
}

Future<void> main() async {
  if (url.isEmpty || (environment['FILESERVER_URL'] ?? '').isEmpty || (environment['NATS_SERVER'] ?? '').isEmpty) {
    stdout.writeln('skipped: NATS_URL, FILESERVER_URL and NATS_SERVER name no servers');
    exit(77);
  }
  await run({
    'messages of every kind': messages,
    'request, reply and refusal': answers,
    'delivery until acknowledged': deliveries,
    'queue groups': groupsOfReceivers,
    'bad messages': badMessages,
    'user, password, token': secrets,
    'TLS': secured,
    'reconnecting': reconnecting,
    'files': files,
  });
  folder.deleteSync(recursive: true);
  end();
}
