//! Names the metrics of this crate, in one place.

use metrics::{counter, describe_counter, describe_gauge, gauge};

/// Gauge: connections that are up now
const CONNECTIONS: &str = "nats_connections";
/// Counter `nats_reconnects_total`: times that a connection was made again after it broke
pub const RECONNECTS: &str = "nats_reconnects_total";
/// Counter `messages_dropped_total`: messages dropped because a subscription's queue was full
pub const MESSAGES_DROPPED: &str = "messages_dropped_total";
/// Counter `nats_server_errors_total`: error texts that the server sent, refused permissions among them
pub const SERVER_ERRORS: &str = "nats_server_errors_total";

/// Describes each metric to the installed recorder; call it once after you install one
pub fn describe_metrics() {
    describe_gauge!(CONNECTIONS, "Connections to NATS that are up now");
    describe_counter!(RECONNECTS, "Connections to NATS made again after they broke");
    describe_counter!(MESSAGES_DROPPED, "Messages dropped because a subscription's queue was full");
    describe_counter!(SERVER_ERRORS, "Errors that the NATS server reported on an open connection");
}

pub(crate) fn connected() {
    gauge!(CONNECTIONS).increment(1.0);
}

pub(crate) fn disconnected() {
    gauge!(CONNECTIONS).decrement(1.0);
}

pub(crate) fn reconnected() {
    counter!(RECONNECTS).increment(1);
}

pub(crate) fn dropped(messages: u64) {
    counter!(MESSAGES_DROPPED).increment(messages);
}

pub(crate) fn server_error() {
    counter!(SERVER_ERRORS).increment(1);
}
