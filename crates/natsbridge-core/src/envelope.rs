//! The envelope: a header and its payloads. It exists only complete: every payload is direct with its bytes, or a link.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::{Map, Value as Json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::letterhead::{Joined, NEW};
use crate::notes::Notes;
use crate::numbers::{self, Epoch, Found};
use crate::source::size_of_bytes;
use crate::wire::scan::has_control;
use crate::wire::write::{is_plain, json_of, total};
use crate::{Digest, Encoding, PayloadType, Purpose, Transport, redacted, timestamp};

/// Metadata of a message or a payload: JSON by key (specification, section 6)
pub type Metadata = Map<String, Json>;

/// Declares the text fields of a header, in the order in which they stand on the wire
macro_rules! fields {
    ($first:literal $($name:literal)+) => {
        /// The text fields of a header, in the order in which they stand on the wire
        pub(crate) const FIELDS: [&str; [$first, $($name),+].len()] = [$first, $($name),+];
        /// What stands before each field's text: the end of the field before, and its name
        pub(crate) const OPENINGS: [&str; FIELDS.len()] =
            [concat!("\",\"", $first, "\":\""), $(concat!("\",\"", $name, "\":\"")),+];

        /// Appends the fields as members, and says where each ends; `None` where they have 4 GiB together
        ///
        /// Written out for every field, so that the compiler knows how long each opening is.
        fn join(fields: [&str; FIELDS.len()], text: &mut String) -> Option<[u32; FIELDS.len()]> {
            let mut fields = fields.into_iter();
            Some([
                {
                    text.push_str(concat!("\"", $first, "\":\""));
                    text.push_str(fields.next()?);
                    u32::try_from(text.len()).ok()?
                },
                $({
                    text.push_str(concat!("\",\"", $name, "\":\""));
                    text.push_str(fields.next()?);
                    u32::try_from(text.len()).ok()?
                }),+
            ])
        }
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

/// Every field of an envelope but its payloads
///
/// All text fields share one allocation: a header is read and written for every message, however small. Metadata that
/// is nothing but the sender's numbers stands behind them as JSON, and becomes a map only for those who ask for one.
#[derive(Clone)]
pub struct Header(Box<Kept>);

/// What a header holds; behind a pointer, as a header is handed on a lot on its way to the wire and from it
#[derive(Clone)]
struct Kept {
    text: String,
    /// Where each field ends in the text
    ends: [u32; FIELDS.len()],
    /// Whether each field stands behind its opening (the first without `",`), as it does on the wire; where something is
    /// to be escaped, one field stands behind the other
    as_json: bool,
    /// Set from the beginning, unless it is empty or there are numbers behind the text fields
    metadata: OnceLock<Box<Metadata>>,
}

/// What stands between two fields and not before the first
pub(crate) const BETWEEN: &str = "\",";

impl Header {
    /// Written where it stays: a copy would wait for what was written just before
    fn keeping(kept: Kept) -> Self {
        Self(Box::write(Box::new_uninit(), kept))
    }

    /// Joins the fields, which stand in wire order; `None` where they have 4 GiB together
    ///
    /// `plain` says that nothing in them has to be escaped: a caller knows that of most of them without a look.
    pub(crate) fn new(fields: [&str; FIELDS.len()], plain: bool) -> Option<Self> {
        debug_assert!(!plain || fields.into_iter().all(is_plain), "what has to be escaped is no JSON");
        let metadata = OnceLock::new();
        let len: usize = fields.iter().map(|field| field.len()).sum();
        let mut text = String::with_capacity(total(&OPENINGS) + len + numbers::MAX_LEN);
        if plain {
            let ends = join(fields, &mut text)?;
            return Some(Self::keeping(Kept { text, ends, as_json: true, metadata }));
        }
        let mut ends = [0; FIELDS.len()];
        for (end, field) in ends.iter_mut().zip(fields) {
            text.push_str(field);
            *end = u32::try_from(text.len()).ok()?;
        }
        Some(Self::keeping(Kept { text, ends, as_json: false, metadata }))
    }

    /// The same for a message with its sender's letterhead; `None` where the fields have 4 GiB together
    ///
    /// In the new fields, too, nothing may have to be escaped.
    pub(crate) fn with_letterhead([flow, msg, time]: [&str; NEW], common: &Joined) -> Option<Self> {
        debug_assert!([flow, msg, time].into_iter().all(is_plain), "what has to be escaped is no JSON");
        let new = flow.len() + msg.len() + time.len();
        let mut text = String::with_capacity(total(&OPENINGS) + new + common.text.len() + numbers::MAX_LEN);
        let mut ends = [0; FIELDS.len()];
        let mut push = |opening: &str, field: &str| {
            text.push_str(opening);
            text.push_str(field);
            u32::try_from(text.len()).ok()
        };
        (ends[0], ends[1], ends[2]) = (push(opening(0), flow)?, push(opening(1), msg)?, push(opening(2), time)?);
        let before = ends[NEW - 1];
        text.push_str(&common.text);
        u32::try_from(text.len()).ok()?;
        for (end, common) in ends[NEW..].iter_mut().zip(common.ends) {
            *end = before + common;
        }
        Some(Self::keeping(Kept { text, ends, as_json: true, metadata: OnceLock::new() }))
    }

    /// Takes the message's own metadata
    pub(crate) fn set_metadata(&mut self, metadata: Metadata) {
        self.0.metadata = numbers::kept(metadata);
    }

    /// Joins fields that are yet to be checked; `None` where one of them is not UTF-8, or they have 4 GiB together
    pub(crate) fn from_utf8(fields: [&[u8]; FIELDS.len()], metadata: Found<'_>) -> Option<Self> {
        let (numbers, metadata) = metadata.split();
        let len: usize = fields.iter().map(|field| field.len()).sum();
        let mut text = Vec::with_capacity(len + numbers.len());
        let mut ends = [0; FIELDS.len()];
        for (end, field) in ends.iter_mut().zip(fields) {
            text.extend_from_slice(field);
            *end = u32::try_from(text.len()).ok()?;
        }
        text.extend_from_slice(numbers);
        let text = String::from_utf8(text).ok()?;
        // Two fields that are no text by themselves could be one together.
        let header = Self::keeping(Kept { text, ends, as_json: false, metadata });
        (0..FIELDS.len()).all(|index| header.0.text.is_char_boundary(header.end(index))).then_some(header)
    }

    /// Takes fields as they stand on the wire, each behind its opening; `None` where they are not UTF-8, or hold
    /// characters that JSON wants escaped
    pub(crate) fn from_json(json: &[u8], lens: [usize; FIELDS.len()], metadata: Found<'_>) -> Option<Self> {
        let (numbers, metadata) = metadata.split();
        let mut ends = [0; FIELDS.len()];
        let mut at = 0;
        for (index, (end, len)) in ends.iter_mut().zip(lens).enumerate() {
            at += opening(index).len() + len;
            *end = u32::try_from(at).ok()?;
        }
        // Behind each field stands an ASCII quote, so what is UTF-8 together is so one by one.
        let json = std::str::from_utf8(json).ok().filter(|json| json.len() == at && !has_control(json.as_bytes()))?;
        let mut text = String::with_capacity(json.len() + numbers.len());
        text.push_str(json);
        text.push_str(std::str::from_utf8(numbers).ok()?);
        Some(Self::keeping(Kept { text, ends, as_json: true, metadata }))
    }

    /// All text fields, one behind the other or as members of a JSON object
    pub(crate) fn text(&self) -> &str {
        &self.0.text[..self.end(FIELDS.len() - 1)]
    }

    /// The text fields as the first members of a JSON object, without the last quote; `None` where one has to be escaped
    pub(crate) fn members(&self) -> Option<&str> {
        self.0.as_json.then(|| self.text())
    }

    /// The JSON of metadata that is nothing but numbers, else nothing
    fn numbers(&self) -> &str {
        &self.0.text[self.end(FIELDS.len() - 1)..]
    }

    fn end(&self, index: usize) -> usize {
        usize::try_from(self.0.ends[index]).unwrap_or(usize::MAX)
    }

    /// The JSON of the metadata
    pub(crate) fn metadata_json(&self) -> Cow<'_, [u8]> {
        match (self.numbers(), self.0.metadata.get()) {
            ("", None) => Cow::Borrowed(b"{}"),
            ("", Some(metadata)) => json_of(metadata),
            (numbers, _) => Cow::Borrowed(numbers.as_bytes()),
        }
    }

    /// The text fields in wire order
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        (0..FIELDS.len()).map(|index| self.field(index))
    }

    fn field(&self, index: usize) -> &str {
        let before = if index == 0 { 0 } else { self.end(index - 1) };
        let start = before + if self.0.as_json { opening(index).len() } else { 0 };
        &self.0.text[start..self.end(index)]
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
    pub fn metadata(&self) -> &Metadata {
        // What stands there was written here or checked when it was read.
        self.0.metadata.get_or_init(|| match self.numbers() {
            "" => Box::default(),
            numbers => serde_json::from_str(numbers).unwrap_or_default(),
        })
    }

    /// Writes the sender's counter for the subject, and when it began to count, into the metadata
    /// (`docs/specification.md`, section 6)
    pub fn number(&mut self, seq: u64, epoch: &Epoch) {
        let end = self.end(FIELDS.len() - 1);
        match self.0.metadata.get_mut() {
            Some(metadata) if !metadata.is_empty() && self.0.text.len() == end => {
                metadata.insert("seq".to_owned(), seq.into());
                metadata.insert("epoch".to_owned(), epoch.as_str().into());
            }
            _ => {
                self.0.text.truncate(end);
                numbers::write(seq, epoch, &mut self.0.text);
                self.0.metadata = OnceLock::new();
            }
        }
    }

    /// The sender's counter for the subject, where the message carries one
    #[must_use]
    pub fn seq(&self) -> Option<u64> {
        match numbers::parts(self.numbers()) {
            Some((seq, _)) => Some(seq),
            None => self.metadata().get("seq")?.as_u64(),
        }
    }

    /// When the sender began to count, as a name for it, where the message carries one
    #[must_use]
    pub fn epoch(&self) -> Option<&str> {
        match numbers::parts(self.numbers()) {
            Some((_, epoch)) => Some(epoch),
            None => self.metadata().get("epoch")?.as_str(),
        }
    }

    /// Joins the header with its payloads, in the order in which the message named them
    #[must_use]
    pub const fn seal(self, payloads: Vec<Payload>) -> Envelope {
        Envelope { header: self, payloads }
    }
}

/// What stands before a field among the members of a header
pub(crate) fn opening(index: usize) -> &'static str {
    if index == 0 { &OPENINGS[0][BETWEEN.len()..] } else { OPENINGS[index] }
}

