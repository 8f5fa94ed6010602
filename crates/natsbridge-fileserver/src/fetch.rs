//! The one fetcher that follows links from strangers: its limits, its credentials and its rules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use natsbridge_core::{Downloaded, Link};
use reqwest::header::HeaderValue;
use reqwest::{Client, RequestBuilder};
use tokio::time::Instant;

use crate::breaker::{Breaker, BreakerPolicy};
use crate::client::{self, Credentials, Proxies};
use crate::observe;
use crate::policy::{Guard, Policy};
use crate::retry::{RetryPolicy, deadline};
use crate::transfer::Transfer;
use crate::upload::server_url;
use crate::{ConfigError, Downloader, FetchError, FetchErrorKind, Origin, RootCertificates, Target};

/// Downloads what links hold, safely (`docs/specification.md`, section 8)
///
/// - http and https only, no user info in the link, no redirects, no proxies, no decompression.
/// - With [`allow`](FetcherBuilder::allow)ed origins: those and no others. Without: any, except link-local, metadata,
///   unspecified, multicast and reserved addresses, checked after the one resolution whose answer is connected to.
/// - Credentials go to their own origin only.
/// - Size limits while reading, the exact size and the digest before anything is handed out.
/// - Retries after [`RetryPolicy`]; resumed by `Range` where the server has a strong `ETag`, else started from zero.
///   A one-shot link is never asked for twice blindly: the server is asked first whether it still has it.
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

/// Everything one download needs to know
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
    /// A fetcher with every default
    ///
    /// # Errors
    /// [`ConfigError`] if no HTTP client can be made.
    pub fn new() -> Result<Self, ConfigError> {
        Self::builder().build()
    }

    /// Configures one
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
    connect_timeout: Duration,
    idle_timeout: Duration,
    min_rate: u64,
    total_timeout: Duration,
    retry: RetryPolicy,
    breaker: BreakerPolicy,
    roots: RootCertificates,
}

impl Default for FetcherBuilder {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            credentials: BTreeMap::new(),
            max_payload_size: 10_000_000_000,
            max_memory_size: 1_073_741_824,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            min_rate: 1000,
            total_timeout: Duration::from_secs(30 * 60),
            retry: RetryPolicy::default(),
            breaker: BreakerPolicy::default(),
            roots: RootCertificates::default(),
        }
    }
}

impl FetcherBuilder {
    /// Allows an origin; from the first one on, no other is followed
    #[must_use]
    pub fn allow(mut self, origin: Origin) -> Self {
        self.policy.allow(origin);
        self
    }

    /// Allows an origin and sends it this bearer token
    #[must_use]
    pub fn bearer(self, origin: Origin, token: impl Into<String>) -> Self {
        self.credentials(origin, Credentials::Bearer(token.into()))
    }

    /// Allows an origin and sends it this login and password (a password-protected Plik has the login `plik`)
    #[must_use]
    pub fn basic(self, origin: Origin, login: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials(origin, Credentials::Basic(login.into(), password.into()))
    }

    /// Allows the origin of a file server's URL; a user name and password in it are sent to that origin, and to no other
    ///
    /// # Errors
    /// [`ConfigError`] if it is no http or https URL with a host.
    pub fn server(self, url: &str) -> Result<Self, ConfigError> {
        let (url, user_info) = server_url("the file server", url)?;
        let origin = Origin::of(&url)
            .ok_or_else(|| ConfigError::new("the file server", "its URL has to be http or https with a host"))?;
        Ok(match user_info {
            Some(credentials) => self.credentials(origin, credentials),
            None => self.allow(origin),
        })
    }

    fn credentials(mut self, origin: Origin, credentials: Credentials) -> Self {
        self.credentials.insert(origin.clone(), credentials);
        self.allow(origin)
    }

    /// Sets the largest payload in bytes, default 10,000,000,000
    #[must_use]
    pub const fn max_payload_size(mut self, bytes: u64) -> Self {
        self.max_payload_size = bytes;
        self
    }

    /// Sets the largest payload in bytes for [`Target::Memory`], default 1 GiB
    #[must_use]
    pub const fn max_memory_size(mut self, bytes: u64) -> Self {
        self.max_memory_size = bytes;
        self
    }

