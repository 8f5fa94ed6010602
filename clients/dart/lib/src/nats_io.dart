/// A small NATS client: the plain text protocol over one socket, which is made again when it breaks; TLS where URL or server ask for it.
// ignore_for_file: non_constant_identifier_names
library natsbridge.nats;

import 'dart:async';
import 'dart:collection';
import 'dart:convert';
import 'dart:io';
import 'dart:math';
import 'dart:typed_data';

import 'errors.dart';
import 'http_io.dart' show isUntrusted;
import 'log.dart';
import 'text.dart';

/// A message as it arrived
class NatsMessage {
  const NatsMessage(this.subject, this.data, {this.reply = '', this.status = ''});

  final String subject;
  final Uint8List data;

  /// The subject for an answer, or `''`
  final String reply;

  /// `503` where nobody listens to a request
  final String status;
}

/// Messages of one subject. What is not taken is kept up to [most] bytes, then counted in [lost].
class NatsSubscription {
  NatsSubscription._(this._nats, this.sid, this.subject, this.queue);

  static const most = 64 << 20;

  final Nats _nats;
  final int sid;
  final String subject;
  final String queue;
  final _waiting = Queue<NatsMessage>();
  var _bytes = 0;
  var _ends = false;

  /// Messages that nobody took in time
  int lost = 0;

  late final StreamController<NatsMessage> _out =
      StreamController<NatsMessage>(onListen: _flow, onResume: _flow, onCancel: unsubscribe);

  Stream<NatsMessage> get messages => _out.stream;

  /// How many wait to be taken
  int get pending => _waiting.length;

  void _take(NatsMessage message) {
    if (_bytes > most) {
      if (lost++ == 0) tell(_nats.log, LogRecord('warning', message: 'messages of ${shown(subject)} are lost: nobody takes them'));
      return;
    }
    _waiting.add(message);
    _bytes += message.data.length + 100;
    _flow();
  }

  void _flow() {
    while (_waiting.isNotEmpty && _out.hasListener && !_out.isPaused && !_out.isClosed) {
      final message = _waiting.removeFirst();
      _bytes -= message.data.length + 100;
      _out.add(message);
    }
    if (_ends && _waiting.isEmpty && !_out.isClosed) unawaited(_out.close());
  }

  /// No more messages; what has arrived is still given
  void unsubscribe() {
    if (_ends) return;
    _nats._forget(this);
    _ends = true;
    _flow();
  }
}

/// A connection
class Nats {
  Nats._(this._uris, this._user, this._password, this._token, this._name, this._tls, this.log);

  /// Connects to the first of several servers that answers: `nats://host:4222,nats://other:4222`. User name and password, or
  /// a token, may stand in the URL too. `tls://` refuses a server without TLS; [tls] is a [SecurityContext] with authorities
  /// of one's own or a certificate of this client.
  static Future<Nats> connect(String url,
      {String user = '', String password = '', String token = '', String name = 'natsbridge-dart', Object? tls, Log? log}) async {
    if (tls is! SecurityContext?) throw wrong('`tls` is a ${tls.runtimeType}, not a SecurityContext');
    final uris = [
      for (final part in url.split(','))
        if (part.trim().isNotEmpty) _uri(part.trim())
    ];
    if (uris.isEmpty) throw wrong('no NATS server is named');
    final nats = Nats._(uris, user, password, token, name, tls, log);
    await nats._open();
    return nats;
  }

  static Uri _uri(String text) {
    Uri? uri;
    try {
      uri = Uri.parse(text.contains('://') ? text : 'nats://$text');
    } on FormatException {
      // Said below.
    }
    if (uri != null && (uri.isScheme('nats') || uri.isScheme('tls')) && uri.host.isNotEmpty) return uri;
    final web = uri != null && (uri.isScheme('ws') || uri.isScheme('wss'));
    throw NATSBridgeException(web ? 'unsupported' : 'wrong_value',
        '${shown(withoutSecrets(text))} is no nats://host:port or tls://host:port${web ? '; this client has no WebSocket' : ''}');
  }

  final List<Uri> _uris;
  final String _user, _password, _token, _name;
  final SecurityContext? _tls;
  final Log? log;
  Socket? _socket;

