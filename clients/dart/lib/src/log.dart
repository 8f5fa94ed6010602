/// What the library says of its work: one record for each payload that is sent, received or failed.
// ignore_for_file: non_constant_identifier_names
library natsbridge.log;

import 'errors.dart';
import 'platform_none.dart' if (dart.library.io) 'platform_io.dart' as platform;
import 'text.dart';

/// The seven fields that requirements name, what happened, and what belongs to it
class LogRecord {
  LogRecord(this.event,
      {this.correlation_id = '',
      this.msg_id = '',
      this.sender_name = '',
      this.receiver_name = '',
      this.payload_type = '',
      this.transport = '',
      this.dataname = '',
      this.size = 0,
      this.code = '',
      this.message = ''})
      : timestamp = timestampOf(DateTime.now());

  /// `sent`, `received`, `failed`, `warning`, `retry`, `disconnected`, `reconnected`
  final String event;
  final String correlation_id;
  final String msg_id;
  final String timestamp;
  final String sender_name;
  final String receiver_name;
  final String payload_type;
  final String transport;
  final String dataname;
  final int size;

  /// The error's code
  final String code;
  final String message;

  Map<String, Object?> toJson() => {
        'event': event,
        'correlation_id': correlation_id,
        'msg_id': msg_id,
        'timestamp': timestamp,
        'sender_name': sender_name,
        'receiver_name': receiver_name,
        'payload_type': payload_type,
        'transport': transport,
        if (dataname.isNotEmpty) 'dataname': dataname,
        if (size > 0) 'size': size,
        if (code.isNotEmpty) 'code': code,
        if (message.isNotEmpty) 'message': message,
      };

  @override
  String toString() => 'natsbridge: $event ${harmless(message, 300)}';
}

typedef Log = void Function(LogRecord record);

/// Where records go of calls that name no log. By default warnings go to standard error, and nothing else is said.
Log defaultLog = (record) {
  if (record.event == 'warning') platform.complain('$record');
};

/// A log of the caller's must not break a message
void tell(Log? log, LogRecord record) {
  try {
    (log ?? defaultLog)(record);
  } catch (error) {
    platform.complain('natsbridge: the log failed: ${harmless('$error')}');
  }
}

/// One record for a payload of an envelope
LogRecord recordOf(String event, Map<String, Object?> envelope, Map<String, Object?> payload, [int size = 0]) {
  String field(Map<String, Object?> from, String name) {
    final value = from[name];
    return value is String ? harmless(value) : '';
  }

  return LogRecord(event,
      correlation_id: field(envelope, 'correlation_id'),
      msg_id: field(envelope, 'msg_id'),
      sender_name: field(envelope, 'sender_name'),
      receiver_name: field(envelope, 'receiver_name'),
      payload_type: field(payload, 'payload_type'),
      transport: field(payload, 'transport'),
      dataname: field(payload, 'dataname'),
      size: size);
}
