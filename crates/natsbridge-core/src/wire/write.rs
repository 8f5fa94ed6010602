//! Writes an envelope as JSON, and counts its bytes with the same code.

use bytes::{Bytes, BytesMut};

use crate::base64;
use crate::envelope::{Body, Envelope, Payload};
use crate::escape::escape;
use crate::fields::opening;
use crate::header::Header;
use crate::id::Id;

impl Envelope {
    /// Writes the JSON that crosses NATS, into memory of exactly its size
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        let mut len = Length(0);
        envelope(&self.header, &self.payloads, &mut len);
        let mut out = Vec::with_capacity(len.0);
        envelope(&self.header, &self.payloads, &mut out);
        debug_assert_eq!(out.len(), len.0, "what was counted is what was written");
        out.into()
    }

    /// Appends the same JSON to memory that small messages can share: `memory.split().freeze()` takes each one out
    pub fn write_json(&self, memory: &mut BytesMut) {
        envelope(&self.header, &self.payloads, memory);
    }
}

/// Bytes of an envelope with these payloads
pub(crate) fn envelope_len<'a>(header: &Header, payloads: impl IntoIterator<Item = &'a Payload>) -> u64 {
    let mut len = Length(0);
    envelope(header, payloads, &mut len);
    len.bytes()
}

/// Bytes that a payload adds to an envelope, without a comma
pub(crate) fn payload_len(item: &Payload) -> u64 {
    let mut len = Length(0);
    payload(item, &mut len);
    len.bytes()
}

/// Takes JSON, piece by piece
trait Out {
    fn put(&mut self, bytes: &[u8]);

    /// Takes bytes that are to become base64
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

/// Counts bytes and keeps none
struct Length(usize);

impl Length {
    fn bytes(&self) -> u64 {
        u64::try_from(self.0).unwrap_or(u64::MAX)
    }
}

impl Out for Length {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn put_base64(&mut self, bytes: &[u8]) {
        self.0 += base64::encoded_len(bytes.len());
    }
}

fn envelope<'a>(header: &Header, payloads: impl IntoIterator<Item = &'a Payload>, out: &mut impl Out) {
    out.put(b"{");
    match header.members() {
        Some(members) => out.put(members.as_bytes()),
        None => {
            for (index, field) in header.fields().enumerate() {
                out.put(opening(index).as_bytes());
                escape(field, |bytes| out.put(bytes));
            }
        }
    }
    out.put(b"\",\"metadata\":");
    out.put(&header.metadata_json());
    out.put(b",\"payloads\":[");
    for (index, item) in payloads.into_iter().enumerate() {
        if index > 0 {
            out.put(b",");
        }
        payload(item, out);
    }
    out.put(b"]}");
}

fn payload(payload: &Payload, out: &mut impl Out) {
    let Payload { id, dataname, payload_type, metadata, body, .. } = payload;
    out.put(b"{\"id\":\"");
    match id {
        Id::Uuid(text) => out.put(text),
        Id::Other(text) => escape(text, |bytes| out.put(bytes)),
    }
    out.put(b"\",\"dataname\":\"");
    escape(dataname, |bytes| out.put(bytes));
    out.put(b"\",\"payload_type\":\"");
    out.put(payload_type.as_str().as_bytes());
    out.put(b"\",\"transport\":\"");
    out.put(payload.transport().as_str().as_bytes());
    out.put(b"\",\"encoding\":\"");
    out.put(payload.encoding().as_str().as_bytes());
    out.put(b"\",\"size\":");
    out.put(itoa::Buffer::new().format(payload.size()).as_bytes());
    out.put(b",\"data\":\"");
    match body {
        Body::Direct(bytes) => out.put_base64(bytes),
        Body::Link { url, .. } => escape(url, |bytes| out.put(bytes)),
    }
    out.put(b"\",\"metadata\":");
    out.put(&metadata.to_json());
    out.put(b"}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::FIELDS;
    use crate::{Metadata, PayloadType};

    fn of_size(size: usize) -> Envelope {
        let payload = Payload {
            id: "a \"b\"".into(),
            dataname: "n\n".into(),
            payload_type: PayloadType::Binary,
            metadata: Metadata::from_iter([("own".to_owned(), 1.into())]).into(),
            stated_size: None,
            body: Body::Direct(vec![7; size].into()),
        };
        let header = Header::new(["\"quoted\""; FIELDS.len()], Metadata::new()).unwrap();
        Envelope { header, payloads: vec![payload.clone(), payload] }
    }

    #[test]
    fn shared_memory_holds_what_each_message_is_alone() {
        let mut memory = BytesMut::with_capacity(10_000);
        let sizes = [0, 1, 1_000, 1_500, 1_501, 5_000];
        let together = sizes.map(|size| {
            of_size(size).write_json(&mut memory);
            memory.split().freeze()
        });
        assert_eq!(together, sizes.map(|size| of_size(size).to_json()));
        assert_eq!(together[0].as_ptr_range().end, together[1].as_ptr(), "they share memory");
        assert_ne!(together[3].as_ptr_range().end, together[4].as_ptr(), "until it is full");
    }

    #[test]
    fn lengths_are_those_of_what_is_written() {
        for size in [0, 1, 2, 3, 99, 1_000] {
            let envelope = of_size(size);
            let len = |payloads| envelope_len(&envelope.header, payloads);
            assert_eq!(len(&envelope.payloads[..]), u64::try_from(envelope.to_json().len()).unwrap());
            let two = len(&envelope.payloads[..]) - len(&[]);
            assert_eq!(2 * payload_len(&envelope.payloads[0]) + 1, two);
        }
    }
}
