//! Payloads on a Plik server: its HTTP contract from the sender's side.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use natsbridge_core::{Object, Source, Uploaded};
use reqwest::header::HeaderValue;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method, RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::OnceCell;
use url::Url;

use crate::body::{Reading, Sums, reported};
use crate::breaker::BreakerPolicy;
use crate::checksum::Checksum;
use crate::client::{Credentials, GivenUrl};
use crate::plik_wire::{Config, Create, Created, Kept};
use crate::retry::RetryPolicy;
use crate::upload::{Failure, Limits, Server, server_url};
use crate::{
    ConfigError, LifetimeRules, Origin, Receipt, RootCertificates, StoreError, StoreErrorKind as Kind, Stored, Uploader,
};

/// The one name that payloads have on the server: a name from a message would end up in paths (contract §8)
const FILE_NAME: &str = "payload.bin";
/// How long the removal of a failed attempt's upload may hold up the next attempt
const CLEAN_UP: Duration = Duration::from_secs(2);

/// Stores payloads on a Plik server, or anything that speaks its API such as the embedded file server
///
/// Every upload has an explicit time to live. One that the server does not offer is shortened to what it offers, and a
/// one-shot that it does not offer becomes an expiring one: [`Uploaded`] says what was granted, and a warning is logged.
///
/// A failed attempt is followed by a fresh upload, never by a second try on the same one, and what the failed one left
/// is deleted where the server can still be asked.
///
/// Clones share their connections.
///
/// # Examples
/// ```
/// use natsbridge_fileserver::PlikStore;
///
/// let store = PlikStore::builder("https://plik.example.com").user_token("0b6e2a1c-5d0f-4a57-9f1e-1f6c3b1d2e4f").build()?;
/// # let _ = store;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PlikStore(Arc<Plik>);

#[derive(Debug)]
struct Plik {
    server: Server,
    /// Without a slash at its end
    base: String,
    scheme: String,
    user_token: Option<HeaderValue>,
    credentials: Option<Credentials>,
    config: OnceCell<Option<Config>>,
}

impl PlikStore {
    /// A store on the Plik at `base_url`, which includes the server's path prefix if it has one
    ///
    /// A user name and password in the URL are sent as Basic authentication, for a proxy in front of the server.
    ///
    /// # Errors
    /// [`ConfigError`] if the URL can't be used.
    pub fn new(base_url: &str) -> Result<Self, ConfigError> {
        Self::builder(base_url).build()
    }

    /// Configures one
    #[must_use]
    pub fn builder(base_url: &str) -> PlikStoreBuilder {
        PlikStoreBuilder {
            base_url: GivenUrl(base_url.to_owned()),
            user_token: None,
            credentials: None,
            limits: Limits::default(),
        }
    }

    /// Asks the server for its configuration and answers which origins its links lead to: its own and that of its
    /// download domain, if it has one
    ///
    /// # Errors
    /// [`StoreError`] if the server can't be asked.
    pub async fn discover(&self) -> Result<Vec<Origin>, StoreError> {
        self.0.server.perform(|| Box::pin(async { self.0.config().await.map(|_| ()) })).await?;
        Ok(self.origins())
    }
}

/// Configures a [`PlikStore`]
#[derive(Debug, Clone)]
pub struct PlikStoreBuilder {
    base_url: GivenUrl,
    user_token: Option<Secret>,
    credentials: Option<Credentials>,
    limits: Limits,
}

