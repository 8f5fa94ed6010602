/// NATSBridge for Dart: texts, dictionaries, tables and bytes of any size over NATS, the same in every language.
library natsbridge;

export 'src/bridge.dart' show Bridge, BridgeMessage, Stop;
export 'src/arrow/table.dart' show ArrowTable, ArrowColumn;
export 'src/arrow/text.dart' show ArrowInterval, ArrowTime;
export 'src/arrow/types.dart' show ArrowField, ArrowType, ArrowKind, ArrowLayout, TimeUnit;
export 'src/errors.dart' show NATSBridgeException;
export 'src/json.dart' show fromJson, toJson;
export 'src/links_none.dart' if (dart.library.io) 'src/links_io.dart' show fetch_with_backoff, fileSource, plik_upload;
export 'src/log.dart' show Log, LogRecord, defaultLog;
export 'src/nats_none.dart' if (dart.library.io) 'src/nats_io.dart' show Nats, NatsMessage, NatsSubscription;
export 'src/payload.dart';
export 'src/receiving.dart';
export 'src/replies.dart';
export 'src/sending.dart' show Sent, smartsend;
