//! Arrow tables: record batches to an IPC stream and back, with a stranger's bytes checked before Arrow reads them.

mod calendar;
mod cell;
mod column;
mod frame;
mod infer;
mod layout;
mod ledger;
mod limits;
mod read;
mod rows;
mod schema;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::writer::StreamEncoder;
use arrow_schema::{ArrowError, Field, SchemaRef};
use bytes::Bytes;

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

pub use self::limits::TableLimits;
pub(crate) use self::rows::TableRows;
use crate::error::{CodecError, CodecFault};
use crate::harmless::shown_within;
use crate::limits::Limits;
use crate::rows::Rows;
use crate::setters::getters;
use crate::source::Source;

/// Bytes from which a piece of a stream stays where it is; shorter ones are copied together
const PIECE: usize = 64 * 1024;

/// An Arrow table: record batches with their schema
///
/// Equality is that of the schema and the batches as they are cut; the same rows cut otherwise are another table.
///
/// ```
/// use std::sync::Arc;
///
/// use arrow_array::{Int64Array, RecordBatch};
/// use natsbridge_core::{Table, TableLimits};
///
/// let readings = RecordBatch::try_from_iter([("volts", Arc::new(Int64Array::from(vec![3, 5])) as _)])?;
/// let sent = Table::from(readings).to_ipc()?;
/// let received = Table::from_ipc(&sent, &TableLimits::default())?;
/// assert_eq!(received.num_rows(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    /// Where it was read from Arrow IPC: what is made of it is bounded by its size
    read: Option<Size>,
}

/// Bytes of a table as it came, and as it is in memory
#[derive(Debug, Clone, Copy)]
struct Size {
    input: u64,
    decoded: u64,
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.schema == other.schema && self.batches == other.batches
    }
}

impl Table {
    /// A table of these batches, which may be none
    ///
    /// # Errors
    /// Code `undecodable` for a batch whose columns differ from the schema in name, type or number, or that may hold
    /// nulls where the schema has none.
    pub fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Self, CodecError> {
        let fit = |(number, batch): (usize, RecordBatch)| {
            if batch.schema_ref() == &schema {
                return Ok(batch);
            }
            batch
                .with_schema(Arc::clone(&schema))
                .map_err(|error| damaged(format!("batch {number} does not have the table's schema: {error}")))
        };
        let batches = batches.into_iter().enumerate().map(fit).collect::<Result<_, _>>()?;
        Ok(Self { schema, batches, read: None })
    }

    getters! {
        /// The columns' names and types
        const fn schema(&self) -> &SchemaRef { &self.schema }

        /// The rows, in the batches they came in
        fn batches(&self) -> &[RecordBatch] { &self.batches }

        /// Rows of all batches together
        fn num_rows(&self) -> usize { self.batches.iter().map(RecordBatch::num_rows).sum() }

        /// Columns
        fn num_columns(&self) -> usize { self.schema.fields().len() }
    }

    /// An Arrow IPC stream, uncompressed (specification, section 3)
    ///
    /// Buffers start at multiples of 64 bytes. A dictionary that changes between batches is written again.
    ///
    /// # Errors
    /// Code `undecodable` for a type that the IPC format can't carry.
    pub fn to_ipc(&self) -> Result<Bytes, CodecError> {
        Ok(joined(&self.pieces()?))
    }

    /// The same stream to be uploaded: from 500,000 bytes on in pieces, in which the columns are not copied
    ///
    /// # Errors
    /// As [`Table::to_ipc`].
    pub fn to_source(&self) -> Result<Source, CodecError> {
        let pieces = self.pieces()?;
        let len: usize = pieces.iter().map(Buffer::len).sum();
        if u64::try_from(len).is_ok_and(|len| len < Limits::SIZE_THRESHOLD) {
            return Ok(Source::Bytes(joined(&pieces)));
        }
        let mut kept = Vec::new();
        let mut short = Vec::new();
        for piece in pieces {
            if piece.len() < PIECE {
                short.extend_from_slice(&piece);
            }
            if !short.is_empty() && (short.len() >= PIECE || piece.len() >= PIECE) {
                kept.push(std::mem::take(&mut short).into());
            }
            if piece.len() >= PIECE {
                kept.push(Bytes::from_owner(piece));
            }
        }
        if !short.is_empty() {
            kept.push(short.into());
        }
        Ok(Source::Pieces(kept.into()))
    }

