//! Errors of stores and downloads: an opaque error for each, with a kind to match on and its cause.

use std::error::Error;
use std::fmt;

use natsbridge_core::{redacted, shown};

use crate::Origin;
use crate::policy::Blocked;

/// Any error, as a cause
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// Declares kinds: name, stable code, whether a later retry may succeed, text.
macro_rules! kinds {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $code:literal, $retryable:literal, $says:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Returns the stable code of this kind, which logs, NACKs and test vectors use
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// Returns whether the same call may succeed later
            #[must_use]
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $says,)+ })
            }
        }
    };
}

kinds! {
    /// Kind of a [`FetchError`]; section 9 of `docs/specification.md` lists the codes
    FetchErrorKind {
        /// This receiver does not follow the link because of its scheme, user info, origin or address, or because the
        /// server redirects. Not retried
        BlockedOrigin = "blocked_origin", false, "this receiver does not follow the link";
        /// The server has no such file. Not retried
        NotFound = "not_found", false, "the server has no such file";
        /// The link has expired. Not retried
        Expired = "expired", false, "the link has expired; ask the sender to send again";
        /// The one-shot link was already downloaded. Not retried
        Consumed = "consumed", false, "the one-shot link was already downloaded; ask the sender to send again";
        /// The server refused the credentials (401, 403, 407). Not retried
        Refused = "refused", false, "the server refused access; check the credentials for its origin";
        /// The payload exceeds a size limit of this receiver. Not retried
        TooLarge = "too_large", false, "the payload exceeds this receiver's size limit; raise the limit";
        /// The size differs from the one in the envelope. A body that is too short is retried, a longer one is not
        SizeMismatch = "size_mismatch", false, "the size differs from the one in the envelope";
        /// The digest differs from the one in the envelope. Retried once
        Digest = "digest", false, "the digest differs from the one in the envelope: these are not the bytes that were sent";
        /// The response is not a download. Not retried
        Rejected = "rejected", false, "the server's response is not a download";
        /// The server can't be reached, the connection broke, or the server failed (5xx). Retried
        Unreachable = "unreachable", true, "the file server can't be reached or is failing";
        /// The server's certificate has expired, or its CA is not trusted. Not retried
        Untrusted = "untrusted", false, "the server's certificate is not trusted; check its date, or add its CA certificate (FILESERVER_CA)";
        /// The server was silent for the idle timeout (retried), or the total timeout is over (not retried)
        Timeout = "timeout", true, "the file server took too long";
        /// All retries failed, or the server asks to wait too long; [`FetchError::last`] is the kind of the last failure
        DownloadRetryExceeded = "download_retry_exceeded", true, "gave up";
        /// The destination file can't be created or written. Not retried
        LocalFile = "local_file", true, "the destination file can't be written";
        /// The download handler returned an error. Not retried
        Handler = "handler", true, "the download handler failed";
    }
}

kinds! {
    /// Kind of a [`StoreError`]; section 9 of `docs/specification.md` lists the codes
    StoreErrorKind {
        /// The server can't be reached, the connection broke, or the server failed (5xx). Retried
        Unreachable = "unreachable", true, "the file server can't be reached or is failing";
        /// The server's certificate has expired, or its CA is not trusted. Not retried
        Untrusted = "untrusted", false, "the server's certificate is not trusted; check its date, or add its CA certificate (FILESERVER_CA)";
        /// The server was silent for the idle timeout (retried), or the total timeout is over (not retried)
        Timeout = "timeout", true, "the file server took too long";
        /// The server refused the credentials. Not retried
        Refused = "refused", false, "the server refused access; check the token or the keys";
        /// No credentials are configured. Not retried
        Credentials = "credentials", false, "there are no keys for the store";
        /// The payload exceeds the server's size limit. Not retried
        TooLarge = "too_large", false, "the payload exceeds the server's size limit; raise it there, or in a proxy in front of the server";
        /// The server has no space left (507). Not retried, but a later call may succeed
        Full = "full", true, "the file server has no space left; free space there";
        /// Any other response that is not a success. Not retried
        Rejected = "rejected", false, "the server did not accept it";
        /// The server stored other bytes than were sent. Retried
        Digest = "digest", true, "the server stored other bytes than were sent";
        /// The source file can't be read, or its length changed since the message was built. Not retried
        LocalFile = "local_file", false, "the file to send can't be read or has changed its length";
        /// The upload handler returned an error. Not retried
        Handler = "handler", true, "the upload handler failed";
    }
}

