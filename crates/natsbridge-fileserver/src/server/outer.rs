//! What surrounds every request: the rules of browsers (CORS) and one line in the log.

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::{api::App, ids::Id};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, DELETE, OPTIONS");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Content-Type, X-UploadToken, X-PlikToken, X-ClientApp, X-ClientVersion, Range, If-Range, If-None-Match",
);
const EXPOSED: HeaderValue =
    HeaderValue::from_static("ETag, Content-Range, Content-Length, Accept-Ranges, Content-Disposition, Retry-After");

/// Answers preflights and marks answers for pages of the configured origins; others see a server without CORS
pub(super) async fn cors(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.cors.is_empty() {
        return next.run(request).await;
    }
    let allowed = allowed_origin(&app.cors, request.headers());
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD).is_some();
    let private = request.headers().contains_key("access-control-request-private-network");
    let preflight = allowed.is_some() && asked && request.method() == Method::OPTIONS;
    let mut response = if preflight {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        if private {
            // Browsers ask for this before a public page may reach a server on this machine.
            headers.insert("access-control-allow-private-network", HeaderValue::from_static("true"));
        }
        response
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    // Said to all, so that a cache does not give one origin's answer to another.
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    response
}

fn allowed_origin(configured: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    if configured.iter().any(|allowed| allowed == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    configured.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

/// Writes one event per request: never a query, a token, or enough of a path to fetch a file with
pub(super) async fn log(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let (route, upload) = logged_path(request.uri().path());
    let begun = Instant::now();
    let response = next.run(request).await;
    let length = response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    tracing::info!(
        %method,
        route,
        upload,
        status = response.status().as_u16(),
        bytes = length,
        elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        "file server answered"
    );
    response
}

/// The route and the start of the upload's identifier
fn logged_path(path: &str) -> (&'static str, String) {
    let mut segments = path.split('/').skip(1);
    let route = match segments.next() {
        Some("") => "/",
        Some("upload") => "/upload",
        Some("file") => "/file",
        Some("config") => "/config",
        Some("version") => "/version",
        Some("health") => "/health",
        _ => "unknown",
    };
    let upload = segments.next().and_then(Id::parse).map(|id| id.hint().to_owned());
    (route, upload.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_shows_too_little_to_fetch_a_file() {
        let logged = logged_path("/file/fx42p6dwO4x3MKWX/2LNrp1EGZY8zV4Hb/payload.bin");
        assert_eq!(logged, ("/file", "fx42p6".to_owned()));
        assert_eq!(logged_path("/secret/words"), ("unknown", String::new()));
        assert_eq!(logged_path("/"), ("/", String::new()));
    }
}
