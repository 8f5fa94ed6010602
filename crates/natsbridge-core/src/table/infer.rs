//! JSON rows to Arrow tables: the type of each column from all its values, then its array.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, NullArray, RecordBatch, RecordBatchOptions,
    StringArray, StructArray, UInt64Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, Field, Fields, Schema};
use serde_json::{Map, Number, Value as Json};

use super::{Table, TableLimits};
use crate::Rows;
use crate::error::{CodecError, CodecFault};
use crate::harmless::shown_within;

/// Integers up to here are each one float64
const EXACT: u64 = 1 << 53;

pub(super) fn from_rows(rows: &Rows) -> Result<Table, CodecError> {
    let objects: Vec<_> = rows.as_slice().iter().map(Some).collect();
    let mut budget = Cells { taken: 0, limit: limit(rows) };
    let (fields, arrays) = columns(&objects, &Path::Root, &mut budget)?;
    let schema = Arc::new(Schema::new(fields));
    let options = RecordBatchOptions::new().with_row_count(Some(objects.len()));
    let batch = RecordBatch::try_new_with_options(schema, arrays, &options)
        .map_err(|error| unbuildable(&Path::Root, &error))?;
    Ok(batch.into())
}

/// Bytes that the arrays may take: 256 times 8 for each value that there is, 64 MiB in any case
fn limit(rows: &Rows) -> u64 {
    const ALWAYS: u64 = 64 << 20;
    const VALUE: u64 = 256 * 8;
    fn values(json: &Json) -> u64 {
        match json {
            Json::Array(items) => items.iter().map(values).sum(),
            Json::Object(members) => members.values().map(values).sum(),
            _ => 1,
        }
    }
    let given: u64 = rows.as_slice().iter().flat_map(Map::values).map(values).sum();
    given.saturating_mul(VALUE).clamp(ALWAYS, TableLimits::default().bytes())
}

/// Where a value is, put into words only for an error: with long names that is dear
enum Path<'a> {
    Root,
    Member(&'a Self, &'a str),
    Items(&'a Self),
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(Self::Root, name) => f.write_str(name),
            Self::Member(parent, name) => write!(f, "{parent}.{name}"),
            Self::Items(parent) => write!(f, "{parent}[]"),
        }
    }
}

/// Memory of the arrays, which for rows with ever new keys grows with the square of the input
struct Cells {
    taken: u64,
    limit: u64,
}

impl Cells {
    fn take(&mut self, cells: usize) -> Result<(), CodecError> {
        let bytes = u64::try_from(cells).unwrap_or(u64::MAX).saturating_mul(8);
        self.taken = self.taken.saturating_add(bytes);
        if self.taken > self.limit {
            return Err(CodecError(CodecFault::TableTooLarge { needed: self.taken, limit: self.limit }));
        }
        Ok(())
    }
}

/// The fields that objects name, in first-seen order, and their arrays
fn columns(
    objects: &[Option<&Map<String, Json>>],
    parent: &Path<'_>,
    budget: &mut Cells,
) -> Result<(Fields, Vec<ArrayRef>), CodecError> {
    let mut names: Vec<&str> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for name in objects.iter().flatten().flat_map(|object| object.keys()) {
        places.entry(name).or_insert_with(|| {
            names.push(name);
            names.len() - 1
        });
    }
    budget.take(names.len().saturating_mul(objects.len()))?;
    let mut fields = Vec::with_capacity(names.len());
    let mut arrays = Vec::with_capacity(names.len());
    for name in names {
        let path = Path::Member(parent, name);
        let values: Vec<_> =
            objects.iter().map(|object| object.and_then(|object| object.get(name)).and_then(some)).collect();
        let array = array_of(&values, &path, budget)?;
        fields.push(Field::new(name, array.data_type().clone(), true));
        arrays.push(array);
    }
    Ok((fields.into(), arrays))
}

/// The value, where it is not null
fn some(value: &Json) -> Option<&Json> {
    (!value.is_null()).then_some(value)
}

