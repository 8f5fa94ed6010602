//! Columns between Arrow and Python: numbers as numpy's bytes, everything else as Python values.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, BooleanBuilder, StringBuilder};
use arrow_array::cast::AsArray as _;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Int32Array, NullArray, PrimitiveArray, RecordBatch, RecordBatchOptions,
    make_array,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::encode::named;
use crate::failure::Failure;
use crate::table::{Table, unconvertible};

fn failed(error: &ArrowError) -> Failure {
    unconvertible(error.to_string())
}

/// Columns that every reader of Arrow IPC takes: views become plain text and bytes, as only young readers know them
pub(crate) fn readable(schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<(SchemaRef, Vec<RecordBatch>), Failure> {
    if schema.fields().iter().all(|field| without_views(field.data_type()).is_none()) {
        return Ok((schema, batches));
    }
    let fields = schema.fields().iter().map(|field| match without_views(field.data_type()) {
        Some(plain) => Arc::new(field.as_ref().clone().with_data_type(plain)),
        None => Arc::clone(field),
    });
    let plain = Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()));
    let cast = |batch: RecordBatch| {
        let columns = batch.columns().iter().zip(plain.fields()).map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(Arc::clone(column));
            }
            arrow_cast::cast(column, field.data_type())
        });
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&plain), columns.collect::<Result<_, _>>()?, &options)
    };
    let batches = batches.into_iter().map(cast).collect::<Result<_, _>>().map_err(|error| failed(&error))?;
    Ok((plain, batches))
}

/// The type without views in it, where it has any
fn without_views(data_type: &DataType) -> Option<DataType> {
    let inner = |field: &Arc<Field>| {
        without_views(field.data_type()).map(|plain| Arc::new(field.as_ref().clone().with_data_type(plain)))
    };
    match data_type {
        DataType::Utf8View => Some(DataType::LargeUtf8),
        DataType::BinaryView => Some(DataType::LargeBinary),
        DataType::List(field) => inner(field).map(DataType::List),
        DataType::LargeList(field) => inner(field).map(DataType::LargeList),
        DataType::ListView(field) => Some(DataType::List(inner(field).unwrap_or_else(|| Arc::clone(field)))),
        DataType::LargeListView(field) => Some(DataType::LargeList(inner(field).unwrap_or_else(|| Arc::clone(field)))),
        DataType::FixedSizeList(field, size) => inner(field).map(|field| DataType::FixedSizeList(field, *size)),
        DataType::Struct(fields) if fields.iter().any(|field| without_views(field.data_type()).is_some()) => {
            let fields = fields.iter().map(|field| inner(field).unwrap_or_else(|| Arc::clone(field)));
            Some(DataType::Struct(fields.collect()))
        }
        DataType::Dictionary(keys, values) => {
            without_views(values).map(|plain| DataType::Dictionary(keys.clone(), Box::new(plain)))
        }
        _ => None,
    }
}

