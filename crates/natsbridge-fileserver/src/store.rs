//! The traits [`Uploader`] and [`Downloader`], and the types of their methods.

use std::borrow::Cow;
use std::fmt::{self, Debug};
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use natsbridge_core::{Downloaded, Link, Object, Source, Uploaded};

use crate::{FetchError, FetcherBuilder, LifetimeRules, Origin, StoreError};

/// Uploads payloads to a file server, where receivers download them by a link
///
/// An implementation retries requests that may succeed later, computes the SHA-256 digest while it sends the bytes,
/// reports its progress to [`Object::report`], and returns `Ok` only after the server has confirmed that it stored all
/// bytes. The module `contract` (feature `contract`) tests an implementation against every rule.
pub trait Uploader: Send + Sync + Debug {
    /// Returns the store's name for errors, such as `plik at http://files.test`; it must contain no secret
    fn name(&self) -> Cow<'_, str>;

    /// Uploads the bytes of `source` and returns the link for the envelope
    ///
    /// Keep the URL short: the envelope has 2,048 bytes for one link and its metadata (`Limits::link_allowance`). With a
    /// longer URL the message may exceed the broker's maximum payload. That is found only after the upload: sending
    /// fails, and the upload is deleted.
    ///
    /// Dropping the future stops the upload. What the server has stored by then is deleted in the background, as well as
    /// that can be done: nobody has a receipt for it.
    ///
    /// # Errors
    /// [`StoreError`]; its kind tells whether a retry may help.
    fn upload<'a>(&'a self, object: &'a Object, source: &'a Source) -> BoxFuture<'a, Result<Stored, StoreError>>;

    /// Deletes an upload; it is no error if the upload no longer exists
    ///
    /// # Errors
    /// [`StoreError`] if the server can't be reached or refuses.
    fn delete<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Returns the origins of this store's links, as far as they are known; receivers have to allow them
    fn origins(&self) -> Vec<Origin>;

    /// Allows a fetcher to download this store's links, with credentials where the server asks for them; by default its
    /// origins without credentials
    fn allow_downloads(&self, fetcher: FetcherBuilder) -> FetcherBuilder {
        self.origins().into_iter().fold(fetcher, FetcherBuilder::allow)
    }

    /// Returns which lifetimes this store offers, as far as they are known; by default they are unknown
    ///
    /// The lifetime of one upload is in its [`Uploaded`]: `one_shot` and `expires_at`.
    fn lifetime_rules(&self) -> LifetimeRules {
        LifetimeRules::default()
    }
}

/// Downloads payloads by their link
pub trait Downloader: Send + Sync + Debug {
    /// Downloads the link into `target`
    ///
    /// An implementation checks `link.size` and `link.sha256`, where they are set, before it returns, and reports its
    /// progress to [`Link::report`]. Dropping the future stops the download and removes an incomplete file.
    ///
    /// # Errors
    /// [`FetchError`], which names the payload and the redacted URL.
    fn download<'a>(&'a self, link: &'a Link, target: Target) -> BoxFuture<'a, Result<Downloaded, FetchError>>;
}

impl<T: Uploader + ?Sized> Uploader for Arc<T> {
    fn name(&self) -> Cow<'_, str> {
        (**self).name()
    }
    fn upload<'a>(&'a self, object: &'a Object, source: &'a Source) -> BoxFuture<'a, Result<Stored, StoreError>> {
        (**self).upload(object, source)
    }
    fn delete<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<(), StoreError>> {
        (**self).delete(receipt)
    }
    fn origins(&self) -> Vec<Origin> {
        (**self).origins()
    }
    fn allow_downloads(&self, fetcher: FetcherBuilder) -> FetcherBuilder {
        (**self).allow_downloads(fetcher)
    }
    fn lifetime_rules(&self) -> LifetimeRules {
        (**self).lifetime_rules()
    }
}

impl<T: Downloader + ?Sized> Downloader for Arc<T> {
    fn download<'a>(&'a self, link: &'a Link, target: Target) -> BoxFuture<'a, Result<Downloaded, FetchError>> {
        (**self).download(link, target)
    }
}

/// What an upload returns: the link for the envelope, and what deletes the upload
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "implementations of `Uploader` outside this crate build it")]
pub struct Stored {
    /// URL, size, digest and lifetime, for the envelope
    pub uploaded: Uploaded,
    /// The argument for [`Uploader::delete`]; keep it on the sender's side
    pub receipt: Receipt,
}

/// A secret that deletes one upload; only the store that returned it can read it
#[derive(Clone, PartialEq, Eq)]
pub struct Receipt(String);

impl Receipt {
    /// Wraps the text that a store needs to delete an upload
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Returns the text that the store wrapped; treat it like a password
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt(…)")
    }
}

/// Destination of a download
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// Memory
    Memory,
    /// A new file, which must not exist yet; it is removed if the download fails or is dropped
    File(PathBuf),
}
