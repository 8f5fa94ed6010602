/// One HTTP request on a connection of its own: no redirects, no proxies, bounded. GET goes its own way, the rest by dart:io's client.
library natsbridge.http_io;

import 'dart:async';
import 'dart:io';
import 'dart:typed_data';

import 'errors.dart';
import 'http_raw.dart';

/// A Plik up to 1.3.8 redirects other agents to a web page when it fails
const userAgent = 'plik_client/natsbridge-dart';

/// Bytes of an error's text that are read
const errorText = 4096;

/// Why a body is not whole
enum Cut { limit, early, slow }

class Answer {
  Answer(this.status, this.headers, this.body, this.cut);

  final int status;
  final Map<String, String> headers;

  /// Empty where the bytes were passed on
  final Uint8List body;

  /// Null where the body is whole
  final Cut? cut;
}

/// No answer; [sent] where the server may have seen the request, [code] where another try can't help
class HttpFailure implements Exception {
  HttpFailure(this.reason, {this.timeout = false, this.sent = false, this.code});

  final String reason;
  final bool timeout;
  final bool sent;
  final String? code;
}

class Request {
  const Request(this.method, this.uri,
      {this.headers = const {}, this.body, this.length = 0, this.limit = 1 << 20, this.sink, this.guard = false, this.deadline});

  final String method;
  final Uri uri;
  final Map<String, String> headers;
  final Stream<List<int>>? body;
  final int length;

  /// Most bytes of the answer
  final int limit;

  /// Takes the bytes of a 200 as they come
  final void Function(List<int> bytes)? sink;

  /// Whether the address is checked after the name is resolved
  final bool guard;
  final DateTime? deadline;
}

/// Sends a request and reads its answer
Future<Answer> ask(Request request) {
  // dart:io throws some of what it finds in a hostile answer where nobody can catch it, and that would end the program.
  final done = Completer<Answer>();
  void fail(Object error, StackTrace stack) {
    final known = error is HttpFailure || error is NATSBridgeException || error is FileSystemException;
    if (!done.isCompleted) done.completeError(known ? error : HttpFailure(harmless('$error'), sent: true), stack);
  }

  runZonedGuarded(() async {
    try {
      final answer = request.method == 'GET' ? await fetchRaw(request) : await _exchange(request);
      if (!done.isCompleted) done.complete(answer);
    } catch (error, stack) {
      fail(error, stack);
    }
  }, fail);
  return done.future;
}

Future<Answer> _exchange(Request wanted) async {
  final client = HttpClient()
    ..connectionTimeout = const Duration(seconds: 5)
    ..autoUncompress = false
    ..userAgent = userAgent
    ..findProxy = (_) => 'DIRECT';
  var sent = false;
  try {
    final request = await client.openUrl(wanted.method, wanted.uri);
    request.followRedirects = false;
    request.persistentConnection = false;
    wanted.headers.forEach(request.headers.set);
    request.contentLength = wanted.length;
    sent = true;
    if (wanted.body != null) await request.addStream(_steady(wanted.body!, wanted.length, client));
    final response = await request.close().timeout(const Duration(seconds: 120));
    return await _read(response, response.statusCode == 200 ? wanted.limit : errorText);
  } on TimeoutException {
    throw HttpFailure('no answer in time', timeout: true, sent: sent);
  } on FileSystemException {
    rethrow; // of the caller's file, not of the connection
  } on IOException catch (error) {
    if (isUntrusted(error)) throw HttpFailure('its certificate is not trusted', code: 'untrusted');
    throw HttpFailure(sent ? 'the connection broke' : 'no connection (${error.runtimeType})', sent: sent);
  } finally {
    client.close(force: true);
  }
}

/// A body that has to be as long as was said, and that the server has to take within a minute for each piece
Stream<List<int>> _steady(Stream<List<int>> body, int length, HttpClient client) async* {
  var passed = 0;
  await for (final piece in body) {
    passed += piece.length;
    if (passed > length) throw HttpFailure('the data grew while it was sent', code: 'wrong_value');
    final stuck = Timer(const Duration(seconds: 60), () => client.close(force: true));
    yield piece;
    stuck.cancel();
  }
  if (passed < length) throw HttpFailure('the data has $passed bytes, not $length', code: 'wrong_value');
}

Future<Answer> _read(HttpClientResponse response, int limit) async {
  final headers = <String, String>{};
  response.headers.forEach((name, values) => headers[name.toLowerCase()] = values.last);
  final read = BytesBuilder(copy: false);
  Cut? cut;
  try {
    await for (final piece in response.timeout(const Duration(seconds: 30))) {
      read.add(piece);
      if (read.length > limit) {
        cut = Cut.limit;
        break;
      }
    }
  } on TimeoutException {
    cut = Cut.slow;
  } on Exception {
    cut = Cut.early;
  }
  if (cut == null && response.contentLength >= 0 && read.length < response.contentLength) cut = Cut.early;
  return Answer(response.statusCode, headers, read.takeBytes(), cut);
}

/// Seconds that an answer asks to wait for: a number or an HTTP date
double retryAfter(Answer answer) {
  final text = answer.headers['retry-after'] ?? '';
  if (RegExp(r'^\d{1,9}$').hasMatch(text)) return double.parse(text);
  try {
    final seconds = HttpDate.parse(text).difference(DateTime.now()).inMilliseconds / 1000;
    return seconds > 0 ? seconds : 0;
  } on Exception {
    return 0;
  }
}

bool isUntrusted(Object error) => error is TlsException && '$error'.contains('CERTIFICATE_VERIFY_FAILED');

/// Whether another try may help (specification, section 8)
bool isTemporary(int status, Map<String, String> headers) {
  if (const [408, 425, 429].contains(status)) return true;
  if (status == 409) return headers.containsKey('retry-after');
  return status >= 500 && !const [501, 505, 506, 507, 508, 510, 511].contains(status);
}
