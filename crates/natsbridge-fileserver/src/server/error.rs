//! Errors of the file server: why it does not start, and the one-line refusals that it sends to clients.

use std::{borrow::Cow, fmt, io, net::SocketAddr, path::PathBuf};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};

use super::budget::{FolderFull, RecordTooLong};

/// A [`FileServer`](super::FileServer) did not start, or a folder was not swept
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ServerError(#[from] Fault);

#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// A setting is invalid
    #[error("setting {name} of the file server is wrong: {problem}")]
    Config { name: &'static str, problem: String },
    /// Another server uses the folder
    #[error("folder {} is in use by another file server; stop it or choose another folder", .dir.display())]
    Locked { dir: PathBuf },
    /// The folder can't be read, written or created
    #[error("folder {} of the file server can't be used", .dir.display())]
    Folder { dir: PathBuf, source: io::Error },
    /// The address can't be bound
    #[error("file server can't listen on {address}; is the port taken?")]
    Listen { address: SocketAddr, source: io::Error },
}

impl ServerError {
    /// Returns the stable code: `fileserver_config` for an invalid setting, `fileserver_locked` if another server uses the
    /// folder, `fileserver_folder` if the folder can't be used, `fileserver_listen` if the address can't be bound
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self.0 {
            Fault::Config { .. } => "fileserver_config",
            Fault::Locked { .. } => "fileserver_locked",
            Fault::Folder { .. } => "fileserver_folder",
            Fault::Listen { .. } => "fileserver_listen",
        }
    }
}

/// An answer that is not what the client asked for: a status and one line of text, as Plik sends it
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    text: Cow<'static, str>,
    closes: bool,
    retry_after: bool,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, text: text.into(), closes: false, retry_after: false }
    }

    pub(super) fn bad_request(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn forbidden(text: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    pub(super) fn foreign(text: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    pub(super) fn not_found(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// The server's own fault; the cause goes to the log and not to the client
    pub(super) fn internal(cause: &dyn fmt::Display) -> Self {
        tracing::error!(%cause, "file server failed to answer");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal server error")
    }

    /// Ends the connection after the answer, because the rest of the request is not read
    pub(super) fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Tells the client to ask again in a second
    pub(super) fn retry_soon(mut self) -> Self {
        self.retry_after = true;
        self
    }
}

impl From<io::Error> for Refusal {
    fn from(cause: io::Error) -> Self {
        let inner = cause.get_ref();
        if let Some(full) = inner.and_then(|inner| inner.downcast_ref::<FolderFull>()) {
            tracing::debug!(cause = %full, "upload refused");
            return Self::new(StatusCode::INSUFFICIENT_STORAGE, full.to_string());
        }
        if let Some(long) = inner.and_then(|inner| inner.downcast_ref::<RecordTooLong>()) {
            return Self::new(StatusCode::PAYLOAD_TOO_LARGE, long.to_string());
        }
        let text = match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::WriteZero => "no space left on the file server's disk",
            io::ErrorKind::QuotaExceeded => "the file server's disk quota is used up",
            io::ErrorKind::FileTooLarge => "the file server's system allows no file of this size",
            _ => return Self::internal(&cause),
        };
        tracing::warn!(%cause, "file server has no space for an upload");
        Self::new(StatusCode::INSUFFICIENT_STORAGE, text)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(format!("{}\n", self.text)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, TEXT);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The content type of every answer but a file: Plik sends even JSON as text
pub(super) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
