//! What every HTTP store does around one request: retries, deadlines, the circuit breaker and its measurements.

use std::borrow::Cow;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::BoxFuture;
use natsbridge_core::{Object, redacted, shown};
use reqwest::{Client, Request, RequestBuilder, Response, StatusCode};
use tokio::time::Instant;
use url::Url;

use crate::answer::Answer;
use crate::body::Reading;
use crate::breaker::{Breaker, BreakerPolicy};
use crate::client::{self, Proxies};
use crate::lifetime::{LifetimeChange, Told};
use crate::observe;
use crate::reach::Verdict;
use crate::retry::{Retries, RetryPolicy, deadline};
use crate::roots::is_untrusted;
use crate::secrets::Secrets;
use crate::{BoxError, ConfigError, Origin, RootCertificates, StoreError, StoreErrorKind as Kind, Stored};

/// Most bytes of an answer of success that are read
const MAX_ANSWER: usize = 1024 * 1024;

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

/// Sends payloads with patience: again where that may help, and not to a server that is away
#[derive(Debug)]
pub(crate) struct Patience {
    /// What errors call the store; holds no secret
    pub(crate) name: String,
    pub(crate) limits: Limits,
    breaker: Breaker,
    told: Told,
}

/// A server that payloads are sent to
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) patience: Patience,
    pub(crate) origin: Origin,
    pub(crate) client: Client,
}

/// What a server answers, and what was secret in the request
pub(crate) struct Reply {
    response: Response,
    secrets: Secrets,
}

impl Reply {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }
}

/// Why an attempt failed, and what that says about the server
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) source: BoxError,
    pub(crate) verdict: Verdict,
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that no retry mends
    pub(crate) fn last(kind: Kind, source: impl Into<BoxError>) -> Self {
        Self { kind, source: source.into(), verdict: Verdict::Final, retry_after: None }
    }

    /// A failure that a retry may mend, of a server that is there
    pub(crate) fn again(kind: Kind, source: impl Into<BoxError>) -> Self {
        Self { verdict: Verdict::Again, ..Self::last(kind, source) }
    }

    /// What an answer other than success means, where no rule of the store says more
    pub(crate) fn answered(answer: Answer) -> Self {
        let verdict = answer.verdict();
        let kind = match answer.status.as_u16() {
            _ if verdict.is_passing() => Kind::Unreachable,
            401 | 403 | 407 => Kind::Refused,
            413 => Kind::TooLarge,
            507 => Kind::Full,
            _ => Kind::Rejected,
        };
        Self { verdict, retry_after: answer.retry_after, ..Self::last(kind, answer) }
    }

    /// What a failure below HTTP means
    pub(crate) fn broken(error: reqwest::Error) -> Self {
        let verdict = Verdict::of_error(&error);
        let kind = match verdict {
            Verdict::Final if is_untrusted(&error) => Kind::Untrusted,
            Verdict::Final => Kind::Rejected,
            _ if error.is_timeout() => Kind::Timeout,
            _ => Kind::Unreachable,
        };
        Self { verdict, ..Self::last(kind, error.without_url()) }
    }

    /// The server said nothing for so long
    pub(crate) fn silent(idle: Duration) -> Self {
        Self { verdict: Verdict::Away, ..Self::last(Kind::Timeout, Silent(idle)) }
    }
}

/// The server was silent for too long
#[derive(Debug, thiserror::Error)]
#[error("the server was silent for {} ms", .0.as_millis())]
struct Silent(Duration);

impl Patience {
    pub(crate) fn new(name: String, limits: Limits) -> Self {
        let breaker = Breaker::new(limits.breaker);
        Self { name, limits, breaker, told: Told::default() }
    }

    /// Warns of what the store made of a wished lifetime, once for each kind of change
    pub(crate) fn tell(&self, change: Option<LifetimeChange>) {
        self.told.tell(&self.name, change);
    }

    /// Uploads `object` with as many attempts as it takes and the policy allows
    pub(crate) async fn upload<'a, F>(
        &self,
        origin: Option<&Origin>,
        object: &Object,
        attempt: F,
    ) -> Result<Stored, StoreError>
    where
        F: Fn() -> BoxFuture<'a, Result<Stored, Failure>> + Send + Sync,
    {
        let started = Instant::now();
        let result = self.perform(origin, attempt).await.map_err(|error| error.about(&*object.dataname));
        observe::uploaded(started.elapsed(), result.as_ref().map_or_else(StoreError::code, |_| "ok"));
        result
    }

    /// Does anything with as many attempts as it takes and the policy allows; `origin` is who is asked, as far as that
    /// is known
    pub(crate) async fn perform<'a, T, F>(&self, origin: Option<&Origin>, attempt: F) -> Result<T, StoreError>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T, Failure>> + Send + Sync,
    {
        let until = deadline(self.limits.total_timeout);
        let error = |kind, source: BoxError| StoreError::new(kind, &*self.name).with_source(source);
        let permit = origin.map(|origin| self.breaker.admit(origin)).transpose();
        let permit = permit.map_err(|open| error(Kind::Unreachable, open.into()))?;
        let mut retries = Retries::new(&self.limits.retry, until);
        let failure = loop {
            retries.begin();
            let failure = match tokio::time::timeout_at(until, attempt()).await {
                Ok(Ok(done)) => {
                    permit.into_iter().for_each(|permit| permit.reached(true));
                    return Ok(done);
                }
                Ok(Err(failure)) => failure,
                Err(elapsed) => {
                    // A large payload may take all the time that there is: that says nothing about the server.
                    return Err(error(Kind::Timeout, elapsed.into()).attempts_made(retries.attempts()));
                }
            };
            tracing::debug!(store = self.name, attempt = retries.attempts(), code = failure.kind.code(), cause = %failure.source, "a file server request failed");
            if !failure.verdict.is_passing() {
                break failure;
            }
            let Failure { source, retry_after, .. } = failure;
            match retries.pause(retry_after, source).await {
                Ok(()) => observe::retried("upload"),
                Err(source) => break Failure { source, ..failure },
            }
        };
        match failure.kind {
            // The sender's own fault says nothing about the server.
            Kind::LocalFile => drop(permit),
            _ => permit.into_iter().for_each(|permit| permit.reached(!failure.verdict.counts())),
        }
        Err(error(failure.kind, failure.source).attempts_made(retries.attempts()))
    }
}

