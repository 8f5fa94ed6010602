//! Requests to a store over HTTP: retries, deadlines, the circuit breaker and metrics.

use std::borrow::Cow;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::BoxFuture;
use natsbridge_core::{Object, redacted, shown};
use reqwest::{Client, Request, RequestBuilder, Response, StatusCode};
use tokio::time::Instant;
use url::Url;

use crate::body::Reading;
use crate::breaker::Breaker;
use crate::client::{self, ClientOptions, Proxies};
use crate::error_response::ErrorResponse;
use crate::lifetime::{LifetimeChange, LifetimeWarnings};
use crate::observe;
use crate::retry::{Retries, deadline};
use crate::roots::is_untrusted;
use crate::secrets::Secrets;
use crate::verdict::Verdict;
use crate::wrong_protocol::WrongProtocol;
use crate::{BoxError, ConfigError, Origin, StoreError, StoreErrorKind as Kind, Stored};

/// Most bytes read of a successful response's body
const MAX_BODY: usize = 1024 * 1024;

/// Performs requests to a store: retries them and observes the circuit breaker
#[derive(Debug)]
pub(crate) struct Requests {
    /// The store's name in errors; contains no secret
    pub(crate) name: String,
    pub(crate) options: ClientOptions,
    breaker: Breaker,
    warnings: LifetimeWarnings,
}

/// An HTTP server to upload to
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) requests: Requests,
    pub(crate) origin: Origin,
    pub(crate) client: Client,
}

/// A response, and the secrets of its request that no error may repeat
pub(crate) struct GuardedResponse {
    response: Response,
    secrets: Secrets,
}

impl GuardedResponse {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }
}

/// A failed attempt
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) source: BoxError,
    pub(crate) verdict: Verdict,
    pub(crate) retry_after: Option<Duration>,
    /// Whether the server may hold what was sent all the same
    pub(crate) doubtful: bool,
}

impl Failure {
    /// A failure that a retry can't mend
    pub(crate) fn permanent(kind: Kind, source: impl Into<BoxError>) -> Self {
        Self { kind, source: source.into(), verdict: Verdict::Permanent, retry_after: None, doubtful: false }
    }

    /// A failure that a retry may mend; the server was reached
    pub(crate) fn temporary(kind: Kind, source: impl Into<BoxError>) -> Self {
        Self { verdict: Verdict::Temporary, doubtful: true, ..Self::permanent(kind, source) }
    }

    /// The failure for a response other than success
    pub(crate) fn from_response(response: ErrorResponse) -> Self {
        let verdict = response.verdict();
        let kind = match response.status.as_u16() {
            _ if verdict.is_temporary() => Kind::Unreachable,
            401 | 403 | 407 => Kind::Refused,
            413 => Kind::TooLarge,
            507 => Kind::Full,
            _ => Kind::Rejected,
        };
        // A gateway that lost the server's answer.
        let doubtful = matches!(response.status.as_u16(), 502 | 504);
        Self { verdict, retry_after: response.retry_after, doubtful, ..Self::permanent(kind, response) }
    }

    /// The failure for an error below HTTP
    pub(crate) fn from_transport(error: reqwest::Error) -> Self {
        if let Some(wrong) = WrongProtocol::of(&error) {
            return Self::permanent(Kind::Rejected, wrong);
        }
        let verdict = Verdict::of_error(&error);
        let kind = match verdict {
            Verdict::Permanent if is_untrusted(&error) => Kind::Untrusted,
            Verdict::Permanent => Kind::Rejected,
            _ if error.is_timeout() => Kind::Timeout,
            _ => Kind::Unreachable,
        };
        let doubtful = verdict.is_temporary() && !error.is_connect();
        Self { verdict, doubtful, ..Self::permanent(kind, error.without_url()) }
    }

    /// The failure of a connection that was idle for too long
    pub(crate) fn idle(idle: Duration) -> Self {
        Self { verdict: Verdict::Unreachable, doubtful: true, ..Self::permanent(Kind::Timeout, Silent(idle)) }
    }
}

/// The cause of [`Failure::idle`]
#[derive(Debug, thiserror::Error)]
#[error("the server was silent for {} ms", .0.as_millis())]
struct Silent(Duration);

impl Requests {
    pub(crate) fn new(name: String, options: ClientOptions) -> Self {
        let breaker = Breaker::new(options.breaker);
        Self { name, options, breaker, warnings: LifetimeWarnings::default() }
    }

