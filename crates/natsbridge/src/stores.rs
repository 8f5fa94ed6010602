//! The uploader and the downloader that a configuration means, made when the first link needs them.

use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use natsbridge_core::{Downloaded, Link};
use natsbridge_fileserver::{
    Downloader, FetchError, FetchErrorKind, Fetcher, FetcherBuilder, PlikStore, Target, Uploader,
};

use crate::config::Config;
use crate::error::ConfigError;

/// Makes what is shared by later calls when it is first needed
pub(crate) fn made_once<T: ?Sized>(
    slot: &OnceLock<Arc<T>>,
    make: impl FnOnce() -> Result<Arc<T>, ConfigError>,
) -> Result<Arc<T>, ConfigError> {
    if let Some(made) = slot.get() {
        return Ok(Arc::clone(made));
    }
    let made = make()?;
    Ok(Arc::clone(slot.get_or_init(|| made)))
}

/// The Plik client for a configured file server
pub(crate) fn plik(config: &Config) -> Result<Arc<dyn Uploader>, ConfigError> {
    let refused = |error: natsbridge_fileserver::ConfigError| ConfigError::new("FILESERVER_URL", error.to_string());
    let mut builder =
        PlikStore::builder(&config.fileserver_url).retry(config.retry).root_certificates(config.fileserver_ca.clone());
    if let Some(token) = &config.fileserver_token {
        builder = builder.user_token(token.reveal());
    }
    Ok(Arc::new(builder.build().map_err(refused)?))
}

/// The safe fetcher: for the origins of a store and those that were allowed, or for any where none is named
pub(crate) fn fetcher(
    mut builder: FetcherBuilder,
    uploader: Option<&dyn Uploader>,
    fileserver_url: Option<&str>,
    allowed_origins: &[String],
) -> Result<Arc<dyn Downloader>, ConfigError> {
    for origin in uploader.iter().flat_map(|uploader| uploader.origins()) {
        builder = builder.allow(origin);
    }
    if let Some(url) = fileserver_url {
        // A user name and password in it are for downloads too.
        builder = builder.server(url).map_err(|error| ConfigError::new("FILESERVER_URL", error.to_string()))?;
    }
    for origin in allowed_origins {
        let refused =
            |error: natsbridge_fileserver::ConfigError| ConfigError::new("allowed_origins", error.to_string());
        builder = builder.allow(origin.parse().map_err(refused)?);
    }
    Ok(Arc::new(LateFetcher { builder, made: OnceLock::new() }))
}

/// The safe fetcher, made when the first link is followed: it loads the system's certificates, and a program without links
/// should neither wait for them nor hold them
#[derive(Debug)]
struct LateFetcher {
    builder: FetcherBuilder,
    made: OnceLock<Fetcher>,
}

impl LateFetcher {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_that_cannot_be_used_is_named_by_its_own_variable() {
        let refused = |url: Option<&str>, allowed: &[String]| {
            fetcher(Fetcher::builder(), None, url, allowed).map(|_| ()).map_err(|error| error.variable)
        };
        assert_eq!(refused(Some("http://"), &[]), Err("FILESERVER_URL"));
        assert_eq!(refused(Some("http://files.test"), &["http://".to_owned()]), Err("allowed_origins"));
        assert_eq!(refused(Some("http://bob:secret@files.test"), &[]), Ok(()));
    }
}
