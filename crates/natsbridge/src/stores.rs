//! The uploader and the downloader that a configuration means, made when the first link needs them.

use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use natsbridge_core::{Downloaded, Link};
use natsbridge_fileserver::{
    ConfigError as StoreConfigError, Downloader, FetchError, FetchErrorKind, Fetcher, FetcherBuilder, PlikStore,
    Target, Uploader,
};

use crate::Error;
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

impl Config {
    /// The store that these settings mean, for a program that uploads by itself: the one given, or the client for
    /// `fileserver_url`
    ///
    /// # Errors
    /// [`Error::Config`] for a URL or token that can't be used.
    pub fn to_uploader(&self) -> Result<Arc<dyn Uploader>, Error> {
        match &self.uploader {
            Some(uploader) => Ok(Arc::clone(uploader)),
            None => Ok(plik(self)?),
        }
    }

    /// The safe fetcher that these settings mean, for a program that downloads by itself
    ///
    /// # Errors
    /// [`Error::Config`] for a URL or origin that can't be used.
    pub fn to_fetcher(&self) -> Result<Fetcher, Error> {
        let fetcher = fetcher_of(self)?.build();
        Ok(fetcher.map_err(|error| ConfigError::new("fetcher", error.to_string()))?)
    }
}

/// The Plik client for a configured file server
pub(crate) fn plik(config: &Config) -> Result<Arc<dyn Uploader>, ConfigError> {
    let refused = |error: StoreConfigError| ConfigError::new("FILESERVER_URL", error.to_string());
    let mut builder =
        PlikStore::builder(&config.fileserver_url).retry(config.retry).root_certificates(config.fileserver_ca.clone());
    if let Some(token) = &config.fileserver_token {
        builder = builder.user_token(token);
    }
    Ok(Arc::new(builder.build().map_err(refused)?))
}

/// The safe fetcher of a configuration: for the origins of its store and those that were allowed
pub(crate) fn fetcher_of(config: &Config) -> Result<FetcherBuilder, ConfigError> {
    let builder = match &config.uploader {
        Some(uploader) => uploader.allow_downloads(Fetcher::builder()),
        // A user name and password in it are for downloads too.
        None => Fetcher::builder()
            .server(&config.fileserver_url)
            .map_err(|error| ConfigError::new("FILESERVER_URL", error.to_string()))?,
    };
    configured(builder, config)
}

/// The safe fetcher with a configuration's settings; where it may follow no link yet, those to the allowed origins, or to
/// any where none is named
pub(crate) fn configured(builder: FetcherBuilder, config: &Config) -> Result<FetcherBuilder, ConfigError> {
    let mut builder = builder
        .retry(config.retry)
        .max_payload_size(config.checks.max_payload_size)
        .root_certificates(config.fileserver_ca.clone());
    for origin in &config.allowed_origins {
        let refused = |error: StoreConfigError| ConfigError::new("allowed_origins", error.to_string());
        builder = builder.allow(origin.parse().map_err(refused)?);
    }
    Ok(builder)
}

/// The safe fetcher, made when the first link is followed: it loads the system's certificates, and a program without links
/// should neither wait for them nor hold them
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_that_cannot_be_used_is_named_by_its_own_variable() {
        let refused = |url: &str, allowed: &[String]| {
            let mut config = Config::default().fileserver_url(url);
            config.allowed_origins.extend_from_slice(allowed);
            fetcher_of(&config).map(|_| ()).map_err(|error| error.variable)
        };
        assert_eq!(refused("http://", &[]), Err("FILESERVER_URL"));
        assert_eq!(refused("http://files.test", &["http://".to_owned()]), Err("allowed_origins"));
        assert_eq!(refused("http://bob:secret@files.test", &[]), Ok(()));
    }
}
