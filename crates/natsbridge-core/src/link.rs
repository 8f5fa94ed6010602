//! Types between core and a file server: an object to upload, the finished upload, a link, and the download.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::harmless::shown_within;
use crate::setters::setters;
use crate::{Digest, PayloadType, Source};

/// Lifetime of a link: when it expires, and whether it can be downloaded once only (`docs/specification.md`, section 8)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkLifetime {
    /// Time until the link expires
    pub ttl: Duration,
    /// Whether the link can be downloaded once only
    pub one_shot: bool,
}

impl LinkLifetime {
    /// The default time to live, 24 hours
    pub const DEFAULT_TTL: Duration = Duration::from_secs(24 * 60 * 60);

    /// A link that can be downloaded any number of times until `ttl` has passed
    #[must_use]
    pub const fn expiring(ttl: Duration) -> Self {
        Self { ttl, one_shot: false }
    }

    /// A link that can be downloaded once, until `ttl` has passed; only for a message with one receiver
    #[must_use]
    pub const fn one_shot(ttl: Duration) -> Self {
        Self { ttl, one_shot: true }
    }
}

impl Default for LinkLifetime {
    fn default() -> Self {
        Self::expiring(Self::DEFAULT_TTL)
    }
}

/// Description of an object to upload: everything but its bytes
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Object {
    /// Name of the payload: any Unicode; never use it as a path or a file name
    pub dataname: String,
    /// Type of the payload
    pub payload_type: PayloadType,
    /// Size in bytes
    pub size: u64,
    /// Lifetime that the sender asks for
    pub link_lifetime: LinkLifetime,
    on_progress: Hook,
}

impl Object {
    /// Creates a description with the default lifetime
    #[must_use]
    pub fn new(dataname: impl Into<String>, payload_type: PayloadType, size: u64) -> Self {
        let (dataname, link_lifetime, on_progress) = (dataname.into(), LinkLifetime::default(), Hook::default());
        Self { dataname, payload_type, size, link_lifetime, on_progress }
    }

    setters! {
        /// Sets the lifetime
        fn link_lifetime(self, life: LinkLifetime) { self.link_lifetime = life }

        /// Sets the function that [`Object::report`] calls with the bytes done and the total size, default none
        fn on_progress(self, hook: impl Fn(u64, u64) + Send + Sync + 'static) {
            self.on_progress = Hook(Some(Arc::new(hook)))
        }
    }

    /// Reports how many bytes have been sent so far
    ///
    /// A store calls this during the upload. A retry starts from 0 again.
    pub fn report(&self, done: u64) {
        self.on_progress.call(done, self.size);
    }
}

/// The function to call during a transfer
#[derive(Clone, Default)]
struct Hook(Option<Arc<dyn Fn(u64, u64) + Send + Sync>>);

impl Hook {
    fn call(&self, done: u64, total: u64) {
        if let Some(hook) = &self.0 {
            hook(done, total);
        }
    }
}

impl PartialEq for Hook {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl Eq for Hook {}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Some(…)" } else { "None" })
    }
}

/// The link to a finished upload: URL, size, digest and expiry, as the envelope has them
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uploaded {
    /// URL for receivers; its query may contain a signature, so log it [`redacted`] only
    pub url: String,
    /// Number of bytes stored
    pub size: u64,
    /// SHA-256 of the bytes that were sent
    pub sha256: Digest,
    /// Time when the link expires, if the store has one
    pub expires_at: Option<OffsetDateTime>,
    /// Whether the link can be downloaded once only, which some stores enforce
    pub one_shot: bool,
}

impl Uploaded {
    /// Creates an upload without expiry that can be downloaded any number of times
    #[must_use]
    pub fn new(url: impl Into<String>, size: u64, sha256: Digest) -> Self {
        Self { url: url.into(), size, sha256, expires_at: None, one_shot: false }
    }

    setters! {
        /// Sets when the link expires
        fn expires_at(self, at: Option<OffsetDateTime>) { self.expires_at = at }

        /// Sets whether the link can be downloaded once only
        fn one_shot(self, one_shot: bool) { self.one_shot = one_shot }
    }
}

impl fmt::Debug for Uploaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploaded")
            .field("url", &redacted(&self.url))
            .field("size", &self.size)
            .field("sha256", &self.sha256)
            .field("expires_at", &self.expires_at)
            .field("one_shot", &self.one_shot)
            .finish()
    }
}

/// A link from an envelope: a URL from a stranger, with size, digest and lifetime as the envelope states them
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// The URL; log it [`redacted`] only
    pub url: String,
    /// The payload's name, for errors
    pub dataname: String,
    /// Exact size in bytes, if the envelope has one (above 0); a hard limit for the download
    pub size: Option<u64>,
    /// SHA-256 to check, if the envelope has one
    pub sha256: Option<Digest>,
    /// Time when the link expires, if the envelope has one
    pub expires_at: Option<OffsetDateTime>,
    /// Whether the link can be downloaded once only, so that a broken download can't be repeated
    pub one_shot: bool,
    on_progress: Hook,
}

