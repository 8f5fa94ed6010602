//! One download: attempts, resumption, the check of one-shot links and the final checks.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use natsbridge_core::{Downloaded, Link, shown};
use reqwest::header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_RANGE, RANGE};
use reqwest::{RequestBuilder, Response, StatusCode};
use time::OffsetDateTime;
use tokio::time::Instant;
use url::Url;

use crate::error_response::ErrorResponse;
use crate::fetch::Rules;
use crate::observe;
use crate::policy::Blocked;
use crate::retry::Retries;
use crate::roots::is_untrusted;
use crate::secrets::Secrets;
use crate::sink::Sink;
use crate::status::{StatusQuery, Upload, signed_until};
use crate::verdict::Verdict;
use crate::wrong_protocol::WrongProtocol;
use crate::{BoxError, FetchError, FetchErrorKind as Kind, Origin, Target};

/// Difference of two clocks up to which a link's expiry is left to its server
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
/// Most bytes read of a response about an upload
const MAX_STATUS: usize = 1024 * 1024;

/// One download
pub(crate) struct Transfer<'a> {
    rules: &'a Rules,
    link: &'a Link,
    url: Url,
    origin: Origin,
    limit: u64,
    retries: Retries,
    deadline: Instant,
    /// Entity tag of the file whose beginning the sink holds, if the download may be resumed
    etag: Option<String>,
    /// Whether a one-shot link may be consumed: the server has to be asked before the next attempt
    in_doubt: bool,
    /// Whether a whole body with a wrong digest was already received
    was_corrupt: bool,
    /// Whether the last request reached the server; `None` if that is not known
    reached: Option<bool>,
}

/// A failed attempt
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) source: BoxError,
    verdict: Verdict,
    retry_after: Option<Duration>,
}

impl Failure {
    fn permanent(kind: Kind, source: impl Into<BoxError>) -> Self {
        Self { kind, source: source.into(), verdict: Verdict::Permanent, retry_after: None }
    }

    fn temporary(kind: Kind, source: impl Into<BoxError>) -> Self {
        Self { verdict: Verdict::Temporary, ..Self::permanent(kind, source) }
    }

    /// The failure for a response after which a retry may succeed
    fn from_response(response: ErrorResponse) -> Self {
        let (verdict, retry_after) = (response.verdict(), response.retry_after);
        Self { verdict, retry_after, ..Self::permanent(Kind::Unreachable, response) }
    }
}

/// Why a response is not the payload
#[derive(Debug, thiserror::Error)]
enum BadResponse {
    #[error("the server offers {found} bytes, expected {expected}")]
    Offered { found: u64, expected: u64 },
    #[error("{found} bytes were received, expected {expected}")]
    Received { found: u64, expected: u64 },
    #[error("at most {limit} bytes are accepted")]
    Limit { limit: u64 },
    #[error("the digest is {found}, expected {expected}")]
    Digest { found: natsbridge_core::Digest, expected: natsbridge_core::Digest },
    #[error("the body is encoded as `{0}`, which was not requested")]
    Encoding(String),
    #[error(
        "the server sent an HTML page, and the envelope has neither size nor digest to tell whether that is the payload"
    )]
    Page,
    #[error("the server answered {0}, which has no body to download")]
    Status(StatusCode),
    #[error("the server sent another range than the requested one")]
    Range,
    #[error("the server was silent for {} ms", .0.as_millis())]
    Silent(Duration),
    #[error("{received} bytes were received in {} ms, which is less than {rate} a second", .window.as_millis())]
    Slow { received: u64, window: Duration, rate: u64 },
    #[error("the server says that the file is no longer there")]
    Gone,
    #[error(
        "the connection broke after the request was sent, and the server can't be asked whether the file is still there"
    )]
    InDoubt,
    #[error("the link was good until {0}")]
    Expired(OffsetDateTime),
}

