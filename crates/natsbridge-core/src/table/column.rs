//! What a column's values are: found out once for each batch, then asked for each row.

use std::collections::HashSet;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, ArrowPrimitiveType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type,
    Decimal256Type, DecimalType, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalDayTimeType, IntervalMonthDayNanoType, IntervalYearMonthType, RunEndIndexType, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayAccessor, ArrayRef, BooleanArray, MapArray, OffsetSizeTrait, RecordBatch, RunArray, StructArray,
    UnionArray,
};
use arrow_buffer::{ArrowNativeType as _, NullBuffer};
use arrow_schema::extension::EXTENSION_TYPE_NAME_KEY;
use arrow_schema::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};

use super::calendar;
use crate::harmless::shown;

/// The value of a row
type At<'a, T> = Box<dyn Fn(usize) -> T + 'a>;

/// A column of a batch, or of a list or struct in it
pub(super) struct Column<'a> {
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

/// What the values are that are not null; each kind has one counterpart in JSON (docs/specification.md, section 3)
pub(super) enum Values<'a> {
    Null,
    Boolean(&'a BooleanArray),
    Signed(At<'a, i64>),
    Unsigned(At<'a, u64>),
    Float(At<'a, f64>),
    Text(At<'a, &'a str>),
    Bytes(At<'a, &'a [u8]>),
    /// What has to be put into words; the error says why it can't be
    Words(At<'a, Result<String, String>>),
    List(Box<Column<'a>>, At<'a, Range<usize>>),
    /// The columns of a table
    Row(Vec<(&'a str, Column<'a>)>),
    Struct(Vec<(&'a str, Column<'a>)>),
    /// A map with text as keys: key, value, and the entries of each row
    Map(At<'a, Option<&'a str>>, Box<Column<'a>>, At<'a, Range<usize>>),
    /// Values that stand elsewhere: those of a dictionary or of runs
    Elsewhere(Box<Column<'a>>, At<'a, usize>),
    Union(Vec<(i8, Column<'a>)>, &'a UnionArray),
    /// Has no counterpart, and why
    Never(String),
}

impl<'a> Column<'a> {
    /// The rows of a batch, each as an object of its columns
    pub(super) fn rows(batch: &'a RecordBatch) -> Self {
        let columns = batch.schema_ref().fields().iter().zip(batch.columns());
        let columns = columns.map(|(field, array)| (field.name().as_str(), Self::new(field, array)));
        Values::Row(columns.collect()).into()
    }

    fn new(field: &'a Field, array: &'a ArrayRef) -> Self {
        Self { nulls: array.nulls(), values: Values::new(field, array) }
    }

    /// Where the value of a row is and what it is; nothing where it is null
    pub(super) fn value(&self, mut row: usize) -> Option<(&Values<'a>, usize)> {
        let mut column = self;
        loop {
            if column.nulls.is_some_and(|nulls| nulls.is_null(row)) {
                return None;
            }
            (column, row) = match &column.values {
                Values::Null => return None,
                // NaN and infinities are null.
                Values::Float(value) if !value(row).is_finite() => return None,
                Values::Elsewhere(values, place) => (&**values, place(row)),
                Values::Union(children, union) => {
                    let id = union.type_id(row);
                    let (_, child) = children.iter().find(|(known, _)| *known == id)?;
                    (child, union.value_offset(row))
                }
                values => return Some((values, row)),
            };
        }
    }
}

impl<'a> From<Values<'a>> for Column<'a> {
    fn from(values: Values<'a>) -> Self {
        Self { nulls: None, values }
    }
}

impl<'a> Values<'a> {
    fn new(field: &'a Field, array: &'a ArrayRef) -> Self {
        match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Int8 => Self::Signed(number::<Int8Type, _>(array)),
            DataType::Int16 => Self::Signed(number::<Int16Type, _>(array)),
            DataType::Int32 => Self::Signed(number::<Int32Type, _>(array)),
            DataType::Int64 => Self::Signed(number::<Int64Type, _>(array)),
            DataType::UInt8 => Self::Unsigned(number::<UInt8Type, _>(array)),
            DataType::UInt16 => Self::Unsigned(number::<UInt16Type, _>(array)),
            DataType::UInt32 => Self::Unsigned(number::<UInt32Type, _>(array)),
            DataType::UInt64 => Self::Unsigned(number::<UInt64Type, _>(array)),
            DataType::Float16 => Self::Float(each::<Float16Type, _>(array, |value| shortest(value.to_f32()))),
            DataType::Float32 => Self::Float(each::<Float32Type, _>(array, shortest)),
            DataType::Float64 => Self::Float(number::<Float64Type, _>(array)),
            DataType::Decimal32(..) => decimal::<Decimal32Type>(array),
            DataType::Decimal64(..) => decimal::<Decimal64Type>(array),
            DataType::Decimal128(..) => decimal::<Decimal128Type>(array),
            DataType::Decimal256(..) => decimal::<Decimal256Type>(array),
            DataType::Date32 => words::<Date32Type>(array, |days| calendar::date(days.into())),
            DataType::Date64 => words::<Date64Type>(array, calendar::date_of_milliseconds),
            DataType::Timestamp(unit, zone) => moment(array, *unit, zone.is_some()),
            DataType::Time32(TimeUnit::Second) => time::<Time32SecondType>(array, TimeUnit::Second),
            DataType::Time32(_) => time::<Time32MillisecondType>(array, TimeUnit::Millisecond),
            DataType::Time64(TimeUnit::Microsecond) => time::<Time64MicrosecondType>(array, TimeUnit::Microsecond),
            DataType::Time64(_) => time::<Time64NanosecondType>(array, TimeUnit::Nanosecond),
            DataType::Duration(unit) => duration(array, *unit),
            DataType::Interval(IntervalUnit::YearMonth) => words::<IntervalYearMonthType>(array, calendar::months),
            DataType::Interval(IntervalUnit::DayTime) => words::<IntervalDayTimeType>(array, calendar::days_and_time),
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                words::<IntervalMonthDayNanoType>(array, calendar::months_days_and_time)
            }
            DataType::Utf8 => text(array.as_string::<i32>()),
            DataType::LargeUtf8 => text(array.as_string::<i64>()),
            DataType::Utf8View => text(array.as_string_view()),
            DataType::Binary => bytes(array.as_binary::<i32>()),
            DataType::LargeBinary => bytes(array.as_binary::<i64>()),
            DataType::BinaryView => bytes(array.as_binary_view()),
            DataType::FixedSizeBinary(width) => {
                let values = array.as_fixed_size_binary();
                let name = field.metadata().get(EXTENSION_TYPE_NAME_KEY);
                if *width == 16 && name.is_some_and(|name| name == "arrow.uuid") {
                    return Self::Words(Box::new(|row| Ok(uuid_text(values.value(row)))));
                }
                bytes(values)
            }
            DataType::List(item) => {
                let lists = array.as_list::<i32>();
                list(item, lists.values(), |row| ends(lists.value_offsets(), row))
            }
            DataType::LargeList(item) => {
                let lists = array.as_list::<i64>();
                list(item, lists.values(), |row| ends(lists.value_offsets(), row))
            }
            DataType::ListView(item) => {
                let lists = array.as_list_view::<i32>();
                list(item, lists.values(), |row| run(lists.value_offset(row).into(), lists.value_size(row).into()))
            }
            DataType::LargeListView(item) => {
                let lists = array.as_list_view::<i64>();
                list(item, lists.values(), |row| run(lists.value_offset(row), lists.value_size(row)))
            }
            DataType::FixedSizeList(item, _) => {
                let lists = array.as_fixed_size_list();
                let length = usize::try_from(lists.value_length()).unwrap_or_default();
                list(item, lists.values(), move |row| row * length..(row + 1) * length)
            }
            DataType::Map(entries, _) => map(entries, array.as_map()),
            DataType::Struct(_) => structure(array.as_struct()),
            DataType::Union(fields, _) => {
                let union = array.as_union();
                let child = |(id, field): (i8, &'a FieldRef)| (id, Column::new(field, union.child(id)));
                Self::Union(fields.iter().map(child).collect(), union)
            }
            DataType::Dictionary(key, _) => {
                let values = Column::new(field, array.as_any_dictionary().values());
                Self::Elsewhere(Box::new(values), place_of(key, array))
            }
            DataType::RunEndEncoded(ends, values) => match ends.data_type() {
                DataType::Int16 => runs(values, array.as_run_opt::<Int16Type>()),
                DataType::Int32 => runs(values, array.as_run_opt::<Int32Type>()),
                _ => runs(values, array.as_run_opt::<Int64Type>()),
            },
        }
    }
}

fn each<'a, T: ArrowPrimitiveType, R>(array: &'a ArrayRef, change: impl Fn(T::Native) -> R + 'a) -> At<'a, R> {
    let values = array.as_primitive::<T>();
    Box::new(move |row| change(values.value(row)))
}

fn number<T: ArrowPrimitiveType, W: From<T::Native> + 'static>(array: &ArrayRef) -> At<'_, W> {
    each::<T, W>(array, W::from)
}

/// A narrow float as the shortest decimal that reads back as it, not as the float64 beside it
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::NAN)
}

fn decimal<T: DecimalType>(array: &ArrayRef) -> Values<'_> {
    let values = array.as_primitive::<T>();
    Values::Words(Box::new(|row| Ok(values.value_as_string(row))))
}

