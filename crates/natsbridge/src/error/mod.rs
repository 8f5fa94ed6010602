//! The error of this crate: what went wrong, of what kind, with which message and which payload.

mod kind;

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;

use natsbridge_core::{EnvelopeError, Header, PayloadError, PayloadType, PlanError, harmless, shown};
use natsbridge_fileserver::{FetchError, FetchErrorKind, StoreError};
use natsbridge_nats::{BrokerError, Subject, SubjectError};

pub use self::kind::ErrorKind;

/// What went wrong while sending or receiving
///
/// Match on [`kind`](Self::kind) to decide what to do; [`code`](Self::code) is the same word in logs, NACKs and every
/// language. `Display` tells what happened and what to do. `Debug` prints the same text and its causes, so that a `main`
/// which returns this error prints something for people.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting can't be used
    #[error(transparent)]
    Config(Box<ConfigError>),
    /// NATS does not accept the name of a subject or queue group
    #[error(transparent)]
    Subject(Box<SubjectError>),
    /// A value can't be serialised, or a payload is not what its type or its envelope says
    #[error(transparent)]
    Payload(Box<PayloadError>),
    /// A message can't be sent as it is; nothing was published, and what was uploaded is deleted again
    #[error(transparent)]
    Plan(Box<PlanError>),
    /// An upload failed; what this message had uploaded before is deleted again
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A message is not an envelope
    #[error(transparent)]
    Envelope(Box<EnvelopeError>),
    /// A link can't be downloaded
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The connection to NATS, or a publish on it, failed
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A message was not acknowledged, or was refused
    #[error(transparent)]
    Delivery(Box<DeliveryError>),
    /// A local file can't be read or written
    #[error(transparent)]
    File(Box<FileError>),
    /// A message arrived and can't be handed out
    #[error(transparent)]
    Unreadable(Box<Unreadable>),
    /// The message has no payload of this name
    #[error("no payload `{}` in the message; it has {present}", shown(dataname))]
    NoSuchPayload {
        /// The name asked for
        dataname: Box<str>,
        /// The names that the message has
        present: Box<str>,
    },
    /// A payload holds something else than was asked for
    #[error("payload `{}` of type {payload_type} can't be read as {reason}", shown(dataname))]
    WrongType {
        /// The payload
        dataname: Box<str>,
        /// Its type
        payload_type: PayloadType,
        /// What was asked for, and why the payload is not that
        reason: Box<str>,
    },
    /// The program's runtime ended while a message was being downloaded
    #[error("the program's runtime has stopped, so the message was not downloaded")]
    Stopped,
    /// A service was stopped, and messages that had arrived were not handled in time
    #[error("{messages} {} arrived and {} not handled before the end; a longer grace period helps",
        if *messages == 1 { "message" } else { "messages" }, if *messages == 1 { "was" } else { "were" })]
    Unhandled {
        /// Their number, with those whose handlers were stopped
        messages: u64,
    },
    /// The message names no subject for replies
    #[error("message {} asks for no reply; send it as a request, or set reply_to", shown(msg_id))]
    NoReplySubject {
        /// The message
        msg_id: Box<str>,
    },
    /// The message asks for its reply at a subject where this program sends none
    #[error(
        "message {} wants its reply at `{}`, where this program does not send; allow the subject in reply_subjects if you trust the sender",
        shown(msg_id),
        shown(subject)
    )]
    ReplyRefused {
        /// The message
        msg_id: Box<str>,
        /// The subject that its sender named
        subject: Box<str>,
    },
}

/// A setting that can't be used
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("{variable} can't be used: {reason}")]
pub struct ConfigError {
    /// The environment variable or field
    pub variable: &'static str,
    /// What is wrong and what to do; without the value, which may be secret
    pub reason: String,
    code: &'static str,
}

impl ConfigError {
    pub(crate) fn new(variable: &'static str, reason: impl Into<String>) -> Self {
        Self { variable, reason: reason.into(), code: "configuration" }
    }

