//! Arrow tables in Python: the capsule interface, columns as Python values, and what a notebook shows.

use std::sync::{Arc, OnceLock};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Schema, SchemaRef};
use natsbridge::Rows;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyList, PyString, PyTuple};

use crate::failure::Failure;
use crate::{arrow_c, columns, encode};

/// An Arrow table; `natsbridge.Table` is made of it
#[pyclass(frozen, module = "natsbridge._natsbridge", name = "Table", subclass)]
pub(crate) struct Table {
    table: natsbridge::Table,
    /// All batches as one, for whoever reads by column
    joined: OnceLock<RecordBatch>,
}

impl Table {
    pub(crate) const fn of(table: natsbridge::Table) -> Self {
        Self { table, joined: OnceLock::new() }
    }

    pub(crate) const fn inner(&self) -> &natsbridge::Table {
        &self.table
    }

    fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Self, Failure> {
        let table = natsbridge::Table::new(schema, batches).map_err(|error| unconvertible(error.to_string()))?;
        Ok(Self::of(table))
    }

    fn joined(&self) -> Result<&RecordBatch, Failure> {
        if let Some(joined) = self.joined.get() {
            return Ok(joined);
        }
        let batches = self.table.batches();
        let joined = match batches {
            [one] => one.clone(),
            [] => RecordBatch::new_empty(Arc::clone(self.table.schema())),
            _ => arrow_select(self.table.schema(), batches)?,
        };
        Ok(self.joined.get_or_init(|| joined))
    }

    fn column(&self, at: usize) -> Result<&ArrayRef, Failure> {
        let columns = self.joined()?.columns();
        columns.get(at).ok_or_else(|| Failure::wrong(format!("there is no column {at} of {}", columns.len())))
    }
}

fn arrow_select(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch, Failure> {
    arrow_select::concat::concat_batches(schema, batches).map_err(|error| unconvertible(error.to_string()))
}

/// A table that can't be made or converted
pub(crate) fn unconvertible(text: impl Into<String>) -> Failure {
    Failure::own("WrongType", "unconvertible", text)
}

#[pymethods]
impl Table {
    /// Reads a capsule of `__arrow_c_stream__`
    #[staticmethod]
    fn from_stream(py: Python<'_>, capsule: &Bound<'_, PyCapsule>) -> PyResult<Self> {
        let read = arrow_c::batches_of_stream(capsule)?.map_err(|error| match error {
            arrow_schema::ArrowError::InvalidArgumentError(text) => unconvertible(text),
            other => unconvertible(other.to_string()),
        });
        read.and_then(|(schema, batches)| columns::readable(schema, batches))
            .and_then(|(schema, batches)| Self::new(schema, batches))
            .map_err(|failure| failure.raise(py))
    }

    /// Reads the capsules of `__arrow_c_array__`
    #[staticmethod]
    fn from_array(py: Python<'_>, schema: &Bound<'_, PyCapsule>, array: &Bound<'_, PyCapsule>) -> PyResult<Self> {
        let read = arrow_c::batch_of_array(schema, array)?.map_err(|error| unconvertible(error.to_string()));
        read.and_then(|batch| columns::readable(batch.schema(), vec![batch]))
            .and_then(|(schema, batches)| Self::new(schema, batches))
            .map_err(|failure| failure.raise(py))
    }

    /// Columns given as `(name, kind, …)`, as `natsbridge._tables` makes them
    #[staticmethod]
    fn from_columns(py: Python<'_>, given: &Bound<'_, PyList>) -> PyResult<Self> {
        let made = columns::made(given).and_then(|batch| Self::new(batch.schema(), vec![batch]));
        made.map_err(|failure| failure.raise(py))
    }

    /// Rows of plain JSON values, their columns found by what they hold
    #[staticmethod]
    fn from_rows(py: Python<'_>, rows: &Bound<'_, PyAny>) -> PyResult<Self> {
        let made = encode::rows(rows).and_then(|json| {
            let rows = serde_json::from_slice(&json).map(Rows::new);
            let rows = rows.map_err(|error| Failure::wrong(error.to_string()))?;
            natsbridge::Table::from_rows(&rows)
                .map_err(|error| Failure::own("WrongType", error.code(), error.to_string()))
        });
        made.map(Self::of).map_err(|failure| failure.raise(py))
    }

    /// Reads an Arrow IPC stream or file
    #[staticmethod]
    fn from_ipc(py: Python<'_>, bytes: &[u8]) -> PyResult<Self> {
        let read = natsbridge::Table::from_ipc(&bytes.to_vec().into(), &natsbridge::arrow::TableLimits::default());
        read.map(Self::of).map_err(|error| Failure::own("Undecodable", error.code(), error.to_string()).raise(py))
    }

    /// The table as an Arrow IPC stream
    fn to_ipc<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| self.table.to_ipc());
        let bytes = bytes.map_err(|error| Failure::own("WrongType", error.code(), error.to_string()).raise(py))?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // A wish that need not be granted: the consumer converts.
        let _ = requested_schema;
        arrow_c::stream_of(py, Arc::clone(self.table.schema()), self.table.batches().to_vec())
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        arrow_c::schema_of(py, self.table.schema())?.map_err(|error| unconvertible(error.to_string()).raise(py))
    }

    fn __len__(&self) -> usize {
        self.table.num_rows()
    }

    /// Names of the columns
    #[getter]
    fn columns<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.table.schema().fields().iter().map(|field| PyString::new(py, field.name())))
    }

    /// Types of the columns, in Arrow's words
    #[getter]
    fn types<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let fields = self.table.schema().fields();
        PyList::new(py, fields.iter().map(|field| PyString::new(py, &columns::type_name(field.data_type()))))
    }

    /// The values of a column, as Python's
    fn values<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Bound<'py, PyList>> {
        self.column(at).and_then(|column| columns::values(py, column)).map_err(|failure| failure.raise(py))
    }

    /// A column of numbers as `(numpy's type, bytes, nulls)`; nothing where it is none
    ///
    /// `nulls` has one byte for each value, 1 for null, and is `None` where there is no null.
    fn buffer<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Option<Bound<'py, PyTuple>>> {
        self.column(at).and_then(|column| columns::buffer(py, column)).map_err(|failure| failure.raise(py))
    }

    /// The same rows between two places
    fn slice(&self, py: Python<'_>, start: usize, length: usize) -> PyResult<Self> {
        let joined = self.joined().map_err(|failure| failure.raise(py))?;
        let start = start.min(joined.num_rows());
        Ok(Self::of(natsbridge::Table::from(joined.slice(start, length.min(joined.num_rows() - start)))))
    }

    /// Whether both hold the same values under the same schema, however their batches are cut
    fn equals(&self, py: Python<'_>, other: &Bound<'_, Self>) -> PyResult<bool> {
        let other = other.get();
        let same_schema = plain(self.table.schema()) == plain(other.table.schema());
        let (one, two) = (self.joined(), other.joined());
        match (one, two) {
            (Ok(one), Ok(two)) => Ok(same_schema && one.columns() == two.columns()),
            (Err(failure), _) | (_, Err(failure)) => Err(failure.raise(py)),
        }
    }
}

/// Names and types, without metadata
fn plain(schema: &Schema) -> Vec<(&str, &DataType)> {
    schema.fields().iter().map(|field| (field.name().as_str(), field.data_type())).collect()
}
