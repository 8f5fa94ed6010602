//! Any bytes as an Arrow stream or file: an error, or a table, within the memory that `TableLimits` promises.
//!
//! The fuzzer's panic hook ends the process before the codec's last fence can catch a panic: a panic is a find.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use natsbridge_core::{Table, TableLimits};
use natsbridge_fuzz::Memory;

/// Small, so that expansion reaches the limit and not the fuzzer's patience
const DECODED: u64 = 16 << 20;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let limits = TableLimits::default().max_bytes(DECODED).max_unbacked_rows(1 << 16);
    let memory = Memory::watch();
    let read = Table::from_ipc(&bytes, &limits);
    // Decompressed columns, then 64 times the input and 1 MiB, then 32 MiB of working space (`TableLimits`).
    memory.within((DECODED as usize) + 64 * data.len() + (1 << 20) + (32 << 20));
    let Ok(table) = read else { return };
    let rows = table.num_rows();
    if let Ok(as_rows) = table.to_rows_within(&limits) {
        assert_eq!(as_rows.len(), rows);
    }
    if let Ok(stream) = table.to_ipc()
        && let Ok(again) = Table::from_ipc(&stream, &TableLimits::default())
    {
        // Not the schema: Arrow writes an empty time zone as none.
        assert_eq!((again.num_rows(), again.num_columns()), (rows, table.num_columns()));
    }
});
