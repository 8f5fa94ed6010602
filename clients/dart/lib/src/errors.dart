/// The library's error, and the fence that lets no other one out.
// ignore_for_file: non_constant_identifier_names
library natsbridge.errors;

/// What went wrong: [code] is a word of the specification's section 9, [dataname] the payload at fault, where it is one's,
/// [msg_id] and [correlation_id] are the message's, where they are known.
class NATSBridgeException implements Exception {
  NATSBridgeException(this.code, this.message, [this.dataname]);

  final String code;
  final String message;
  String? dataname;
  String? msg_id;
  String? correlation_id;

  /// The same in Dart's own spelling
  String? get msgId => msg_id;
  String? get correlationId => correlation_id;

  @override
  String toString() => dataname == null ? '$message ($code)' : 'payload ${shown(dataname!)}: $message ($code)';
}

NATSBridgeException wrong(String message, [String? dataname]) => NATSBridgeException('wrong_value', message, dataname);

NATSBridgeException tooLarge(int size, int limit) =>
    NATSBridgeException('too_large', 'it has $size bytes, the receiver takes $limit');

/// Gives an error the payload's name
T naming<T>(String dataname, T Function() run) {
  try {
    return run();
  } on NATSBridgeException catch (error) {
    error.dataname ??= dataname;
    rethrow;
  }
}

/// Lets no error out but the library's own, with the payload's name
Future<T> fenced<T>(String code, String what, String? dataname, Future<T> Function() run) async {
  try {
    return await run();
  } on NATSBridgeException catch (error) {
    error.dataname ??= dataname;
    rethrow;
  } catch (error) {
    throw NATSBridgeException(code, '$what: ${harmless('$error', 300)}', dataname);
  }
}

final _odd = RegExp('[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufeff]');

/// Strangers' text for an error or a log: cut, and escaped where a terminal would obey it
String harmless(String text, [int count = 200]) {
  String escaped(Match found) => '\\u{${found[0]!.codeUnitAt(0).toRadixString(16)}}';
  final line = text.trim();
  return (line.length > count ? line.substring(0, count) : line).replaceAllMapped(_odd, escaped);
}

/// The same in quotes
String shown(String text) => '`${harmless(text, 80)}`';
