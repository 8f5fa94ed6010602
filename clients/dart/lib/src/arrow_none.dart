/// Arrow where integers are JavaScript's: there is none, as in every browser (specification, section 4).
library natsbridge.arrow;

import 'dart:typed_data';

import 'arrow/table.dart';
import 'errors.dart';

NATSBridgeException _none() =>
    NATSBridgeException('unsupported', 'there is no arrowtable on the web; use jsontable, or convert_tables');

ArrowTable readArrow(Uint8List bytes) => throw _none();

Uint8List writeArrow(ArrowTable table) => throw _none();
