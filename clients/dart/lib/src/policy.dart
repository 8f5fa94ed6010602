/// Which addresses a link may lead to (specification, section 8).
library natsbridge.policy;

import 'dart:convert';

import 'errors.dart';
import 'text.dart';

/// The origins that links may lead to; null where only the list of forbidden addresses decides
List<String>? originsOf(Object? allowed, String fileserverUrl) {
  if (allowed == null && fileserverUrl.isEmpty) return null;
  final given = allowed ?? fileserverUrl;
  final list = given is String ? [given] : given;
  if (list is List && list.every((origin) => origin is String && originOf(origin) != null)) return list.cast<String>();
  throw wrong('`allowed_origins` and `fileserver_url` are origins such as https://files.example.com');
}

/// Scheme, host and port, the same for every spelling of loopback; null for what is no http or https URL
String? originOf(String url) {
  final uri = readUrl(url);
  if (uri == null) return null;
  final host = uri.host.endsWith('.') ? uri.host.substring(0, uri.host.length - 1) : uri.host;
  final loopback = const ['localhost', '127.0.0.1', '::1'].contains(host);
  return '${uri.scheme}://${loopback ? 'localhost' : host}:${uri.port}';
}

/// Reads an http or https URL as the URL standard does, to be asked for as it is then; null for what is none, or has user
/// info. A host has to be ASCII, but for letters and digits of full width and full stops of other scripts.
Uri? readUrl(String text) {
  final found = RegExp(r'^(https?)://([^/?#\\]+)([^#]*)(?:#.*)?$', caseSensitive: false, dotAll: true).firstMatch(text.trim());
  if (found == null || !isSound(text) || found[2]!.contains('@')) return null;
  final place = RegExp(r'^(\[[^\]]*\]|[^:]*)(?::([0-9]{0,5}))?$', dotAll: true).firstMatch(found[2]!);
  final host = place == null ? null : _host(place[1]!);
  if (host == null) return null;
  final scheme = found[1]!.toLowerCase();
  final stated = place![2] ?? '';
  final port = stated.isEmpty ? (scheme == 'https' ? 443 : 80) : int.parse(stated);
  if (port > 65535) return null;
  final target = StringBuffer(found[3]!.startsWith('/') ? '' : '/');
  for (final byte in utf8.encode(found[3]!)) {
    final hex = byte.toRadixString(16).toUpperCase().padLeft(2, '0');
    target.write(byte > 0x20 && byte < 0x7f && byte != 0x5c ? String.fromCharCode(byte) : '%$hex');
  }
  return Uri.tryParse('$scheme://${host.contains(':') ? '[$host]' : host}:$port$target');
}

String? _host(String text) {
  if (text.startsWith('[')) {
    if (!RegExp(r'^\[[0-9a-fA-F:.]+\]$').hasMatch(text)) return null;
    try {
      return addressText(Uri.parseIPv6Address(text.substring(1, text.length - 1)));
    } on FormatException {
      return null;
    }
  }
  final mapped = StringBuffer();
  final String plain;
  try {
    plain = Uri.decodeComponent(text.replaceAllMapped(RegExp(r'[^\x00-\x7f]+'), (found) => Uri.encodeComponent(found[0]!)));
  } catch (_) {
    return null; // not UTF-8, or an escape that is none
  }
  for (final rune in plain.runes) {
    if (rune == 0x3002 || rune == 0xff61) {
      mapped.write('.');
    } else if (rune >= 0xff01 && rune <= 0xff5e) {
      mapped.writeCharCode(rune - 0xfee0);
    } else {
      mapped.writeCharCode(rune);
    }
  }
  final name = '$mapped'.toLowerCase();
  if (!RegExp(r'^[!"$&-.0-9;=_`a-z{}~]+$').hasMatch(name)) return null;
  final labels = (name.endsWith('.') ? name.substring(0, name.length - 1) : name).split('.');
  if (RegExp(r'^([0-9]+|0x[0-9a-f]*)$').hasMatch(labels.last)) return _ipv4(labels);
  return name.length < 255 && labels.every((label) => label.isNotEmpty && label.length < 64) ? name : null;
}

