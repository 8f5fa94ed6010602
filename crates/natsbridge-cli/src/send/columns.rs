//! What a CSV column is: a type only where every cell's text can be made from the typed value again, else text.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{
    BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, PrimitiveBuilder, StringBuilder, UInt64Builder,
};
use arrow_array::types::{
    ArrowTimestampType, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow_schema::{DataType, TimeUnit};
use time::{Date, Month};

/// The most digits a number may have that is sent as a float: what `%.18e` writes
const MAX_DIGITS: usize = 19;

/// The Julian day of 1970-01-01
const EPOCH: i32 = 2_440_588;

/// What a column's cells have been so far: each sort that all of them still could be
#[derive(Debug)]
pub(super) struct Guess {
    empty: bool,
    boolean: bool,
    integer: bool,
    negative: bool,
    /// Whether an integer is above what 64 bits with a sign hold
    large: bool,
    float: Floats,
    date: bool,
    moment: Moments,
}

/// What the cells have in common as floats
#[derive(Debug, Default)]
struct Floats {
    not: bool,
    /// Digits behind the point, where all cells so far have as many
    decimals: Option<usize>,
    uneven: bool,
    /// Whether a cell ends with a zero that the number does not need, as in `1.10`
    padded: bool,
    /// Whether a whole number is written as `1.0`, or as `1`
    pointed: bool,
    plain: bool,
    /// Whether a cell looks like nothing but a number: it has a point, or an exponent with a sign
    certain: bool,
}

/// What the cells have in common as moments
#[derive(Debug, Default)]
struct Moments {
    not: bool,
    utc: bool,
    local: bool,
    /// Digits of a second's fraction, where a cell has one
    digits: usize,
    uneven: bool,
    /// Whether a fraction is zero, or left out
    zero: bool,
    whole: bool,
    /// Whether a moment is too far away to be counted in nanoseconds
    far: bool,
}

/// What a column is sent as
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Boolean,
    Int64,
    UInt64,
    Float64,
    Date,
    Moment { unit: TimeUnit, utc: bool },
}

impl Guess {
    /// Before any cell everything is possible
    pub(super) fn new() -> Self {
        Self {
            empty: true,
            boolean: true,
            integer: true,
            negative: false,
            large: false,
            float: Floats::default(),
            date: true,
            moment: Moments::default(),
        }
    }

    /// Looks at a further cell; an empty one says nothing
    pub(super) fn look_at(&mut self, cell: &str) {
        if cell.is_empty() {
            return;
        }
        self.empty = false;
        self.boolean &= matches!(cell, "true" | "false");
        if self.integer {
            match integer(cell) {
                Some(value) => {
                    self.negative |= value < 0;
                    self.large |= value > i128::from(i64::MAX);
                }
                None => self.integer = false,
            }
        }
        self.float.look_at(cell);
        self.date &= date(cell).is_some();
        self.moment.look_at(cell);
    }

    /// The sort that all cells are
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self { empty: true, .. } => Kind::Text,
            Self { boolean: true, .. } => Kind::Boolean,
            Self { integer: true, large: false, .. } => Kind::Int64,
            Self { integer: true, negative: false, .. } => Kind::UInt64,
            Self { date: true, .. } => Kind::Date,
            _ => match self.moment.unit() {
                Some(unit) => Kind::Moment { unit, utc: self.moment.utc },
                None if !self.integer && self.float.are() => Kind::Float64,
                None => Kind::Text,
            },
        }
    }
}

impl Floats {
    fn look_at(&mut self, cell: &str) {
        if self.not {
            return;
        }
        let Some(number) = Number::read(cell).filter(|number| number.is_kept(cell)) else {
            self.not = true;
            return;
        };
        self.certain |= number.fraction.is_some() || number.signed_exponent;
        let decimals = number.fraction.map_or(0, str::len);
        match number.fraction {
            None => self.plain |= !number.has_exponent,
            Some("0") => self.pointed = true,
            Some(fraction) => self.padded |= fraction.ends_with('0'),
        }
        self.uneven |= self.decimals.replace(decimals).is_some_and(|before| before != decimals);
    }

    /// Zeros at the end can be written again only where all cells have as many digits behind the point, or where whole
    /// numbers alone have one
    const fn are(&self) -> bool {
        let zeros_lost = (self.padded && self.uneven) || (self.pointed && self.plain);
        self.certain && !self.not && !zeros_lost
    }
}

/// A decimal number as it is written
struct Number<'a> {
    whole: &'a str,
    fraction: Option<&'a str>,
    has_exponent: bool,
    signed_exponent: bool,
}

