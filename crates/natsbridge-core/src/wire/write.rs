//! Writes an envelope as JSON in one pass: exact size first, then every byte once, base64 straight into the buffer.

use std::borrow::Cow;

use bytes::Bytes;

use crate::PayloadType;
use crate::base64;
use crate::envelope::{BETWEEN, Body, Envelope, Header, Id, Metadata, OPENINGS, Payload, opening};

impl Envelope {
    /// Writes the JSON that crosses NATS, in one pass into one buffer of exact size
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        written(self)
    }
}

fn written(envelope: &Envelope) -> Bytes {
    let metadata = envelope.header.metadata_json();
    let payloads: usize =
        envelope.payloads.iter().map(|payload| payload_len(payload, &json_of(&payload.metadata))).sum();
    let len = header_len(&envelope.header, &metadata) + payloads + commas(envelope.payloads.len());

    let mut out = Vec::with_capacity(len);
    header(&envelope.header, &metadata, &mut out);
    for (index, item) in envelope.payloads.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        payload(item, &json_of(&item.metadata), &mut out);
    }
    out.extend_from_slice(b"]}");
    debug_assert_eq!(out.len(), len, "the size is known before");
    out.into()
}

/// Bytes of an envelope with this header and no payloads
pub(crate) fn empty_len(header: &Header) -> usize {
    header_len(header, &header.metadata_json())
}

/// Bytes between payloads
pub(crate) const fn commas(payloads: usize) -> usize {
    payloads.saturating_sub(1)
}

/// Bytes that a direct payload adds, without a comma
pub(crate) fn direct_len(
    id: &Id,
    dataname: &str,
    payload_type: PayloadType,
    size: usize,
    metadata: &Metadata,
) -> usize {
    fixed_len(id, dataname, payload_type, DIRECT)
        + decimal_len(u64::try_from(size).unwrap_or(u64::MAX))
        + base64::encoded_len(size)
        + json_of(metadata).len()
}

/// Behind the last text field
const METADATA: &str = "\",\"metadata\":";
const PAYLOADS: &str = ",\"payloads\":[";
/// Bytes of an envelope without payloads that are neither text fields nor metadata
const HEADER_LEN: usize = "{".len() + METADATA.len() + PAYLOADS.len() + "]}".len();

fn header_len(header: &Header, metadata: &[u8]) -> usize {
    let fields = header.members().map_or_else(|| members_len(header.text()), str::len);
    HEADER_LEN + fields + metadata.len()
}

fn header(header: &Header, metadata: &[u8], out: &mut Vec<u8>) {
    out.push(b'{');
    match header.members() {
        Some(members) => out.extend_from_slice(members.as_bytes()),
        None => members(header, out),
    }
    out.extend_from_slice(METADATA.as_bytes());
    out.extend_from_slice(metadata);
    out.extend_from_slice(PAYLOADS.as_bytes());
}

/// Length of the text fields as members, for fields that stand one behind the other
fn members_len(text: &str) -> usize {
    total(&OPENINGS) - BETWEEN.len() + escaped_len(text)
}

/// Appends the text fields as members, without the last quote
fn members(header: &Header, out: &mut Vec<u8>) {
    for (index, field) in header.fields().enumerate() {
        out.extend_from_slice(opening(index).as_bytes());
        escaped(field, out);
    }
}

const KEYS: [&str; 5] =
    ["{\"id\":\"", "\",\"dataname\":\"", "\",\"payload_type\":\"", ",\"data\":\"", "\",\"metadata\":"];
const KEYS_LEN: usize = total(&KEYS) + "}".len();
/// From the end of `payload_type` to the size, for bytes
const DIRECT: &str = "\",\"transport\":\"direct\",\"encoding\":\"base64\",\"size\":";
/// The same for a link
const LINK: &str = "\",\"transport\":\"link\",\"encoding\":\"none\",\"size\":";

fn fixed_len(id: &Id, dataname: &str, payload_type: PayloadType, transport: &str) -> usize {
    let id = match id {
        Id::Uuid(text) => text.len(),
        Id::Other(text) => escaped_len(text),
    };
    KEYS_LEN + id + escaped_len(dataname) + payload_type.as_str().len() + transport.len()
}

fn payload_len(payload: &Payload, metadata: &[u8]) -> usize {
    let (transport, data) = match &payload.body {
        Body::Direct(bytes) => (DIRECT, base64::encoded_len(bytes.len())),
        Body::Link { url, .. } => (LINK, escaped_len(url)),
    };
    let fixed = fixed_len(&payload.id, &payload.dataname, payload.payload_type, transport);
    fixed + decimal_len(payload.size()) + data + metadata.len()
}

