/// Uploads to a file server with Plik's HTTP API, made again from the first step when they break.
library natsbridge.upload_io;

import 'dart:async';
import 'dart:convert';
import 'dart:io' show FileSystemException;
import 'dart:math';

import 'errors.dart';
import 'fetch_io.dart' show longestPause;
import 'http_io.dart';
import 'json.dart';
import 'log.dart';
import 'payload.dart';
import 'sha256.dart';
import 'text.dart';

/// Another try may help
class _Again implements Exception {
  _Again(this.code, this.reason, [this.pause = 0]);

  final String code;
  final String reason;
  final double pause;
}

/// Stores the bytes on a Plik file server
// ignore: non_constant_identifier_names
Future<Stored> plik_upload(Upload upload) async {
  var delay = upload.base_delay;
  for (var attempt = 0;; attempt++) {
    try {
      return await _Plik(upload).store();
    } on _Again catch (failure) {
      if (attempt >= upload.max_retries || failure.pause > longestPause) {
        final tries = attempt == 0 ? '' : ' (after $attempt retries)';
        throw NATSBridgeException(
            failure.code, 'failed to upload to ${withoutSecrets(upload.fileserver_url)}: ${failure.reason}$tries', upload.dataname);
      }
      tell(upload.log, LogRecord('retry', dataname: upload.dataname, message: 'an upload of ${shown(upload.dataname)}: ${failure.reason}'));
      await Future<void>.delayed(Duration(milliseconds: max(failure.pause * 1000, delay * (0.5 + chance() / 2)).round()));
      delay = min(2 * delay, upload.max_delay);
    }
  }
}

class _Plik {
  _Plik(this.upload) : base = upload.fileserver_url.replaceFirst(RegExp(r'/+$'), '');

  final Upload upload;
  final String base;

  NATSBridgeException odd(String what, [String code = 'rejected']) =>
      NATSBridgeException(code, 'failed to upload: $what', upload.dataname);

  Future<Json> step(String method, String path, Map<String, String> headers, Stream<List<int>>? body, int length) async {
    final Uri uri;
    try {
      uri = Uri.parse(base + path);
      if (!uri.isScheme('http') && !uri.isScheme('https') || uri.host.isEmpty) throw const FormatException();
    } on FormatException {
      throw odd('${shown(withoutSecrets(base))} is no http or https URL', 'wrong_value');
    }
    final secret = uri.userInfo.isEmpty ? null : base64.encode(utf8Of(Uri.decodeComponent(uri.userInfo)));
    final own = {
      ...headers,
      if (upload.token.isNotEmpty) 'X-PlikToken': upload.token,
      if (secret != null) 'Authorization': 'Basic $secret',
    };
    final Answer answer;
    try {
      answer = await ask(Request(method, uri, headers: own, body: body, length: length));
    } on HttpFailure catch (failure) {
      if (failure.code != null) throw odd(failure.reason, failure.code!);
      final nobody = failure.timeout || failure.sent ? '' : '; start `natsbridge serve` there, or name another file server (FILESERVER_URL)';
      throw _Again(failure.timeout ? 'timeout' : 'unreachable', '${failure.reason}$nobody');
    } on FileSystemException catch (error) {
      throw odd('the data can not be read: ${error.osError?.message ?? error.message}', 'wrong_value');
    }
    final text = utf8.decode(answer.body, allowMalformed: true);
    if (answer.status != 200) {
      final said = '${answer.status} ${harmless(text)}';
      if (isTemporary(answer.status, answer.headers)) throw _Again('rejected', said, retryAfter(answer));
      throw odd(said, const {401: 'refused', 403: 'refused', 413: 'too_large'}[answer.status] ?? 'rejected');
    }
    if (answer.cut != null) throw _Again('unreachable', 'the answer ended early');
    if (method != 'POST') return {};
    final Object? value;
    try {
      value = fromJson(answer.body);
    } on NATSBridgeException {
      throw odd('the answer is no JSON; is this a Plik?');
    }
    return value is Json ? value : throw odd('the answer is no JSON object; is this a Plik?');
  }

  String stated(Json answer, String key) {
    final value = answer[key];
    return value is String && value.isNotEmpty ? value : throw odd("the server's answer has no `$key`");
  }

  Future<Stored> store() async {
    final wanted = utf8Of(toJson({'oneShot': upload.one_shot, 'ttl': upload.ttl}));
    final created = await step('POST', '/upload', {'Content-Type': 'application/json'}, Stream.value(wanted), wanted.length);
    final id = Uri.encodeComponent(stated(created, 'id'));
    final secret = {'X-UploadToken': stated(created, 'uploadToken')};
    Future<void> delete() => step('DELETE', '/upload/$id', secret, null, 0);
    try {
      final once = created['oneShot'] == true;
      if (once && !upload.one_shot) {
        if (upload.strict_one_shot) throw odd('the server makes every link one-shot, and this message may be read again');
        _warn('the server made the link one-shot');
      }
      final granted = created['ttl'];
      if (granted is int && granted != upload.ttl) _warn('the server keeps it $granted s, not ${upload.ttl} s');
      final digest = Sha256();
      final kept = await _bytes(id, secret, digest);
      if (kept['status'] != 'uploaded' || kept['fileSize'] != upload.source.length) throw odd('the server stored other bytes');
      final hosts = [created['downloadURL'], created['downloadDomain'], base].whereType<String>();
      var host = hosts.firstWhere((host) => host.isNotEmpty).replaceFirst(RegExp(r'/+$'), '');
      if (!host.contains('://')) host = '${Uri.parse(base).scheme}://$host';
      // User name and password are the sender's.
      if (host == base && Uri.parse(base).userInfo.isNotEmpty) host = withoutSecrets(base);
      final path = [id, ...['id', 'fileName'].map((key) => Uri.encodeComponent(stated(kept, key)))].join('/');
      return Stored('$host/file/$path', expires_at: _expiry(created), one_shot: once, sha256: digest.hex(), delete: () async {
        try {
          await delete();
        } on _Again catch (failure) {
          throw odd(failure.reason, failure.code);
        }
      });
    } catch (_) {
      try {
        await delete();
      } on Exception {
        // It expires by itself; the first error says more.
      }
      rethrow;
    }
  }

  Future<Json> _bytes(String id, Map<String, String> secret, Sha256 digest) {
    final boundary = 'natsbridge-${uuid4()}';
    const disposition = 'form-data; name="file"; filename="payload.bin"';
    final head =
        utf8Of('--$boundary\r\nContent-Disposition: $disposition\r\nContent-Type: application/octet-stream\r\n\r\n');
    final tail = utf8Of('\r\n--$boundary--\r\n');
    Stream<List<int>> form() async* {
      yield head;
      await for (final piece in upload.source.open()) {
        digest.add(piece);
        yield piece;
      }
      yield tail;
    }

    return step('POST', '/file/$id', {...secret, 'Content-Type': 'multipart/form-data; boundary=$boundary'}, form(),
        head.length + upload.source.length + tail.length);
  }

  void _warn(String what) =>
      tell(upload.log, LogRecord('warning', dataname: upload.dataname, message: 'payload ${shown(upload.dataname)}: $what'));

  static String? _expiry(Json created) {
    final at = created['expireAt'];
    final seconds = created['ttl'];
    var moment = at is String ? parseTimestamp(at) : null;
    if (moment == null && seconds is int && seconds > 0) moment = DateTime.now().add(Duration(seconds: seconds));
    return moment == null ? null : timestampOf(moment);
  }
}
