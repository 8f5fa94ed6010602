//! The fetcher's HEAD request, which downloads nothing and consumes no one-shot link.

use std::time::Duration;

use natsbridge_core::Link;
use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, DATE};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::Instant;

use crate::policy::Blocked;
use crate::transfer::from_transport;
use crate::{FetchError, FetchErrorKind, Fetcher};

/// The response of a server to a HEAD request for a link
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStatus {
    /// HTTP status; 403 or 405 may only mean that the link is signed for GET
    pub status: u16,
    /// `Content-Length`: the size in bytes that a GET would download
    pub size: Option<u64>,
    /// `Date`: the server's clock, in whole seconds
    pub server_time: Option<OffsetDateTime>,
    /// Time until the response arrived
    pub took: Duration,
}

impl Fetcher {
    /// Sends one HEAD request for a link; this downloads nothing and consumes no one-shot link
    ///
    /// Every response is `Ok`, whatever its status.
    ///
    /// # Errors
    /// [`FetchErrorKind::BlockedOrigin`] for a link that this fetcher does not follow; [`FetchErrorKind::Unreachable`],
    /// [`FetchErrorKind::Untrusted`] or [`FetchErrorKind::Timeout`] if no response arrives.
    pub async fn head(&self, link: &Link) -> Result<LinkStatus, FetchError> {
        let rules = self.rules();
        let error = |kind| FetchError::new(kind, &*link.dataname, &link.url);
        let checked = rules.policy.check(&link.url);
        let (url, origin) = checked.map_err(|blocked| FetchError::blocked(&*link.dataname, &link.url, blocked))?;
        let started = Instant::now();
        let request = async {
            let mut request = rules.request(url, &origin).build()?;
            *request.method_mut() = Method::HEAD;
            rules.client.execute(request).await
        };
        let response = tokio::time::timeout(rules.idle_timeout, request)
            .await
            .map_err(|elapsed| error(FetchErrorKind::Timeout).with_source(elapsed))?
            .map_err(|cause| {
                let failure = from_transport(cause);
                match failure.source.downcast::<Blocked>() {
                    Ok(blocked) => error(failure.kind).because(*blocked),
                    Err(source) => error(failure.kind).with_source(source),
                }
            })?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        Ok(LinkStatus {
            status: response.status().as_u16(),
            size: header(CONTENT_LENGTH).and_then(|size| size.parse().ok()),
            server_time: header(DATE).and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok()),
            took: started.elapsed(),
        })
    }
}
