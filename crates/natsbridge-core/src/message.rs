//! A message as people hold it: where it goes, who sends it, and its parts in order.

use std::borrow::Cow;
use std::path::PathBuf;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{CodecFault, PartFault, PayloadError};
use crate::link::without_secrets;
use crate::metadata::{Metadata, PayloadMetadata};
use crate::setters::{getters, setters};
use crate::{CodecError, JsonView, LinkLifetime, PayloadType, Purpose, Source, Value, codec};

/// One named value of a message, serialised as its type says
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    pub(crate) name: Box<str>,
    pub(crate) payload_type: PayloadType,
    pub(crate) source: Source,
    pub(crate) metadata: PayloadMetadata,
}

impl Part {
    /// Serialises a value
    ///
    /// # Errors
    /// Naming the part: a value of another kind than the type (`wrong_value`), JSON too deep (`too_deep`), a table that can't
    /// be converted (`unconvertible`).
    pub fn new(
        name: impl Into<Box<str>>,
        payload_type: PayloadType,
        value: impl Into<Value>,
    ) -> Result<Self, PayloadError> {
        let name = name.into();
        match codec::source(payload_type, value.into()) {
            Ok(source) => Ok(Self { name, payload_type, source, metadata: PayloadMetadata::default() }),
            Err(error) => Err(named(&name, error)),
        }
    }

    /// Serialises a serde type straight into bytes: as `dictionary` any value, as `jsontable` and `arrowtable` a sequence
    /// of structs or maps
    ///
    /// Floats that are not finite become `null`. JSON that the type holds as text ([`RawValue`](serde_json::value::RawValue))
    /// keeps its digits.
    ///
    /// ```
    /// use natsbridge_core::{Part, PayloadType};
    ///
    /// #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    /// struct Reading {
    ///     volts: f64,
    /// }
    ///
    /// let part = Part::serialize("readings", PayloadType::JsonTable, &[Reading { volts: 3.3 }])?;
    /// assert_eq!(part.bytes().unwrap(), "[{\"volts\":3.3}]");
    /// assert_eq!(part.deserialize::<Vec<Reading>>()?, [Reading { volts: 3.3 }]);
    /// # Ok::<(), natsbridge_core::PayloadError>(())
    /// ```
    ///
    /// # Errors
    /// Naming the part: JSON nested deeper than 127 levels (`too_deep`), integers beyond 64 bits (`wrong_value`), rows that
    /// are not objects (`undecodable`), map keys that are no strings and what the type itself says (`wrong_value`), columns
    /// of mixed types in an `arrowtable` (`unconvertible`), and another payload type (`wrong_value`).
    pub fn serialize<T: Serialize + ?Sized>(
        name: impl Into<Box<str>>,
        payload_type: PayloadType,
        value: &T,
    ) -> Result<Self, PayloadError> {
        let name = name.into();
        match codec::encode_from(payload_type, value) {
            Ok(source) => Ok(Self { name, payload_type, source, metadata: PayloadMetadata::default() }),
            Err(error) => Err(named(&name, error)),
        }
    }

    /// Takes bytes that are serialised already; who reads them finds out whether they are what the type says
    #[must_use]
    pub fn from_source(name: impl Into<Box<str>>, payload_type: PayloadType, source: impl Into<Source>) -> Self {
        Self { name: name.into(), payload_type, source: source.into(), metadata: PayloadMetadata::default() }
    }

    /// Names a file of `len` bytes that holds the serialised payload; it always travels by link
    #[must_use]
    pub fn from_file(name: impl Into<Box<str>>, payload_type: PayloadType, path: impl Into<PathBuf>, len: u64) -> Self {
        let source = Source::File { path: path.into(), len };
        Self { name: name.into(), payload_type, source, metadata: PayloadMetadata::default() }
    }

    setters! {
        /// Adds metadata of the sender's own; the keys of the specification are written by the library
        fn with_metadata(self, metadata: Metadata) { self.metadata = metadata.into() }
    }

    getters! {
        /// The sender's name for it; any Unicode, never a path
        fn name(&self) -> &str { &self.name }

        /// What it is
        const fn payload_type(&self) -> PayloadType { self.payload_type }

        /// The serialised bytes
        const fn source(&self) -> &Source { &self.source }

        /// Size in bytes, serialised
        fn size(&self) -> u64 { self.source.len() }

        /// Metadata as the sender wrote it
        fn metadata(&self) -> &Metadata { self.metadata.map() }
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
    pub fn value(&self) -> Result<Value, PayloadError> {
        self.clone().into_value()
    }

    /// Reads a `dictionary`, `jsontable`, `arrowtable` or `text` straight into a serde type
    ///
    /// A table is a sequence of rows; a row is a struct or map whose keys are the columns' names. Values of Arrow columns are
    /// given as they are in JSON, such as timestamps as text (docs/specification.md, section 3).
    ///
    /// # Errors
    /// Naming the part: a sound value of another shape than the type's, and an image, audio, video or binary
    /// (`wrong_value`), and what [`Part::into_value`] says.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        let bytes = self.source.clone().into_bytes().ok_or_else(|| in_file(&self.name))?;
        codec::decode_as(self.payload_type, bytes).map_err(|error| named(&self.name, error))
    }

