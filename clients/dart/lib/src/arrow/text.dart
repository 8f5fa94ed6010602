/// Texts of Arrow's values that Dart's own types don't hold: the same in every language (specification, section 3).
library natsbridge.arrow.text;

import 'types.dart';

/// A date, time, moment or length of time that [DateTime] or [Duration] can't hold exactly
class ArrowTime {
  const ArrowTime(this.stored, this.type);

  /// The number in the column, in the type's unit; days for `date32`
  final int stored;
  final ArrowType type;

  @override
  bool operator ==(Object other) => other is ArrowTime && other.stored == stored && '${other.type}' == '$type';

  @override
  int get hashCode => stored.hashCode;

  @override
  String toString() => timeText(type, stored) ?? '$stored';
}

/// A calendar interval: each part has its own sign
class ArrowInterval {
  const ArrowInterval(this.months, this.days, this.nanoseconds);

  final int months;
  final int days;
  final int nanoseconds;

  /// As the type says which parts there are
  String text(ArrowType type) {
    final time = '${secondsText(nanoseconds, TimeUnit.ns)}S';
    if (type.bits == 32) return 'P${months}M';
    return type.bits == 64 ? 'P${days}DT$time' : 'P${months}M${days}DT$time';
  }

  @override
  bool operator ==(Object other) =>
      other is ArrowInterval && other.months == months && other.days == days && other.nanoseconds == nanoseconds;

  @override
  int get hashCode => Object.hash(months, days, nanoseconds);

  @override
  String toString() => text(const ArrowType(ArrowKind.interval, bits: 128));
}

const _day = 86400;

/// A quotient that is rounded down, as Dart's `~/` is not
int floored(int value, int by) => value >= 0 ? value ~/ by : -((-(value + 1)) ~/ by) - 1;

String _two(int number) => number < 10 ? '0$number' : '$number';

/// A day counted from 1970-01-01, in the Gregorian calendar
String dateText(int days) {
  final shifted = days + 719468;
  final era = floored(shifted, 146097);
  final dayOfEra = shifted - era * 146097;
  final yearOfEra = (dayOfEra - dayOfEra ~/ 1460 + dayOfEra ~/ 36524 - dayOfEra ~/ 146096) ~/ 365;
  final dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra ~/ 4 - yearOfEra ~/ 100);
  final shiftedMonth = (5 * dayOfYear + 2) ~/ 153;
  final day = dayOfYear - (153 * shiftedMonth + 2) ~/ 5 + 1;
  final month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9;
  final year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  final text = year >= 0 && year <= 9999
      ? '$year'.padLeft(4, '0')
      : '${year < 0 ? '-' : '+'}${'${year.abs()}'.padLeft(6, '0')}';
  return '$text-${_two(month)}-${_two(day)}';
}

/// A time of the day with 0, 3, 6 or 9 digits; null for one beyond its day
String? clockText(int count, TimeUnit unit) {
  final seconds = floored(count, unit.perSecond);
  final fraction = count - seconds * unit.perSecond;
  if (seconds < 0 || seconds > _day || (seconds == _day && fraction > 0)) return null;
  final text = '${_two(seconds ~/ 3600)}:${_two(seconds ~/ 60 % 60)}:${_two(seconds % 60)}';
  if (fraction == 0) return text;
  var digits = '$fraction'.padLeft(3 * unit.index, '0');
  while (digits.endsWith('000')) {
    digits = digits.substring(0, digits.length - 3);
  }
  return '$text.$digits';
}

/// Seconds with as many digits as needed: `90`, `1.5`, `-0.001`
String secondsText(int count, TimeUnit unit) {
  final per = unit.perSecond;
  final seconds = count ~/ per; // towards zero, so that no number has to be turned that has no opposite
  final fraction = count.remainder(per).abs();
  final sign = count < 0 && seconds == 0 ? '-' : '';
  if (fraction == 0) return '$seconds';
  final digits = '$fraction'.padLeft(3 * unit.index, '0').replaceFirst(RegExp(r'0+$'), '');
  return '$sign$seconds.$digits';
}

String momentText(int count, ArrowType type) {
  final seconds = floored(count, type.unit.perSecond);
  final fraction = count - seconds * type.unit.perSecond;
  final days = floored(seconds, _day);
  final clock = clockText((seconds - days * _day) * type.unit.perSecond + fraction, type.unit);
  return '${dateText(days)}T$clock${type.zone == null ? '' : 'Z'}';
}

/// The text of a date, time, moment or duration; null for a time beyond its day
String? timeText(ArrowType type, int stored) {
  switch (type.kind) {
    case ArrowKind.date32:
      return dateText(stored);
    case ArrowKind.date64:
      return dateText(floored(stored, _day * 1000));
    case ArrowKind.time:
      return clockText(stored, type.unit);
    case ArrowKind.duration:
      return 'PT${secondsText(stored, type.unit)}S';
    default:
      return momentText(stored, type);
  }
}

/// A decimal with all digits of its scale
String decimalText(BigInt value, int scale) {
  if (scale <= 0) return '${value * BigInt.from(10).pow(-scale)}';
  final digits = '${value.abs()}'.padLeft(scale + 1, '0');
  final mark = digits.length - scale;
  return '${value.isNegative ? '-' : ''}${digits.substring(0, mark)}.${digits.substring(mark)}';
}
