//! The text fields of an envelope: their names, and their order on the wire.

macro_rules! fields {
    ($($name:literal)+) => {
        /// The text fields of a header, in wire order
        pub(crate) const FIELDS: [&str; [$($name),+].len()] = [$($name),+];
        /// The JSON before each field's text: the end of the field before, and its name
        pub(crate) const OPENINGS: [&str; FIELDS.len()] = [$(concat!("\",\"", $name, "\":\"")),+];
    };
}

fields! {
    "correlation_id"
    "msg_id"
    "timestamp"
    "send_to"
    "msg_purpose"
    "sender_name"
    "sender_id"
    "receiver_name"
    "receiver_id"
    "reply_to"
    "reply_to_msg_id"
    "broker_url"
}

/// The part of an opening that the first field does not have
pub(crate) const BETWEEN: &str = "\",";

/// Bytes of all openings together
pub(crate) const OPENINGS_LEN: usize = {
    let (mut len, mut index) = (0, 0);
    while index < OPENINGS.len() {
        len += OPENINGS[index].len();
        index += 1;
    }
    len
};

/// The JSON before a field among the members of a header
pub(crate) fn opening(index: usize) -> &'static str {
    if index == 0 { &OPENINGS[0][BETWEEN.len()..] } else { OPENINGS[index] }
}
