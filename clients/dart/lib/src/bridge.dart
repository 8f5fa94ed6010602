/// [Bridge]: messages sent, delivered, asked for and taken over a connection of its own.
// ignore_for_file: non_constant_identifier_names
library natsbridge.bridge;

import 'dart:async';
import 'dart:collection';

import 'errors.dart';
import 'json.dart';
import 'log.dart';
import 'nats_none.dart' if (dart.library.io) 'nats_io.dart';
import 'payload.dart';
import 'receiving.dart';
import 'replies.dart' as replies;
import 'sending.dart';
import 'text.dart';

/// A message that a [Bridge] took
class BridgeMessage extends Received {
  BridgeMessage._(this._bridge, Received message, this.subject, this.natsReply) : super(message.envelope, message.payloads);

  final Bridge _bridge;

  /// The subject that it came on
  final String subject;

  /// NATS' own subject for an answer, or `''`
  final String natsReply;

  /// Acknowledges it: a repeat of it is acknowledged too, and not given again
  Future<void> ack() async {
    _bridge._handled(this);
    await _bridge._answer(await replies.ack(this,
        nats_reply: natsReply, sender_name: _bridge.sender_name, sender_id: _bridge.sender_id));
  }

  /// Refuses it; the sender goes on if it is [retryable]
  Future<void> nack(String code, String reason, {bool retryable = false}) async {
    _bridge._forget(this);
    await _bridge._answer(await replies.nack(this, code, reason,
        retryable: retryable, nats_reply: natsReply, sender_name: _bridge.sender_name, sender_id: _bridge.sender_id));
  }

  /// Answers it with payloads
  Future<void> reply(List<Payload> data) async {
    final subject = replies.replySubject(this, natsReply);
    if (subject == null) throw wrong('the message asks for no answer');
    await _bridge.send(subject, data,
        correlation_id: this['correlation_id'],
        reply_to_msg_id: this['msg_id'],
        receiver_name: this['sender_name'],
        receiver_id: this['sender_id'],
        one_shot: false);
    _bridge._handled(this);
  }
}

/// Ends what [Bridge.serve] began
typedef Stop = void Function();

/// A connection to NATS with everything that a message needs. `Bridge.connect()` reads NATS_URL, FILESERVER_URL,
/// FILESERVER_TOKEN and SIZE_THRESHOLD.
class Bridge {
  Bridge._(this.nats, this.nats_url, this.fileserver_url, this.fileserver_token, this.size_threshold, this.allowed_origins,
      this.sender_name, this.sender_id, this.log);

  /// Connects, with user name and password or a token, which may stand in the URL too; [tls] is dart:io's SecurityContext
  static Future<Bridge> connect(
      {String? nats_url,
      String user = '',
      String password = '',
      String token = '',
      Object? tls,
      String? fileserver_url,
      String? fileserver_token,
      int? size_threshold,
      Object? allowed_origins,
      String sender_name = 'NATSBridge',
      String sender_id = '',
      Log? log}) async {
    final url = settled(nats_url, 'NATS_URL', 'nats://localhost:4222');
    final nats = await Nats.connect(url, user: user, password: password, token: token, name: sender_name, tls: tls, log: log);
    return Bridge._(nats, url, fileserver_url, fileserver_token, size_threshold, allowed_origins, sender_name,
        sender_id.isEmpty ? uuid4() : sender_id, log);
  }

  final Nats nats;
  final String nats_url;
  final String? fileserver_url;
  final String? fileserver_token;
  final int? size_threshold;
  final Object? allowed_origins;
  final String sender_name;
  final String sender_id;
  final Log? log;

  static const _remembered = 10000;

  /// How long a message is taken for being handled: its repeat may come through afterwards
  static const _patience = Duration(seconds: 30);

  /// Messages that were handled (null) or are being handled since a moment, the latest last
  final _known = LinkedHashMap<String, DateTime?>();
  final _working = <Future<void>>{};
  final _subscriptions = <NatsSubscription>{};

