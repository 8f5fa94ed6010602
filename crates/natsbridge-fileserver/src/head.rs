//! Looking at a link without reading it: one HEAD under the fetcher's rules, which consumes no one-shot.

use std::time::Duration;

use natsbridge_core::Link;
use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, DATE};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::Instant;

use crate::policy::Blocked;
use crate::transfer::broken;
use crate::{FetchError, FetchErrorKind, Fetcher};

/// What a server says of a link that it is not asked to give out
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStatus {
    /// The HTTP status; 403 or 405 may only mean that the link is signed for GET
    pub status: u16,
    /// Bytes that a GET would bring, where the server says so
    pub size: Option<u64>,
    /// The server's clock, to the second, where it tells it
    pub server_time: Option<OffsetDateTime>,
    /// How long the answer took
    pub took: Duration,
}

impl Fetcher {
    /// Asks the server of a link about it, once, without reading it: neither is a one-shot consumed, nor is anything
    /// downloaded
    ///
    /// # Errors
    /// [`FetchErrorKind::BlockedOrigin`] for a link that must not be followed; [`FetchErrorKind::Unreachable`],
    /// [`FetchErrorKind::Untrusted`] and [`FetchErrorKind::Timeout`] where no answer comes. Every answer is `Ok`, whatever its status.
    pub async fn head(&self, link: &Link) -> Result<LinkStatus, FetchError> {
        let rules = self.rules();
        let error = |kind| FetchError::new(kind, &*link.dataname, &link.url);
        let checked = rules.policy.check(&link.url);
        let (url, origin) = checked.map_err(|blocked| FetchError::blocked(&*link.dataname, &link.url, blocked))?;
        let started = Instant::now();
        let asking = async {
            let mut request = rules.request(url, &origin).build()?;
            *request.method_mut() = Method::HEAD;
            rules.client.execute(request).await
        };
        let answer = tokio::time::timeout(rules.idle_timeout, asking)
            .await
            .map_err(|elapsed| error(FetchErrorKind::Timeout).with_source(elapsed))?
            .map_err(|cause| {
                let failure = broken(cause);
                match failure.source.downcast::<Blocked>() {
                    Ok(blocked) => error(failure.kind).because(*blocked),
                    Err(source) => error(failure.kind).with_source(source),
                }
            })?;
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        Ok(LinkStatus {
            status: answer.status().as_u16(),
            size: header(CONTENT_LENGTH).and_then(|size| size.parse().ok()),
            server_time: header(DATE).and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok()),
            took: started.elapsed(),
        })
    }
}
