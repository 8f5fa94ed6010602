//! A message as people hold it: where it goes, who sends it, and its parts in order.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;

use crate::error::{OpenError, OpenFault};
use crate::outbound::without_secrets;
use crate::{CodecError, Life, Metadata, PayloadType, Purpose, Source, Value, codec};

/// One named value of a message, serialised as its type says
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    pub(crate) name: Box<str>,
    pub(crate) payload_type: PayloadType,
    pub(crate) source: Source,
    pub(crate) metadata: Metadata,
}

impl Part {
    /// Serialises a value
    ///
    /// # Errors
    /// [`OpenFault::Codec`] under the part's name: a value of another kind than the type, JSON too deep, a table
    /// that can't be converted.
    pub fn new(
        name: impl Into<Box<str>>,
        payload_type: PayloadType,
        value: impl Into<Value>,
    ) -> Result<Self, OpenError> {
        let name = name.into();
        match codec::source(payload_type, value.into()) {
            Ok(source) => Ok(Self { name, payload_type, source, metadata: Metadata::new() }),
            Err(error) => Err(named(&name, error)),
        }
    }

    /// Takes bytes that are serialised already; who reads them finds out whether they are what the type says
    #[must_use]
    pub fn from_source(name: impl Into<Box<str>>, payload_type: PayloadType, source: impl Into<Source>) -> Self {
        Self { name: name.into(), payload_type, source: source.into(), metadata: Metadata::new() }
    }

    /// Names a file of `len` bytes that holds the serialised payload; it always travels by link
    #[must_use]
    pub fn from_file(name: impl Into<Box<str>>, payload_type: PayloadType, path: impl Into<PathBuf>, len: u64) -> Self {
        let source = Source::File { path: path.into(), len };
        Self { name: name.into(), payload_type, source, metadata: Metadata::new() }
    }

    /// Adds metadata of the sender's own; the keys of the specification are written by the library
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// The sender's name for it; any Unicode, never a path
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is
    #[must_use]
    pub const fn payload_type(&self) -> PayloadType {
        self.payload_type
    }

    /// The serialised bytes
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Size in bytes, serialised
    #[must_use]
    pub fn size(&self) -> u64 {
        self.source.len()
    }

    /// Metadata as the sender wrote it
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The serialised bytes, where they are in memory and in one piece
    #[must_use]
    pub const fn bytes(&self) -> Option<&Bytes> {
        match &self.source {
            Source::Bytes(bytes) => Some(bytes),
            Source::Pieces(_) | Source::File { .. } => None,
        }
    }

    /// Reads the value, leaving the part as it is
    ///
    /// # Errors
    /// As [`Part::into_value`].
    pub fn value(&self) -> Result<Value, OpenError> {
        self.clone().into_value()
    }

    /// Reads the value; text and bytes without copying where nobody else holds them
    ///
    /// # Errors
    /// [`OpenFault::Codec`] under the part's name: bytes that are not what the type says, or that are in a file.
    pub fn into_value(self) -> Result<Value, OpenError> {
        let Some(bytes) = self.source.into_bytes() else { return Err(named(&self.name, CodecError::InFile)) };
        codec::decode(self.payload_type, bytes).map_err(|error| named(&self.name, error))
    }
}

fn named(name: &str, error: CodecError) -> OpenError {
    OpenError { dataname: name.to_owned(), fault: OpenFault::Codec(error) }
}

/// Everything that one envelope says, before it is decided what travels how
///
/// Fields bear the wire's names; what is left empty or `None` is filled by the plan (requirements 11.1).
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// The NATS subject
    pub send_to: Cow<'static, str>,
    /// The flow it belongs to; a new one where `None`
    pub correlation_id: Option<Cow<'static, str>>,
    /// Its identifier; a new one where `None`
    pub msg_id: Option<Cow<'static, str>>,
    /// Why it is sent; default `chat`
    pub msg_purpose: Purpose,
    /// The sending program's name; default `NATSBridge`. Shared, as is all that a program's messages have in common
    pub sender_name: Arc<str>,
    /// The sending program's identifier; a new one where `None`
    pub sender_id: Option<Arc<str>>,
    /// The receiving program's name; empty for all
    pub receiver_name: Cow<'static, str>,
    /// The receiving program's identifier; empty for all
    pub receiver_id: Cow<'static, str>,
    /// Subject for replies; empty for none
    pub reply_to: Cow<'static, str>,
    /// The `msg_id` that it answers; empty for none
    pub reply_to_msg_id: Cow<'static, str>,
    /// The sender's NATS URL; user names, passwords and tokens are removed by the plan
    pub broker_url: Arc<str>,
    /// Message-level metadata
    pub metadata: Metadata,
    /// The parts, in order
    pub parts: Vec<Part>,
    /// How long uploads live, where not as the specification says
    pub life: Option<Life>,
    /// Whether acknowledgements are asked for, so that links have to stay readable for repeats
    pub awaits_ack: bool,
    /// Whether direct payloads carry a digest too
    pub digest_direct: bool,
}

impl Message {
    /// A message to a subject, with the defaults of requirements 11.1
    #[must_use]
    pub fn new(send_to: impl Into<Cow<'static, str>>) -> Self {
        static SENDER_NAME: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("NATSBridge"));
        static NO_URL: LazyLock<Arc<str>> = LazyLock::new(Arc::default);
        Self {
            send_to: send_to.into(),
            correlation_id: None,
            msg_id: None,
            msg_purpose: Purpose::Chat,
            sender_name: Arc::clone(&SENDER_NAME),
            sender_id: None,
            receiver_name: Cow::Borrowed(""),
            receiver_id: Cow::Borrowed(""),
            reply_to: Cow::Borrowed(""),
            reply_to_msg_id: Cow::Borrowed(""),
            broker_url: Arc::clone(&NO_URL),
            metadata: Metadata::new(),
            parts: Vec::new(),
            life: None,
            awaits_ack: false,
            digest_direct: false,
        }
    }

    /// Adds a part
    #[must_use]
    pub fn part(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// One-shot for exactly one named receiver who is not asked to acknowledge, else 24 hours (specification, section 8)
    pub(crate) fn link_life(&self) -> Life {
        match self.life {
            Some(life) => life,
            None if !self.receiver_id.is_empty() && !self.awaits_ack => Life::one_shot(Life::DEFAULT_TTL),
            None => Life::default(),
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("send_to", &self.send_to)
            .field("correlation_id", &self.correlation_id)
            .field("msg_id", &self.msg_id)
            .field("msg_purpose", &self.msg_purpose)
            .field("sender_name", &self.sender_name)
            .field("sender_id", &self.sender_id)
            .field("receiver_name", &self.receiver_name)
            .field("receiver_id", &self.receiver_id)
            .field("reply_to", &self.reply_to)
            .field("reply_to_msg_id", &self.reply_to_msg_id)
            .field("broker_url", &without_secrets(&self.broker_url))
            .field("metadata", &self.metadata)
            .field("parts", &self.parts)
            .field("life", &self.life)
            .field("awaits_ack", &self.awaits_ack)
            .field("digest_direct", &self.digest_direct)
            .finish()
    }
}
