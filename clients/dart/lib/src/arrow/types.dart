/// Arrow's types as this library knows them, each with the text by which the test data names it.
library natsbridge.arrow.types;

import '../errors.dart';

/// The physical and logical kinds; `date32` and the like are one kind each
enum ArrowKind {
  nothing, boolean, integer, float, decimal, date32, date64, time, timestamp, duration, interval, utf8, binary, //
  fixedBinary, list, fixedList, struct, map, dictionary, runs
}

/// A unit of time; its index is Arrow's
enum TimeUnit {
  s(1),
  ms(1000),
  us(1000000),
  ns(1000000000);

  const TimeUnit(this.perSecond);

  final int perSecond;
}

/// How offsets are kept: 32 bits, 64 bits, or views
enum ArrowLayout { plain, large, view, largeView }

/// A type: what is not of its [kind] is not used
class ArrowType {
  const ArrowType(this.kind,
      {this.bits = 0,
      this.signed = true,
      this.precision = 0,
      this.scale = 0,
      this.unit = TimeUnit.us,
      this.zone,
      this.layout = ArrowLayout.plain,
      this.size = 0,
      this.sorted = false,
      this.children = const [],
      this.index});

  static const nothing = ArrowType(ArrowKind.nothing);
  static const boolean = ArrowType(ArrowKind.boolean);
  static const int32 = ArrowType(ArrowKind.integer, bits: 32);
  static const int64 = ArrowType(ArrowKind.integer, bits: 64);
  static const uint64 = ArrowType(ArrowKind.integer, bits: 64, signed: false);
  static const float64 = ArrowType(ArrowKind.float, bits: 64);
  static const utf8 = ArrowType(ArrowKind.utf8);
  static const binary = ArrowType(ArrowKind.binary);
  static const date32 = ArrowType(ArrowKind.date32);

  final ArrowKind kind;

  /// Width of integers, floats, decimals and times; of intervals 32 (months), 64 (days and time), 128 (all three)
  final int bits;
  final bool signed;
  final int precision;
  final int scale;
  final TimeUnit unit;

  /// A timestamp's time zone; null where it has none
  final String? zone;
  final ArrowLayout layout;

  /// Bytes of a fixed-size binary, items of a fixed-size list
  final int size;

  /// A map's keys, or a dictionary's order
  final bool sorted;

  /// Of lists the item, of structs the fields, of maps key and value, of dictionaries and runs the value
  final List<ArrowField> children;

  /// Of dictionaries the index, of runs their ends
  final ArrowType? index;

  ArrowType get item => children.first.type;

  /// Whether 64-bit offsets are used
  bool get isLarge => layout == ArrowLayout.large || layout == ArrowLayout.largeView;

  bool get isView => layout == ArrowLayout.view || layout == ArrowLayout.largeView;

  /// As testdata/README.md writes it; [ArrowType.parse] reads it
  @override
  String toString() {
    final unitName = unit.name;
    final large = isLarge ? 'large_' : '';
    final view = isView ? '_view' : '';
    switch (kind) {
      case ArrowKind.nothing:
        return 'null';
      case ArrowKind.boolean:
        return 'bool';
      case ArrowKind.integer:
        return '${signed ? '' : 'u'}int$bits';
      case ArrowKind.float:
        return 'float$bits';
      case ArrowKind.decimal:
        return 'decimal$bits($precision,$scale)';
      case ArrowKind.date32:
      case ArrowKind.date64:
        return kind.name;
      case ArrowKind.time:
        return 'time$bits[$unitName]';
      case ArrowKind.timestamp:
        return zone == null ? 'timestamp[$unitName]' : 'timestamp[$unitName, $zone]';
      case ArrowKind.duration:
        return 'duration[$unitName]';
      case ArrowKind.interval:
        return 'interval[${bits == 32 ? 'year_month' : (bits == 64 ? 'day_time' : 'month_day_nano')}]';
      case ArrowKind.utf8:
      case ArrowKind.binary:
        return '$large${kind.name}$view';
      case ArrowKind.fixedBinary:
        return 'fixed_size_binary($size)';
      case ArrowKind.list:
        return '${large}list$view<$item>';
      case ArrowKind.fixedList:
        return 'fixed_size_list<$item, $size>';
      case ArrowKind.struct:
        return 'struct<${[for (final field in children) '${field.name}: ${field.type}'].join(', ')}>';
      case ArrowKind.map:
        return 'map<${children[0].type}, ${children[1].type}>';
      case ArrowKind.dictionary:
        return 'dictionary<$index, $item>';
      case ArrowKind.runs:
        return 'run_end_encoded<$index, $item>';
    }
  }

  /// Reads a type's text, such as `timestamp[ms, Europe/Berlin]`, `list<int32>`, `struct<a: utf8, b: bool>`
  static ArrowType parse(String text) => _Words(text).all();
}

/// A column's or a child's name, type and metadata
class ArrowField {
  const ArrowField(this.name, this.type, {this.nullable = true, this.metadata = const {}});

  final String name;
  final ArrowType type;
  final bool nullable;

  /// As an extension's name, `ARROW:extension:name`
  final Map<String, String> metadata;

  bool get isUuid => metadata['ARROW:extension:name'] == 'arrow.uuid' && type.kind == ArrowKind.fixedBinary && type.size == 16;
}

class _Words {
  _Words(this.text);

  final String text;
  int at = 0;

  NATSBridgeException get odd => wrong('no Arrow type is called ${shown(text)}');