impl Server {
    /// A server called `kind at url`, or why there can't be one
    pub(crate) fn new(kind: &'static str, url: &Url, limits: Limits) -> Result<Self, ConfigError> {
        let refused = |problem: &str| ConfigError::new(kind, problem);
        let origin = Origin::of(url).ok_or_else(|| refused("its URL has to be http or https with a host"))?;
        let client = client::build(limits.connect_timeout, &limits.roots, None, Proxies::Never)
            .map_err(|error| refused("no HTTP client can be made").with_source(error))?;
        let name = format!("{kind} at {}", redacted(url.as_str()).trim_end_matches('/'));
        Ok(Self { patience: Patience::new(name, limits), origin, client })
    }

    pub(crate) fn name(&self) -> &str {
        &self.patience.name
    }

    /// As [`Patience::upload`]
    pub(crate) async fn upload<'a, F>(&self, object: &Object, attempt: F) -> Result<Stored, StoreError>
    where
        F: Fn() -> BoxFuture<'a, Result<Stored, Failure>> + Send + Sync,
    {
        self.patience.upload(Some(&self.origin), object, attempt).await
    }

    /// As [`Patience::perform`]
    pub(crate) async fn perform<'a, T, F>(&self, attempt: F) -> Result<T, StoreError>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T, Failure>> + Send + Sync,
    {
        self.patience.perform(Some(&self.origin), attempt).await
    }

    fn idle(&self) -> Duration {
        self.patience.limits.idle_timeout
    }

    /// Sends a small request and waits for its answer, but not longer than the server may be silent
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Reply, Failure> {
        let (request, secrets) = prepared(request)?;
        match tokio::time::timeout(self.idle(), self.client.execute(request)).await {
            Ok(response) => Ok(Reply { response: response.map_err(Failure::broken)?, secrets }),
            Err(_) => Err(Failure::silent(self.idle())),
        }
    }

    /// Sends a source and waits while that goes on, but not longer than the server may take none of it
    pub(crate) async fn send_source(&self, reading: &Reading, request: RequestBuilder) -> Result<Reply, Failure> {
        let (request, secrets) = prepared(request)?;
        let result = while_moving(self.idle(), || reading.sent(), self.client.execute(request)).await;
        match reading.failure() {
            Some(error) => Err(Failure::last(Kind::LocalFile, error)),
            None => result.map(|response| Reply { response, secrets }),
        }
    }

    /// Reads what the server says instead of success
    pub(crate) async fn answer(&self, reply: Reply) -> Answer {
        Answer::read(reply.response, self.idle(), &reply.secrets).await
    }

    /// Reads a JSON answer, whatever content type it claims
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(&self, reply: Reply) -> Result<T, Failure> {
        let body = tokio::time::timeout(self.idle(), whole(reply.response, self.idle()));
        let body = body.await.map_err(|_| Failure::silent(self.idle()))??;
        serde_json::from_slice(&body).map_err(|error| {
            // Such an error quotes what it can't read.
            let quoted = shown(&reply.secrets.hide(&error.to_string())).into_owned();
            Failure::last(Kind::Rejected, format!("the server's answer is not one of this kind of server: {quoted}"))
        })
    }
}

/// A request to send, and what is secret in it
fn prepared(request: RequestBuilder) -> Result<(Request, Secrets), Failure> {
    let request = request.build().map_err(Failure::broken)?;
    let secrets = Secrets::of(request.headers(), request.url());
    Ok((request, secrets))
}

/// Waits for an answer as long as ever more is sent, and then not longer than the server may be silent
pub(crate) async fn while_moving(
    idle: Duration,
    sent: impl Fn() -> u64 + Send,
    reply: impl Future<Output = reqwest::Result<Response>> + Send,
) -> Result<Response, Failure> {
    let mut reply = pin!(reply);
    let mut seen = sent();
    loop {
        if let Ok(reply) = tokio::time::timeout(idle, &mut reply).await {
            return reply.map_err(Failure::broken);
        }
        let now = sent();
        if now == seen {
            return Err(Failure::silent(idle));
        }
        seen = now;
    }
}

/// The whole body of a small answer, of which each piece may take `idle`
pub(crate) async fn whole(mut response: Response, idle: Duration) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    loop {
        let chunk = tokio::time::timeout(idle, response.chunk()).await.map_err(|_| Failure::silent(idle))?;
        let Some(chunk) = chunk.map_err(Failure::broken)? else { break };
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Failure::last(Kind::Rejected, "the server's answer is larger than any answer to this request"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
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