  /// The same socket from when the server may be spoken to: after its greeting, and TLS where that is spoken
  Socket? _out;
  final _pongs = Queue<Completer<void>>();
  final _subscriptions = <int, NatsSubscription>{};
  var _pending = BytesBuilder(copy: false);
  var _need = 0;
  var _sids = 0;
  var _closed = false;
  Timer? _alive;
  var _unanswered = 0;
  Completer<void>? _greeted;

  /// Whether the server asks for a secret
  var _guarded = false;

  /// Whether the server speaks nothing but TLS
  var _secured = false;
  static const _refused = 'the NATS server refuses user name, password or token';
  var _connected = Completer<void>();
  List<String>? _head; // of the message whose bytes are awaited

  /// The most bytes that the server takes in one message
  int max_payload = 1048576;

  bool get isConnected => _out != null && _connected.isCompleted;

  /// Completes when there is a connection
  Future<void> connected({Duration timeout = const Duration(seconds: 10)}) => _connected.future
      .timeout(timeout, onTimeout: () => throw NATSBridgeException('unreachable', 'the NATS server is away'));

  Future<void> _open() async {
    Object? last;
    for (final uri in _uris) {
      try {
        await _openOne(uri);
        return;
      } on NATSBridgeException catch (error) {
        last = error;
        if (error.code == 'refused') break;
      } on TlsException catch (error) {
        last = NATSBridgeException(isUntrusted(error) ? 'untrusted' : 'unreachable',
            'TLS with the NATS server at ${uri.host} fails (${harmless(error.osError?.message ?? error.message, 200)})');
      } on IOException catch (error) {
        last = NATSBridgeException('unreachable', 'no NATS server at ${uri.host}:${uri.hasPort ? uri.port : 4222} (${error.runtimeType}); start a nats-server there, or name another (NATS_URL)');
      } on TimeoutException {
        last = NATSBridgeException('unreachable', 'the NATS server at ${uri.host} does not answer');
      }
    }
    throw last!;
  }