impl PartialEq for Header {
    fn eq(&self, other: &Self) -> bool {
        let metadata = || match (self.numbers(), other.numbers()) {
            ("", _) | (_, "") => self.metadata() == other.metadata(),
            (ours, theirs) => ours == theirs,
        };
        self.fields().eq(other.fields()) && metadata()
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Header");
        for (name, field) in FIELDS.iter().zip(self.fields()) {
            shown.field(name, &field);
        }
        shown.field("metadata", self.metadata()).finish()
    }
}

/// Where a payload's bytes are
#[derive(Clone, PartialEq)]
pub(crate) enum Body {
    Direct(Bytes),
    Link { url: Box<str>, size: u64 },
}

/// A payload's identifier: a UUID's text needs no allocation, and no look at what is to be escaped in it
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Id {
    /// Letters, digits and hyphens
    Uuid([u8; UUID_LEN]),
    Other(Box<str>),
}

/// Bytes of a UUID as text
pub(crate) const UUID_LEN: usize = 36;

/// Whether a text is of the characters that a UUID is written in, in any order
///
/// Without an early end, so that many bytes are looked at at once.
pub(crate) fn is_uuid_text(text: &[u8]) -> bool {
    text.iter().fold(true, |plain, byte| plain & (byte.is_ascii_alphanumeric() | (*byte == b'-')))
}

