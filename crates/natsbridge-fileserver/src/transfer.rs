//! One download from its first request to its last byte: attempts, resumption, one-shot questions and final checks.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use natsbridge_core::{Downloaded, Link, shown};
use reqwest::header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_RANGE, RANGE};
use reqwest::{RequestBuilder, Response, StatusCode};
use time::OffsetDateTime;
use tokio::time::Instant;
use url::Url;

use crate::answer::Answer;
use crate::fetch::Rules;
use crate::observe;
use crate::policy::Blocked;
use crate::reach::Verdict;
use crate::retry::Retries;
use crate::roots::is_untrusted;
use crate::secrets::Secrets;
use crate::sink::Sink;
use crate::status::{Question, Upload, signed_until};
use crate::{BoxError, FetchError, FetchErrorKind as Kind, Origin, Target};

/// How far two clocks may be apart before a link is called expired without asking its server
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
/// Most bytes of an answer about an upload that are read
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
    /// The entity tag of what the sink holds the beginning of, if it may be resumed
    etag: Option<String>,
    /// Whether a one-shot link may have been consumed, so that its server has to be asked before it is read again
    in_doubt: bool,
    /// Whether a whole body with the wrong digest was received before
    was_corrupt: bool,
    /// Whether the server was there when it was last asked, as far as is known
    there: Option<bool>,
}

/// Why an attempt failed, and what that says about the server
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) source: BoxError,
    verdict: Verdict,
    retry_after: Option<Duration>,
}

impl Failure {
    fn last(kind: Kind, source: impl Into<BoxError>) -> Self {
        Self { kind, source: source.into(), verdict: Verdict::Final, retry_after: None }
    }

    fn again(kind: Kind, source: impl Into<BoxError>) -> Self {
        Self { verdict: Verdict::Again, ..Self::last(kind, source) }
    }

    /// A passing failure that an answer tells of
    fn answered(answer: Answer) -> Self {
        let (verdict, retry_after) = (answer.verdict(), answer.retry_after);
        Self { verdict, retry_after, ..Self::last(Kind::Unreachable, answer) }
    }
}

