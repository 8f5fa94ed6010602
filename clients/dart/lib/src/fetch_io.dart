/// Downloads: a link is read with retries, and every answer has its code.
library natsbridge.fetch_io;

import 'dart:async';
import 'dart:convert';
import 'dart:io';
import 'dart:math';
import 'dart:typed_data';

import 'errors.dart';
import 'http_io.dart';
import 'log.dart';
import 'payload.dart';
import 'policy.dart';
import 'text.dart';

/// A pause longer than this is not waited for
const longestPause = 30.0;

/// Reads a link: no redirects, a byte limit, `max_retries` retries after pauses that double up to `max_delay`
// ignore: non_constant_identifier_names
Future<Uint8List> fetch_with_backoff(Link link) async {
  NATSBridgeException failed(String code, String reason) =>
      NATSBridgeException(code, 'failed to fetch ${harmless(withoutSecrets(link.url))}: $reason', link.dataname);
  final uri = readUrl(link.url);
  if (uri == null) throw failed('blocked_origin', 'a link is an http or https URL without user info');
  final guard = link.any_origin;
  if (!guard && !link.allowed_origins.any((allowed) => originOf(allowed) == originOf(link.url))) {
    final places = link.allowed_origins.isEmpty ? 'nothing is' : link.allowed_origins.map(withoutSecrets).join(', ');
    throw failed('blocked_origin', 'its origin is not allowed (allowed: $places); pass allowed_origins if you trust it');
  }
  var delay = link.base_delay;
  var reason = '';
  for (var attempt = 0; attempt <= link.max_retries; attempt++) {
    var pause = 0.0;
    var passed = false;
    try {
      final sink = link.on_bytes;
      final answer = await ask(Request('GET', uri,
          headers: const {'Accept-Encoding': 'identity'},
          limit: link.limit,
          guard: guard,
          deadline: link.deadline,
          sink: sink == null
              ? null
              : (bytes) {
                  passed = true;
                  sink(bytes);
                }));
      final text = harmless(utf8.decode(answer.body.take(600).toList(), allowMalformed: true));
      if (answer.status == 200) {
        if (answer.cut == null) return answer.body;
        if (answer.cut == Cut.limit) {
          throw failed(link.size > 0 ? 'size_mismatch' : 'too_large', 'it holds more than ${link.limit} bytes');
        }
        if (answer.cut == Cut.slow) throw failed('timeout', 'too few bytes in too much time');
        if (link.one_shot) throw failed('consumed', 'a link that can be read once ended early');
        reason = 'the body ended early';
      } else {
        final code = _refusal(answer, text, link, uri);
        if (code != null) throw failed(code, '${answer.status} $text');
        reason = '${answer.status} $text';
        pause = retryAfter(answer);
        if (pause > longestPause) {
          throw failed('download_retry_exceeded', 'the server asks for a pause of ${pause.round()} s: $reason');
        }
      }
    } on HttpFailure catch (failure) {
      if (failure.code != null) throw failed(failure.code!, failure.reason);
      if (link.one_shot && passed) throw failed('consumed', 'a link that can be read once broke (${failure.reason})');
      reason = failure.reason;
    } on FileSystemException catch (error) {
      throw failed('handler', 'it can not be written: ${error.osError?.message ?? error.message}');
    }
    if (attempt == link.max_retries) break;
    if (passed) link.on_bytes!(const []);
    final wait = Duration(milliseconds: max(pause * 1000, delay * (0.5 + chance() / 2)).round());
    if (link.deadline != null && DateTime.now().add(wait).isAfter(link.deadline!)) throw failed('timeout', reason);
    tell(link.log, LogRecord('retry', dataname: link.dataname, message: 'a download of ${shown(link.dataname)}: $reason'));
    await Future<void>.delayed(wait);
    delay = min(2 * delay, link.max_delay);
  }
  throw failed('download_retry_exceeded', 'gave up after ${link.max_retries} retries: $reason');
}

/// The code of an answer that another try would not change
String? _refusal(Answer answer, String text, Link link, Uri uri) {
  var status = answer.status;
  if (status >= 300 && status < 400) {
    // A Plik up to 1.3.8 hides its errors in a redirect.
    final hidden = RegExp(r'[?&]errcode=(\d{3})').firstMatch(answer.headers['location'] ?? '');
    if (hidden == null) return 'blocked_origin';
    status = int.parse(hidden[1]!);
  }
  if (isTemporary(status, answer.headers)) return null;
  final now = DateTime.now();
  final until = link.expires_at, signed = _signedUntil(uri);
  final past = (until != null && until.isBefore(now)) || (signed != null && signed.isBefore(now));
  final says = text.contains('expired') || text.contains('ExpiredToken');
  if (const [400, 401, 403, 404, 410].contains(status) && (past || says)) return 'expired';
  if (status == 404 || status == 410) return link.one_shot ? 'consumed' : 'not_found';
  return const [401, 403, 407].contains(status) ? 'refused' : 'rejected';
}

/// When a presigned link of S3, Google or Azure stops working
DateTime? _signedUntil(Uri uri) {
  final Map<String, String> query;
  try {
    query = {for (final entry in uri.queryParameters.entries) entry.key.toLowerCase(): entry.value};
  } catch (_) {
    return null; // escapes that are none
  }
  if (query.containsKey('sig')) return parseTimestamp(query['se'] ?? '');
  for (final cloud in const ['amz', 'goog']) {
    final date = RegExp(r'^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$').firstMatch(query['x-$cloud-date'] ?? '');
    final seconds = int.tryParse(query['x-$cloud-expires'] ?? '');
    if (date == null || seconds == null || seconds < 0 || seconds > 1000000000) continue;
    final from = parseTimestamp('${date[1]}-${date[2]}-${date[3]}T${date[4]}:${date[5]}:${date[6]}Z');
    return from?.add(Duration(seconds: seconds));
  }
  return null;
}
