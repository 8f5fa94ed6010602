//! Tagged values of vectors and lines (testdata/README.md, "Values") to the library's values, and back.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use natsbridge::store::Digest;
use natsbridge::wire::JsonText;
use natsbridge::{PayloadType, Value};
use serde_json::{Value as Json, json};

use crate::{Failure, table};

/// Bytes beyond which a digest is reported in their place
const LONGEST: usize = 4096;

/// What the library is given for a payload of this type
pub(crate) fn read(payload_type: PayloadType, tagged: &Json) -> Result<Value, Failure> {
    if let Some(text) = tagged["text"].as_str() {
        return Ok(Value::Text(text.to_owned()));
    }
    if let Some(json) = tagged.get("json") {
        return Ok(Value::Json(json.clone()));
    }
    if let Some(columns) = tagged["table"]["columns"].as_array() {
        return Ok(Value::Table(table::read(columns)?));
    }
    let bytes = bytes(tagged)?;
    Ok(match payload_type {
        PayloadType::Text => Value::Text(String::from_utf8(bytes)?),
        PayloadType::Dictionary | PayloadType::JsonTable => JsonText::new(bytes).into(),
        PayloadType::ArrowTable => natsbridge_core::decode(payload_type, bytes.into())?,
        _ => Value::Bytes(bytes.into()),
    })
}

/// The bytes of `base64`, `blob` or `repeat`
pub(crate) fn bytes(tagged: &Json) -> Result<Vec<u8>, Failure> {
    if let Some(text) = tagged["base64"].as_str() {
        return Ok(STANDARD.decode(text)?);
    }
    if let Some(name) = tagged["blob"].as_str() {
        let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/blobs");
        return Ok(std::fs::read(folder.join(name))?);
    }
    let repeat = &tagged["repeat"];
    let (Some(byte), Some(count)) = (repeat["byte"].as_u64(), repeat["count"].as_u64()) else {
        return Err(format!("{tagged} is no value").into());
    };
    Ok(vec![u8::try_from(byte)?; usize::try_from(count)?])
}

/// A value as it is reported
pub(crate) fn write(value: &Value) -> Result<Json, Failure> {
    Ok(match value {
        Value::Text(text) => json!({"text": text}),
        Value::Json(json) => json!({"json": json}),
        Value::Rows(rows) => json!({"json": rows.as_slice()}),
        Value::Table(table) => json!({"table": {"columns": table::write(table)?}}),
        Value::Bytes(bytes) if bytes.len() > LONGEST => {
            json!({"sha256": Digest::of(bytes).to_string(), "size": bytes.len()})
        }
        Value::Bytes(bytes) => json!({"base64": STANDARD.encode(bytes)}),
        other => return Err(format!("{other:?} has no tag").into()),
    })
}
