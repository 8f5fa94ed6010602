//! Reading under a counting allocator, for the tests that bound memory.
#![allow(dead_code, reason = "each test binary uses its own share")]

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use natsbridge_core::{CodecError, Table, TableLimits};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Tests take turns: the counter is one for the whole process
static TURN: Mutex<()> = Mutex::new(());

pub(crate) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something, and returns the most bytes held meanwhile beyond those held before
pub(crate) fn peak<T>(doing: impl FnOnce() -> T) -> (T, u64) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = doing();
    let peak = MEMORY.peak_usage().saturating_sub(before);
    (result, peak as u64)
}

/// Reads, and returns the most bytes held meanwhile beyond those held before
pub(crate) fn read(bytes: &Bytes, limits: &TableLimits) -> (Result<Table, CodecError>, u64) {
    peak(|| Table::from_ipc(bytes, limits))
}

/// What the documentation of `TableLimits` promises for uncompressed input
pub(crate) fn bound(bytes: &Bytes) -> u64 {
    64 * bytes.len() as u64 + (1 << 20)
}

/// The message of the last fence, which no input is to reach
pub(crate) fn fell_to_the_fence(result: &Result<Table, CodecError>) -> bool {
    result.as_ref().is_err_and(|error| error.to_string().contains("panicked"))
}

/// The error of an input that must not be read
pub(crate) fn refused(bytes: &Bytes) -> CodecError {
    let (result, peak) = read(bytes, &TableLimits::default());
    assert!(peak <= bound(bytes), "{peak} bytes for an input of {}", bytes.len());
    assert!(!fell_to_the_fence(&result), "it reached the fence");
    result.unwrap_err()
}