impl<'a> Transfer<'a> {
    /// Checks what can be checked of a link before the first request
    pub(crate) fn new(rules: &'a Rules, link: &'a Link, deadline: Instant) -> Result<Self, FetchError> {
        let error = |kind| FetchError::new(kind, &*link.dataname, &link.url);
        let (url, origin) = rules
            .policy
            .check(&link.url)
            .map_err(|blocked| FetchError::blocked(&*link.dataname, &link.url, blocked))?;
        if let Some(at) = link.expires_at
            && at + CLOCK_SKEW < OffsetDateTime::now_utc()
        {
            return Err(error(Kind::Expired).with_source(BadResponse::Expired(at)));
        }
        let retries = Retries::new(&rules.retry, deadline);
        let limit = rules.max_payload_size;
        Ok(Self {
            rules,
            link,
            url,
            origin,
            limit,
            retries,
            deadline,
            etag: None,
            in_doubt: false,
            was_corrupt: false,
            reached: None,
        })
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether the last request reached the server; `None` if that is not known
    ///
    /// Any response counts, so that one broken file does not open the circuit breaker for all others.
    pub(crate) fn server_reached(&self) -> Option<bool> {
        self.reached
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Creates an error about this link
    pub(crate) fn error(&self, kind: Kind) -> FetchError {
        FetchError::new(kind, &*self.link.dataname, &self.link.url).attempts_made(self.retries.attempts())
    }

    /// Downloads, with retries
    pub(crate) async fn run(&mut self, target: Target) -> Result<Downloaded, FetchError> {
        if target == Target::Memory {
            self.limit = self.limit.min(self.rules.max_memory_size);
        }
        if self.link.size.is_some_and(|size| size > self.limit) {
            return Err(self.error(Kind::TooLarge).with_source(BadResponse::Limit { limit: self.limit }));
        }
        let opened = Sink::open(target).await;
        let mut sink = opened.map_err(|source| self.error(Kind::LocalFile).with_source(source))?;
        loop {
            self.retries.begin();
            let failure = match self.attempt(&mut sink).await {
                Ok(()) => break,
                Err(failure) => failure,
            };
            let Failure { kind, source, verdict, retry_after } = failure;
            if !verdict.is_temporary() || !self.rules.retry.retries() {
                return Err(match source.downcast::<Blocked>() {
                    Ok(blocked) => self.error(kind).because(*blocked),
                    Err(source) => self.error(kind).with_source(source),
                });
            }
            tracing::debug!(
                payload = %shown(&self.link.dataname),
                url = natsbridge_core::redacted(&self.link.url),
                attempt = self.retries.attempts(),
                code = kind.code(),
                cause = %source,
                "a download failed and is tried again"
            );
            if let Err(source) = self.retries.pause(retry_after, source).await {
                observe::count_retry_exceeded();
                return Err(self.error(Kind::DownloadRetryExceeded).last_kind(kind).with_source(source));
            }
            observe::count_retry("download");
        }
        sink.finish().await.map_err(|source| self.error(Kind::LocalFile).with_source(source))
    }

    async fn attempt(&mut self, sink: &mut Sink) -> Result<(), Failure> {
        if self.in_doubt {
            self.check_one_shot().await?;
            self.in_doubt = false;
        }
        let mut request = self.rules.request(self.url.clone(), &self.origin);
        let resume = self.etag.take().filter(|_| sink.received() > 0);
        if let Some(etag) = &resume {
            request = request.header(RANGE, format!("bytes={}-", sink.received())).header(IF_RANGE, etag);
        }
        let (response, secrets) = match self.send(request).await {
            Ok(reply) => reply,
            Err(failure) => return Err(self.mark_doubt(failure)),
        };
        match response.status() {
            StatusCode::OK => sink.restart().await.map_err(|error| Failure::permanent(Kind::LocalFile, error))?,
            StatusCode::PARTIAL_CONTENT if resume.is_some() => {
                if range_start(response.headers()) != Some(sink.received()) {
                    return Err(Failure::temporary(Kind::Rejected, BadResponse::Range));
                }
            }
            // The file changed, or the server no longer serves ranges: the next attempt starts at zero.
            StatusCode::RANGE_NOT_SATISFIABLE if resume.is_some() => {
                return Err(Failure::temporary(Kind::Rejected, BadResponse::Range));
            }
            status if status.is_success() => {
                return Err(Failure::permanent(Kind::Rejected, BadResponse::Status(status)));
            }
            status => {
                let response = ErrorResponse::read(response, self.rules.idle_timeout, &secrets).await;
                return Err(self.judge(status, response).await);
            }
        }
        self.check_headers(&response, sink)?;
        self.link.report(sink.received());
        let offered = response.content_length().map(|length| length.saturating_add(sink.received()));
        sink.expect(self.link.size.or(offered).unwrap_or(0));
        let etag = strong_etag(response.headers());
        if let Err(failure) = self.read(response, sink).await {
            self.etag = etag.filter(|_| !self.link.one_shot);
            return Err(self.mark_doubt(failure));
        }
        self.verify(sink).await
    }

    /// Refuses a body whose headers show that it is not the payload
    fn check_headers(&self, response: &Response, sink: &Sink) -> Result<(), Failure> {
        let headers = response.headers();
        if let Some(encoding) =
            text(headers, CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))
        {
            return Err(Failure::permanent(Kind::Rejected, BadResponse::Encoding(shown(encoding).into_owned())));
        }
        if let Some(found) = response.content_length().map(|length| length.saturating_add(sink.received())) {
            if let Some(expected) = self.link.size
                && found != expected
            {
                return Err(Failure::permanent(Kind::SizeMismatch, BadResponse::Offered { found, expected }));
            }
            if found > self.limit {
                return Err(Failure::permanent(Kind::TooLarge, BadResponse::Limit { limit: self.limit }));
            }
        }
        let unknown = self.link.size.is_none() && self.link.sha256.is_none();
        // Plik never serves a file as HTML: without size and digest, a page is taken for an error page.
        if unknown
            && text(headers, CONTENT_TYPE)
                .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html"))
        {
            return Err(Failure::permanent(Kind::Rejected, BadResponse::Page));
        }
        Ok(())
    }

    async fn read(&self, mut response: Response, sink: &mut Sink) -> Result<(), Failure> {
        let mut min_rate = MinRate::new(self.rules);
        while let Some(chunk) = self.chunk(&mut response).await? {
            min_rate.count(chunk.len())?;
            let found = sink.received().saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if let Some(expected) = self.link.size.filter(|expected| found > *expected) {
                return Err(Failure::permanent(Kind::SizeMismatch, BadResponse::Received { found, expected }));
            }
            if found > self.limit {
                return Err(Failure::permanent(Kind::TooLarge, BadResponse::Limit { limit: self.limit }));
            }
            sink.push(chunk).await.map_err(|error| Failure::permanent(Kind::LocalFile, error))?;
            self.link.report(sink.received());
        }
        match self.link.size {
            // Without Content-Length, a broken connection looks like the end of the body.
            Some(expected) if sink.received() < expected => {
                Err(Failure::temporary(Kind::SizeMismatch, BadResponse::Received { found: sink.received(), expected }))
            }
            _ => Ok(()),
        }
    }

    async fn verify(&mut self, sink: &mut Sink) -> Result<(), Failure> {
        let Some(expected) = self.link.sha256 else { return Ok(()) };
        let found = sink.digest().await.map_err(|error| Failure::permanent(Kind::LocalFile, error))?;
        if found == expected {
            return Ok(());
        }
        let wrong = BadResponse::Digest { found, expected };
        // Try once more, since the transfer may have damaged it; a one-shot link is already consumed.
        if self.was_corrupt || self.link.one_shot {
            return Err(Failure::permanent(Kind::Digest, wrong));
        }
        self.was_corrupt = true;
        Err(Failure::temporary(Kind::Digest, wrong))
    }

    /// The failure for a response other than success
    async fn judge(&mut self, status: StatusCode, response: ErrorResponse) -> Failure {
        if response.status.is_redirection() {
            return Failure::permanent(Kind::BlockedOrigin, Blocked::Redirect);
        }
        if response.verdict().is_temporary() {
            return self.mark_doubt(Failure::from_response(response));
        }
        let expired = response.says_expired()
            || self
                .link
                .expires_at
                .or_else(|| signed_until(&self.url))
                .is_some_and(|at| at < OffsetDateTime::now_utc());
        let gone = response.text.ends_with("is not available : removed")
            || response.text.ends_with("is not available : deleted");
        let kind = match response.status.as_u16() {
            404 if gone && (self.link.one_shot || self.was_one_shot().await) => Kind::Consumed,
            410 if self.link.one_shot => Kind::Consumed,
            // Some S3 servers response 400 for an expired link.
            400 | 401 | 403 | 404 | 410 if expired => Kind::Expired,
            404 | 410 => Kind::NotFound,
            401 | 403 | 407 => Kind::Refused,
            _ => Kind::Rejected,
        };
        tracing::debug!(%status, code = kind.code(), "a link was refused");
        Failure::permanent(kind, response)
    }

    /// Notes that a one-shot link may be consumed after this failure
    fn mark_doubt(&mut self, failure: Failure) -> Failure {
        let never_sent = failure.source.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect);
        self.in_doubt = self.link.one_shot && failure.verdict.is_temporary() && !never_sent;
        failure
    }