    /// Logs a warning about a changed lifetime, once for each kind of change
    pub(crate) fn warn_once(&self, change: Option<LifetimeChange>) {
        self.warnings.warn_once(&self.name, change);
    }

    /// Uploads `object`, with retries
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
        let result = self.perform(origin, attempt).await.map_err(|error| error.with_dataname(&*object.dataname));
        observe::record_upload(started.elapsed(), result.as_ref().map_or_else(StoreError::code, |_| "ok"));
        result
    }

    /// Performs any request, with retries; `origin` is the server's, if it is known
    pub(crate) async fn perform<'a, T, F>(&self, origin: Option<&Origin>, attempt: F) -> Result<T, StoreError>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T, Failure>> + Send + Sync,
    {
        let until = deadline(self.options.total_timeout);
        let error = |kind, source: BoxError| StoreError::new(kind, &*self.name).with_source(source);
        let permit = origin.map(|origin| self.breaker.admit(origin)).transpose();
        let permit = permit.map_err(|open| error(Kind::Unreachable, open.into()))?;
        let mut retries = Retries::new(&self.options.retry, until);
        let failure = loop {
            retries.begin();
            let failure = match tokio::time::timeout_at(until, attempt()).await {
                Ok(Ok(done)) => {
                    permit.into_iter().for_each(|permit| permit.reached(true));
                    return Ok(done);
                }
                Ok(Err(failure)) => failure,
                Err(elapsed) => {
                    // A large payload may take all the time, so this is no failure of the server.
                    return Err(error(Kind::Timeout, elapsed.into()).attempts_made(retries.attempts()));
                }
            };
            tracing::debug!(store = self.name, attempt = retries.attempts(), code = failure.kind.code(), cause = %failure.source, "a file server request failed");
            if !failure.verdict.is_temporary() {
                break failure;
            }
            let Failure { source, retry_after, .. } = failure;
            match retries.pause(retry_after, source).await {
                Ok(()) => observe::count_retry("upload"),
                Err(source) => break Failure { source, ..failure },
            }
        };
        match failure.kind {
            // A fault of the sender is no failure of the server.
            Kind::LocalFile => drop(permit),
            _ => permit.into_iter().for_each(|permit| permit.reached(!failure.verdict.opens_breaker())),
        }
        Err(error(failure.kind, failure.source).attempts_made(retries.attempts()))
    }
}

impl Server {
    /// Creates a server whose name in errors is `kind at url`
    pub(crate) fn new(kind: &'static str, url: &Url, options: ClientOptions) -> Result<Self, ConfigError> {
        let refused = |problem: &str| ConfigError::new(kind, problem);
        let origin = Origin::of(url).ok_or_else(|| refused("its URL has to be http or https with a host"))?;
        let client = client::build(options.connect_timeout, &options.roots, None, Proxies::Never)
            .map_err(|error| refused("no HTTP client can be made").with_source(error))?;
        let name = format!("{kind} at {}", redacted(url.as_str()).trim_end_matches('/'));
        Ok(Self { requests: Requests::new(name, options), origin, client })
    }

    pub(crate) fn name(&self) -> &str {
        &self.requests.name
    }

    /// Uploads `object`, with retries
    pub(crate) async fn upload<'a, F>(&self, object: &Object, attempt: F) -> Result<Stored, StoreError>
    where
        F: Fn() -> BoxFuture<'a, Result<Stored, Failure>> + Send + Sync,
    {
        self.requests.upload(Some(&self.origin), object, attempt).await
    }

    /// Performs any request, with retries
    pub(crate) async fn perform<'a, T, F>(&self, attempt: F) -> Result<T, StoreError>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T, Failure>> + Send + Sync,
    {
        self.requests.perform(Some(&self.origin), attempt).await
    }

    fn idle(&self) -> Duration {
        self.requests.options.idle_timeout
    }

    /// Sends a small request; fails when no response comes within the idle timeout
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<GuardedResponse, Failure> {
        let (request, secrets) = prepare(request)?;
        match tokio::time::timeout(self.idle(), self.client.execute(request)).await {
            Ok(response) => Ok(GuardedResponse { response: response.map_err(Failure::from_transport)?, secrets }),
            Err(_) => Err(Failure::idle(self.idle())),
        }
    }

