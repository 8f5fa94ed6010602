/// A table in columns, which is a list of rows to whoever reads it.
library natsbridge.arrow.table;

import 'dart:collection';
import 'dart:typed_data';

import '../errors.dart';
import '../text.dart';
import 'infer.dart';
import 'text.dart';
import 'types.dart';

/// An `arrowtable`: rows as maps, with the columns' exact types beside them, so that a table that is sent on stays what it is.
///
/// Rows are made when they are asked for. Two columns of one name have no row: ask [columns] for their values.
class ArrowTable extends ListBase<Map<String, Object?>> {
  ArrowTable(this.columns, {int? rows, this.metadata = const {}, this.dictionaries = const {}})
      : rows = rows ?? (columns.isEmpty ? 0 : columns.first.stored.length) {
    for (final column in columns) {
      final count = column.stored.length;
      if (count != this.rows) throw wrong('the columns of a table have different lengths: ${shown(column.name)} has $count rows, not ${this.rows}');
    }
  }

  /// From rows; columns stand in the order in which rows first name them. [types] says a column's type where the guess
  /// would be another one: `{'day': 'date32', 'word': 'dictionary<int32, utf8>'}`.
  factory ArrowTable.fromRows(List<Map<Object?, Object?>> rows, {Map<String, String> types = const {}}) =>
      tableOf(rows, types: {for (final entry in types.entries) entry.key: ArrowType.parse(entry.value)});

  final List<ArrowColumn> columns;
  final int rows;

  /// The schema's own metadata, as pandas and others write it
  final Map<String, String> metadata;

  /// The words of dictionary columns, by their type's identity, so that a table that is sent on keeps their order
  final Map<ArrowType, List<Object?>> dictionaries;

  late final String? _repeated = () {
    final known = <String>{};
    for (final column in columns) {
      if (!known.add(column.name)) return column.name;
    }
    return null;
  }();

  @override
  int get length => rows;

  @override
  set length(int _) => throw UnsupportedError('an ArrowTable is read, not changed; make a list of it');

  @override
  void operator []=(int _, Map<String, Object?> __) =>
      throw UnsupportedError('an ArrowTable is read, not changed; make a list of it');

  @override
  Map<String, Object?> operator [](int index) {
    RangeError.checkValidIndex(index, this, 'row', rows);
    _checkNames();
    return {for (final column in columns) column.name: column[index]};
  }

  /// The first column of this name
  ArrowColumn column(String name) => columns.firstWhere((column) => column.name == name,
      orElse: () => throw wrong('the table has no column ${shown(name)}'));

  /// Rows as JSON has them (specification, section 3)
  List<Map<String, Object?>> toJsonRows() {
    _checkNames();
    final cells = [
      for (final column in columns) [for (final value in column.stored) jsonValue(column.name, column.field, value)]
    ];
    return [
      for (var row = 0; row < rows; row++)
        {for (var at = 0; at < columns.length; at++) columns[at].name: cells[at][row]}
    ];
  }

  void _checkNames() {
    if (_repeated != null) throw unconvertible(_repeated!, 'two columns have this name; a row would lose one');
  }
}

/// A column: [stored] holds the numbers that Arrow holds, `[]` what Dart has for them
class ArrowColumn {
  ArrowColumn(this.field, this.stored);

  final ArrowField field;

  /// null, bool, int, [BigInt] (uint64 beyond 63 bits, decimals without their scale), double, String, [Uint8List],
  /// [ArrowInterval], a list of items, of a struct's fields in order, or of a map's `[key, value]`
  final List<Object?> stored;

  String get name => field.name;
  ArrowType get type => field.type;

  Object? operator [](int row) => present(field, stored[row]);

  List<Object?> get values => [for (final value in stored) present(field, value)];
}

NATSBridgeException unconvertible(String column, String why) =>
    NATSBridgeException('unconvertible', 'column ${shown(column)}: $why');

const _farDays = 100000000;
const _farMillis = _farDays * 86400000;

