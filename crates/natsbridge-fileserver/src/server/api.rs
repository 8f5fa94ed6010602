//! Plik's routes and what stands behind the short ones.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, Request, State},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, header};
use serde::Serialize;
use serde_json::json;
use tokio_util::task::TaskTracker;

use super::{
    claims::Claims,
    config::ServerConfig,
    disk::Store,
    error::{Reason, Refusal, TEXT},
    ids::{Id, upload_token},
    origin::{self, Known},
    outer,
    receive::{Target, receive},
    record::{Record, Wishes},
    send::download,
    tls::Tls,
    wishes::{self, refused},
};

/// Files in one upload, as in Plik
pub(super) const MAX_FILES: usize = 1000;

/// Bytes of JSON in a request, as in Plik
const MAX_JSON: usize = 1024 * 1024;

/// What every request needs
#[derive(Debug)]
pub(super) struct App {
    pub(super) config: ServerConfig,
    /// The server's own address, without a slash at the end
    pub(super) base: String,
    /// The one `Host` that downloads may have
    pub(super) host: Option<String>,
    /// The hosts and origins that it answers to
    pub(super) known: Known,
    /// The origins whose pages may use it, as browsers write them
    pub(super) cors: Vec<String>,
    pub(super) store: Arc<Store>,
    pub(super) claims: Arc<Claims>,
    /// The certificate, for a server that speaks TLS itself
    pub(super) tls: Option<Tls>,
    /// Disk work; the server is not down before it is done
    pub(super) jobs: TaskTracker,
}

impl App {
    /// Does disk work on a thread where it may block
    pub(super) async fn disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let app = Arc::clone(self);
        self.jobs.spawn_blocking(move || work(&app)).await.map_err(|error| Refusal::internal(&error))?
    }

    /// Refuses a download under another name than the configured one
    pub(super) fn check_host(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(wanted) = &self.host else { return Ok(()) };
        let host = header_text(headers, header::HOST.as_str());
        if host.eq_ignore_ascii_case(wanted) {
            Ok(())
        } else {
            Err(Refusal::bad_request(format!("Invalid download domain {host}")))
        }
    }

    /// Refuses a client that lacks the server's token, if there is one
    fn check_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match (&self.config.token, headers.get(PLIK_TOKEN)) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(refused("anonymous uploads are disabled").counted_as(Reason::Token)),
            (Some(token), Some(offered)) if token.matches(&String::from_utf8_lossy(offered.as_bytes())) => Ok(()),
            (Some(_), Some(_)) => Err(Refusal::forbidden("invalid token").counted_as(Reason::Token)),
        }
    }

    /// Whether the request may change the upload: it has the upload's token, or the server's
    fn is_admin(&self, headers: &HeaderMap, record: &Record) -> bool {
        record.is_owned_by(&header_text(headers, UPLOAD_TOKEN))
            || self.config.token.as_ref().is_some_and(|token| token.matches(&header_text(headers, PLIK_TOKEN)))
    }

    fn domain(&self) -> &str {
        self.config.download_domain.as_ref().or(self.config.public_url.as_ref()).map_or("", String::as_str)
    }
}

const PLIK_TOKEN: &str = "x-pliktoken";
const UPLOAD_TOKEN: &str = "x-uploadtoken";

/// The routes, with CORS and logging around them
pub(super) fn router(app: &Arc<App>) -> Router {
    let file = get(download).head(download).post(add_declared).delete(delete_file);
    Router::new()
        .route("/", post(quick))
        .route("/upload", post(create))
        .route("/upload/{upload}", get(show).delete(delete_upload))
        .route("/file/{upload}", post(add))
        .route("/file/{upload}/{file}/{name}", file)
        .route("/config", get(config))
        .route("/version", get(version))
        .route("/health", get(|| async { plain("ok\n") }))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .layer(middleware::from_fn_with_state(Arc::clone(app), outer::cors))
        .layer(middleware::from_fn_with_state(Arc::clone(app), origin::refuse_strangers))
        .layer(middleware::from_fn(outer::log))
        .with_state(Arc::clone(app))
}

/// Reads the record of an upload that exists and is not expired
pub(super) fn live(store: &Store, upload: &str) -> Result<(Id, Record), Refusal> {
    let id = Id::parse(upload).ok_or_else(|| Refusal::not_found("upload not found"))?;
    let record = store.load(id)?.ok_or_else(|| expired_or_absent(id))?;
    if record.is_expired() { Err(Refusal::not_found(format!("upload {id} has expired"))) } else { Ok((id, record)) }
}

/// The answer about an upload that is not there, or not any more
pub(super) fn expired_or_absent(id: Id) -> Refusal {
    Refusal::not_found(format!("upload {id} not found"))
}

async fn not_found() -> Refusal {
    Refusal::not_found("404 page not found")
}

/// `POST /upload`
async fn create(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    app.check_token(&head.headers)?;
    let body = tokio::time::timeout(app.config.idle_timeout, to_bytes(body, MAX_JSON))
        .await
        .map_err(|_| Refusal::new(http::StatusCode::REQUEST_TIMEOUT, "request body took too long").closing())?
        .map_err(|_| Refusal::bad_request("unable to read request body : http: request body too large").closing())?;
    let wishes = wishes::read(&body, &app.config)?;
    let (_, record, token) = new_upload(&app, wishes).await?;
    json_answer(&record.view(app.domain(), Some(&token), true))
}

async fn new_upload(app: &Arc<App>, wishes: Wishes) -> Result<(Id, Record, String), Refusal> {
    app.disk(move |app| {
        let (id, token) = (Id::random(), upload_token());
        let record = Record::new(id, &token, wishes);
        app.store.create(id, &record)?;
        Ok((id, record, token))
    })
    .await
}

