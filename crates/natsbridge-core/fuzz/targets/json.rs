//! Any bytes as text, dictionary and rows: an error, or a value that is the same after it was written and read.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use natsbridge_core::{PayloadType, Table, TableLimits, Value, decode, encode};
use natsbridge_fuzz::Memory;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    assert_eq!(decode(PayloadType::Text, bytes.clone()).is_ok(), std::str::from_utf8(data).is_ok());
    for payload_type in [PayloadType::Text, PayloadType::Dictionary, PayloadType::JsonTable, PayloadType::Binary] {
        let memory = Memory::watch();
        let read = decode(payload_type, bytes.clone());
        memory.within(256 * data.len() + (64 << 10));
        let Ok(value) = read else { continue };
        let written = encode(payload_type, value.clone()).expect("what was read can be written");
        assert_eq!(decode(payload_type, written), Ok(value.clone()));
        if let Value::Rows(rows) = value
            && let Ok(table) = Table::from_rows(&rows)
        {
            let stream = table.to_ipc().expect("a table made from rows can be written");
            let read = Table::from_ipc(&stream, &TableLimits::default()).expect("and read");
            assert_eq!(read.num_rows(), rows.len());
        }
    }
});