impl<'a> Number<'a> {
    /// As JSON writes numbers, an exponent only behind one digit: `12e5` is a code, not a number
    fn read(cell: &'a str) -> Option<Self> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let unsigned = cell.strip_prefix('-').unwrap_or(cell);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (unsigned, None),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (mantissa, None),
        };
        let zeros = whole.len() > 1 && whole.starts_with('0');
        let power = exponent.map(|exponent| exponent.trim_start_matches(['+', '-']));
        let fits = digits(whole)
            && !zeros
            && fraction.is_none_or(digits)
            && power.is_none_or(digits)
            && (exponent.is_none() || whole.len() == 1);
        let signed_exponent = exponent.is_some_and(|exponent| exponent.starts_with(['+', '-']));
        let twice = exponent.zip(power).is_some_and(|(exponent, power)| exponent.len() - power.len() > 1);
        // A whole number has no negative zero.
        (fits && !twice && cell != "-0").then_some(Self {
            whole,
            fraction,
            has_exponent: exponent.is_some(),
            signed_exponent,
        })
    }

    /// Whether the float has the same digits, written with as many of them
    fn is_kept(&self, cell: &str) -> bool {
        let Ok(value) = cell.parse::<f64>() else { return false };
        let written: Vec<u8> =
            self.whole.bytes().chain(self.fraction.unwrap_or_default().bytes()).skip_while(|b| *b == b'0').collect();
        if written.is_empty() {
            return value == 0.0;
        }
        if !value.is_finite() || value == 0.0 || written.len() > MAX_DIGITS {
            return false;
        }
        let again = format!("{:.*e}", written.len() - 1, value);
        let again = again.split('e').next().unwrap_or_default().bytes().filter(u8::is_ascii_digit);
        again.eq(written.iter().copied())
    }
}

impl Moments {
    fn look_at(&mut self, cell: &str) {
        if self.not {
            return;
        }
        let Some(moment) = Moment::read(cell) else {
            self.not = true;
            return;
        };
        self.utc |= moment.utc;
        self.local |= !moment.utc;
        self.far |= !(1_678..=2_261).contains(&moment.date.year());
        if moment.fraction.is_empty() {
            self.whole = true;
        } else {
            self.uneven |= self.digits != 0 && self.digits != moment.fraction.len();
            self.digits = moment.fraction.len();
            self.zero |= moment.fraction.bytes().all(|digit| digit == b'0');
        }
    }

    /// The unit that every cell can be written from again
    const fn unit(&self) -> Option<TimeUnit> {
        // Some writers leave out a fraction that is zero; where others write one, what was written is not known any more.
        if self.not || (self.utc && self.local) || self.uneven || (self.whole && self.zero) {
            return None;
        }
        match self.digits {
            0 => Some(TimeUnit::Second),
            3 => Some(TimeUnit::Millisecond),
            6 => Some(TimeUnit::Microsecond),
            9 if !self.far => Some(TimeUnit::Nanosecond),
            _ => None,
        }
    }
}

/// `2026-01-31T08:15:30`, with a fraction of the second or not, with `Z` or not
struct Moment<'a> {
    date: Date,
    seconds: i64,
    fraction: &'a str,
    utc: bool,
}

impl<'a> Moment<'a> {
    fn read(cell: &'a str) -> Option<Self> {
        let (day, clock) = cell.split_once('T')?;
        let date = date(day)?;
        let (clock, utc) = clock.strip_suffix('Z').map_or((clock, false), |clock| (clock, true));
        let (clock, fraction) = match clock.split_once('.') {
            Some((_, "")) => return None,
            Some((clock, fraction)) => (clock, fraction),
            None => (clock, ""),
        };
        if clock.len() != 8 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let mut parts = clock.split(':');
        let mut part = |limit: u8| two_digits(parts.next()?).filter(|value| *value < limit).map(i64::from);
        let seconds = part(24)? * 3_600 + part(60)? * 60 + part(60)?;
        parts.next().is_none().then_some(Self { date, seconds, fraction, utc })
    }

    fn count(&self, unit: TimeUnit) -> Option<i64> {
        let seconds = i64::from(days(self.date)) * 86_400 + self.seconds;
        let (scale, digits) = match unit {
            TimeUnit::Second => (1, 0),
            TimeUnit::Millisecond => (1_000, 3),
            TimeUnit::Microsecond => (1_000_000, 6),
            TimeUnit::Nanosecond => (1_000_000_000, 9),
        };
        let fraction = if self.fraction.is_empty() { Some(0) } else { self.fraction.parse().ok() };
        // Every fraction has as many digits as the unit, or is left out.
        debug_assert!(
            self.fraction.is_empty() || self.fraction.len() == digits,
            "the unit was chosen by the fractions"
        );
        seconds.checked_mul(scale)?.checked_add(fraction?)
    }
}

