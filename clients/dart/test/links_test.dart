/// Links and uploads against servers of the test's own, which answer as no good server does.
import 'dart:async';
import 'dart:convert';
import 'dart:io';
import 'dart:typed_data';

import 'package:natsbridge/natsbridge.dart';

import 'runner.dart';

/// A server that answers each connection with what [answer] makes of the request's first line
class RawServer {
  RawServer._(this._socket);

  final ServerSocket _socket;
  final requests = <String>[];

  String get url => 'http://127.0.0.1:${_socket.port}';

  static Future<RawServer> start(FutureOr<void> Function(String request, Socket out, int number) answer) async {
    final server = RawServer._(await ServerSocket.bind('127.0.0.1', 0));
    server._socket.listen((socket) {
      final head = BytesBuilder();
      var answered = false;
      socket.listen((piece) async {
        head.add(piece);
        final text = latin1.decode(head.toBytes());
        if (answered || !text.contains('\r\n\r\n')) return;
        answered = true;
        server.requests.add(text);
        await answer(text, socket, server.requests.length);
      }, onError: (Object _) {});
      socket.done.then((_) {}, onError: (Object _) {});
    });
    return server;
  }

  Future<void> stop() => _socket.close();
}

Future<void> _say(Socket out, String text) async {
  try {
    out.add(latin1.encode(text));
    await out.flush();
    await out.close();
  } on SocketException {
    // The client had enough.
  }
}

String ok(String body, [String more = '']) => 'HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n$more\r\n$body';

/// The code that a link comes to, and how many requests it took
Future<String> _code(String answer, {bool once = false, int size = 0, int limit = 1000000, String path = '/f', DateTime? expires, int retries = 2}) async {
  final server = await RawServer.start((_, out, __) => _say(out, answer));
  final code = await codeOf(() async => fetch_with_backoff(Link('${server.url}$path', 'x',
      any_origin: true, one_shot: once, size: size, limit: limit, expires_at: expires, max_retries: retries, base_delay: 1, max_delay: 2)));
  await server.stop();
  return '$code ${server.requests.length}';
}

Future<void> answers() async {
  String status(int code, [String more = '', String body = 'no']) =>
      'HTTP/1.1 $code X\r\nContent-Length: ${body.length}\r\n$more\r\n$body';
  final past = DateTime.now().subtract(const Duration(hours: 1));
  for (final entry in {
    ok('abc'): 'taken 1',
    'HTTP/1.1 200 OK\r\n\r\nabc': 'taken 1',
    'HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc': 'taken 1',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\n\r\n': 'taken 1',
    'HTTP/1.1 100 Continue\r\n\r\n${ok('abc')}': 'taken 1',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc': 'download_retry_exceeded 3',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc': 'download_retry_exceeded 3',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc': 'download_retry_exceeded 3',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n': 'download_retry_exceeded 3',
    'HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc': 'download_retry_exceeded 3',
    'SSH-2.0-x\r\n\r\n': 'download_retry_exceeded 3',
    '': 'download_retry_exceeded 3',
    status(500): 'download_retry_exceeded 3',
    status(503, 'Retry-After: 0\r\n'): 'download_retry_exceeded 3',
    status(503, 'Retry-After: 1700\r\n'): 'download_retry_exceeded 1',
    status(503, 'Retry-After: Fri, 31 Dec 2100 23:59:59 GMT\r\n'): 'download_retry_exceeded 1',
    status(409, 'Retry-After: 0\r\n'): 'download_retry_exceeded 3',
    status(409): 'rejected 1',
    status(501): 'rejected 1',
    status(507): 'rejected 1',
    status(400): 'rejected 1',
    status(401): 'refused 1',
    status(403): 'refused 1',
    status(403, '', 'Request has expired'): 'expired 1',
    status(404): 'not_found 1',
    status(410): 'not_found 1',
    status(302, 'Location: /other\r\n'): 'blocked_origin 1',
    status(302, 'Location: /#/?err=x&errcode=404\r\n'): 'not_found 1',
  }.entries) {
    same(await _code(entry.key), entry.value, entry.key);
  }
  same(await _code(status(404), expires: past), 'expired 1', 'expired');
  same(await _code(status(404), once: true), 'consumed 1', 'one-shot');
  same(await _code('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc', once: true), 'consumed 1', 'one-shot that broke');
  same(await _code(status(403), path: '/f?X-Amz-Date=20200101T000000Z&X-Amz-Expires=60'), 'expired 1', 'presigned');
  same(await _code(ok('abcdef'), size: 3, limit: 3), 'size_mismatch 1', 'more than said');
  same(await _code(ok('abcdef'), limit: 3), 'too_large 1', 'more than allowed');
}

