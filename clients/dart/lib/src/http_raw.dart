/// GET over a raw socket, in pieces of 64 KiB: dart:io's own client hands over all that has arrived as one piece, which on a fast
/// network is more than 100 MB. The address that was checked is the one that is used, with https too.
library natsbridge.http_raw;

import 'dart:async';
import 'dart:io';
import 'dart:typed_data';

import 'http_io.dart';
import 'policy.dart';
import 'text.dart';

const _piece = 65536;
const _longestHead = 65536;

/// A body has to bring this many bytes in this time
const _leastBytes = 30000;
const _window = Duration(seconds: 30);

/// Sends the request and reads its answer
Future<Answer> fetchRaw(Request wanted) async {
  final socket = await _connect(wanted);
  final wire = _Wire(socket, wanted.deadline);
  try {
    final uri = wanted.uri;
    final path = '${uri.path.isEmpty ? '/' : uri.path}${uri.hasQuery ? '?${uri.query}' : ''}';
    final standard = uri.port == (uri.isScheme('https') ? 443 : 80);
    final host = '${uri.host.contains(':') ? '[${uri.host}]' : uri.host}${standard ? '' : ':${uri.port}'}';
    final lines = [
      'GET $path HTTP/1.1',
      'Host: $host',
      'User-Agent: $userAgent',
      'Connection: close',
      for (final header in wanted.headers.entries) '${header.key}: ${header.value}',
    ];
    if (lines.any((line) => line.contains(RegExp(r'[\r\n]')))) throw HttpFailure('an address with a line break', code: 'blocked_origin');
    await wire.write(utf8Of('${lines.join('\r\n')}\r\n\r\n'));
    return await _read(wanted, wire);
  } on TimeoutException {
    throw wire.late;
  } on FileSystemException {
    rethrow; // of the file that the bytes go to
  } on IOException {
    throw HttpFailure('the connection broke', sent: true);
  } finally {
    wire.close();
  }
}

Future<RawSocket> _connect(Request wanted) async {
  final uri = wanted.uri;
  final List<InternetAddress> found;
  try {
    final plain = InternetAddress.tryParse(uri.host);
    found = plain == null ? await InternetAddress.lookup(uri.host).timeout(const Duration(seconds: 5)) : [plain];
  } on TimeoutException {
    throw HttpFailure('the name is not resolved in time', timeout: true);
  } on Exception {
    throw HttpFailure('the name can not be resolved');
  }
  final safe = [
    for (final address in found)
      if (!wanted.guard || !isForbidden(address.rawAddress)) address
  ];
  if (safe.isEmpty) throw HttpFailure('it leads to an address that no link may lead to', code: 'blocked_origin');
  Object? last;
  for (final address in safe.take(4)) {
    RawSocket? socket;
    try {
      socket = await RawSocket.connect(address, uri.port, timeout: const Duration(seconds: 5));
      if (!uri.isScheme('https')) return socket;
      return await RawSecureSocket.secure(socket, host: uri.host).timeout(const Duration(seconds: 10));
    } on Exception catch (error) {
      last = error;
      unawaited(socket?.close().then<void>((_) {}, onError: (Object _) {}));
    }
  }
  if (isUntrusted(last!)) throw HttpFailure('its certificate is not trusted', code: 'untrusted');
  throw HttpFailure('no connection (${last.runtimeType})', timeout: last is TimeoutException);
}

/// The socket, read piece by piece
class _Wire {
  _Wire(this._socket, this._deadline) {
    _socket.writeEventsEnabled = false;
    _socket.listen((event) {
      if (event == RawSocketEvent.read) _socket.readEventsEnabled = false;
      if (event == RawSocketEvent.readClosed || event == RawSocketEvent.closed) _ended = true;
      _wake();
    }, onError: (Object error) {
      _broken = error;
      _wake();
    }, onDone: () {
      _ended = true;
      _wake();
    }, cancelOnError: true);
  }

  final RawSocket _socket;
  final DateTime? _deadline;
  Completer<void>? _waiting;
  Object? _broken;
  var _ended = false;

  /// What was read beyond the head
  Uint8List? _rest;

  void _wake() {
    final waiting = _waiting;
    _waiting = null;
    if (waiting != null && !waiting.isCompleted) waiting.complete();
  }

  bool get isLate => _deadline != null && !DateTime.now().isBefore(_deadline!);

  HttpFailure get late => HttpFailure('no answer in time', timeout: true, sent: true, code: isLate ? 'timeout' : null);

  Future<void> _wait() async {
    var most = _window;
    if (_deadline != null) {
      final left = _deadline!.difference(DateTime.now());
      if (left < most) most = left.isNegative ? Duration.zero : left;
    }
    final waiting = _waiting = Completer<void>();
    await waiting.future.timeout(most);
  }

  Future<void> write(Uint8List bytes) async {
    for (var at = 0; at < bytes.length;) {
      at += _socket.write(bytes, at, bytes.length - at);
      if (at == bytes.length) return;
      if (_broken != null || _ended) throw const SocketException('closed');
      _socket.writeEventsEnabled = true;
      await _wait();
    }
  }