/// `GET /upload/{upload}`
async fn show(
    State(app): State<Arc<App>>,
    Path(upload): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (_, record) = app.disk(move |app| live(&app.store, &upload)).await?;
    let offered = header_text(&headers, UPLOAD_TOKEN);
    let token = record.is_owned_by(&offered).then_some(offered.as_str());
    json_answer(&record.view(app.domain(), token, app.is_admin(&headers, &record)))
}

/// `DELETE /upload/{upload}`
async fn delete_upload(
    State(app): State<Arc<App>>,
    Path(upload): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    app.disk(move |app| {
        let (id, record) = live(&app.store, &upload)?;
        if !record.removable && !app.is_admin(&headers, &record) {
            return Err(Refusal::forbidden("you are not allowed to remove this upload"));
        }
        app.store.remove(id)?;
        Ok(plain("ok"))
    })
    .await
}

/// `DELETE /file/{upload}/{file}/{name}`; a file that is deleted already is deleted well
async fn delete_file(
    State(app): State<Arc<App>>,
    Path((upload, file, name)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    app.disk(move |app| {
        let (upload, record) = live(&app.store, &upload)?;
        let found = Id::parse(&file).and_then(|id| Some((id, record.file(id)?)));
        let (id, found) = found.ok_or_else(|| {
            Refusal::not_found(
                Id::parse(&file).map_or_else(|| "file not found".to_owned(), |id| format!("file {id} not found")),
            )
        })?;
        if found.file_name != name {
            return Err(Refusal::bad_request("invalid file name"));
        }
        if !record.removable && !app.is_admin(&headers, &record) {
            return Err(Refusal::forbidden("you are not allowed to remove files from this upload"));
        }
        app.store.erase(upload, id)?;
        Ok(plain("ok"))
    })
    .await
}

/// `POST /file/{upload}`
async fn add(State(app): State<Arc<App>>, Path(upload): Path<String>, request: Request) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let id = may_add(&app, upload, &head.headers).await?;
    json_answer(&receive(&app, id, Target::New, &head.headers, body).await?)
}

/// `POST /file/{upload}/{file}/{name}` for a file named when the upload was made
async fn add_declared(
    State(app): State<Arc<App>>,
    Path((upload, file, _)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let id = may_add(&app, upload, &head.headers).await?;
    let file = Id::parse(&file).ok_or_else(|| Refusal::not_found("file not found").closing())?;
    json_answer(&receive(&app, id, Target::Declared(file), &head.headers, body).await?)
}

/// The upload, if the client may add files to it; a refusal ends the connection, because the body is not read
async fn may_add(app: &Arc<App>, upload: String, headers: &HeaderMap) -> Result<Id, Refusal> {
    let (id, record) = app.disk(move |app| live(&app.store, &upload)).await.map_err(Refusal::closing)?;
    if app.is_admin(headers, &record) {
        Ok(id)
    } else {
        Err(Refusal::forbidden("you are not allowed to add file to this upload").closing())
    }
}

/// `POST /`: an upload with all defaults and its file at once, answered with the file's address
async fn quick(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    app.check_token(&head.headers).map_err(Refusal::closing)?;
    let wishes = wishes::read(b"", &app.config)?;
    let (id, _, _) = new_upload(&app, wishes).await?;
    let stored = match receive(&app, id, Target::New, &head.headers, body).await {
        Ok(stored) => stored,
        Err(refusal) => {
            app.disk(move |app| Ok(app.store.remove(id)?)).await?;
            return Err(refusal);
        }
    };
    let base = if app.domain().is_empty() { &app.base } else { app.domain() };
    let mut url = url::Url::parse(base).map_err(|error| Refusal::internal(&error))?;
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["file", id.as_str(), &stored.id, &stored.file_name]);
    }
    Ok(plain(format!("{url}\n")))
}

/// `GET /config`
async fn config(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let closed = app.config.token.is_some();
    json_answer(&json!({
        "maxFileSize": app.config.max_size,
        "maxUserSize": -1,
        "maxFilePerUpload": MAX_FILES,
        "defaultTTL": app.config.default_ttl.as_secs(),
        "maxTTL": app.config.max_ttl.as_secs(),
        "downloadDomain": app.domain(),
        "downloadDomainAlias": null,
        "abuseContact": "",
        "feature_authentication": if closed { "forced" } else { "disabled" },
        "feature_one_shot": "enabled",
        "feature_removable": "enabled",
        "feature_stream": "disabled",
        "feature_password": "disabled",
        "feature_comments": "enabled",
        "feature_set_ttl": "enabled",
        "feature_extend_ttl": "disabled",
        "feature_clients": "disabled",
        "feature_github": "disabled",
        "feature_text": "disabled",
        "authentication": closed,
        "noAnonymousUploads": closed,
        "oneShot": true,
        "removable": true,
        "stream": false,
        "protectedByPassword": false,
        "googleAuthentication": false,
        "ovhAuthentication": false,
        "ovhApiEndpoint": "",
    }))
}

/// `GET /version`: Plik's keys, and who this is
async fn version() -> Result<Response, Refusal> {
    json_answer(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "date": 0,
        "isRelease": false,
        "isMint": false,
        "clients": null,
        "releases": null,
        "server": env!("CARGO_PKG_NAME"),
    }))
}

fn json_answer(value: &impl Serialize) -> Result<Response, Refusal> {
    Ok(plain(serde_json::to_vec(value).map_err(|error| Refusal::internal(&error))?))
}

fn plain(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, TEXT)], body.into()).into_response()
}

fn header_text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}