    /// The value as JSON text that is written while it is made; see [`JsonView`]
    ///
    /// Of images, audio, video and other bytes it is `null`. A value that is sound but can't be shown, or not within
    /// `max_bytes` of text, is `null` too, and the view says why.
    ///
    /// # Errors
    /// As [`Part::into_value`].
    pub fn json_view(&self, max_bytes: u64) -> Result<JsonView, PayloadError> {
        let bytes = self.source.clone().into_bytes().ok_or_else(|| in_file(&self.name))?;
        JsonView::of(self.payload_type, bytes, max_bytes).map_err(|error| named(&self.name, error))
    }

    /// Reads the value; text and bytes without copying where nobody else holds them
    ///
    /// # Errors
    /// Naming the part: bytes that are not what the type says (`undecodable`), or that are in a file (`in_file`).
    pub fn into_value(self) -> Result<Value, PayloadError> {
        let bytes = self.source.into_bytes().ok_or_else(|| in_file(&self.name))?;
        codec::decode(self.payload_type, bytes).map_err(|error| named(&self.name, error))
    }
}

fn named(name: &str, error: CodecError) -> PayloadError {
    PayloadError { dataname: name.to_owned(), fault: PartFault::Codec(error) }
}

fn in_file(name: &str) -> PayloadError {
    named(name, CodecError(CodecFault::InFile))
}

/// Who sends: what all messages of a program have in common
///
/// Without settings the name is `NATSBridge`, every message has a new identifier, and there is no URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    pub(crate) name: Cow<'static, str>,
    pub(crate) id: Option<Box<str>>,
    pub(crate) broker_url: Box<str>,
}

impl Sender {
    setters! {
        /// Sets the program's name
        fn name(self, name: impl Into<Cow<'static, str>>) { self.name = name.into() }

        /// Sets the program's identifier
        fn id(self, id: impl Into<Box<str>>) { self.id = Some(id.into()) }

        /// Sets its NATS URL; user names, passwords and tokens in it are left out
        fn broker_url(self, url: &str) { self.broker_url = without_secrets(url).into() }
    }
}

impl Default for Sender {
    fn default() -> Self {
        Self { name: Cow::Borrowed("NATSBridge"), id: None, broker_url: Box::default() }
    }
}

/// Everything that one envelope says of itself, before it is decided what travels how
///
/// Fields bear the wire's names; what is left empty or `None` is filled by the plan.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OutboundMessage {
    /// The NATS subject
    pub send_to: Cow<'static, str>,
    /// The flow it belongs to; a new one where `None`
    pub correlation_id: Option<Cow<'static, str>>,
    /// Its identifier; a new one where `None`
    pub msg_id: Option<Cow<'static, str>>,
    /// Why it is sent; default `chat`
    pub msg_purpose: Purpose,
    /// The receiving program's name; empty for all
    pub receiver_name: Cow<'static, str>,
    /// The receiving program's identifier; empty for all
    pub receiver_id: Cow<'static, str>,
    /// Subject for replies; empty for none
    pub reply_to: Cow<'static, str>,
    /// The `msg_id` of the message that it replies to; empty for none
    pub reply_to_msg_id: Cow<'static, str>,
    /// Message-level metadata
    pub metadata: Metadata,
    /// The parts, in order
    pub parts: Vec<Part>,
    /// How long uploads live, where not as the specification says
    pub link_lifetime: Option<LinkLifetime>,
    /// Whether acknowledgements are asked for, so that links have to stay readable for repeats
    pub awaits_ack: bool,
    /// Whether direct payloads carry a digest too
    pub digest_direct: bool,
}

impl OutboundMessage {
    /// A message to a subject, with default settings
    #[must_use]
    pub fn new(send_to: impl Into<Cow<'static, str>>) -> Self {
        Self {
            send_to: send_to.into(),
            correlation_id: None,
            msg_id: None,
            msg_purpose: Purpose::Chat,
            receiver_name: Cow::Borrowed(""),
            receiver_id: Cow::Borrowed(""),
            reply_to: Cow::Borrowed(""),
            reply_to_msg_id: Cow::Borrowed(""),
            metadata: Metadata::new(),
            parts: Vec::new(),
            link_lifetime: None,
            awaits_ack: false,
            digest_direct: false,
        }
    }

    setters! {
        /// Adds a part
        fn part(self, part: Part) { self.parts.push(part) }
    }

    /// Whether exactly one receiver is named, and no acknowledgement is asked for: only such a message may have one-shot
    /// links, since nobody else reads them and it is not sent again
    #[must_use]
    pub fn has_one_reader(&self) -> bool {
        !self.receiver_id.is_empty() && !self.awaits_ack
    }

    /// How long its links live: as it says itself, else one-shot for exactly one reader, else 24 hours
    /// (`docs/specification.md`, section 8)
    #[must_use]
    pub fn lifetime(&self) -> LinkLifetime {
        match self.link_lifetime {
            Some(lifetime) => lifetime,
            None if self.has_one_reader() => LinkLifetime::one_shot(LinkLifetime::DEFAULT_TTL),
            None => LinkLifetime::default(),
        }
    }
}
