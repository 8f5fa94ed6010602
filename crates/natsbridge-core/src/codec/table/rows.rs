//! Arrow tables to JSON rows: one function per column, made once and called for each row.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, ArrowTemporalType, ByteArrayType, ByteViewType, Date32Type, Date64Type, Decimal32Type,
    Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalYearMonthType, RunEndIndexType,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, MapArray, RunArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use serde_json::{Map, Value as Json};

use super::{Table, TableLimits};
use crate::{CodecError, Rows};

/// What a value costs beside its text: itself, its key's head and its place in the object
const VALUE_BYTES: u64 = 128;

/// Why a value has no JSON: a reason for the column's error, or too many bytes
enum Refusal {
    Reason(String),
    TooLarge { needed: u64, limit: u64 },
}

impl Refusal {
    fn of(self, column: &str) -> CodecError {
        match self {
            Self::Reason(reason) => CodecError::Unconvertible { column: column.to_owned(), reason },
            Self::TooLarge { needed, limit } => CodecError::TableTooLarge { needed, limit },
        }
    }
}

/// The JSON values made so far, against their limit
struct Spent {
    bytes: u64,
    limit: u64,
}

impl Spent {
    fn value(&mut self, text: usize) -> Result<(), Refusal> {
        let text = u64::try_from(text).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(VALUE_BYTES).saturating_add(text);
        if self.bytes > self.limit { Err(Refusal::TooLarge { needed: self.bytes, limit: self.limit }) } else { Ok(()) }
    }
}

/// The value of a row
type Cell<'a> = Box<dyn Fn(usize, &mut Spent) -> Result<Json, Refusal> + 'a>;

pub(super) fn to_rows(table: &Table, limits: &TableLimits) -> Result<Rows, CodecError> {
    let fields = table.schema.fields();
    let mut names = std::collections::HashSet::new();
    if let Some(twice) = fields.iter().find(|field| !names.insert(field.name())) {
        let reason = "two columns have this name, and a JSON object holds one of them".to_owned();
        return Err(CodecError::Unconvertible { column: twice.name().clone(), reason });
    }
    let mut spent = Spent { bytes: 0, limit: limits.bytes() };
    let mut rows = Vec::new();
    for batch in &table.batches {
        let mut columns = Vec::with_capacity(fields.len());
        for (field, array) in fields.iter().zip(batch.columns()) {
            columns.push((field.name(), cell(array).map_err(|refusal| refusal.of(field.name()))?));
        }
        for row in 0..batch.num_rows() {
            spent.value(0).map_err(|refusal| refusal.of(""))?;
            let mut object = Map::with_capacity(columns.len());
            for (name, cell) in &columns {
                let value = spent.value(name.len()).and_then(|()| cell(row, &mut spent));
                object.insert((*name).clone(), value.map_err(|refusal| refusal.of(name))?);
            }
            rows.push(object);
        }
    }
    Ok(Rows::new(rows))
}

/// How this array's values become JSON, nulls included
fn cell(array: &ArrayRef) -> Result<Cell<'_>, Refusal> {
    let present = present(array)?;
    let nulls = array.nulls();
    Ok(Box::new(move |row, spent| match nulls {
        Some(nulls) if nulls.is_null(row) => Ok(Json::Null),
        _ => present(row, spent),
    }))
}

