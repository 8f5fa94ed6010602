//! NATSBridge's own path through core, with identifiers and time given, as the textbook's are.

use std::sync::LazyLock;

use bytes::Bytes;
use natsbridge_core::{
    Arrival, Envelope, Limits, OutboundMessage, Part, PayloadType, ReceivePolicy, Sender, Stamp, Step, Value, plan,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Failure;

/// Every identifier, as random ones take a time of their own
pub const ID: Uuid = Uuid::from_u128(0x1234_5678_90ab_4def_8234_5678_90ab_cdef);

/// Shared by all messages, as a bridge shares it
static SENDER: LazyLock<Sender> =
    LazyLock::new(|| Sender::default().id(ID.to_string()).broker_url("nats://localhost:4222"));

/// Plans a message whose payloads all travel direct
///
/// # Errors
/// What core says, or that a payload wants to be a link.
pub fn sealed(values: impl IntoIterator<Item = (&'static str, PayloadType, Value)>) -> Result<Envelope, Failure> {
    let mut message = OutboundMessage::new("lab.results");
    for (name, payload_type, value) in values {
        message.parts.push(Part::new(name, payload_type, value)?);
    }
    let mut new_id = || ID;
    let mut stamp = Stamp::new(&SENDER, OffsetDateTime::UNIX_EPOCH, &mut new_id);
    let planned = plan(message, &Limits::default(), &mut stamp)?;
    // The first of the rest, if there is one, is always an upload.
    if let Some(Step::Upload(upload)) = planned.rest.first() {
        return Err(format!("`{}` wants to be a link", upload.object().dataname).into());
    }
    Ok(planned.header.seal(planned.ready))
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