    /// An option of one message that contradicts the others
    pub(crate) fn contradiction(variable: &'static str, reason: impl Into<String>) -> Self {
        Self { code: "wrong_value", ..Self::new(variable, reason) }
    }
}

/// A local file that can't be read or written
#[derive(Debug, thiserror::Error)]
#[error("payload `{}`: cannot {action} {}", shown(dataname), harmless(&path.to_string_lossy()))]
pub struct FileError {
    dataname: String,
    action: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

/// A message that arrived and can't be handed out, with as much of it as could be read
#[derive(Debug)]
pub struct Unreadable {
    error: Error,
    subject: String,
    header: Option<Header>,
    reply: Option<Subject>,
}

// The error inside says all there is to say; the message around it adds what a program needs to reply.
impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl StdError for Unreadable {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

/// Declares conversions from the errors that [`Error`] keeps in a box.
macro_rules! boxed {
    ($($variant:ident($error:ty),)+) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        })+
    };
}

boxed! {
    Config(ConfigError),
    Subject(SubjectError),
    Payload(PayloadError),
    Plan(PlanError),
    Envelope(EnvelopeError),
    Delivery(DeliveryError),
}

impl From<natsbridge_core::ParsePayloadTypeError> for Error {
    fn from(error: natsbridge_core::ParsePayloadTypeError) -> Self {
        ConfigError::new("payload_type", error.to_string()).into()
    }
}

impl From<natsbridge_fileserver::ConfigError> for Error {
    fn from(error: natsbridge_fileserver::ConfigError) -> Self {
        ConfigError::new("the store", error.to_string()).into()
    }
}

impl Error {
    /// A local file of a payload that can't be read or written; `action` is `read` or `write`
    #[must_use]
    pub fn file(
        dataname: impl Into<String>,
        action: &'static str,
        path: impl Into<PathBuf>,
        source: std::io::Error,
    ) -> Self {
        Self::File(Box::new(FileError { dataname: dataname.into(), action, path: path.into(), source }))
    }

    pub(crate) fn wrong_type(dataname: &str, payload_type: PayloadType, wanted: &str, reason: &str) -> Self {
        Self::WrongType { dataname: dataname.into(), payload_type, reason: format!("{wanted}: {reason}").into() }
    }

    /// A message that arrived and can't be handed out
    pub(crate) fn unreadable(self, subject: &str, header: Option<&Header>, reply: Option<Subject>) -> Self {
        let subject = harmless(subject).into_owned();
        Self::Unreadable(Box::new(Unreadable { error: self, subject, header: header.cloned(), reply }))
    }

    /// The error itself, where [`Error::Unreadable`] holds it together with the message that arrived
    #[must_use]
    pub fn inner(&self) -> &Self {
        match self {
            Self::Unreadable(unread) => unread.error.inner(),
            other => other,
        }
    }