/// How the values that are not null become JSON
fn present(array: &ArrayRef) -> Result<Cell<'_>, Refusal> {
    Ok(match array.data_type() {
        DataType::Null => Box::new(|_, _| Ok(Json::Null)),
        DataType::Boolean => {
            let values = array.as_boolean();
            Box::new(|row, _| Ok(values.value(row).into()))
        }
        DataType::Int8 => number::<Int8Type>(array, Json::from),
        DataType::Int16 => number::<Int16Type>(array, Json::from),
        DataType::Int32 => number::<Int32Type>(array, Json::from),
        DataType::Int64 => number::<Int64Type>(array, Json::from),
        DataType::UInt8 => number::<UInt8Type>(array, Json::from),
        DataType::UInt16 => number::<UInt16Type>(array, Json::from),
        DataType::UInt32 => number::<UInt32Type>(array, Json::from),
        DataType::UInt64 => number::<UInt64Type>(array, Json::from),
        DataType::Float16 => number::<Float16Type>(array, |value| shortest(value.to_f32())),
        DataType::Float32 => number::<Float32Type>(array, shortest),
        DataType::Float64 => number::<Float64Type>(array, Json::from),
        DataType::Decimal32(..) => decimal::<Decimal32Type>(array),
        DataType::Decimal64(..) => decimal::<Decimal64Type>(array),
        DataType::Decimal128(..) => decimal::<Decimal128Type>(array),
        DataType::Decimal256(..) => decimal::<Decimal256Type>(array),
        DataType::Date32 => calendar::<Date32Type>(array),
        DataType::Date64 => calendar::<Date64Type>(array),
        DataType::Timestamp(unit, Some(_)) => instant(array, *unit),
        DataType::Timestamp(_, None) | DataType::Time32(_) | DataType::Time64(_) => formatted(array),
        DataType::Duration(TimeUnit::Second) => span::<DurationSecondType>(array, |value| duration(value, 0)),
        DataType::Duration(TimeUnit::Millisecond) => span::<DurationMillisecondType>(array, |value| duration(value, 3)),
        DataType::Duration(TimeUnit::Microsecond) => span::<DurationMicrosecondType>(array, |value| duration(value, 6)),
        DataType::Duration(TimeUnit::Nanosecond) => span::<DurationNanosecondType>(array, |value| duration(value, 9)),
        DataType::Interval(IntervalUnit::YearMonth) => {
            span::<IntervalYearMonthType>(array, |months| format!("P{months}M"))
        }
        DataType::Interval(IntervalUnit::DayTime) => span::<IntervalDayTimeType>(array, |interval| {
            format!("P{}D{}", interval.days, time(interval.milliseconds.into(), 3))
        }),
        DataType::Interval(IntervalUnit::MonthDayNano) => span::<IntervalMonthDayNanoType>(array, |interval| {
            format!("P{}M{}D{}", interval.months, interval.days, time(interval.nanoseconds, 9))
        }),
        DataType::Utf8 => text(array.as_string::<i32>()),
        DataType::LargeUtf8 => text(array.as_string::<i64>()),
        DataType::Utf8View => text_view(array.as_string_view()),
        DataType::Binary => bytes(array.as_binary::<i32>()),
        DataType::LargeBinary => bytes(array.as_binary::<i64>()),
        DataType::BinaryView => bytes_view(array.as_binary_view()),
        DataType::FixedSizeBinary(_) => {
            let values = array.as_fixed_size_binary();
            Box::new(|row, spent| hex(values.value(row), spent))
        }
        DataType::List(_) => {
            list(array.as_list::<i32>().values(), |row| ends(array.as_list::<i32>().value_offsets(), row))?
        }
        DataType::LargeList(_) => {
            list(array.as_list::<i64>().values(), |row| ends(array.as_list::<i64>().value_offsets(), row))?
        }
        DataType::ListView(_) => {
            let lists = array.as_list_view::<i32>();
            list(lists.values(), |row| run(lists.value_offset(row).into(), lists.value_size(row).into()))?
        }
        DataType::LargeListView(_) => {
            let lists = array.as_list_view::<i64>();
            list(lists.values(), |row| run(lists.value_offset(row), lists.value_size(row)))?
        }
        DataType::FixedSizeList(..) => {
            let lists = array.as_fixed_size_list();
            let length = usize::try_from(lists.value_length()).unwrap_or_default();
            list(lists.values(), move |row| row * length..(row + 1) * length)?
        }
        DataType::Map(..) => map(array.as_map())?,
        DataType::Struct(_) => structure(array)?,
        DataType::Union(fields, _) => {
            let union = array.as_union();
            let children: Vec<_> =
                fields.iter().map(|(id, _)| Ok((id, cell(union.child(id))?))).collect::<Result<_, _>>()?;
            Box::new(move |row, spent| {
                let id = union.type_id(row);
                let child = children.iter().find(|(known, _)| *known == id);
                child.map_or(Ok(Json::Null), |(_, child)| child(union.value_offset(row), spent))
            })
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let values = cell(dictionary.values())?;
            // Without values every key is null, and Arrow has no keys to give.
            let keys = if dictionary.values().is_empty() { Vec::new() } else { dictionary.normalized_keys() };
            Box::new(move |row, spent| keys.get(row).map_or(Ok(Json::Null), |key| values(*key, spent)))
        }
        DataType::RunEndEncoded(ends, _) => match ends.data_type() {
            DataType::Int16 => runs(array.as_run_opt::<Int16Type>())?,
            DataType::Int32 => runs(array.as_run_opt::<Int32Type>())?,
            _ => runs(array.as_run_opt::<Int64Type>())?,
        },
    })
}