impl Id {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            // Nothing but ASCII.
            Self::Uuid(text) => std::str::from_utf8(text).unwrap_or_default(),
            Self::Other(text) => text,
        }
    }
}

impl From<Uuid> for Id {
    fn from(uuid: Uuid) -> Self {
        let mut text = [0; UUID_LEN];
        uuid.hyphenated().encode_lower(&mut text);
        Self::Uuid(text)
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        let uuid = text.as_bytes().try_into().ok().filter(|uuid: &[u8; UUID_LEN]| is_uuid_text(uuid));
        uuid.map_or_else(|| Self::Other(text.into()), Self::Uuid)
    }
}

/// One payload as it crosses the wire
#[derive(Clone, PartialEq)]
pub struct Payload {
    pub(crate) id: Id,
    pub(crate) dataname: Box<str>,
    pub(crate) payload_type: PayloadType,
    pub(crate) metadata: Notes,
    /// The size that the envelope states, where it is not the size of the direct bytes
    pub(crate) stated_size: Option<u64>,
    pub(crate) body: Body,
}

impl Payload {
    /// Names this payload; UUID text
    #[must_use]
    pub fn id(&self) -> &str {
        self.id.as_str()
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
    pub fn metadata(&self) -> &Metadata {
        self.metadata.map()
    }

    /// The digest that the metadata states, where it states one in the right form
    #[must_use]
    pub fn sha256(&self) -> Option<Digest> {
        self.metadata.get("sha256")?.as_str()?.parse().ok()
    }

    /// When the link stops working, where the metadata states a time (`expires_at`, docs/specification.md, section 6)
    #[must_use]
    pub fn expires_at(&self) -> Option<OffsetDateTime> {
        timestamp::read(self.metadata.get("expires_at")?.as_str()?)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("id", &self.id())
            .field("dataname", &self.dataname)
            .field("payload_type", &self.payload_type)
            .field("transport", &self.transport())
            .field("size", &self.size())
            .field("url", &self.url().map(redacted))
            .field("metadata", self.metadata())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_kept_as_json_unless_something_in_it_is_to_be_escaped() {
        let mut fields = [""; FIELDS.len()];
        fields[3] = "lab.rés";
        let plain = Header::new(fields, true).unwrap();
        assert!(plain.members().is_some_and(|json| json.starts_with("\"correlation_id\":\"\",\"msg_id\"")));
        fields[5] = "a \"b\"";
        let quoted = Header::new(fields, false).unwrap();
        assert_eq!((quoted.members(), quoted.text()), (None, "lab.résa \"b\""));
        for header in [plain, quoted] {
            assert_eq!(header.send_to(), "lab.rés");
        }
    }
}