    /// The kind of error, to match on
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) => ErrorKind::Configuration,
            Self::Subject(_) => ErrorKind::InvalidSubject,
            Self::Payload(error) => kind::of_code(error.code()),
            Self::Plan(error) => kind::of_code(error.code()),
            Self::Store(error) => kind::of_store(error.kind()),
            Self::Envelope(_) => ErrorKind::InvalidMessage,
            Self::Fetch(error) => kind::of_fetch(error.kind()),
            Self::Broker(error) => kind::of_broker(error.kind()),
            Self::Delivery(error) if error.is_refused() => ErrorKind::Refused,
            Self::Delivery(_) => ErrorKind::Unacknowledged,
            Self::File(_) => ErrorKind::LocalFile,
            Self::Unreadable(unread) => unread.error.kind(),
            Self::NoSuchPayload { .. } => ErrorKind::NoSuchPayload,
            Self::WrongType { .. } => ErrorKind::WrongType,
            Self::Stopped => ErrorKind::Stopped,
            Self::Unhandled { .. } => ErrorKind::Unhandled,
            Self::NoReplySubject { .. } => ErrorKind::NoReplySubject,
            Self::ReplyRefused { .. } => ErrorKind::ReplyNotAllowed,
        }
    }

    /// The stable word for this error (docs/specification.md, "Error codes")
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config(error) => error.code,
            Self::Subject(_) => "invalid_subject",
            Self::Payload(error) => error.code(),
            Self::Plan(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Envelope(error) => error.code(),
            Self::Fetch(error) => error.code(),
            Self::Broker(error) => error.code(),
            Self::Delivery(error) => error.code(),
            Self::File(_) => "local_file",
            Self::Unreadable(unread) => unread.error.code(),
            Self::NoSuchPayload { .. } => "no_such_payload",
            Self::WrongType { .. } => "wrong_value",
            Self::Stopped => "stopped",
            Self::Unhandled { .. } => "unhandled",
            Self::NoReplySubject { .. } => "no_reply_subject",
            Self::ReplyRefused { .. } => "reply_refused",
        }
    }

    /// The name of the payload that the error is about, if it is about one
    #[must_use]
    pub fn dataname(&self) -> Option<&str> {
        match self {
            Self::Payload(error) => Some(error.dataname()),
            Self::Plan(error) => error.dataname(),
            Self::Store(error) => error.dataname(),
            Self::Envelope(error) => error.dataname(),
            Self::Fetch(error) => Some(error.dataname()),
            Self::File(error) => Some(&error.dataname),
            Self::Unreadable(unread) => unread.error.dataname(),
            Self::NoSuchPayload { dataname, .. } | Self::WrongType { dataname, .. } => Some(dataname),
            _ => None,
        }
    }

    /// The identifier of the message that the error is about, if it is known
    #[must_use]
    pub fn msg_id(&self) -> Option<&str> {
        let msg_id = match self {
            Self::Delivery(error) => error.msg_id(),
            Self::NoReplySubject { msg_id } | Self::ReplyRefused { msg_id, .. } => msg_id,
            // A NACK says which message was refused.
            Self::Unreadable(unread) => {
                unread.error.msg_id().or_else(|| unread.header.as_ref().map(Header::msg_id)).unwrap_or_default()
            }
            _ => "",
        };
        Some(msg_id).filter(|msg_id| !msg_id.is_empty())
    }

    /// The fields of the message that arrived and can't be handed out, if its envelope could be read
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        match self {
            Self::Unreadable(unread) => unread.header.as_ref(),
            _ => None,
        }
    }

    /// The subject of the message that arrived and can't be handed out, made harmless to show
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        match self {
            Self::Unreadable(unread) => Some(&unread.subject),
            _ => None,
        }
    }

    /// The subject where NATS takes a reply to the message that can't be handed out
    pub(crate) const fn reply_subject(&self) -> Option<&Subject> {
        match self {
            Self::Unreadable(unread) => unread.reply.as_ref(),
            _ => None,
        }
    }

    /// Whether the same call may succeed later
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Fetch(error) => error.is_retryable(),
            Self::Broker(error) => error.is_retryable(),
            Self::File(_) => true,
            Self::Delivery(error) => !error.is_refused(),
            Self::Unreadable(unread) => unread.error.is_retryable(),
            _ => false,
        }
    }

    /// The reason to give in a NACK: text for the sender, who may be a stranger
    ///
    /// It names no path, no server and no setting of this program; `Display` does.
    #[must_use]
    pub fn nack_reason(&self) -> String {
        match self {
            Self::File(error) => {
                let FileError { dataname, action, source, .. } = &**error;
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
            Self::Store(_) => match self.dataname() {
                Some(dataname) => format!("payload `{}`: the receiver could not upload it", shown(dataname)),
                None => "the receiver could not upload a payload".to_owned(),
            },
            Self::Broker(_) => "the receiver has a problem with its NATS connection".to_owned(),
            Self::Config(_) => "a setting of the receiver can't be used".to_owned(),
            Self::Unreadable(unread) => unread.error.nack_reason(),
            other => other.to_string(),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Why a message was not acknowledged
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryError {
    pub(crate) msg_id: String,
    pub(crate) fault: DeliveryFault,
}

/// What became of the delivery
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DeliveryFault {
    /// A receiver refuses the message, and sending it again does not help
    Refused(Refusal),
    /// Too few acknowledgements came before the deadline
    Unacknowledged {
        acked: usize,
        awaited: usize,
        repeats: u32,
        /// The last NACK that said the message may be sent again
        refusal: Option<Refusal>,
        /// What may be wrong where no NACK came
        advice: &'static str,
    },
}

impl fmt::Display for DeliveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {} ", shown(&self.msg_id))?;
        match &self.fault {
            DeliveryFault::Refused(refusal) => write!(f, "was refused by {refusal}"),
            DeliveryFault::Unacknowledged { acked, awaited, repeats, refusal, advice } => {
                write!(f, "has {acked} of {awaited} acknowledgements after {repeats} repeats; ")?;
                match refusal {
                    Some(refusal) => write!(f, "the last reply is a refusal by {refusal}"),
                    None => f.write_str(advice),
                }
            }
        }
    }
}

impl StdError for DeliveryError {}

/// What a NACK says; a stranger's text, cut and made harmless to show
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The refusing program's name
    pub receiver: String,
    /// Its code
    pub code: String,
    /// Its reason
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.receiver, self.code, self.reason)
    }
}

