//! Writes an envelope as JSON in one pass: exact size first, then every byte once, base64 straight into the buffer.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use crate::PayloadType;
use crate::base64;
use crate::envelope::{BETWEEN, Body, Envelope, Header, Id, Metadata, OPENINGS, Payload, opening};
use crate::notes::Notes;

impl Envelope {
    /// Writes the JSON that crosses NATS, in one pass into one buffer of exact size
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        let metadata = self.header.metadata_json();
        let len = self.len(&metadata, payload_len);
        let mut out = Vec::with_capacity(len);
        write(self, &metadata, &mut out);
        debug_assert_eq!(out.len(), len, "the size is known before");
        out.into()
    }

    /// The same JSON beside that of other messages in memory they share, which goes back to the system with the last of them
    ///
    /// For a sender of many small messages, as an allocation for each, given back by the thread that sends it, takes longer
    /// than writing it. `memory` is made larger where the JSON might not fit.
    #[must_use]
    pub fn to_json_in(&self, memory: &mut BytesMut) -> Bytes {
        let metadata = self.header.metadata_json();
        let len = self.len(&metadata, payload_len_at_most);
        memory.reserve(len);
        write(self, &metadata, memory);
        debug_assert!(memory.len() <= len, "there was room before");
        memory.split().freeze()
    }

    /// Bytes of the whole, with payloads as long as `payload_len` says
    fn len(&self, metadata: &[u8], payload_len: fn(&Payload) -> usize) -> usize {
        let payloads: usize = self.payloads.iter().map(payload_len).sum();
        header_len(&self.header, metadata) + payloads + commas(self.payloads.len())
    }
}

/// What JSON is written into
trait Out {
    fn put(&mut self, bytes: &[u8]);

    fn put_base64(&mut self, bytes: &[u8]);
}

impl Out for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn put_base64(&mut self, bytes: &[u8]) {
        base64::encode_into(bytes, self);
    }
}

impl Out for BytesMut {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn put_base64(&mut self, bytes: &[u8]) {
        let start = self.len();
        self.resize(start + base64::encoded_len(bytes.len()), 0);
        base64::encode_to(bytes, &mut self[start..]);
    }
}

fn write(envelope: &Envelope, metadata: &[u8], out: &mut impl Out) {
    header(&envelope.header, metadata, out);
    for (index, item) in envelope.payloads.iter().enumerate() {
        if index > 0 {
            out.put(b",");
        }
        payload(item, &notes(&item.metadata), out);
    }
    out.put(b"]}");
}

/// Bytes of an envelope with this header and no payloads
pub(crate) fn empty_len(header: &Header) -> usize {
    header_len(header, &header.metadata_json())
}

/// Bytes between payloads
pub(crate) const fn commas(payloads: usize) -> usize {
    payloads.saturating_sub(1)
}

/// Bytes that a payload adds without its size, its data and a comma
fn bare_len(id: &Id, dataname: &str, payload_type: PayloadType, transport: &str, metadata: &Notes) -> usize {
    let id = match id {
        Id::Uuid(text) => text.len(),
        Id::Other(text) => escaped_len(text),
    };
    let fields = id + escaped_len(dataname) + payload_type.as_str().len() + transport.len();
    KEYS_LEN + fields + notes(metadata).len()
}

