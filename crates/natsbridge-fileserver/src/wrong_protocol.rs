//! Servers of another protocol than the URL names: a mistake in the URL, which no retry mends.

use std::error::Error;

use rustls::InvalidMessage;

use crate::roots::causes;

/// What a server does not speak, though the URL says so
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WrongProtocol {
    /// Its reply to the beginning of a handshake is no TLS
    #[error("the server there does not speak TLS; use http:// in place of https://")]
    NoTls,
    /// Its reply to a request is no HTTP: TLS's alert, or NATS' greeting
    #[error("the server there does not speak HTTP, or only with TLS (https://)")]
    NoHttp,
}

impl WrongProtocol {
    /// Whether that is why a request failed
    pub(crate) fn of(error: &reqwest::Error) -> Option<Self> {
        // Within a connection that stands it would be a damaged record.
        let no_tls = |cause: &(dyn Error + 'static)| {
            error.is_connect()
                && matches!(
                    cause.downcast_ref(),
                    Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType))
                )
        };
        causes(error).find_map(|cause| match cause.to_string().as_str() {
            _ if no_tls(cause) => Some(Self::NoTls),
            // By its text: hyper tells no more than that it can't parse, which may be a damaged header as well.
            "invalid HTTP version parsed" => Some(Self::NoHttp),
            _ => None,
        })
    }
}
