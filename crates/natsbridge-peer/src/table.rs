//! Arrow tables as columns of strings (testdata/README.md, "Tables"), and back: nothing is lost, whatever JSON can hold.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Float64Type, Int32Type, Int64Type, IntervalDayTimeType,
    IntervalMonthDayNanoType, IntervalYearMonthType,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeListArray, Float64Array, Int32Array, Int64Array,
    LargeListArray, ListArray, MapArray, NullArray, RecordBatch, RecordBatchOptions, StringArray, StructArray,
    UInt64Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_cast::cast::cast;
use arrow_schema::{DataType, Field, IntervalUnit, Schema, TimeUnit};
use natsbridge::Table;
use serde_json::{Map, Value as Json, json};

use crate::Failure;

/// The table of these columns
pub(crate) fn read(columns: &[Json]) -> Result<Table, Failure> {
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    let mut rows = 0;
    for column in columns {
        let (Some(name), Some(type_name), Some(values)) =
            (column["name"].as_str(), column["type"].as_str(), column["values"].as_array())
        else {
            return Err(format!("{column} is no column").into());
        };
        let data_type = named(type_name)?;
        let nested = is_nested(&data_type);
        let cell = |value: &Json| match value.as_str() {
            Some(text) if nested => serde_json::from_str(text).map_err(Failure::from),
            _ => Ok(value.clone()),
        };
        let values = values.iter().map(cell).collect::<Result<Vec<_>, _>>()?;
        rows = values.len();
        arrays.push(array(&data_type, &values)?);
        fields.push(Field::new(name, data_type, true));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?.into())
}

/// The columns of a table
pub(crate) fn write(table: &Table) -> Result<Vec<Json>, Failure> {
    let mut columns = Vec::new();
    for (index, field) in table.schema().fields().iter().enumerate() {
        let nested = is_nested(field.data_type());
        let mut values = Vec::with_capacity(table.num_rows());
        for batch in table.batches() {
            let array = batch.column(index);
            if !nested {
                values.extend(texts(array)?);
                continue;
            }
            for row in 0..array.len() {
                let cell = inner(array, row)?;
                values.push(if cell.is_null() { cell } else { Json::from(cell.to_string()) });
            }
        }
        columns.push(json!({"name": field.name(), "type": name(field.data_type())?, "values": values}));
    }
    Ok(columns)
}

fn is_nested(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_nested(values),
        DataType::RunEndEncoded(_, values) => is_nested(values.data_type()),
        _ => data_type.is_nested(),
    }
}

/// A type's name
fn name(data_type: &DataType) -> Result<String, Failure> {
    Ok(match data_type {
        DataType::Boolean => "bool".to_owned(),
        DataType::Date32 | DataType::Date64 | DataType::Null => format!("{data_type:?}").to_lowercase(),
        DataType::Utf8 => "utf8".to_owned(),
        DataType::LargeUtf8 => "large_utf8".to_owned(),
        DataType::Utf8View => "utf8_view".to_owned(),
        DataType::Binary => "binary".to_owned(),
        DataType::LargeBinary => "large_binary".to_owned(),
        DataType::BinaryView => "binary_view".to_owned(),
        DataType::FixedSizeBinary(width) => format!("fixed_size_binary({width})"),
        DataType::Decimal32(precision, scale) => format!("decimal32({precision},{scale})"),
        DataType::Decimal64(precision, scale) => format!("decimal64({precision},{scale})"),
        DataType::Decimal128(precision, scale) => format!("decimal128({precision},{scale})"),
        DataType::Decimal256(precision, scale) => format!("decimal256({precision},{scale})"),
        DataType::Time32(unit) => format!("time32[{}]", unit_name(*unit)),
        DataType::Time64(unit) => format!("time64[{}]", unit_name(*unit)),
        DataType::Duration(unit) => format!("duration[{}]", unit_name(*unit)),
        DataType::Timestamp(unit, None) => format!("timestamp[{}]", unit_name(*unit)),
        DataType::Timestamp(unit, Some(zone)) => format!("timestamp[{}, {zone}]", unit_name(*unit)),
        DataType::Interval(IntervalUnit::YearMonth) => "interval[year_month]".to_owned(),
        DataType::Interval(IntervalUnit::DayTime) => "interval[day_time]".to_owned(),
        DataType::Interval(IntervalUnit::MonthDayNano) => "interval[month_day_nano]".to_owned(),
        DataType::List(item) => format!("list<{}>", name(item.data_type())?),
        DataType::LargeList(item) => format!("large_list<{}>", name(item.data_type())?),
        DataType::ListView(item) => format!("list_view<{}>", name(item.data_type())?),
        DataType::LargeListView(item) => format!("large_list_view<{}>", name(item.data_type())?),
        DataType::FixedSizeList(item, length) => format!("fixed_size_list<{}, {length}>", name(item.data_type())?),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| Ok(format!("{}: {}", field.name(), name(field.data_type())?)));
            format!("struct<{}>", fields.collect::<Result<Vec<_>, Failure>>()?.join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                format!("map<{}, {}>", name(pair[0].data_type())?, name(pair[1].data_type())?)
            }
            other => return Err(format!("{other} are no map entries").into()),
        },
        DataType::Dictionary(keys, values) => format!("dictionary<{}, {}>", name(keys)?, name(values)?),
        DataType::RunEndEncoded(ends, values) => {
            format!("run_end_encoded<{}, {}>", name(ends.data_type())?, name(values.data_type())?)
        }
        number if number.is_numeric() => format!("{number:?}").to_lowercase(),
        other => return Err(format!("{other} has no name").into()),
    })
}

const fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

/// The type of this name
fn named(text: &str) -> Result<DataType, Failure> {
    let simple = [
        DataType::Null,
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float16,
        DataType::Float32,
        DataType::Float64,
        DataType::Date32,
        DataType::Date64,
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Binary,
        DataType::LargeBinary,
        DataType::BinaryView,
    ];
    for data_type in simple {
        if name(&data_type)? == text {
            return Ok(data_type);
        }
    }
    let unknown = || Failure::from(format!("no type is named `{text}`"));
    let open = text.find(['<', '(', '[']).ok_or_else(unknown)?;
    let (outer, arguments) = (&text[..open], split(&text[open + 1..text.len() - 1]));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let item = |index: usize| {
        let named = named(arguments.get(index).ok_or_else(unknown)?)?;
        Ok::<_, Failure>(Arc::new(Field::new_list_field(named, true)))
    };
    Ok(match (outer, arguments.as_slice()) {
        ("fixed_size_binary", [width]) => DataType::FixedSizeBinary(width.parse()?),
        ("decimal32", [precision, scale]) => DataType::Decimal32(precision.parse()?, scale.parse()?),
        ("decimal64", [precision, scale]) => DataType::Decimal64(precision.parse()?, scale.parse()?),
        ("decimal128", [precision, scale]) => DataType::Decimal128(precision.parse()?, scale.parse()?),
        ("decimal256", [precision, scale]) => DataType::Decimal256(precision.parse()?, scale.parse()?),
        ("time32", [unit]) => DataType::Time32(unit_of(unit)?),
        ("time64", [unit]) => DataType::Time64(unit_of(unit)?),
        ("duration", [unit]) => DataType::Duration(unit_of(unit)?),
        ("timestamp", [unit]) => DataType::Timestamp(unit_of(unit)?, None),
        ("timestamp", [unit, zone]) => DataType::Timestamp(unit_of(unit)?, Some((*zone).into())),
        ("list", [_]) => DataType::List(item(0)?),
        ("large_list", [_]) => DataType::LargeList(item(0)?),
        ("fixed_size_list", [_, length]) => DataType::FixedSizeList(item(0)?, length.parse()?),
        ("dictionary", [keys, values]) => DataType::Dictionary(Box::new(named(keys)?), Box::new(named(values)?)),
        ("struct", fields) => {
            let field = |text: &&str| {
                let (name, data_type) = text.split_once(": ").ok_or_else(unknown)?;
                Ok::<_, Failure>(Field::new(name, named(data_type)?, true))
            };
            DataType::Struct(fields.iter().map(field).collect::<Result<Vec<_>, _>>()?.into())
        }
        ("map", [keys, values]) => {
            let pair = vec![Field::new("key", named(keys)?, false), Field::new("value", named(values)?, true)];
            DataType::Map(Arc::new(Field::new("entries", DataType::Struct(pair.into()), false)), false)
        }
        _ => return Err(unknown()),
    })
}