    /// Sets how long a connection may take to open, default 5 s
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long a server may be silent, default 30 s
    #[must_use]
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sets the slowest download that is taken, in bytes a second, default 1,000: a body that brings less over one whole
    /// idle time is given up. 0 takes any
    #[must_use]
    pub const fn min_rate(mut self, bytes_per_second: u64) -> Self {
        self.min_rate = bytes_per_second;
        self
    }

    /// Sets how long one download may take with all its retries, default 30 minutes
    #[must_use]
    pub const fn total_timeout(mut self, timeout: Duration) -> Self {
        self.total_timeout = timeout;
        self
    }

    /// Sets the longest `Retry-After` that is waited for, default 30 s; a server that asks for more is given up at once
    ///
    /// The same as [`RetryPolicy::max_retry_after`]; a later [`retry`](Self::retry) replaces it.
    #[must_use]
    pub const fn max_retry_after(mut self, max_retry_after: Duration) -> Self {
        self.retry = self.retry.max_retry_after(max_retry_after);
        self
    }

    /// Sets how often and when failed attempts are repeated
    #[must_use]
    pub const fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Sets when a server that can't be reached is left alone
    #[must_use]
    pub const fn breaker(mut self, breaker: BreakerPolicy) -> Self {
        self.breaker = breaker;
        self
    }

    /// Sets authorities that are trusted besides the system's, default none
    #[must_use]
    pub fn root_certificates(mut self, roots: RootCertificates) -> Self {
        self.roots = roots;
        self
    }

    /// Makes the fetcher
    ///
    /// # Errors
    /// [`ConfigError`] if credentials hold characters that no header may, or if no HTTP client can be made.
    pub fn build(self) -> Result<Fetcher, ConfigError> {
        let guard = self.policy.is_open().then(Guard::shared);
        self.build_with(guard.as_ref())
    }

    fn build_with(self, guard: Option<&Arc<Guard>>) -> Result<Fetcher, ConfigError> {
        let refused = |problem: String| ConfigError::new("the fetcher", problem);
        if let Some((origin, _)) = self.credentials.iter().find(|(_, credentials)| !credentials.is_sendable()) {
            return Err(refused(format!("the credentials for {origin} hold characters that no HTTP header may")));
        }
        let client = client::build(self.connect_timeout, &self.roots, guard, Proxies::Never)
            .map_err(|error| refused("no HTTP client can be made".to_owned()).with_source(error))?;
        Ok(Fetcher(Arc::new(Rules {
            client,
            policy: self.policy,
            credentials: self.credentials,
            max_payload_size: self.max_payload_size,
            max_memory_size: self.max_memory_size,
            idle_timeout: self.idle_timeout,
            min_rate: self.min_rate,
            total_timeout: self.total_timeout,
            retry: self.retry,
            breaker: Breaker::new(self.breaker),
        })))
    }
}

impl Rules {
    /// A GET of a URL of `origin`, with the credentials for it
    pub(crate) fn request(&self, url: url::Url, origin: &Origin) -> RequestBuilder {
        let request =
            self.client.get(url).header(reqwest::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        match self.credentials.get(origin) {
            Some(credentials) => credentials.apply(request),
            None => request,
        }
    }

    async fn fetch(&self, link: &Link, target: Target) -> Result<Downloaded, FetchError> {
        let mut transfer = Transfer::new(self, link, deadline(self.total_timeout))?;
        let admitted = self.breaker.admit(transfer.origin());
        let permit = admitted.map_err(|open| transfer.error(FetchErrorKind::Unreachable).with_source(open))?;
        let until = transfer.deadline();
        let result = match tokio::time::timeout_at(until, transfer.run(target)).await {
            Ok(result) => result,
            Err(elapsed) => Err(transfer.error(FetchErrorKind::Timeout).with_source(elapsed)),
        };
        let silent = |error: &FetchError| error.last() == FetchErrorKind::Timeout;
        match transfer.was_there() {
            Some(there) => permit.reached(there),
            // All the time that there is, and no answer.
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
            let result = self.0.fetch(link, target).await;
            observe::downloaded(started.elapsed(), result.as_ref().map_or_else(FetchError::code, |_| "ok"));
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use natsbridge_testkit::scripted_http::{Reply, ScriptedHttp};

    use super::*;

    #[tokio::test]
    async fn a_name_that_leads_to_a_metadata_service_is_blocked_and_not_retried() -> Result<(), ConfigError> {
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
    async fn a_name_whose_answer_changes_is_checked_at_every_connection() -> Result<(), Box<dyn std::error::Error>> {
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
