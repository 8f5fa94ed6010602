//! What an operator sees of each message: the log fields of NFR-401 and the counters of NFR-402.

use natsbridge_core::{Envelope, Header, Purpose};

/// Messages published, or handed to the caller to publish
pub const MESSAGES_SENT: &str = "messages_sent_total";
/// Messages received as sound envelopes
pub const MESSAGES_RECEIVED: &str = "messages_received_total";

/// Acknowledgements sent
pub const ACKS_SENT: &str = "acks_sent_total";
/// Refusals sent
pub const NACKS_SENT: &str = "nacks_sent_total";
/// Messages sent again because an acknowledgement was missing
pub const MESSAGES_REPEATED: &str = "messages_repeated_total";
/// Messages that a sender numbered and that did not arrive; lower by `messages_reordered_total` once those are in
pub const MESSAGE_GAPS: &str = "message_gaps_total";
/// Messages that arrived again
pub const MESSAGE_DUPLICATES: &str = "message_duplicates_total";
/// Messages that arrived after a later one
pub const MESSAGES_REORDERED: &str = "messages_reordered_total";

/// Tells the installed metrics recorder what the façade's counters mean
pub fn describe_metrics() {
    metrics::describe_counter!(MESSAGES_SENT, "messages published, or handed to the caller to publish");
    metrics::describe_counter!(MESSAGES_RECEIVED, "messages received as sound envelopes");
    metrics::describe_counter!(ACKS_SENT, "acknowledgements sent");
    metrics::describe_counter!(NACKS_SENT, "refusals sent");
    metrics::describe_counter!(MESSAGES_REPEATED, "messages sent again because an acknowledgement was missing");
    metrics::describe_counter!(MESSAGE_GAPS, "numbered messages that did not arrive, late ones among them");
    metrics::describe_counter!(MESSAGE_DUPLICATES, "messages that arrived again");
    metrics::describe_counter!(MESSAGES_REORDERED, "messages that arrived after a later one");
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
    match envelope.header().msg_purpose() {
        Purpose::Ack => metrics::counter!(ACKS_SENT).increment(1),
        Purpose::Nack => metrics::counter!(NACKS_SENT).increment(1),
        _ => {}
    }
    log_payloads!(envelope.header(), words(envelope), "message sent");
}

/// Counts and logs a message that arrived
pub(crate) fn received(envelope: &Envelope) {
    metrics::counter!(MESSAGES_RECEIVED).increment(1);
    log_payloads!(envelope.header(), words(envelope), "message received");
}

/// Counts a message that is sent again
pub(crate) fn repeated() {
    metrics::counter!(MESSAGES_REPEATED).increment(1);
}

/// Counts and logs messages that are missing before this one
pub(crate) fn gap(missing: u64, next: &Header) {
    metrics::counter!(MESSAGE_GAPS).increment(missing);
    tracing::warn!(
        missing,
        subject = next.send_to(),
        sender_name = next.sender_name(),
        sender_id = next.sender_id(),
        msg_id = next.msg_id(),
        "messages are missing before this one"
    );
}

/// Counts a message that arrived again
pub(crate) fn duplicate() {
    metrics::counter!(MESSAGE_DUPLICATES).increment(1);
}

/// Counts a message that arrived after a later one
pub(crate) fn reordered() {
    metrics::counter!(MESSAGES_REORDERED).increment(1);
}

/// An error as a log field, with its causes
pub(crate) fn cause(error: &(impl std::error::Error + 'static)) -> &(dyn std::error::Error + 'static) {
    error
}