/// A type in Arrow's words, as pandas and pyarrow write it
pub(crate) fn type_name(data_type: &DataType) -> String {
    let unit = |unit: &TimeUnit| match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    };
    match data_type {
        DataType::Boolean => "bool".to_owned(),
        DataType::Utf8 | DataType::Utf8View => "string".to_owned(),
        DataType::LargeUtf8 => "large_string".to_owned(),
        DataType::Timestamp(of, None) => format!("timestamp[{}]", unit(of)),
        DataType::Timestamp(of, Some(zone)) => format!("timestamp[{}, {zone}]", unit(of)),
        DataType::Duration(of) => format!("duration[{}]", unit(of)),
        DataType::Time32(of) => format!("time32[{}]", unit(of)),
        DataType::Time64(of) => format!("time64[{}]", unit(of)),
        DataType::Decimal128(precision, scale) => format!("decimal128({precision}, {scale})"),
        DataType::Decimal256(precision, scale) => format!("decimal256({precision}, {scale})"),
        DataType::Dictionary(keys, values) => format!("dictionary<{}, {}>", type_name(keys), type_name(values)),
        DataType::List(field) | DataType::LargeList(field) => format!("list<{}>", type_name(field.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| format!("{}: {}", field.name(), type_name(field.data_type())));
            format!("struct<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string().to_lowercase(),
    }
}

/// The type of a word that `natsbridge._tables` uses for columns of fixed width
fn fixed(kind: &str) -> Option<DataType> {
    let unit = |text: &str| match text {
        "s" => Some(TimeUnit::Second),
        "ms" => Some(TimeUnit::Millisecond),
        "us" => Some(TimeUnit::Microsecond),
        "ns" => Some(TimeUnit::Nanosecond),
        _ => None,
    };
    Some(match kind {
        "int8" => DataType::Int8,
        "int16" => DataType::Int16,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "uint8" => DataType::UInt8,
        "uint16" => DataType::UInt16,
        "uint32" => DataType::UInt32,
        "uint64" => DataType::UInt64,
        "float16" => DataType::Float16,
        "float32" => DataType::Float32,
        "float64" => DataType::Float64,
        "date32" => DataType::Date32,
        "time64" => DataType::Time64(TimeUnit::Microsecond),
        other => {
            let (name, rest) = other.strip_suffix(']')?.split_once('[')?;
            match (name, rest.split_once(", ")) {
                ("timestamp", None) => DataType::Timestamp(unit(rest)?, None),
                ("timestamp", Some((of, zone))) => DataType::Timestamp(unit(of)?, Some(zone.into())),
                ("duration", None) => DataType::Duration(unit(rest)?),
                _ => return None,
            }
        }
    })
}

/// A batch of columns given as `(name, kind, …)`
pub(crate) fn made(given: &Bound<'_, PyList>) -> Result<RecordBatch, Failure> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for column in given.iter() {
        let column = column.cast_into::<PyTuple>().map_err(|error| Failure::Python(error.into()))?;
        let name: String = column.get_item(0).and_then(|name| name.extract()).map_err(Failure::Python)?;
        let array = array(&column).map_err(|failure| match failure {
            Failure::Own(mut own) => {
                own.text = format!("column `{}`: {}", natsbridge::wire::shown(&name), own.text);
                Failure::Own(own)
            }
            other => other,
        })?;
        fields.push(Field::new(name, array.data_type().clone(), true));
        columns.push(array);
    }
    let rows = columns.first().map_or(0, |column| column.len());
    if let Some(at) = columns.iter().position(|column| column.len() != rows) {
        let [first, other] = [0, at].map(|at: usize| {
            let rows = columns[at].len();
            let name = natsbridge::wire::shown(fields[at].name());
            format!("`{name}` has {rows} row{}", if rows == 1 { "" } else { "s" })
        });
        return Err(unconvertible(format!("the columns differ in length: {first}, {other}")));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(|error| failed(&error))
}

fn item<'py, T>(column: &Bound<'py, PyTuple>, at: usize) -> Result<T, Failure>
where
    T: for<'a> FromPyObject<'a, 'py>,
    for<'a> <T as FromPyObject<'a, 'py>>::Error: Into<PyErr>,
{
    let item = column.get_item(at).map_err(Failure::Python)?;
    item.extract::<T>().map_err(|error| Failure::Python(error.into()))
}

/// Bytes of Python's, as Arrow's buffer without a copy
fn shared(bytes: PyBackedBytes) -> Buffer {
    Buffer::from(Bytes::from_owner(bytes))
}

/// Nulls of one byte for each value, 1 for null
fn nulls(mask: Option<PyBackedBytes>) -> Option<NullBuffer> {
    mask.map(|mask| NullBuffer::new(BooleanBuffer::collect_bool(mask.len(), |at| mask[at] == 0)))
}

