//! How much a stranger's table may ask for, and the running account while one is read.

use crate::error::{CodecError, CodecFault};
use crate::setters::setters;

/// Memory that a small compressed input may always expand to: 16 MiB
///
/// A column of one repeated value shrinks ten thousand times under ZSTD, so a multiple of the input alone would refuse
/// honest small tables.
const EXPANSION_FLOOR: u64 = 16 << 20;

/// Limits on memory and rows while an Arrow table from a stranger is read
///
/// Reading allocates no more than `max_bytes` for decompressed columns and rebuilt dictionaries, plus 64 times the input
/// and 1 MiB for schema, messages and copies of misaligned columns, plus 32 MiB of working space when bodies are
/// compressed. Columns that are neither compressed nor misaligned are slices of the input and cost nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableLimits {
    max_bytes: u64,
    max_expansion: u64,
    max_unbacked_rows: u64,
}

impl TableLimits {
    setters! {
        /// Bytes of all columns and dictionaries together, after decompression; 1 GiB by default
        fn max_bytes(self, bytes: u64) { self.max_bytes = bytes }

        /// How many times the input's length the compressed columns and rebuilt dictionaries may become; 1,000 by default
        ///
        /// 16 MiB are always allowed, within [`max_bytes`](Self::max_bytes).
        fn max_expansion(self, times: u64) { self.max_expansion = times }

        /// Rows for which no bytes stand, over all batches; 16,777,216 by default
        ///
        /// Null columns, run-end encoding, empty structs and batches without columns can declare 2^62 rows in 16 bytes.
        fn max_unbacked_rows(self, rows: u64) { self.max_unbacked_rows = rows }
    }

    /// The bytes that [`max_bytes`](Self::max_bytes) allows
    pub(super) const fn bytes(&self) -> u64 {
        self.max_bytes
    }

    /// The account for one input of this many bytes
    pub(super) fn budget(&self, input: u64) -> Budget {
        let expansion = input.saturating_mul(self.max_expansion).max(EXPANSION_FLOOR);
        Budget { limits: *self, expansion: expansion.min(self.max_bytes), decoded: 0, expanded: 0, unbacked: 0 }
    }
}

impl Default for TableLimits {
    fn default() -> Self {
        Self { max_bytes: 1 << 30, max_expansion: 1000, max_unbacked_rows: 1 << 24 }
    }
}

/// What one read has asked for so far
#[derive(Debug)]
pub(super) struct Budget {
    limits: TableLimits,
    expansion: u64,
    decoded: u64,
    expanded: u64,
    unbacked: u64,
}

impl Budget {
    /// Takes bytes that are in the input, or as many as are
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), CodecError> {
        self.decoded = self.decoded.saturating_add(bytes);
        within(self.decoded, self.limits.max_bytes)
    }

    /// Bytes that were taken so far
    pub(super) const fn decoded(&self) -> u64 {
        self.decoded
    }

    /// Takes bytes that are made from fewer
    pub(super) fn take_expanded(&mut self, bytes: u64) -> Result<(), CodecError> {
        self.expanded = self.expanded.saturating_add(bytes);
        within(self.expanded, self.expansion)?;
        self.take(bytes)
    }

    /// Takes rows for which no bytes stand
    pub(super) fn take_unbacked(&mut self, rows: u64) -> Result<(), CodecError> {
        self.unbacked = self.unbacked.saturating_add(rows);
        let limit = self.limits.max_unbacked_rows;
        if self.unbacked > limit {
            let reason = format!(
                "it declares {} rows for which it holds no bytes, the limit is {limit}; raise `max_unbacked_rows`",
                self.unbacked
            );
            return Err(CodecError(CodecFault::Table { reason }));
        }
        Ok(())
    }
}

const fn within(needed: u64, limit: u64) -> Result<(), CodecError> {
    if needed > limit { Err(CodecError(CodecFault::TableTooLarge { needed, limit })) } else { Ok(()) }
}