  /// The next piece; null at the end
  Future<Uint8List?> next() async {
    final rest = _rest;
    if (rest != null && rest.isNotEmpty) {
      _rest = null;
      return rest;
    }
    // Others have their turn too.
    await Future<void>.delayed(Duration.zero);
    while (true) {
      if (isLate) throw TimeoutException('late');
      final piece = _socket.read(_piece);
      if (piece != null && piece.isNotEmpty) return piece;
      if (_broken != null) throw const SocketException('broken');
      if (_ended) return null;
      _socket.readEventsEnabled = true;
      await _wait();
    }
  }

  /// Lines up to an empty one
  Future<List<String>> head() async {
    final all = BytesBuilder();
    while (true) {
      final piece = await next();
      if (piece == null) throw const SocketException('closed');
      all.add(piece);
      final bytes = all.toBytes();
      for (var at = 3; at < bytes.length; at++) {
        if (bytes[at] == 10 && bytes[at - 1] == 13 && bytes[at - 2] == 10 && bytes[at - 3] == 13) {
          _rest = Uint8List.sublistView(bytes, at + 1);
          return String.fromCharCodes(bytes, 0, at - 3).split('\r\n');
        }
      }
      if (bytes.length > _longestHead) throw HttpFailure('the answer is no HTTP', sent: true);
    }
  }

  void close() => unawaited(_socket.close().then<void>((_) {}, onError: (Object _) {}));
}

Future<Answer> _read(Request wanted, _Wire wire) async {
  late List<String> lines;
  var status = 0;
  for (var interim = 0; status < 200; interim++) {
    lines = await wire.head();
    final found = RegExp(r'^HTTP/1\.[01] ([1-9]\d\d)(?: |$)').firstMatch(lines.first);
    if (found == null || interim > 5) throw HttpFailure('the answer is no HTTP', sent: true);
    status = int.parse(found[1]!);
  }
  final headers = <String, String>{};
  for (final line in lines.skip(1)) {
    final mark = line.indexOf(':');
    if (mark > 0) headers[line.substring(0, mark).toLowerCase()] = line.substring(mark + 1).trim();
  }
  final chunked = (headers['transfer-encoding'] ?? '').toLowerCase().endsWith('chunked');
  final stated = headers['content-length'];
  if (!chunked && stated != null && !RegExp(r'^\d{1,15}$').hasMatch(stated)) throw HttpFailure('a length that is none', sent: true);
  final length = chunked || stated == null ? -1 : int.parse(stated);
  final limit = status == 200 ? wanted.limit : errorText;
  final sink = status == 200 ? wanted.sink : null;
  final read = BytesBuilder(copy: false);
  final chunks = chunked ? _Chunks() : null;
  var total = 0, inWindow = 0;
  final clock = Stopwatch()..start();
  Cut? cut;
  try {
    while (length < 0 || total < length) {
      final piece = await wire.next();
      if (piece == null) {
        if (length >= 0 || (chunks != null && !chunks.isDone)) cut = Cut.early;
        break;
      }
      for (var part in chunks == null ? [piece] : chunks.add(piece)) {
        if (length >= 0 && part.length > length - total) part = Uint8List.sublistView(part, 0, length - total);
        total += part.length;
        inWindow += part.length;
        if (total > limit) {
          cut = Cut.limit;
          break;
        }
        sink == null ? read.add(part) : sink(part);
      }
      if (cut != null || (chunks != null && chunks.isDone)) break;
      if (clock.elapsed >= _window) {
        if (inWindow < _leastBytes) {
          cut = Cut.slow;
          break;
        }
        inWindow = 0;
        clock.reset();
      }
    }
  } on TimeoutException {
    cut = Cut.slow;
  } on SocketException {
    cut = Cut.early;
  } on TlsException {
    cut = Cut.early;
  }
  return Answer(status, headers, read.takeBytes(), cut);
}

/// The chunks of a body, out of pieces that begin and end anywhere
class _Chunks {
  var _left = 0;
  var _line = '';
  var _inData = false;
  var isDone = false;

  List<Uint8List> add(Uint8List piece) {
    final found = <Uint8List>[];
    for (var at = 0; at < piece.length && !isDone;) {
      if (_inData && _left > 0) {
        final end = piece.length - at < _left ? piece.length : at + _left;
        found.add(Uint8List.sublistView(piece, at, end));
        _left -= end - at;
        at = end;
        continue;
      }
      final byte = piece[at++];
      if (byte != 10) {
        _line += String.fromCharCode(byte);
        if (_line.length > 1000) throw HttpFailure('a chunk without a size', sent: true);
        continue;
      }
      final line = _line.trim();
      _line = '';
      if (_inData) {
        if (line.isNotEmpty) throw HttpFailure('a chunk that is longer than it says', sent: true);
        _inData = false;
        continue;
      }
      final size = line.split(';').first.trim();
      if (!RegExp(r'^[0-9a-fA-F]{1,8}$').hasMatch(size)) throw HttpFailure('a chunk without a size', sent: true);
      _left = int.parse(size, radix: 16);
      _inData = true;
      isDone = _left == 0;
    }
    return found;
  }
}