fn array(column: &Bound<'_, PyTuple>) -> Result<ArrayRef, Failure> {
    let kind: String = item(column, 1)?;
    if let Some(data_type) = fixed(&kind) {
        let values = shared(item(column, 2)?);
        let nulls = nulls(item(column, 3)?);
        let width = data_type.primitive_width().unwrap_or(1);
        let data = arrow_data::ArrayData::builder(data_type)
            .len(values.len() / width)
            .add_buffer(values)
            .nulls(nulls)
            .align_buffers(true)
            .build();
        return data.map(make_array).map_err(|error| failed(&error));
    }
    match &*kind {
        "null" => Ok(Arc::new(NullArray::new(item(column, 2)?))),
        "bool" => {
            let values: PyBackedBytes = item(column, 2)?;
            let bits = BooleanBuffer::collect_bool(values.len(), |at| values[at] != 0);
            Ok(Arc::new(arrow_array::BooleanArray::new(bits, nulls(item(column, 3)?))))
        }
        "string" => {
            let values: Bound<'_, PyList> = item(column, 2)?;
            let mut builder = StringBuilder::with_capacity(values.len(), values.len() * 16);
            for (at, value) in values.iter().enumerate() {
                match value.cast::<PyString>() {
                    Ok(text) => {
                        let lone = |_| unconvertible(format!("row {at} has a lone surrogate"));
                        builder.append_value(&*text.to_cow().map_err(lone)?);
                    }
                    Err(_) if value.is_none() => builder.append_null(),
                    Err(_) => return Err(mixed(at, "text", &value)),
                }
            }
            Ok(Arc::new(builder.finish()))
        }
        "binary" => {
            let values: Bound<'_, PyList> = item(column, 2)?;
            let mut builder = BinaryBuilder::new();
            for (at, value) in values.iter().enumerate() {
                match value.cast::<PyBytes>() {
                    Ok(bytes) => builder.append_value(bytes.as_bytes()),
                    Err(_) if value.is_none() => builder.append_null(),
                    Err(_) => return Err(mixed(at, "bytes", &value)),
                }
            }
            Ok(Arc::new(builder.finish()))
        }
        "truth" => {
            let values: Bound<'_, PyList> = item(column, 2)?;
            let mut builder = BooleanBuilder::new();
            for value in values.iter() {
                builder.append_option(value.extract::<Option<bool>>().map_err(Failure::Python)?);
            }
            Ok(Arc::new(builder.finish()))
        }
        "dictionary" => {
            let codes = shared(item(column, 2)?);
            let nulls = nulls(item(column, 3)?);
            let ordered: bool = item(column, 5)?;
            let categories: Bound<'_, PyTuple> = item(column, 4)?;
            let values = array(&categories)?;
            let keys = Int32Array::new(codes.into(), nulls);
            let array = DictionaryArray::<Int32Type>::try_new(keys, values).map_err(|error| failed(&error))?;
            let _ = ordered;
            Ok(Arc::new(array))
        }
        "decimal" => {
            let values: Vec<Option<String>> = item(column, 2)?;
            let (precision, scale): (u8, i8) = item(column, 3)?;
            let mut text = StringBuilder::new();
            values.iter().for_each(|value| text.append_option(value.as_deref()));
            let to = if precision <= 38 {
                DataType::Decimal128(precision, scale)
            } else {
                DataType::Decimal256(precision, scale)
            };
            let options = arrow_cast::CastOptions { safe: false, ..arrow_cast::CastOptions::default() };
            arrow_cast::cast_with_options(&text.finish(), &to, &options).map_err(|error| failed(&error))
        }
        "nested" => {
            let table: Bound<'_, Table> = item(column, 2)?;
            let batches = table.get().inner().batches();
            match batches.first().map(|batch| batch.columns()) {
                Some([one]) => Ok(Arc::clone(one)),
                _ => Err(unconvertible("it has no rows")),
            }
        }
        other => Err(unconvertible(format!("it can't be made of {other}"))),
    }
}

fn mixed(at: usize, wanted: &str, found: &Bound<'_, PyAny>) -> Failure {
    unconvertible(format!("row {at} is {}, and rows before it are {wanted}", named(found)))
}

/// A column of numbers as numpy reads it: its type, its bytes, and its nulls
pub(crate) fn buffer<'py>(py: Python<'py>, column: &ArrayRef) -> Result<Option<Bound<'py, PyTuple>>, Failure> {
    let unit = |unit: &TimeUnit| match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    };
    let kind = match column.data_type() {
        DataType::Boolean => {
            let truths = column.as_boolean().values();
            let bytes = PyBytes::new(py, &truths.iter().map(u8::from).collect::<Vec<_>>());
            return Ok(Some(tuple(py, "bool", &bytes, column)?));
        }
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            column.data_type().to_string().to_lowercase()
        }
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            column.data_type().to_string().to_lowercase()
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => column.data_type().to_string().to_lowercase(),
        DataType::Timestamp(of, _) => format!("datetime64[{}]", unit(of)),
        DataType::Duration(of) => format!("timedelta64[{}]", unit(of)),
        _ => return Ok(None),
    };
    let data = column.to_data();
    let width = column.data_type().primitive_width().unwrap_or(1);
    let (start, length) = (data.offset() * width, data.len() * width);
    let bytes = data.buffers().first().and_then(|buffer| buffer.as_slice().get(start..start + length));
    let bytes = PyBytes::new(py, bytes.unwrap_or_default());
    Ok(Some(tuple(py, &kind, &bytes, column)?))
}

