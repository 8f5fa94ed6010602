//! The header of an envelope: every field but the payloads.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::escape::{has_control, is_plain};
use crate::fields::{FIELDS, OPENINGS_LEN, opening};
use crate::metadata::{Metadata, json_of};
use crate::sequence::{self, ParsedMetadata};
use crate::setters::getters;
use crate::{Purpose, timestamp};

/// Every field of an envelope but its payloads (`docs/specification.md`, section 1)
#[derive(Clone)]
pub struct Header(Box<Packed>);

/// All text fields in one allocation, and the sequence number behind them as JSON
#[derive(Clone)]
struct Packed {
    text: String,
    /// Where each field ends in the text
    ends: [u32; FIELDS.len()],
    /// Whether each field follows its opening, as on the wire; if one has to be escaped, field follows field
    as_json: bool,
    /// Not set while it is empty, or a sequence number and nothing else; then it is made for the first caller who asks
    metadata: OnceLock<Box<Metadata>>,
}

impl Header {
    /// Joins the fields, in wire order; `None` if they have 4 GiB together
    pub(crate) fn new(fields: [&str; FIELDS.len()], metadata: Metadata) -> Option<Self> {
        let as_json = fields.into_iter().all(is_plain);
        let len: usize = fields.iter().map(|field| field.len()).sum();
        let mut text = String::with_capacity(len + OPENINGS_LEN + sequence::MAX_LEN);
        let mut ends = [0; FIELDS.len()];
        for (index, (end, field)) in ends.iter_mut().zip(fields).enumerate() {
            if as_json {
                text.push_str(opening(index));
            }
            text.push_str(field);
            *end = u32::try_from(text.len()).ok()?;
        }
        Some(Self(Box::new(Packed { text, ends, as_json, metadata: sequence::packed(metadata) })))
    }

    /// Joins fields that are not checked yet; `None` if one of them is not UTF-8, or they have 4 GiB together
    pub(crate) fn from_utf8(fields: [&[u8]; FIELDS.len()], metadata: ParsedMetadata<'_>) -> Option<Self> {
        let (sequence, metadata) = metadata.split();
        let len: usize = fields.iter().map(|field| field.len()).sum();
        let mut text = Vec::with_capacity(len + sequence.len());
        let mut ends = [0; FIELDS.len()];
        for (end, field) in ends.iter_mut().zip(fields) {
            text.extend_from_slice(field);
            *end = u32::try_from(text.len()).ok()?;
        }
        text.extend_from_slice(sequence);
        let text = String::from_utf8(text).ok()?;
        // Two fields that are no text by themselves could be one together.
        let header = Self(Box::new(Packed { text, ends, as_json: false, metadata }));
        (0..FIELDS.len()).all(|index| header.0.text.is_char_boundary(header.end(index))).then_some(header)
    }

    /// Takes fields as they are on the wire, each after its opening; `None` if they are not UTF-8, or hold characters that
    /// JSON wants escaped
    pub(crate) fn from_json(json: &[u8], lens: [usize; FIELDS.len()], metadata: ParsedMetadata<'_>) -> Option<Self> {
        let (sequence, metadata) = metadata.split();
        let mut ends = [0; FIELDS.len()];
        let mut at = 0;
        for (index, (end, len)) in ends.iter_mut().zip(lens).enumerate() {
            at += opening(index).len() + len;
            *end = u32::try_from(at).ok()?;
        }
        // An ASCII quote follows each field: if they are UTF-8 together, each one is.
        let json = std::str::from_utf8(json).ok().filter(|json| json.len() == at && !has_control(json.as_bytes()))?;
        let mut text = String::with_capacity(json.len() + sequence.len());
        text.push_str(json);
        text.push_str(std::str::from_utf8(sequence).ok()?);
        Some(Self(Box::new(Packed { text, ends, as_json: true, metadata })))
    }

    /// All text fields, one behind the other or as members of a JSON object
    pub(crate) fn text(&self) -> &str {
        &self.0.text[..self.end(FIELDS.len() - 1)]
    }

    /// The text fields as the first members of a JSON object, without the last quote; `None` if one has to be escaped
    pub(crate) fn members(&self) -> Option<&str> {
        self.0.as_json.then(|| self.text())
    }

    /// The JSON of metadata that is nothing but a sequence number, else nothing
    fn sequence(&self) -> &str {
        &self.0.text[self.end(FIELDS.len() - 1)..]
    }

    fn end(&self, index: usize) -> usize {
        usize::try_from(self.0.ends[index]).unwrap_or(usize::MAX)
    }

