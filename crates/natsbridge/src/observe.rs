//! Logs and counters of each message, as `docs/operations/README.md` lists them.

use metrics::{Key, Level, Metadata};
use natsbridge_core::{Envelope, Header, Purpose, shown};

use crate::Error;

/// Counter: messages published, or handed to the caller to publish, replies included
pub const MESSAGES_SENT: &str = "messages_sent_total";
/// Counter: messages received as sound envelopes, replies included
pub const MESSAGES_RECEIVED: &str = "messages_received_total";
/// Counter: messages that arrived and could not be handed out; label `code`, the error's
pub const MESSAGES_UNREADABLE: &str = "messages_unreadable_total";

/// Counter: acknowledgements sent
pub const ACKS_SENT: &str = "acks_sent_total";
/// Counter: refusals sent
pub const NACKS_SENT: &str = "nacks_sent_total";
/// Counter: messages sent again because an acknowledgement was missing
pub const MESSAGES_REPEATED: &str = "messages_repeated_total";
/// Counter: deliveries that ended without the awaited acknowledgements; label `code`: `unacknowledged`, `nacked` or another error's
pub const DELIVERIES_FAILED: &str = "deliveries_failed_total";
/// Counter: numbers that a sender's messages skipped; without `messages_reordered_total`, those that are still missing
pub const MESSAGE_GAPS: &str = "message_gaps_total";
/// Counter: messages that arrived again
pub const MESSAGE_DUPLICATES: &str = "message_duplicates_total";
/// Counter: messages that arrived after a later one
pub const MESSAGES_REORDERED: &str = "messages_reordered_total";

/// Histogram: seconds that an upload took, retries included; label `outcome`, `ok` or the error's code
pub const FILE_UPLOAD_DURATION: &str = "file_upload_duration_seconds";
/// Histogram: seconds that a download took, retries included; label `outcome`, `ok` or the error's code
pub const FILE_DOWNLOAD_DURATION: &str = "file_download_duration_seconds";
/// Counter: requests to a file server after a first one that failed; label `operation`, `upload` or `download`
pub const RETRY_ATTEMPTS: &str = "retry_attempts_total";
/// Counter: downloads whose retries all failed; operators alert on it
pub const DOWNLOAD_RETRY_EXCEEDED: &str = "download_retry_exceeded_total";

/// Tells the installed metrics recorder what every metric means, and begins counters at zero; call it once after
/// installing one
///
/// A counter that began with its first event would hide that event from Prometheus' `increase`, and so from alerts.
pub fn describe_metrics() {
    // With a series at zero from the beginning, where they have no labels.
    for (name, text) in [
        (MESSAGES_SENT, "messages published, or handed to the caller to publish"),
        (MESSAGES_RECEIVED, "messages received as sound envelopes"),
        (ACKS_SENT, "acknowledgements sent"),
        (NACKS_SENT, "refusals sent"),
        (MESSAGES_REPEATED, "messages sent again because an acknowledgement was missing"),
        (MESSAGE_GAPS, "numbered messages that did not arrive, late ones among them"),
        (MESSAGE_DUPLICATES, "messages that arrived again"),
        (MESSAGES_REORDERED, "messages that arrived after a later one"),
        (DOWNLOAD_RETRY_EXCEEDED, "downloads of which every retry failed"),
    ] {
        metrics::describe_counter!(name, text);
        metrics::counter!(name).increment(0);
    }
    metrics::describe_counter!(MESSAGES_UNREADABLE, "messages that arrived and could not be handed out");
    metrics::describe_counter!(DELIVERIES_FAILED, "deliveries that ended without the awaited acknowledgements");
    metrics::describe_counter!(RETRY_ATTEMPTS, "requests to a file server after a first one that failed");
    let seconds = metrics::Unit::Seconds;
    metrics::describe_histogram!(FILE_UPLOAD_DURATION, seconds, "time that an upload took, retries included");
    metrics::describe_histogram!(FILE_DOWNLOAD_DURATION, seconds, "time that a download took, retries included");
    natsbridge_nats::describe_metrics();
    for name in [natsbridge_nats::RECONNECTS, natsbridge_nats::MESSAGES_DROPPED, natsbridge_nats::SERVER_ERRORS] {
        metrics::counter!(name).increment(0);
    }
    for operation in ["upload", "download"] {
        metrics::counter!(RETRY_ATTEMPTS, "operation" => operation).increment(0);
    }
    for code in ["unacknowledged", "nacked"] {
        metrics::counter!(DELIVERIES_FAILED, "code" => code).increment(0);
    }
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
            correlation_id = &*shown($header.correlation_id()),
            msg_id = &*shown($header.msg_id()),
            timestamp = &*shown($header.timestamp()),
            sender_name = &*shown($header.sender_name()),
            receiver_name = &*shown($header.receiver_name()),
            payload_type = $payload_type,
            transport = $transport,
            $text
        )
    };
}

