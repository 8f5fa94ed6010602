//! Values to serialised bytes and back, one file per family of payload types.

pub(crate) mod json;
mod maps;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::CodecFault;
#[cfg(feature = "arrow")]
use crate::table::{Table, TableLimits};
use crate::{CodecError, JsonText, PayloadType, Source, Value};

/// Serialises a value as its payload type says (`docs/specification.md`, section 3)
///
/// A table in one form is converted where the other is asked for.
///
/// # Errors
/// A value of another kind, and JSON text with numbers that receivers can't hold (`wrong_value`); JSON that no reader could
/// follow (`too_deep`); a table without a counterpart (`unconvertible`); JSON text that is none, or no rows (`undecodable`).
pub fn encode(payload_type: PayloadType, value: Value) -> Result<Bytes, CodecError> {
    match (payload_type, value) {
        (PayloadType::Text, Value::Text(text)) => Ok(text.into()),
        (PayloadType::Dictionary, Value::Json(json)) => json::encode_json(&json),
        (PayloadType::Dictionary, Value::JsonText(text)) => json::encode_text(&text),
        (PayloadType::JsonTable, Value::JsonText(text)) => json::encode_rows_text(&text),
        (PayloadType::JsonTable, Value::Rows(rows)) => json::encode_json_rows(rows.as_slice()),
        (PayloadType::JsonTable, Value::Json(json)) => json::encode_json_rows(json::rows_of(json)?.as_slice()),
        #[cfg(feature = "arrow")]
        (PayloadType::JsonTable, Value::Table(table)) => {
            let rows = table.rows()?;
            json::encode_rows(&rows).map_err(|error| rows.problem().unwrap_or(error))
        }
        #[cfg(feature = "arrow")]
        (PayloadType::ArrowTable, value) => table_of(value)?.to_ipc(),
        #[cfg(not(feature = "arrow"))]
        (PayloadType::ArrowTable, _) => Err(CodecError(CodecFault::NoArrow)),
        (PayloadType::Image | PayloadType::Audio | PayloadType::Video | PayloadType::Binary, Value::Bytes(bytes)) => {
            Ok(bytes)
        }
        (payload_type, value) => Err(wrong(payload_type, &value)),
    }
}

/// As [`encode`], for an upload: of a large table the columns are not copied
pub(crate) fn source(payload_type: PayloadType, value: Value) -> Result<Source, CodecError> {
    match payload_type {
        #[cfg(feature = "arrow")]
        PayloadType::ArrowTable => table_of(value)?.to_source(),
        _ => encode(payload_type, value).map(Source::Bytes),
    }
}

#[cfg(feature = "arrow")]
fn table_of(value: Value) -> Result<Table, CodecError> {
    match value {
        Value::Table(table) => Ok(table),
        Value::Rows(rows) => Table::from_rows(&rows),
        Value::Json(json) => Table::from_rows(&json::rows_of(json)?),
        Value::JsonText(text) => Table::from_rows(&json::rows_of_text(&text)?),
        value => Err(wrong(PayloadType::ArrowTable, &value)),
    }
}

/// Serialises a serde type as its payload type says: JSON straight into bytes; as `arrowtable`, rows that become columns
pub(crate) fn encode_from<T: Serialize + ?Sized>(payload_type: PayloadType, value: &T) -> Result<Source, CodecError> {
    match payload_type {
        PayloadType::Dictionary => json::encode(value).map(Source::Bytes),
        PayloadType::JsonTable => json::encode_rows(value).map(Source::Bytes),
        PayloadType::ArrowTable => source(payload_type, JsonText::new(json::encode_rows(value)?).into()),
        _ => {
            let expected = expected(payload_type);
            Err(CodecError(CodecFault::WrongValue { payload_type, expected, found: "a value that serialises as JSON" }))
        }
    }
}

/// Reads serialised bytes as their payload type says
///
/// # Errors
/// Bytes that are not what the type says (`undecodable`); a table beyond its limits (`too_large`).
pub fn decode(payload_type: PayloadType, bytes: Bytes) -> Result<Value, CodecError> {
    match payload_type {
        PayloadType::Text => {
            let not_utf8 = |at| CodecError(CodecFault::Utf8 { at });
            // Without copying where these bytes are not shared.
            let text = String::from_utf8(bytes.into());
            text.map(Value::Text).map_err(|error| not_utf8(error.utf8_error().valid_up_to()))
        }
        PayloadType::Dictionary => json::decode(&bytes).map(Value::Json),
        PayloadType::JsonTable => json::decode_rows(&bytes).map(Value::Rows),
        #[cfg(feature = "arrow")]
        PayloadType::ArrowTable => Table::from_ipc(&bytes, &TableLimits::default()).map(Value::Table),
        #[cfg(not(feature = "arrow"))]
        PayloadType::ArrowTable => Err(CodecError(CodecFault::NoArrow)),
        PayloadType::Image | PayloadType::Audio | PayloadType::Video | PayloadType::Binary => Ok(Value::Bytes(bytes)),
    }
}

/// Reads serialised bytes straight into a serde type: text as a string, a table as a sequence of its rows
pub(crate) fn decode_as<T: DeserializeOwned>(payload_type: PayloadType, bytes: Bytes) -> Result<T, CodecError> {
    match payload_type {
        PayloadType::Dictionary => json::decode_as(&bytes, false),
        PayloadType::JsonTable => json::decode_as(&bytes, true),
        _ => match decode(payload_type, bytes)? {
            // Its string moves into the type that asks for one.
            Value::Text(text) => serde_json::from_value(text.into()).map_err(|error| CodecError::mismatch::<T>(&error)),
            #[cfg(feature = "arrow")]
            Value::Table(table) => table.deserialize(),
            _ => Err(CodecError::mismatch::<T>(&"it holds bytes; read it with `bytes`")),
        },
    }
}

fn wrong(payload_type: PayloadType, value: &Value) -> CodecError {
    CodecError(CodecFault::WrongValue { payload_type, expected: expected(payload_type), found: value.kind() })
}

const fn expected(payload_type: PayloadType) -> &'static str {
    match payload_type {
        PayloadType::Text => "text",
        PayloadType::Dictionary => "a JSON value",
        PayloadType::JsonTable => "rows (JSON objects)",
        PayloadType::ArrowTable => "an Arrow table",
        PayloadType::Image | PayloadType::Audio | PayloadType::Video | PayloadType::Binary => "bytes",
    }
}