fn number<T: ArrowPrimitiveType>(array: &ArrayRef, json: impl Fn(T::Native) -> Json + 'static) -> Cell<'_> {
    let values = array.as_primitive::<T>();
    Box::new(move |row, _| Ok(json(values.value(row))))
}

/// A narrow float as the shortest decimal that reads back as it, not as the float64 beside it
fn shortest(value: f32) -> Json {
    value.to_string().parse::<f64>().map_or(Json::Null, Json::from)
}

fn decimal<T: DecimalType>(array: &ArrayRef) -> Cell<'_> {
    let values = array.as_primitive::<T>();
    Box::new(|row, spent| string(values.value_as_string(row), spent))
}

/// Dates as `2026-05-13`, also those that count milliseconds
fn calendar<T: ArrowTemporalType>(array: &ArrayRef) -> Cell<'_>
where
    i64: From<T::Native>,
{
    let values = array.as_primitive::<T>();
    Box::new(|row, spent| match values.value_as_date(row) {
        Some(date) => string(date.to_string(), spent),
        None => Err(beyond(row)),
    })
}

/// Timestamps with a zone count from the epoch in UTC, so the zone decides nothing but the display
fn instant(array: &ArrayRef, unit: TimeUnit) -> Cell<'_> {
    fn utc<T: arrow_array::types::ArrowTimestampType>(array: &ArrayRef) -> Cell<'_> {
        let values = array.as_primitive::<T>();
        Box::new(|row, spent| match values.value_as_datetime(row) {
            Some(moment) => string(format!("{moment:?}Z"), spent),
            None => Err(beyond(row)),
        })
    }
    match unit {
        TimeUnit::Second => utc::<TimestampSecondType>(array),
        TimeUnit::Millisecond => utc::<TimestampMillisecondType>(array),
        TimeUnit::Microsecond => utc::<TimestampMicrosecondType>(array),
        TimeUnit::Nanosecond => utc::<TimestampNanosecondType>(array),
    }
}

fn formatted(array: &ArrayRef) -> Cell<'_> {
    Box::new(|row, spent| {
        let options = FormatOptions::new().with_display_error(false);
        let formatter = ArrayFormatter::try_new(array, &options).map_err(|_| beyond(row))?;
        string(formatter.value(row).try_to_string().map_err(|_| beyond(row))?, spent)
    })
}

fn beyond(row: usize) -> Refusal {
    Refusal::Reason(format!("row {row} is a date or time beyond the calendar"))
}

fn span<T: ArrowPrimitiveType>(array: &ArrayRef, format: impl Fn(T::Native) -> String + 'static) -> Cell<'_> {
    let values = array.as_primitive::<T>();
    Box::new(move |row, spent| string(format(values.value(row)), spent))
}

fn duration(value: i64, digits: usize) -> String {
    format!("P{}", time(value, digits))
}

/// The time part of an ISO 8601 duration, in seconds with this many digits behind the point
fn time(value: i64, digits: usize) -> String {
    let scale = 10_u64.pow(u32::try_from(digits).unwrap_or_default());
    let (sign, value) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
    let fraction = format!("{:0digits$}", value % scale);
    let fraction = if digits == 0 { "" } else { fraction.trim_end_matches('0') };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("T{sign}{}{point}{fraction}S", value / scale)
}

fn string(text: String, spent: &mut Spent) -> Result<Json, Refusal> {
    spent.value(text.len())?;
    Ok(Json::String(text))
}

fn text<T: ByteArrayType<Native = str>>(values: &arrow_array::GenericByteArray<T>) -> Cell<'_> {
    Box::new(|row, spent| string_of(values.value(row), spent))
}