fn words<T: ArrowPrimitiveType>(array: &ArrayRef, words: impl Fn(T::Native) -> String + 'static) -> Values<'_> {
    Values::Words(each::<T, _>(array, move |value| Ok(words(value))))
}

/// Timestamps with a zone count from the epoch in UTC, so the zone decides nothing but the display
fn moment(array: &ArrayRef, unit: TimeUnit, zoned: bool) -> Values<'_> {
    let text = move |value| calendar::moment(value, unit, if zoned { "Z" } else { "" });
    match unit {
        TimeUnit::Second => words::<TimestampSecondType>(array, text),
        TimeUnit::Millisecond => words::<TimestampMillisecondType>(array, text),
        TimeUnit::Microsecond => words::<TimestampMicrosecondType>(array, text),
        TimeUnit::Nanosecond => words::<TimestampNanosecondType>(array, text),
    }
}

fn time<T: ArrowPrimitiveType>(array: &ArrayRef, unit: TimeUnit) -> Values<'_>
where
    i64: From<T::Native>,
{
    let values = array.as_primitive::<T>();
    Values::Words(Box::new(move |row| {
        calendar::time_of_day(values.value(row).into(), unit).ok_or_else(|| format!("row {row} is no time of a day"))
    }))
}

fn duration(array: &ArrayRef, unit: TimeUnit) -> Values<'_> {
    let text = move |value| calendar::duration(value, unit);
    match unit {
        TimeUnit::Second => words::<DurationSecondType>(array, text),
        TimeUnit::Millisecond => words::<DurationMillisecondType>(array, text),
        TimeUnit::Microsecond => words::<DurationMicrosecondType>(array, text),
        TimeUnit::Nanosecond => words::<DurationNanosecondType>(array, text),
    }
}

