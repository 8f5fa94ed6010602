//! Decides, before anything is uploaded, which payload travels how, so that the whole envelope fits the broker.

use std::borrow::Cow;

use serde_json::Value as Json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::envelope::{Body, FIELDS, Header, Id, Metadata, Payload};
use crate::error::PlanError;
use crate::wire::write;
use crate::{Digest, Limits, Message, Object, Part, PayloadType, Source, Uploaded, codec, redacted, timestamp};

/// The identifiers and the time that a message is given; core draws neither itself
pub struct Stamp<'a> {
    /// Now
    pub now: OffsetDateTime,
    /// Draws a new random identifier
    pub new_id: &'a mut dyn FnMut() -> Uuid,
}

impl std::fmt::Debug for Stamp<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stamp").field("now", &self.now).finish_non_exhaustive()
    }
}

/// What is to be done for one payload, in the message's order
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::exhaustive_enums, reason = "a new step must break the match of whoever performs it")]
pub enum Step {
    /// Nothing: it travels inside the envelope
    Ready(Payload),
    /// It has to be uploaded first
    Upload(Upload),
}

/// A payload that has to be uploaded before it is one
#[derive(Debug, Clone, PartialEq)]
pub struct Upload {
    object: Object,
    source: Source,
    draft: Draft,
}

impl Upload {
    /// What the store has to know
    #[must_use]
    pub const fn object(&self) -> &Object {
        &self.object
    }

    /// The bytes
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Turns the store's answer into the payload
    ///
    /// # Errors
    /// [`PlanError::StoredSize`] when the store holds another number of bytes.
    pub fn uploaded(self, uploaded: Uploaded) -> Result<Payload, PlanError> {
        if uploaded.size != self.object.size {
            return Err(PlanError::StoredSize {
                dataname: self.draft.dataname.into(),
                sent: self.object.size,
                stored: uploaded.size,
            });
        }
        let mut draft = self.draft;
        let metadata = &mut draft.metadata;
        metadata.insert("sha256".to_owned(), Json::from(uploaded.sha256.to_string()));
        if let Some(at) = uploaded.expires_at {
            metadata.insert("expires_at".to_owned(), Json::from(timestamp::write(at)));
        }
        if uploaded.one_shot {
            metadata.insert("one_shot".to_owned(), Json::from(true));
        }
        let body = Body::Link { url: uploaded.url.into(), size: uploaded.size };
        Ok(draft.with(body))
    }
}

/// A payload of which all but the body is known
#[derive(Debug, Clone, PartialEq)]
struct Draft {
    id: Id,
    dataname: Box<str>,
    payload_type: PayloadType,
    metadata: Metadata,
}

impl Draft {
    fn with(self, body: Body) -> Payload {
        let Self { id, dataname, payload_type, metadata } = self;
        Payload { id, dataname, payload_type, metadata, stated_size: None, body }
    }
}

/// Decides for every part whether it travels direct or as a link, and writes the header
///
/// A part goes direct below the threshold; then the largest direct parts become links until the envelope fits. Parts
/// in files always become links: who performs the plan reads small files before.
///
/// # Errors
/// [`PlanError`]; nothing has been uploaded by then.
pub fn plan(mut message: Message, limits: &Limits, stamp: &mut Stamp<'_>) -> Result<(Header, Vec<Step>), PlanError> {
    let metadata = std::mem::take(&mut message.metadata);
    let header = header(&message, metadata, stamp).ok_or_else(|| PlanError::MessageTooLarge {
        size: u64::from(u32::MAX),
        limit: limits.max_message_size,
        direct: Vec::new(),
        links_allowed: links_allowed(limits),
    })?;
    let life = message.link_life();
    let digest_direct = message.digest_direct;
    let mut drafts = Vec::with_capacity(message.parts.len());
    for part in message.parts {
        drafts.push(fitted(part, limits, digest_direct, stamp)?);
    }
    fit(&header, &mut drafts, limits)?;
    let steps = drafts.into_iter().map(|Choice { draft, source, direct_len }| match (source, direct_len) {
        (Source::Bytes(bytes), Some(_)) => Step::Ready(draft.with(Body::Direct(bytes))),
        (source, _) => {
            let object = Object::new(&*draft.dataname, draft.payload_type, source.len()).life(life);
            Step::Upload(Upload { object, source, draft })
        }
    });
    Ok((header, steps.collect()))
}

/// A part on its way to a step
struct Choice {
    draft: Draft,
    source: Source,
    /// Bytes of the envelope that it takes when direct; `None` for a link
    direct_len: Option<u64>,
}

impl Choice {
    fn link_len(&self, limits: &Limits) -> u64 {
        let Draft { id, dataname, payload_type, metadata } = &self.draft;
        len(write::direct_len(id, dataname, *payload_type, 0, metadata)).saturating_add(limits.link_allowance)
    }
}

fn header(message: &Message, metadata: Metadata, stamp: &mut Stamp<'_>) -> Option<Header> {
    let mut buffers = [[0; 36]; 3];
    let [correlation, msg, sender] = &mut buffers;
    let correlation_id = given_or_new(message.correlation_id.as_deref(), correlation, stamp);
    let msg_id = given_or_new(message.msg_id.as_deref(), msg, stamp);
    let sender_id = given_or_new(message.sender_id.as_deref(), sender, stamp);
    let broker_url = without_secrets(&message.broker_url);
    let timestamp = timestamp::written(stamp.now);
    let fields: [&str; FIELDS.len()] = [
        correlation_id,
        msg_id,
        std::str::from_utf8(&timestamp).unwrap_or_default(),
        &message.send_to,
        message.msg_purpose.as_str(),
        &message.sender_name,
        sender_id,
        &message.receiver_name,
        &message.receiver_id,
        &message.reply_to,
        &message.reply_to_msg_id,
        &broker_url,
    ];
    Header::new(fields, metadata)
}