    /// The JSON of the metadata
    pub(crate) fn metadata_json(&self) -> Cow<'_, [u8]> {
        match (self.sequence(), self.0.metadata.get()) {
            ("", None) => Cow::Borrowed(b"{}"),
            ("", Some(metadata)) => json_of(metadata),
            (sequence, _) => Cow::Borrowed(sequence.as_bytes()),
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

    getters! {
        /// Follows a flow of messages across programs; UUID text
        fn correlation_id(&self) -> &str { self.field(0) }

        /// Names this message; the same on a re-send; UUID text
        fn msg_id(&self) -> &str { self.field(1) }

        /// When it was sent, as it came: ISO 8601, from our own senders UTC with milliseconds
        fn timestamp(&self) -> &str { self.field(2) }

        /// When it was sent, where the text is a time; a time without a zone reads as UTC
        fn sent_at(&self) -> Option<OffsetDateTime> { timestamp::read(self.timestamp()) }

        /// The NATS subject it was sent to
        fn send_to(&self) -> &str { self.field(3) }

        /// Why it was sent
        fn msg_purpose(&self) -> Purpose { self.field(4).into() }

        /// The sending program's name
        fn sender_name(&self) -> &str { self.field(5) }

        /// The sending program's identifier; UUID text
        fn sender_id(&self) -> &str { self.field(6) }

        /// The receiving program's name, empty for all
        fn receiver_name(&self) -> &str { self.field(7) }

        /// The receiving program's identifier, empty for all
        fn receiver_id(&self) -> &str { self.field(8) }

        /// The subject for replies, or empty
        fn reply_to(&self) -> &str { self.field(9) }

        /// The `msg_id` of the message that this one replies to, or empty
        fn reply_to_msg_id(&self) -> &str { self.field(10) }

        /// The sender's NATS URL, without secrets
        fn broker_url(&self) -> &str { self.field(11) }
    }

    /// Message-level metadata
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        // This JSON was written here, or checked when it was read.
        self.0.metadata.get_or_init(|| match self.sequence() {
            "" => Box::default(),
            sequence => serde_json::from_str(sequence).unwrap_or_default(),
        })
    }

    /// Writes the sender's counter for the subject into the metadata, and a name for the time since which it counts
    pub(crate) fn set_sequence(&mut self, seq: u64, epoch: Uuid) {
        let end = self.end(FIELDS.len() - 1);
        match self.0.metadata.get_mut() {
            Some(metadata) if !metadata.is_empty() && self.0.text.len() == end => {
                metadata.insert("seq".to_owned(), seq.into());
                metadata.insert("epoch".to_owned(), epoch.to_string().into());
            }
            _ => {
                self.0.text.truncate(end);
                sequence::write(seq, epoch, &mut self.0.text);
                self.0.metadata = OnceLock::new();
            }
        }
    }

    /// The sender's counter for the subject, where the message carries one
    #[must_use]
    pub fn seq(&self) -> Option<u64> {
        match sequence::parts(self.sequence()) {
            Some((seq, _)) => Some(seq),
            None => self.metadata().get("seq")?.as_u64(),
        }
    }

    /// Names the time since which the sender counts, where the message carries a counter
    #[must_use]
    pub fn epoch(&self) -> Option<&str> {
        match sequence::parts(self.sequence()) {
            Some((_, epoch)) => Some(epoch),
            None => self.metadata().get("epoch")?.as_str(),
        }
    }
}

impl PartialEq for Header {
    fn eq(&self, other: &Self) -> bool {
        let metadata = || match (self.sequence(), other.sequence()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_packed_as_json_unless_a_field_is_escaped() {
        let mut fields = [""; FIELDS.len()];
        fields[3] = "lab.rés";
        let plain = Header::new(fields, Metadata::new()).unwrap();
        assert!(plain.members().is_some_and(|json| json.starts_with("\"correlation_id\":\"\",\"msg_id\"")));
        fields[5] = "a \"b\"";
        let quoted = Header::new(fields, Metadata::new()).unwrap();
        assert_eq!((quoted.members(), quoted.text()), (None, "lab.résa \"b\""));
        for header in [plain, quoted] {
            assert_eq!(header.send_to(), "lab.rés");
        }
    }

    #[test]
    fn sequence_joins_the_metadata_and_replaces_an_older_one() {
        let own = Metadata::from_iter([("own".to_owned(), true.into())]);
        for (metadata, json) in [
            (Metadata::new(), r#"{"seq":2,"epoch":"00000000-0000-0000-0000-000000000007"}"#),
            (own, r#"{"own":true,"seq":2,"epoch":"00000000-0000-0000-0000-000000000007"}"#),
        ] {
            let mut header = Header::new([""; FIELDS.len()], metadata).unwrap();
            for seq in [1, 2] {
                header.set_sequence(seq, Uuid::from_u128(7));
            }
            assert_eq!(std::str::from_utf8(&header.metadata_json()).unwrap(), json);
            assert_eq!((header.seq(), header.epoch()), (Some(2), header.metadata()["epoch"].as_str()));
        }
    }
}
