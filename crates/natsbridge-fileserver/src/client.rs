//! The HTTP client all rooms use: no redirects, no proxy, no hidden retries, one crypto provider.

use std::fmt;
use std::sync::{Arc, Once};
use std::time::Duration;

use natsbridge_core::redacted;
use reqwest::{Client, ClientBuilder, RequestBuilder};

use crate::RootCertificates;
use crate::policy::Guard;

/// Begins with `plik_client` so that a Plik up to 1.3.8 answers errors as errors and not as redirects to its web page
pub(crate) const USER_AGENT: &str = concat!("plik_client/natsbridge-", env!("CARGO_PKG_VERSION"));

/// Makes ring the process's crypto provider, unless the program has chosen one
pub(crate) fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that the program has installed one already: that one is used.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}

/// Whether requests may go through the proxies that the environment names
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proxies {
    /// None: a proxy would resolve names itself, behind the back of the address rules
    Never,
    /// Those of the system, as the cloud's own programs do
    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    System,
}

/// A client that connects within `connect_timeout`, to servers that the system or `roots` trust, at addresses that
/// `guard` lets through where there is one
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

/// What proves to a server who is asking
#[derive(Clone)]
pub(crate) enum Credentials {
    Bearer(String),
    Basic(String, String),
}

impl Credentials {
    pub(crate) fn apply(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Bearer(token) => request.bearer_auth(token),
            Self::Basic(login, password) => request.basic_auth(login, Some(password)),
        }
    }

    /// Whether a header can hold them; Basic is base64 and always can
    pub(crate) fn is_sendable(&self) -> bool {
        match self {
            Self::Bearer(token) => reqwest::header::HeaderValue::from_str(token).is_ok(),
            Self::Basic(..) => true,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// A URL as the program gave it, which may carry a password or a key; shown without them
#[derive(Clone)]
pub(crate) struct GivenUrl(pub(crate) String);

impl fmt::Debug for GivenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", redacted(&self.0))
    }
}
