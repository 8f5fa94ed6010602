//! What goes wrong with a store or a link: one opaque error for each, a kind to act on, and the cause behind it.

use std::error::Error;
use std::fmt;

use natsbridge_core::{redacted, shown};

use crate::Origin;
use crate::policy::Blocked;

/// Anybody's error, as a cause
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// Declares kinds with their stable word, whether another try later may succeed, and what they say.
macro_rules! kinds {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $code:literal, $retryable:literal, $says:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// The stable word for this kind, the same in logs, NACKs and test vectors
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// Whether the same call may succeed later
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
    /// Why a link could not be read
    FetchErrorKind {
        /// The link leads where this receiver does not go: scheme, user info, origin, address, or a redirect.
        /// Not retried
        BlockedOrigin = "blocked_origin", false, "the link leads where this receiver must not go";
        /// The server knows no such file. Not retried
        NotFound = "not_found", false, "the server has no such file";
        /// The link's time to live is over. Not retried
        Expired = "expired", false, "the link has expired; ask the sender to send again";
        /// The link could be read once, and was. Not retried
        Consumed = "consumed", false, "the link can be read once and was read already; ask the sender to send again";
        /// The server wants other credentials (401, 403, 407). Not retried
        Refused = "refused", false, "the server refused access; check the credentials for its origin";
        /// More bytes than this receiver takes. Not retried
        TooLarge = "too_large", false, "the payload is larger than this receiver takes; raise its limit";
        /// Not as many bytes as the envelope says. A body that ends early is retried, a longer one is not
        SizeMismatch = "size_mismatch", false, "the link does not hold as many bytes as the envelope says";
        /// The bytes are not the ones that were sent. Read once more in full, then given up
        Digest = "digest", false, "the link holds other bytes than were sent";
        /// The server answered with something that no download may answer. Not retried
        Rejected = "rejected", false, "the server's answer is not a download";
        /// No connection, a broken one, or a failing server. Retried
        Unreachable = "unreachable", true, "the file server can't be reached or is failing";
        /// The server's certificate has expired, or is of an authority that is not trusted. Not retried
        Untrusted = "untrusted", false, "the server's certificate is not trusted; check its date, or name its authority (FILESERVER_CA)";
        /// The server was silent for too long, or the whole download took too long. Silence is retried
        Timeout = "timeout", true, "the file server took too long";
        /// No further try: every retry failed, or the server asks to wait too long; [`FetchError::last`] says how the last
        /// try failed (NFR-404)
        DownloadRetryExceeded = "download_retry_exceeded", true, "gave up";
        /// The file to write can't be written. Not retried
        LocalFile = "local_file", true, "the file to download into can't be written";
        /// A download handler failed; it does its own retries
        Handler = "download_handler", true, "the download handler failed";
    }
}

kinds! {
    /// Why a store did not take or remove a payload
    StoreErrorKind {
        /// No connection, a broken one, or a failing server. Retried
        Unreachable = "unreachable", true, "the file server can't be reached or is failing";
        /// The server's certificate has expired, or is of an authority that is not trusted. Not retried
        Untrusted = "untrusted", false, "the server's certificate is not trusted; check its date, or name its authority (FILESERVER_CA)";
        /// The server was silent for too long, or the whole upload took too long. Silence is retried
        Timeout = "timeout", true, "the file server took too long";
        /// The server wants other credentials. Not retried
        Refused = "refused", false, "the server refused access; check the token or the keys";
        /// There are no keys to prove who asks. Not retried
        Credentials = "credentials", false, "there are no keys for the store";
        /// The server takes no payload of this size. Not retried
        TooLarge = "too_large", false, "the payload is larger than the server takes; raise the server's limit, or that of a proxy before it";
        /// The server has no room left (507). Not retried at once; another try later may succeed
        Full = "full", true, "the file server has no space left; free space there";
        /// The server answered with something else than success. Not retried
        Rejected = "rejected", false, "the server did not take it";
        /// The server stored other bytes than were sent. Retried
        Digest = "digest", true, "the server stored other bytes than were sent";
        /// The file to send can't be read, or changed its length since the message was made. Not retried
        LocalFile = "local_file", false, "the file to send can't be read or has changed its length";
        /// An upload handler failed; it does its own retries
        Handler = "upload_handler", true, "the upload handler failed";
    }
}

/// A link could not be read
pub struct FetchError(Box<Fetch>);

struct Fetch {
    kind: FetchErrorKind,
    dataname: String,
    url: String,
    attempts: u32,
    last: FetchErrorKind,
    /// Why the link is not followed, where that is so
    blocked: Option<Blocked>,
    source: Option<BoxError>,
}

impl FetchError {
    /// An error about the payload `dataname` behind `url`, of which only the redacted form is kept
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

    /// An error about a link that must not be followed
    pub(crate) fn blocked(dataname: impl Into<String>, url: &str, blocked: Blocked) -> Self {
        Self::new(FetchErrorKind::BlockedOrigin, dataname, url).because(blocked)
    }

    /// Says why the link is not followed
    pub(crate) fn because(mut self, blocked: Blocked) -> Self {
        self.0.blocked = Some(blocked);
        self
    }

    /// Adds the cause
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Sets how many requests were sent
    pub(crate) fn attempts_made(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// Sets how the last try failed, where the kind is that retries are used up
    pub(crate) fn last_kind(mut self, last: FetchErrorKind) -> Self {
        self.0.last = last;
        self
    }

    /// What went wrong
    #[must_use]
    pub fn kind(&self) -> FetchErrorKind {
        self.0.kind
    }

    /// What went wrong with the last try; other than [`kind`](Self::kind) only when retries were used up
    #[must_use]
    pub fn last(&self) -> FetchErrorKind {
        self.0.last
    }

    /// The stable word of the kind
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// Whether the same download may succeed later
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.kind.is_retryable()
    }