    /// Asks the server whether a one-shot link can still be downloaded
    async fn check_one_shot(&mut self) -> Result<(), Failure> {
        let Some(question) = StatusQuery::about(&self.url) else {
            return Err(Failure::permanent(Kind::Consumed, BadResponse::InDoubt));
        };
        let (response, secrets) = self.send(self.rules.request(question.url.clone(), &self.origin)).await?;
        if response.status() != StatusCode::OK {
            let response = ErrorResponse::read(response, self.rules.idle_timeout, &secrets).await;
            if response.verdict().is_temporary() {
                return Err(Failure::from_response(response));
            }
            let kind = if response.says_expired() { Kind::Expired } else { Kind::Consumed };
            return Err(Failure::permanent(kind, response));
        }
        let upload = self.read_upload(response).await?;
        match upload.and_then(|upload| question.still_there(&upload)) {
            Some(true) => Ok(()),
            Some(false) => Err(Failure::permanent(Kind::Consumed, BadResponse::Gone)),
            None => Err(Failure::permanent(Kind::Consumed, BadResponse::InDoubt)),
        }
    }

    /// Whether a deleted file belonged to a one-shot upload; some senders omit that from the envelope
    async fn was_one_shot(&mut self) -> bool {
        let Some(question) = StatusQuery::about(&self.url) else { return false };
        match self.send(self.rules.request(question.url, &self.origin)).await {
            Ok((response, _)) if response.status() == StatusCode::OK => {
                self.read_upload(response).await.ok().flatten().is_some_and(|upload| upload.one_shot)
            }
            _ => false,
        }
    }