#[derive(Clone)]
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl PlikStoreBuilder {
    /// Sets the user token (NFR-303), needed where anonymous uploads are off; sent as `X-PlikToken`
    #[must_use]
    pub fn user_token(mut self, token: impl Into<String>) -> Self {
        self.user_token = Some(Secret(token.into()));
        self
    }

    /// Sets login and password for a proxy in front of the server
    #[must_use]
    pub fn basic_auth(mut self, login: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some(Credentials::Basic(login.into(), password.into()));
        self
    }

    /// Sets how long a connection may take to open, default 5 s
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.limits.connect_timeout = timeout;
        self
    }

    /// Sets how long the server may be silent, default 30 s
    #[must_use]
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.limits.idle_timeout = timeout;
        self
    }

    /// Sets how long one upload may take with all its retries, default 30 minutes
    #[must_use]
    pub const fn total_timeout(mut self, timeout: Duration) -> Self {
        self.limits.total_timeout = timeout;
        self
    }

    /// Sets how often and when failed attempts are repeated
    #[must_use]
    pub const fn retry(mut self, retry: RetryPolicy) -> Self {
        self.limits.retry = retry;
        self
    }

    /// Sets when a server that can't be reached is left alone
    #[must_use]
    pub const fn breaker(mut self, breaker: BreakerPolicy) -> Self {
        self.limits.breaker = breaker;
        self
    }

    /// Sets authorities that are trusted besides the system's, default none
    #[must_use]
    pub fn root_certificates(mut self, roots: RootCertificates) -> Self {
        self.limits.roots = roots;
        self
    }

    /// Makes the store; nothing is sent yet
    ///
    /// # Errors
    /// [`ConfigError`] if the URL or the token can't be used.
    pub fn build(self) -> Result<PlikStore, ConfigError> {
        let (url, user_info) = server_url("plik", &self.base_url.0)?;
        let server = Server::new("plik", &url, self.limits)?;
        let token = self.user_token.map(|Secret(token)| HeaderValue::from_str(&token)).transpose();
        let user_token = token.map_err(|error| {
            ConfigError::new("plik", "the user token holds characters that no header may").with_source(error)
        })?;
        let mut base = url.clone();
        base.set_query(None);
        base.set_fragment(None);
        Ok(PlikStore(Arc::new(Plik {
            server,
            base: base.as_str().trim_end_matches('/').to_owned(),
            scheme: url.scheme().to_owned(),
            user_token: user_token.map(|mut token| {
                token.set_sensitive(true);
                token
            }),
            credentials: self.credentials.or(user_info),
            config: OnceCell::new(),
        })))
    }
}

/// What deletes an upload; the text form is a [`Receipt`]
#[derive(Debug, Serialize, Deserialize)]
struct Key {
    id: String,
    token: String,
}

impl Plik {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.server.client.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.user_token {
            request = request.header("X-PlikToken", token.clone());
        }
        match &self.credentials {
            Some(credentials) => credentials.apply(request),
            None => request,
        }
    }

    /// The server's configuration, asked for once; `None` from a server that has none to show
    async fn config(&self) -> Result<Option<&Config>, Failure> {
        let config = self.config.get_or_try_init(|| async {
            let response = self.server.send(self.request(Method::GET, "/config")).await?;
            if response.status() == StatusCode::OK {
                return Ok(self.server.json::<Config>(response).await.ok());
            }
            let answer = self.server.answer(response).await;
            if answer.verdict().is_passing() { Err(Failure::answered(answer)) } else { Ok(None) }
        });
        config.await.map(Option::as_ref)
    }

    async fn attempt(&self, object: &Object, source: &Source) -> Result<Stored, Failure> {
        let config = self.config().await?;
        let create = match config {
            Some(config) => {
                config.check(source.len(), self.user_token.is_some())?;
                config.grant(object.link_lifetime)
            }
            None => Create::from(object.link_lifetime),
        };
        let created = self.create(&create).await?;
        match self.send(&created, object, source).await {
            Ok((kept, sums)) => {
                self.server.patience.tell(created.change(object.link_lifetime, OffsetDateTime::now_utc()));
                self.stored(&created, &kept, &sums, source.len())
            }
            Err(failure) => {
                // What a broken attempt left can't be used again (contract §4.4); its time to live is the fallback.
                let key = created.key();
                if tokio::time::timeout(CLEAN_UP, self.delete(&key)).await.is_err() {
                    tracing::debug!(store = self.server.name(), "a failed upload could not be deleted in time");
                }
                Err(failure)
            }
        }
    }

    async fn create(&self, create: &Create) -> Result<Created, Failure> {
        let response = self.server.send(self.request(Method::POST, "/upload").json(create)).await?;
        if response.status() != StatusCode::OK {
            return Err(refusal(self.server.answer(response).await));
        }
        let created: Created = self.server.json(response).await?;
        // Streaming blocks the sender until the receiver reads, and loses the data if that breaks off (contract §7).
        if created.stream {
            let cause = "the server forces streaming, which keeps nothing for a receiver that reads later; turn FeatureStream off";
            return Err(Failure::last(Kind::Rejected, cause));
        }
        Ok(created)
    }

    async fn send(&self, created: &Created, object: &Object, source: &Source) -> Result<(Kept, Sums), Failure> {
        let checksum = if created.crc64nvme { Checksum::crc64nvme() } else { Checksum::md5() };
        let opened = Reading::open(source, Some(checksum)).await;
        let (reading, chunks) = opened.map_err(|error| Failure::last(Kind::LocalFile, error))?;
        let part =
            Part::stream_with_length(Body::wrap_stream(reported(chunks, object)), source.len()).file_name(FILE_NAME);
        let path = format!("/file/{}", escaped(&created.id));
        let request = self.request(Method::POST, &path).header("X-UploadToken", &created.upload_token);
        let response = self.server.send_source(&reading, request.multipart(Form::new().part("file", part))).await?;
        if response.status() == StatusCode::NOT_FOUND {
            // The upload vanished between two requests: a new one may not.
            return Err(Failure::again(Kind::Rejected, self.server.answer(response).await));
        }
        if response.status() != StatusCode::OK {
            return Err(refusal(self.server.answer(response).await));
        }
        let kept: Kept = self.server.json(response).await?;
        let sums = reading
            .sums()
            .ok_or_else(|| Failure::again(Kind::Digest, "the server answered before it had all bytes"))?;
        match kept.mismatch(source.len(), &sums) {
            Some(cause) => Err(Failure::again(Kind::Digest, cause)),
            None => Ok((kept, sums)),
        }
    }

    fn stored(&self, created: &Created, kept: &Kept, sums: &Sums, size: u64) -> Result<Stored, Failure> {
        let base = created.link_base(&self.scheme).unwrap_or_else(|| self.base.clone());
        let url = format!("{base}/file/{}/{}/{}", escaped(&created.id), escaped(&kept.id), escaped(&kept.file_name));
        let uploaded = Uploaded::new(url, size, sums.sha256)
            .expires_at(created.expiry(OffsetDateTime::now_utc()))
            .one_shot(created.one_shot);
        let key = serde_json::to_string(&created.key()).map_err(|error| Failure::last(Kind::Rejected, error))?;
        Ok(Stored { uploaded, receipt: Receipt::new(key) })
    }

    async fn delete(&self, key: &Key) -> Result<(), Failure> {
        let request =
            self.request(Method::DELETE, &format!("/upload/{}", escaped(&key.id))).header("X-UploadToken", &key.token);
        let response = self.server.send(request).await?;
        match response.status() {
            StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => Ok(()),
            _ => Err(refusal(self.server.answer(response).await)),
        }
    }
}

