//! The textbook path, NATSBridge's opponent: a derived struct, `base64` into a `String`, `serde_json::to_string`, and back.

use std::borrow::Cow;
use std::io::Cursor;

use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use natsbridge_core::{PayloadType, Table, Value};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::Failure;
use crate::bridge::ID;

/// The envelope as one would first write it
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "fields are the wire's")]
pub struct Envelope<'a> {
    pub correlation_id: Cow<'a, str>,
    pub msg_id: Cow<'a, str>,
    pub timestamp: Cow<'a, str>,
    pub send_to: Cow<'a, str>,
    pub msg_purpose: Cow<'a, str>,
    pub sender_name: Cow<'a, str>,
    pub sender_id: Cow<'a, str>,
    pub receiver_name: Cow<'a, str>,
    pub receiver_id: Cow<'a, str>,
    pub reply_to: Cow<'a, str>,
    pub reply_to_msg_id: Cow<'a, str>,
    pub broker_url: Cow<'a, str>,
    pub metadata: Map<String, Json>,
    pub payloads: Vec<Payload<'a>>,
}

/// A payload as one would first write it
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "fields are the wire's")]
pub struct Payload<'a> {
    pub id: Cow<'a, str>,
    pub dataname: Cow<'a, str>,
    pub payload_type: Cow<'a, str>,
    pub transport: Cow<'a, str>,
    pub encoding: Cow<'a, str>,
    pub size: usize,
    pub data: String,
    pub metadata: Map<String, Json>,
}

/// The identifiers and the time of a message, as text
#[derive(Debug)]
pub struct Stamp {
    correlation_id: String,
    msg_id: String,
    sender_id: String,
    payload_id: String,
    timestamp: String,
}

impl Stamp {
    /// Writes the same identifier and time as the bridge's path, which draws no random numbers either
    ///
    /// # Errors
    /// What `time` says.
    pub fn new() -> Result<Self, Failure> {
        let id = || ID.to_string();
        let timestamp = OffsetDateTime::UNIX_EPOCH.format(&Rfc3339)?;
        Ok(Self { correlation_id: id(), msg_id: id(), sender_id: id(), payload_id: id(), timestamp })
    }
}

/// Serialises values into the JSON of a message
///
/// # Errors
/// What `serde_json` and `arrow-ipc` say.
pub fn encode(values: &[(&str, PayloadType, Value)], stamp: &Stamp) -> Result<String, Failure> {
    let mut payloads = Vec::with_capacity(values.len());
    for (name, payload_type, value) in values {
        let body = body(value)?;
        payloads.push(Payload {
            id: (&*stamp.payload_id).into(),
            dataname: (*name).into(),
            payload_type: payload_type.as_str().into(),
            transport: "direct".into(),
            encoding: "base64".into(),
            size: body.len(),
            data: BASE64_STANDARD.encode(&body),
            metadata: Map::new(),
        });
    }
    Ok(serde_json::to_string(&Envelope {
        correlation_id: (&*stamp.correlation_id).into(),
        msg_id: (&*stamp.msg_id).into(),
        timestamp: (&*stamp.timestamp).into(),
        send_to: "lab.results".into(),
        msg_purpose: "chat".into(),
        sender_name: "NATSBridge".into(),
        sender_id: (&*stamp.sender_id).into(),
        receiver_name: "".into(),
        receiver_id: "".into(),
        reply_to: "".into(),
        reply_to_msg_id: "".into(),
        broker_url: "nats://localhost:4222".into(),
        metadata: Map::new(),
        payloads,
    })?)
}

fn body(value: &Value) -> Result<Cow<'_, [u8]>, Failure> {
    Ok(match value {
        Value::Text(text) => text.as_bytes().into(),
        Value::Json(json) => serde_json::to_vec(json)?.into(),
        Value::Rows(rows) => serde_json::to_vec(rows.as_slice())?.into(),
        Value::Table(table) => write_table(table)?.into(),
        Value::Bytes(bytes) => (&**bytes).into(),
        _ => return Err("a value of an unknown kind".into()),
    })
}

/// Reads the values out of the JSON of a message
///
/// # Errors
/// What `serde_json`, `base64` and `arrow-ipc` say.
pub fn decode(json: &[u8]) -> Result<Vec<Value>, Failure> {
    let envelope: Envelope<'_> = serde_json::from_slice(json)?;
    let mut values = Vec::with_capacity(envelope.payloads.len());
    for payload in envelope.payloads {
        let body = BASE64_STANDARD.decode(&payload.data)?;
        values.push(match &*payload.payload_type {
            "text" => Value::Text(String::from_utf8(body)?),
            "dictionary" => Value::Json(serde_json::from_slice(&body)?),
            "jsontable" => Value::Rows(serde_json::from_slice::<Vec<Map<String, Json>>>(&body)?.into()),
            "arrowtable" => Value::Table(read_table(&body)?),
            _ => Value::Bytes(body.into()),
        });
    }
    Ok(values)
}

/// An Arrow IPC stream as `arrow-ipc`'s own writer makes it
///
/// # Errors
/// What `arrow-ipc` says.
pub fn write_table(table: &Table) -> Result<Vec<u8>, Failure> {
    let mut writer = StreamWriter::try_new(Vec::new(), table.schema())?;
    for batch in table.batches() {
        writer.write(batch)?;
    }
    Ok(writer.into_inner()?)
}

/// A table as `arrow-ipc`'s own reader reads it
///
/// # Errors
/// What `arrow-ipc` says.
pub fn read_table(stream: &[u8]) -> Result<Table, Failure> {
    let reader = StreamReader::try_new(Cursor::new(stream), None)?;
    let schema = reader.schema();
    Ok(Table::new(schema, reader.collect::<Result<_, _>>()?)?)
}
