//! The envelope: a header and its payloads. It exists only complete: every payload is direct with its bytes, or a link.

use std::fmt;

use bytes::Bytes;
use serde_json::{Map, Value as Json};
use time::OffsetDateTime;

use crate::source::size_of_bytes;
use crate::{Digest, Encoding, PayloadType, Purpose, Transport, redacted, timestamp};

/// Metadata of a message or a payload: JSON by key (specification, section 6)
pub type Metadata = Map<String, Json>;

/// The text fields of a header, in the order in which they stand on the wire
pub(crate) const FIELDS: [&str; 12] = [
    "correlation_id",
    "msg_id",
    "timestamp",
    "send_to",
    "msg_purpose",
    "sender_name",
    "sender_id",
    "receiver_name",
    "receiver_id",
    "reply_to",
    "reply_to_msg_id",
    "broker_url",
];

/// Every field of an envelope but its payloads (requirements 8.1)
///
/// All text fields share one allocation: a header is read and written for every message, however small.
#[derive(Clone, PartialEq)]
pub struct Header {
    text: String,
    ends: [usize; FIELDS.len()],
    metadata: Metadata,
}

impl Header {
    /// Joins the fields, which stand in wire order
    pub(crate) fn new(fields: [&str; FIELDS.len()], metadata: Metadata) -> Self {
        let mut text = String::with_capacity(fields.iter().map(|field| field.len()).sum());
        let mut ends = [0; FIELDS.len()];
        for (end, field) in ends.iter_mut().zip(fields) {
            text.push_str(field);
            *end = text.len();
        }
        Self { text, ends, metadata }
    }

    /// Joins fields that are yet to be checked; `None` where one of them is not UTF-8
    pub(crate) fn from_utf8(fields: [&[u8]; FIELDS.len()], metadata: Metadata) -> Option<Self> {
        let mut text = Vec::with_capacity(fields.iter().map(|field| field.len()).sum());
        let mut ends = [0; FIELDS.len()];
        for (end, field) in ends.iter_mut().zip(fields) {
            text.extend_from_slice(field);
            *end = text.len();
        }
        let text = String::from_utf8(text).ok()?;
        // Two fields that are no text by themselves could be one together.
        ends.iter().all(|end| text.is_char_boundary(*end)).then_some(Self { text, ends, metadata })
    }

    /// The text fields in wire order
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends);
        starts.zip(self.ends).map(|(start, end)| &self.text[start..end])
    }

    fn field(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start..self.ends[index]]
    }

    /// Follows a flow of messages across programs; UUID text
    #[must_use]
    pub fn correlation_id(&self) -> &str {
        self.field(0)
    }

    /// Names this message; the same on a re-send; UUID text
    #[must_use]
    pub fn msg_id(&self) -> &str {
        self.field(1)
    }

    /// When it was sent, as it came: ISO 8601, from our own senders UTC with milliseconds
    #[must_use]
    pub fn timestamp(&self) -> &str {
        self.field(2)
    }

    /// When it was sent, where the text is a time; a time without a zone reads as UTC
    #[must_use]
    pub fn sent_at(&self) -> Option<OffsetDateTime> {
        timestamp::read(self.timestamp())
    }

    /// The NATS subject it was sent to
    #[must_use]
    pub fn send_to(&self) -> &str {
        self.field(3)
    }

    /// Why it was sent
    #[must_use]
    pub fn msg_purpose(&self) -> Purpose {
        self.field(4).into()
    }

    /// The sending program's name
    #[must_use]
    pub fn sender_name(&self) -> &str {
        self.field(5)
    }

    /// The sending program's identifier; UUID text
    #[must_use]
    pub fn sender_id(&self) -> &str {
        self.field(6)
    }

    /// The receiving program's name, empty for all
    #[must_use]
    pub fn receiver_name(&self) -> &str {
        self.field(7)
    }

    /// The receiving program's identifier, empty for all
    #[must_use]
    pub fn receiver_id(&self) -> &str {
        self.field(8)
    }

    /// The subject for replies, or empty
    #[must_use]
    pub fn reply_to(&self) -> &str {
        self.field(9)
    }

    /// The `msg_id` that this message answers, or empty
    #[must_use]
    pub fn reply_to_msg_id(&self) -> &str {
        self.field(10)
    }

    /// The sender's NATS URL, without secrets
    #[must_use]
    pub fn broker_url(&self) -> &str {
        self.field(11)
    }

    /// Message-level metadata
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Message-level metadata, to be completed before the header is sealed
    pub const fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// Joins the header with its payloads, in the order in which the message named them
    #[must_use]
    pub const fn seal(self, payloads: Vec<Payload>) -> Envelope {
        Envelope { header: self, payloads }
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Header");
        for (name, field) in FIELDS.iter().zip(self.fields()) {
            shown.field(name, &field);
        }
        shown.field("metadata", &self.metadata).finish()
    }
}

