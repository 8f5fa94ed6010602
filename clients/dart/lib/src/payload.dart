/// Payloads as people hold them, and what upload and download handlers are given.
// ignore_for_file: non_constant_identifier_names
library natsbridge.payload;

import 'dart:typed_data';

import 'log.dart';

const defaultMaxMessageSize = 1048576;
const defaultMaxPayloadSize = 10000000000;
const linkTtl = 24 * 60 * 60;

const bytesTypes = ['image', 'audio', 'video', 'binary'];
const payloadTypes = ['text', 'dictionary', 'arrowtable', 'jsontable', ...bytesTypes];

/// Told how many bytes of how many are through; another try begins at 0 again
typedef Progress = void Function(int done, int all);

/// A payload as people hold it
class Payload {
  const Payload(this.dataname, this.data, this.payload_type);

  final String dataname;

  /// `text`: a String; `dictionary`: any JSON value; `jsontable` and `arrowtable`: a list of maps, which is an `ArrowTable`
  /// when an arrowtable was received; else bytes, or a [ByteSource]. A link that was left where it is (`leave_links`) is a
  /// [RemotePayload].
  final Object? data;
  final String payload_type;
}

/// Bytes that are read when they are needed, and again when an upload has to be repeated: a file, or any stream.
class ByteSource {
  const ByteSource(this.length, this.open);

  /// How many bytes there are: it decides whether they travel as a link
  final int length;
  final Stream<List<int>> Function() open;
}

/// A payload that stayed on the file server until it is asked for. Every way to read it checks size and SHA-256.
abstract class RemotePayload {
  String get dataname;
  int get size;

  /// All of it, in memory
  Future<Uint8List> read();

  /// Into a file, or, if [path] is a folder or ends with a slash, into a new file there. It gets its name when it is whole.
  /// Answers the path.
  Future<String> save(String path, {Progress? on_progress});
}

/// What an upload handler is given
class Upload {
  const Upload(this.fileserver_url, this.dataname, this.source,
      {this.one_shot = false,
      this.ttl = linkTtl,
      this.token = '',
      this.strict_one_shot = false,
      this.max_retries = 5,
      this.base_delay = 100,
      this.max_delay = 5000,
      this.log});

  final String fileserver_url;
  final String dataname;
  final ByteSource source;
  final bool one_shot;

  /// Seconds
  final int ttl;
  final String token;

  /// Whether a link that can be read once is of no use
  final bool strict_one_shot;
  final int max_retries;
  final int base_delay;
  final int max_delay;
  final Log? log;

  /// All the bytes, for handlers that want them so
  Future<Uint8List> bytes() async {
    final all = BytesBuilder(copy: false);
    await source.open().forEach(all.add);
    return all.takeBytes();
  }
}

/// What an upload handler answers
class Stored {
  const Stored(this.url, {this.expires_at, this.one_shot = false, this.sha256, this.delete});

  final String url;
  final String? expires_at;
  final bool one_shot;

  /// The digest of the bytes that were sent, where the handler made it as they passed
  final String? sha256;
  final Future<void> Function()? delete;
}

/// What a download handler is given; it answers the bytes, which are checked afterwards
class Link {
  const Link(this.url, this.dataname,
      {this.size = 0,
      this.limit = defaultMaxPayloadSize,
      this.one_shot = false,
      this.expires_at,
      this.allowed_origins = const [],
      this.any_origin = false,
      this.deadline,
      this.max_retries = 5,
      this.base_delay = 100,
      this.max_delay = 5000,
      this.on_bytes,
      this.log});

  final String url;
  final String dataname;

  /// Bytes, as the sender says; 0 if it says nothing
  final int size;

  /// Most bytes to read
  final int limit;
  final bool one_shot;
  final DateTime? expires_at;

  /// The only origins that are asked
  final List<String> allowed_origins;

  /// Whether any address is asked that the specification (section 8) does not forbid
  final bool any_origin;

  /// When it is too late
  final DateTime? deadline;
  final int max_retries;

  /// Milliseconds
  final int base_delay;
  final int max_delay;

  /// Where the bytes go as they come; they are not kept then. An empty list says that another try begins anew.
  final void Function(List<int> bytes)? on_bytes;
  final Log? log;
}

typedef UploadHandler = Future<Stored> Function(Upload upload);
typedef DownloadHandler = Future<Uint8List> Function(Link link);