    /// The stream, its columns as slices of the arrays
    fn pieces(&self) -> Result<Vec<Buffer>, CodecError> {
        let unwritable = |error: ArrowError| damaged(format!("it can't be written: {error}"));
        let mut encoder = StreamEncoder::try_new(&self.schema).map_err(unwritable)?;
        let mut pieces = Vec::new();
        for batch in &self.batches {
            pieces.extend(encoder.encode(batch).map_err(unwritable)?);
        }
        pieces.extend(encoder.finish().map_err(unwritable)?);
        Ok(pieces)
    }

    /// Reads an Arrow IPC stream or file, also with LZ4 or ZSTD bodies (specification, section 3)
    ///
    /// Every length, row count and offset of the input is checked against its bytes and `limits` before Arrow reads it,
    /// so that hostile input ends in an error. Columns are slices of the input unless compressed or misaligned.
    ///
    /// # Errors
    /// Code `undecodable` for damaged or hostile input and for what can't be read (big-endian, tensors),
    /// `too_large` for what would grow beyond the limits.
    pub fn from_ipc(bytes: &Bytes, limits: &TableLimits) -> Result<Self, CodecError> {
        read::read(bytes, limits)
    }

    /// The rows as JSON objects (docs/specification.md, section 3)
    ///
    /// | Arrow | JSON |
    /// |---|---|
    /// | booleans, integers, text, null | the same; integers keep 64 bits |
    /// | floats | numbers; NaN and infinities become null |
    /// | decimals | text with all digits, `"12.50"` |
    /// | dates, times, timestamps | ISO 8601 text, years outside 0 to 9999 with sign and six digits or more; with a zone in UTC and with `Z`, the zone's name is lost |
    /// | durations, intervals | ISO 8601 durations, `"PT1.5S"`, `"P14M"`, `"P1M2DT0.5S"` |
    /// | binary | hexadecimal text |
    /// | the extension `arrow.uuid` | the UUID's text |
    /// | lists, structs | arrays, objects |
    /// | maps | objects when the keys are text, else arrays of key-value objects |
    /// | dictionaries, runs, unions | the value they stand for |
    ///
    /// Rows as JSON values take much more memory than the table. Of a table that was read from Arrow IPC they may take 256
    /// times its bytes, 64 MiB in any case, and never more than 1 GiB; a few bytes can stand for millions of rows. See
    /// [`deserialize`](Self::deserialize) for rows of a type of your own, and [`json_view`](Self::json_view) for rows as
    /// text, which takes no memory.
    ///
    /// # Errors
    /// Code `unconvertible` for two columns of one name, two fields of one name, a map with a key that stands
    /// twice or is null, and times that are none; `too_large` beyond the bound.
    pub fn to_rows(&self) -> Result<Rows, CodecError> {
        let most = TableLimits::default().bytes();
        let bound = self.read.map_or(most, |size| bound(size.input).min(most));
        self.rows_within(bound)
    }

    /// [`to_rows`](Self::to_rows) with another bound: the limits' bytes, whatever the table was read from
    ///
    /// # Errors
    /// As [`to_rows`](Self::to_rows).
    pub fn to_rows_within(&self, limits: &TableLimits) -> Result<Rows, CodecError> {
        self.rows_within(limits.bytes())
    }

    fn rows_within(&self, limit: u64) -> Result<Rows, CodecError> {
        // Beside its text: itself, its key's head and its place in the object.
        const VALUE: u64 = 128;
        let source = TableRows::new(self, VALUE, limit)?;
        let mut rows = Vec::new();
        let read = source.each(|row| {
            if let Json::Object(row) = serde_json::to_value(row)? {
                rows.push(row);
            }
            Ok::<_, serde_json::Error>(())
        });
        match read {
            Ok(()) => Ok(Rows::new(rows)),
            Err(error) => Err(source.problem().unwrap_or_else(|| damaged(error.to_string()))),
        }
    }