fn unit_of(text: &str) -> Result<TimeUnit, Failure> {
    let units = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    units.into_iter().find(|unit| unit_name(*unit) == text).ok_or_else(|| format!("`{text}` is no unit").into())
}

/// Splits at the commas that are within no brackets
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_i32;
    for letter in text.chars() {
        depth += i32::from("<([".contains(letter)) - i32::from(">)]".contains(letter));
        match parts.last_mut() {
            Some(last) if letter != ',' || depth > 0 => last.push(letter),
            _ => parts.push(String::new()),
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// A value as the text that it is parsed from
fn leaf(value: &Json) -> Option<String> {
    match value {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn parsed<T: std::str::FromStr>(values: &[Json]) -> Result<Vec<Option<T>>, Failure>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    values.iter().map(|value| leaf(value).map(|text| text.parse().map_err(Failure::from)).transpose()).collect()
}

/// An array of these values
fn array(data_type: &DataType, values: &[Json]) -> Result<ArrayRef, Failure> {
    let texts = || values.iter().map(leaf);
    let storage: ArrayRef = match data_type {
        DataType::Null => Arc::new(NullArray::new(values.len())),
        DataType::Boolean => Arc::new(BooleanArray::from(parsed::<bool>(values)?)),
        DataType::UInt64 => Arc::new(UInt64Array::from(parsed::<u64>(values)?)),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            Arc::new(Float64Array::from(parsed::<f64>(values)?))
        }
        DataType::Date32 | DataType::Time32(_) => Arc::new(Int32Array::from(parsed::<i32>(values)?)),
        number if number.is_integer() => Arc::new(Int64Array::from(parsed::<i64>(values)?)),
        DataType::Date64 | DataType::Time64(_) | DataType::Timestamp(..) | DataType::Duration(_) => {
            Arc::new(Int64Array::from(parsed::<i64>(values)?))
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            let bytes = texts().map(|text| text.map(|text| from_hex(&text)).transpose());
            Arc::new(bytes.collect::<Result<Vec<_>, _>>()?.iter().map(Option::as_deref).collect::<BinaryArray>())
        }
        DataType::Dictionary(_, items) => array(items, values)?,
        nested if nested.is_nested() => return nest(data_type, values),
        _ => Arc::new(texts().collect::<StringArray>()),
    };
    Ok(cast(&storage, data_type)?)
}

fn nest(data_type: &DataType, values: &[Json]) -> Result<ArrayRef, Failure> {
    let nulls: NullBuffer = values.iter().map(|value| !value.is_null()).collect();
    let length = |value: &Json| value.as_array().map_or(0, Vec::len);
    let items: Vec<Json> = values.iter().filter_map(Json::as_array).flatten().cloned().collect();
    Ok(match data_type {
        DataType::List(item) => {
            let offsets = OffsetBuffer::from_lengths(values.iter().map(length));
            Arc::new(ListArray::try_new(Arc::clone(item), offsets, array(item.data_type(), &items)?, Some(nulls))?)
        }
        DataType::LargeList(item) => {
            let offsets = OffsetBuffer::from_lengths(values.iter().map(length));
            let items = array(item.data_type(), &items)?;
            Arc::new(LargeListArray::try_new(Arc::clone(item), offsets, items, Some(nulls))?)
        }
        DataType::FixedSizeList(item, length) => {
            let missing = vec![Json::Null; usize::try_from(*length)?];
            let full = values.iter().flat_map(|value| value.as_array().unwrap_or(&missing)).cloned();
            let items = array(item.data_type(), &full.collect::<Vec<_>>())?;
            Arc::new(FixedSizeListArray::try_new(Arc::clone(item), *length, items, Some(nulls))?)
        }
        DataType::Struct(fields) => {
            let column = |field: &Arc<Field>| {
                array(field.data_type(), &values.iter().map(|value| value[field.name()].clone()).collect::<Vec<_>>())
            };
            let columns = fields.iter().map(column).collect::<Result<Vec<_>, _>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, Some(nulls))?)
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(pair) = entries.data_type() else { return Err("a map without entries".into()) };
            let side = |index: usize| {
                let side: Vec<Json> = items.iter().map(|entry| entry[index].clone()).collect();
                array(pair[index].data_type(), &side)
            };
            let structs = StructArray::try_new(pair.clone(), vec![side(0)?, side(1)?], None)?;
            let offsets = OffsetBuffer::from_lengths(values.iter().map(length));
            Arc::new(MapArray::try_new(Arc::clone(entries), offsets, structs, Some(nulls), false)?)
        }
        other => return Err(format!("arrays of {other} are only read here").into()),
    })
}