/// One to four numbers, each decimal, octal or hexadecimal, of which the last fills what is left
String? _ipv4(List<String> labels) {
  final numbers = <BigInt>[];
  for (final label in labels) {
    final found = RegExp(r'^(?:0x([0-9a-f]*)|(0[0-7]*)|([1-9][0-9]*))$').firstMatch(label);
    if (found == null) return null;
    final digits = found[1] ?? found[2] ?? found[3]!;
    final radix = found[1] != null ? 16 : (found[2] != null ? 8 : 10);
    numbers.add(digits.isEmpty ? BigInt.zero : BigInt.parse(digits, radix: radix));
  }
  if (numbers.length > 4) return null;
  var whole = numbers.removeLast();
  if (whole >= BigInt.from(256).pow(4 - numbers.length) || numbers.any((number) => number > BigInt.from(255))) return null;
  for (var at = 0; at < numbers.length; at++) {
    whole += numbers[at] << (8 * (3 - at));
  }
  return [for (final shift in const [24, 16, 8, 0]) (whole >> shift) & BigInt.from(255)].join('.');
}

/// Networks that no link may lead to: the specification's list (section 8); testdata/addresses.json has the same
const forbiddenNetworks = [
  '0.0.0.0/8', '100.100.100.200/32', '168.63.129.16/32', '169.254.0.0/16', '192.0.0.192/32', '224.0.0.0/4', '240.0.0.0/4', //
  '::/128', '64:ff9b:1::/48', 'fd00:42::42/128', 'fd00:a9fe:a9fe::1/128', 'fd00:c1::a9fe:a9fe/128', 'fd00:ec2::/32',
  'fd20:ce::254/128', 'fe80::/10', 'fec0::/10', 'ff00::/8',
];

/// Where an IPv6 address holds one of version 4: network, first bit, whether all bits are inverted
const embeddingNetworks = [
  ['::/96', 96, false], ['::ffff:0:0/96', 96, false], ['::ffff:0:0:0/96', 96, false], ['64:ff9b::/96', 96, false], //
  ['2002::/16', 16, false], ['2001::/32', 96, true],
];

bool _within(List<int> raw, String network) {
  final mark = network.indexOf('/');
  final start = addressOf(network.substring(0, mark))!;
  final bits = int.parse(network.substring(mark + 1));
  if (start.length != raw.length) return false;
  for (var at = 0; at < bits; at++) {
    if (((raw[at >> 3] ^ start[at >> 3]) >> (7 - (at & 7))) & 1 == 1) return false;
  }
  return true;
}

/// Whether no link may lead to the address with these bytes
bool isForbidden(List<int> raw) {
  if (forbiddenNetworks.any((network) => _within(raw, network))) return true;
  if (raw.length == 4 || (raw[15] == 1 && raw.take(15).every((byte) => byte == 0))) return false;
  return embeddingNetworks.any((row) {
    final start = (row[1] as int) ~/ 8;
    final inner = [for (final byte in raw.sublist(start, start + 4)) row[2] as bool ? byte ^ 0xff : byte];
    return _within(raw, row[0] as String) && isForbidden(inner);
  });
}

/// The bytes of an address that is written as one; null for a name
List<int>? addressOf(String host) {
  try {
    return host.contains(':') ? Uri.parseIPv6Address(host) : Uri.parseIPv4Address(host);
  } on FormatException {
    return null;
  }
}

/// The one text of an IPv6 address: lower case, the longest run of zeros as `::`
String addressText(List<int> raw) {
  final words = [for (var at = 0; at < 16; at += 2) raw[at] << 8 | raw[at + 1]];
  var best = -1, most = 1;
  for (var at = 0; at < 8; at++) {
    var end = at;
    while (end < 8 && words[end] == 0) {
      end++;
    }
    if (end - at > most) {
      best = at;
      most = end - at;
    }
  }
  String text(Iterable<int> some) => some.map((word) => word.toRadixString(16)).join(':');
  return best < 0 ? text(words) : '${text(words.take(best))}::${text(words.skip(best + most))}';
}