/// The array of these values, whose type is that of them all
fn array_of(values: &[Option<&Json>], path: &Path<'_>, budget: &mut Cells) -> Result<ArrayRef, CodecError> {
    let mut present = values.iter().flatten();
    let Some(first) = present.next() else {
        return Ok(Arc::new(NullArray::new(values.len())));
    };
    if let Some(other) = present.find(|value| kind(value) != kind(first)) {
        return Err(unconvertible(path, format!("it holds both {} and {}", kind(first), kind(other))));
    }
    Ok(match first {
        Json::Null => Arc::new(NullArray::new(values.len())),
        Json::Bool(_) => Arc::new(values.iter().map(|value| value.and_then(Json::as_bool)).collect::<BooleanArray>()),
        Json::String(_) => Arc::new(values.iter().map(|value| value.and_then(Json::as_str)).collect::<StringArray>()),
        Json::Number(_) => numbers(values, path)?,
        Json::Array(_) => {
            let lists: Vec<_> = values.iter().map(|value| value.and_then(Json::as_array)).collect();
            let nulls: NullBuffer = lists.iter().map(Option::is_some).collect();
            let offsets = OffsetBuffer::<i32>::from_lengths(lists.iter().map(|list| list.map_or(0, Vec::len)));
            let items: Vec<_> = lists.iter().flatten().flat_map(|list| list.iter().map(some)).collect();
            budget.take(items.len())?;
            let items = array_of(&items, &Path::Items(path), budget)?;
            let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
            Arc::new(ListArray::try_new(field, offsets, items, Some(nulls)).map_err(|error| unbuildable(path, &error))?)
        }
        Json::Object(_) => {
            let objects: Vec<_> = values.iter().map(|value| value.and_then(Json::as_object)).collect();
            let nulls: NullBuffer = objects.iter().map(Option::is_some).collect();
            let (fields, arrays) = columns(&objects, path, budget)?;
            if fields.is_empty() {
                return Ok(Arc::new(StructArray::new_empty_fields(objects.len(), Some(nulls))));
            }
            Arc::new(StructArray::try_new(fields, arrays, Some(nulls)).map_err(|error| unbuildable(path, &error))?)
        }
    })
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "nulls",
        Json::Bool(_) => "booleans",
        Json::Number(_) => "numbers",
        Json::String(_) => "text",
        Json::Array(_) => "lists",
        Json::Object(_) => "objects",
    }
}

/// The narrowest of int64, uint64 and float64 that holds each number exactly
fn numbers(values: &[Option<&Json>], path: &Path<'_>) -> Result<ArrayRef, CodecError> {
    let numbers = || values.iter().map(|value| value.and_then(Json::as_number));
    let any = |is: &dyn Fn(&Number) -> bool| numbers().flatten().any(is);
    if any(&|number| number.is_f64()) {
        if any(&|number| {
            number.as_i64().map(i64::unsigned_abs).or(number.as_u64()).is_some_and(|number| number > EXACT)
        }) {
            return Err(unconvertible(
                path,
                "it holds fractions and integers above 2^53, which no one number type holds",
            ));
        }
        return Ok(Arc::new(numbers().map(|number| number.and_then(Number::as_f64)).collect::<Float64Array>()));
    }
    if any(&|number| !number.is_i64()) {
        if any(&|number| !number.is_u64()) {
            return Err(unconvertible(
                path,
                "it holds negative integers and some above 2^63, which no one number type holds",
            ));
        }
        return Ok(Arc::new(numbers().map(|number| number.and_then(Number::as_u64)).collect::<UInt64Array>()));
    }
    Ok(Arc::new(numbers().map(|number| number.and_then(Number::as_i64)).collect::<Int64Array>()))
}

fn unconvertible(path: &Path<'_>, reason: impl Into<String>) -> CodecError {
    CodecError(CodecFault::Unconvertible { column: path.to_string(), reason: reason.into() })
}

fn unbuildable(path: &Path<'_>, error: &ArrowError) -> CodecError {
    unconvertible(path, shown_within(&error.to_string(), 200))
}