/// A download failed
///
/// [`kind`](Self::kind) says why; [`source`](Error::source) is the cause, if there is one.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct FetchError(Box<Fetch>);

#[derive(Debug, thiserror::Error)]
struct Fetch {
    kind: FetchErrorKind,
    dataname: String,
    url: String,
    attempts: u32,
    last: FetchErrorKind,
    /// Why the link is not followed, if that is the reason
    blocked: Option<Blocked>,
    source: Option<BoxError>,
}

impl FetchError {
    /// Creates an error about the payload `dataname` at `url`; user info and query of the URL are removed
    #[must_use]
    pub fn new(kind: FetchErrorKind, dataname: impl Into<String>, url: &str) -> Self {
        Self(Box::new(Fetch {
            kind,
            dataname: dataname.into(),
            url: redacted(url),
            attempts: 0,
            last: kind,
            blocked: None,
            source: None,
        }))
    }

    /// Creates an error about a link that is not followed
    pub(crate) fn blocked(dataname: impl Into<String>, url: &str, blocked: Blocked) -> Self {
        Self::new(FetchErrorKind::BlockedOrigin, dataname, url).because(blocked)
    }

    /// Sets why the link is not followed
    pub(crate) fn because(mut self, blocked: Blocked) -> Self {
        self.0.blocked = Some(blocked);
        self
    }

    /// Sets the cause
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Sets the number of attempts
    pub(crate) fn attempts_made(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// Sets the kind of the last failure, for [`FetchErrorKind::DownloadRetryExceeded`]
    pub(crate) fn last_kind(mut self, last: FetchErrorKind) -> Self {
        self.0.last = last;
        self
    }

    /// Returns the kind
    #[must_use]
    pub fn kind(&self) -> FetchErrorKind {
        self.0.kind
    }

    /// Returns the kind of the last failure, which differs from [`kind`](Self::kind) only after
    /// [`FetchErrorKind::DownloadRetryExceeded`]
    #[must_use]
    pub fn last(&self) -> FetchErrorKind {
        self.0.last
    }

    /// Returns the stable code of the kind
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// Returns whether the same download may succeed later
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.kind.is_retryable()
    }

    /// Returns the payload's name
    #[must_use]
    pub fn dataname(&self) -> &str {
        &self.0.dataname
    }

    /// Returns the link without user info and query
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// Returns the number of attempts, retries included
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Returns the link's origin if the link was refused because that origin is not allowed
    ///
    /// If you trust it, pass it to [`FetcherBuilder::allow`](crate::FetcherBuilder::allow). `None` for any other reason,
    /// such as the scheme or a redirect.
    #[must_use]
    pub fn refused_origin(&self) -> Option<&Origin> {
        match &self.0.blocked {
            Some(Blocked::Origin(origin, _)) => Some(origin),
            _ => None,
        }
    }
}

impl fmt::Display for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, dataname, url, attempts, last, blocked, .. } = self;
        let dataname = shown(dataname);
        write!(f, "failed to fetch payload `{dataname}` from {url}: ")?;
        match blocked {
            Some(blocked) => write!(f, "{blocked}"),
            None if last != kind => write!(f, "{kind}{}: {last}", Tries(*attempts)),
            None => write!(f, "{kind}{}", Tries(*attempts)),
        }
    }
}

/// An upload or a deletion failed
///
/// [`kind`](Self::kind) says why; [`source`](Error::source) is the cause, if there is one.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StoreError(Box<Store>);

#[derive(Debug, thiserror::Error)]
struct Store {
    kind: StoreErrorKind,
    store: String,
    dataname: Option<String>,
    deleting: bool,
    /// What may be stored although the upload failed, where it could not be deleted
    left: Option<String>,
    attempts: u32,
    source: Option<BoxError>,
}