    /// The payload's name
    #[must_use]
    pub fn dataname(&self) -> &str {
        &self.0.dataname
    }

    /// The link without user info and query
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// How many requests were sent
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// The link's origin where the link is not followed because that origin is not among the allowed ones: allow it
    /// ([`FetcherBuilder::allow`](crate::FetcherBuilder::allow)) if you trust it
    ///
    /// `None` where a link is not followed for another reason, such as its scheme or a redirect, which no allowed
    /// origin mends.
    #[must_use]
    pub fn refused_origin(&self) -> Option<&Origin> {
        match &self.0.blocked {
            Some(Blocked::Origin(origin, _)) => Some(origin),
            _ => None,
        }
    }

    /// The origins that are allowed, where [`refused_origin`](Self::refused_origin) is not among them; else empty
    #[must_use]
    pub fn allowed_origins(&self) -> &[Origin] {
        match &self.0.blocked {
            Some(Blocked::Origin(_, allowed)) => allowed,
            _ => &[],
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fetch { kind, dataname, url, attempts, last, blocked, .. } = &*self.0;
        let dataname = shown(dataname);
        write!(f, "failed to fetch payload `{dataname}` from {url}: ")?;
        match blocked {
            Some(blocked) => write!(f, "{blocked}"),
            None if last != kind => write!(f, "{kind}{}: {last}", Tries(*attempts)),
            None => write!(f, "{kind}{}", Tries(*attempts)),
        }
    }
}

impl fmt::Debug for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fetch { kind, dataname, url, attempts, last, blocked, source } = &*self.0;
        f.debug_struct("FetchError")
            .field("kind", kind)
            .field("dataname", dataname)
            .field("url", url)
            .field("attempts", attempts)
            .field("last", last)
            .field("blocked", blocked)
            .field("source", source)
            .finish()
    }
}

impl Error for FetchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0.source {
            Some(source) => Some(&**source),
            None => None,
        }
    }
}

/// A store did not take or remove a payload
pub struct StoreError(Box<Store>);

struct Store {
    kind: StoreErrorKind,
    store: String,
    dataname: Option<String>,
    deleting: bool,
    attempts: u32,
    source: Option<BoxError>,
}

impl StoreError {
    /// An error of the store called `store`
    #[must_use]
    pub fn new(kind: StoreErrorKind, store: impl Into<String>) -> Self {
        let store = Store { kind, store: store.into(), dataname: None, deleting: false, attempts: 0, source: None };
        Self(Box::new(store))
    }

    /// Adds the cause
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Names the payload it is about
    #[must_use]
    pub fn about(mut self, dataname: impl Into<String>) -> Self {
        self.0.dataname = Some(dataname.into());
        self
    }

    /// Says that it is about the deletion of an upload
    #[must_use]
    pub fn deleting(mut self) -> Self {
        self.0.deleting = true;
        self
    }

    /// Sets how many uploads were tried
    pub(crate) fn attempts_made(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// What went wrong
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.0.kind
    }

    /// The stable word of the kind
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// Whether the same call may succeed later
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.kind.is_retryable()
    }

    /// Which store it was
    #[must_use]
    pub fn store(&self) -> &str {
        &self.0.store
    }

    /// The payload's name; none when it was not about the upload of one
    #[must_use]
    pub fn dataname(&self) -> Option<&str> {
        self.0.dataname.as_deref()
    }

    /// How many uploads were tried
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Store { kind, store, dataname, deleting, attempts, .. } = &*self.0;
        match dataname {
            Some(name) => write!(f, "failed to upload payload `{}` to {store}", shown(name))?,
            None if *deleting => write!(f, "failed to delete an upload from {store}")?,
            None => write!(f, "failed to use {store}")?,
        }
        write!(f, ": {kind}{}", Tries(*attempts))
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Store { kind, store, dataname, deleting, attempts, source } = &*self.0;
        f.debug_struct("StoreError")
            .field("kind", kind)
            .field("store", store)
            .field("dataname", dataname)
            .field("deleting", deleting)
            .field("attempts", attempts)
            .field("source", source)
            .finish()
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0.source {
            Some(source) => Some(&**source),
            None => None,
        }
    }
}

/// Says how often something was tried, when it was more than once.
struct Tries(u32);

impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 1 { write!(f, " (after {} attempts)", self.0) } else { Ok(()) }
    }
}

/// A store or fetcher was configured with something it can't work with
#[derive(Debug, thiserror::Error)]
#[error("cannot configure {what}: {problem}")]
pub struct ConfigError {
    what: &'static str,
    problem: String,
    #[source]
    source: Option<BoxError>,
}

impl ConfigError {
    /// `what` can't be configured because of `problem`, which holds no secret
    pub(crate) fn new(what: &'static str, problem: impl Into<String>) -> Self {
        Self { what, problem: problem.into(), source: None }
    }

    /// Adds the cause
    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The stable word for it
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
    fn an_error_shows_its_own_level_and_no_secret() {
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
    fn a_store_error_names_the_store_and_the_payload() {
        let error = StoreError::new(StoreErrorKind::TooLarge, "plik at http://h").about("clip");
        assert!(error.to_string().starts_with("failed to upload payload `clip` to plik at http://h: "));
        assert_eq!((error.code(), error.is_retryable(), error.attempts()), ("too_large", false, 0));
    }
}
