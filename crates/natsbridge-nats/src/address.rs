//! Parses server URLs: credentials are taken out at once, so that nothing later can print them.

use url::Url;

use crate::auth::Auth;
use crate::error::{BrokerError, BrokerErrorKind};

/// A server's URL without credentials, query and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    url: Url,
}

impl Address {
    /// The address, and the credentials in the URL.
    pub(crate) fn parse(text: &str) -> Result<(Self, Option<Auth>), BrokerError> {
        let invalid = |why: String| {
            let message = format!("{why}; write it like nats://host:4222 (also tls://, ws://, wss://)");
            BrokerError::new(BrokerErrorKind::InvalidOptions, message)
        };
        let text = text.trim();
        let full = if text.contains("://") { text.to_owned() } else { format!("nats://{text}") };
        // The parser's error does not repeat its input, which may hold a password.
        let mut url =
            Url::parse(&full).map_err(|error| invalid(format!("a NATS server URL cannot be read: {error}")))?;
        if !matches!(url.scheme(), "nats" | "tls" | "ws" | "wss") {
            return Err(invalid(format!("the scheme `{}` is not one of NATS", url.scheme())));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(invalid("a NATS server URL has no host".to_owned()));
        }
        // The path of `nats//ann:secret@host` is no path, and would be shown.
        if matches!(url.scheme(), "nats" | "tls") && !matches!(url.path(), "" | "/") {
            return Err(invalid("a NATS server URL has no path".to_owned()));
        }
        let user = percent_decoded(url.username());
        let auth = match url.password().map(percent_decoded) {
            Some(password) => Some(Auth::UserPassword { user, password }),
            None if user.is_empty() => None,
            None => Some(Auth::Token(user)),
        };
        // Neither fails: the URL has a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(None);
        url.set_fragment(None);
        Ok((Self { url }, auth))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Whether the scheme asks for neither TLS nor a WebSocket.
    pub(crate) fn is_plain(&self) -> bool {
        self.url.scheme() == "nats"
    }

    pub(crate) fn is_websocket(&self) -> bool {
        matches!(self.url.scheme(), "ws" | "wss")
    }

    /// Where to connect to; without the brackets of an IPv6 address.
    pub(crate) fn host_and_port(&self) -> Option<(String, u16)> {
        let host = self.url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some((host, self.url.port_or_known_default().unwrap_or(4222)))
    }

    /// Whether a server that gives its address as `host` and `port` listens here.
    pub(crate) fn is_at(&self, host: &str, port: u16) -> bool {
        self.url.port_or_known_default().unwrap_or(4222) == port && self.url.host_str() == Some(host)
    }

    pub(crate) fn has_port(&self, port: u16) -> bool {
        self.url.port_or_known_default().unwrap_or(4222) == port
    }
}

fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_address() {
        let (address, auth) = Address::parse("nats://ann:p%40ss@127.0.0.1:4333?x=1").unwrap();
        assert_eq!(address.as_str(), "nats://127.0.0.1:4333");
        let Some(Auth::UserPassword { user, password }) = auth else { panic!("no user and password") };
        assert_eq!((user.as_str(), password.as_str()), ("ann", "p@ss"));
    }

    #[test]
    fn users_without_password_are_tokens() {
        let (address, auth) = Address::parse("s3cr3t@example.org").unwrap();
        assert_eq!(address.as_str(), "nats://example.org");
        let Some(Auth::Token(token)) = auth else { panic!("no token") };
        assert_eq!(token, "s3cr3t");
        assert!(address.has_port(4222));
    }

    #[test]
    fn refused_urls_show_no_password() {
        for text in [
            "http://ann:secret@x",
            "nats://ann:secret@:99999",
            "nats://",
            "nats://ann:secret@x:port",
            "nats//ann:secret@x",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert_eq!(error.kind(), BrokerErrorKind::InvalidOptions);
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }
}