fn words(envelope: &Envelope) -> impl Iterator<Item = (&'static str, &'static str)> {
    envelope.payloads().iter().map(|payload| (payload.payload_type().as_str(), payload.transport().as_str()))
}

/// One more of what happens with every message: `counter!` would hash the name of a constant each time
fn count(key: &'static Key) {
    static METADATA: Metadata<'_> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
    metrics::with_recorder(|recorder| recorder.register_counter(key, &METADATA)).increment(1);
}

/// Counts and logs a message that is on its way
pub(crate) fn sent(envelope: &Envelope) {
    static SENT: Key = Key::from_static_name(MESSAGES_SENT);
    count(&SENT);
    match envelope.header().msg_purpose() {
        Purpose::Ack => metrics::counter!(ACKS_SENT).increment(1),
        Purpose::Nack => metrics::counter!(NACKS_SENT).increment(1),
        _ => {}
    }
    log_payloads!(envelope.header(), words(envelope), "message sent");
}

/// Counts and logs a message that arrived
pub(crate) fn received(envelope: &Envelope) {
    static RECEIVED: Key = Key::from_static_name(MESSAGES_RECEIVED);
    count(&RECEIVED);
    log_payloads!(envelope.header(), words(envelope), "message received");
    for payload in envelope.payloads() {
        if let Some(stated) = payload.misstated_size() {
            let size = payload.size();
            tracing::warn!(
                msg_id = &*shown(envelope.header().msg_id()),
                dataname = &*shown(payload.dataname()),
                stated,
                size,
                "a direct payload has another size than stated"
            );
        }
    }
}

/// Counts and logs a message of [`open`](crate::open) that the program can't read; what [`smartreceive`](crate::smartreceive)
/// and a [`Subscriber`](crate::Subscriber) report is counted already
pub fn count_unreadable(error: &Error, header: Option<&Header>) {
    unreadable(error, header.map_or("", Header::send_to), header);
}

/// Counts and logs a message that can't be handed out
pub(crate) fn unreadable(error: &Error, subject: &str, header: Option<&Header>) {
    metrics::counter!(MESSAGES_UNREADABLE, "code" => error.code()).increment(1);
    tracing::warn!(
        correlation_id = &*shown(header.map_or("", Header::correlation_id)),
        msg_id = &*shown(header.map_or("", Header::msg_id)),
        sender_name = &*shown(header.map_or("", Header::sender_name)),
        subject = &*shown(subject),
        code = error.code(),
        error = cause(error),
        "a message can't be read"
    );
}

/// Counts a delivery that failed; its caller gets the error
pub(crate) fn delivery_failed(error: &Error) {
    metrics::counter!(DELIVERIES_FAILED, "code" => error.code()).increment(1);
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
        subject = &*shown(next.send_to()),
        sender_name = &*shown(next.sender_name()),
        sender_id = &*shown(next.sender_id()),
        msg_id = &*shown(next.msg_id()),
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