/// Bytes that a link adds without its URL, what its store adds to the metadata, and a comma
pub(crate) fn link_len(id: &Id, dataname: &str, payload_type: PayloadType, metadata: &Notes) -> usize {
    bare_len(id, dataname, payload_type, DIRECT, metadata) + decimal_len(0)
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

fn header(header: &Header, metadata: &[u8], out: &mut impl Out) {
    out.put(b"{");
    match header.members() {
        Some(members) => out.put(members.as_bytes()),
        None => members(header, out),
    }
    out.put(METADATA.as_bytes());
    out.put(metadata);
    out.put(PAYLOADS.as_bytes());
}

/// Length of the text fields as members, for fields that stand one behind the other
fn members_len(text: &str) -> usize {
    total(&OPENINGS) - BETWEEN.len() + escaped_len(text)
}

/// Appends the text fields as members, without the last quote
fn members(header: &Header, out: &mut impl Out) {
    for (index, field) in header.fields().enumerate() {
        out.put(opening(index).as_bytes());
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

/// Bytes that a payload adds, without a comma
pub(crate) fn payload_len(payload: &Payload) -> usize {
    let Payload { id, dataname, payload_type, metadata, .. } = payload;
    let (transport, data) = match &payload.body {
        Body::Direct(bytes) => (DIRECT, base64::encoded_len(bytes.len())),
        Body::Link { url, .. } => (LINK, escaped_len(url)),
    };
    bare_len(id, dataname, *payload_type, transport, metadata) + decimal_len(payload.size()) + data
}

/// The same or a little more, found without a look at the payload's texts
pub(crate) fn payload_len_at_most(payload: &Payload) -> usize {
    /// Bytes of a character that is escaped as `\u001f`
    const ESCAPED: usize = 6;
    /// Digits of the largest size
    const SIZE: usize = 20;
    let id = match &payload.id {
        Id::Uuid(text) => text.len(),
        Id::Other(text) => ESCAPED * text.len(),
    };
    let data = match &payload.body {
        Body::Direct(bytes) => base64::encoded_len(bytes.len()),
        Body::Link { url, .. } => ESCAPED * url.len(),
    };
    let fields = id + ESCAPED * payload.dataname.len() + payload.payload_type.as_str().len() + DIRECT.len();
    KEYS_LEN + fields + SIZE + data + notes(&payload.metadata).len()
}

fn payload(payload: &Payload, metadata: &[u8], out: &mut impl Out) {
    let [id, dataname, payload_type, data, meta] = KEYS.map(str::as_bytes);
    out.put(id);
    match &payload.id {
        Id::Uuid(text) => out.put(text),
        Id::Other(text) => escaped(text, out),
    }
    out.put(dataname);
    escaped(&payload.dataname, out);
    out.put(payload_type);
    out.put(payload.payload_type.as_str().as_bytes());
    let transport = if matches!(payload.body, Body::Direct(_)) { DIRECT } else { LINK };
    out.put(transport.as_bytes());
    out.put(itoa::Buffer::new().format(payload.size()).as_bytes());
    out.put(data);
    match &payload.body {
        Body::Direct(bytes) => out.put_base64(bytes),
        Body::Link { url, .. } => escaped(url, out),
    }
    out.put(meta);
    out.put(metadata);
    out.put(b"}");
}

const EMPTY: &[u8] = b"{}";

/// The JSON of a payload's metadata
fn notes(metadata: &Notes) -> Cow<'static, [u8]> {
    if metadata.is_empty() { Cow::Borrowed(EMPTY) } else { json_of(metadata.map()) }
}

/// The JSON of any metadata
pub(crate) fn json_of(metadata: &Metadata) -> Cow<'static, [u8]> {
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
fn escaped(text: &str, out: &mut impl Out) {
    if is_plain(text) {
        out.put(text.as_bytes());
        return;
    }
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in text.bytes() {
        match byte {
            b'"' => out.put(b"\\\""),
            b'\\' => out.put(b"\\\\"),
            b'\n' => out.put(b"\\n"),
            b'\r' => out.put(b"\\r"),
            b'\t' => out.put(b"\\t"),
            0x08 => out.put(b"\\b"),
            0x0c => out.put(b"\\f"),
            0..0x20 => out.put(&[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
            _ => out.put(&[byte]),
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

/// Whether nothing is to be escaped
pub(crate) fn is_plain(text: &str) -> bool {
    /// Bytes that the compiler looks at together, where there is no early end
    const TOGETHER: usize = 16;
    if text.len() < TOGETHER {
        return !text.bytes().any(is_escaped);
    }
    !text.bytes().fold(false, |found, byte| found | is_escaped(byte))
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
    fn messages_beside_each_other_are_what_they_are_alone() {
        let envelope = |size: usize| {
            let payload = Payload {
                id: "a \"b\"".into(),
                dataname: "n".into(),
                payload_type: PayloadType::Binary,
                metadata: Notes::default(),
                stated_size: None,
                body: Body::Direct(vec![7; size].into()),
            };
            let fields = [""; OPENINGS.len()];
            Header::new(fields, true).unwrap().seal(vec![payload.clone(), payload])
        };
        let mut memory = BytesMut::with_capacity(10_000);
        let sizes = [0, 1, 1_000, 1_500, 1_501, 5_000];
        let together = sizes.map(|size| envelope(size).to_json_in(&mut memory));
        assert_eq!(together, sizes.map(|size| envelope(size).to_json()));
        assert_eq!(together[0].as_ptr_range().end, together[1].as_ptr(), "they share memory");
        assert_ne!(together[3].as_ptr_range().end, together[4].as_ptr(), "until it is full");
    }

    #[test]
    fn no_payload_is_longer_than_at_most() {
        let odd = "\u{1}".repeat(100);
        let link = Body::Link { url: odd.as_str().into(), size: u64::MAX };
        for (id, body) in [(Id::from(odd.as_str()), link), (Id::from("a"), Body::Direct(vec![7; 1_000].into()))] {
            let dataname = odd.as_str().into();
            let payload_type = PayloadType::ArrowTable;
            let payload = Payload { id, dataname, payload_type, metadata: Notes::default(), stated_size: None, body };
            assert!(payload_len(&payload) <= payload_len_at_most(&payload), "{payload:?}");
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
