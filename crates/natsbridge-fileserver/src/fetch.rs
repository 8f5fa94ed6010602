//! The fetcher, which follows links from strangers: its limits, credentials and rules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use natsbridge_core::{Downloaded, Link};
use reqwest::header::HeaderValue;
use reqwest::{Client, RequestBuilder};
use tokio::time::Instant;

use crate::breaker::Breaker;
use crate::client::{self, ClientOptions, Credentials, Proxies, client_option_setters};
use crate::observe;
use crate::policy::{Guard, Policy};
use crate::retry::{RetryPolicy, deadline};
use crate::transfer::Transfer;
use crate::upload::parse_server_url;
use crate::{ConfigError, Downloader, FetchError, FetchErrorKind, Origin, Target};

/// The [`Downloader`] for HTTP: downloads payloads by links from strangers, under the rules of `docs/specification.md`, section 8
///
/// - It follows http and https links without user info. It follows no redirects, uses no proxies and decompresses
///   nothing.
/// - With [`allow`](FetcherBuilder::allow)ed origins it follows links to these origins only. Without, it follows links to
///   any address that is not link-local, unspecified, multicast, reserved or a metadata service. The address that is
///   checked is the one that it connects to.
/// - It sends credentials to their own origin only.
/// - It enforces size limits while it reads, and checks the exact size and the digest before it returns.
/// - It retries under its [`RetryPolicy`]. A broken download is resumed with `Range` if the server
///   sent a strong `ETag`, else it starts again. Before it repeats a one-shot link, it asks the server whether the file
///   still exists.
///
/// Clones share their connections and circuit breakers.
///
/// # Examples
/// ```
/// use natsbridge_fileserver::Fetcher;
///
/// let fetcher = Fetcher::builder()
///     .allow("https://files.example.com".parse()?)
///     .max_payload_size(100_000_000)
///     .build()?;
/// # let _ = fetcher;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Fetcher(Arc<Rules>);

/// The settings of a fetcher
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) client: Client,
    pub(crate) policy: Policy,
    credentials: BTreeMap<Origin, Credentials>,
    pub(crate) max_payload_size: u64,
    pub(crate) max_memory_size: u64,
    pub(crate) idle_timeout: Duration,
    /// Bytes a second
    pub(crate) min_rate: u64,
    total_timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) breaker: Breaker,
}

impl Fetcher {
    /// Creates a fetcher with default settings
    ///
    /// # Errors
    /// [`ConfigError`] if no HTTP client can be created.
    pub fn new() -> Result<Self, ConfigError> {
        Self::builder().build()
    }

    /// Returns a builder with default settings
    #[must_use]
    pub fn builder() -> FetcherBuilder {
        FetcherBuilder::default()
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.0
    }
}

/// Configures a [`Fetcher`]
#[derive(Debug, Clone)]
pub struct FetcherBuilder {
    policy: Policy,
    credentials: BTreeMap<Origin, Credentials>,
    max_payload_size: u64,
    max_memory_size: u64,
    min_rate: u64,
    client: ClientOptions,
}

impl Default for FetcherBuilder {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            credentials: BTreeMap::new(),
            max_payload_size: 10_000_000_000,
            max_memory_size: 1_073_741_824,
            min_rate: 1000,
            client: ClientOptions::default(),
        }
    }
}

client_option_setters!(FetcherBuilder);

impl FetcherBuilder {
    /// Allows an origin; as soon as one is allowed, links to other origins are refused
    #[must_use]
    pub fn allow(mut self, origin: Origin) -> Self {
        self.policy.allow(origin);
        self
    }

    /// Allows an origin and sends it this token as `Authorization: Bearer`
    #[must_use]
    pub fn bearer(self, origin: Origin, token: impl Into<String>) -> Self {
        self.credentials(origin, Credentials::Bearer(token.into()))
    }

    /// Allows an origin and sends it this login and password as `Authorization: Basic`
    ///
    /// The login of a password-protected Plik upload is `plik`.
    #[must_use]
    pub fn basic_auth(self, origin: Origin, login: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials(origin, Credentials::Basic(login.into(), password.into()))
    }

    /// Allows the origin of a file server's URL; a user name and password in the URL are sent to that origin only
    ///
    /// # Errors
    /// [`ConfigError`] if it is not an http or https URL with a host.
    pub fn server(self, url: &str) -> Result<Self, ConfigError> {
        let (url, user_info) = parse_server_url("the file server", url)?;
        let origin = Origin::of(&url)
            .ok_or_else(|| ConfigError::new("the file server", "its URL has to be http or https with a host"))?;
        Ok(match user_info {
            Some(credentials) => self.credentials(origin, credentials),
            None => self.allow(origin),
        })
    }

    pub(crate) fn credentials(mut self, origin: Origin, credentials: Credentials) -> Self {
        self.credentials.insert(origin.clone(), credentials);
        self.allow(origin)
    }

    /// Sets the maximum size of a payload in bytes, default 10,000,000,000
    #[must_use]
    pub const fn max_payload_size(mut self, bytes: u64) -> Self {
        self.max_payload_size = bytes;
        self
    }

