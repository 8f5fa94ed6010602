/// Links where there is dart:io.
library natsbridge.links;

export 'fetch_io.dart' show fetch_with_backoff;
export 'files_io.dart' show LinkedPayload, fileSource;
export 'upload_io.dart' show plik_upload;
