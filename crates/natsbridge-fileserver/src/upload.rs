//! What every HTTP store does around one request: retries, deadlines, the circuit breaker and its measurements.

use std::borrow::Cow;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::BoxFuture;
use natsbridge_core::{Object, redacted};
use reqwest::{Client, Response};
use tokio::time::Instant;
use url::Url;

use crate::answer::Answer;
use crate::body::Reading;
use crate::breaker::{Breaker, BreakerPolicy};
use crate::client;
use crate::observe;
use crate::retry::{Retries, RetryPolicy, deadline};
use crate::roots::is_untrusted;
use crate::{BoxError, ConfigError, Origin, RootCertificates, StoreError, StoreErrorKind as Kind, Stored};

/// Most bytes of a JSON answer that are read
const MAX_JSON: usize = 1024 * 1024;

/// The limits of a store's requests; one builder field for all stores
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) total_timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) breaker: BreakerPolicy,
    pub(crate) roots: RootCertificates,
}

impl Default for Limits {
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

/// A server that payloads are sent to
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) origin: Origin,
    pub(crate) client: Client,
    limits: Limits,
    breaker: Breaker,
}

/// Why an attempt failed, and whether there may be another
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    source: BoxError,
    again: bool,
    retry_after: Option<Duration>,
    answered: bool,
}

impl Failure {
    /// A failure that no retry mends
    pub(crate) fn last(kind: Kind, source: impl Into<BoxError>) -> Self {
        Self { kind, source: source.into(), again: false, retry_after: None, answered: true }
    }

    /// A failure that a retry may mend
    pub(crate) fn again(kind: Kind, source: impl Into<BoxError>) -> Self {
        Self { again: true, ..Self::last(kind, source) }
    }

    /// What an answer other than success means, where no rule of the store says more
    pub(crate) fn answered(answer: Answer) -> Self {
        let kind = match answer.status.as_u16() {
            _ if answer.is_transient() => Kind::Unreachable,
            401 | 403 | 407 => Kind::Refused,
            413 => Kind::TooLarge,
            _ => Kind::Rejected,
        };
        Self { again: answer.is_transient(), retry_after: answer.retry_after, ..Self::last(kind, answer) }
    }

    fn broken(error: reqwest::Error) -> Self {
        if is_untrusted(&error) {
            return Self::last(Kind::Untrusted, error.without_url());
        }
        let kind = if error.is_timeout() { Kind::Timeout } else { Kind::Unreachable };
        Self { answered: false, ..Self::again(kind, error.without_url()) }
    }
}

/// The server was silent for too long
#[derive(Debug, thiserror::Error)]
#[error("the server was silent for {} ms", .0.as_millis())]
struct Silent(Duration);

impl Server {
    /// A server called `kind at url`, or why there can't be one
    pub(crate) fn new(kind: &'static str, url: &Url, limits: Limits) -> Result<Self, ConfigError> {
        let refused = |problem: &str| ConfigError::new(kind, problem);
        let origin = Origin::of(url).ok_or_else(|| refused("its URL has to be http or https with a host"))?;
        let client = client::build(limits.connect_timeout, &limits.roots, None)
            .map_err(|error| refused("no HTTP client can be made").with_source(error))?;
        let name = format!("{kind} at {}", redacted(url.as_str()).trim_end_matches('/'));
        let breaker = Breaker::new(limits.breaker);
        Ok(Self { name, origin, client, limits, breaker })
    }

    /// Uploads `object` with as many attempts as it takes and the policy allows
    pub(crate) async fn upload<'a, F>(&self, object: &Object, attempt: F) -> Result<Stored, StoreError>
    where
        F: Fn() -> BoxFuture<'a, Result<Stored, Failure>> + Send + Sync,
    {
        let started = Instant::now();
        let result = self.perform(attempt).await.map_err(|error| error.about(&*object.dataname));
        observe::uploaded(started.elapsed(), result.as_ref().map_or_else(StoreError::code, |_| "ok"));
        result
    }