/// What an answer or a body has that it must not have
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("the server offers {found} bytes, expected {expected}")]
    Offered { found: u64, expected: u64 },
    #[error("{found} bytes came, expected {expected}")]
    Received { found: u64, expected: u64 },
    #[error("at most {limit} bytes are taken")]
    Limit { limit: u64 },
    #[error("the digest is {found}, expected {expected}")]
    Digest { found: natsbridge_core::Digest, expected: natsbridge_core::Digest },
    #[error("the body is encoded as `{0}`, which was not asked for")]
    Encoding(String),
    #[error("an HTML page came, and the envelope gives neither size nor digest to tell it from the payload")]
    Page,
    #[error("the server answered {0}, which has no body to download")]
    Status(StatusCode),
    #[error("the server sent another range than was asked for")]
    Range,
    #[error("the server was silent for {} ms", .0.as_millis())]
    Silent(Duration),
    #[error("{came} bytes came in {} ms, which is less than {rate} a second", .window.as_millis())]
    Slow { came: u64, window: Duration, rate: u64 },
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
    /// Checks everything about a link that can be known before asking for it
    pub(crate) fn new(rules: &'a Rules, link: &'a Link, deadline: Instant) -> Result<Self, FetchError> {
        let error = |kind| FetchError::new(kind, &*link.dataname, &link.url);
        let (url, origin) = rules
            .policy
            .check(&link.url)
            .map_err(|blocked| FetchError::blocked(&*link.dataname, &link.url, blocked))?;
        if let Some(at) = link.expires_at
            && at + CLOCK_SKEW < OffsetDateTime::now_utc()
        {
            return Err(error(Kind::Expired).with_source(Wrong::Expired(at)));
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
            there: None,
        })
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether the server was there when it was last asked; `None` if that is not known
    ///
    /// A server that answers is there, whatever it says: one broken file must not close the way to all others.
    pub(crate) fn was_there(&self) -> Option<bool> {
        self.there
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// An error about this link
    pub(crate) fn error(&self, kind: Kind) -> FetchError {
        FetchError::new(kind, &*self.link.dataname, &self.link.url).attempts_made(self.retries.attempts())
    }

    /// Downloads, with as many attempts as it takes and the policy allows
    pub(crate) async fn run(&mut self, target: Target) -> Result<Downloaded, FetchError> {
        if target == Target::Memory {
            self.limit = self.limit.min(self.rules.max_memory_size);
        }
        if self.link.size.is_some_and(|size| size > self.limit) {
            return Err(self.error(Kind::TooLarge).with_source(Wrong::Limit { limit: self.limit }));
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
            if !verdict.is_passing() || !self.rules.retry.retries() {
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
                observe::retry_exceeded();
                return Err(self.error(Kind::DownloadRetryExceeded).last_kind(kind).with_source(source));
            }
            observe::retried("download");
        }
        sink.finish().await.map_err(|source| self.error(Kind::LocalFile).with_source(source))
    }

    async fn attempt(&mut self, sink: &mut Sink) -> Result<(), Failure> {
        if self.in_doubt {
            self.ask().await?;
            self.in_doubt = false;
        }
        let mut request = self.rules.request(self.url.clone(), &self.origin);
        let resume = self.etag.take().filter(|_| sink.received() > 0);
        if let Some(etag) = &resume {
            request = request.header(RANGE, format!("bytes={}-", sink.received())).header(IF_RANGE, etag);
        }
        let (response, secrets) = match self.send(request).await {
            Ok(reply) => reply,
            Err(failure) => return Err(self.doubtful(failure)),
        };
        match response.status() {
            StatusCode::OK => sink.restart().await.map_err(|error| Failure::last(Kind::LocalFile, error))?,
            StatusCode::PARTIAL_CONTENT if resume.is_some() => {
                if range_start(response.headers()) != Some(sink.received()) {
                    return Err(Failure::again(Kind::Rejected, Wrong::Range));
                }
            }
            // What was there changed or is no longer divisible: from zero next time.
            StatusCode::RANGE_NOT_SATISFIABLE if resume.is_some() => {
                return Err(Failure::again(Kind::Rejected, Wrong::Range));
            }
            status if status.is_success() => return Err(Failure::last(Kind::Rejected, Wrong::Status(status))),
            status => {
                let answer = Answer::read(response, self.rules.idle_timeout, &secrets).await;
                return Err(self.refusal(status, answer).await);
            }
        }
        self.check_headers(&response, sink)?;
        self.link.report(sink.received());
        let offered = response.content_length().map(|length| length.saturating_add(sink.received()));
        sink.expect(self.link.size.or(offered).unwrap_or(0));
        let etag = strong_etag(response.headers());
        if let Err(failure) = self.read(response, sink).await {
            self.etag = etag.filter(|_| !self.link.one_shot);
            return Err(self.doubtful(failure));
        }
        self.verify(sink).await
    }

    /// Refuses a body before reading it, where its headers show that it is not the payload
    fn check_headers(&self, response: &Response, sink: &Sink) -> Result<(), Failure> {
        let headers = response.headers();
        if let Some(encoding) =
            text(headers, CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))
        {
            return Err(Failure::last(Kind::Rejected, Wrong::Encoding(shown(encoding).into_owned())));
        }
        if let Some(found) = response.content_length().map(|length| length.saturating_add(sink.received())) {
            if let Some(expected) = self.link.size
                && found != expected
            {
                return Err(Failure::last(Kind::SizeMismatch, Wrong::Offered { found, expected }));
            }
            if found > self.limit {
                return Err(Failure::last(Kind::TooLarge, Wrong::Limit { limit: self.limit }));
            }
        }
        let unknown = self.link.size.is_none() && self.link.sha256.is_none();
        // Plik never serves a file as HTML, so with nothing else to go by a page is taken for an error's page.
        if unknown
            && text(headers, CONTENT_TYPE)
                .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html"))
        {
            return Err(Failure::last(Kind::Rejected, Wrong::Page));
        }
        Ok(())
    }

    async fn read(&self, mut response: Response, sink: &mut Sink) -> Result<(), Failure> {
        let mut pace = Pace::new(self.rules);
        while let Some(chunk) = self.chunk(&mut response).await? {
            pace.check(chunk.len())?;
            let found = sink.received().saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if let Some(expected) = self.link.size.filter(|expected| found > *expected) {
                return Err(Failure::last(Kind::SizeMismatch, Wrong::Received { found, expected }));
            }
            if found > self.limit {
                return Err(Failure::last(Kind::TooLarge, Wrong::Limit { limit: self.limit }));
            }
            sink.push(chunk).await.map_err(|error| Failure::last(Kind::LocalFile, error))?;
            self.link.report(sink.received());
        }
        match self.link.size {
            // Without Content-Length a cut connection looks like the end.
            Some(expected) if sink.received() < expected => {
                Err(Failure::again(Kind::SizeMismatch, Wrong::Received { found: sink.received(), expected }))
            }
            _ => Ok(()),
        }
    }

    async fn verify(&mut self, sink: &mut Sink) -> Result<(), Failure> {
        let Some(expected) = self.link.sha256 else { return Ok(()) };
        let found = sink.digest().await.map_err(|error| Failure::last(Kind::LocalFile, error))?;
        if found == expected {
            return Ok(());
        }
        let wrong = Wrong::Digest { found, expected };
        // Once more in full, since a bit may have flipped on the way; a one-shot link was consumed by this reading.
        if self.was_corrupt || self.link.one_shot {
            return Err(Failure::last(Kind::Digest, wrong));
        }
        self.was_corrupt = true;
        Err(Failure::again(Kind::Digest, wrong))
    }

    /// What an answer other than success means
    async fn refusal(&mut self, status: StatusCode, answer: Answer) -> Failure {
        if answer.status.is_redirection() {
            return Failure::last(Kind::BlockedOrigin, Blocked::Redirect);
        }
        if answer.verdict().is_passing() {
            return self.doubtful(Failure::answered(answer));
        }
        let expired = answer.says_expired()
            || self
                .link
                .expires_at
                .or_else(|| signed_until(&self.url))
                .is_some_and(|at| at < OffsetDateTime::now_utc());
        let gone =
            answer.text.ends_with("is not available : removed") || answer.text.ends_with("is not available : deleted");
        let kind = match answer.status.as_u16() {
            404 if gone && (self.link.one_shot || self.was_one_shot().await) => Kind::Consumed,
            410 if self.link.one_shot => Kind::Consumed,
            // Some S3 servers call a link whose time is over a bad request.
            400 | 401 | 403 | 404 | 410 if expired => Kind::Expired,
            404 | 410 => Kind::NotFound,
            401 | 403 | 407 => Kind::Refused,
            _ => Kind::Rejected,
        };
        tracing::debug!(%status, code = kind.code(), "a link was refused");
        Failure::last(kind, answer)
    }

    /// Marks a failure after which a one-shot link may be gone
    fn doubtful(&mut self, failure: Failure) -> Failure {
        let never_sent = failure.source.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect);
        self.in_doubt = self.link.one_shot && failure.verdict.is_passing() && !never_sent;
        failure
    }

    /// Asks the server of a one-shot link whether it can be read once more
    async fn ask(&mut self) -> Result<(), Failure> {
        let Some(question) = Question::about(&self.url) else {
            return Err(Failure::last(Kind::Consumed, Wrong::InDoubt));
        };
        let (response, secrets) = self.send(self.rules.request(question.url.clone(), &self.origin)).await?;
        if response.status() != StatusCode::OK {
            let answer = Answer::read(response, self.rules.idle_timeout, &secrets).await;
            if answer.verdict().is_passing() {
                return Err(Failure::answered(answer));
            }
            let kind = if answer.says_expired() { Kind::Expired } else { Kind::Consumed };
            return Err(Failure::last(kind, answer));
        }
        let upload = self.upload(response).await?;
        match upload.and_then(|upload| question.still_there(&upload)) {
            Some(true) => Ok(()),
            Some(false) => Err(Failure::last(Kind::Consumed, Wrong::Gone)),
            None => Err(Failure::last(Kind::Consumed, Wrong::InDoubt)),
        }
    }

    /// Whether a deleted file belonged to a one-shot upload: some senders do not say so in the envelope
    async fn was_one_shot(&mut self) -> bool {
        let Some(question) = Question::about(&self.url) else { return false };
        match self.send(self.rules.request(question.url, &self.origin)).await {
            Ok((response, _)) if response.status() == StatusCode::OK => {
                self.upload(response).await.ok().flatten().is_some_and(|upload| upload.one_shot)
            }
            _ => false,
        }
    }

    async fn upload(&self, mut response: Response) -> Result<Option<Upload>, Failure> {
        let mut body = Vec::new();
        let reading = async {
            while let Some(chunk) = response.chunk().await.map_err(broken)? {
                if body.len() + chunk.len() > MAX_STATUS {
                    return Ok(None);
                }
                body.extend_from_slice(&chunk);
            }
            Ok(serde_json::from_slice(&body).ok())
        };
        tokio::time::timeout(self.rules.idle_timeout, reading).await.unwrap_or_else(|_| Err(self.silent()))
    }

    /// Sends a request and waits for its answer, but not longer than the server may be silent
    async fn send(&mut self, request: RequestBuilder) -> Result<(Response, Secrets), Failure> {
        let request = request.build().map_err(broken)?;
        let secrets = Secrets::of(request.headers(), request.url());
        let answer = tokio::time::timeout(self.rules.idle_timeout, self.rules.client.execute(request)).await;
        let answer = match answer {
            Ok(answer) => answer.map_err(broken),
            Err(_) => Err(self.silent()),
        };
        let verdict = match &answer {
            Ok(response) => Verdict::of_status(response.status(), false),
            Err(failure) => failure.verdict,
        };
        match verdict {
            Verdict::Away => self.there = Some(false),
            _ if answer.is_ok() => self.there = Some(true),
            _ => {}
        }
        Ok((answer?, secrets))
    }

    /// Waits for the next piece of a body; a server that has begun one is there, also where it falls silent
    async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, Failure> {
        let failure = match tokio::time::timeout(self.rules.idle_timeout, response.chunk()).await {
            Ok(Ok(chunk)) => return Ok(chunk),
            Ok(Err(error)) => broken(error),
            Err(_) => self.silent(),
        };
        Err(Failure { verdict: Verdict::Again, ..failure })
    }

    fn silent(&self) -> Failure {
        let silent = Wrong::Silent(self.rules.idle_timeout);
        Failure { verdict: Verdict::Away, ..Failure::last(Kind::Timeout, silent) }
    }
}