  Future<Sent> _make(String subject, List<Payload> data,
          {String correlation_id = '',
          String msg_id = '',
          String msg_purpose = 'chat',
          String receiver_name = '',
          String receiver_id = '',
          String reply_to = '',
          String reply_to_msg_id = '',
          Json metadata = const {},
          String receiver = 'desktop',
          bool convert_tables = false,
          bool digest_direct = false,
          bool awaits_ack = false,
          bool? one_shot,
          int ttl = linkTtl}) =>
      smartsend(subject, data,
          broker_url: nats_url,
          fileserver_url: fileserver_url,
          fileserver_token: fileserver_token,
          size_threshold: size_threshold,
          max_message_size: nats.max_payload,
          sender_name: sender_name,
          sender_id: sender_id,
          correlation_id: correlation_id,
          msg_id: msg_id,
          msg_purpose: msg_purpose,
          receiver_name: receiver_name,
          receiver_id: receiver_id,
          reply_to: reply_to,
          reply_to_msg_id: reply_to_msg_id,
          metadata: metadata,
          receiver: receiver,
          convert_tables: convert_tables,
          digest_direct: digest_direct,
          awaits_ack: awaits_ack,
          one_shot: one_shot,
          ttl: ttl,
          log: log);

  /// Sends a message; the server has it when this completes
  Future<Sent> send(String subject, List<Payload> data,
      {String correlation_id = '',
      String msg_id = '',
      String msg_purpose = 'chat',
      String receiver_name = '',
      String receiver_id = '',
      String reply_to = '',
      String reply_to_msg_id = '',
      Json metadata = const {},
      String receiver = 'desktop',
      bool convert_tables = false,
      bool digest_direct = false,
      bool? one_shot,
      int ttl = linkTtl}) async {
    await nats.connected();
    final sent = await _make(subject, data,
        correlation_id: correlation_id,
        msg_id: msg_id,
        msg_purpose: msg_purpose,
        receiver_name: receiver_name,
        receiver_id: receiver_id,
        reply_to: reply_to,
        reply_to_msg_id: reply_to_msg_id,
        metadata: metadata,
        receiver: receiver,
        convert_tables: convert_tables,
        digest_direct: digest_direct,
        one_shot: one_shot,
        ttl: ttl);
    try {
      nats.publish(subject, sent.bytes);
      await nats.flush();
    } catch (error) {
      await sent.discard();
      if (error is NATSBridgeException) _name(error, sent);
      rethrow;
    }
    return sent;
  }

  static void _name(NATSBridgeException error, Sent? sent) {
    if (sent == null) return;
    error.msg_id = sent['msg_id'];
    error.correlation_id = sent['correlation_id'];
  }

  /// Sends a message again and again until [acks] receivers have acknowledged it, or [timeout] has passed; then its uploads
  /// are deleted. Answers the receivers' ids.
  Future<Set<String>> deliver(String subject, List<Payload> data,
      {int acks = 1,
      Duration timeout = const Duration(seconds: 30),
      Duration interval = const Duration(seconds: 2),
      String correlation_id = '',
      String receiver_name = '',
      String receiver_id = '',
      Json metadata = const {}}) async {
    if (acks < 1) throw wrong('`acks` is at least 1');
    final until = DateTime.now().add(timeout);
    final answers = nats.subscribe(nats.inbox());
    final from = <String>{};
    final done = Completer<void>();
    NATSBridgeException? refusal;
    Sent? sent;
    final listening = answers.messages.listen((message) async {
      final Received answer;
      try {
        answer = await smartreceive(message.data, log: _quiet);
      } on NATSBridgeException {
        return; // not an answer
      }
      if (answer['reply_to_msg_id'] != sent?['msg_id'] || done.isCompleted) return;
      if (answer['msg_purpose'] == 'ACK') {
        from.add(answer['sender_id']);
        if (from.length >= acks) done.complete();
      } else if (answer['msg_purpose'] == 'NACK') {
        refusal = _refusalOf(answer);
        if (answer.metadata['retryable'] != true) done.completeError(refusal!);
      }
    });
    // It may fail while nobody waits for it.
    unawaited(done.future.then((_) {}, onError: (Object _) {}));
    try {
      final made = sent = await _make(subject, data,
          reply_to: answers.subject,
          awaits_ack: true,
          correlation_id: correlation_id,
          receiver_name: receiver_name,
          receiver_id: receiver_id,
          metadata: metadata);
      while (!done.isCompleted) {
        final left = until.difference(DateTime.now());
        if (left.isNegative) {
          throw refusal ?? NATSBridgeException('timeout', '${from.length} of $acks receivers acknowledged in ${timeout.inMilliseconds} ms; is one listening on ${shown(subject)}?');
        }
        try {
          nats.publish(subject, made.bytes);
        } on NATSBridgeException catch (error) {
          if (error.code != 'unreachable') rethrow; // it is sent when the server is back
        }
        await Future.any([done.future, Future<void>.delayed(left < interval ? left + const Duration(milliseconds: 1) : interval)]);
      }
      await done.future;
      return from;
    } on NATSBridgeException catch (error) {
      _name(error, sent);
      rethrow;
    } finally {
      await listening.cancel();
      await sent?.discard();
    }
  }