  ArrowType all() {
    final found = type();
    return at == text.length ? found : throw odd;
  }

  String word(RegExp what) {
    final found = what.matchAsPrefix(text, at) ?? (throw odd);
    at = found.end;
    return found[0]!;
  }

  void mark(String wanted) {
    if (!text.startsWith(wanted, at)) throw odd;
    at += wanted.length;
  }

  static const _flat = {
    'null': ArrowType.nothing,
    'bool': ArrowType.boolean,
    'date32': ArrowType.date32,
    'date64': ArrowType(ArrowKind.date64),
    'utf8': ArrowType.utf8,
    'large_utf8': ArrowType(ArrowKind.utf8, layout: ArrowLayout.large),
    'utf8_view': ArrowType(ArrowKind.utf8, layout: ArrowLayout.view),
    'binary': ArrowType.binary,
    'large_binary': ArrowType(ArrowKind.binary, layout: ArrowLayout.large),
    'binary_view': ArrowType(ArrowKind.binary, layout: ArrowLayout.view),
  };

  static const _lists = {
    'list': ArrowLayout.plain,
    'large_list': ArrowLayout.large,
    'list_view': ArrowLayout.view,
    'large_list_view': ArrowLayout.largeView,
  };

  ArrowType type() {
    final name = word(RegExp('[a-z_0-9]+'));
    final flat = _flat[name];
    if (flat != null) return flat;
    final number = RegExp(r'^(u?int|float|decimal|time)(8|16|32|64|128|256)$').firstMatch(name);
    if (number != null) return _number(number[1]!, int.parse(number[2]!));
    final layout = _lists[name];
    if (layout != null) {
      mark('<');
      final item = ArrowField('item', type());
      mark('>');
      return ArrowType(ArrowKind.list, layout: layout, children: [item]);
    }
    switch (name) {
      case 'timestamp':
        mark('[');
        final unit = _unit();
        String? zone;
        if (text.startsWith(', ', at)) {
          at += 2;
          zone = word(RegExp(r'[^\]]+'));
        }
        mark(']');
        return ArrowType(ArrowKind.timestamp, unit: unit, zone: zone);
      case 'duration':
        mark('[');
        final unit = _unit();
        mark(']');
        return ArrowType(ArrowKind.duration, unit: unit);
      case 'interval':
        final which = word(RegExp(r'\[(year_month|day_time|month_day_nano)\]'));
        return ArrowType(ArrowKind.interval, bits: which == '[year_month]' ? 32 : (which == '[day_time]' ? 64 : 128));
      case 'fixed_size_binary':
        mark('(');
        final size = _whole();
        mark(')');
        return ArrowType(ArrowKind.fixedBinary, size: size);
      case 'fixed_size_list':
        mark('<');
        final item = ArrowField('item', type());
        mark(', ');
        final size = _whole();
        mark('>');
        return ArrowType(ArrowKind.fixedList, size: size, children: [item]);
      case 'struct':
        return ArrowType(ArrowKind.struct, children: _fields());
      case 'map':
      case 'dictionary':
      case 'run_end_encoded':
        mark('<');
        final first = type();
        mark(', ');
        final second = type();
        mark('>');
        if (name == 'map') {
          return ArrowType(ArrowKind.map, children: [ArrowField('key', first, nullable: false), ArrowField('value', second)]);
        }
        if (first.kind != ArrowKind.integer) throw odd;
        final kind = name == 'dictionary' ? ArrowKind.dictionary : ArrowKind.runs;
        return ArrowType(kind, index: first, children: [ArrowField('value', second)]);
    }
    throw odd;
  }

  ArrowType _number(String name, int bits) {
    if (name.endsWith('int') && bits <= 64) return ArrowType(ArrowKind.integer, bits: bits, signed: name == 'int');
    if (name == 'float' && bits >= 16 && bits <= 64) return ArrowType(ArrowKind.float, bits: bits);
    if (name == 'decimal' && bits >= 32) {
      mark('(');
      final precision = _whole();
      mark(',');
      final scale = int.parse(word(RegExp('-?[0-9]{1,4}')));
      mark(')');
      return ArrowType(ArrowKind.decimal, bits: bits, precision: precision, scale: scale);
    }
    if (name == 'time' && (bits == 32 || bits == 64)) {
      mark('[');
      final unit = _unit();
      mark(']');
      if ((bits == 32) == (unit.index < 2)) return ArrowType(ArrowKind.time, bits: bits, unit: unit);
    }
    throw odd;
  }

  int _whole() => int.parse(word(RegExp('[0-9]{1,9}')));

  TimeUnit _unit() => TimeUnit.values.byName(word(RegExp('s|ms|us|ns')));

  List<ArrowField> _fields() {
    final found = <ArrowField>[];
    mark('<');
    while (!text.startsWith('>', at)) {
      if (found.isNotEmpty) mark(', ');
      final name = word(RegExp('[^:]*'));
      mark(': ');
      found.add(ArrowField(name, type()));
    }
    mark('>');
    return found;
  }
}

/// Bytes of a value whose type gives each the same
int widthOf(ArrowType type) {
  switch (type.kind) {
    case ArrowKind.date32:
      return 4;
    case ArrowKind.fixedBinary:
      return type.size;
    case ArrowKind.date64:
    case ArrowKind.timestamp:
    case ArrowKind.duration:
      return 8;
    default:
      return type.bits ~/ 8;
  }
}
