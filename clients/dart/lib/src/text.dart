/// Small things of text: UTF-8, base64, surrogates, UUIDs, timestamps, URLs without secrets.
library natsbridge.text;

import 'dart:convert';
import 'dart:math';
import 'dart:typed_data';

import 'errors.dart';

/// Whether integers are JavaScript's, which are exact up to 2^53
const bool onWeb = identical(0, 0.0);

Uint8List utf8Of(String text) {
  final List<int> bytes = utf8.encode(text);
  return bytes is Uint8List ? bytes : Uint8List.fromList(bytes);
}

/// Dart's decoder takes a byte-order mark away, which is a part of the text here
String utf8Text(Uint8List bytes) {
  var marks = 0;
  while (bytes.length >= marks + 3 && bytes[marks] == 0xef && bytes[marks + 1] == 0xbb && bytes[marks + 2] == 0xbf) {
    marks += 3;
  }
  if (marks == 0) return utf8.decode(bytes);
  return '\ufeff' * (marks ~/ 3) + utf8.decode(Uint8List.sublistView(bytes, marks));
}

/// Whether a string has no lone surrogates
bool isSound(String text) {
  for (var at = 0; at < text.length; at++) {
    final unit = text.codeUnitAt(at);
    if (unit < 0xd800 || unit > 0xdfff) continue;
    if (unit > 0xdbff || at + 1 == text.length) return false;
    final low = text.codeUnitAt(++at);
    if (low < 0xdc00 || low > 0xdfff) return false;
  }
  return true;
}

/// Decodes strictly first, then without padding, in the URL-safe alphabet, with white space
Uint8List unbase64(String plain) {
  try {
    // Dart's decoder takes both alphabets, and %3D for padding, which is none here.
    if (!plain.contains('%')) return base64.decode(plain);
  } on FormatException {
    // The other forms are tried below.
  }
  final text = plain.replaceAll(RegExp(r'[ \t\r\n]'), '');
  final body = text.replaceFirst(RegExp(r'={1,2}$'), '');
  final missing = -body.length % 4;
  if (missing < 3 && text.length - body.length <= missing && !body.contains(RegExp('[=%]'))) {
    try {
      return base64.decode(body + '=' * missing);
    } on FormatException {
      // It is base64 in no form.
    }
  }
  throw NATSBridgeException('base64', 'it is not base64');
}

final _random = Random.secure();

/// A random number of at least 0 and below 1, which differs in each process
double chance() => _random.nextDouble();

/// Random hexadecimal digits, two for each byte
String randomHex(int bytes) => hexOf([for (var at = 0; at < bytes; at++) _random.nextInt(256)]);

/// A random UUID as text
String uuid4() {
  final drawn = [for (var at = 0; at < 16; at++) _random.nextInt(256)];
  drawn[6] = drawn[6] & 0x0f | 0x40;
  drawn[8] = drawn[8] & 0x3f | 0x80;
  return uuidOf(drawn);
}

String uuidOf(List<int> bytes) {
  final text = hexOf(bytes);
  return [text.substring(0, 8), text.substring(8, 12), text.substring(12, 16), text.substring(16, 20), text.substring(20)]
      .join('-');
}

String hexOf(Iterable<int> bytes) => [for (final byte in bytes) byte.toRadixString(16).padLeft(2, '0')].join();

/// ISO 8601 in UTC with milliseconds
String timestampOf(DateTime moment) {
  final utc = moment.toUtc();
  return DateTime.utc(utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, utc.millisecond).toIso8601String();
}

final _timestamp = RegExp(
    r'^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{0,9}))?(?:[Zz]|([+-])(\d\d):?(\d\d)?)?$');

/// The moment in UTC; null for what is no ISO 8601 date and time
DateTime? parseTimestamp(String text) {
  final found = _timestamp.firstMatch(text.trim());
  if (found == null) return null;
  final parts = [for (var at = 1; at <= 6; at++) int.parse(found[at]!)];
  final micros = int.parse((found[7] ?? '').padRight(6, '0').substring(0, 6));
  final moment = DateTime.utc(parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], micros ~/ 1000, micros % 1000);
  // Dart carries over: the 30th of February would be the 2nd of March.
  if (moment.month != parts[1] || moment.day != parts[2] || parts[3] > 23 || parts[4] > 59 || parts[5] > 59) return null;
  if (found[8] == null) return moment;
  final offset = Duration(hours: int.parse(found[9]!), minutes: int.parse(found[10] ?? '0'));
  return found[8] == '+' ? moment.subtract(offset) : moment.add(offset);
}

/// A URL without user name, password, token, query and fragment
String withoutSecrets(String url) {
  final plain = url.split(RegExp('[?#]')).first;
  final mark = plain.indexOf('://');
  final rest = mark < 0 ? plain : plain.substring(mark + 3);
  final slash = rest.indexOf('/');
  final authority = slash < 0 ? rest : rest.substring(0, slash);
  return (mark < 0 ? '' : plain.substring(0, mark + 3)) + authority.split('@').last + rest.substring(authority.length);
}