fn tuple<'py>(
    py: Python<'py>,
    kind: &str,
    bytes: &Bound<'py, PyBytes>,
    column: &ArrayRef,
) -> Result<Bound<'py, PyTuple>, Failure> {
    let mask = (column.logical_null_count() > 0).then(|| {
        let mask: Vec<u8> = (0..column.len()).map(|at| u8::from(column.is_null(at))).collect();
        PyBytes::new(py, &mask)
    });
    (kind, bytes, mask).into_pyobject(py).map_err(Failure::Python)
}

/// The values of a column
pub(crate) fn values<'py>(py: Python<'py>, column: &ArrayRef) -> Result<Bound<'py, PyList>, Failure> {
    // Keys of a dictionary without values are all null, and can't be normalised.
    if let Some(dictionary) = column.as_any_dictionary_opt().filter(|dictionary| !dictionary.values().is_empty()) {
        let known = values(py, dictionary.values())?;
        let keys = dictionary.normalized_keys();
        let found = keys
            .iter()
            .enumerate()
            .map(|(at, key)| if column.is_null(at) { Ok(py.None().into_bound(py)) } else { known.get_item(*key) });
        let found = found.collect::<PyResult<Vec<_>>>().map_err(Failure::Python)?;
        return PyList::new(py, found).map_err(Failure::Python);
    }
    let values = (0..column.len()).map(|at| value(py, column, at)).collect::<Result<Vec<_>, _>>()?;
    PyList::new(py, values).map_err(Failure::Python)
}

fn primitive<'py, T>(py: Python<'py>, column: &dyn Array, at: usize) -> Result<Bound<'py, PyAny>, Failure>
where
    T: arrow_array::ArrowPrimitiveType,
    T::Native: IntoPyObject<'py>,
{
    let values: &PrimitiveArray<T> = column.as_primitive();
    values.value(at).into_bound_py_any(py).map_err(Failure::Python)
}

/// Turns a count of units into Python's own type, by a function of `natsbridge._values`
fn temporal<'py>(
    py: Python<'py>,
    function: &str,
    count: Bound<'py, PyAny>,
    unit: Option<TimeUnit>,
    zone: Option<&str>,
) -> Result<Bound<'py, PyAny>, Failure> {
    let scale = unit.map(|unit| match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000_i64,
    });
    let call = || py.import("natsbridge._values")?.getattr(function)?.call1((count, scale, zone));
    call().map_err(Failure::Python)
}

fn list<'py>(py: Python<'py>, items: &ArrayRef) -> Result<Bound<'py, PyAny>, Failure> {
    values(py, items).map(Bound::into_any)
}

