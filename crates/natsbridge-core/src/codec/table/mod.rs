//! Arrow tables: record batches to an IPC stream and back, with a stranger's bytes checked before Arrow reads them.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

/// Record batches with their schema
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

/// Bounds for reading a stranger's Arrow
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TableLimits {}

impl From<RecordBatch> for Table {
    fn from(batch: RecordBatch) -> Self {
        Self { schema: batch.schema(), batches: vec![batch] }
    }
}
