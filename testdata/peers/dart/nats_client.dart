/// A NATS client for Dart 2.17 and newer: the plain text protocol over one socket, with nothing but the SDK.
///
/// Without TLS and without reconnecting: when the connection is gone, the stream of messages is done.
library nats_client;

import 'dart:async';
import 'dart:convert';
import 'dart:io';
import 'dart:math';
import 'dart:typed_data';

/// A message as it arrived
class NatsMessage {
  const NatsMessage(this.subject, this.data);

  final String subject;
  final Uint8List data;
}

/// A connection
class Nats {
  Nats._(this._socket) {
    _socket.listen(_take, onDone: _end, onError: (Object _) => _end(), cancelOnError: true);
  }

  static Future<Nats> connect([String url = 'nats://localhost:4222']) async {
    final uri = Uri.parse(url.contains('://') ? url : 'nats://$url');
    if (uri.scheme != 'nats') throw ArgumentError('a URL nats://…, without TLS');
    final socket = await Socket.connect(uri.host, uri.hasPort ? uri.port : 4222, timeout: const Duration(seconds: 5));
    socket.setOption(SocketOption.tcpNoDelay, true);
    final nats = Nats._(socket);
    final info = await nats._info.future;
    nats.max_payload = info['max_payload'] as int;
    final secrets = uri.userInfo.split(':').map(Uri.decodeComponent).toList();
    nats._socket.write('CONNECT ${jsonEncode({
          'verbose': false,
          'pedantic': false,
          'lang': 'dart',
          'version': '1',
          'protocol': 1,
          'headers': true,
          'no_responders': true,
          if (secrets.length == 2) ...{'user': secrets[0], 'pass': secrets[1]},
          if (secrets.length == 1 && secrets[0].isNotEmpty) 'auth_token': secrets[0],
        })}\r\n');
    await nats.flush();
    return nats;
  }

  final Socket _socket;
  final _info = Completer<Map<String, Object?>>();
  final _pongs = <Completer<void>>[];
  final _messages = StreamController<NatsMessage>();
  var _pending = Uint8List(0);
  var _sids = 0;
  List<String>? _head; // of the message whose bytes are awaited

  /// The most bytes that the server takes in one message
  // ignore: non_constant_identifier_names
  int max_payload = 0;

  /// Every message of every subscription
  Stream<NatsMessage> get messages => _messages.stream;

  void subscribe(String subject) => _socket.write('SUB ${_checked(subject)} ${++_sids}\r\n');

  void publish(String subject, List<int> data) {
    _socket.write('PUB ${_checked(subject)} ${data.length}\r\n');
    _socket.add(data);
    _socket.write('\r\n');
  }

  /// Completes when the server has everything that was published
  Future<void> flush() {
    final pong = Completer<void>();
    _pongs.add(pong);
    _socket.write('PING\r\n');
    return pong.future;
  }

  /// A new subject for answers, subscribed to
  String inbox() {
    final random = Random.secure();
    final subject = '_INBOX.${[for (var at = 0; at < 11; at++) random.nextInt(256).toRadixString(16).padLeft(2, '0')].join()}';
    subscribe(subject);
    return subject;
  }

  Future<void> close() async {
    await _socket.close();
    _socket.destroy();
  }

  /// A subject that came in a message is checked, so that it can't be a command
  static String _checked(String subject) => subject.isEmpty || subject.contains(RegExp(r'[\s\x00-\x20]'))
      ? throw ArgumentError.value(subject, 'subject', 'not a subject')
      : subject;

  void _end() {
    const gone = SocketException('the NATS server closed the connection');
    if (!_info.isCompleted) _info.completeError(gone);
    for (final pong in _pongs) {
      pong.completeError(gone);
    }
    _pongs.clear();
    unawaited(_messages.close());
  }

  void _take(Uint8List chunk) {
    final joined = Uint8List(_pending.length + chunk.length)
      ..setAll(0, _pending)
      ..setAll(_pending.length, chunk);
    var at = 0;
    while (true) {
      final head = _head;
      if (head != null) {
        final size = int.parse(head.last);
        if (joined.length - at < size + 2) break;
        final skipped = head[0] == 'HMSG' ? int.parse(head[head.length - 2]) : 0;
        _messages.add(NatsMessage(head[1], Uint8List.sublistView(joined, at + skipped, at + size)));
        at += size + 2;
        _head = null;
        continue;
      }
      final end = joined.indexOf(0x0a, at);
      if (end < 0) break;
      final line = utf8.decode(Uint8List.sublistView(joined, at, end), allowMalformed: true).trim();
      at = end + 1;
      _obey(line);
    }
    _pending = Uint8List.fromList(Uint8List.sublistView(joined, at));
  }

  void _obey(String line) {
    final words = line.split(RegExp(r'\s+'));
    switch (words[0]) {
      case 'MSG':
      case 'HMSG':
        _head = words;
        break;
      case 'PING':
        _socket.write('PONG\r\n');
        break;
      case 'PONG':
        if (_pongs.isNotEmpty) _pongs.removeAt(0).complete();
        break;
      case 'INFO':
        if (!_info.isCompleted) _info.complete(jsonDecode(line.substring(5)) as Map<String, Object?>);
        break;
      case '-ERR':
        stderr.writeln('nats: $line');
        break;
    }
  }
}