fn two_digits(text: &str) -> Option<u8> {
    (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// `2026-01-31`
fn date(cell: &str) -> Option<Date> {
    let (year, rest) = cell.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    if year.len() != 4 || !year.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let month = Month::try_from(two_digits(month)?).ok()?;
    Date::from_calendar_date(year.parse().ok()?, month, two_digits(day)?).ok()
}

/// Days since 1970-01-01
const fn days(date: Date) -> i32 {
    date.to_julian_day() - EPOCH
}

/// An integer that is written as such, of at most 64 bits
fn integer(cell: &str) -> Option<i128> {
    if cell.len() > 20 {
        return None;
    }
    let value: i128 = cell.parse().ok()?;
    let fits = (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&value);
    (fits && value.to_string() == cell).then_some(value)
}

impl Kind {
    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Boolean => DataType::Boolean,
            Self::Int64 => DataType::Int64,
            Self::UInt64 => DataType::UInt64,
            Self::Float64 => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::Moment { unit, utc } => DataType::Timestamp(unit, utc.then(|| Arc::from("UTC"))),
        }
    }
}

/// A column of typed values that is being filled
#[derive(Debug)]
pub(super) enum Column {
    Text(StringBuilder),
    Boolean(BooleanBuilder),
    Int64(Int64Builder),
    UInt64(UInt64Builder),
    Float64(Float64Builder),
    Date(Date32Builder),
    Seconds(PrimitiveBuilder<TimestampSecondType>),
    Milliseconds(PrimitiveBuilder<TimestampMillisecondType>),
    Microseconds(PrimitiveBuilder<TimestampMicrosecondType>),
    Nanoseconds(PrimitiveBuilder<TimestampNanosecondType>),
}

impl Column {
    pub(super) fn new(kind: Kind) -> Self {
        fn moments<T: ArrowTimestampType>(kind: Kind) -> PrimitiveBuilder<T> {
            PrimitiveBuilder::new().with_data_type(kind.data_type())
        }
        match kind {
            Kind::Text => Self::Text(StringBuilder::new()),
            Kind::Boolean => Self::Boolean(BooleanBuilder::new()),
            Kind::Int64 => Self::Int64(Int64Builder::new()),
            Kind::UInt64 => Self::UInt64(UInt64Builder::new()),
            Kind::Float64 => Self::Float64(Float64Builder::new()),
            Kind::Date => Self::Date(Date32Builder::new()),
            Kind::Moment { unit: TimeUnit::Second, .. } => Self::Seconds(moments(kind)),
            Kind::Moment { unit: TimeUnit::Millisecond, .. } => Self::Milliseconds(moments(kind)),
            Kind::Moment { unit: TimeUnit::Microsecond, .. } => Self::Microseconds(moments(kind)),
            Kind::Moment { unit: TimeUnit::Nanosecond, .. } => Self::Nanoseconds(moments(kind)),
        }
    }

    /// Adds a cell, which was looked at before; an empty one is null
    pub(super) fn add(&mut self, cell: &str) {
        let moment = |unit| Moment::read(cell).and_then(|moment| moment.count(unit));
        match self {
            Self::Text(cells) => cells.append_option((!cell.is_empty()).then_some(cell)),
            Self::Boolean(cells) => cells.append_option(cell.parse().ok()),
            Self::Int64(cells) => cells.append_option(cell.parse().ok()),
            Self::UInt64(cells) => cells.append_option(cell.parse().ok()),
            Self::Float64(cells) => cells.append_option(cell.parse().ok()),
            Self::Date(cells) => cells.append_option(date(cell).map(days)),
            Self::Seconds(cells) => cells.append_option(moment(TimeUnit::Second)),
            Self::Milliseconds(cells) => cells.append_option(moment(TimeUnit::Millisecond)),
            Self::Microseconds(cells) => cells.append_option(moment(TimeUnit::Microsecond)),
            Self::Nanoseconds(cells) => cells.append_option(moment(TimeUnit::Nanosecond)),
        }
    }

