//! Defines the one error of this crate: an opaque struct with a kind to match on.

use std::error::Error as StdError;
use std::fmt;

use crate::subject::SubjectError;

/// What went wrong at the broker, and whether trying again can help
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrokerErrorKind {
    /// An option, server URL or file of the connection is unusable. Not retryable
    InvalidOptions,
    /// A subject, filter or queue group is unusable. Not retryable
    InvalidSubject,
    /// The server's name has no address. Retryable
    Unresolved,
    /// Nothing listens at the server's address. Retryable
    Refused,
    /// The connection could not be made for another reason of the network. Retryable
    Unreachable,
    /// The server did not accept who we are. Not retryable
    Unauthorized,
    /// The server's certificate comes from an authority that is not trusted here. Not retryable
    TlsUntrusted,
    /// The server's certificate is not valid now. Not retryable
    TlsExpired,
    /// The server's certificate is for another name. Not retryable
    TlsWrongName,
    /// The server wants a client certificate, or refused ours. Not retryable
    TlsClientCertificate,
    /// TLS failed in another way. Not retryable
    Tls,
    /// TLS was asked for, and the server does not speak it there. Not retryable
    TlsNotOffered,
    /// The server begins with TLS (`handshake_first`), which was not asked for. Not retryable
    TlsFirst,
    /// A WebSocket was asked for (`ws://`, `wss://`), and what listens there is none. Not retryable
    NotWebSocket,
    /// No answer came in time. Retryable
    TimedOut,
    /// Nobody listens to the subject of a request. Retryable
    NoResponders,
    /// The message is larger than the connected server takes. Not retryable
    TooLarge {
        /// Bytes of the message
        size: u64,
        /// Bytes that the server takes (`max_payload`)
        limit: u64,
    },
    /// The server's permissions do not allow it. Not retryable
    PermissionDenied,
    /// The connection was replaced before the server confirmed; what was published may be lost. Retryable
    ConnectionLost,
    /// The connection was closed on this side. Not retryable
    Closed,
}

impl BrokerErrorKind {
    /// A stable word for the kind
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidOptions => "broker_invalid_options",
            Self::InvalidSubject => "broker_invalid_subject",
            Self::Unresolved => "broker_unresolved",
            Self::Refused => "broker_refused",
            Self::Unreachable => "broker_unreachable",
            Self::Unauthorized => "broker_unauthorized",
            Self::TlsUntrusted => "broker_tls_untrusted",
            Self::TlsExpired => "broker_tls_expired",
            Self::TlsWrongName => "broker_tls_wrong_name",
            Self::TlsClientCertificate => "broker_tls_client_certificate",
            Self::Tls => "broker_tls",
            Self::TlsNotOffered => "broker_tls_not_offered",
            Self::TlsFirst => "broker_tls_first",
            Self::NotWebSocket => "broker_not_websocket",
            Self::TimedOut => "broker_timed_out",
            Self::NoResponders => "broker_no_responders",
            Self::TooLarge { .. } => "broker_too_large",
            Self::PermissionDenied => "broker_permission_denied",
            Self::ConnectionLost => "broker_connection_lost",
            Self::Closed => "broker_closed",
        }
    }

    /// Whether the same call can succeed later without anything being changed on this side
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Unresolved
                | Self::Refused
                | Self::Unreachable
                | Self::TimedOut
                | Self::NoResponders
                | Self::ConnectionLost
        )
    }
}

/// Anything a [`Broker`](crate::Broker) can fail with
///
/// `Display` says what failed and what to do; the cause is in [`source`](StdError::source). Neither holds a credential.
pub struct BrokerError(Box<Inner>);

struct Inner {
    kind: BrokerErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl BrokerError {
    /// An error without a cause; public so that other implementations of [`Broker`](crate::Broker) can make one
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

    /// What kind of failure it is
    #[must_use]
    pub fn kind(&self) -> BrokerErrorKind {
        self.0.kind
    }

    /// A stable word for the kind
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// Whether the same call can succeed later
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.kind.is_retryable()
    }

    pub(crate) fn closed() -> Self {
        Self::new(BrokerErrorKind::Closed, "the connection is closed; connect again")
    }

    pub(crate) fn too_large(subject: &str, size: u64, limit: u64) -> Self {
        let message = format!(
            "a message of {size} bytes to {subject:?} exceeds the server's limit of {limit} bytes; send large payloads by \
             link, or raise `max_payload` in the server's configuration"
        );
        Self::new(BrokerErrorKind::TooLarge { size, limit }, message)
    }

    /// The server's limit shrank between the look at it and the hand-over
    pub(crate) fn too_large_by_now(size: u64, limit: u64) -> Self {
        let message = format!(
            "a message of {size} bytes exceeds the limit of {limit} bytes that the server has just set; send it again, large \
             payloads by link"
        );
        Self::new(BrokerErrorKind::TooLarge { size, limit }, message)
    }

    pub(crate) fn no_responders(subject: &str) -> Self {
        let message = format!("nobody listens to {subject:?}; start a responder or check the subject");
        Self::new(BrokerErrorKind::NoResponders, message)
    }

    pub(crate) fn request_timed_out(subject: &str, after: std::time::Duration) -> Self {
        let message = format!(
            "no reply to the request to {subject:?} within {after:?}; a responder exists but is slow, or the connection is down"
        );
        Self::new(BrokerErrorKind::TimedOut, message)
    }
}

impl fmt::Debug for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerError")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for BrokerError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}

impl From<SubjectError> for BrokerError {
    fn from(error: SubjectError) -> Self {
        Self::new(BrokerErrorKind::InvalidSubject, error.to_string())
    }
}