impl StoreError {
    /// Creates an error of the store named `store`
    #[must_use]
    pub fn new(kind: StoreErrorKind, store: impl Into<String>) -> Self {
        Self(Box::new(Store {
            kind,
            store: store.into(),
            dataname: None,
            deleting: false,
            left: None,
            attempts: 0,
            source: None,
        }))
    }

    /// Sets the cause
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Sets the payload's name
    #[must_use]
    pub fn with_dataname(mut self, dataname: impl Into<String>) -> Self {
        self.0.dataname = Some(dataname.into());
        self
    }

    /// Names what may be stored all the same
    pub(crate) fn may_be_stored_as(mut self, name: &str) -> Self {
        self.0.left = Some(shown(name).into_owned());
        self
    }

    /// Marks it as the failure of a deletion
    pub(crate) fn deleting(mut self) -> Self {
        self.0.deleting = true;
        self
    }

    /// Sets the number of attempts
    pub(crate) fn attempts_made(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// Returns the kind
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.0.kind
    }

    /// Returns the stable code of the kind
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// Returns whether the same call may succeed later
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.kind.is_retryable()
    }

    /// Returns the store's name, which [`Uploader::name`](crate::Uploader::name) returns
    #[must_use]
    pub fn store(&self) -> &str {
        &self.0.store
    }

    /// Returns the payload's name; `None` if the error is not about an upload
    #[must_use]
    pub fn dataname(&self) -> Option<&str> {
        self.0.dataname.as_deref()
    }

    /// Returns the number of attempts, retries included
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, store, dataname, deleting, left, attempts, .. } = self;
        match dataname {
            Some(name) => write!(f, "failed to upload payload `{}` to {store}", shown(name))?,
            None if *deleting => write!(f, "failed to delete an upload from {store}")?,
            None => write!(f, "failed to use {store}")?,
        }
        write!(f, ": {kind}{}", Tries(*attempts))?;
        match left {
            Some(left) => write!(f, "; its answer was lost, and it may hold {left}: delete that there"),
            None => Ok(()),
        }
    }
}

/// The number of attempts, if there was more than one
struct Tries(u32);

impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 1 { write!(f, " (after {} attempts)", self.0) } else { Ok(()) }
    }
}

/// A setting of a store or fetcher is invalid
#[derive(Debug, thiserror::Error)]
#[error("cannot configure {what}: {problem}")]
pub struct ConfigError {
    what: &'static str,
    problem: String,
    #[source]
    source: Option<BoxError>,
}

impl ConfigError {
    /// Creates an error; `problem` must contain no secret
    pub(crate) fn new(what: &'static str, problem: impl Into<String>) -> Self {
        Self { what, problem: problem.into(), source: None }
    }

    /// Sets the cause
    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the stable code, which is `configuration`
    #[must_use]
    #[allow(clippy::unused_self, reason = "the same call as on the other errors")]
    pub const fn code(&self) -> &'static str {
        "configuration"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_shows_its_own_level_and_no_secret() {
        let cause = std::io::Error::other("the cause");
        let error = FetchError::new(FetchErrorKind::Consumed, "clip", "https://u:secret@h/x?sig=secret")
            .with_source(cause)
            .attempts_made(2);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("secret"), "{shown}");
        assert!(error.to_string().contains("`clip`") && error.to_string().contains("after 2 attempts"));
        assert!(!error.to_string().contains("the cause"), "the cause is in source() alone");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("the cause"));
        assert_eq!((error.code(), error.is_retryable()), ("consumed", false));
    }

    #[test]
    fn store_error_names_the_store_and_the_payload() {
        let error = StoreError::new(StoreErrorKind::TooLarge, "plik at http://h").with_dataname("clip");
        assert!(error.to_string().starts_with("failed to upload payload `clip` to plik at http://h: "));
        assert_eq!((error.code(), error.is_retryable(), error.attempts()), ("too_large", false, 0));
    }
}