    /// The cells added so far; the column is empty afterwards
    pub(super) fn take(&mut self) -> ArrayRef {
        match self {
            Self::Text(cells) => Arc::new(cells.finish()),
            Self::Boolean(cells) => Arc::new(cells.finish()),
            Self::Int64(cells) => Arc::new(cells.finish()),
            Self::UInt64(cells) => Arc::new(cells.finish()),
            Self::Float64(cells) => Arc::new(cells.finish()),
            Self::Date(cells) => Arc::new(cells.finish()),
            Self::Seconds(cells) => Arc::new(cells.finish()),
            Self::Milliseconds(cells) => Arc::new(cells.finish()),
            Self::Microseconds(cells) => Arc::new(cells.finish()),
            Self::Nanoseconds(cells) => Arc::new(cells.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(cells: &[&str]) -> Kind {
        let mut guess = Guess::new();
        cells.iter().for_each(|cell| guess.look_at(cell));
        guess.kind()
    }

    const fn moment(unit: TimeUnit, utc: bool) -> Kind {
        Kind::Moment { unit, utc }
    }

    #[test]
    fn cells_become_typed_where_the_type_keeps_their_form() {
        let utc = |unit| moment(unit, true);
        for (cells, expected) in [
            (&["1", "", "-20"][..], Kind::Int64),
            (&["9223372036854775807", "-9223372036854775808"], Kind::Int64),
            (&["18446744073709551615", "0"], Kind::UInt64),
            (&["0.5", "1e3", "2", "-1.5e-7"], Kind::Float64),
            (&["0.50", "1.25", "-3.00"], Kind::Float64),
            (&["0.5", "1.0", "12.25", "1e-07"], Kind::Float64),
            (&["0.000047430", "0.000056805"], Kind::Float64),
            (&["1.000000000000000056e-01", "0.000000000000000000e+00"], Kind::Float64),
            (&["1e-5", "2e-10"], Kind::Float64),
            (&["0.30000000000000004", "5e-324", "-0.0"], Kind::Float64),
            (&["true", "false", ""], Kind::Boolean),
            (&["2026-01-31", "1900-12-01", "9999-12-31"], Kind::Date),
            (&["2026-01-31T08:15:30", "0001-01-01T00:00:00"], moment(TimeUnit::Second, false)),
            (&["2026-01-31T08:15:30Z"], utc(TimeUnit::Second)),
            (&["2026-01-31T08:15:30.000Z", "2026-01-31T08:15:30.120Z"], utc(TimeUnit::Millisecond)),
            (&["2026-01-31T08:15:30Z", "2026-01-31T08:15:30.000120Z"], utc(TimeUnit::Microsecond)),
            (&["2026-01-31T08:15:30.123456789"], moment(TimeUnit::Nanosecond, false)),
        ] {
            assert_eq!(kind(cells), expected, "{cells:?}");
        }
    }

    #[test]
    fn cells_stay_text_where_a_type_would_lose_their_form() {
        for cells in [
            &[""][..],
            &["02134", "10001"],
            &["+491701234567"],
            &["007", "7"],
            &["-0"],
            &["00"],
            &["1e400"],
            &["1e-400", "0.5"],
            &["123456789012345678901234567890"],
            &["18446744073709551616"],
            &["18446744073709551615", "-1"],
            &["0.1000000000000000055511151231257827"],
            &["9007199254740993", "0.5"],
            &["1.10", "1.9"],
            &["1.0", "2"],
            &["1.0", "2.50"],
            &["12e5", "0.5"],
            &["1e3", "2e10"],
            &["1e3", "7"],
            &["1_000"],
            &["1,000"],
            &["0x1F"],
            &["NaN", "1.5"],
            &["Inf"],
            &["infinity", "-inf"],
            &[".5"],
            &["5."],
            &["1 ", "2"],
            &["1", "a"],
            &["True", "False"],
            &["yes"],
            &["1", "true"],
            &["31.01.2026"],
            &["2026-1-31"],
            &["2026-02-30"],
            &["20260131", "2026-01-31"],
            &["2026-01-31", "2026-01-31T08:15:30"],
            &["2026-03-29T01:30:00+0100"],
            &["2026-03-29T01:30:00+01:00", "2026-03-29T01:30:00Z"],
            &["2026-03-29T01:30:00Z", "2026-03-29T01:30:00"],
            &["2026-03-29 01:30:00"],
            &["2026-03-29T01:30"],
            &["2026-03-29T24:00:00"],
            &["2026-03-29T23:59:60"],
            &["2026-03-29t01:30:00z"],
            &["2026-03-29T01:30:00.5"],
            &["2026-03-29T01:30:00.", "2026-03-29T01:30:00"],
            &["2026-03-29T01:30:00.000", "2026-03-29T01:30:00"],
            &["2026-03-29T01:30:00.001", "2026-03-29T01:30:00.000001"],
            &["9999-03-29T01:30:00.123456789"],
            &["١٢"],
            &["−5"],
        ] {
            assert_eq!(kind(cells), Kind::Text, "{cells:?}");
        }
    }
}
