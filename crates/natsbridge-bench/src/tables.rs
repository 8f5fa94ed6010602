//! Arrow tables of five columns, as a measuring station would write them.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use natsbridge_core::Table;

use crate::Failure;

/// Rows of each batch at most, as the tools that write Arrow cut them
const BATCH: i32 = 65_536;

/// A table of this many rows: time, channel, two readings and a counter, without nulls
///
/// # Errors
/// What Arrow says of the columns.
pub fn table(rows: i32) -> Result<Table, Failure> {
    let mut batches = Vec::new();
    let mut first = 0;
    while first < rows {
        let last = rows.min(first + BATCH);
        let column = || first..last;
        let columns: [(&str, ArrayRef); 5] = [
            ("time", Arc::new(TimestampMicrosecondArray::from_iter_values(column().map(|row| i64::from(row) * 250)))),
            ("channel", Arc::new(Int32Array::from_iter_values(column().map(|row| row % 8)))),
            ("volts", Arc::new(Float64Array::from_iter_values(column().map(|row| f64::from(row) * 0.001)))),
            ("celsius", Arc::new(Float64Array::from_iter_values(column().map(|row| 20.0 + f64::from(row % 100))))),
            ("count", Arc::new(Int64Array::from_iter_values(column().map(i64::from)))),
        ];
        batches.push(RecordBatch::try_from_iter(columns)?);
        first = last;
    }
    let schema = batches.first().ok_or("a table without rows")?.schema();
    Ok(Table::new(schema, batches)?)
}