/// One value of an array
fn value<'py>(py: Python<'py>, column: &dyn Array, at: usize) -> Result<Bound<'py, PyAny>, Failure> {
    use arrow_array::types as t;
    if column.is_null(at) {
        return Ok(py.None().into_bound(py));
    }
    let text = |text: &str| Ok(PyString::new(py, text).into_any());
    let bytes = |bytes: &[u8]| Ok(PyBytes::new(py, bytes).into_any());
    match column.data_type() {
        DataType::Null => Ok(py.None().into_bound(py)),
        DataType::Boolean => column.as_boolean().value(at).into_bound_py_any(py).map_err(Failure::Python),
        DataType::Int8 => primitive::<t::Int8Type>(py, column, at),
        DataType::Int16 => primitive::<t::Int16Type>(py, column, at),
        DataType::Int32 => primitive::<t::Int32Type>(py, column, at),
        DataType::Int64 => primitive::<t::Int64Type>(py, column, at),
        DataType::UInt8 => primitive::<t::UInt8Type>(py, column, at),
        DataType::UInt16 => primitive::<t::UInt16Type>(py, column, at),
        DataType::UInt32 => primitive::<t::UInt32Type>(py, column, at),
        DataType::UInt64 => primitive::<t::UInt64Type>(py, column, at),
        DataType::Float32 => primitive::<t::Float32Type>(py, column, at),
        DataType::Float64 => primitive::<t::Float64Type>(py, column, at),
        DataType::Float16 => {
            f64::from(column.as_primitive::<t::Float16Type>().value(at)).into_bound_py_any(py).map_err(Failure::Python)
        }
        DataType::Utf8 => text(column.as_string::<i32>().value(at)),
        DataType::LargeUtf8 => text(column.as_string::<i64>().value(at)),
        DataType::Utf8View => text(column.as_string_view().value(at)),
        DataType::Binary => bytes(column.as_binary::<i32>().value(at)),
        DataType::LargeBinary => bytes(column.as_binary::<i64>().value(at)),
        DataType::BinaryView => bytes(column.as_binary_view().value(at)),
        DataType::FixedSizeBinary(_) => bytes(column.as_fixed_size_binary().value(at)),
        DataType::Date32 => temporal(py, "date", primitive::<t::Date32Type>(py, column, at)?, None, None),
        DataType::Date64 => temporal(py, "date_ms", primitive::<t::Date64Type>(py, column, at)?, None, None),
        DataType::Timestamp(unit, zone) => {
            let count = match unit {
                TimeUnit::Second => primitive::<t::TimestampSecondType>(py, column, at),
                TimeUnit::Millisecond => primitive::<t::TimestampMillisecondType>(py, column, at),
                TimeUnit::Microsecond => primitive::<t::TimestampMicrosecondType>(py, column, at),
                TimeUnit::Nanosecond => primitive::<t::TimestampNanosecondType>(py, column, at),
            }?;
            temporal(py, "timestamp", count, Some(*unit), zone.as_deref())
        }
        DataType::Duration(unit) => {
            let count = match unit {
                TimeUnit::Second => primitive::<t::DurationSecondType>(py, column, at),
                TimeUnit::Millisecond => primitive::<t::DurationMillisecondType>(py, column, at),
                TimeUnit::Microsecond => primitive::<t::DurationMicrosecondType>(py, column, at),
                TimeUnit::Nanosecond => primitive::<t::DurationNanosecondType>(py, column, at),
            }?;
            temporal(py, "duration", count, Some(*unit), None)
        }
        DataType::Time32(TimeUnit::Second) => {
            temporal(py, "time", primitive::<t::Time32SecondType>(py, column, at)?, Some(TimeUnit::Second), None)
        }
        DataType::Time32(_) => {
            let count = primitive::<t::Time32MillisecondType>(py, column, at)?;
            temporal(py, "time", count, Some(TimeUnit::Millisecond), None)
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            let count = primitive::<t::Time64NanosecondType>(py, column, at)?;
            temporal(py, "time", count, Some(TimeUnit::Nanosecond), None)
        }
        DataType::Time64(_) => {
            let count = primitive::<t::Time64MicrosecondType>(py, column, at)?;
            temporal(py, "time", count, Some(TimeUnit::Microsecond), None)
        }
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            let shown = arrow_cast::display::array_value_to_string(column, at).map_err(|error| failed(&error))?;
            let call = || py.import("decimal")?.getattr("Decimal")?.call1((shown,));
            call().map_err(Failure::Python)
        }
        DataType::List(_) => list(py, &column.as_list::<i32>().value(at)),
        DataType::LargeList(_) => list(py, &column.as_list::<i64>().value(at)),
        DataType::FixedSizeList(..) => list(py, &column.as_fixed_size_list().value(at)),
        DataType::Struct(fields) => {
            let dict = PyDict::new(py);
            let columns = column.as_struct();
            for (field, inner) in fields.iter().zip(columns.columns()) {
                dict.set_item(field.name(), value(py, inner, at)?).map_err(Failure::Python)?;
            }
            Ok(dict.into_any())
        }
        DataType::Map(..) => {
            let entries = column.as_map().value(at);
            let pairs = (0..entries.len()).map(|at| {
                let pair = [value(py, entries.column(0), at)?, value(py, entries.column(1), at)?];
                PyTuple::new(py, pair).map_err(Failure::Python)
            });
            let pairs = pairs.collect::<Result<Vec<_>, Failure>>()?;
            PyList::new(py, pairs).map(Bound::into_any).map_err(Failure::Python)
        }
        DataType::Dictionary(_, inner) => {
            let one = arrow_cast::cast(&column.slice(at, 1), inner).map_err(|error| failed(&error))?;
            value(py, &one, 0)
        }
        DataType::RunEndEncoded(..) | DataType::Union(..) | DataType::Interval(_) => {
            text(&arrow_cast::display::array_value_to_string(column, at).map_err(|error| failed(&error))?)
        }
        other => Err(unconvertible(format!("values of type {other} have no Python form; use to_pyarrow"))),
    }
}
