//! The safe fetcher, made when the first link is followed: it loads the system's certificates, and a program without
//! links should neither wait for them nor hold them.

use std::sync::OnceLock;

use futures_util::future::BoxFuture;
use natsbridge_core::{Downloaded, Link};
use natsbridge_fileserver::{Downloader, FetchError, FetchErrorKind, Fetcher, FetcherBuilder, Target};

/// A fetcher's settings, and the fetcher once it was needed
#[derive(Debug)]
pub(crate) struct LateFetcher {
    builder: FetcherBuilder,
    made: OnceLock<Fetcher>,
}

impl LateFetcher {
    pub(crate) const fn new(builder: FetcherBuilder) -> Self {
        Self { builder, made: OnceLock::new() }
    }

    fn fetcher(&self, link: &Link) -> Result<&Fetcher, FetchError> {
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        let made = self.builder.clone().build().map_err(|error| {
            FetchError::new(FetchErrorKind::Handler, link.dataname.as_str(), &link.url).with_source(error)
        })?;
        Ok(self.made.get_or_init(|| made))
    }
}

impl Downloader for LateFetcher {
    fn download<'a>(&'a self, link: &'a Link, target: Target) -> BoxFuture<'a, Result<Downloaded, FetchError>> {
        Box::pin(async move { self.fetcher(link)?.download(link, target).await })
    }
}