fn uuid_text(bytes: &[u8]) -> String {
    uuid::Uuid::from_slice(bytes).map(|uuid| uuid.hyphenated().to_string()).unwrap_or_default()
}

fn text<'a>(values: impl ArrayAccessor<Item = &'a str> + 'a) -> Values<'a> {
    Values::Text(Box::new(move |row| values.value(row)))
}

fn bytes<'a>(values: impl ArrayAccessor<Item = &'a [u8]> + 'a) -> Values<'a> {
    Values::Bytes(Box::new(move |row| values.value(row)))
}

fn list<'a>(item: &'a Field, values: &'a ArrayRef, range: impl Fn(usize) -> Range<usize> + 'a) -> Values<'a> {
    Values::List(Box::new(Column::new(item, values)), Box::new(range))
}

fn ends<O: OffsetSizeTrait>(offsets: &[O], row: usize) -> Range<usize> {
    let end = |row: usize| offsets.get(row).map_or(0, |offset| offset.as_usize());
    end(row)..end(row.saturating_add(1))
}

fn run(offset: i64, length: i64) -> Range<usize> {
    let start = usize::try_from(offset).unwrap_or_default();
    start..start.saturating_add(usize::try_from(length).unwrap_or_default())
}

/// Maps with text as keys are objects, others lists of key and value
fn map<'a>(entries: &'a Field, maps: &'a MapArray) -> Values<'a> {
    let DataType::Struct(fields) = entries.data_type() else { return no_map() };
    let [key, value] = &**fields else { return no_map() };
    let values = Column::new(value, maps.values());
    let range = Box::new(|row| ends(maps.value_offsets(), row));
    match texts(maps.keys()) {
        Some(key) => Values::Map(key, Box::new(values), range),
        None => {
            let entry = vec![("key", Column::new(key, maps.keys())), ("value", values)];
            Values::List(Box::new(Values::Struct(entry).into()), range)
        }
    }
}

