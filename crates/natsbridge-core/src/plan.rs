//! Decides, before anything is uploaded, which payload travels how, so that the whole envelope fits the broker.

use std::cmp::Reverse;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::envelope::{Body, Envelope, Payload};
use crate::error::{PlanError, PlanFault};
use crate::fields::FIELDS;
use crate::header::Header;
use crate::id::{Id, UUID_LEN};
use crate::wire::write;
use crate::{
    Digest, Limits, LinkLifetime, Object, OutboundMessage, Part, PayloadType, Sender, Source, Uploaded, codec,
    timestamp,
};

/// Gives a plan the time and new identifiers; core reads no clock and draws no random numbers
pub trait Draw {
    /// The current time
    fn now(&mut self) -> OffsetDateTime;

    /// A new random identifier
    fn new_id(&mut self) -> Uuid;
}

/// A message for which it is decided what travels how: [`Plan::uploads`] have to be performed, then [`Plan::finish`] makes
/// the envelope
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    header: Header,
    steps: Vec<Step>,
}

/// What is to be done for one payload
#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// Nothing
    Ready(Payload),
    /// It has to be uploaded first
    Upload(Box<Upload>),
}

impl Step {
    /// The payload; of an upload all but its body
    const fn payload(&self) -> &Payload {
        match self {
            Self::Ready(payload) => payload,
            Self::Upload(upload) => &upload.payload,
        }
    }

    const fn upload(&self) -> Option<&Upload> {
        match self {
            Self::Ready(_) => None,
            Self::Upload(upload) => Some(upload),
        }
    }

    /// Name and size in bytes, where it travels direct
    fn direct(&self) -> Option<(&str, u64)> {
        match self {
            Self::Ready(payload) => direct(payload),
            Self::Upload(_) => None,
        }
    }
}

fn direct(payload: &Payload) -> Option<(&str, u64)> {
    payload.bytes().map(|_| (payload.dataname(), payload.size()))
}

/// A payload that has to be uploaded before it can travel as a link
#[derive(Debug, Clone, PartialEq)]
pub struct Upload {
    object: Object,
    source: Source,
    /// Its body is empty until the link is known
    payload: Payload,
}

impl Upload {
    fn step(payload: Payload, source: Source, lifetime: LinkLifetime) -> Step {
        let object = Object::new(&*payload.dataname, payload.payload_type, source.len()).link_lifetime(lifetime);
        Step::Upload(Box::new(Self { object, source, payload }))
    }

    /// Describes the payload to the store
    #[must_use]
    pub const fn object(&self) -> &Object {
        &self.object
    }

    /// The bytes
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// The payload as the link that the store made of it
    fn finish(self, uploaded: Uploaded) -> Result<Payload, PlanError> {
        let Self { object, mut payload, .. } = self;
        if uploaded.size != object.size {
            return Err(PlanError(PlanFault::StoredSize {
                dataname: object.dataname,
                sent: object.size,
                stored: uploaded.size,
            }));
        }
        payload.metadata.insert("sha256", uploaded.sha256.to_string());
        if let Some(at) = uploaded.expires_at {
            payload.metadata.insert("expires_at", timestamp::write(at));
        }
        if uploaded.one_shot {
            payload.metadata.insert("one_shot", true);
        }
        payload.body = Body::Link { url: uploaded.url.into(), size: uploaded.size };
        Ok(payload)
    }
}

/// Decides for every part whether it travels direct or as a link, and writes the header
///
/// A part goes direct below the threshold; then the largest direct parts become links until the envelope fits. Parts in
/// files always become links: the caller reads small files before.
///
/// # Errors
/// [`PlanError`]; nothing has been uploaded by then.
pub fn plan(
    mut message: OutboundMessage,
    sender: &Sender,
    limits: &Limits,
    draw: &mut impl Draw,
) -> Result<Plan, PlanError> {
    let lifetime = message.lifetime();
    let header = header(&mut message, sender, draw).ok_or_else(|| {
        too_large(u64::from(u32::MAX), limits.max_message_size, std::iter::empty(), limits.allow_links())
    })?;
    let mut steps = Vec::with_capacity(message.parts.len());
    for part in message.parts {
        steps.push(step(part, limits, lifetime, message.digest_direct, draw)?);
    }
    let mut plan = Plan { header, steps };
    plan.fit(limits, lifetime)?;
    Ok(plan)
}

