//! Decides, before anything is uploaded, which payload travels how, so that the whole envelope fits the broker.

use std::borrow::{BorrowMut, Cow};
use std::collections::BTreeSet;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::envelope::{Body, FIELDS, Header, Id, Payload};
use crate::error::PlanError;
use crate::letterhead::Letterhead;
use crate::notes::Notes;
use crate::wire::write;
use crate::{
    Digest, Limits, LinkLifetime, Object, OutboundMessage, Part, PayloadType, Sender, Source, Uploaded, codec,
    redacted, timestamp,
};

/// What a message does not know by itself: who sends it, when, and the identifiers it is given; core draws none
pub struct Stamp<'a> {
    /// Who sends
    pub sender: &'a Sender,
    /// Now
    pub now: OffsetDateTime,
    /// Draws a new random identifier
    pub new_id: &'a mut dyn FnMut() -> Uuid,
    /// What this sender's messages to this subject have in common, for whoever sends many; saves time and changes nothing
    pub letterhead: Option<&'a Letterhead>,
}

impl<'a> Stamp<'a> {
    /// A stamp without a letterhead
    pub fn new(sender: &'a Sender, now: OffsetDateTime, new_id: &'a mut dyn FnMut() -> Uuid) -> Self {
        Self { sender, now, new_id, letterhead: None }
    }

    /// Sets what this sender's messages to this subject have in common
    #[must_use]
    pub const fn letterhead(mut self, letterhead: Option<&'a Letterhead>) -> Self {
        self.letterhead = letterhead;
        self
    }
}

impl std::fmt::Debug for Stamp<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stamp").field("now", &self.now).finish_non_exhaustive()
    }
}

/// A message of which it is decided what travels how
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// Every field but the payloads
    pub header: Header,
    /// The first payloads, as far as there is nothing to be done; all of them only where `rest` is empty
    pub ready: Vec<Payload>,
    /// What is to be done for the others, from the first that has to be uploaded on; what comes of it goes behind `ready`
    pub rest: Vec<Step>,
}

/// What is to be done for one payload
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::exhaustive_enums, reason = "a new step must break the match of whoever performs it")]
pub enum Step {
    /// Nothing: it travels inside the envelope
    Ready(Payload),
    /// It has to be uploaded first
    Upload(Box<Upload>),
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
        metadata.insert("sha256", uploaded.sha256.to_string());
        if let Some(at) = uploaded.expires_at {
            metadata.insert("expires_at", timestamp::write(at));
        }
        if uploaded.one_shot {
            metadata.insert("one_shot", true);
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
    metadata: Notes,
}

impl Draft {
    fn with(self, body: Body) -> Payload {
        let Self { id, dataname, payload_type, metadata } = self;
        Payload { id, dataname, payload_type, metadata, stated_size: None, body }
    }