fn payload(payload: &Payload, metadata: &[u8], out: &mut Vec<u8>) {
    let [id, dataname, payload_type, data, meta] = KEYS.map(str::as_bytes);
    out.extend_from_slice(id);
    match &payload.id {
        Id::Uuid(text) => out.extend_from_slice(text),
        Id::Other(text) => escaped(text, out),
    }
    out.extend_from_slice(dataname);
    escaped(&payload.dataname, out);
    out.extend_from_slice(payload_type);
    out.extend_from_slice(payload.payload_type.as_str().as_bytes());
    let transport = if matches!(payload.body, Body::Direct(_)) { DIRECT } else { LINK };
    out.extend_from_slice(transport.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(payload.size()).as_bytes());
    out.extend_from_slice(data);
    match &payload.body {
        Body::Direct(bytes) => base64::encode_into(bytes, out),
        Body::Link { url, .. } => escaped(url, out),
    }
    out.extend_from_slice(meta);
    out.extend_from_slice(metadata);
    out.push(b'}');
}

/// The JSON of any metadata
pub(crate) fn json_of(metadata: &Metadata) -> Cow<'static, [u8]> {
    const EMPTY: &[u8] = b"{}";
    if metadata.is_empty() {
        return Cow::Borrowed(EMPTY);
    }
    // Writing JSON values with text keys into memory can't fail.
    serde_json::to_vec(metadata).map_or(Cow::Borrowed(EMPTY), Cow::Owned)
}

/// Bytes of several texts together
pub(crate) const fn total(texts: &[&str]) -> usize {
    let mut len = 0;
    let mut index = 0;
    while index < texts.len() {
        len += texts[index].len();
        index += 1;
    }
    len
}

/// Appends what stands between the quotes of a JSON string
fn escaped(text: &str, out: &mut Vec<u8>) {
    if is_plain(text) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..0x20 => out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
            _ => out.push(byte),
        }
    }
}

/// Length with what escaping adds
fn escaped_len(text: &str) -> usize {
    if is_plain(text) {
        return text.len();
    }
    let added = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        0..0x20 => 5,
        _ => 0,
    });
    text.len() + added.sum::<usize>()
}

/// Whether nothing is to be escaped; without an early end, so that the compiler can look at many bytes at once
fn is_plain(text: &str) -> bool {
    !text.bytes().fold(false, |found, byte| found | is_escaped(byte))
}

/// How many characters of a text JSON wants escaped; in steps that a byte can count, so that the compiler can look at
/// many at once
pub(crate) fn to_escape(text: &str) -> usize {
    const STEP: usize = 240;
    let step = |step: &[u8]| step.iter().fold(0_u8, |count, byte| count.wrapping_add(u8::from(is_escaped(*byte))));
    text.as_bytes().chunks(STEP).map(|bytes| usize::from(step(bytes))).sum()
}

const fn is_escaped(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

fn decimal_len(number: u64) -> usize {
    number.checked_ilog10().and_then(|log| usize::try_from(log).ok()).map_or(1, |log| log + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Encoding, Transport};

    #[test]
    fn strings_are_escaped_as_json_does_and_their_length_is_known() {
        for text in ["", "plain", "\"\\\n\r\t\u{8}\u{c}\u{0}\u{1f}\u{7f}", "سلام é \u{1F600} a\u{301}"] {
            let mut out = Vec::new();
            escaped(text, &mut out);
            assert_eq!(out.len(), escaped_len(text));
            let quoted = [b"\"", out.as_slice(), b"\""].concat();
            assert_eq!(serde_json::from_slice::<String>(&quoted).unwrap(), text);
        }
    }

    #[test]
    fn the_words_for_a_transport_are_those_that_are_read() {
        for (written, transport, encoding) in
            [(DIRECT, Transport::Direct, Encoding::Base64), (LINK, Transport::Link, Encoding::None)]
        {
            let (transport, encoding) = (transport.as_str(), encoding.as_str());
            assert_eq!(written, format!("\",\"transport\":\"{transport}\",\"encoding\":\"{encoding}\",\"size\":"));
        }
    }

    #[test]
    fn decimals_are_as_long_as_they_print() {
        for number in [0, 1, 9, 10, 99, 100, 499_999, 500_000, u64::MAX] {
            assert_eq!(decimal_len(number), number.to_string().len());
        }
    }
}
