//! What an operator sees of each message: the log fields of NFR-401 and the counters of NFR-402.

use natsbridge_core::{Envelope, Header};

/// Messages published, or handed to the caller to publish
pub const MESSAGES_SENT: &str = "messages_sent_total";
/// Messages received as sound envelopes
pub const MESSAGES_RECEIVED: &str = "messages_received_total";

/// Tells the installed metrics recorder what the façade's counters mean
pub fn describe_metrics() {
    metrics::describe_counter!(MESSAGES_SENT, "messages published, or handed to the caller to publish");
    metrics::describe_counter!(MESSAGES_RECEIVED, "messages received as sound envelopes");
    natsbridge_nats::describe_metrics();
}

/// Writes one log event per payload, as the type and the transport are a payload's; one for a message without any
macro_rules! log_payloads {
    ($header:expr, $payloads:expr, $text:literal) => {{
        let header: &Header = $header;
        if tracing::enabled!(tracing::Level::INFO) {
            let mut none = true;
            for (payload_type, transport) in $payloads {
                none = false;
                log_one!(header, payload_type, transport, $text);
            }
            if none {
                log_one!(header, "", "", $text);
            }
        }
    }};
}

macro_rules! log_one {
    ($header:ident, $payload_type:expr, $transport:expr, $text:literal) => {
        tracing::info!(
            correlation_id = $header.correlation_id(),
            msg_id = $header.msg_id(),
            timestamp = $header.timestamp(),
            sender_name = $header.sender_name(),
            receiver_name = $header.receiver_name(),
            payload_type = $payload_type,
            transport = $transport,
            $text
        )
    };
}

fn words(envelope: &Envelope) -> impl Iterator<Item = (&'static str, &'static str)> {
    envelope.payloads().iter().map(|payload| (payload.payload_type().as_str(), payload.transport().as_str()))
}

/// Counts and logs a message that is on its way
pub(crate) fn sent(envelope: &Envelope) {
    metrics::counter!(MESSAGES_SENT).increment(1);
    log_payloads!(envelope.header(), words(envelope), "message sent");
}

/// Counts and logs a message that arrived
pub(crate) fn received(envelope: &Envelope) {
    metrics::counter!(MESSAGES_RECEIVED).increment(1);
    log_payloads!(envelope.header(), words(envelope), "message received");
}