/// How fast a body comes: too slow for one whole idle time, and it is given up
struct Pace {
    window: Duration,
    /// Bytes that a window has to bring
    least: u64,
    rate: u64,
    began: Instant,
    came: u64,
}

impl Pace {
    fn new(rules: &Rules) -> Self {
        let window = rules.idle_timeout;
        let least = u128::from(rules.min_rate).saturating_mul(window.as_millis()) / 1000;
        let least = u64::try_from(least).unwrap_or(u64::MAX);
        Self { window, least, rate: rules.min_rate, began: Instant::now(), came: 0 }
    }

    /// Counts what came
    fn check(&mut self, bytes: usize) -> Result<(), Failure> {
        self.came = self.came.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if self.began.elapsed() < self.window {
            return Ok(());
        }
        if self.came < self.least {
            let (came, window, rate) = (self.came, self.window, self.rate);
            return Err(Failure::last(Kind::Timeout, Wrong::Slow { came, window, rate }));
        }
        (self.began, self.came) = (Instant::now(), 0);
        Ok(())
    }
}

/// A failure below HTTP
pub(crate) fn broken(error: reqwest::Error) -> Failure {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(blocked) = inner.downcast_ref::<Blocked>() {
            return Failure::last(Kind::BlockedOrigin, blocked.clone());
        }
        cause = inner.source();
    }
    if is_untrusted(&error) {
        return Failure::last(Kind::Untrusted, error.without_url());
    }
    let verdict = Verdict::of_error(&error);
    let kind = match verdict {
        Verdict::Final => Kind::Rejected,
        _ if error.is_timeout() => Kind::Timeout,
        _ => Kind::Unreachable,
    };
    Failure { verdict, ..Failure::last(kind, error.without_url()) }
}

/// A header as text
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The entity tag, unless it is weak: a weak one does not promise the same bytes (RFC 9110 §8.8.1)
fn strong_etag(headers: &HeaderMap) -> Option<String> {
    text(headers, ETAG).filter(|etag| etag.starts_with('"')).map(str::to_owned)
}

/// Where the body of a 206 begins
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = text(headers, CONTENT_RANGE)?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}
