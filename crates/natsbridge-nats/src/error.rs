//! Defines the one error of this crate: an opaque struct with a kind to match on.

use std::error::Error as StdError;
use std::time::Duration;

use crate::subject::SubjectError;

/// The kind of a [`BrokerError`], to match on
///
/// Trying again later can help with `Unresolved`, `Refused`, `Unreachable`, `TimedOut`, `NoResponders` and
/// `ConnectionLost`; the others need a change on this side or in the server's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrokerErrorKind {
    /// An option, a server URL or a file of the connection can't be used
    InvalidOptions,
    /// A subject, filter or queue group can't be used
    InvalidSubject,
    /// The server's host name has no address
    Unresolved,
    /// Nothing accepts connections at the server's address
    Refused,
    /// The connection could not be made for another reason of the network
    Unreachable,
    /// The server refused the credentials
    Unauthorized,
    /// The server's certificate comes from an authority that is not trusted here
    TlsUntrusted,
    /// The server wants a client certificate, or refused the one it got
    TlsClientCertificate,
    /// TLS failed in another way: the server's certificate has expired or is for another name, or the handshake failed
    Tls,
    /// TLS is required, and the server does not offer it at this address
    TlsNotOffered,
    /// The server starts with TLS (`handshake_first`), and the options don't
    TlsFirst,
    /// The URL is a WebSocket's (`ws://`, `wss://`), and the server does not speak WebSocket at this address
    NotWebSocket,
    /// Nothing came back in time
    TimedOut,
    /// Nobody subscribes to the subject of a request
    NoResponders,
    /// The message is larger than the server's `max_payload`; the text names both sizes
    TooLarge,
    /// The server's permissions do not allow it
    PermissionDenied,
    /// The connection was replaced before the server confirmed; what was published may be lost
    ConnectionLost,
    /// The connection was closed on this side
    Closed,
}

impl BrokerErrorKind {
    fn code(self) -> &'static str {
        match self {
            Self::InvalidOptions => "broker_invalid_options",
            Self::InvalidSubject => "broker_invalid_subject",
            Self::Unresolved => "broker_unresolved",
            Self::Refused => "broker_refused",
            Self::Unreachable => "broker_unreachable",
            Self::Unauthorized => "broker_unauthorized",
            Self::TlsUntrusted => "broker_tls_untrusted",
            Self::TlsClientCertificate => "broker_tls_client_certificate",
            Self::Tls => "broker_tls",
            Self::TlsNotOffered => "broker_tls_not_offered",
            Self::TlsFirst => "broker_tls_first",
            Self::NotWebSocket => "broker_not_websocket",
            Self::TimedOut => "broker_timed_out",
            Self::NoResponders => "broker_no_responders",
            Self::TooLarge => "broker_too_large",
            Self::PermissionDenied => "broker_permission_denied",
            Self::ConnectionLost => "broker_connection_lost",
            Self::Closed => "broker_closed",
        }
    }
}

/// Any error of a [`Broker`](crate::Broker)
///
/// `Display` says what failed and what to do; the cause is in [`source`](StdError::source). Neither shows a credential.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BrokerError(Box<Inner>);

#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Inner {
    kind: BrokerErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl BrokerError {
    /// An error without a cause; public for other implementations of [`Broker`](crate::Broker)
    ///
    /// `message` says what failed and what to do.
    #[must_use]
    pub fn new(kind: BrokerErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), source: None }))
    }

    /// Adds the cause
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What went wrong, to match on
    #[must_use]
    pub fn kind(&self) -> BrokerErrorKind {
        self.0.kind
    }

    /// A stable word for the kind, such as `broker_timed_out`, for logs and other programs
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind().code()
    }

    /// Whether the same call can succeed later without a change on this side
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        use BrokerErrorKind::{ConnectionLost, NoResponders, Refused, TimedOut, Unreachable, Unresolved};
        matches!(self.kind(), Unresolved | Refused | Unreachable | TimedOut | NoResponders | ConnectionLost)
    }

    pub(crate) fn closed() -> Self {
        Self::new(BrokerErrorKind::Closed, "the connection is closed; connect again")
    }

    pub(crate) fn too_large(subject: &str, size: u64, limit: u64) -> Self {
        let message = format!(
            "a message of {size} bytes to `{subject}` exceeds the server's limit of {limit} bytes; send large payloads by \
             link, or raise `max_payload` in the server's configuration"
        );
        Self::new(BrokerErrorKind::TooLarge, message)
    }

    /// The server's limit shrank between the look at it and the hand-over
    pub(crate) fn too_large_by_now(size: u64, limit: u64) -> Self {
        let message = format!(
            "a message of {size} bytes exceeds the limit of {limit} bytes that the server has just set; send it again, large \
             payloads by link"
        );
        Self::new(BrokerErrorKind::TooLarge, message)
    }

    pub(crate) fn no_responders(subject: &str) -> Self {
        let message = format!("nobody subscribes to `{subject}`; start a responder or check the subject");
        Self::new(BrokerErrorKind::NoResponders, message)
    }

    pub(crate) fn request_timed_out(subject: &str, after: Duration) -> Self {
        let message = format!(
            "no reply to the request to `{subject}` within {after:?}: the responder is slow, or has ended with an error; look at what it says"
        );
        Self::new(BrokerErrorKind::TimedOut, message)
    }
}

impl From<SubjectError> for BrokerError {
    fn from(error: SubjectError) -> Self {
        Self::new(BrokerErrorKind::InvalidSubject, error.to_string())
    }
}