impl DeliveryError {
    const fn is_refused(&self) -> bool {
        matches!(self.fault, DeliveryFault::Refused(_))
    }

    /// The stable word for this error (docs/specification.md, "Error codes")
    #[must_use]
    pub fn code(&self) -> &'static str {
        if self.is_refused() { "nacked" } else { "unacknowledged" }
    }

    /// The identifier of the message
    #[must_use]
    pub fn msg_id(&self) -> &str {
        &self.msg_id
    }

    /// What the last NACK says: the one that refuses the message for good, or one that asks for it again
    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        match &self.fault {
            DeliveryFault::Refused(refusal) => Some(refusal),
            DeliveryFault::Unacknowledged { refusal, .. } => refusal.as_ref(),
        }
    }

    /// Acknowledgements that came before the deadline
    #[must_use]
    pub const fn acked(&self) -> usize {
        match self.fault {
            DeliveryFault::Refused(_) => 0,
            DeliveryFault::Unacknowledged { acked, .. } => acked,
        }
    }

    /// How often the message was sent again before the deadline
    #[must_use]
    pub const fn repeats(&self) -> u32 {
        match self.fault {
            DeliveryFault::Refused(_) => 0,
            DeliveryFault::Unacknowledged { repeats, .. } => repeats,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_is_small() {
        assert!(size_of::<Error>() <= 40, "{} bytes", size_of::<Error>());
    }

    #[test]
    fn store_that_cannot_be_made_is_an_error_too() {
        let made = || -> Result<_, Error> { Ok(natsbridge_fileserver::PlikStore::new("ftp://files.test")?) };
        let error = made().unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Configuration, "configuration"));
        assert!(error.to_string().starts_with("the store can't be used: cannot configure "), "{error}");
    }

    #[test]
    fn debug_is_the_text_with_its_causes() {
        let full = std::io::Error::new(std::io::ErrorKind::StorageFull, "no space left");
        let error = Error::file("clip", "write", "films/clip.mp4", full);
        assert_eq!(format!("{error:?}"), "payload `clip`: cannot write films/clip.mp4: no space left");
        let unread = error.unreadable("films", None, None);
        assert_eq!(format!("{unread:?}"), "payload `clip`: cannot write films/clip.mp4: no space left");
    }

    #[test]
    fn unreadable_message_looks_through_to_its_error() {
        let error = Error::NoReplySubject { msg_id: "m-1".into() }.unreadable("lab\n", None, None);
        assert_eq!(
            (error.kind(), error.code(), error.msg_id()),
            (ErrorKind::NoReplySubject, "no_reply_subject", Some("m-1"))
        );
        assert!(!error.subject().unwrap().contains('\n'));
        assert!(matches!(error.inner(), Error::NoReplySubject { .. }));
    }
}
