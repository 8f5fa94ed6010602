//! The HTTP client for `object_store`: timeouts that include the response, and errors without secrets.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// Size of the pieces in which sent bytes are counted: a slow connection is not idle
const PIECE: usize = 64 * 1024;
/// Idle timeouts that a successful response may take, since a server needs time to join the parts
const LONGEST_ANSWER: u32 = 10;

/// Creates a bucket's HTTP client from the options of its store
#[derive(Debug, Clone)]
pub(super) struct Connector {
    client: reqwest::Client,
    options: ClientOptions,
    /// Whether instance credentials may be used
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
        // `object_store` does not retry this kind; the store decides by the failure inside.
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
        // A part of a multipart upload is retried alone; any other request restarts the whole upload.
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
            None => reqwest::Body::wrap_stream(count_bytes(body, Arc::clone(&sent))),
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

/// Splits a body into pieces and counts them as they are sent
fn count_bytes(
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

/// Whether a request is for instance credentials
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

/// No credentials are configured, and instance credentials are not enabled
#[derive(Debug, thiserror::Error)]
#[error(
    "set the variables of this cloud's keys; the machine that the program runs on is asked for keys only where the program says so"
)]
struct NoKeys;

/// A failure inside an error of `object_store`
#[derive(Debug, Clone)]
pub(super) struct Trouble(Arc<Failure>);

impl Trouble {
    /// The failure among an error's causes
    pub(super) fn found(error: &(dyn StdError + 'static)) -> Option<Failure> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(Self(failure)) = error.downcast_ref() {
                let Failure { kind, verdict, retry_after, doubtful, .. } = **failure;
                let source = Self(Arc::clone(failure)).into();
                return Some(Failure { kind, verdict, retry_after, doubtful, source });
            }
            cause = error.source();
        }
        None
    }

    /// The status of the response, if there was one
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