    /// Does anything with as many attempts as it takes and the policy allows
    pub(crate) async fn perform<'a, T, F>(&self, attempt: F) -> Result<T, StoreError>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T, Failure>> + Send + Sync,
    {
        let until = deadline(self.limits.total_timeout);
        let error = |kind, source: BoxError| StoreError::new(kind, &*self.name).with_source(source);
        let permit = self.breaker.admit(&self.origin).map_err(|open| error(Kind::Unreachable, open.into()))?;
        let mut retries = Retries::new(&self.limits.retry, until);
        let failure = loop {
            retries.begin();
            let failure = match tokio::time::timeout_at(until, attempt()).await {
                Ok(Ok(done)) => {
                    permit.reached(true);
                    return Ok(done);
                }
                Ok(Err(failure)) => failure,
                Err(elapsed) => Failure { answered: false, ..Failure::last(Kind::Timeout, elapsed) },
            };
            tracing::debug!(store = self.name, attempt = retries.attempts(), code = failure.kind.code(), cause = %failure.source, "a file server request failed");
            if !failure.again || !retries.pause(failure.retry_after).await {
                break failure;
            }
            observe::retried("upload");
        };
        match failure.kind {
            // The sender's own fault says nothing about the server.
            Kind::LocalFile => drop(permit),
            _ => permit.reached(failure.answered),
        }
        Err(error(failure.kind, failure.source).attempts_made(retries.attempts()))
    }

    /// Waits for an answer, but not longer than the server may be silent
    pub(crate) async fn patiently<T>(
        &self,
        reply: impl Future<Output = reqwest::Result<T>> + Send,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(self.limits.idle_timeout, reply).await {
            Ok(reply) => reply.map_err(Failure::broken),
            Err(_) => Err(self.silent()),
        }
    }

    /// Waits while a source is sent, but not longer than the server may take none of it
    pub(crate) async fn sending(
        &self,
        reading: &Reading,
        reply: impl Future<Output = reqwest::Result<Response>> + Send,
    ) -> Result<Response, Failure> {
        let mut reply = pin!(reply);
        let mut seen = reading.sent();
        let result = loop {
            if let Ok(reply) = tokio::time::timeout(self.limits.idle_timeout, &mut reply).await {
                break reply.map_err(Failure::broken);
            }
            let now = reading.sent();
            if now == seen {
                break Err(self.silent());
            }
            seen = now;
        };
        match reading.failure() {
            Some(error) => Err(Failure::last(Kind::LocalFile, error)),
            None => result,
        }
    }

    /// Reads what the server says instead of success
    pub(crate) async fn answer(&self, response: Response) -> Answer {
        Answer::read(response, self.limits.idle_timeout).await
    }

    /// Reads a JSON answer, whatever content type it claims
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(&self, mut response: Response) -> Result<T, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = self.patiently(response.chunk()).await? {
            if body.len() + chunk.len() > MAX_JSON {
                return Err(Failure::last(
                    Kind::Rejected,
                    "the server's answer is larger than any answer to this request",
                ));
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|error| Failure::last(Kind::Rejected, error))
    }

    fn silent(&self) -> Failure {
        Failure { answered: false, ..Failure::again(Kind::Timeout, Silent(self.limits.idle_timeout)) }
    }
}

/// Parses a server's URL and takes a user name and password out of it
pub(crate) fn server_url(kind: &'static str, text: &str) -> Result<(Url, Option<client::Credentials>), ConfigError> {
    let mut url =
        Url::parse(text).map_err(|error| ConfigError::new(kind, "its URL can't be read").with_source(error))?;
    if url.username().is_empty() && url.password().is_none() {
        return Ok((url, None));
    }
    let plain = |text: &str| -> Cow<'_, str> { percent_decoded(text).into() };
    let credentials = client::Credentials::Basic(
        plain(url.username()).into_owned(),
        plain(url.password().unwrap_or_default()).into_owned(),
    );
    // Both only fail for a URL without a host, which the store refuses anyway.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    Ok((url, Some(credentials)))
}

/// Undoes percent-encoding; what is not UTF-8 is replaced
fn percent_decoded(text: &str) -> String {
    // `+` means itself outside of forms.
    let form = text.replace('+', "%2B");
    url::form_urlencoded::parse(format!("x={form}").replace('&', "%26").as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_info_in_a_server_url_becomes_credentials() -> Result<(), ConfigError> {
        let (url, credentials) = server_url("plik", "https://bo%40b:s+c%2F%26x&y@files.test/plik")?;
        assert_eq!(url.as_str(), "https://files.test/plik");
        let Some(client::Credentials::Basic(login, password)) = credentials else { panic!("no credentials") };
        assert_eq!((login.as_str(), password.as_str()), ("bo@b", "s+c/&x&y"));
        assert!(server_url("plik", "https://files.test")?.1.is_none());
        assert!(server_url("plik", "files.test").is_err());
        Ok(())
    }
}
