//! The HTTP client that stores and the fetcher share: its options, its TLS set-up and its credentials.

use std::fmt;
use std::sync::{Arc, Once};
use std::time::Duration;

use natsbridge_core::redacted;
use reqwest::header::HeaderValue;
use reqwest::{Client, ClientBuilder, RequestBuilder};

use crate::policy::Guard;
use crate::{BreakerPolicy, RetryPolicy, RootCertificates};

/// The options that all builders share; [`client_option_setters`] makes their setters
#[derive(Debug, Clone)]
pub(crate) struct ClientOptions {
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) total_timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) breaker: BreakerPolicy,
    pub(crate) roots: RootCertificates,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            total_timeout: Duration::from_secs(30 * 60),
            retry: RetryPolicy::default(),
            breaker: BreakerPolicy::default(),
            roots: RootCertificates::default(),
        }
    }
}

/// The setters of [`ClientOptions`] for a builder that holds them in its field `client`
macro_rules! client_option_setters {
    ($builder:ident) => {
        impl $builder {
            /// Sets how long opening a connection may take, default 5 s
            #[must_use]
            pub const fn connect_timeout(mut self, timeout: std::time::Duration) -> Self {
                self.client.connect_timeout = timeout;
                self
            }

            /// Sets how long a connection may be idle during a transfer, default 30 s
            #[must_use]
            pub const fn idle_timeout(mut self, timeout: std::time::Duration) -> Self {
                self.client.idle_timeout = timeout;
                self
            }

            /// Sets how long one transfer may take, all its retries included, default 30 minutes
            #[must_use]
            pub const fn total_timeout(mut self, timeout: std::time::Duration) -> Self {
                self.client.total_timeout = timeout;
                self
            }

            /// Sets the retries of a failed transfer, default [`RetryPolicy::default`](crate::RetryPolicy)
            #[must_use]
            pub const fn retry(mut self, retry: $crate::RetryPolicy) -> Self {
                self.client.retry = retry;
                self
            }

            /// Sets the circuit breaker, default [`BreakerPolicy::default`](crate::BreakerPolicy)
            #[must_use]
            pub const fn breaker(mut self, breaker: $crate::BreakerPolicy) -> Self {
                self.client.breaker = breaker;
                self
            }

            /// Sets CA certificates to trust in addition to those of the system, default none
            #[must_use]
            pub fn root_certificates(mut self, roots: $crate::RootCertificates) -> Self {
                self.client.roots = roots;
                self
            }
        }
    };
}

pub(crate) use client_option_setters;

/// Begins with `plik_client`: a Plik up to 1.3.8 sends any other client a redirect to its web page in place of an error
pub(crate) const USER_AGENT: &str = concat!("plik_client/natsbridge-", env!("CARGO_PKG_VERSION"));

/// Installs ring as the process's crypto provider, unless the program has installed one
pub(crate) fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // It fails when the program has already installed a provider, which is then used.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}

/// Whether requests may go through the proxies that the environment names
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proxies {
    /// No proxy: it would resolve host names itself, so the address rules could not be checked
    Never,
    /// The proxies of the system's settings, as the cloud's own programs do
    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    System,
}

/// Builds a client without redirects, hidden retries and referrers
///
/// It trusts the system's certificates and `roots`. With a `guard` it connects only to addresses that this allows.
pub(crate) fn build(
    connect_timeout: Duration,
    roots: &RootCertificates,
    guard: Option<&Arc<Guard>>,
    proxies: Proxies,
) -> Result<Client, reqwest::Error> {
    install_crypto_provider();
    let roots = roots.for_reqwest()?;
    let builder = || -> ClientBuilder {
        let builder = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(connect_timeout);
        let builder = if proxies == Proxies::Never { builder.no_proxy() } else { builder };
        match guard {
            Some(guard) => builder.dns_resolver(Arc::clone(guard)),
            None => builder,
        }
    };
    builder().tls_certs_merge(roots.clone()).build().or_else(|error| {
        // A container without CA certificates can still use plain http; https will say that the issuer is unknown.
        tracing::warn!(error = %error, "the system's CA certificates could not be loaded, https only works with others");
        builder().tls_certs_only(roots).build()
    })
}

/// Credentials of a request, which no log or error may show
#[derive(Clone)]
pub(crate) enum Credentials {
    Bearer(String),
    Basic(String, String),
    /// The header of a Plik's users
    PlikToken(String),
}

impl Credentials {
    pub(crate) fn apply(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Bearer(token) => request.bearer_auth(token),
            Self::Basic(login, password) => request.basic_auth(login, Some(password)),
            Self::PlikToken(token) => match HeaderValue::from_str(token) {
                Ok(mut token) => {
                    // As the other two are: no log of headers shows it.
                    token.set_sensitive(true);
                    request.header("X-PlikToken", token)
                }
                // The request itself says what is wrong.
                Err(_) => request.header("X-PlikToken", token),
            },
        }
    }

    /// Whether a header can hold them; Basic is encoded in base64 and always fits
    pub(crate) fn is_sendable(&self) -> bool {
        match self {
            Self::Bearer(token) | Self::PlikToken(token) => HeaderValue::from_str(token).is_ok(),
            Self::Basic(..) => true,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// A configured URL, which may contain a password or a key; `Debug` redacts it
#[derive(Clone)]
pub(crate) struct GivenUrl(pub(crate) String);

impl fmt::Debug for GivenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", redacted(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_with_credentials_are_marked_as_secrets() {
        install_crypto_provider();
        let text = || "s3cret".to_owned();
        for given in [Credentials::Bearer(text()), Credentials::Basic(text(), text()), Credentials::PlikToken(text())] {
            let request = given.apply(Client::new().get("http://files.test")).build().unwrap();
            assert!(request.headers().len() == 1 && request.headers().values().all(HeaderValue::is_sensitive));
        }
    }
}
