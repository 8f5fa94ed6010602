/// Files: what is sent from a path, and what is saved to one.
// ignore_for_file: non_constant_identifier_names
library natsbridge.files_io;

import 'dart:async';
import 'dart:io';
import 'dart:typed_data';

import 'errors.dart';
import 'payload.dart';
import 'sha256.dart';
import 'text.dart';

/// A file's bytes, read when they are sent: `Payload('film', await fileSource('run7.mp4'), 'video')`
Future<ByteSource> fileSource(String path, {Progress? on_progress}) async {
  final file = File(path);
  try {
    final length = await file.length();
    return ByteSource(length, () {
      var done = 0;
      return file.openRead().map((piece) {
        on_progress?.call(done += piece.length, length);
        return piece;
      });
    });
  } on FileSystemException catch (error) {
    throw wrong('${shown(path)} can not be read: ${error.osError?.message ?? error.message}');
  }
}

/// A link that was left where it is
class LinkedPayload implements RemotePayload {
  LinkedPayload(this._link, this._digest, this._handler);

  final Link Function(DateTime deadline, void Function(List<int> bytes)? sink) _link;
  final String? _digest;
  final DownloadHandler _handler;

  late final Link _plain = _link(DateTime.now(), null);

  @override
  String get dataname => _plain.dataname;

  @override
  int get size => _plain.size;

  DateTime get _deadline => DateTime.now().add(Duration(seconds: 60 + size ~/ 1000000));

  @override
  Future<Uint8List> read() => fenced('handler', 'the download failed', dataname, () async {
        final bytes = await _handler(_link(_deadline, null));
        _check(bytes.length, sha256Hex(bytes));
        return bytes;
      });

  void _check(int length, String digest) {
    if (size > 0 && length != size) {
      throw NATSBridgeException('size_mismatch', 'it has $length bytes, the envelope says $size', dataname);
    }
    if (_digest != null && digest != _digest) {
      throw NATSBridgeException('digest', 'it holds other bytes than were sent', dataname);
    }
  }

  @override
  Future<String> save(String path, {Progress? on_progress}) => fenced('handler', 'it can not be saved', dataname, () async {
        // The name is a stranger's, so that it is never a path.
        final folder = path.endsWith('/') || path.endsWith(r'\') || Directory(path).existsSync();
        final target = folder ? '${path.replaceFirst(RegExp(r'[/\\]+$'), '')}/${uuid4()}' : path;
        if (folder) Directory(path).createSync(recursive: true);
        final part = File('$target.part');
        var open = part.openSync(mode: FileMode.write);
        var digest = Sha256();
        var length = 0;
        try {
          final bytes = await _handler(_link(_deadline, (piece) {
            if (piece.isEmpty) {
              open.truncateSync(0);
              open.setPositionSync(0);
              digest = Sha256();
              length = 0;
            }
            open.writeFromSync(piece);
            digest.add(piece);
            length += piece.length;
            if (piece.isNotEmpty) on_progress?.call(length, size);
          }));
          if (length == 0 && bytes.isNotEmpty) {
            // A handler of the caller's, which answers the bytes
            open.writeFromSync(bytes);
            digest.add(bytes);
            length = bytes.length;
          }
          _check(length, digest.hex());
          open.flushSync();
          open.closeSync();
          part.renameSync(target);
          return target;
        } catch (_) {
          try {
            open.closeSync();
          } on FileSystemException {
            // It was closed.
          }
          if (part.existsSync()) part.deleteSync();
          rethrow;
        }
      });
}