impl Link {
    /// Creates a link without size, digest and expiry
    #[must_use]
    pub fn new(dataname: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            dataname: dataname.into(),
            size: None,
            sha256: None,
            expires_at: None,
            one_shot: false,
            on_progress: Hook::default(),
        }
    }

    setters! {
        /// Sets the function that [`Link::report`] calls with the bytes done and the total size, default none
        ///
        /// The total size is 0 if `size` is `None`.
        fn on_progress(self, hook: impl Fn(u64, u64) + Send + Sync + 'static) {
            self.on_progress = Hook(Some(Arc::new(hook)))
        }
    }

    /// Reports how many bytes have been received so far
    ///
    /// A downloader calls this during the download. A retry starts from 0 again.
    pub fn report(&self, done: u64) {
        self.on_progress.call(done, self.size.unwrap_or(0));
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("dataname", &self.dataname)
            .field("url", &redacted(&self.url))
            .field("size", &self.size)
            .field("sha256", &self.sha256)
            .field("expires_at", &self.expires_at)
            .field("one_shot", &self.one_shot)
            .finish()
    }
}

/// A finished download: its bytes or its file, and their digest
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Downloaded {
    /// The bytes, or the file with the bytes
    pub source: Source,
    /// SHA-256 of the bytes
    pub sha256: Digest,
}

impl Downloaded {
    /// Creates a download from its bytes or file, and their digest
    #[must_use]
    pub const fn new(source: Source, sha256: Digest) -> Self {
        Self { source, sha256 }
    }
}

/// Returns a URL for logs and errors: without user name, password, query and fragment
///
/// It accepts any text, since an envelope may contain any text as a URL, and removes a password wherever a browser's URL
/// parser would find one, also in `http:user:secret@host` and `http:/\\user:secret@host`.
#[must_use]
pub fn redacted(url: &str) -> String {
    // Parsers drop these wherever they stand, so they must not hide anything from us.
    let text: String = url.chars().filter(|c| !matches!(c, '\t' | '\r' | '\n')).collect();
    let text = text.trim_matches(|c: char| c <= ' ');
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let (plain, hidden) = text.split_at(end);
    let (start, special) = authority_start(plain);
    let (scheme, rest) = plain.split_at(start);
    // A backslash is a slash for browsers' schemes, and part of the name or password for `nats`.
    let slashes: &[char] = if special { &['/', '\\'] } else { &['/'] };
    let (authority, path) = rest.split_at(rest.find(slashes).unwrap_or(rest.len()));
    // A password with a slash in it ends up in what looks like the path; a colon that no port follows gives it away.
    let broken =
        authority.rsplit_once(':').is_some_and(|(_, port)| !port.bytes().all(|b| b.is_ascii_digit() || b == b']'));
    let shown = match (authority.rsplit_once('@'), rest.rsplit_once('@')) {
        (Some((_, host)), _) => format!("{host}{path}"),
        (None, Some((_, host))) if broken => host.to_owned(),
        // One with a question mark in it: nothing that follows is sure to be the host.
        (None, None) if broken && hidden.contains('@') => String::new(),
        (None, _) => rest.to_owned(),
    };
    let cut = if hidden.is_empty() { "" } else { "?…" };
    shown_within(&format!("{scheme}{shown}{cut}"), 300).into_owned()
}

/// The URLs without user info, and without the query that could hold a token
pub(crate) fn without_secrets(urls: &str) -> Cow<'_, str> {
    if !urls.contains(['@', '?', '#', ',', ' ']) {
        return Cow::Borrowed(urls);
    }
    let each = urls.split(',').map(|url| redacted(url).trim_end_matches("?…").to_owned());
    Cow::Owned(each.collect::<Vec<_>>().join(","))
}

/// Where user info would begin, and whether the scheme is one of the browsers'
///
/// It is behind the scheme and its slashes, of which a parser takes any number either way.
fn authority_start(text: &str) -> (usize, bool) {
    let Some((scheme, rest)) = text.split_once(':') else { return (0, false) };
    let named = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    let slashes = rest.len() - rest.trim_start_matches(['/', '\\']).len();
    // Without slashes `user:password` looks the same, but for the schemes whose parser adds the slashes.
    let special = ["http", "https", "ws", "wss", "ftp"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    if named && (slashes > 0 || special) { (scheme.len() + 1 + slashes, special) } else { (0, false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redacted_url_holds_no_secret() {
        for (url, shown) in [
            ("http://files.test/file/a/b/c", "http://files.test/file/a/b/c"),
            ("https://user:secret@files.test:8080/x?X-Amz-Signature=secret#secret", "https://files.test:8080/x?…"),
            ("https://a@b:secret@files.test", "https://files.test"),
            ("nats://token@localhost:4222", "nats://localhost:4222"),
            ("token@localhost:4222", "localhost:4222"),
            ("https://user:sec/ret@files.test/x", "https://files.test/x"),
            ("http://files.test:80/a@b", "http://files.test:80/a@b"),
            ("http://[::1]:80/x", "http://[::1]:80/x"),
            ("http:user:secret@files.test/x", "http:files.test/x"),
            ("HTTP:/user:secret@files.test", "HTTP:/files.test"),
            ("http:\\\\user:secret@files.test\\x", "http:\\\\files.test\\x"),
            ("http:///user:secret@files.test", "http:///files.test"),
            ("ht\ntp:/user:secret@files.test", "http:/files.test"),
            ("nats://user:secret?secret@files.test", "nats://?…"),
            (r"nats://ann\x:secret@files.test:4222", "nats://files.test:4222"),
            ("user:secret@files.test", "files.test"),
            ("localhost:8080/x", "localhost:8080/x"),
            ("htlps:/a/b/%2e.#secret", "htlps:/a/b/%2e.?…"),
            ("not a url?secret", "not a url?…"),
            ("", ""),
        ] {
            assert_eq!(redacted(url), shown);
        }
        let link = Link::new("clip", "https://u:secret@h/x?sig=secret");
        assert!(!format!("{link:?}").contains("secret"));
    }
}
