//! Payloads on any server that takes a PUT: `WebDAV`, nginx, an object store behind a gateway.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use natsbridge_core::{Object, Source, Uploaded};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method, RequestBuilder, StatusCode};
use url::Position;
use uuid::Uuid;

use crate::body::{Reading, reported};
use crate::breaker::BreakerPolicy;
use crate::client::{Credentials, GivenUrl};
use crate::retry::RetryPolicy;
use crate::upload::{Failure, Limits, Server, server_url};
use crate::{
    ConfigError, ExpiryRule, LifetimeRules, OneShotRule, Origin, Receipt, RootCertificates, StoreError,
    StoreErrorKind as Kind, Stored, Uploader,
};

/// What stands for an upload's name in the URL template
const ID: &str = "{id}";

/// Stores payloads by `PUT` under a URL of its own, and removes them by `DELETE`
///
/// Such a server knows neither expiry nor one-shot: its links work until they are deleted, and
/// [`Uploaded`] says so. Clones share their connections.
///
/// # Examples
/// ```
/// use natsbridge_fileserver::HttpStore;
///
/// let store = HttpStore::builder("https://files.example.com/payloads/{id}").bearer("secret").build()?;
/// # let _ = store;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct HttpStore(Arc<Http>);

#[derive(Debug)]
struct Http {
    server: Server,
    template: GivenUrl,
    credentials: Option<Credentials>,
}

impl HttpStore {
    /// Configures one: `{id}` in the template becomes a new UUID for each upload
    #[must_use]
    pub fn builder(template: &str) -> HttpStoreBuilder {
        HttpStoreBuilder { template: GivenUrl(template.to_owned()), credentials: None, limits: Limits::default() }
    }
}

/// Configures an [`HttpStore`]
#[derive(Debug, Clone)]
pub struct HttpStoreBuilder {
    template: GivenUrl,
    credentials: Option<Credentials>,
    limits: Limits,
}

impl HttpStoreBuilder {
    /// Sets the token (NFR-303), sent as `Authorization: Bearer`
    #[must_use]
    pub fn bearer(mut self, token: impl Into<String>) -> Self {
        self.credentials = Some(Credentials::Bearer(token.into()));
        self
    }

    /// Sets login and password, sent as `Authorization: Basic`
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
    /// [`ConfigError`] if the template has no `{id}` in its path, or it or the token can't be used.
    pub fn build(self) -> Result<HttpStore, ConfigError> {
        const KIND: &str = "http store";
        let (mut url, user_info) = server_url(KIND, &self.template.0.replace(ID, "id"))?;
        // Only the path may differ from upload to upload: the host must not.
        let template = &self.template.0;
        let path_at =
            template.find("://").map(|at| at + 3).and_then(|host| template[host..].find('/').map(|at| host + at));
        let (host, path) = template.split_at(path_at.unwrap_or(template.len()));
        if host.contains(ID) || !path.contains(ID) {
            return Err(ConfigError::new(KIND, "its URL template needs `{id}` in the path, and only there"));
        }
        let credentials = self.credentials.or(user_info);
        if credentials.as_ref().is_some_and(|credentials| !credentials.is_sendable()) {
            return Err(ConfigError::new(KIND, "the token holds characters that no header may"));
        }
        url.set_path("");
        let server = Server::new(KIND, &url, self.limits)?;
        let template = GivenUrl(format!("{}{path}", &url[..Position::BeforePath]));
        Ok(HttpStore(Arc::new(Http { server, template, credentials })))
    }
}

impl Http {
    fn request(&self, method: Method, url: &str) -> RequestBuilder {
        let request = self.server.client.request(method, url);
        match &self.credentials {
            Some(credentials) => credentials.apply(request),
            None => request,
        }
    }

    async fn attempt(&self, url: &str, object: &Object, source: &Source) -> Result<Stored, Failure> {
        let opened = Reading::open(source, None).await;
        let (reading, chunks) = opened.map_err(|error| Failure::last(Kind::LocalFile, error))?;
        let request = self
            .request(Method::PUT, url)
            .header(CONTENT_LENGTH, source.len())
            .header(CONTENT_TYPE, "application/octet-stream");
        let response =
            self.server.send_source(&reading, request.body(Body::wrap_stream(reported(chunks, object)))).await?;
        if !response.status().is_success() {
            return Err(Failure::answered(self.server.answer(response).await));
        }
        let sums = reading
            .sums()
            .ok_or_else(|| Failure::again(Kind::Digest, "the server answered before it had all bytes"))?;
        Ok(Stored { uploaded: Uploaded::new(url, source.len(), sums.sha256), receipt: Receipt::new(url) })
    }

    async fn delete(&self, url: &str) -> Result<(), Failure> {
        let response = self.server.send(self.request(Method::DELETE, url)).await?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(Failure::answered(self.server.answer(response).await)),
        }
    }
}

impl Uploader for HttpStore {
    fn name(&self) -> Cow<'_, str> {
        self.0.server.name().into()
    }

    fn upload<'a>(&'a self, object: &'a Object, source: &'a Source) -> BoxFuture<'a, Result<Stored, StoreError>> {
        Box::pin(async move {
            // A repeated PUT of the same bytes to the same URL changes nothing, so all attempts share one.
            let url = self.0.template.0.replace(ID, &Uuid::new_v4().to_string());
            let stored = self.0.server.upload(object, || Box::pin(self.0.attempt(&url, object, source))).await?;
            self.0.server.patience.tell(self.lifetime_rules().change(object.link_lifetime));
            Ok(stored)
        })
    }

    fn delete<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let deleted = self.0.server.perform(|| Box::pin(self.0.delete(receipt.secret()))).await;
            deleted.map_err(StoreError::deleting)
        })
    }

    fn origins(&self) -> Vec<Origin> {
        vec![self.0.server.origin.clone()]
    }

    fn lifetime_rules(&self) -> LifetimeRules {
        LifetimeRules::new(OneShotRule::Never, ExpiryRule::Never)
    }
}
