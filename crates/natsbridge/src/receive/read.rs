//! What the bytes of a payload in memory are read as: a value, text, a table, or a type of the program's own.

use natsbridge_core::{Part, Value};

use crate::{Error, error};

pub(crate) fn text(part: &Part) -> Result<String, Error> {
    match part.value()? {
        Value::Text(text) => Ok(text),
        _ => Err(wrong(part, "text", "its type is another")),
    }
}

#[cfg(feature = "arrow")]
pub(crate) fn table(part: &Part) -> Result<natsbridge_core::Table, Error> {
    match part.value()? {
        Value::Table(table) => Ok(table),
        _ => Err(wrong(part, "an Arrow table", "its type is another")),
    }
}

fn wrong(part: &Part, wanted: &str, reason: &str) -> Error {
    Error::wrong_type(part.name(), part.payload_type(), wanted, &error::reason(reason))
}