    /// Reads the rows into a type of your own, batch by batch and without JSON in between
    ///
    /// The type is a sequence, such as `Vec<Row>`; each row is a struct or map whose keys are the columns' names. Values are
    /// given as [`to_rows`](Self::to_rows) says: a timestamp is text, a null is `None`. Columns that the type does not name
    /// are not read.
    ///
    /// Of a table that was read from Arrow IPC, values may count 256 times the bytes that it takes in memory, 64 MiB in any
    /// case: 8 for each value, and its text. A plain table stays far below it.
    ///
    /// ```
    /// use natsbridge_core::{Rows, Table};
    ///
    /// #[derive(Debug, PartialEq, serde::Deserialize)]
    /// struct Reading {
    ///     channel: u8,
    ///     volts: Option<f64>,
    /// }
    ///
    /// let rows = serde_json::from_str::<Vec<_>>(r#"[{"channel":7,"volts":3.3},{"channel":8}]"#)?;
    /// let table = Table::from_rows(&Rows::new(rows))?;
    /// let readings: Vec<Reading> = table.deserialize()?;
    /// assert_eq!(readings[0], Reading { channel: 7, volts: Some(3.3) });
    /// assert_eq!(readings[1], Reading { channel: 8, volts: None });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Code `wrong_value` for rows of another shape than the type's, `unconvertible` as
    /// [`to_rows`](Self::to_rows), `too_large` beyond the bound.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, CodecError> {
        let rows = self.rows()?;
        T::deserialize(&rows).map_err(|error| rows.problem().unwrap_or_else(|| CodecError::mismatch::<T>(&error)))
    }

    /// The rows for any serde type or format, within a bound that only tables reach that name the same bytes many times
    pub(crate) fn rows(&self) -> Result<TableRows<'_>, CodecError> {
        const VALUE: u64 = 8;
        TableRows::new(self, VALUE, self.read.map_or(u64::MAX, |size| bound(size.decoded)))
    }

    /// The rows to be shown, without a bound: what has no JSON is null, and among the rows' problems when they were written
    pub(crate) fn shown_rows(&self) -> Result<TableRows<'_>, CodecError> {
        TableRows::new(self, 0, u64::MAX).map(TableRows::showing)
    }

    /// A table of these rows, its columns in first-seen order and all nullable
    ///
    /// Columns become booleans, 64-bit integers (unsigned when one is above the signed range), 64-bit floats, text, lists
    /// or structs. A column with only nulls is a null column; a missing value is null. Fractions and integers together
    /// are floats as long as each integer is one exactly.
    ///
    /// # Errors
    /// Code `unconvertible` naming the column that mixes types, `too_large` for rows with so
    /// many different keys that the table would take more than 256 times their values, 64 MiB or, in any case, 1 GiB.
    pub fn from_rows(rows: &Rows) -> Result<Self, CodecError> {
        infer::from_rows(rows)
    }
}

impl From<RecordBatch> for Table {
    fn from(batch: RecordBatch) -> Self {
        Self { schema: batch.schema(), batches: vec![batch], read: None }
    }
}

/// What may be made of so many bytes
fn bound(bytes: u64) -> u64 {
    const ALWAYS: u64 = 64 << 20;
    const TIMES: u64 = 256;
    bytes.saturating_mul(TIMES).max(ALWAYS)
}

/// Copied once, into a buffer that fits
fn joined(pieces: &[Buffer]) -> Bytes {
    let mut stream = Vec::with_capacity(pieces.iter().map(Buffer::len).sum());
    for piece in pieces {
        stream.extend_from_slice(piece);
    }
    stream.into()
}

/// What is wrong with a table; Arrow's errors may repeat a stranger's text
fn damaged(reason: impl AsRef<str>) -> CodecError {
    CodecError(CodecFault::Table { reason: shown_within(reason.as_ref(), 300).into_owned() })
}

/// A field in an error: its name, quoted and cut, since it is a stranger's text
fn column(field: &Field) -> String {
    format!("column `{}`", shown_within(field.name(), 64))
}
