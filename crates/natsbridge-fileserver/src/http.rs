//! A store on any server that accepts PUT: `WebDAV`, nginx, an object store behind a gateway.

use std::borrow::Cow;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use natsbridge_core::{Object, Source, Uploaded, redacted};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method, RequestBuilder, StatusCode};
use uuid::Uuid;

use crate::body::{Reading, report_progress};
use crate::clean_up::{CleanUp, Doubt};
use crate::client::{ClientOptions, Credentials, GivenUrl, client_option_setters};
use crate::upload::{Failure, Server, parse_server_url};
use crate::{
    ConfigError, ExpiryRule, FetcherBuilder, LifetimeRules, OneShotRule, Origin, Receipt, StoreError,
    StoreErrorKind as Kind, Stored, Uploader,
};

/// Placeholder for the upload's name in the URL template
const ID: &str = "{id}";

/// Uploads each payload by `PUT` to a new URL and deletes it by `DELETE`
///
/// Such a server offers neither expiry nor one-shot links: a link works until the upload is deleted, and [`Uploaded`]
/// has no expiry. Clones share their connections and circuit breakers.
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
    /// Returns a builder for a URL template, in whose path `{id}` is replaced by a new UUID for each upload
    ///
    /// A user name and password in the URL are sent as Basic authentication.
    #[must_use]
    pub fn builder(template: &str) -> HttpStoreBuilder {
        HttpStoreBuilder {
            template: GivenUrl(template.to_owned()),
            credentials: None,
            client: ClientOptions::default(),
        }
    }
}

/// Configures an [`HttpStore`]
#[derive(Debug, Clone)]
pub struct HttpStoreBuilder {
    template: GivenUrl,
    credentials: Option<Credentials>,
    client: ClientOptions,
}

client_option_setters!(HttpStoreBuilder);

impl HttpStoreBuilder {
    /// Sets the token, sent as `Authorization: Bearer`
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

    /// Creates the store; this sends no request
    ///
    /// # Errors
    /// [`ConfigError`] if the template is not an http or https URL with `{id}` in its path, and only there, if it has a
    /// fragment, or if a header can't hold the token.
    pub fn build(self) -> Result<HttpStore, ConfigError> {
        const KIND: &str = "http store";
        // A name that the parser keeps as it is, and that is nowhere else in the URL.
        let name = Uuid::new_v4().to_string();
        let (mut url, user_info) = parse_server_url(KIND, &self.template.0.replace(ID, &name))?;
        if url.fragment().is_some() {
            return Err(ConfigError::new(
                KIND,
                "its URL has a fragment, which no server sees; write `#` in a name as %23",
            ));
        }
        let in_path = url.path().matches(&name).count();
        if in_path == 0 || in_path != self.template.0.matches(ID).count() {
            return Err(ConfigError::new(KIND, "its URL template needs `{id}` in the path, and only there"));
        }
        let template = GivenUrl(url.as_str().replace(&name, ID));
        let credentials = self.credentials.or(user_info);
        if credentials.as_ref().is_some_and(|credentials| !credentials.is_sendable()) {
            return Err(ConfigError::new(KIND, "the token contains characters that an HTTP header can't hold"));
        }
        url.set_path("");
        let server = Server::new(KIND, &url, self.client)?;
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
        let (reading, chunks) = opened.map_err(|error| Failure::permanent(Kind::LocalFile, error))?;
        let request = self
            .request(Method::PUT, url)
            .header(CONTENT_LENGTH, source.len())
            .header(CONTENT_TYPE, "application/octet-stream");
        let response =
            self.server.send_source(&reading, request.body(Body::wrap_stream(report_progress(chunks, object)))).await?;
        if !response.status().is_success() {
            return Err(Failure::from_response(self.server.error_response(response).await));
        }
        let sums = reading
            .sums()
            .ok_or_else(|| Failure::temporary(Kind::Digest, "the server responded before it had all bytes"))?;
        Ok(Stored { uploaded: Uploaded::new(url, source.len(), sums.sha256), receipt: Receipt::new(url) })
    }

    async fn delete(&self, url: &str) -> Result<(), Failure> {
        let response = self.server.send(self.request(Method::DELETE, url)).await?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(Failure::from_response(self.server.error_response(response).await)),
        }
    }
}

impl Uploader for HttpStore {
    fn name(&self) -> Cow<'_, str> {
        self.0.server.name().into()
    }

    fn upload<'a>(&'a self, object: &'a Object, source: &'a Source) -> BoxFuture<'a, Result<Stored, StoreError>> {
        Box::pin(async move {
            // PUT is idempotent, so all attempts share one URL.
            let url = self.0.template.0.replace(ID, &Uuid::new_v4().to_string());
            let (http, kept, doubt) = (Arc::clone(&self.0), url.clone(), Doubt::default());
            let in_doubt = doubt.clone();
            let clean_up = CleanUp::on_drop(async move {
                if in_doubt.exists() && http.delete(&kept).await.is_err() {
                    tracing::warn!(url = redacted(&kept), "a stopped upload could not be deleted and may be stored");
                }
            });
            let attempt = || -> BoxFuture<'_, _> { Box::pin(doubt.during(self.0.attempt(&url, object, source))) };
            let stored = match self.0.server.upload(object, attempt).await {
                Ok(stored) => Ok(stored),
                Err(error) => Err(doubt.settle(error, &redacted(&url), self.0.delete(&url)).await),
            };
            clean_up.cancel();
            let stored = stored?;
            self.0.server.requests.warn_once(self.lifetime_rules().change(object.link_lifetime));
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

    fn allow_downloads(&self, fetcher: FetcherBuilder) -> FetcherBuilder {
        let origin = self.0.server.origin.clone();
        match &self.0.credentials {
            Some(credentials) => fetcher.credentials(origin, credentials.clone()),
            None => fetcher.allow(origin),
        }
    }

    fn lifetime_rules(&self) -> LifetimeRules {
        LifetimeRules::new(OneShotRule::Never, ExpiryRule::Never)
    }
}