    /// Sends a source; fails when the server takes no bytes for the idle timeout
    pub(crate) async fn send_source(
        &self,
        reading: &Reading,
        request: RequestBuilder,
    ) -> Result<GuardedResponse, Failure> {
        let (request, secrets) = prepare(request)?;
        let result = send_with_idle_timeout(self.idle(), || reading.sent(), self.client.execute(request)).await;
        match reading.failure() {
            Some(error) => Err(Failure::permanent(Kind::LocalFile, error)),
            None => result.map(|response| GuardedResponse { response, secrets }),
        }
    }

    /// Reads a response other than success
    pub(crate) async fn error_response(&self, reply: GuardedResponse) -> ErrorResponse {
        ErrorResponse::read(reply.response, self.idle(), &reply.secrets).await
    }

    /// Reads a JSON body, whatever its content type
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(&self, reply: GuardedResponse) -> Result<T, Failure> {
        let body = tokio::time::timeout(self.idle(), read_body(reply.response, self.idle()));
        let body = body.await.map_err(|_| Failure::idle(self.idle()))??;
        serde_json::from_slice(&body).map_err(|error| {
            // The error quotes text of the body.
            let quoted = shown(&reply.secrets.hide(&error.to_string())).into_owned();
            Failure::permanent(Kind::Rejected, format!("the response is not one of this kind of server: {quoted}"))
        })
    }
}

/// Builds a request and collects its secrets
fn prepare(request: RequestBuilder) -> Result<(Request, Secrets), Failure> {
    let request = request.build().map_err(Failure::from_transport)?;
    let secrets = Secrets::of(request.headers(), request.url());
    Ok((request, secrets))
}

/// Waits for a response; fails when no bytes are sent and no response comes for `idle`
pub(crate) async fn send_with_idle_timeout(
    idle: Duration,
    sent: impl Fn() -> u64 + Send,
    reply: impl Future<Output = reqwest::Result<Response>> + Send,
) -> Result<Response, Failure> {
    let mut reply = pin!(reply);
    let mut seen = sent();
    loop {
        if let Ok(reply) = tokio::time::timeout(idle, &mut reply).await {
            return reply.map_err(Failure::from_transport);
        }
        let now = sent();
        if now == seen {
            return Err(Failure::idle(idle));
        }
        seen = now;
    }
}

/// Reads the whole body of a small response; each chunk may take `idle`
pub(crate) async fn read_body(mut response: Response, idle: Duration) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    loop {
        let chunk = tokio::time::timeout(idle, response.chunk()).await.map_err(|_| Failure::idle(idle))?;
        let Some(chunk) = chunk.map_err(Failure::from_transport)? else { break };
        if body.len() + chunk.len() > MAX_BODY {
            return Err(Failure::permanent(Kind::Rejected, "the server's response is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Parses a server's URL and removes the user name and password from it
pub(crate) fn parse_server_url(
    kind: &'static str,
    text: &str,
) -> Result<(Url, Option<client::Credentials>), ConfigError> {
    let mut url =
        Url::parse(text).map_err(|error| ConfigError::new(kind, "its URL can't be read").with_source(error))?;
    if url.username().is_empty() && url.password().is_none() {
        return Ok((url, None));
    }
    let plain = |text: &str| -> Cow<'_, str> { percent_decode(text).into() };
    let credentials = client::Credentials::Basic(
        plain(url.username()).into_owned(),
        plain(url.password().unwrap_or_default()).into_owned(),
    );
    // Both fail only for a URL without a host, which the store refuses anyway.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    Ok((url, Some(credentials)))
}

/// Decodes percent-encoding; bytes that are not UTF-8 are replaced
fn percent_decode(text: &str) -> String {
    // Outside of forms, `+` is a plain character.
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
        let (url, credentials) = parse_server_url("plik", "https://bo%40b:s+c%2F%26x&y@files.test/plik")?;
        assert_eq!(url.as_str(), "https://files.test/plik");
        let Some(client::Credentials::Basic(login, password)) = credentials else { panic!("no credentials") };
        assert_eq!((login.as_str(), password.as_str()), ("bo@b", "s+c/&x&y"));
        assert!(parse_server_url("plik", "https://files.test")?.1.is_none());
        assert!(parse_server_url("plik", "files.test").is_err());
        Ok(())
    }
}
