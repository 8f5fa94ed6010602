/// ACK, NACK and reply as messages to publish with a connection of the caller's own (specification, section 7).
// ignore_for_file: non_constant_identifier_names
library natsbridge.replies;

import 'envelope.dart';
import 'errors.dart';
import 'json.dart';
import 'payload.dart';
import 'receiving.dart';
import 'sending.dart';

/// A message and where it goes
class Outgoing {
  Outgoing(this.subject, this.message);

  final String subject;
  final Sent message;

  String get json => message.json;
}

/// Where answers to a message go: its `reply_to`, else the NATS reply subject; null where it asks for none, or where the
/// subject is the server's own.
String? replySubject(Received message, [String? nats_reply]) {
  if (const ['ACK', 'NACK'].contains(message['msg_purpose'])) return null;
  final subject = message['reply_to'].isNotEmpty ? message['reply_to'] : (nats_reply ?? '');
  if (subject.isEmpty || subject.startsWith(r'$')) return null;
  try {
    checkSubject('reply_to', subject);
  } on NATSBridgeException {
    return null; // a stranger's word that is no subject
  }
  return subject;
}

/// The ACK of a message; null where it asks for no answer
Future<Outgoing?> ack(Received message, {String? nats_reply, String sender_name = 'NATSBridge', String sender_id = ''}) =>
    _answer(message, const [], 'ACK', const {}, nats_reply, sender_name, sender_id);

/// The NACK of a message: [code] is one of the specification's or the receiver's own, [reason] is for people
Future<Outgoing?> nack(Received message, String code, String reason,
        {bool retryable = false, String? nats_reply, String sender_name = 'NATSBridge', String sender_id = ''}) =>
    _answer(message, const [], 'NACK', {'code': code, 'reason': harmless(reason, 500), 'retryable': retryable}, nats_reply,
        sender_name, sender_id);

/// An answer with payloads
Future<Outgoing?> reply(Received message, List<Payload> data,
        {String? nats_reply,
        String sender_name = 'NATSBridge',
        String sender_id = '',
        Json metadata = const {},
        String? fileserver_url,
        int max_message_size = defaultMaxMessageSize}) =>
    _answer(message, data, 'chat', metadata, nats_reply, sender_name, sender_id,
        fileserver_url: fileserver_url, max_message_size: max_message_size);

Future<Outgoing?> _answer(Received message, List<Payload> data, String purpose, Json metadata, String? natsReply,
    String senderName, String senderId,
    {String? fileserver_url, int max_message_size = defaultMaxMessageSize}) async {
  final subject = replySubject(message, natsReply);
  if (subject == null) return null;
  final sent = await smartsend(subject, data,
      msg_purpose: purpose,
      metadata: metadata,
      correlation_id: message['correlation_id'],
      reply_to_msg_id: message['msg_id'],
      receiver_name: message['sender_name'],
      receiver_id: message['sender_id'],
      sender_name: senderName,
      sender_id: senderId,
      fileserver_url: fileserver_url,
      max_message_size: max_message_size);
  return Outgoing(subject, sent);
}
