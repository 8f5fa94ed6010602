//! Dates, times, durations and intervals as the one text that every language writes (docs/specification.md, section 3).

use arrow_array::types::{IntervalDayTime, IntervalMonthDayNano};
use arrow_schema::TimeUnit;

const DAY: i64 = 86_400;

/// Digits behind the point that a unit needs
pub(super) const fn digits(unit: TimeUnit) -> usize {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// Units in a second
const fn scale(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// A day counted from 1970-01-01; years outside 0 to 9999 have a sign and at least six digits, as ISO 8601 writes them
pub(super) fn date(days: i64) -> String {
    let mut text = String::with_capacity(10);
    put_date(&mut text, days);
    text
}

/// The day of a moment that counts milliseconds; its time is not part of a date
pub(super) fn date_of_milliseconds(milliseconds: i64) -> String {
    date(milliseconds.div_euclid(DAY * 1_000))
}

/// A moment counted from 1970-01-01T00:00:00; `zone` goes behind it
pub(super) fn moment(value: i64, unit: TimeUnit, zone: &str) -> String {
    let (seconds, rest) = (value.div_euclid(scale(unit)), value.rem_euclid(scale(unit)));
    let mut text = String::with_capacity(30);
    put_date(&mut text, seconds.div_euclid(DAY));
    text.push('T');
    put_clock(&mut text, seconds.rem_euclid(DAY), rest, unit);
    text.push_str(zone);
    text
}

/// A time of day, up to and with `24:00:00`; `None` for what is none
pub(super) fn time_of_day(value: i64, unit: TimeUnit) -> Option<String> {
    let is_time = (0..=DAY * scale(unit)).contains(&value);
    is_time.then(|| {
        let mut text = String::with_capacity(18);
        put_clock(&mut text, value.div_euclid(scale(unit)), value.rem_euclid(scale(unit)), unit);
        text
    })
}

fn put_date(text: &mut String, days: i64) {
    let (year, month, day) = civil(days);
    if !(0..=9999).contains(&year) {
        text.push(if year < 0 { '-' } else { '+' });
        put(text, year.abs(), 6);
    } else {
        put(text, year, 4);
    }
    text.push('-');
    put(text, month, 2);
    text.push('-');
    put(text, day, 2);
}

/// Hours, minutes and seconds, with 0, 3, 6 or 9 digits of a fraction, as few as hold it
fn put_clock(text: &mut String, seconds: i64, rest: i64, unit: TimeUnit) {
    put(text, seconds / 3600, 2);
    text.push(':');
    put(text, seconds / 60 % 60, 2);
    text.push(':');
    put(text, seconds % 60, 2);
    let nanoseconds = rest * (1_000_000_000 / scale(unit));
    let (fraction, width) = match nanoseconds {
        0 => return,
        n if n % 1_000_000 == 0 => (n / 1_000_000, 3),
        n if n % 1_000 == 0 => (n / 1_000, 6),
        n => (n, 9),
    };
    text.push('.');
    put(text, fraction, width);
}

/// Writes a number of at least so many digits, 9 at most; a table has millions of them, and `format!` takes most of their time
fn put(text: &mut String, number: i64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number);
    text.push_str("000000000".get(digits.len()..width).unwrap_or_default());
    text.push_str(digits);
}

/// An ISO 8601 duration in seconds
pub(super) fn duration(value: i64, unit: TimeUnit) -> String {
    format!("P{}", seconds(value, digits(unit)))
}

pub(super) fn months(months: i32) -> String {
    format!("P{months}M")
}

pub(super) fn days_and_time(interval: IntervalDayTime) -> String {
    format!("P{}D{}", interval.days, seconds(interval.milliseconds.into(), 3))
}

pub(super) fn months_days_and_time(interval: IntervalMonthDayNano) -> String {
    format!("P{}M{}D{}", interval.months, interval.days, seconds(interval.nanoseconds, 9))
}

/// The time part of an ISO 8601 duration: seconds with as many digits behind the point as it needs
fn seconds(value: i64, digits: usize) -> String {
    let scale = 10_u64.pow(u32::try_from(digits).unwrap_or_default());
    let (sign, value) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
    let fraction = format!("{:0digits$}", value % scale);
    let fraction = if digits == 0 { "" } else { fraction.trim_end_matches('0') };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("T{sign}{}{point}{fraction}S", value / scale)
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar carried on both ways
///
/// Counted in eras of 400 years, which all have the same number of days, from 1 March of year 0.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, text) in [
            (0, "1970-01-01"),
            (20_586, "2026-05-13"),
            (-719_528, "0000-01-01"),
            (-719_529, "-000001-12-31"),
            (2_932_896, "9999-12-31"),
            (2_932_897, "+010000-01-01"),
            (11_016, "2000-02-29"),
            (i64::from(i32::MAX), "+5881580-07-11"),
            (i64::from(i32::MIN), "-5877641-06-23"),
        ] {
            assert_eq!(date(days), text);
        }
        // Each day follows the one before, over more than one era.
        let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let (mut year, mut month, mut day) = (1600, 1, 1);
        for days in -135_140..160_000 {
            assert_eq!(civil(days), (year, month, day));
            let last = match month {
                2 => 28 + i64::from(leap(year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > last {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn moments_have_a_text_at_both_ends_of_their_range() {
        use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
        for (value, unit, text) in [
            (1_778_660_130, Second, "2026-05-13T08:15:30"),
            (-1, Millisecond, "1969-12-31T23:59:59.999"),
            (-1, Nanosecond, "1969-12-31T23:59:59.999999999"),
            (1_500, Microsecond, "1970-01-01T00:00:00.001500"),
            (253_402_300_800, Second, "+010000-01-01T00:00:00"),
            (-62_167_219_201, Second, "-000001-12-31T23:59:59"),
            (i64::MAX, Second, "+292277026596-12-04T15:30:07"),
            (i64::MIN, Second, "-292277022657-01-27T08:29:52"),
            (i64::MAX, Nanosecond, "2262-04-11T23:47:16.854775807"),
            (i64::MIN, Microsecond, "-290308-12-21T19:59:05.224192"),
        ] {
            assert_eq!(moment(value, unit, ""), text);
            assert_eq!(moment(value, unit, "Z"), format!("{text}Z"));
        }
    }

    #[test]
    fn times_end_with_midnight() {
        use TimeUnit::{Millisecond, Nanosecond, Second};
        for (value, unit, text) in [
            (0, Second, Some("00:00:00")),
            (86_399, Second, Some("23:59:59")),
            (86_400, Second, Some("24:00:00")),
            (86_401, Second, None),
            (-1, Second, None),
            (29_730_500, Millisecond, Some("08:15:30.500")),
            (86_400_000_000_000, Nanosecond, Some("24:00:00")),
            (86_400_000_000_001, Nanosecond, None),
            (i64::MIN, Nanosecond, None),
        ] {
            assert_eq!(time_of_day(value, unit).as_deref(), text);
        }
    }

    #[test]
    fn spans_keep_their_sign_and_as_many_digits_as_they_need() {
        assert_eq!(duration(1_500, TimeUnit::Millisecond), "PT1.5S");
        assert_eq!(duration(-1, TimeUnit::Nanosecond), "PT-0.000000001S");
        assert_eq!(duration(i64::MIN, TimeUnit::Second), "PT-9223372036854775808S");
        assert_eq!(months(-14), "P-14M");
        assert_eq!(days_and_time(IntervalDayTime::new(1, -500)), "P1DT-0.5S");
        assert_eq!(months_days_and_time(IntervalMonthDayNano::new(0, -2, 0)), "P0M-2DT0S");
    }
}
