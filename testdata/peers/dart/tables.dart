/// Arrow tables as the test data writes them (testdata/README.md, Values): text in, text out, no bit lost.
library tables;

import 'dart:convert';
import 'dart:typed_data';

import 'package:natsbridge/natsbridge.dart';

const depth = 1000;

/// The table of `{"columns": [{"name", "type", "values"}]}`
ArrowTable tableOf(Map<String, Object?> tagged) => ArrowTable([
      for (final column in (tagged['columns'] as List).cast<Map<String, Object?>>())
        () {
          final type = ArrowType.parse(column['type'] as String);
          return ArrowColumn(ArrowField(column['name'] as String, type),
              [for (final value in column['values'] as List) value == null ? null : _stored(type, value as String)]);
        }()
    ]);

Map<String, Object?> taggedTable(ArrowTable table) => {
      'columns': [
        for (final column in table.columns)
          {
            'name': column.name,
            'type': '${column.type}',
            'values': [for (final value in column.stored) value == null ? null : _text(column.type, value)],
          }
      ]
    };

const _nested = [ArrowKind.list, ArrowKind.fixedList, ArrowKind.struct, ArrowKind.map];

bool _isNested(ArrowType type) {
  if (type.kind == ArrowKind.dictionary || type.kind == ArrowKind.runs) return _isNested(type.item);
  return _nested.contains(type.kind);
}

Object? _stored(ArrowType type, String text) {
  switch (type.kind) {
    case ArrowKind.boolean:
      return text == 'true';
    case ArrowKind.float:
      return _float(text);
    case ArrowKind.decimal:
      final negative = text.startsWith('-');
      final mark = text.indexOf('.');
      final digits = text.replaceAll(RegExp('[-.]'), '');
      final missing = type.scale - (mark < 0 ? 0 : text.length - mark - 1);
      final value = BigInt.parse(digits) * BigInt.from(10).pow(missing);
      return negative ? -value : value;
    case ArrowKind.utf8:
      return text;
    case ArrowKind.binary:
    case ArrowKind.fixedBinary:
      return Uint8List.fromList([
        for (var at = 0; at < text.length; at += 2) int.parse(text.substring(at, at + 2), radix: 16)
      ]);
    case ArrowKind.interval:
      final parts = text.split(',').map(int.parse).toList();
      if (type.bits == 32) return ArrowInterval(parts[0], 0, 0);
      return type.bits == 64 ? ArrowInterval(0, parts[0], parts[1] * 1000000) : ArrowInterval(parts[0], parts[1], parts[2]);
    case ArrowKind.dictionary:
    case ArrowKind.runs:
      return _stored(type.item, text);
    case ArrowKind.list:
    case ArrowKind.fixedList:
    case ArrowKind.struct:
    case ArrowKind.map:
      return _ofJson(type, fromJson(Uint8List.fromList(utf8.encode(text)), depth: depth));
    default:
      return int.tryParse(text) ?? BigInt.parse(text);
  }
}

double _float(String text) {
  if (text == 'inf') return double.infinity;
  return text == '-inf' ? double.negativeInfinity : double.parse(text);
}

Object? _ofJson(ArrowType type, Object? value) {
  if (value == null) return null;
  switch (type.kind) {
    case ArrowKind.list:
    case ArrowKind.fixedList:
      return [for (final item in value as List) _ofJson(type.item, item)];
    case ArrowKind.struct:
      return [for (final child in type.children) _ofJson(child.type, (value as Map)[child.name])];
    case ArrowKind.map:
      return [
        for (final pair in (value as List).cast<List<Object?>>())
          [_ofJson(type.children[0].type, pair[0]), _ofJson(type.children[1].type, pair[1])]
      ];
    case ArrowKind.dictionary:
    case ArrowKind.runs:
      return _ofJson(type.item, value);
    default:
      return _stored(type, value is String ? value : '$value');
  }
}

String _text(ArrowType type, Object value) {
  if (_isNested(type)) return toJson(_json(type, value), depth: depth);
  switch (type.kind) {
    case ArrowKind.float:
      final number = value as double;
      if (number.isNaN) return 'NaN';
      return number.isInfinite ? (number > 0 ? 'inf' : '-inf') : '$number';
    case ArrowKind.decimal:
      return ArrowColumn(ArrowField('', type), [value])[0] as String;
    case ArrowKind.binary:
    case ArrowKind.fixedBinary:
      return [for (final byte in value as Uint8List) byte.toRadixString(16).padLeft(2, '0')].join();
    case ArrowKind.interval:
      final interval = value as ArrowInterval;
      if (type.bits == 32) return '${interval.months}';
      if (type.bits == 64) return '${interval.days},${interval.nanoseconds ~/ 1000000}';
      return '${interval.months},${interval.days},${interval.nanoseconds}';
    case ArrowKind.dictionary:
    case ArrowKind.runs:
      return _text(type.item, value);
    default:
      return '$value';
  }
}

Object? _json(ArrowType type, Object? value) {
  if (value == null) return null;
  switch (type.kind) {
    case ArrowKind.boolean:
    case ArrowKind.integer:
      return value;
    case ArrowKind.float:
      final number = value as double;
      return number.isFinite && !(number == 0 && number.isNegative) ? number : _text(type, value);
    case ArrowKind.list:
    case ArrowKind.fixedList:
      return [for (final item in value as List) _json(type.item, item)];
    case ArrowKind.struct:
      final parts = value as List;
      return {for (var at = 0; at < parts.length; at++) type.children[at].name: _json(type.children[at].type, parts[at])};
    case ArrowKind.map:
      return [
        for (final pair in (value as List).cast<List<Object?>>())
          [_json(type.children[0].type, pair[0]), _json(type.children[1].type, pair[1])]
      ];
    case ArrowKind.dictionary:
    case ArrowKind.runs:
      return _json(type.item, value);
    default:
      return _text(type, value);
  }
}
