//! NATSBridge's own path through core, with identifiers and time given, as the textbook's are.

use std::sync::LazyLock;

use bytes::Bytes;
use natsbridge_core::{
    Arrival, Draw, Envelope, Limits, OutboundMessage, Part, PayloadType, ReceivePolicy, Sender, Value, plan,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Failure;

/// Every identifier, as random ones take a time of their own
pub const ID: Uuid = Uuid::from_u128(0x1234_5678_90ab_4def_8234_5678_90ab_cdef);

/// Shared by all messages, as a bridge shares it
static SENDER: LazyLock<Sender> =
    LazyLock::new(|| Sender::default().id(ID.to_string()).broker_url("nats://localhost:4222"));

/// The same time and identifiers for every message
struct Fixed;

impl Draw for Fixed {
    fn now(&mut self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH
    }

    fn new_id(&mut self) -> Uuid {
        ID
    }
}

/// Plans a message whose payloads all travel direct
///
/// # Errors
/// What core says; a payload that wants to be a link is not uploaded.
pub fn sealed(values: impl IntoIterator<Item = (&'static str, PayloadType, Value)>) -> Result<Envelope, Failure> {
    let mut message = OutboundMessage::new("lab.results");
    for (name, payload_type, value) in values {
        message.parts.push(Part::new(name, payload_type, value)?);
    }
    Ok(plan(message, &SENDER, &Limits::default(), &mut Fixed)?.finish([])?)
}

/// Reads the values out of the JSON of a message
///
/// # Errors
/// What core says, or that a payload is a link.
pub fn decode(json: &[u8]) -> Result<Vec<Value>, Failure> {
    let (_, arrivals) = Envelope::from_json(json)?.open(&ReceivePolicy::default());
    let mut values = Vec::with_capacity(arrivals.len());
    for arrival in arrivals {
        values.push(match arrival {
            Arrival::Ready(part) => part.into_value()?,
            Arrival::Download(download) => return Err(format!("`{}` is a link", download.name()).into()),
            Arrival::Failed { error, .. } => return Err(error.into()),
        });
    }
    Ok(values)
}

/// The JSON of a message with one binary payload named `payload`
///
/// # Errors
/// As [`sealed`].
pub fn binary_json(size: usize) -> Result<Bytes, Failure> {
    let values = [("payload", PayloadType::Binary, Value::Bytes(crate::workload::bytes(size)))];
    Ok(sealed(values)?.to_json())
}