impl Created {
    fn key(&self) -> Key {
        Key { id: self.id.clone(), token: self.upload_token.clone() }
    }
}

/// What an error of Plik means; it has no machine codes, and "too big" is a 400 (contract §3.4, §4.4)
fn refusal(answer: crate::answer::Answer) -> Failure {
    let kind = match &*answer.text {
        text if text.contains("too big") => Kind::TooLarge,
        text if text.contains("anonymous uploads are disabled") => Kind::Refused,
        _ => return Failure::answered(answer),
    };
    Failure::last(kind, answer)
}

/// Percent-encodes everything but unreserved characters (RFC 3986 §2.3, contract §8)
fn escaped(segment: &str) -> String {
    segment.bytes().fold(String::with_capacity(segment.len()), |mut all, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            all.push(char::from(byte));
        } else {
            all.push_str(&format!("%{byte:02X}"));
        }
        all
    })
}

impl Uploader for PlikStore {
    fn name(&self) -> Cow<'_, str> {
        self.0.server.name().into()
    }

    fn upload<'a>(&'a self, object: &'a Object, source: &'a Source) -> BoxFuture<'a, Result<Stored, StoreError>> {
        Box::pin(self.0.server.upload(object, move || Box::pin(self.0.attempt(object, source))))
    }

    fn delete<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let key: Key = serde_json::from_str(receipt.secret()).map_err(|_| {
                StoreError::new(Kind::Rejected, self.name()).with_source("the receipt is not one of this store")
            })?;
            self.0.server.perform(|| Box::pin(self.0.delete(&key))).await.map_err(StoreError::deleting)
        })
    }

    fn lifetime_rules(&self) -> LifetimeRules {
        self.0.config.get().and_then(Option::as_ref).map_or_else(LifetimeRules::default, Config::rules)
    }

    fn origins(&self) -> Vec<Origin> {
        let mut origins = vec![self.0.server.origin.clone()];
        let domain = self.0.config.get().and_then(Option::as_ref).and_then(|config| config.link_base(&self.0.scheme));
        let domain = domain.and_then(|domain| Url::parse(&domain).ok()).and_then(|url| Origin::of(&url));
        origins.extend(domain.filter(|domain| *domain != self.0.server.origin));
        origins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_unreserved_characters_is_escaped() {
        assert_eq!(escaped("payload.bin"), "payload.bin");
        assert_eq!(escaped("a b/é?#%+\";\\~"), "a%20b%2F%C3%A9%3F%23%25%2B%22%3B%5C~");
    }
}