impl Envelope {
    /// Plans a message again, for a broker that takes less than it did: further direct payloads become links
    ///
    /// Links stay as they are, and so do all identifiers and the sequence number.
    ///
    /// # Errors
    /// It does not fit (`too_large`).
    pub fn plan_again(&self, limits: &Limits, lifetime: LinkLifetime) -> Result<Plan, PlanError> {
        let Self { header, payloads } = self.clone();
        let mut plan = Plan { header, steps: payloads.into_iter().map(Step::Ready).collect() };
        plan.fit(limits, lifetime)?;
        Ok(plan)
    }

    /// Compares the length of the JSON with what the broker takes, where URLs may be longer than the room planned for them
    ///
    /// # Errors
    /// It is longer (`too_large`).
    pub fn check_size(&self, json: &[u8], limit: u64) -> Result<(), PlanError> {
        let size = u64::try_from(json.len()).unwrap_or(u64::MAX);
        if size <= limit { Ok(()) } else { Err(too_large(size, limit, self.payloads.iter().filter_map(direct), true)) }
    }
}

/// A message that exceeds the limit, with the payloads that travel direct
fn too_large<'a>(
    size: u64,
    limit: u64,
    direct: impl Iterator<Item = (&'a str, u64)>,
    links_allowed: bool,
) -> PlanError {
    let direct = direct.map(|(name, size)| (name.to_owned(), size)).collect();
    PlanError(PlanFault::MessageTooLarge { size, limit, direct, links_allowed })
}

impl Plan {
    /// Every field of the envelope but its payloads
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The payloads to upload, in order; none for most messages
    pub fn uploads(&self) -> impl Iterator<Item = &Upload> {
        self.steps.iter().filter_map(Step::upload)
    }

    /// Makes the envelope of all payloads; `uploaded` holds the store's response for each of [`Plan::uploads`], in that order
    ///
    /// # Errors
    /// A response is missing (`not_uploaded`), or the store holds another number of bytes (`size_mismatch`).
    pub fn finish(self, uploaded: impl IntoIterator<Item = Uploaded>) -> Result<Envelope, PlanError> {
        let mut uploaded = uploaded.into_iter();
        let payload = |step| match step {
            Step::Ready(payload) => Ok(payload),
            Step::Upload(upload) => match uploaded.next() {
                Some(uploaded) => upload.finish(uploaded),
                None => Err(PlanError(PlanFault::NotUploaded { dataname: upload.object.dataname })),
            },
        };
        let payloads = self.steps.into_iter().map(payload).collect::<Result<_, _>>()?;
        Ok(Envelope { header: self.header, payloads })
    }

    /// Turns the largest direct payloads into links until the envelope fits
    fn fit(&mut self, limits: &Limits, lifetime: LinkLifetime) -> Result<(), PlanError> {
        let (mut size, limit) = (self.len(limits), limits.max_message_size);
        if size > limit && limits.allow_links() {
            let sized = |(index, step): (usize, &Step)| step.direct().map(|(_, size)| (index, size));
            let mut largest: Vec<_> = self.steps.iter().enumerate().filter_map(sized).collect();
            // A stable sort: of two equal payloads the first becomes the link.
            largest.sort_by_key(|(_, size)| Reverse(*size));
            for (index, _) in largest {
                let Step::Ready(payload) = &self.steps[index] else { continue };
                let Body::Direct(bytes) = &payload.body else { continue };
                let mut link = Payload { body: Body::default(), ..payload.clone() };
                let link_len = write::payload_len(&link).saturating_add(limits.link_allowance);
                let saved = write::payload_len(payload).saturating_sub(link_len);
                if size <= limit || saved == 0 {
                    break;
                }
                size -= saved;
                link.metadata.remove(&["sha256"]);
                self.steps[index] = Upload::step(link, bytes.clone().into(), lifetime);
            }
        }
        if size <= limit {
            return Ok(());
        }
        Err(too_large(size, limit, self.steps.iter().filter_map(Step::direct), limits.allow_links()))
    }