    async fn read_upload(&self, mut response: Response) -> Result<Option<Upload>, Failure> {
        let mut body = Vec::new();
        let reading = async {
            while let Some(chunk) = response.chunk().await.map_err(from_transport)? {
                if body.len() + chunk.len() > MAX_STATUS {
                    return Ok(None);
                }
                body.extend_from_slice(&chunk);
            }
            Ok(serde_json::from_slice(&body).ok())
        };
        tokio::time::timeout(self.rules.idle_timeout, reading).await.unwrap_or_else(|_| Err(self.silent()))
    }

    /// Sends a request; fails when no response comes within the idle timeout
    async fn send(&mut self, request: RequestBuilder) -> Result<(Response, Secrets), Failure> {
        let request = request.build().map_err(from_transport)?;
        let secrets = Secrets::of(request.headers(), request.url());
        let response = tokio::time::timeout(self.rules.idle_timeout, self.rules.client.execute(request)).await;
        let response = match response {
            Ok(response) => response.map_err(from_transport),
            Err(_) => Err(self.silent()),
        };
        let verdict = match &response {
            Ok(response) => Verdict::of_status(response.status(), false),
            Err(failure) => failure.verdict,
        };
        match verdict {
            Verdict::Unreachable => self.reached = Some(false),
            _ if response.is_ok() => self.reached = Some(true),
            _ => {}
        }
        Ok((response?, secrets))
    }

