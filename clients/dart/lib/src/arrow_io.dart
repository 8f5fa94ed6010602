/// Arrow where integers have 64 bits.
library natsbridge.arrow;

export 'arrow/read.dart' show readArrow;
export 'arrow/write.dart' show writeArrow;
