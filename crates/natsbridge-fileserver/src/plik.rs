//! A store on a Plik server, or any server with Plik's HTTP API.

use std::borrow::Cow;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use natsbridge_core::{Object, Source, Uploaded};
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method, RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::OnceCell;
use url::Url;

use crate::body::{Reading, Sums, report_progress};
use crate::checksum::Checksum;
use crate::clean_up::{CLEAN_UP, CleanUp};
use crate::client::{ClientOptions, Credentials, GivenUrl, client_option_setters};
use crate::plik_wire::{Config, Create, Created, Kept};
use crate::upload::{Failure, Server, parse_server_url};
use crate::{ConfigError, LifetimeRules, Origin, Receipt, StoreError, StoreErrorKind as Kind, Stored, Uploader};

/// The file name of every payload: a name from a message would become part of a URL's path
const FILE_NAME: &str = "payload.bin";

/// Uploads payloads to a Plik server, or to any server with its HTTP API such as the embedded one
///
/// Every upload has a time to live. If the server does not offer it, it is shortened to the server's maximum; a one-shot
/// link that the server does not offer becomes an ordinary one. [`Uploaded`] holds what the server granted, and each kind
/// of change logs a warning once.
///
/// A retry creates a new upload and deletes the failed one where the server still responds; so does an upload whose future
/// is dropped, in the background. Clones share their
/// connections and circuit breakers.
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
    user_token: Option<Credentials>,
    credentials: Option<Credentials>,
    config: OnceCell<Option<Config>>,
}

impl PlikStore {
    /// Creates a store on the Plik at `base_url` with default settings, as [`builder`](Self::builder) does
    ///
    /// # Errors
    /// [`ConfigError`] if it is not an http or https URL with a host.
    pub fn new(base_url: &str) -> Result<Self, ConfigError> {
        Self::builder(base_url).build()
    }

    /// Returns a builder for the Plik at `base_url`, which includes the server's path prefix if there is one
    ///
    /// A user name and password in the URL are sent as Basic authentication, for a proxy in front of the server.
    #[must_use]
    pub fn builder(base_url: &str) -> PlikStoreBuilder {
        PlikStoreBuilder {
            base_url: GivenUrl(base_url.to_owned()),
            user_token: None,
            credentials: None,
            client: ClientOptions::default(),
        }
    }

    /// Reads the server's configuration and returns the origins of its links: the server's own, and that of its download
    /// domain if it has one
    ///
    /// # Errors
    /// [`StoreError`] if the server can't be reached or refuses.
    pub async fn discover(&self) -> Result<Vec<Origin>, StoreError> {
        self.0.server.perform(|| Box::pin(async { self.0.config().await.map(|_| ()) })).await?;
        Ok(self.origins())
    }
}

/// Configures a [`PlikStore`]
#[derive(Debug, Clone)]
pub struct PlikStoreBuilder {
    base_url: GivenUrl,
    user_token: Option<Credentials>,
    credentials: Option<Credentials>,
    client: ClientOptions,
}

client_option_setters!(PlikStoreBuilder);

impl PlikStoreBuilder {
    /// Sets the user token, sent as `X-PlikToken`; a server without anonymous uploads requires it
    #[must_use]
    pub fn user_token(mut self, token: impl Into<String>) -> Self {
        self.user_token = Some(Credentials::PlikToken(token.into()));
        self
    }

    /// Sets login and password for a proxy in front of the server, sent as `Authorization: Basic`
    #[must_use]
    pub fn basic_auth(mut self, login: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some(Credentials::Basic(login.into(), password.into()));
        self
    }

    /// Creates the store; this sends no request
    ///
    /// # Errors
    /// [`ConfigError`] if the URL is not http or https with a host, or if a header can't hold the token.
    pub fn build(self) -> Result<PlikStore, ConfigError> {
        let (url, user_info) = parse_server_url("plik", &self.base_url.0)?;
        let server = Server::new("plik", &url, self.client)?;
        if self.user_token.as_ref().is_some_and(|token| !token.is_sendable()) {
            return Err(ConfigError::new("plik", "the user token contains characters that an HTTP header can't hold"));
        }
        let mut base = url.clone();
        base.set_query(None);
        base.set_fragment(None);
        Ok(PlikStore(Arc::new(Plik {
            server,
            base: base.as_str().trim_end_matches('/').to_owned(),
            scheme: url.scheme().to_owned(),
            user_token: self.user_token,
            credentials: self.credentials.or(user_info),
            config: OnceCell::new(),
        })))
    }
}

/// The credentials that delete an upload; as JSON, the content of a [`Receipt`]
#[derive(Debug, Serialize, Deserialize)]
struct Key {
    id: String,
    token: String,
}