/// The URLs without user info, and without the query that could hold a token
pub(crate) fn without_secrets(urls: &str) -> Cow<'_, str> {
    // Without an early end, so that many bytes are looked at at once: it is done for every message.
    let found = urls.bytes().fold(false, |found, byte| found | matches!(byte, b'@' | b'?' | b'#' | b',' | b' '));
    if !found {
        return Cow::Borrowed(urls);
    }
    let each = urls.split(',').map(|url| redacted(url).trim_end_matches("?…").to_owned());
    Cow::Owned(each.collect::<Vec<_>>().join(","))
}

fn given_or_new<'a>(given: Option<&'a str>, buffer: &'a mut [u8; 36], stamp: &mut Stamp<'_>) -> &'a str {
    match given {
        Some(given) => given,
        None => (stamp.new_id)().hyphenated().encode_lower(buffer),
    }
}

/// Checks one part against its receiver and chooses by the threshold alone
fn fitted(part: Part, limits: &Limits, digest_direct: bool, stamp: &mut Stamp<'_>) -> Result<Choice, PlanError> {
    let Part { name, payload_type, source, mut metadata } = readable(part, limits)?;
    let size = source.len();
    if let Some(limit) = limits.receiver.max_payload().filter(|limit| size > *limit) {
        return Err(PlanError::PayloadTooLarge { dataname: name.into(), size, limit, receiver: limits.receiver });
    }
    if !metadata.is_empty() {
        for ours in ["sha256", "expires_at", "one_shot"] {
            metadata.shift_remove(ours);
        }
    }
    let id = Id::from((stamp.new_id)());
    let wants_link = size >= limits.threshold() && links_allowed(limits);
    let source = match source {
        // What is in pieces is large; it travels direct only where the threshold was raised.
        Source::Pieces(pieces) if !wants_link => Source::Bytes(pieces.concat().into()),
        source => source,
    };
    let direct_len = match &source {
        Source::Bytes(bytes) if !wants_link => {
            if digest_direct {
                metadata.insert("sha256".to_owned(), Json::from(Digest::of(bytes).to_string()));
            }
            Some(len(write::direct_len(&id, &name, payload_type, bytes.len(), &metadata)))
        }
        Source::File { .. } if !links_allowed(limits) => {
            return Err(PlanError::LinksNotAllowed { dataname: name.into(), size, reason: no_links(limits) });
        }
        Source::Bytes(_) | Source::Pieces(_) | Source::File { .. } => None,
    };
    Ok(Choice { draft: Draft { id, dataname: name, payload_type, metadata }, source, direct_len })
}

const fn links_allowed(limits: &Limits) -> bool {
    limits.links && limits.receiver.follows_links()
}

const fn no_links(limits: &Limits) -> &'static str {
    if limits.receiver.follows_links() {
        "links are switched off; configure a file server, or send it from memory"
    } else {
        "its receiver follows no links; send it from memory, in at most 50,000 bytes"
    }
}

/// The part in a type that the receiver reads
fn readable(part: Part, limits: &Limits) -> Result<Part, PlanError> {
    if limits.receiver.reads(part.payload_type) {
        return Ok(part);
    }
    let Part { name, payload_type, source, metadata } = part;
    let Some(bytes) = source.into_bytes().filter(|_| limits.convert_tables) else {
        return Err(PlanError::UnreadableType { dataname: name.into(), receiver: limits.receiver });
    };
    match codec::decode(payload_type, bytes).and_then(|table| codec::encode(PayloadType::JsonTable, table)) {
        Ok(rows) => Ok(Part::from_source(name, PayloadType::JsonTable, rows).with_metadata(metadata)),
        Err(source) => Err(PlanError::Convert { dataname: name.into(), source }),
    }
}

/// Turns the largest direct parts into links until the envelope fits
fn fit(header: &Header, choices: &mut [Choice], limits: &Limits) -> Result<(), PlanError> {
    let limit = limits.max_message_size;
    let each = |choice: &Choice| choice.direct_len.unwrap_or_else(|| choice.link_len(limits));
    let mut total = choices.iter().map(each).fold(limits.header_allowance, u64::saturating_add);
    total = total.saturating_add(len(write::empty_len(header) + write::commas(choices.len())));
    if total <= limit {
        return Ok(());
    }
    if links_allowed(limits) {
        let mut order: Vec<usize> = (0..choices.len()).filter(|index| choices[*index].direct_len.is_some()).collect();
        // A stable sort: of two equal payloads the first becomes the link.
        order.sort_by_key(|index| std::cmp::Reverse(choices[*index].source.len()));
        for index in order {
            let saved = choices[index].direct_len.unwrap_or(0).saturating_sub(choices[index].link_len(limits));
            if total <= limit || saved == 0 {
                break;
            }
            total -= saved;
            choices[index].direct_len = None;
            choices[index].draft.metadata.shift_remove("sha256");
        }
    }
    if total <= limit {
        return Ok(());
    }
    let direct = choices.iter().filter(|choice| choice.direct_len.is_some());
    let direct = direct.map(|choice| (choice.draft.dataname.to_string(), choice.source.len())).collect();
    Err(PlanError::MessageTooLarge { size: total, limit, direct, links_allowed: links_allowed(limits) })
}

fn len(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
