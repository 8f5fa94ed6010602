//! Timestamps: written in UTC with milliseconds, read in every ISO 8601 form that a peer may write.

use time::{Date, Month, OffsetDateTime, Time, UtcOffset};

/// A written time: `2026-05-13T08:15:30.123Z`, without an allocation
pub(crate) type Written = [u8; 24];

/// Writes ISO 8601 UTC with milliseconds and `Z` (`docs/specification.md`, section 1)
pub(crate) fn write(at: OffsetDateTime) -> String {
    String::from_utf8_lossy(&written(at)).into_owned()
}

/// The same, for whoever has a place for it
pub(crate) fn written(at: OffsetDateTime) -> Written {
    let at = at.to_offset(UtcOffset::UTC);
    let (year, month, day) = at.date().to_calendar_date();
    let (hour, minute, second, millisecond) = at.time().as_hms_milli();
    let [[y0, y1], [y2, y3]] = [two(year.unsigned_abs() / 100), two(year.unsigned_abs())];
    let [[m0, m1], [d0, d1]] = [two(u8::from(month).into()), two(day.into())];
    let [[h0, h1], [i0, i1], [s0, s1]] = [hour, minute, second].map(|number| two(number.into()));
    let [[f0, f1], [_, f2]] = [two(u32::from(millisecond) / 10), two(millisecond.into())];
    [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T', h0, h1, b':', i0, i1, b':', s0, s1, b'.', f0, f1, f2, b'Z']
}

/// The last two digits of a number
fn two(number: u32) -> [u8; 2] {
    // A digit fits any integer.
    [number / 10 % 10, number % 10].map(|digit| b'0' + u8::try_from(digit).unwrap_or(0))
}

/// Reads date, time, 0 to 9 fraction digits, and an offset, `Z` or nothing (read as UTC)
pub(crate) fn read(text: &str) -> Option<OffsetDateTime> {
    let mut rest = Cursor(text.trim().as_bytes());
    let year = rest.number(4)?;
    rest.one_of(b"-")?;
    let month = Month::try_from(u8::try_from(rest.number(2)?).ok()?).ok()?;
    rest.one_of(b"-")?;
    let day = u8::try_from(rest.number(2)?).ok()?;
    rest.one_of(b"Tt ")?;
    let (hour, minute) = rest.hour_and_minute()?;
    rest.one_of(b":")?;
    let second = u8::try_from(rest.number(2)?).ok()?;
    let nanosecond = if rest.one_of(b".,").is_some() { rest.fraction()? } else { 0 };
    let offset = match rest.0 {
        [] | b"Z" | b"z" => UtcOffset::UTC,
        [sign @ (b'+' | b'-'), after @ ..] => {
            let mut after = Cursor(after);
            let hours = i8::try_from(after.number(2)?).ok()?;
            let _ = after.one_of(b":");
            let minutes = if after.0.is_empty() { 0 } else { i8::try_from(after.number(2)?).ok()? };
            if !after.0.is_empty() {
                return None;
            }
            let sign = if *sign == b'-' { -1 } else { 1 };
            UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok()?
        }
        _ => return None,
    };
    let date = Date::from_calendar_date(i32::try_from(year).ok()?, month, day).ok()?;
    let time = Time::from_hms_nano(hour, minute, second, nanosecond).ok()?;
    Some(date.with_time(time).assume_offset(offset))
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn number(&mut self, digits: usize) -> Option<u32> {
        let (head, tail) = self.0.split_at_checked(digits)?;
        self.0 = tail;
        head.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0')))
    }

    fn one_of(&mut self, accepted: &[u8]) -> Option<()> {
        let (first, tail) = self.0.split_first()?;
        accepted.contains(first).then(|| self.0 = tail)
    }

    fn hour_and_minute(&mut self) -> Option<(u8, u8)> {
        let hour = u8::try_from(self.number(2)?).ok()?;
        self.one_of(b":")?;
        Some((hour, u8::try_from(self.number(2)?).ok()?))
    }

    /// Up to nine digits, as nanoseconds; none at all is accepted, as the specification allows 0 digits
    fn fraction(&mut self) -> Option<u32> {
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 9 {
            return None;
        }
        let scale = 10_u32.pow(u32::try_from(9 - digits).ok()?);
        Some(self.number(digits)? * scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_forms_all_name_the_same_moment() {
        let moment = OffsetDateTime::from_unix_timestamp_nanos(1_778_660_130_120_000_000).unwrap();
        assert_eq!(write(moment), "2026-05-13T08:15:30.120Z");
        assert_eq!(write(moment + time::Duration::nanoseconds(4_999_999)), "2026-05-13T08:15:30.124Z");
        assert_eq!(write(Date::MAX.with_hms(23, 59, 59).unwrap().assume_utc()), "9999-12-31T23:59:59.000Z");
        assert_eq!(write(moment.to_offset(UtcOffset::from_hms(2, 0, 0).unwrap())), "2026-05-13T08:15:30.120Z");
        for text in [
            "2026-05-13T08:15:30.120Z",
            "2026-05-13T08:15:30.12",
            "2026-05-13 08:15:30.120000000z",
            "2026-05-13T10:15:30.12+02:00",
            "2026-05-13T03:45:30,12-0430",
            "2026-05-13T10:15:30.12+02",
        ] {
            assert_eq!(read(text), Some(moment), "{text}");
        }
        assert!(read("2026-05-13T08:15:30Z").is_some() && read("2026-05-13T08:15:30.Z").is_some());
    }

    #[test]
    fn text_that_is_no_time_is_none() {
        for text in [
            "",
            "now",
            "2026-05-13",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-05-13T25:00:00Z",
            "2026-05-13T08:15:30.1234567890Z",
            "2026-05-13T08:15:30Zx",
            "2026-05-13T08:15:30+99:99",
            "２０26-05-13T08:15:30Z",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
