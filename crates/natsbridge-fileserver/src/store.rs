//! The two traits of a file server, object-safe and small, and what passes through them.

use std::borrow::Cow;
use std::fmt::{self, Debug};
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use natsbridge_core::{Downloaded, Link, Object, Source, Uploaded};

use crate::{FetchError, LifetimeRules, Origin, StoreError};

/// Keeps payloads where a receiver can read them by a link
///
/// An implementation retries what may succeed on another try, computes the digest in the pass that sends the bytes,
/// reports to [`Object::report`] how many it has sent, and answers `Ok` only when the server has confirmed that all of them are safe. The contract suite (feature
/// `contract`) tests one against every rule.
pub trait Uploader: Send + Sync + Debug {
    /// What errors call this store, such as `plik at http://files.test`; holds no secret
    fn name(&self) -> Cow<'_, str>;

    /// Stores the bytes of `source`
    ///
    /// The plan of a message keeps 2,048 bytes for a link and what is said about it (`Limits::link_allowance`). With a
    /// longer URL the message may no longer fit the broker, which is found only after this call: the message then fails,
    /// and what was uploaded for it is deleted.
    ///
    /// Dropping the future stops the upload; what a server already holds then lives until its time to live is over.
    ///
    /// # Errors
    /// [`StoreError`] with the kind that says whether another try may help.
    fn upload<'a>(&'a self, object: &'a Object, source: &'a Source) -> BoxFuture<'a, Result<Stored, StoreError>>;

    /// Removes an upload; one that is gone already is no error
    ///
    /// # Errors
    /// [`StoreError`] if the server can't be asked, or refuses.
    fn delete<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The origins that links of this store lead to, as far as they are known: what its receivers may follow
    fn origins(&self) -> Vec<Origin>;

    /// What this store makes of a wished lifetime, as far as it is known; by default nothing is known
    ///
    /// What became of one upload is in its [`Uploaded`]: `one_shot` and `expires_at`.
    fn lifetime_rules(&self) -> LifetimeRules {
        LifetimeRules::default()
    }
}

/// Reads what a link holds
pub trait Downloader: Send + Sync + Debug {
    /// Reads the link into `target`; the digest is computed in the same pass, and `link.size` and `link.sha256` are
    /// checked before anything is handed out (NFR-301)
    ///
    /// An implementation reports to [`Link::report`] how many bytes it has read. Dropping the future stops the download and
    /// removes the file it was writing.
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
    fn lifetime_rules(&self) -> LifetimeRules {
        (**self).lifetime_rules()
    }
}

impl<T: Downloader + ?Sized> Downloader for Arc<T> {
    fn download<'a>(&'a self, link: &'a Link, target: Target) -> BoxFuture<'a, Result<Downloaded, FetchError>> {
        (**self).download(link, target)
    }
}

/// A finished upload: what the envelope says of it, and what deletes it
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "implementations of `Uploader` outside this crate build it")]
pub struct Stored {
    /// What goes into the envelope
    pub uploaded: Uploaded,
    /// What [`Uploader::delete`] needs; stays with the sender
    pub receipt: Receipt,
}

/// The right to delete one upload: opaque, secret, only meant for the store that gave it
#[derive(Clone, PartialEq, Eq)]
pub struct Receipt(String);

impl Receipt {
    /// Wraps what a store needs to delete an upload
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// What the store put in; treat it like a password
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

/// Where a download goes
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// Into memory
    Memory,
    /// Into a new file: it must not exist yet, and is removed again if the download fails or is stopped
    File(PathBuf),
}