impl Plik {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.server.client.request(method, format!("{}{path}", self.base));
        [&self.user_token, &self.credentials].into_iter().flatten().fold(request, |request, given| given.apply(request))
    }

    /// Returns the server's configuration, which is read once; `None` if the server has none
    async fn config(&self) -> Result<Option<&Config>, Failure> {
        let config = self.config.get_or_try_init(|| async {
            let response = self.server.send(self.request(Method::GET, "/config")).await?;
            if response.status() == StatusCode::OK {
                return Ok(self.server.json::<Config>(response).await.ok());
            }
            let answer = self.server.error_response(response).await;
            if answer.verdict().is_temporary() { Err(Failure::from_response(answer)) } else { Ok(None) }
        });
        config.await.map(Option::as_ref)
    }

    async fn attempt(self: &Arc<Self>, object: &Object, source: &Source) -> Result<Stored, Failure> {
        let config = self.config().await?;
        let create = match config {
            Some(config) => {
                config.check(source.len(), self.user_token.is_some())?;
                config.grant(object.link_lifetime)
            }
            None => Create::from(object.link_lifetime),
        };
        // In a task of its own, which goes on when this future is dropped: the server may have the upload already.
        let plik = Arc::clone(self);
        let created = tokio::spawn(async move {
            let created = plik.create(&create).await?;
            let key = created.key();
            let clean_up = CleanUp::on_drop(async move {
                if plik.delete(&key).await.is_err() {
                    tracing::debug!(store = plik.server.name(), "a stopped upload could not be deleted");
                }
            });
            Ok::<_, Failure>((created, clean_up))
        });
        let (created, clean_up) = created.await.map_err(|ended| Failure::permanent(Kind::Unreachable, ended))??;
        match self.send(&created, object, source).await {
            Ok((kept, sums)) => {
                self.server.requests.warn_once(created.change(object.link_lifetime, OffsetDateTime::now_utc()));
                let stored = self.check_stored(&created, &kept, &sums, source.len())?;
                clean_up.cancel();
                Ok(stored)
            }
            Err(failure) => {
                // A broken upload can't be continued; if its deletion fails too, it expires.
                let key = created.key();
                if tokio::time::timeout(CLEAN_UP, self.delete(&key)).await.is_err() {
                    tracing::debug!(store = self.server.name(), "a failed upload could not be deleted in time");
                }
                clean_up.cancel();
                Err(failure)
            }
        }
    }

    async fn create(&self, create: &Create) -> Result<Created, Failure> {
        let response = self.server.send(self.request(Method::POST, "/upload").json(create)).await?;
        if response.status() != StatusCode::OK {
            return Err(refusal(self.server.error_response(response).await));
        }
        let created: Created = self.server.json(response).await?;
        // Streaming blocks the sender until the receiver reads, and loses the data if that breaks off.
        if created.stream {
            let cause = "the server forces streaming, which keeps nothing for a receiver that reads later; turn FeatureStream off";
            return Err(Failure::permanent(Kind::Rejected, cause));
        }
        Ok(created)
    }

    async fn send(&self, created: &Created, object: &Object, source: &Source) -> Result<(Kept, Sums), Failure> {
        let checksum = if created.crc64nvme { Checksum::crc64nvme() } else { Checksum::md5() };
        let opened = Reading::open(source, Some(checksum)).await;
        let (reading, chunks) = opened.map_err(|error| Failure::permanent(Kind::LocalFile, error))?;
        let part = Part::stream_with_length(Body::wrap_stream(report_progress(chunks, object)), source.len())
            .file_name(FILE_NAME);
        let path = format!("/file/{}", percent_encode(&created.id));
        let request = self.request(Method::POST, &path).header("X-UploadToken", &created.upload_token);
        let response = self.server.send_source(&reading, request.multipart(Form::new().part("file", part))).await?;
        if response.status() == StatusCode::NOT_FOUND {
            // The upload vanished between two requests: a new one may not.
            return Err(Failure::temporary(Kind::Rejected, self.server.error_response(response).await));
        }
        if response.status() != StatusCode::OK {
            return Err(refusal(self.server.error_response(response).await));
        }
        let kept: Kept = self.server.json(response).await?;
        let sums = reading
            .sums()
            .ok_or_else(|| Failure::temporary(Kind::Digest, "the server responded before it had all bytes"))?;
        match kept.mismatch(source.len(), &sums) {
            Some(cause) => Err(Failure::temporary(Kind::Digest, cause)),
            None => Ok((kept, sums)),
        }
    }

    fn check_stored(&self, created: &Created, kept: &Kept, sums: &Sums, size: u64) -> Result<Stored, Failure> {
        let base = created.link_base(&self.scheme).unwrap_or_else(|| self.base.clone());
        let url = format!(
            "{base}/file/{}/{}/{}",
            percent_encode(&created.id),
            percent_encode(&kept.id),
            percent_encode(&kept.file_name)
        );
        let uploaded = Uploaded::new(url, size, sums.sha256)
            .expires_at(created.expiry(OffsetDateTime::now_utc()))
            .one_shot(created.one_shot);
        let key = serde_json::to_string(&created.key()).map_err(|error| Failure::permanent(Kind::Rejected, error))?;
        Ok(Stored { uploaded, receipt: Receipt::new(key) })
    }

    async fn delete(&self, key: &Key) -> Result<(), Failure> {
        let request = self
            .request(Method::DELETE, &format!("/upload/{}", percent_encode(&key.id)))
            .header("X-UploadToken", &key.token);
        let response = self.server.send(request).await?;
        match response.status() {
            StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => Ok(()),
            _ => Err(refusal(self.server.error_response(response).await)),
        }
    }
}

impl Created {
    fn key(&self) -> Key {
        Key { id: self.id.clone(), token: self.upload_token.clone() }
    }
}

/// What an error of Plik means; it has no machine codes, and "too big" is a 400
fn refusal(answer: crate::error_response::ErrorResponse) -> Failure {
    let kind = match &*answer.text {
        text if text.contains("too big") => Kind::TooLarge,
        text if text.contains("anonymous uploads are disabled") => Kind::Refused,
        _ => return Failure::from_response(answer),
    };
    Failure::permanent(kind, answer)
}

/// Percent-encodes everything but unreserved characters (RFC 3986 §2.3)
fn percent_encode(segment: &str) -> String {
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
    fn characters_that_are_not_unreserved_are_all_escaped() {
        assert_eq!(percent_encode("payload.bin"), "payload.bin");
        assert_eq!(percent_encode("a b/é?#%+\";\\~"), "a%20b%2F%C3%A9%3F%23%25%2B%22%3B%5C~");
    }
}
