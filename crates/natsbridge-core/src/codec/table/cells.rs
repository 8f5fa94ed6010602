//! How an array's values go out as JSON: one function for each column, made once and called for each row.

use std::collections::HashSet;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, ArrowPrimitiveType, ByteArrayType, ByteViewType, Date32Type, Date64Type, Decimal32Type,
    Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalYearMonthType, RunEndIndexType,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{Array, ArrayRef, MapArray, OffsetSizeTrait, RunArray};
use arrow_buffer::ArrowNativeType as _;
use arrow_schema::extension::EXTENSION_TYPE_NAME_KEY;
use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};
use serde_json::Number;

use super::calendar;
use super::out::{Out, Step};
use crate::harmless::shown;

/// Gives out the value of a row
pub(super) type Cell<'a> = Box<dyn Fn(usize, &mut dyn Out) -> Step + 'a>;

/// How the values of a field's array go out, nulls included
pub(super) fn cell<'a>(field: &'a Field, array: &'a ArrayRef) -> Cell<'a> {
    let present = present(field, array);
    match array.nulls() {
        Some(nulls) => Box::new(move |row, out| if nulls.is_null(row) { out.null() } else { present(row, out) }),
        None => present,
    }
}

/// How the values that are not null go out
fn present<'a>(field: &'a Field, array: &'a ArrayRef) -> Cell<'a> {
    match array.data_type() {
        DataType::Null => Box::new(|_, out| out.null()),
        DataType::Boolean => {
            let values = array.as_boolean();
            Box::new(|row, out| out.boolean(values.value(row)))
        }
        DataType::Int8 => number::<Int8Type>(array),
        DataType::Int16 => number::<Int16Type>(array),
        DataType::Int32 => number::<Int32Type>(array),
        DataType::Int64 => number::<Int64Type>(array),
        DataType::UInt8 => number::<UInt8Type>(array),
        DataType::UInt16 => number::<UInt16Type>(array),
        DataType::UInt32 => number::<UInt32Type>(array),
        DataType::UInt64 => number::<UInt64Type>(array),
        DataType::Float16 => float::<Float16Type>(array, |value| shortest(value.to_f32())),
        DataType::Float32 => float::<Float32Type>(array, shortest),
        DataType::Float64 => float::<Float64Type>(array, |value| value),
        DataType::Decimal32(..) => decimal::<Decimal32Type>(array),
        DataType::Decimal64(..) => decimal::<Decimal64Type>(array),
        DataType::Decimal128(..) => decimal::<Decimal128Type>(array),
        DataType::Decimal256(..) => decimal::<Decimal256Type>(array),
        DataType::Date32 => text_of::<Date32Type>(array, |days| calendar::date(days.into())),
        DataType::Date64 => text_of::<Date64Type>(array, calendar::date_of_milliseconds),
        DataType::Timestamp(unit, zone) => moment(array, *unit, zone.is_some()),
        DataType::Time32(TimeUnit::Second) => time::<Time32SecondType>(array, TimeUnit::Second),
        DataType::Time32(_) => time::<Time32MillisecondType>(array, TimeUnit::Millisecond),
        DataType::Time64(TimeUnit::Microsecond) => time::<Time64MicrosecondType>(array, TimeUnit::Microsecond),
        DataType::Time64(_) => time::<Time64NanosecondType>(array, TimeUnit::Nanosecond),
        DataType::Duration(unit) => duration(array, *unit),
        DataType::Interval(IntervalUnit::YearMonth) => text_of::<IntervalYearMonthType>(array, calendar::months),
        DataType::Interval(IntervalUnit::DayTime) => text_of::<IntervalDayTimeType>(array, calendar::days_and_time),
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            text_of::<IntervalMonthDayNanoType>(array, calendar::months_days_and_time)
        }
        DataType::Utf8 => text(array.as_string::<i32>()),
        DataType::LargeUtf8 => text(array.as_string::<i64>()),
        DataType::Utf8View => text_view(array.as_string_view()),
        DataType::Binary => bytes(array.as_binary::<i32>()),
        DataType::LargeBinary => bytes(array.as_binary::<i64>()),
        DataType::BinaryView => bytes_view(array.as_binary_view()),
        DataType::FixedSizeBinary(width) => {
            let values = array.as_fixed_size_binary();
            if *width == 16 && field.metadata().get(EXTENSION_TYPE_NAME_KEY).is_some_and(|name| name == "arrow.uuid") {
                return Box::new(|row, out| out.text(&uuid_text(values.value(row))));
            }
            Box::new(|row, out| out.hex(values.value(row)))
        }
        DataType::List(item) => {
            list(item, array.as_list::<i32>().values(), |row| ends(array.as_list::<i32>().value_offsets(), row))
        }
        DataType::LargeList(item) => {
            list(item, array.as_list::<i64>().values(), |row| ends(array.as_list::<i64>().value_offsets(), row))
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
        DataType::Struct(_) => structure(array),
        DataType::Union(fields, _) => {
            let union = array.as_union();
            let children: Vec<_> = fields.iter().map(|(id, field)| (id, cell(field, union.child(id)))).collect();
            Box::new(move |row, out| {
                let id = union.type_id(row);
                let child = children.iter().find(|(known, _)| *known == id);
                child.map_or(Ok(()), |(_, child)| child(union.value_offset(row), out))
            })
        }
        DataType::Dictionary(key, _) => {
            let values = cell(field, array.as_any_dictionary().values());
            let key = key_of(key, array);
            Box::new(move |row, out| values(key(row), out))
        }
        DataType::RunEndEncoded(ends, values) => match ends.data_type() {
            DataType::Int16 => runs(values, array.as_run_opt::<Int16Type>()),
            DataType::Int32 => runs(values, array.as_run_opt::<Int32Type>()),
            _ => runs(values, array.as_run_opt::<Int64Type>()),
        },
    }
}