  Future<void> _openOne(Uri uri) async {
    var socket = await Socket.connect(uri.host, uri.hasPort ? uri.port : 4222, timeout: const Duration(seconds: 5));
    socket.setOption(SocketOption.tcpNoDelay, true);
    _pending = BytesBuilder(copy: false);
    _need = 0;
    _head = null;
    _unanswered = 0;
    _guarded = false;
    final greeted = _greeted = Completer<void>();
    _out = null;
    final heard = _hear(socket);
    try {
      await greeted.future.timeout(const Duration(seconds: 5));
      if (_secured || uri.isScheme('tls')) {
        heard.pause();
        socket = await SecureSocket.secure(socket, host: uri.host, context: _tls).timeout(const Duration(seconds: 5));
        if (_closed) throw NATSBridgeException('unreachable', 'the connection is closed');
        _hear(socket);
      }
      final secrets = uri.userInfo.split(':').map(Uri.decodeComponent).toList();
      final user = _user.isNotEmpty ? _user : (secrets.length == 2 ? secrets[0] : '');
      final password = _user.isNotEmpty ? _password : (secrets.length == 2 ? secrets[1] : '');
      final token = _token.isNotEmpty ? _token : (secrets.length == 1 ? secrets[0] : '');
      _out = socket;
      socket.write('CONNECT ${jsonEncode({
            'verbose': false,
            'pedantic': false,
            'lang': 'dart',
            'version': '1',
            'name': _name,
            'protocol': 1,
            'headers': true,
            'no_responders': true,
            if (user.isNotEmpty) ...{'user': user, 'pass': password},
            if (user.isEmpty && token.isNotEmpty) 'auth_token': token,
          })}\r\n');
      for (final subscription in _subscriptions.values) {
        _listen(subscription);
      }
      await _ping().timeout(const Duration(seconds: 5));
    } catch (_) {
      _socket = _out = null;
      socket.destroy();
      rethrow;
    }
    if (!_connected.isCompleted) _connected.complete();
    _alive?.cancel();
    _alive = Timer.periodic(const Duration(seconds: 10), (_) => _beat());
  }

  /// Takes what comes on a socket, which is the connection's from now on
  StreamSubscription<Uint8List> _hear(Socket socket) {
    _socket = socket;
    void end(String reason) {
      if (identical(_socket, socket)) _end(reason);
    }

    unawaited(socket.done.then((_) {}, onError: (Object _) => end('the connection broke')));
    return socket.listen((chunk) {
      if (identical(_socket, socket)) _take(chunk);
    }, onDone: () => end('the server closed the connection'), onError: (Object _) => end('the connection broke'), cancelOnError: true);
  }

  /// A connection that is silently dead is found by pings
  void _beat() {
    if (_socket == null) return;
    if (_unanswered >= 2) return _end('the server does not answer');
    _unanswered++;
    unawaited(_ping().then((_) => _unanswered = 0, onError: (Object _) => 0));
  }

  NatsSubscription subscribe(String subject, {String queue = ''}) {
    final subscription = NatsSubscription._(this, ++_sids, _checked(subject), queue.isEmpty ? '' : _checked(queue));
    _subscriptions[subscription.sid] = subscription;
    if (_out != null) _listen(subscription);
    return subscription;
  }

  void _listen(NatsSubscription it) =>
      _out?.write('SUB ${it.subject} ${it.queue.isEmpty ? '' : '${it.queue} '}${it.sid}\r\n');

  void _forget(NatsSubscription subscription) {
    if (_subscriptions.remove(subscription.sid) != null) _out?.write('UNSUB ${subscription.sid}\r\n');
  }

  /// Sends at once, or is an error while the server is away
  void publish(String subject, List<int> data, {String reply = ''}) {
    final socket = _out;
    if (socket == null || !_connected.isCompleted) {
      throw NATSBridgeException('unreachable', _closed ? 'the connection is closed' : 'the NATS server is away');
    }
    if (data.length > max_payload) throw NATSBridgeException('too_large', 'it has ${data.length} bytes, the server takes $max_payload');
    final answer = reply.isEmpty ? '' : '${_checked(reply)} ';
    socket.write('PUB ${_checked(subject)} $answer${data.length}\r\n');
    socket.add(data);
    socket.write('\r\n');
  }

  /// Completes when the server has everything that was published
  Future<void> flush({Duration timeout = const Duration(seconds: 10)}) =>
      _ping().timeout(timeout, onTimeout: () => throw NATSBridgeException('timeout', 'the NATS server does not answer'));

  Future<void> _ping() {
    final socket = _out;
    if (socket == null) return Future.error(NATSBridgeException('unreachable', 'the NATS server is away'));
    final pong = Completer<void>();
    _pongs.add(pong);
    socket.write('PING\r\n');
    return pong.future;
  }

  /// A new subject for answers
  String inbox() => '_INBOX.${randomHex(16)}';

  /// The first answer to [data]; `unreachable` where nobody listens
  Future<NatsMessage> request(String subject, List<int> data, {Duration timeout = const Duration(seconds: 5)}) async {
    final answers = subscribe(inbox());
    try {
      publish(subject, data, reply: answers.subject);
      final answer = await answers.messages.first
          .timeout(timeout, onTimeout: () => throw NATSBridgeException('timeout', 'no answer from ${shown(subject)}'));
      if (answer.status == '503') throw NATSBridgeException('unreachable', 'nobody listens to ${shown(subject)}');
      return answer;
    } finally {
      answers.unsubscribe();
    }
  }

  /// Ends every subscription, after what has arrived was taken, then the connection
  Future<void> drain() async {
    for (final subscription in _subscriptions.values.toList()) {
      subscription.unsubscribe();
    }
    if (_out != null) await flush();
    await close();
  }

  Future<void> close() async {
    _closed = true;
    _alive?.cancel();
    final socket = _socket;
    _socket = _out = null;
    for (final subscription in _subscriptions.values.toList()) {
      subscription.unsubscribe();
    }
    _fail('the connection is closed');
    if (socket != null) {
      try {
        await socket.flush().timeout(const Duration(seconds: 2));
      } catch (_) {
        // It is closed all the same.
      }
      socket.destroy();
    }
  }

  /// A subject that came in a message is checked, so that it can't be a command
  static String _checked(String subject) => subject.isEmpty || subject.contains(RegExp(r'[\s\x00-\x20]'))
      ? throw wrong('${shown(subject)} is no subject')
      : subject;

  void _fail(String reason, [String code = 'unreachable']) {
    final pongs = _pongs.toList();
    _pongs.clear();
    final error = NATSBridgeException(code, reason);
    final greeted = _greeted;
    if (greeted != null && !greeted.isCompleted) greeted.completeError(error);
    for (final pong in pongs) {
      pong.completeError(error);
    }
  }

  void _end(String reason, [String code = 'unreachable']) {
    final was = _connected.isCompleted;
    if (!was && _guarded && code == 'unreachable') {
      // What the server said may be lost with its connection.
      reason = _refused;
      code = 'refused';
    }
    _socket?.destroy();
    _socket = _out = null;
    _alive?.cancel();
    if (was) _connected = Completer<void>();
    _fail(reason, code);
    if (was && !_closed) {
      tell(log, LogRecord('disconnected', message: reason));
      unawaited(_again());
    }
  }

  Future<void> _again() async {
    var delay = 50;
    while (!_closed) {
      await Future<void>.delayed(Duration(milliseconds: (delay * (0.5 + chance() / 2)).round()));
      delay = min(2 * delay, 5000);
      if (_closed) return;
      try {
        await _open();
        tell(log, LogRecord('reconnected'));
        return;
      } on Exception {
        // Tried again after a longer pause.
      }
    }
  }

  void _take(Uint8List chunk) {
    _pending.add(chunk);
    if (_pending.length < _need) return; // a large message is not joined again for each of its pieces
    final joined = _pending.takeBytes();
    _need = 0;
    var at = 0;
    while (true) {
      final head = _head;
      if (head != null) {
        final size = int.parse(head.last);
        if (joined.length - at < size + 2) {
          _need = size + 2;
          break;
        }
        _deliver(head, Uint8List.sublistView(joined, at, at + size));
        at += size + 2;
        _head = null;
        continue;
      }
      final end = joined.indexOf(0x0a, at);
      if (end < 0) {
        if (joined.length - at > 1 << 20) return _end('a line without end');
        break;
      }
      final line = utf8.decode(Uint8List.sublistView(joined, at, end), allowMalformed: true).trim();
      at = end + 1;
      _obey(line);
      if (_socket == null) return;
    }
    if (at < joined.length) _pending.add(Uint8List.sublistView(joined, at));
  }

  void _deliver(List<String> head, Uint8List body) {
    final headed = head[0] == 'HMSG';
    final skipped = headed ? int.parse(head[head.length - 2]) : 0;
    if (skipped > body.length) return;
    final reply = head.length == (headed ? 6 : 5) ? head[3] : '';
    var status = '';
    if (headed) {
      final words = String.fromCharCodes(body, 0, min(skipped, 40)).split('\r\n').first.split(' ');
      if (words.length > 1 && words[0] == 'NATS/1.0') status = words[1];
    }
    final subscription = _subscriptions[int.parse(head[2])];
    // A copy: a small message must not keep the chunk that it came in.
    subscription?._take(NatsMessage(head[1], Uint8List.fromList(Uint8List.sublistView(body, skipped)), reply: reply, status: status));
  }

  void _obey(String line) {
    final words = line.split(RegExp(r'\s+'));
    switch (words[0].toUpperCase()) {
      case 'MSG':
      case 'HMSG':
        final numbers = [words[2], words.last];
        if (words.length < 4 || numbers.any((word) => !RegExp(r'^\d{1,10}$').hasMatch(word))) return _end('a malformed message');
        _head = [words[0].toUpperCase(), ...words.skip(1)];
        break;
      case 'PING':
        _out?.write('PONG\r\n');
        break;
      case 'PONG':
        if (_pongs.isNotEmpty) _pongs.removeFirst().complete();
        break;
      case 'INFO':
        _info(line.substring(4));
        break;
      case '-ERR':
        final refused = RegExp('authori|authenti', caseSensitive: false).hasMatch(line) && !line.contains('Permissions');
        if (refused) return _end(_refused, 'refused');
        tell(log, LogRecord('warning', message: 'the NATS server says ${harmless(line)}'));
        break;
    }
  }

  void _info(String text) {
    final Object? info;
    try {
      info = jsonDecode(text);
    } on FormatException {
      return _end('the server is no NATS server');
    }
    if (info is! Map) return _end('the server is no NATS server');
    _guarded = info['auth_required'] == true;
    final most = info['max_payload'];
    if (most is int && most > 0) max_payload = most;
    _secured = info['tls_required'] == true;
    final greeted = _greeted;
    if (greeted != null && !greeted.isCompleted) greeted.complete();
  }
}
