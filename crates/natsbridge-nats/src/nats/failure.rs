//! Finds out why a connection failed, and what to do about it.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error as TlsError};

use crate::error::{BrokerError, BrokerErrorKind};
use crate::harmless::harmless;

/// The error of a first connect that failed; `servers` lists the URLs without credentials
pub(crate) fn connect_error(error: &async_nats::ConnectError, servers: &str, websocket: bool) -> BrokerError {
    let causes = causes(error);
    let tls = causes.iter().find_map(|cause| cause.downcast_ref::<TlsError>());
    let kind = tls.map_or_else(|| kind(error, &causes, websocket), tls_kind);
    let advice = tls.and_then(certificate_advice).unwrap_or_else(|| advice(kind));
    BrokerError::new(kind, format!("could not connect to {servers}: {advice}")).with_source(deepest(error))
}

/// The error of a first connect that took too long
pub(crate) fn connect_timed_out(servers: &str, after: std::time::Duration) -> BrokerError {
    let kind = BrokerErrorKind::TimedOut;
    BrokerError::new(kind, format!("could not connect to {servers} within {after:?}: {}", advice(kind)))
}

/// The error of a first connect to a server that waits for TLS while this side waits for its greeting
pub(crate) fn tls_first(servers: &str) -> BrokerError {
    let kind = BrokerErrorKind::TlsFirst;
    BrokerError::new(kind, format!("could not connect to {servers}: {}", advice(kind)))
}

/// The innermost cause: the errors around it repeat its text, and say nothing that the kind does not say
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Cause(String);

pub(crate) fn deepest(error: &(dyn StdError + 'static)) -> Cause {
    let causes = causes(error);
    // The text may be the server's own.
    Cause(harmless(&causes.last().map_or_else(|| error.to_string(), ToString::to_string)))
}

fn advice(kind: BrokerErrorKind) -> &'static str {
    match kind {
        BrokerErrorKind::InvalidOptions => "the credentials can't be used; check that seed and JWT are complete",
        BrokerErrorKind::Unresolved => "the host name has no address; check its spelling, and DNS",
        BrokerErrorKind::Refused => "nothing accepts connections there; start nats-server or correct the port",
        BrokerErrorKind::TimedOut => {
            "no NATS server replies there; check the address, firewalls and the port, which may be the file server's"
        }
        BrokerErrorKind::Unauthorized => {
            "the server refused the credentials; check the token, user and password, nkey or credentials file"
        }
        BrokerErrorKind::TlsUntrusted => {
            "the server's certificate comes from an authority that is not trusted here; trust that authority's \
             certificate"
        }
        BrokerErrorKind::TlsClientCertificate => {
            "the server wants a client certificate that it trusts; give the right certificate and key"
        }
        BrokerErrorKind::TlsNotOffered => {
            "the server does not offer TLS there; connect with nats:// (or ws://) and without requiring TLS, or configure TLS \
             in the server; for TLS before the greeting it needs `handshake_first`"
        }
        BrokerErrorKind::TlsFirst => {
            "the server starts with TLS (`handshake_first`) and waits for this side to do the same; connect with TLS first"
        }
        BrokerErrorKind::NotWebSocket => {
            "the server there does not speak WebSocket; connect with nats:// or tls://, or to the port of the server's \
             `websocket` section, with wss:// if that uses TLS"
        }
        BrokerErrorKind::Tls => "the TLS handshake failed; check that both sides are configured for TLS",
        _ => "the network or the server ended the connection; check that a NATS server runs there",
    }
}

fn kind(error: &async_nats::ConnectError, causes: &[&(dyn StdError + 'static)], websocket: bool) -> BrokerErrorKind {
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

/// What to do about a certificate that would be trusted otherwise
fn certificate_advice(error: &TlsError) -> Option<&'static str> {
    use CertificateError as Certificate;
    let TlsError::InvalidCertificate(fault) = error else { return None };
    match fault {
        Certificate::Expired
        | Certificate::ExpiredContext { .. }
        | Certificate::NotValidYet
        | Certificate::NotValidYetContext { .. } => {
            Some("the server's certificate has expired or is not valid yet; renew it, or correct this machine's clock")
        }
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
            Some("the server's certificate is for another name; connect by a name that the certificate lists")
        }
        _ => None,
    }
}

fn tls_kind(error: &TlsError) -> BrokerErrorKind {
    match error {
        // The server's greeting, or its complaint about the handshake, in plain text.
        TlsError::InvalidMessage(_) => BrokerErrorKind::TlsNotOffered,
        TlsError::InvalidCertificate(_) if certificate_advice(error).is_some() => BrokerErrorKind::Tls,
        TlsError::InvalidCertificate(_) => BrokerErrorKind::TlsUntrusted,
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