fn no_map<'a>() -> Values<'a> {
    Values::Never("its entries are no key and value".to_owned())
}

/// The text of a row, where an array holds text
fn texts(array: &ArrayRef) -> Option<At<'_, Option<&str>>> {
    let nulls = array.nulls();
    let is_null = move |row| nulls.is_some_and(|nulls| nulls.is_null(row));
    Some(match array.data_type() {
        DataType::Utf8 => Box::new(move |row| (!is_null(row)).then(|| array.as_string::<i32>().value(row))),
        DataType::LargeUtf8 => Box::new(move |row| (!is_null(row)).then(|| array.as_string::<i64>().value(row))),
        DataType::Utf8View => Box::new(move |row| (!is_null(row)).then(|| array.as_string_view().value(row))),
        DataType::Dictionary(key, _) => {
            let values = texts(array.as_any_dictionary().values())?;
            let place = place_of(key, array);
            Box::new(move |row| if is_null(row) { None } else { values(place(row)) })
        }
        _ => return None,
    })
}

fn structure(parent: &StructArray) -> Values<'_> {
    let mut names = HashSet::new();
    if let Some(twice) = parent.fields().iter().find(|field| !names.insert(field.name())) {
        let name = shown(twice.name());
        return Values::Never(format!("two fields have the name `{name}`, and a JSON object holds one of them"));
    }
    let children = parent.fields().iter().zip(parent.columns());
    Values::Struct(children.map(|(field, child)| (field.name().as_str(), Column::new(field, child))).collect())
}

/// The place of a row's value in its dictionary
fn place_of<'a>(key: &DataType, array: &'a ArrayRef) -> At<'a, usize> {
    fn of<K: ArrowDictionaryKeyType>(array: &ArrayRef) -> At<'_, usize> {
        let keys = array.as_dictionary::<K>().keys();
        Box::new(|row| keys.value(row).as_usize())
    }
    match key {
        DataType::Int8 => of::<Int8Type>(array),
        DataType::Int16 => of::<Int16Type>(array),
        DataType::Int32 => of::<Int32Type>(array),
        DataType::Int64 => of::<Int64Type>(array),
        DataType::UInt8 => of::<UInt8Type>(array),
        DataType::UInt16 => of::<UInt16Type>(array),
        DataType::UInt32 => of::<UInt32Type>(array),
        _ => of::<UInt64Type>(array),
    }
}

fn runs<'a, T: RunEndIndexType>(field: &'a Field, array: Option<&'a RunArray<T>>) -> Values<'a> {
    match array {
        Some(runs) => {
            let values = Column::new(field, runs.values());
            Values::Elsewhere(Box::new(values), Box::new(|row| runs.get_physical_index(row)))
        }
        None => Values::Never("its run ends have another type than declared".to_owned()),
    }
}