fn text_view<T: ByteViewType<Native = str>>(values: &arrow_array::GenericByteViewArray<T>) -> Cell<'_> {
    Box::new(|row, spent| string_of(values.value(row), spent))
}

fn bytes<T: ByteArrayType<Native = [u8]>>(values: &arrow_array::GenericByteArray<T>) -> Cell<'_> {
    Box::new(|row, spent| hex(values.value(row), spent))
}

fn bytes_view<T: ByteViewType<Native = [u8]>>(values: &arrow_array::GenericByteViewArray<T>) -> Cell<'_> {
    Box::new(|row, spent| hex(values.value(row), spent))
}

/// The budget is asked before the copy is made
fn string_of(text: &str, spent: &mut Spent) -> Result<Json, Refusal> {
    spent.value(text.len())?;
    Ok(text.into())
}

/// Lower-case hexadecimal text (docs/specification.md, "Payload types")
fn hex(bytes: &[u8], spent: &mut Spent) -> Result<Json, Refusal> {
    spent.value(bytes.len().saturating_mul(2))?;
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or_default());
        }
    }
    Ok(text.into())
}

fn list<'a>(values: &'a ArrayRef, range: impl Fn(usize) -> std::ops::Range<usize> + 'a) -> Result<Cell<'a>, Refusal> {
    let value = cell(values)?;
    Ok(Box::new(move |row, spent| range(row).map(|row| spent.value(0).and_then(|()| value(row, spent))).collect()))
}

fn ends<O: arrow_array::OffsetSizeTrait>(offsets: &[O], row: usize) -> std::ops::Range<usize> {
    let end = |row: usize| offsets.get(row).map_or(0, |offset| offset.as_usize());
    end(row)..end(row.saturating_add(1))
}

fn run(offset: i64, length: i64) -> std::ops::Range<usize> {
    let start = usize::try_from(offset).unwrap_or_default();
    start..start.saturating_add(usize::try_from(length).unwrap_or_default())
}

fn map(maps: &MapArray) -> Result<Cell<'_>, Refusal> {
    let (keys, values) = (cell(maps.keys())?, cell(maps.values())?);
    let named = matches!(maps.key_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let range = |row| ends(maps.value_offsets(), row);
    if named {
        return Ok(Box::new(move |row, spent| {
            let entry = |row, spent: &mut Spent| match keys(row, spent)? {
                Json::String(key) => Ok((key, values(row, spent)?)),
                _ => Err(Refusal::Reason("a map has a key that is null".to_owned())),
            };
            range(row).map(|row| entry(row, spent)).collect::<Result<Map<_, _>, _>>().map(Json::Object)
        }));
    }
    Ok(Box::new(move |row, spent| {
        let entry = |row, spent: &mut Spent| {
            spent.value(0)?;
            let entry = [("key", keys(row, spent)?), ("value", values(row, spent)?)];
            Ok(entry.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Json>())
        };
        range(row).map(|row| entry(row, spent)).collect()
    }))
}

fn structure(array: &ArrayRef) -> Result<Cell<'_>, Refusal> {
    let parent = array.as_struct();
    let children = parent.fields().iter().zip(parent.columns());
    let children: Vec<_> = children.map(|(field, child)| Ok((field.name(), cell(child)?))).collect::<Result<_, _>>()?;
    Ok(Box::new(move |row, spent| {
        let mut object = Map::with_capacity(children.len());
        for (name, child) in &children {
            spent.value(name.len())?;
            object.insert((*name).clone(), child(row, spent)?);
        }
        Ok(Json::Object(object))
    }))
}

fn runs<T: RunEndIndexType>(array: Option<&RunArray<T>>) -> Result<Cell<'_>, Refusal> {
    let array = array.ok_or_else(|| Refusal::Reason("its run ends have another type than declared".to_owned()))?;
    let values = cell(array.values())?;
    Ok(Box::new(move |row, spent| values(array.get_physical_index(row), spent)))
}