    fn into_upload(self, source: Source, life: LinkLifetime) -> Step {
        let object = Object::new(&*self.dataname, self.payload_type, source.len()).link_lifetime(life);
        Step::Upload(Box::new(Upload { object, source, draft: self }))
    }
}

/// Decides for every part whether it travels direct or as a link, and writes the header
///
/// A part goes direct below the threshold; then the largest direct parts become links until the envelope fits. Parts
/// in files always become links: who performs the plan reads small files before.
///
/// A message that is lent or in a box stays where it is; its parts and its metadata are taken out of it.
///
/// # Errors
/// [`PlanError`]; nothing has been uploaded by then. A message that was lent is spent all the same: who may want another plan
/// of it keeps a clone.
pub fn plan(
    mut message: impl BorrowMut<OutboundMessage>,
    limits: &Limits,
    stamp: &mut Stamp<'_>,
) -> Result<Plan, PlanError> {
    planned(message.borrow_mut(), limits, stamp)
}

fn planned(message: &mut OutboundMessage, limits: &Limits, stamp: &mut Stamp<'_>) -> Result<Plan, PlanError> {
    let mut header = header(message, stamp).ok_or_else(|| PlanError::MessageTooLarge {
        size: u64::from(u32::MAX),
        limit: limits.max_message_size,
        direct: Vec::new(),
        links_allowed: links_allowed(limits),
    })?;
    let life = message.link_life();
    if !message.metadata.is_empty() {
        header.set_metadata(std::mem::take(&mut message.metadata));
    }
    let mut plan = Plan { header, ready: Vec::with_capacity(message.parts.len()), rest: Vec::new() };
    for part in std::mem::take(&mut message.parts) {
        plan.add(part, limits, life, message.digest_direct, stamp)?;
    }
    plan.fit(limits, life)?;
    Ok(plan)
}

fn header(message: &OutboundMessage, stamp: &mut Stamp<'_>) -> Option<Header> {
    let mut buffers = [[0; 36]; 3];
    let [correlation, msg, own] = &mut buffers;
    let correlation_id = given_or_new(message.correlation_id.as_deref(), correlation, stamp);
    let msg_id = given_or_new(message.msg_id.as_deref(), msg, stamp);
    let timestamp = timestamp::written(stamp.now);
    let new = [correlation_id, msg_id, std::str::from_utf8(&timestamp).unwrap_or_default()];
    // Those that are drawn or written here hold nothing to escape.
    let plain = [&message.correlation_id, &message.msg_id].into_iter().flatten().all(|given| write::is_plain(given));
    let letterhead = stamp.letterhead.filter(|_| plain);
    if let Some(joined) = letterhead.and_then(|letterhead| letterhead.joined(message, stamp.sender)) {
        return Header::with_letterhead(new, joined);
    }
    let [correlation_id, msg_id, timestamp] = new;
    let (sender_name, sender_id, broker_url) = stamp.sender.fields();
    let sender_id = given_or_new(sender_id, own, stamp);
    let msg_purpose = message.msg_purpose.as_str();
    let OutboundMessage { send_to, receiver_name, receiver_id, reply_to, reply_to_msg_id, .. } = message;
    // Those of the sender are looked at once for all messages.
    let given = [send_to, msg_purpose, receiver_name, receiver_id, reply_to, reply_to_msg_id];
    let plain = plain && stamp.sender.is_plain() && given.into_iter().all(write::is_plain);
    let fields: [&str; FIELDS.len()] = [
        correlation_id,
        msg_id,
        timestamp,
        send_to,
        msg_purpose,
        sender_name,
        sender_id,
        receiver_name,
        receiver_id,
        reply_to,
        reply_to_msg_id,
        broker_url,
    ];
    Header::new(fields, plain)
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

impl Plan {
    /// Checks one part against its receiver, and adds what the threshold alone makes of it
    fn add(
        &mut self,
        part: Part,
        limits: &Limits,
        life: LinkLifetime,
        digest_direct: bool,
        stamp: &mut Stamp<'_>,
    ) -> Result<(), PlanError> {
        let part = if limits.receiver.reads(part.payload_type) { part } else { readable(part, limits)? };
        let Part { name, payload_type, source, mut metadata } = part;
        let size = source.len();
        if let Some(limit) = limits.receiver.max_payload().filter(|limit| size > *limit) {
            return Err(PlanError::PayloadTooLarge { dataname: name.into(), size, limit, receiver: limits.receiver });
        }
        metadata.remove(&["sha256", "expires_at", "one_shot"]);
        let id = Id::from((stamp.new_id)());
        let wants_link = size >= limits.threshold() && links_allowed(limits);
        let bytes = match source {
            Source::File { .. } if !links_allowed(limits) => {
                return Err(PlanError::LinksNotAllowed { dataname: name.into(), size, reason: no_links(limits) });
            }
            Source::Bytes(bytes) if !wants_link => bytes,
            // What is in pieces is large; it travels direct only where the threshold was raised.
            Source::Pieces(pieces) if !wants_link => pieces.concat().into(),
            source => {
                self.rest.push(Draft { id, dataname: name, payload_type, metadata }.into_upload(source, life));
                return Ok(());
            }
        };
        if digest_direct {
            metadata.insert("sha256", Digest::of(&bytes).to_string());
        }
        let body = Body::Direct(bytes);
        self.push(Payload { id, dataname: name, payload_type, metadata, stated_size: None, body });
        Ok(())
    }

    fn push(&mut self, payload: Payload) {
        if self.rest.is_empty() {
            self.ready.push(payload);
        } else {
            self.rest.push(Step::Ready(payload));
        }
    }

    /// Turns the largest direct payloads into links until the envelope fits
    fn fit(&mut self, limits: &Limits, life: LinkLifetime) -> Result<(), PlanError> {
        let limit = limits.max_message_size;
        // Most messages are far from the limit, which shows without a look at what in them has to be escaped.
        if self.len(limits, write::payload_len_at_most) <= limit {
            return Ok(());
        }
        let mut total = self.len(limits, write::payload_len);
        if total <= limit {
            return Ok(());
        }
        if links_allowed(limits) {
            let ready = std::mem::take(&mut self.ready).into_iter().map(Step::Ready);
            let steps: Vec<Step> = ready.chain(std::mem::take(&mut self.rest)).collect();
            let sized = |(index, step): (usize, &Step)| match step {
                Step::Ready(payload) => Some((index, payload.size())),
                Step::Upload(_) => None,
            };
            let mut order: Vec<_> = steps.iter().enumerate().filter_map(sized).collect();
            // A stable sort: of two equal payloads the first becomes the link.
            order.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
            let mut links = BTreeSet::new();
            for (index, _) in order {
                let saved =
                    step_len(&steps[index], limits, write::payload_len).saturating_sub(link_len(&steps[index], limits));
                if total <= limit || saved == 0 {
                    break;
                }
                total -= saved;
                links.insert(index);
            }
            for (index, step) in steps.into_iter().enumerate() {
                match if links.contains(&index) { linked(step, life) } else { step } {
                    Step::Ready(payload) => self.push(payload),
                    step @ Step::Upload(_) => self.rest.push(step),
                }
            }
        }
        if total <= limit {
            return Ok(());
        }
        let left = self.rest.iter().filter_map(|step| match step {
            Step::Ready(payload) => Some(payload),
            Step::Upload(_) => None,
        });
        let direct = self.ready.iter().chain(left);
        Err(PlanError::MessageTooLarge {
            size: total,
            limit,
            direct: direct.map(|payload| (payload.dataname().to_owned(), payload.size())).collect(),
            links_allowed: links_allowed(limits),
        })
    }

    /// Bytes of the envelope, with direct payloads of `payload_len`
    fn len(&self, limits: &Limits, payload_len: fn(&Payload) -> usize) -> u64 {
        let payloads = self.ready.len() + self.rest.len();
        let around = len(write::empty_len(&self.header) + write::commas(payloads));
        let ready = self.ready.iter().map(|payload| len(payload_len(payload)));
        let rest = self.rest.iter().map(|step| step_len(step, limits, payload_len));
        ready.chain(rest).fold(limits.header_allowance.saturating_add(around), u64::saturating_add)
    }
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
    let Part { name, payload_type, source, metadata } = part;
    let Some(bytes) = Some(source).filter(|_| limits.convert_tables).and_then(Source::into_bytes) else {
        return Err(PlanError::UnreadableType { dataname: name.into(), receiver: limits.receiver });
    };
    let rows = codec::decode(payload_type, bytes).and_then(|table| codec::encode(PayloadType::JsonTable, table));
    match rows {
        Ok(rows) => Ok(Part { name, payload_type: PayloadType::JsonTable, source: rows.into(), metadata }),
        Err(source) => Err(PlanError::Convert { dataname: name.into(), source }),
    }
}

/// Bytes of the envelope that a step's payload takes, without a comma; one that is ready has `payload_len`
fn step_len(step: &Step, limits: &Limits, payload_len: fn(&Payload) -> usize) -> u64 {
    match step {
        Step::Ready(payload) => len(payload_len(payload)),
        Step::Upload(_) => link_len(step, limits),
    }
}

/// The same, if it becomes a link
fn link_len(step: &Step, limits: &Limits) -> u64 {
    let bare = match step {
        Step::Ready(Payload { id, dataname, payload_type, metadata, .. }) => {
            write::link_len(id, dataname, *payload_type, metadata)
        }
        Step::Upload(upload) => {
            let Draft { id, dataname, payload_type, metadata } = &upload.draft;
            write::link_len(id, dataname, *payload_type, metadata)
        }
    };
    len(bare).saturating_add(limits.link_allowance)
}

/// What would have travelled direct, as an upload
fn linked(step: Step, life: LinkLifetime) -> Step {
    match step {
        Step::Ready(Payload { id, dataname, payload_type, mut metadata, body: Body::Direct(bytes), .. }) => {
            metadata.remove(&["sha256"]);
            Draft { id, dataname, payload_type, metadata }.into_upload(bytes.into(), life)
        }
        step => step,
    }
}

fn len(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