/// What Dart has for a stored value
Object? present(ArrowField field, Object? value) {
  final type = field.type;
  switch (type.kind) {
    case ArrowKind.nothing:
    case ArrowKind.boolean:
    case ArrowKind.integer:
    case ArrowKind.float:
    case ArrowKind.utf8:
    case ArrowKind.binary:
    case ArrowKind.interval:
      return value;
    default:
      break;
  }
  if (value == null) return null;
  switch (type.kind) {
    case ArrowKind.fixedBinary:
      return field.isUuid ? uuidOf(value as Uint8List) : value;
    case ArrowKind.decimal:
      return decimalText(value as BigInt, type.scale);
    case ArrowKind.date32:
      final days = value as int;
      if (days.abs() > _farDays) return ArrowTime(days, type);
      return DateTime.fromMillisecondsSinceEpoch(days * 86400000, isUtc: true);
    case ArrowKind.date64:
      return _moment(value as int, TimeUnit.ms) ?? ArrowTime(value, type);
    case ArrowKind.timestamp:
      return _moment(value as int, type.unit) ?? ArrowTime(value, type);
    case ArrowKind.time:
    case ArrowKind.duration:
      final micros = _micros(value as int, type.unit);
      return micros == null ? ArrowTime(value, type) : Duration(microseconds: micros);
    case ArrowKind.dictionary:
    case ArrowKind.runs:
      return present(type.children.first, value);
    case ArrowKind.list:
    case ArrowKind.fixedList:
      final item = type.children.first;
      return [for (final one in value as List) present(item, one)];
    case ArrowKind.struct:
      final parts = value as List;
      final found = <String, Object?>{};
      for (var at = 0; at < parts.length; at++) {
        final child = type.children[at];
        if (found.containsKey(child.name)) throw unconvertible(field.name, 'two fields are called ${shown(child.name)}');
        found[child.name] = present(child, parts[at]);
      }
      return found;
    case ArrowKind.map:
      final found = <Object?, Object?>{};
      for (final pair in (value as List).cast<List<Object?>>()) {
        found[present(type.children[0], pair[0])] = present(type.children[1], pair[1]);
      }
      if (found.length == value.length) return found;
      return [
        for (final pair in value.cast<List<Object?>>())
          {'key': present(type.children[0], pair[0]), 'value': present(type.children[1], pair[1])}
      ];
    default:
      return value;
  }
}

/// Microseconds, where they are exact and in the range of [Duration]
int? _micros(int value, TimeUnit unit) {
  switch (unit) {
    case TimeUnit.s:
      return value.abs() <= _farMillis ~/ 1000 ? value * 1000000 : null;
    case TimeUnit.ms:
      return value.abs() <= _farMillis ? value * 1000 : null;
    case TimeUnit.us:
      return value;
    case TimeUnit.ns:
      return value.remainder(1000) == 0 ? value ~/ 1000 : null;
  }
}

DateTime? _moment(int value, TimeUnit unit) {
  final micros = _micros(value, unit);
  if (micros == null || micros > _farMillis * 1000 || micros < -_farMillis * 1000) return null;
  return DateTime.fromMicrosecondsSinceEpoch(micros, isUtc: true);
}

/// What JSON has for a stored value of a column
Object? jsonValue(String column, ArrowField field, Object? value) {
  if (value == null) return null;
  final type = field.type;
  switch (type.kind) {
    case ArrowKind.nothing:
    case ArrowKind.boolean:
    case ArrowKind.integer:
    case ArrowKind.utf8:
      return value;
    case ArrowKind.float:
      return (value as double).isFinite ? value : null;
    case ArrowKind.decimal:
      return decimalText(value as BigInt, type.scale);
    case ArrowKind.binary:
      return hexOf(value as Uint8List);
    case ArrowKind.fixedBinary:
      return field.isUuid ? uuidOf(value as Uint8List) : hexOf(value as Uint8List);
    case ArrowKind.date32:
    case ArrowKind.date64:
    case ArrowKind.time:
    case ArrowKind.timestamp:
    case ArrowKind.duration:
      return timeText(type, value as int) ?? (throw unconvertible(column, 'a time beyond the end of its day'));
    case ArrowKind.interval:
      return (value as ArrowInterval).text(type);
    case ArrowKind.dictionary:
    case ArrowKind.runs:
      return jsonValue(column, type.children.first, value);
    case ArrowKind.list:
    case ArrowKind.fixedList:
      return [for (final one in value as List) jsonValue(column, type.children.first, one)];
    case ArrowKind.struct:
      final parts = value as List;
      final found = <String, Object?>{};
      for (var at = 0; at < parts.length; at++) {
        final child = type.children[at];
        if (found.containsKey(child.name)) throw unconvertible(column, 'two fields are called ${shown(child.name)}');
        found[child.name] = jsonValue(column, child, parts[at]);
      }
      return found;
    case ArrowKind.map:
      final pairs = (value as List).cast<List<Object?>>();
      var key = type.children[0].type;
      while (key.kind == ArrowKind.dictionary || key.kind == ArrowKind.runs) {
        key = key.item;
      }
      Object? of(int at, Object? one) => jsonValue(column, type.children[at], one);
      if (key.kind != ArrowKind.utf8) return [for (final pair in pairs) {'key': of(0, pair[0]), 'value': of(1, pair[1])}];
      final found = <String, Object?>{};
      for (final pair in pairs) {
        final name = pair[0];
        if (name is! String) throw unconvertible(column, 'a map has a key that is null');
        if (found.containsKey(name)) throw unconvertible(column, 'a map has the key ${shown(name)} twice');
        found[name] = of(1, pair[1]);
      }
      return found;
  }
}