Future<void> retries() async {
  final server = await RawServer.start((_, out, number) =>
      _say(out, number == 1 ? 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc' : ok('abcdef')));
  final folder = Directory.systemTemp.createTempSync('natsbridge-links-');
  final message = jsonEncode({
    'payloads': [
      {'dataname': '../x', 'payload_type': 'binary', 'transport': 'link', 'size': 6, 'data': '${server.url}/f'}
    ]
  });
  final received = await smartreceive(message, allowed_origins: server.url, leave_links: true, base_delay: 1);
  final path = await (received.payloads.first.data as RemotePayload).save('${folder.path}/a');
  same(File(path).readAsStringSync(), 'abcdef', 'begun anew after it broke');
  same(folder.listSync().length, 1, 'nothing beside it');
  await server.stop();
  same(await codeOf(() => smartreceive(message, allowed_origins: server.url, max_retries: 0)), 'download_retry_exceeded', 'gone');
  same(await codeOf(() => (received.payloads.first.data as RemotePayload).save('${folder.path}/b')), 'download_retry_exceeded', 'save');
  same(folder.listSync().length, 1, 'nothing is left of what failed');
  folder.deleteSync(recursive: true);
  final silent = await RawServer.start((_, __, ___) {});
  final watch = Stopwatch()..start();
  final link = Link('${silent.url}/f', 'x', any_origin: true, deadline: DateTime.now().add(const Duration(milliseconds: 300)));
  same(await codeOf(() => fetch_with_backoff(link)), 'timeout', 'the deadline');
  holds(watch.elapsedMilliseconds < 5000, 'in time');
  await silent.stop();
  final escapes = await RawServer.start((_, out, __) => _say(out, 'HTTP/1.1 404 X\r\nContent-Length: 9\r\n\r\n\x1b[31mred\r\n'));
  try {
    await fetch_with_backoff(Link('${escapes.url}/f?token=secret', 'x', any_origin: true));
  } on NATSBridgeException catch (error) {
    holds(!'$error'.contains('\x1b') && !'$error'.contains('secret'), 'what a server says is harmless: $error');
  }
  await escapes.stop();
}

/// A Plik that does as it is told, and notes what came
class Plik {
  Plik._(this._server);

  final HttpServer _server;
  final steps = <String>[];
  var uploads = 0;

  /// What to do with the bytes of the nth upload: `break`, a status, or null for what is right
  List<Object?> faults = [];
  Map<String, Object?> created = {};

  late final url = 'http://127.0.0.1:${_server.port}';

  static Future<Plik> start() async {
    final plik = Plik._(await HttpServer.bind('127.0.0.1', 0));
    plik._server.listen(plik._answer);
    return plik;
  }

  Future<void> _answer(HttpRequest request) async {
    final path = request.uri.path;
    steps.add('${request.method} ${path.split('/').take(2).join('/')}');
    Map<String, Object?> answer = {};
    if (path == '/upload') {
      final wanted = jsonDecode(await utf8.decoder.bind(request).join()) as Map<String, Object?>;
      answer = {'id': 'U', 'uploadToken': 'T', 'oneShot': wanted['oneShot'], 'ttl': wanted['ttl'], ...created};
    } else if (request.method == 'POST') {
      final fault = uploads < faults.length ? faults[uploads] : null;
      uploads++;
      if (fault == 'break') {
        (await request.response.detachSocket(writeHeaders: false)).destroy();
        return;
      }
      final bytes = await request.fold<int>(0, (sum, piece) => sum + piece.length);
      if (fault is int) request.response.statusCode = fault;
      final frame = bytes - size;
      answer = {'id': 'F', 'fileName': 'payload.bin', 'fileSize': frame > 0 ? size : bytes, 'status': 'uploaded'};
    }
    request.response.write(jsonEncode(answer));
    await request.response.close();
  }

  int size = 10;

  Future<void> stop() => _server.close(force: true);
}

Future<void> uploads() async {
  Future<List<Object?>> send(Plik plik, {String to = '', bool ack = false}) async {
    final records = <String>[];
    Object? code = 'taken';
    try {
      final sent = await smartsend('lab.x', [Payload('x', Uint8List(10), 'binary')],
          fileserver_url: plik.url, size_threshold: 0, base_delay: 1, max_delay: 2, receiver_id: to, awaits_ack: ack, log: (r) => records.add(r.event));
      code = ((sent.envelope['payloads'] as List).first as Map)['data'];
    } on NATSBridgeException catch (error) {
      code = error.code;
      holds(error.dataname == 'x' && error.msg_id != '' && error.correlation_id != '', 'names: $error');
    }
    return [code, plik.uploads, records];
  }

  final plik = await Plik.start();
  final link = '${plik.url}/file/U/F/payload.bin';
  same(await send(plik), [link, 1, ['sent']], 'as it should be');
  plik.uploads = 0;
  plik.faults = ['break', 503];
  same(await send(plik), [link, 3, ['retry', 'retry', 'sent']], 'made again from the first step');
  plik.uploads = 0;
  plik.faults = [507];
  same(await send(plik), ['rejected', 1, ['failed']], 'a full disk is not asked again');
  plik.uploads = 0;
  plik.faults = [403];
  same(await send(plik), ['refused', 1, ['failed']], 'refused');
  plik.uploads = 0;
  plik.faults = [];
  plik.created = {'ttl': 60};
  same(await send(plik), [link, 1, ['warning', 'sent']], 'another lifetime');
  plik.created = {'oneShot': true};
  same((await send(plik, ack: true)).first, 'rejected', 'a one-shot link of a message that is repeated');
  plik.created = {'downloadDomain': 'files.test'};
  same((await send(plik)).first, 'http://files.test/file/U/F/payload.bin', 'a domain without a scheme');
  same(plik.steps.contains('DELETE /upload'), true, 'what failed is deleted');
  await plik.stop();
  same((await send(plik)).first, 'unreachable', 'no server');
}

/// A certificate that nobody signed is told as such
Future<void> certificates() async {
  final made = await Process.run('openssl', [
    'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', '/dev/stdout', '-out', '/dev/stdout', '-subj', '/CN=localhost', '-days', '2' //
  ]).then<String?>((found) => found.exitCode == 0 ? found.stdout as String : null, onError: (Object _) => null);
  if (made == null) return stdout.writeln('skipped: no openssl to make a certificate with');
  final context = SecurityContext()
    ..useCertificateChainBytes(utf8.encode(made))
    ..usePrivateKeyBytes(utf8.encode(made));
  final server = await SecureServerSocket.bind('127.0.0.1', 0, context);
  server.listen((socket) => socket.destroy(), onError: (Object _) {});
  final link = Link('https://localhost:${server.port}/f', 'x', any_origin: true, base_delay: 1, max_retries: 1);
  same(await codeOf(() => fetch_with_backoff(link)), 'untrusted', 'an own certificate');
  await server.close();
}

final groups = {'what servers answer': answers, 'retries': retries, 'uploads': uploads, 'certificates': certificates};
