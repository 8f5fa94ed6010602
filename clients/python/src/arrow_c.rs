//! Arrow's C interface in Python's capsules: tables from whoever has `__arrow_c_stream__` or `__arrow_c_array__`, and to them.
#![allow(
    unsafe_code,
    reason = "the only file of the project that has to: a capsule holds a C structure behind a pointer"
)]

use std::ffi::CStr;

use arrow_array::cast::AsArray as _;
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use arrow_array::ffi_stream::{ArrayStreamReader, FFI_ArrowArrayStream};
use arrow_array::{Array as _, ArrayReader as _, RecordBatch, RecordBatchIterator, StructArray};
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

const STREAM: &CStr = c"arrow_array_stream";
const SCHEMA: &CStr = c"arrow_schema";
const ARRAY: &CStr = c"arrow_array";

/// The schema and the batches that a stream's capsule holds; it is empty afterwards
pub(crate) fn batches_of_stream(
    capsule: &Bound<'_, PyCapsule>,
) -> PyResult<Result<(SchemaRef, Vec<RecordBatch>), ArrowError>> {
    let pointer = capsule.pointer_checked(Some(STREAM))?.cast::<FFI_ArrowArrayStream>();
    // SAFETY: a capsule of this name holds this structure (Arrow's PyCapsule interface); `from_raw` moves it out and leaves a
    // released one behind, so that the capsule's destructor does nothing.
    let stream = unsafe { FFI_ArrowArrayStream::from_raw(pointer.as_ptr()) };
    // A producer may wait for threads of its own, and those for the interpreter's lock.
    Ok(capsule.py().detach(|| -> Result<_, ArrowError> {
        let reader = ArrayStreamReader::try_new(stream)?;
        let field = reader.field();
        let DataType::Struct(fields) = field.data_type() else {
            let text = format!("it is one column, of {}, and no table; make it one by to_frame()", field.data_type());
            return Err(ArrowError::InvalidArgumentError(text));
        };
        let schema = SchemaRef::new(Schema::new(fields.clone()).with_metadata(field.metadata().clone()));
        let batches = reader.map(|rows| batch_of(rows?.as_struct(), &schema)).collect::<Result<Vec<_>, _>>()?;
        Ok((schema, batches))
    }))
}

/// The batch that the two capsules of `__arrow_c_array__` hold; the array's is empty afterwards
pub(crate) fn batch_of_array(
    schema: &Bound<'_, PyCapsule>,
    array: &Bound<'_, PyCapsule>,
) -> PyResult<Result<RecordBatch, ArrowError>> {
    let schema = schema.pointer_checked(Some(SCHEMA))?.cast::<FFI_ArrowSchema>();
    let array = array.pointer_checked(Some(ARRAY))?.cast::<FFI_ArrowArray>();
    // SAFETY: capsules of these names hold these structures; the schema is only read while its capsule lives.
    let schema = Schema::try_from(unsafe { schema.as_ref() });
    // SAFETY: as for the stream above.
    let array = unsafe { FFI_ArrowArray::from_raw(array.as_ptr()) };
    if array.is_released() {
        return Ok(Err(ArrowError::CDataInterface("the array was taken already".to_owned())));
    }
    Ok(schema.and_then(|schema| {
        let fields = DataType::Struct(schema.fields().clone());
        // SAFETY: the array is of the schema that came with it, as the interface demands of whoever made both.
        let data = unsafe { from_ffi_and_data_type(array, fields) }?;
        batch_of(&StructArray::from(data), &schema.into())
    }))
}

fn batch_of(rows: &StructArray, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if rows.null_count() > 0 {
        let text = "a row that is null as a whole is no row of a table";
        return Err(ArrowError::InvalidArgumentError(text.to_owned()));
    }
    RecordBatch::from(rows).with_schema(SchemaRef::clone(schema))
}

/// A capsule with a stream of these batches
pub(crate) fn stream_of<'py>(
    py: Python<'py>,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
) -> PyResult<Bound<'py, PyCapsule>> {
    let reader = RecordBatchIterator::new(batches.into_iter().map(Ok), schema);
    PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(reader)), STREAM)
}

/// A capsule with this schema
pub(crate) fn schema_of<'py>(py: Python<'py>, schema: &Schema) -> PyResult<Result<Bound<'py, PyCapsule>, ArrowError>> {
    match FFI_ArrowSchema::try_from(schema) {
        Ok(schema) => PyCapsule::new_with_value(py, schema, SCHEMA).map(Ok),
        Err(error) => Ok(Err(error)),
    }
}