fn never<'a>(reason: impl Into<String>) -> Cell<'a> {
    let reason = reason.into();
    Box::new(move |_, out| out.unconvertible(&reason))
}

fn number<T: ArrowPrimitiveType>(array: &ArrayRef) -> Cell<'_>
where
    Number: From<T::Native>,
{
    let values = array.as_primitive::<T>();
    Box::new(|row, out| out.number(values.value(row).into()))
}

/// NaN and infinities are null (docs/specification.md, section 3)
fn float<T: ArrowPrimitiveType>(array: &ArrayRef, wide: impl Fn(T::Native) -> f64 + 'static) -> Cell<'_> {
    let values = array.as_primitive::<T>();
    Box::new(move |row, out| match Number::from_f64(wide(values.value(row))) {
        Some(number) => out.number(number),
        None => out.null(),
    })
}

/// A narrow float as the shortest decimal that reads back as it, not as the float64 beside it
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::NAN)
}

fn decimal<T: DecimalType>(array: &ArrayRef) -> Cell<'_> {
    let values = array.as_primitive::<T>();
    Box::new(|row, out| out.text(&values.value_as_string(row)))
}

fn text_of<T: ArrowPrimitiveType>(array: &ArrayRef, text: impl Fn(T::Native) -> String + 'static) -> Cell<'_> {
    let values = array.as_primitive::<T>();
    Box::new(move |row, out| out.text(&text(values.value(row))))
}

/// Timestamps with a zone count from the epoch in UTC, so the zone decides nothing but the display
fn moment(array: &ArrayRef, unit: TimeUnit, zoned: bool) -> Cell<'_> {
    let text = move |value| {
        let mut text = calendar::moment(value, unit);
        text.push_str(if zoned { "Z" } else { "" });
        text
    };
    match unit {
        TimeUnit::Second => text_of::<TimestampSecondType>(array, text),
        TimeUnit::Millisecond => text_of::<TimestampMillisecondType>(array, text),
        TimeUnit::Microsecond => text_of::<TimestampMicrosecondType>(array, text),
        TimeUnit::Nanosecond => text_of::<TimestampNanosecondType>(array, text),
    }
}

fn time<T: ArrowPrimitiveType>(array: &ArrayRef, unit: TimeUnit) -> Cell<'_>
where
    i64: From<T::Native>,
{
    let values = array.as_primitive::<T>();
    Box::new(move |row, out| match calendar::time_of_day(values.value(row).into(), unit) {
        Some(text) => out.text(&text),
        None => out.unconvertible(&format!("row {row} is no time of a day")),
    })
}

fn duration(array: &ArrayRef, unit: TimeUnit) -> Cell<'_> {
    let text = move |value| calendar::duration(value, unit);
    match unit {
        TimeUnit::Second => text_of::<DurationSecondType>(array, text),
        TimeUnit::Millisecond => text_of::<DurationMillisecondType>(array, text),
        TimeUnit::Microsecond => text_of::<DurationMicrosecondType>(array, text),
        TimeUnit::Nanosecond => text_of::<DurationNanosecondType>(array, text),
    }
}

fn uuid_text(bytes: &[u8]) -> String {
    uuid::Uuid::from_slice(bytes).map(|uuid| uuid.hyphenated().to_string()).unwrap_or_default()
}

fn text<T: ByteArrayType<Native = str>>(values: &arrow_array::GenericByteArray<T>) -> Cell<'_> {
    Box::new(|row, out| out.text(values.value(row)))
}

