//! What core and a file server tell each other: what is to be stored and for how long, and what a link holds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::harmless::shown_within;
use crate::{Digest, PayloadType, Source};

/// How long an upload lives and how often it may be read (specification, section 8)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkLifetime {
    /// Time until the link stops working
    pub ttl: Duration,
    /// Whether the first reader is the last
    pub one_shot: bool,
}

impl LinkLifetime {
    /// 24 hours, unless the sender says otherwise (`docs/specification.md`)
    pub const DEFAULT_TTL: Duration = Duration::from_secs(24 * 60 * 60);

    /// A link that any number of receivers may read until `ttl` has passed
    #[must_use]
    pub const fn expiring(ttl: Duration) -> Self {
        Self { ttl, one_shot: false }
    }

    /// A link for exactly one receiver, gone after the first read or after `ttl`
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

/// What is to be stored: everything that a store may want to know besides the bytes
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Object {
    /// The caller's name of the payload: any Unicode, never a path, never trusted as a file name
    pub dataname: String,
    /// What the payload is
    pub payload_type: PayloadType,
    /// Size in bytes
    pub size: u64,
    /// How long it is to be kept
    pub link_lifetime: LinkLifetime,
    on_progress: Hook,
}

impl Object {
    /// Describes something to store that lives as long as the default says
    #[must_use]
    pub fn new(dataname: impl Into<String>, payload_type: PayloadType, size: u64) -> Self {
        let (dataname, link_lifetime, on_progress) = (dataname.into(), LinkLifetime::default(), Hook::default());
        Self { dataname, payload_type, size, link_lifetime, on_progress }
    }

    /// Sets how long it is to be kept
    #[must_use]
    pub const fn link_lifetime(mut self, life: LinkLifetime) -> Self {
        self.link_lifetime = life;
        self
    }

    /// Sets what [`Object::report`] calls, with the bytes done and the bytes in all; default nothing
    #[must_use]
    pub fn on_progress(mut self, hook: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        self.on_progress = Hook(Some(Arc::new(hook)));
        self
    }

    /// Reports how many bytes have been sent so far
    ///
    /// A store calls this while it uploads. An attempt that starts again reports from 0 again.
    pub fn report(&self, done: u64) {
        self.on_progress.call(done, self.size);
    }
}

/// What is called while a transfer runs
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

/// What a store answers when the bytes are safe with it
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uploaded {
    /// Where receivers read it; may carry a signature in its query, so it is never logged whole
    pub url: String,
    /// Number of bytes stored
    pub size: u64,
    /// Their digest, computed in the pass that sent them
    pub sha256: Digest,
    /// When the link stops working, where the store says so
    pub expires_at: Option<OffsetDateTime>,
    /// Whether the link can be read once (the store may have forced this)
    pub one_shot: bool,
}

impl Uploaded {
    /// An upload with no known expiry that can be read again and again
    #[must_use]
    pub fn new(url: impl Into<String>, size: u64, sha256: Digest) -> Self {
        Self { url: url.into(), size, sha256, expires_at: None, one_shot: false }
    }

    /// Sets when the link stops working
    #[must_use]
    pub const fn expires_at(mut self, at: Option<OffsetDateTime>) -> Self {
        self.expires_at = at;
        self
    }

    /// Sets whether the link can be read once
    #[must_use]
    pub const fn one_shot(mut self, one_shot: bool) -> Self {
        self.one_shot = one_shot;
        self
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

/// A link as it came in an envelope: an address from a stranger, with what the envelope says of its content
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// The address; [`redacted`] before it goes to a log
    pub url: String,
    /// The payload's name, for errors
    pub dataname: String,
    /// The exact size in bytes where the envelope says one (above 0): a hard limit while reading
    pub size: Option<u64>,
    /// The digest to check
    pub sha256: Option<Digest>,
    /// When the link stops working
    pub expires_at: Option<OffsetDateTime>,
    /// Whether it can be read once, so that a cut download can't be repeated
    pub one_shot: bool,
    on_progress: Hook,
}

impl Link {
    /// A link of which nothing but the address is known
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

    /// Sets what [`Link::report`] calls, with the bytes done and the bytes in all; default nothing
    ///
    /// The bytes in all are 0 where `size` is `None`.
    #[must_use]
    pub fn on_progress(mut self, hook: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        self.on_progress = Hook(Some(Arc::new(hook)));
        self
    }

    /// Reports how many bytes have been received so far
    ///
    /// A downloader calls this while it reads. An attempt that starts again reports from 0 again.
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

/// What a download brought: the bytes or the file that holds them, and the digest computed in the same pass
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Downloaded {
    /// The bytes, or the file they were written to
    pub source: Source,
    /// Their digest
    pub sha256: Digest,
}

impl Downloaded {
    /// What was read, with the digest of exactly these bytes
    #[must_use]
    pub const fn new(source: Source, sha256: Digest) -> Self {
        Self { source, sha256 }
    }
}

/// A URL as logs and errors may show it: without user name, password, query and fragment
///
/// Works on any text, since what came in an envelope need not be a URL at all, and finds a password wherever a browser's
/// URL parser would: `http:user:secret@host` and `http:/\\user:secret@host` have one too.
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
    fn a_redacted_url_holds_no_secret() {
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
