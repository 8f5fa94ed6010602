//! Finds out why a connection could not be made, and says what to do about it.

use std::error::Error as StdError;
use std::{fmt, io};

use rustls::{AlertDescription, CertificateError, Error as TlsError};

use crate::error::{BrokerError, BrokerErrorKind};
use crate::nats::breaks::harmless;

/// Sorts the error of a first connect; `servers` is the list of URLs without credentials.
pub(crate) fn connect_error(error: &async_nats::ConnectError, servers: &str, websocket: bool) -> BrokerError {
    let kind = kind(error, websocket);
    let message = format!("could not connect to {servers}: {}", advice(kind));
    BrokerError::new(kind, message).with_source(deepest(error))
}

/// The error of a first connect that did not end in time.
pub(crate) fn connect_timed_out(servers: &str, after: std::time::Duration) -> BrokerError {
    let kind = BrokerErrorKind::TimedOut;
    BrokerError::new(kind, format!("could not connect to {servers} within {after:?}: {}", advice(kind)))
}

/// The error of a first connect to a server that waits for TLS while this side waits for its greeting.
pub(crate) fn begins_with_tls(servers: &str) -> BrokerError {
    let kind = BrokerErrorKind::TlsFirst;
    BrokerError::new(kind, format!("could not connect to {servers}: {}", advice(kind)))
}

/// What was the matter in the end. The errors above it repeat it in their own texts, and say nothing that the kind does
/// not say.
#[derive(Debug)]
pub(crate) struct Cause(String);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Cause {}

pub(crate) fn deepest(error: &(dyn StdError + 'static)) -> Cause {
    let causes = causes(error);
    // The text may be the server's own.
    Cause(harmless(&causes.last().map_or_else(|| error.to_string(), ToString::to_string)))
}

fn advice(kind: BrokerErrorKind) -> &'static str {
    match kind {
        BrokerErrorKind::InvalidOptions => "the credentials cannot be used; check that seed and JWT are complete",
        BrokerErrorKind::Unresolved => "the host name has no address; check its spelling and the name service",
        BrokerErrorKind::Refused => "nothing listens there; start nats-server or correct the port",
        BrokerErrorKind::TimedOut => "no answer; check the address, firewalls and whether a NATS server listens there",
        BrokerErrorKind::Unauthorized => {
            "the server refused the credentials; check the token, user and password, nkey or credentials file"
        }
        BrokerErrorKind::TlsUntrusted => {
            "the server's certificate comes from an authority that is not trusted here; give that authority's \
             certificate as root certificates"
        }
        BrokerErrorKind::TlsExpired => {
            "the server's certificate has expired or is not valid yet; renew it, or correct this machine's clock"
        }
        BrokerErrorKind::TlsWrongName => {
            "the server's certificate is for another name; connect by a name that the certificate lists"
        }
        BrokerErrorKind::TlsClientCertificate => {
            "the server wants a client certificate that it trusts; give the right certificate and key"
        }
        BrokerErrorKind::TlsNotOffered => {
            "the server does not speak TLS there; connect with nats:// (or ws://) and without requiring TLS, or configure TLS \
             in the server; TLS before the greeting needs `handshake_first` there"
        }
        BrokerErrorKind::TlsFirst => {
            "the server begins with TLS (`handshake_first`) and waits for this side to do the same; connect with TLS first"
        }
        BrokerErrorKind::NotWebSocket => {
            "a server answers there, and not as a WebSocket; connect with nats:// or tls://, to the port of the server's \
             `websocket` section, or with wss:// where that speaks TLS"
        }
        BrokerErrorKind::Tls => "the TLS handshake failed; check that both sides are configured for TLS",
        _ => "the network or the server broke the connection off; check that a NATS server listens there",
    }
}

fn kind(error: &async_nats::ConnectError, websocket: bool) -> BrokerErrorKind {
    let causes = causes(error);
    if let Some(kind) = causes.iter().find_map(|cause| cause.downcast_ref::<TlsError>()).map(tls_kind) {
        return kind;
    }
    if let Some(error) = causes.iter().find_map(|cause| cause.downcast_ref::<async_nats::ServerError>()) {
        return server_kind(error);
    }
    match error.kind() {
        async_nats::ConnectErrorKind::ServerParse | async_nats::ConnectErrorKind::Authentication => {
            BrokerErrorKind::InvalidOptions
        }
        async_nats::ConnectErrorKind::Dns => BrokerErrorKind::Unresolved,
        async_nats::ConnectErrorKind::AuthorizationViolation => BrokerErrorKind::Unauthorized,
        async_nats::ConnectErrorKind::TimedOut => BrokerErrorKind::TimedOut,
        async_nats::ConnectErrorKind::Tls => BrokerErrorKind::Tls,
        async_nats::ConnectErrorKind::Io | async_nats::ConnectErrorKind::MaxReconnects => {
            match causes.iter().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind) {
                Some(io::ErrorKind::ConnectionRefused) => BrokerErrorKind::Refused,
                // What is wrong with the answer, and not with the network.
                None if websocket => BrokerErrorKind::NotWebSocket,
                _ => BrokerErrorKind::Unreachable,
            }
        }
    }
}

/// All causes of an error; `io::Error` hides the one it was made from from `source`, so it is asked as well.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> Vec<&'a (dyn StdError + 'static)> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause);
        next = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => {
                let inner: &'a (dyn StdError + 'static) = inner;
                Some(inner)
            }
            None => cause.source(),
        };
    }
    causes
}

fn server_kind(error: &async_nats::ServerError) -> BrokerErrorKind {
    match error {
        async_nats::ServerError::AuthorizationViolation => BrokerErrorKind::Unauthorized,
        // "User Authentication Expired", "Account Authentication Expired", "Authentication Timeout", ...
        async_nats::ServerError::Other(text) if text.to_ascii_lowercase().contains("authentication") => {
            BrokerErrorKind::Unauthorized
        }
        async_nats::ServerError::Other(text) if text.to_ascii_lowercase().contains("tls") => BrokerErrorKind::Tls,
        async_nats::ServerError::SlowConsumer(_) | async_nats::ServerError::Other(_) => BrokerErrorKind::Unreachable,
    }
}

fn tls_kind(error: &TlsError) -> BrokerErrorKind {
    match error {
        // The server's greeting, or its complaint about the handshake, in plain text.
        TlsError::InvalidMessage(_) => BrokerErrorKind::TlsNotOffered,
        TlsError::InvalidCertificate(fault) => match fault {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => BrokerErrorKind::TlsExpired,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                BrokerErrorKind::TlsWrongName
            }
            _ => BrokerErrorKind::TlsUntrusted,
        },
        TlsError::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => BrokerErrorKind::TlsClientCertificate,
        _ => BrokerErrorKind::Tls,
    }
}