    /// Sets the maximum size in bytes of a payload for [`Target::Memory`], default 1 GiB
    #[must_use]
    pub const fn max_memory_size(mut self, bytes: u64) -> Self {
        self.max_memory_size = bytes;
        self
    }

    /// Sets the minimum transfer rate in bytes per second, default 1,000; 0 means no minimum
    ///
    /// A download fails if its average rate over one [`idle_timeout`](Self::idle_timeout) is lower.
    #[must_use]
    pub const fn min_rate(mut self, bytes_per_second: u64) -> Self {
        self.min_rate = bytes_per_second;
        self
    }

    /// Creates the fetcher
    ///
    /// # Errors
    /// [`ConfigError`] if credentials contain characters that a header can't hold, or if no HTTP client can be created.
    pub fn build(self) -> Result<Fetcher, ConfigError> {
        let guard = self.policy.is_open().then(Guard::shared);
        self.build_with(guard.as_ref())
    }

    fn build_with(self, guard: Option<&Arc<Guard>>) -> Result<Fetcher, ConfigError> {
        let refused = |problem: String| ConfigError::new("the fetcher", problem);
        if let Some((origin, _)) = self.credentials.iter().find(|(_, credentials)| !credentials.is_sendable()) {
            return Err(refused(format!(
                "the credentials for {origin} contain characters that an HTTP header can't hold"
            )));
        }
        let options = self.client;
        let client = client::build(options.connect_timeout, &options.roots, guard, Proxies::Never)
            .map_err(|error| refused("no HTTP client can be created".to_owned()).with_source(error))?;
        Ok(Fetcher(Arc::new(Rules {
            client,
            policy: self.policy,
            credentials: self.credentials,
            max_payload_size: self.max_payload_size,
            max_memory_size: self.max_memory_size,
            idle_timeout: options.idle_timeout,
            min_rate: self.min_rate,
            total_timeout: options.total_timeout,
            retry: options.retry,
            breaker: Breaker::new(options.breaker),
        })))
    }
}

impl Rules {
    /// Builds a GET request with the credentials for `origin`
    pub(crate) fn request(&self, url: url::Url, origin: &Origin) -> RequestBuilder {
        let request =
            self.client.get(url).header(reqwest::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        match self.credentials.get(origin) {
            Some(credentials) => credentials.apply(request),
            None => request,
        }
    }

    async fn download(&self, link: &Link, target: Target) -> Result<Downloaded, FetchError> {
        let mut transfer = Transfer::new(self, link, deadline(self.total_timeout))?;
        let admitted = self.breaker.admit(transfer.origin());
        let permit = admitted.map_err(|open| transfer.error(FetchErrorKind::Unreachable).with_source(open))?;
        let until = transfer.deadline();
        let result = match tokio::time::timeout_at(until, transfer.run(target)).await {
            Ok(result) => result,
            Err(elapsed) => Err(transfer.error(FetchErrorKind::Timeout).with_source(elapsed)),
        };
        let silent = |error: &FetchError| error.last() == FetchErrorKind::Timeout;
        match transfer.server_reached() {
            Some(reached) => permit.reached(reached),
            // The total time is over without a response.
            None if result.as_ref().is_err_and(silent) => permit.reached(false),
            None => drop(permit),
        }
        result
    }
}

impl Downloader for Fetcher {
    fn download<'a>(&'a self, link: &'a Link, target: Target) -> BoxFuture<'a, Result<Downloaded, FetchError>> {
        Box::pin(async move {
            let started = Instant::now();
            let result = self.0.download(link, target).await;
            observe::record_download(started.elapsed(), result.as_ref().map_or_else(FetchError::code, |_| "ok"));
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use natsbridge_testkit::scripted_http::{Reply, ScriptedHttp};

    use super::*;

    #[tokio::test]
    async fn name_of_a_metadata_service_is_blocked_and_not_retried() -> Result<(), ConfigError> {
        let guard = Guard::answering(&[&[[169, 254, 169, 254]]]);
        let fetcher = Fetcher::builder().build_with(Some(&guard))?;
        let error = fetcher
            .download(&Link::new("clip", "http://innocent.test/x"), Target::Memory)
            .await
            .map_err(|error| (error.kind(), error.attempts()));
        assert_eq!(error.map(|_| ()), Err((FetchErrorKind::BlockedOrigin, 1)));
        Ok(())
    }

    #[tokio::test]
    async fn name_with_changing_addresses_is_checked_at_each_connection() -> Result<(), Box<dyn std::error::Error>> {
        let server =
            ScriptedHttp::start([Reply::new(503, &[("Connection", "close")], ""), Reply::ok("secret")]).await?;
        let guard = Guard::answering(&[&[[127, 0, 0, 1]], &[[169, 254, 169, 254]]]);
        let retry = RetryPolicy::default().base_delay(Duration::from_millis(1));
        let fetcher = Fetcher::builder().retry(retry).build_with(Some(&guard))?;
        let link = Link::new("clip", format!("http://changing.test:{}/x", server.address().port()));
        let error = fetcher.download(&link, Target::Memory).await.map_err(|error| (error.kind(), error.attempts()));
        assert_eq!(error.map(|_| ()), Err((FetchErrorKind::BlockedOrigin, 2)));
        assert_eq!(server.requests().len(), 1);
        Ok(())
    }
}