/// The values as their own strings, or null
fn texts(array: &ArrayRef) -> Result<Vec<Json>, Failure> {
    fn of<T: ArrowPrimitiveType>(array: &ArrayRef, write: impl Fn(T::Native) -> String) -> Vec<Json> {
        array.as_primitive::<T>().iter().map(|value| value.map(&write).into()).collect()
    }
    fn binary<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> Vec<Json> {
        values.map(|value| value.map(hex).into()).collect()
    }
    Ok(match array.data_type() {
        DataType::Null => vec![Json::Null; array.len()],
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            // The debug form keeps the sign of zero and is short for the ends of the range.
            of::<Float64Type>(&cast(array, &DataType::Float64)?, |value| format!("{value:?}"))
        }
        DataType::Date32 => of::<Date32Type>(array, |days| days.to_string()),
        DataType::Date64 => of::<Date64Type>(array, |milliseconds| milliseconds.to_string()),
        DataType::Time32(_) => of::<Int32Type>(&cast(array, &DataType::Int32)?, |units| units.to_string()),
        DataType::Time64(_) | DataType::Timestamp(..) | DataType::Duration(_) => {
            of::<Int64Type>(&cast(array, &DataType::Int64)?, |units| units.to_string())
        }
        DataType::Interval(IntervalUnit::YearMonth) => of::<IntervalYearMonthType>(array, |months| months.to_string()),
        DataType::Interval(IntervalUnit::DayTime) => {
            of::<IntervalDayTimeType>(array, |value| format!("{},{}", value.days, value.milliseconds))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => of::<IntervalMonthDayNanoType>(array, |value| {
            format!("{},{},{}", value.months, value.days, value.nanoseconds)
        }),
        DataType::Binary => binary(array.as_binary::<i32>().iter()),
        DataType::LargeBinary => binary(array.as_binary::<i64>().iter()),
        DataType::BinaryView => binary(array.as_binary_view().iter()),
        DataType::FixedSizeBinary(_) => binary(array.as_fixed_size_binary().iter()),
        DataType::Dictionary(_, values) => texts(&cast(array, values)?)?,
        DataType::RunEndEncoded(_, values) => texts(&cast(array, values.data_type())?)?,
        _ => cast(array, &DataType::Utf8)?.as_string::<i32>().iter().map(Json::from).collect(),
    })
}

/// A value within JSON text
fn inner(array: &ArrayRef, row: usize) -> Result<Json, Failure> {
    let text = || Ok::<_, Failure>(texts(&array.slice(row, 1))?.swap_remove(0));
    let list = |items: &ArrayRef| (0..items.len()).map(|row| inner(items, row)).collect::<Result<Json, _>>();
    if array.data_type() != &DataType::Null && array.is_null(row) {
        return Ok(Json::Null);
    }
    match array.data_type() {
        DataType::List(_) => list(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row)),
        DataType::ListView(_) => list(&array.as_list_view::<i32>().value(row)),
        DataType::LargeListView(_) => list(&array.as_list_view::<i64>().value(row)),
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row)),
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            let cells = columns.map(|(field, column)| Ok::<_, Failure>((field.name().clone(), inner(column, row)?)));
            Ok(Json::Object(cells.collect::<Result<Map<_, _>, _>>()?))
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            (0..entries.len()).map(|row| Ok(json!([inner(keys, row)?, inner(values, row)?]))).collect()
        }
        DataType::Dictionary(_, values) => inner(&cast(&array.slice(row, 1), values)?, 0),
        number if number.is_integer() || number.is_floating() || number == &DataType::Boolean => {
            let shown = text()?;
            let read = shown.as_str().and_then(|text| serde_json::from_str(text).ok());
            Ok(read.filter(|_| shown != "-0.0").unwrap_or(shown))
        }
        _ => text(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into memory can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Result<Vec<u8>, Failure> {
    let digits = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    text.as_bytes().chunks(2).map(digits).collect()
}