    /// Waits for the next chunk of a body; the server counts as reached, even when no chunk comes
    async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, Failure> {
        let failure = match tokio::time::timeout(self.rules.idle_timeout, response.chunk()).await {
            Ok(Ok(chunk)) => return Ok(chunk),
            Ok(Err(error)) => from_transport(error),
            Err(_) => self.silent(),
        };
        Err(Failure { verdict: Verdict::Temporary, ..failure })
    }

    fn silent(&self) -> Failure {
        let silent = BadResponse::Silent(self.rules.idle_timeout);
        Failure { verdict: Verdict::Unreachable, ..Failure::permanent(Kind::Timeout, silent) }
    }
}

/// The minimum rate of a body, measured over windows of one idle timeout
struct MinRate {
    window: Duration,
    /// Least bytes in a window
    least: u64,
    rate: u64,
    started: Instant,
    received: u64,
}

impl MinRate {
    fn new(rules: &Rules) -> Self {
        let window = rules.idle_timeout;
        let least = u128::from(rules.min_rate).saturating_mul(window.as_millis()) / 1000;
        let least = u64::try_from(least).unwrap_or(u64::MAX);
        Self { window, least, rate: rules.min_rate, started: Instant::now(), received: 0 }
    }

    /// Counts received bytes; fails when a window had too few
    fn count(&mut self, bytes: usize) -> Result<(), Failure> {
        self.received = self.received.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if self.started.elapsed() < self.window {
            return Ok(());
        }
        if self.received < self.least {
            let (received, window, rate) = (self.received, self.window, self.rate);
            return Err(Failure::permanent(Kind::Timeout, BadResponse::Slow { received, window, rate }));
        }
        (self.started, self.received) = (Instant::now(), 0);
        Ok(())
    }
}

/// A failure below HTTP
pub(crate) fn from_transport(error: reqwest::Error) -> Failure {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(blocked) = inner.downcast_ref::<Blocked>() {
            return Failure::permanent(Kind::BlockedOrigin, blocked.clone());
        }
        cause = inner.source();
    }
    if is_untrusted(&error) {
        return Failure::permanent(Kind::Untrusted, error.without_url());
    }
    if let Some(wrong) = WrongProtocol::of(&error) {
        return Failure::permanent(Kind::Rejected, wrong);
    }
    let verdict = Verdict::of_error(&error);
    let kind = match verdict {
        Verdict::Permanent => Kind::Rejected,
        _ if error.is_timeout() => Kind::Timeout,
        _ => Kind::Unreachable,
    };
    Failure { verdict, ..Failure::permanent(kind, error.without_url()) }
}

/// Returns a header as text
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Returns the entity tag if it is strong; a weak one does not promise the same bytes (RFC 9110, section 8.8.1)
fn strong_etag(headers: &HeaderMap) -> Option<String> {
    text(headers, ETAG).filter(|etag| etag.starts_with('"')).map(str::to_owned)
}

/// Returns the start of the range in a 206 response
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = text(headers, CONTENT_RANGE)?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}
