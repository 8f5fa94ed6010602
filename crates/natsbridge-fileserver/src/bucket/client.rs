//! The HTTP client under a bucket: time-outs that hold for answers too, and errors that say what happened and no more.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use hyper::body::Body as _;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpService,
};
use url::{Host, Url};

use crate::StoreErrorKind as Kind;
use crate::client::{self, ClientOptions, Proxies};
use crate::error_response::ErrorResponse;
use crate::observe;
use crate::policy::is_dangerous;
use crate::retry::{Retries, deadline};
use crate::secrets::Secrets;
use crate::upload::{Failure, read_body, send_with_idle_timeout};

/// Bytes that are counted as sent at once: a slow line is not a silent server
const PIECE: usize = 64 * 1024;
/// Idle times that an answer of success may take: putting parts together takes a server its time
const LONGEST_ANSWER: u32 = 10;

/// Makes a bucket's client of the options of its store
#[derive(Debug, Clone)]
pub(super) struct Connector {
    client: reqwest::Client,
    options: ClientOptions,
    /// Whether the machine that the program runs on may be asked for keys
    instance: bool,
    /// Keys and tokens that no error may repeat, besides those in a request
    known: Secrets,
}

impl Connector {
    pub(super) fn new(options: ClientOptions, instance: bool, known: Secrets) -> Result<Self, reqwest::Error> {
        let client = client::build(options.connect_timeout, &options.roots, None, Proxies::System)?;
        Ok(Self { client, options, instance, known })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &object_store::ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl HttpService for Connector {
    // As `async_trait` writes it.
    fn call<'life, 'call>(&'life self, request: HttpRequest) -> BoxFuture<'call, Result<HttpResponse, HttpError>>
    where
        'life: 'call,
        Self: 'call,
    {
        // Of a kind that is not tried again: that is decided by what the error holds.
        let failed = |failure| HttpError::new(HttpErrorKind::Unknown, Trouble(Arc::new(failure)));
        self.answer(request).map(move |answer| answer.map_err(failed)).boxed()
    }
}

impl Connector {
    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, Failure> {
        let (head, body) = request.into_parts();
        let url = Url::parse(&head.uri.to_string())
            .map_err(|error| Failure::permanent(Kind::Rejected, format!("the bucket's URL can't be used: {error}")))?;
        if !self.instance && asks_the_machine(&head.headers, &url) {
            return Err(Failure::permanent(Kind::Credentials, NoKeys));
        }
        let secrets = Secrets::of(&head.headers, &url).and(&self.known);
        // A part of a large upload is sent again by itself; everything else is begun anew as a whole.
        let is_part = head.method == http::Method::PUT && url.query_pairs().any(|(key, _)| key == "partNumber");
        let mut retries = is_part.then(|| Retries::new(&self.options.retry, deadline(self.options.total_timeout)));
        loop {
            let failure = match self.attempt(&head, url.clone(), body.clone(), &secrets).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let Some(retries) = retries.as_mut().filter(|_| failure.verdict.is_temporary()) else {
                return Err(failure);
            };
            let Failure { source, retry_after, .. } = failure;
            match retries.pause(retry_after, source).await {
                Ok(()) => observe::count_retry("upload"),
                Err(source) => return Err(Failure { source, ..failure }),
            }
        }
    }

    async fn attempt(
        &self,
        head: &http::request::Parts,
        url: Url,
        body: HttpRequestBody,
        secrets: &Secrets,
    ) -> Result<HttpResponse, Failure> {
        let idle = self.options.idle_timeout;
        let sent = Arc::new(AtomicU64::new(0));
        let mut request = reqwest::Request::new(head.method.clone(), url);
        *request.headers_mut() = head.headers.clone();
        *request.body_mut() = Some(match body.as_bytes() {
            Some(bytes) => bytes.clone().into(),
            None => reqwest::Body::wrap_stream(counted(body, Arc::clone(&sent))),
        });
        let answer = self.client.execute(request);
        let response = send_with_idle_timeout(idle, || sent.load(Ordering::Relaxed), answer).await?;
        if !response.status().is_success() {
            return Err(Failure::from_response(ErrorResponse::read(response, idle, secrets).await));
        }
        let mut answer = http::Response::new(());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = response.headers().clone();
        let longest = idle.saturating_mul(LONGEST_ANSWER);
        let body = tokio::time::timeout(longest, read_body(response, idle)).await;
        let body = body.unwrap_or_else(|_| Err(Failure::idle(longest)))?;
        match ErrorResponse::within(&body, secrets) {
            Some(error) => Err(Failure::from_response(error)),
            None => Ok(answer.map(|()| Bytes::from(body).into())),
        }
    }
}

/// A body in pieces, counted as they are taken
fn counted(
    mut body: HttpRequestBody,
    sent: Arc<AtomicU64>,
) -> impl Stream<Item = Result<Bytes, HttpError>> + Send + 'static {
    let frames = futures_util::stream::poll_fn(move |context| Pin::new(&mut body).poll_frame(context));
    let pieces = frames.flat_map(|frame| {
        let pieces = match frame {
            Ok(frame) => frame.into_data().map_or_else(|_| Vec::new(), |data| cut(data).map(Ok).collect()),
            Err(error) => vec![Err(error)],
        };
        futures_util::stream::iter(pieces)
    });
    pieces.inspect(move |piece| {
        let bytes = piece.as_ref().map_or(0, |piece| u64::try_from(piece.len()).unwrap_or(0));
        sent.fetch_add(bytes, Ordering::Relaxed);
    })
}

fn cut(mut data: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || (!data.is_empty()).then(|| data.split_to(data.len().min(PIECE))))
}

/// Whether a request asks the machine that the program runs on, or its container, for keys
fn asks_the_machine(headers: &http::HeaderMap, url: &Url) -> bool {
    let asks =
        |name: &str| name == "metadata" || name == "metadata-flavor" || name.starts_with("x-aws-ec2-metadata-token");
    let address = match url.host() {
        Some(Host::Ipv4(ip)) => Some(ip.into()),
        Some(Host::Ipv6(ip)) => Some(ip.into()),
        Some(Host::Domain(_)) | None => None,
    };
    headers.keys().any(|name| asks(name.as_str()))
        || url.host_str() == Some("metadata.google.internal")
        || address.is_some_and(is_dangerous)
}

/// There is nothing to sign with, and nobody else is asked
#[derive(Debug, thiserror::Error)]
#[error(
    "set the variables of this cloud's keys; the machine that the program runs on is asked for keys only where the program says so"
)]
struct NoKeys;

/// A failure on its way through `object_store`, which keeps it among its causes
#[derive(Debug, Clone)]
pub(super) struct Trouble(Arc<Failure>);

impl Trouble {
    /// The failure among an error's causes
    pub(super) fn found(error: &(dyn StdError + 'static)) -> Option<Failure> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(Self(failure)) = error.downcast_ref() {
                let Failure { kind, verdict, retry_after, .. } = **failure;
                return Some(Failure { kind, verdict, retry_after, source: Self(Arc::clone(failure)).into() });
            }
            cause = error.source();
        }
        None
    }

    /// What the server answered, if it did
    pub(super) fn status(failure: &Failure) -> Option<http::StatusCode> {
        let Self(failure) = failure.source.downcast_ref()?;
        failure.source.downcast_ref::<ErrorResponse>().map(|answer| answer.status)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.source.fmt(f)
    }
}

impl StdError for Trouble {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.source()
    }
}

/// How long the removal of a failed upload's parts may hold up the next attempt
pub(super) const CLEAN_UP: Duration = Duration::from_secs(2);
