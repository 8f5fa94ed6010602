/// Links where there is no dart:io: handlers of the caller's own, and a clear error without them.
library natsbridge.links;

import 'dart:typed_data';

import 'errors.dart';
import 'payload.dart';
import 'sha256.dart';

NATSBridgeException _none(String what, [String? dataname]) =>
    NATSBridgeException('unsupported', 'without dart:io there is no $what', dataname);

// ignore: non_constant_identifier_names
Future<Uint8List> fetch_with_backoff(Link link) async =>
    throw _none('download; pass fileserver_download_handler', link.dataname);

// ignore: non_constant_identifier_names
Future<Stored> plik_upload(Upload upload) async => throw _none('upload; pass fileserver_upload_handler', upload.dataname);

// ignore: non_constant_identifier_names
Future<ByteSource> fileSource(String path, {Progress? on_progress}) async => throw _none('file');

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

  @override
  Future<Uint8List> read() => fenced('handler', 'the download failed', dataname, () async {
        final bytes = await _handler(_link(DateTime.now().add(Duration(seconds: 60 + size ~/ 1000000)), null));
        if (size > 0 && bytes.length != size) {
          throw NATSBridgeException('size_mismatch', 'it has ${bytes.length} bytes, the envelope says $size', dataname);
        }
        if (_digest != null && sha256Hex(bytes) != _digest) {
          throw NATSBridgeException('digest', 'it holds other bytes than were sent', dataname);
        }
        return bytes;
      });

  @override
  // ignore: non_constant_identifier_names
  Future<String> save(String path, {Progress? on_progress}) async => throw _none('file', dataname);
}