fn text_view<T: ByteViewType<Native = str>>(values: &arrow_array::GenericByteViewArray<T>) -> Cell<'_> {
    Box::new(|row, out| out.text(values.value(row)))
}

fn bytes<T: ByteArrayType<Native = [u8]>>(values: &arrow_array::GenericByteArray<T>) -> Cell<'_> {
    Box::new(|row, out| out.hex(values.value(row)))
}

fn bytes_view<T: ByteViewType<Native = [u8]>>(values: &arrow_array::GenericByteViewArray<T>) -> Cell<'_> {
    Box::new(|row, out| out.hex(values.value(row)))
}

fn list<'a>(item: &'a Field, values: &'a ArrayRef, range: impl Fn(usize) -> Range<usize> + 'a) -> Cell<'a> {
    let value = cell(item, values);
    Box::new(move |row, out| {
        out.begin_list()?;
        for at in range(row) {
            out.item()?;
            value(at, out)?;
        }
        out.end_list()
    })
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
fn map<'a>(entries: &'a Field, maps: &'a MapArray) -> Cell<'a> {
    let DataType::Struct(fields) = entries.data_type() else { return never("its entries are no key and value") };
    let [key_field, value_field] = &**fields else { return never("its entries are no key and value") };
    let values = cell(value_field, maps.values());
    let range = |row| ends(maps.value_offsets(), row);
    if let Some(key) = texts(maps.keys()) {
        return Box::new(move |row, out| {
            let range = range(row);
            let mut seen = HashSet::with_capacity(range.len());
            for key in range.clone().map(&key) {
                match key {
                    None => return out.unconvertible("a map has a key that is null"),
                    Some(key) if !seen.insert(key) => {
                        return out.unconvertible(&format!("a map has the key `{}` twice", shown(key)));
                    }
                    Some(_) => {}
                }
            }
            out.begin_object(range.len())?;
            for at in range {
                out.key(key(at).unwrap_or_default())?;
                values(at, out)?;
            }
            out.end_object()
        });
    }
    let keys = cell(key_field, maps.keys());
    Box::new(move |row, out| {
        out.begin_list()?;
        for at in range(row) {
            out.item()?;
            out.begin_object(2)?;
            out.key("key")?;
            keys(at, out)?;
            out.key("value")?;
            values(at, out)?;
            out.end_object()?;
        }
        out.end_list()
    })
}

/// The text of a row, where an array holds text
fn texts<'a>(array: &'a ArrayRef) -> Option<Box<dyn Fn(usize) -> Option<&'a str> + 'a>> {
    let nulls = array.nulls();
    let is_null = move |row| nulls.is_some_and(|nulls| nulls.is_null(row));
    Some(match array.data_type() {
        DataType::Utf8 => Box::new(move |row| (!is_null(row)).then(|| array.as_string::<i32>().value(row))),
        DataType::LargeUtf8 => Box::new(move |row| (!is_null(row)).then(|| array.as_string::<i64>().value(row))),
        DataType::Utf8View => Box::new(move |row| (!is_null(row)).then(|| array.as_string_view().value(row))),
        DataType::Dictionary(key, _) => {
            let values = texts(array.as_any_dictionary().values())?;
            let key = key_of(key, array);
            Box::new(move |row| if is_null(row) { None } else { values(key(row)) })
        }
        _ => return None,
    })
}

fn structure(array: &ArrayRef) -> Cell<'_> {
    let parent = array.as_struct();
    let mut names = HashSet::new();
    if let Some(twice) = parent.fields().iter().find(|field| !names.insert(field.name())) {
        return never(format!(
            "two fields have the name `{}`, and a JSON object holds one of them",
            shown(twice.name())
        ));
    }
    let children = parent.fields().iter().zip(parent.columns());
    let children: Vec<_> = children.map(|(field, child)| (field.name(), cell(field, child))).collect();
    Box::new(move |row, out| {
        out.begin_object(children.len())?;
        for (name, child) in &children {
            out.key(name)?;
            child(row, out)?;
        }
        out.end_object()
    })
}

/// The place of a row's value in its dictionary
fn key_of<'a>(key: &DataType, array: &'a ArrayRef) -> Box<dyn Fn(usize) -> usize + 'a> {
    fn of<K: ArrowDictionaryKeyType>(array: &ArrayRef) -> Box<dyn Fn(usize) -> usize + '_> {
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

fn runs<'a, T: RunEndIndexType>(field: &'a Field, array: Option<&'a RunArray<T>>) -> Cell<'a> {
    let Some(array) = array else { return never("its run ends have another type than declared") };
    let values = cell(field, array.values());
    Box::new(move |row, out| values(array.get_physical_index(row), out))
}
