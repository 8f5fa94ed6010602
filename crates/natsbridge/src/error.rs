//! The façade's errors: one variant per room, each with its stable code and the payload it is about.

use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;

use natsbridge_core::{EnvelopeError, Header, PayloadError, PlanError, harmless, shown};
use natsbridge_fileserver::{FetchError, FetchErrorKind, StoreError};
use natsbridge_nats::{BrokerError, Subject, SubjectError};

use crate::{ConfigError, DeliveryError};

/// What went wrong while sending or receiving
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting can't be used
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A subject, or a queue group, that NATS would refuse
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// A value that can't be serialised, or a payload that is not what it should be
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// A message that can't travel; nothing was uploaded
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// An upload that failed; what this message had uploaded before is deleted again
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A message that is no envelope
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A link that could not be read
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The connection to NATS, or a publish on it
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A message that was not acknowledged
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// A file on this side that can't be read or written
    #[error("payload `{}`: cannot {action} {}", shown(dataname), harmless(&path.to_string_lossy()))]
    File {
        /// The payload
        dataname: String,
        /// What was tried: `read`, `write`
        action: &'static str,
        /// The file
        path: PathBuf,
        /// Why not
        source: std::io::Error,
    },
    /// No payload of that name is in the message
    #[error("no payload `{}` in the message; it has {present}", shown(dataname))]
    NoSuchPayload {
        /// The name asked for
        dataname: String,
        /// The names that are there
        present: String,
    },
    /// A payload that holds something else than was asked for
    #[error("payload `{}` of type {payload_type} can't be read as {wanted}: {reason}", shown(dataname))]
    WrongType {
        /// The payload
        dataname: String,
        /// Its type
        payload_type: natsbridge_core::PayloadType,
        /// What was asked for
        wanted: &'static str,
        /// Why not
        reason: String,
    },
    /// The program's runtime ended while a message was being downloaded
    #[error("the program's runtime has stopped, so the message was not downloaded")]
    Stopped,
    /// The message asks for no answer
    #[error(
        "message {} names no subject for answers, so it can't be answered; its sender has to set reply_to",
        shown(msg_id)
    )]
    NoReplySubject {
        /// The message
        msg_id: String,
    },
    /// The message asks for an answer at a subject where this program sends none
    #[error(
        "message {} wants its answer at `{}`, where this program does not send; allow the subject in reply_subjects if you trust the sender",
        shown(msg_id),
        shown(subject)
    )]
    ReplyRefused {
        /// The message
        msg_id: String,
        /// The subject that its sender named
        subject: String,
    },
}

/// The longest text of strangers that tells a reason, in characters
const MAX_REASON: usize = 500;

/// A reason that may hold strangers' text, for an error: cut, and made harmless to show
pub(crate) fn reason(text: &str) -> String {
    match text.char_indices().nth(MAX_REASON).and_then(|(end, _)| text.get(..end)) {
        Some(kept) => format!("{}…", harmless(kept)),
        None => harmless(text).into_owned(),
    }
}

/// A result that is handed up for every message
pub(crate) type Boxed<T> = Result<T, BoxedError>;

/// An error on its way up, in a box: so a result is no larger to move than its value
#[derive(Debug)]
pub(crate) struct BoxedError(Box<Error>);

impl BoxedError {
    pub(crate) const fn error(&self) -> &Error {
        &self.0
    }

    pub(crate) fn into_error(self) -> Error {
        *self.0
    }
}

impl<E> From<E> for BoxedError
where
    Error: From<E>,
{
    fn from(error: E) -> Self {
        Self(Box::new(error.into()))
    }
}

impl Error {
    /// The stable word for this error (docs/specification.md, "Error codes")
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => "configuration",
            Self::Subject(error) => error.code(),
            Self::Payload(error) => error.code(),
            Self::Plan(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Envelope(error) => error.code(),
            Self::Fetch(error) => error.code(),
            Self::Broker(error) => error.code(),
            Self::Delivery(error) => error.code(),
            Self::File { .. } => "local_file",
            Self::NoSuchPayload { .. } => "no_such_payload",
            Self::WrongType { .. } => "wrong_value",
            Self::Stopped => "stopped",
            Self::NoReplySubject { .. } => "no_reply_subject",
            Self::ReplyRefused { .. } => "reply_refused",
        }
    }

    /// What a NACK says of this error: text for the sender, who may be a stranger
    ///
    /// It names neither this machine's paths nor the origins that this program allows; the error's own text does.
    #[must_use]
    pub fn nack_reason(&self) -> String {
        match self {
            Self::File { dataname, action, source, .. } => {
                format!("payload `{}`: the receiver cannot {action} it: {source}", shown(dataname))
            }
            Self::Fetch(error) => {
                let dataname = shown(error.dataname());
                match (error.refused_origin(), error.source()) {
                    (Some(origin), _) => format!("payload `{dataname}`: this receiver does not download from {origin}"),
                    // Such as a disk that is full.
                    (None, Some(source)) if error.kind() == FetchErrorKind::LocalFile => format!("{error}: {source}"),
                    (None, _) => error.to_string(),
                }
            }
            other => other.to_string(),
        }
    }

    /// The payload it is about, where it is one payload's
    #[must_use]
    pub fn dataname(&self) -> Option<&str> {
        match self {
            Self::Payload(error) => Some(&error.dataname),
            Self::Plan(error) => error.dataname(),
            Self::Store(error) => error.dataname(),
            Self::Envelope(error) => error.dataname(),
            Self::Fetch(error) => Some(error.dataname()),
            Self::File { dataname, .. } | Self::NoSuchPayload { dataname, .. } | Self::WrongType { dataname, .. } => {
                Some(dataname)
            }
            Self::Config(_)
            | Self::Subject(_)
            | Self::Broker(_)
            | Self::Delivery(_)
            | Self::Stopped
            | Self::NoReplySubject { .. }
            | Self::ReplyRefused { .. } => None,
        }
    }

    /// Whether the same call may succeed later
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Fetch(error) => error.is_retryable(),
            Self::Broker(error) => error.is_retryable(),
            Self::File { .. } => true,
            Self::Delivery(error) => matches!(error, DeliveryError::Unacknowledged { .. }),
            Self::Config(_)
            | Self::Subject(_)
            | Self::Payload(_)
            | Self::Plan(_)
            | Self::Envelope(_)
            | Self::NoSuchPayload { .. }
            | Self::WrongType { .. }
            | Self::Stopped
            | Self::NoReplySubject { .. }
            | Self::ReplyRefused { .. } => false,
        }
    }
}

/// A message that arrived and can't be handed out, with as much of it as could be read
///
/// A subscription goes on after it.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReceiveError {
    /// What is wrong
    pub error: Box<Error>,
    /// The subject it came on, made harmless to show
    pub subject: String,
    /// The envelope's fields, where the envelope itself could be read
    pub header: Option<Box<Header>>,
    /// Where NATS would carry an answer
    pub(crate) reply: Option<Subject>,
}

impl ReceiveError {
    pub(crate) fn new(error: impl Into<Error>, subject: impl AsRef<str>) -> Self {
        let subject = harmless(subject.as_ref()).into_owned();
        Self { error: Box::new(error.into()), subject, header: None, reply: None }
    }

    pub(crate) fn answerable(mut self, header: Option<&Header>, reply: Option<Subject>) -> Self {
        self.header = header.cloned().map(Box::new);
        self.reply = reply;
        self
    }
}

// The error inside is all there is to say: this level adds what a program needs to answer, and no words.
impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for ReceiveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}