/// Where a payload's bytes are
#[derive(Clone, PartialEq)]
pub(crate) enum Body {
    Direct(Bytes),
    Link { url: Box<str>, size: u64 },
}

/// One payload as it crosses the wire (requirements 8.2)
#[derive(Clone, PartialEq)]
pub struct Payload {
    pub(crate) id: Box<str>,
    pub(crate) dataname: Box<str>,
    pub(crate) payload_type: PayloadType,
    pub(crate) metadata: Metadata,
    /// The size that the envelope states, where it is not the size of the direct bytes
    pub(crate) stated_size: Option<u64>,
    pub(crate) body: Body,
}

impl Payload {
    /// Names this payload; UUID text
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The sender's name for it; any Unicode, may repeat within a message, never a path
    #[must_use]
    pub fn dataname(&self) -> &str {
        &self.dataname
    }

    /// What it is
    #[must_use]
    pub const fn payload_type(&self) -> PayloadType {
        self.payload_type
    }

    /// Whether it travels inside the envelope or as a link
    #[must_use]
    pub const fn transport(&self) -> Transport {
        match self.body {
            Body::Direct(_) => Transport::Direct,
            Body::Link { .. } => Transport::Link,
        }
    }

    /// The encoding that our writer states for this transport
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        match self.body {
            Body::Direct(_) => Encoding::Base64,
            Body::Link { .. } => Encoding::None,
        }
    }

    /// Size in bytes of the serialised payload, before base64; 0 for a link whose sender did not say
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.body {
            Body::Direct(bytes) => size_of_bytes(bytes),
            Body::Link { size, .. } => *size,
        }
    }

    /// The `size` that the envelope states for a direct payload, where that is not the number of its bytes
    /// (specification, section 5)
    #[must_use]
    pub const fn misstated_size(&self) -> Option<u64> {
        self.stated_size
    }

    /// The serialised bytes of a direct payload
    #[must_use]
    pub const fn bytes(&self) -> Option<&Bytes> {
        match &self.body {
            Body::Direct(bytes) => Some(bytes),
            Body::Link { .. } => None,
        }
    }

    /// The URL of a link; [`redacted`] before it goes to a log
    #[must_use]
    pub const fn url(&self) -> Option<&str> {
        match &self.body {
            Body::Direct(_) => None,
            Body::Link { url, .. } => Some(url),
        }
    }

    /// Payload-level metadata
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The digest that the metadata states, where it states one in the right form
    #[must_use]
    pub fn sha256(&self) -> Option<Digest> {
        self.metadata.get("sha256")?.as_str()?.parse().ok()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("id", &self.id)
            .field("dataname", &self.dataname)
            .field("payload_type", &self.payload_type)
            .field("transport", &self.transport())
            .field("size", &self.size())
            .field("url", &self.url().map(redacted))
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

/// A complete message as it crosses NATS (specification, section 1)
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    pub(crate) header: Header,
    pub(crate) payloads: Vec<Payload>,
}

impl Envelope {
    /// Every field but the payloads
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The payloads, in order
    #[must_use]
    pub fn payloads(&self) -> &[Payload] {
        &self.payloads
    }
}