  static void _quiet(LogRecord _) {}

  static NATSBridgeException _refusalOf(Received answer) {
    final code = answer.metadata['code'], reason = answer.metadata['reason'];
    return NATSBridgeException(code is String && code.isNotEmpty ? harmless(code, 60) : 'handler',
        'the receiver ${shown(answer['sender_name'])} refused it: ${reason is String ? harmless(reason, 300) : 'without a reason'}');
  }

  /// Sends a message and waits for its answer; a NACK is an error with its code
  Future<BridgeMessage> request(String subject, List<Payload> data,
      {Duration timeout = const Duration(seconds: 5), String correlation_id = '', Json metadata = const {}}) async {
    await nats.connected(timeout: timeout);
    final answers = nats.subscribe(nats.inbox());
    Sent? sent;
    try {
      final made = sent = await _make(subject, data, reply_to: answers.subject, correlation_id: correlation_id, metadata: metadata);
      nats.publish(subject, made.bytes, reply: answers.subject);
      final late = NATSBridgeException('timeout', 'no answer from ${shown(subject)} in ${timeout.inMilliseconds} ms');
      final ends = DateTime.now().add(timeout);
      await for (final message in answers.messages.timeout(timeout, onTimeout: (out) => out.addError(late))) {
        if (DateTime.now().isAfter(ends)) throw late;
        if (message.status == '503') throw NATSBridgeException('unreachable', 'nobody listens to ${shown(subject)}');
        final answer = await _read(message);
        if (answer['reply_to_msg_id'] != made['msg_id']) continue;
        if (answer['msg_purpose'] == 'NACK') throw _refusalOf(answer);
        return BridgeMessage._(this, answer, message.subject, message.reply);
      }
      throw NATSBridgeException('unreachable', 'the connection was closed');
    } on NATSBridgeException catch (error) {
      _name(error, sent);
      rethrow;
    } finally {
      answers.unsubscribe();
      await sent?.discard();
    }
  }

  Future<Received> _read(NatsMessage message, {bool leave_links = false}) => smartreceive(message.data,
      fileserver_url: fileserver_url, allowed_origins: allowed_origins, leave_links: leave_links, log: log);

  /// Messages of a subject, one after the other; with [queue], each goes to one member of that group. A message that can't be
  /// read is answered by a NACK and given to [on_error]; a repeat of one that was acknowledged is acknowledged again and not
  /// given.
  Stream<BridgeMessage> subscribe(String subject,
      {String queue = '', bool leave_links = false, void Function(NATSBridgeException error)? on_error}) {
    final subscription = nats.subscribe(subject, queue: queue);
    _subscriptions.add(subscription);
    return _messages(subscription, leave_links, on_error);
  }

  /// No `async*`: its cancellation would wait for the next message.
  Stream<BridgeMessage> _messages(
      NatsSubscription subscription, bool leaveLinks, void Function(NATSBridgeException error)? onError) {
    late StreamSubscription<NatsMessage> taking;
    late StreamController<BridgeMessage> out;
    var working = Future<void>.value();
    void end() {
      subscription.unsubscribe();
      _subscriptions.remove(subscription);
    }

    Future<void> take(NatsMessage raw) async {
      try {
        final message = await _taken(raw, leaveLinks, onError);
        if (message != null && !out.isClosed) out.add(message);
      } catch (error) {
        tell(log, LogRecord('warning', message: 'a message was not handled: ${harmless('$error')}'));
      }
    }

    out = StreamController<BridgeMessage>(
        onListen: () => taking = subscription.messages.listen((raw) {
              taking.pause();
              working = take(raw).whenComplete(taking.resume);
            }, onDone: () async {
              end();
              await working;
              await out.close();
            }),
        onPause: () => taking.pause(),
        onResume: () => taking.resume(),
        onCancel: () {
          end();
          return taking.cancel();
        });
    return out.stream;
  }

