//! Errors of the file server: why it does not start, and the one-line refusals that it sends to clients.

use std::{
    borrow::Cow,
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};

use super::{
    budget::{FolderFull, RecordTooLong},
    meter,
};

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

impl Fault {
    /// A folder that can't be used; the system's own word for a file in its place is "File exists"
    pub(super) fn folder(dir: &Path, mut source: io::Error) -> Self {
        if dir.is_file() {
            source = io::Error::new(io::ErrorKind::NotADirectory, "it is a file, not a folder; choose another name");
        }
        Self::Folder { dir: dir.to_owned(), source }
    }
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

/// Why a request is refused, for operators; the client reads it in the text
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The server's token is missing or wrong
    Token,
    /// An upload's own token is missing or wrong
    Forbidden,
    /// A page or a host name that nobody named
    Foreign,
    /// Larger than the server takes
    TooLarge,
    /// No space on the disk
    DiskFull,
    /// All bytes that the folder may hold are in use
    LimitReached,
    /// An upload that stands still, or drips
    TooSlow,
    /// Not there, or not any more
    NotFound,
    /// A one-shot that another client is reading
    Busy,
    /// A client that does not speak TLS, or does not trust the certificate
    Handshake,
    /// Not a request that the server understands
    BadRequest,
    /// The server's own fault
    Internal,
}

impl Reason {
    pub(super) const ALL: [Self; 12] = [
        Self::Token,
        Self::Forbidden,
        Self::Foreign,
        Self::TooLarge,
        Self::DiskFull,
        Self::LimitReached,
        Self::TooSlow,
        Self::NotFound,
        Self::Busy,
        Self::Handshake,
        Self::BadRequest,
        Self::Internal,
    ];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Forbidden => "forbidden",
            Self::Foreign => "foreign",
            Self::TooLarge => "too_large",
            Self::DiskFull => "disk_full",
            Self::LimitReached => "limit_reached",
            Self::TooSlow => "too_slow",
            Self::NotFound => "not_found",
            Self::Busy => "busy",
            Self::Handshake => "handshake",
            Self::BadRequest => "bad_request",
            Self::Internal => "internal",
        }
    }

    /// What a status mostly means
    fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::REQUEST_TIMEOUT => Self::TooSlow,
            StatusCode::CONFLICT => Self::Busy,
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            StatusCode::INSUFFICIENT_STORAGE => Self::DiskFull,
            status if status.is_server_error() => Self::Internal,
            _ => Self::BadRequest,
        }
    }
}

/// An answer that is not what the client asked for: a status and one line of text, as Plik sends it
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    reason: Reason,
    text: Cow<'static, str>,
    closes: bool,
    retry_after: bool,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, reason: Reason::of(status), text: text.into(), closes: false, retry_after: false }
    }

    /// Counts it under another reason than its status says
    pub(super) fn counted_as(mut self, reason: Reason) -> Self {
        self.reason = reason;
        self
    }

    pub(super) fn bad_request(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn forbidden(text: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    pub(super) fn foreign(text: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, text).counted_as(Reason::Foreign)
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
            return Self::new(StatusCode::INSUFFICIENT_STORAGE, full.to_string()).counted_as(Reason::LimitReached);
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
        meter::refused(self.reason);
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
