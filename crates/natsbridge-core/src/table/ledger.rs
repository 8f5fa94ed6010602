//! What rows cost on the way out of a table, and which of their values have no counterpart.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::error::{CodecError, CodecFault};

/// The account of one way through the rows
pub(super) struct Ledger {
    /// Bytes that each value counts beside its text
    value: u64,
    limit: u64,
    taken: Cell<u64>,
    /// Whether values without counterpart become null; else they end the rows
    shows: bool,
    /// The place of the column whose value is read
    pub(super) column: Cell<usize>,
    /// By column, the first reason why a value has no counterpart
    reasons: RefCell<BTreeMap<usize, String>>,
}

/// The rows end here; the ledger knows why
#[derive(Debug, thiserror::Error)]
#[error("the rows can't be converted")]
pub(super) struct Ended;

impl Ledger {
    /// For rows of which each value counts `value` bytes and its text, all of them at most `limit`
    pub(super) const fn new(value: u64, limit: u64) -> Self {
        let reasons = RefCell::new(BTreeMap::new());
        Self { value, limit, taken: Cell::new(0), shows: false, column: Cell::new(0), reasons }
    }

    /// The same, with null for each value without counterpart
    pub(super) fn showing(self) -> Self {
        Self { shows: true, ..self }
    }

    /// Counts a value with so many bytes of text, before it is made
    pub(super) fn take(&self, text: usize) -> Result<(), Ended> {
        let text = u64::try_from(text).unwrap_or(u64::MAX);
        self.taken.set(self.taken.get().saturating_add(self.value).saturating_add(text));
        if self.taken.get() > self.limit { Err(Ended) } else { Ok(()) }
    }

    /// Notes that a value of the current column has no counterpart
    pub(super) fn unconvertible(&self, reason: String) -> Result<(), Ended> {
        self.reasons.borrow_mut().entry(self.column.get()).or_insert(reason);
        if self.shows { Ok(()) } else { Err(Ended) }
    }

    /// Why the rows ended, by column; or, as far as they are shown, what is null in them
    pub(super) fn problems(&self, name: impl Fn(usize) -> String) -> Vec<CodecError> {
        if self.taken.get() > self.limit {
            return vec![CodecError(CodecFault::TableTooLarge { needed: self.taken.get(), limit: self.limit })];
        }
        let reasons = self.reasons.borrow();
        let problem = |(column, reason): (&usize, &String)| {
            CodecError(CodecFault::Unconvertible { column: name(*column), reason: reason.clone() })
        };
        reasons.iter().map(problem).collect()
    }
}