  /// The message to give; null for one that can't be read, or was handled before
  Future<BridgeMessage?> _taken(
      NatsMessage raw, bool leaveLinks, void Function(NATSBridgeException error)? onError) async {
    final BridgeMessage message;
    try {
      message = BridgeMessage._(this, await _read(raw, leave_links: leaveLinks), raw.subject, raw.reply);
    } on NATSBridgeException catch (error) {
      await _refuse(raw, error);
      onError?.call(error);
      return null;
    }
    final key = _key(message);
    final since = _known[key];
    if (_known.containsKey(key) && since == null) {
      await message.ack();
      return null;
    }
    if (since != null && DateTime.now().difference(since) <= _patience) return null;
    _remember(message, DateTime.now());
    return message;
  }

  /// Answers each message of a subject with what [handler] makes of it: payloads, or null for an ACK alone. What it throws is
  /// a NACK. Answers a function that ends it.
  Stop serve(String subject, FutureOr<List<Payload>?> Function(BridgeMessage message) handler, {String queue = ''}) {
    final subscription = nats.subscribe(subject, queue: queue);
    _subscriptions.add(subscription);
    final work = _serve(_messages(subscription, false, null), handler);
    _working.add(work);
    unawaited(work.whenComplete(() => _working.remove(work)));
    return subscription.unsubscribe;
  }

  Future<void> _serve(Stream<BridgeMessage> messages, FutureOr<List<Payload>?> Function(BridgeMessage message) handler) async {
    await for (final message in messages) {
      try {
        final answer = await handler(message);
        answer == null ? await message.ack() : await message.reply(answer);
      } catch (error) {
        final own = error is NATSBridgeException ? error : NATSBridgeException('handler', harmless('$error', 300));
        tell(log, LogRecord('failed', msg_id: harmless(message['msg_id']), correlation_id: harmless(message['correlation_id']),
            sender_name: harmless(message['sender_name']), code: own.code, message: harmless(own.message)));
        try {
          await message.nack(own.code, own.message);
        } on NATSBridgeException {
          // The sender asks again, or nobody waits.
        }
      }
    }
  }

  Future<void> _refuse(NatsMessage raw, NATSBridgeException error) async {
    try {
      // Only what names itself can be answered.
      if ((error.msg_id ?? '').isEmpty) return;
      final head = await smartreceive(raw.data, leave_links: true, log: _quiet).then<Received?>((m) => m, onError: (Object _) => null);
      final message = head ?? _envelopeOf(raw);
      if (message == null) return;
      const waits = ['unreachable', 'timeout', 'download_retry_exceeded'];
      await _answer(await replies.nack(message, error.code, error.toString(),
          retryable: waits.contains(error.code), nats_reply: raw.reply, sender_name: sender_name, sender_id: sender_id));
    } on NATSBridgeException {
      // Who sent it learns nothing more.
    }
  }

  /// The fields of a message whose payloads can't be read
  static Received? _envelopeOf(NatsMessage raw) {
    try {
      final fields = fromJson(raw.data);
      if (fields is! Json) return null;
      String text(String name) => fields[name] is String ? fields[name] as String : '';
      return Received({
        for (final name in const [
          'correlation_id', 'msg_id', 'msg_purpose', 'sender_name', 'sender_id', 'reply_to', //
        ])
          name: text(name)
      }, const []);
    } on NATSBridgeException {
      return null;
    }
  }

  Future<void> _answer(replies.Outgoing? answer) async {
    if (answer != null) nats.publish(answer.subject, answer.message.bytes);
  }

  static String _key(Received message) => '${message['sender_id']} ${message['msg_id']}';

  void _remember(Received message, DateTime? since) {
    final key = _key(message);
    if (message['msg_id'].isEmpty) return;
    _known.remove(key);
    _known[key] = since;
    if (_known.length > _remembered) _known.remove(_known.keys.first);
  }

  void _handled(Received message) => _remember(message, null);

  void _forget(Received message) => _known.remove(_key(message));

  /// Ends the subscriptions, waits for what was taken, and closes the connection
  Future<void> drain({Duration timeout = const Duration(seconds: 10)}) async {
    for (final subscription in _subscriptions.toList()) {
      subscription.unsubscribe();
    }
    await Future.wait(_working.toList()).timeout(timeout, onTimeout: () => const []);
    await nats.drain();
  }

  Future<void> close() => nats.close();
}