    /// Bytes of the envelope with everything that is still to come: URLs, and what is added to the header
    fn len(&self, limits: &Limits) -> u64 {
        let len = write::envelope_len(&self.header, self.steps.iter().map(Step::payload));
        let links = self.uploads().map(|_| limits.link_allowance);
        links.fold(len.saturating_add(limits.header_allowance), u64::saturating_add)
    }
}

/// Writes the header; `None` if its fields have 4 GiB together
fn header(message: &mut OutboundMessage, sender: &Sender, draw: &mut impl Draw) -> Option<Header> {
    let [mut correlation_id, mut msg_id, mut sender_id] = [[0; UUID_LEN]; 3];
    let timestamp = timestamp::written(draw.now());
    let fields: [&str; FIELDS.len()] = [
        given_or_new(message.correlation_id.as_deref(), &mut correlation_id, draw),
        given_or_new(message.msg_id.as_deref(), &mut msg_id, draw),
        std::str::from_utf8(&timestamp).unwrap_or_default(),
        &message.send_to,
        message.msg_purpose.as_str(),
        &sender.name,
        given_or_new(sender.id.as_deref(), &mut sender_id, draw),
        &message.receiver_name,
        &message.receiver_id,
        &message.reply_to,
        &message.reply_to_msg_id,
        &sender.broker_url,
    ];
    Header::new(fields, std::mem::take(&mut message.metadata))
}

fn given_or_new<'a>(given: Option<&'a str>, text: &'a mut [u8; UUID_LEN], draw: &mut impl Draw) -> &'a str {
    match given {
        Some(given) => given,
        None => draw.new_id().hyphenated().encode_lower(text),
    }
}

/// Checks one part against its receiver, and decides by the threshold alone how it travels
fn step(
    part: Part,
    limits: &Limits,
    lifetime: LinkLifetime,
    digest_direct: bool,
    draw: &mut impl Draw,
) -> Result<Step, PlanError> {
    let part = if limits.receiver.reads(part.payload_type) { part } else { readable(part, limits)? };
    let Part { name: dataname, payload_type, source, mut metadata } = part;
    let size = source.len();
    if let Some(limit) = limits.receiver.max_payload().filter(|limit| size > *limit) {
        let receiver = limits.receiver;
        return Err(PlanError(PlanFault::PayloadTooLarge { dataname: dataname.into(), size, limit, receiver }));
    }
    metadata.remove(&["sha256", "expires_at", "one_shot"]);
    let (id, body) = (Id::from(draw.new_id()), Body::default());
    let mut payload = Payload { id, dataname, payload_type, metadata, stated_size: None, body };
    let wants_link = limits.is_link(size);
    let bytes = match source {
        Source::File { .. } if !limits.allow_links() => {
            let (dataname, reason) = (payload.dataname.into(), no_links(limits));
            return Err(PlanError(PlanFault::LinksNotAllowed { dataname, size, reason }));
        }
        Source::Bytes(bytes) if !wants_link => bytes,
        // Only large tables are in pieces; one travels direct only if the threshold was raised.
        Source::Pieces(pieces) if !wants_link => pieces.concat().into(),
        source => return Ok(Upload::step(payload, source, lifetime)),
    };
    if digest_direct {
        payload.metadata.insert("sha256", Digest::of(&bytes).to_string());
    }
    payload.body = Body::Direct(bytes);
    Ok(Step::Ready(payload))
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
        return Err(PlanError(PlanFault::UnreadableType { dataname: name.into(), receiver: limits.receiver }));
    };
    let rows = codec::decode(payload_type, bytes).and_then(|table| codec::encode(PayloadType::JsonTable, table));
    match rows {
        Ok(rows) => Ok(Part { name, payload_type: PayloadType::JsonTable, source: rows.into(), metadata }),
        Err(source) => Err(PlanError(PlanFault::Convert { dataname: name.into(), source })),
    }
}
