//! An embedded file server that speaks Plik's HTTP API on a local folder.
//!
//! It is what a bridge needs for its links on one machine or in a small network: one process, one folder that
//! survives a restart, no database. Clients made for Plik 1.3 use it unchanged: `POST /upload`,
//! `POST /file/{upload}`, `GET` and `HEAD /file/{upload}/{file}/{name}`, `GET` and `DELETE` of uploads and files,
//! `POST /`, `/config`, `/version`, `/health`. Statuses, texts and JSON are Plik's.
//!
//! # Where it differs from Plik 1.3.8, on purpose
//!
//! - **A one-shot is used up when it arrived**, not when it is asked for. Its bytes are kept until the client asks
//!   for something else on the connection or closes it without a reset, so a cut download can be repeated. While
//!   one download runs, others get 409 and `Retry-After`, since the file may come back; once the last bytes left,
//!   404. `HEAD` never uses it up, `Range` is ignored and the whole is sent. What a client's system received but
//!   the client never read counts as arrived if the client closes without a reset.
//! - Ordinary files have a strong `ETag`, `Range` (one range), `If-Range` and `If-None-Match`, so that a broken
//!   download goes on where it stopped.
//! - Errors are never turned into redirects, whatever the user agent; there is no web page to go to.
//! - Downloads carry `X-Content-Type-Options: nosniff` and a content policy that runs nothing. `?dl=1` spells
//!   `attachment`, and file names can't break out of their header.
//! - Pages of configured origins may use the server (CORS). Without a token, pages of all others are refused, and so
//!   is a `Host` that is not the server's.
//! - A client that closes its sending half after the request is answered.
//! - Whatever a client can store counts (`max_total`), and what does not fit, on the disk or by that limit, is refused
//!   with 507. Names and comments of one upload may have 1 MiB together, comments 16 KiB (413).
//! - What can't fit because of its `Content-Length` is refused before it is read. A transfer that stands still,
//!   or an upload that only drips, is ended (408), an upload of the name `.` or `..` refused, a file of another upload not found (404, not 500).
//! - There are no users: one token may be asked for, and it is an administrator's. Streams, passwords, archives,
//!   moving expiry and uploads without expiry are refused in Plik's words or absent.
//! - Upload tokens are stored as SHA-256 and compared in constant time, as is the server's token.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use natsbridge_fileserver::server::{FileServer, ServerConfig};
//!
//! let dir = std::env::temp_dir().join(format!("natsbridge-example-{}", std::process::id()));
//! let server = FileServer::bind(ServerConfig::new(&dir).listen(([127, 0, 0, 1], 0).into())).await?;
//! println!("files are at {}", server.url());
//! let running = server.start();
//! running.shutdown().await;
//! # std::fs::remove_dir_all(dir)?;
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod api;
mod budget;
mod claims;
mod config;
mod connection;
mod disk;
mod disposition;
mod error;
mod ids;
mod origin;
mod outer;
mod pieces;
mod receive;
mod record;
mod send;
mod sniff;
mod wishes;

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tokio_util::task::TaskTracker;

pub use self::{
    config::ServerConfig,
    disk::{SweepReport, sweep},
    error::ServerError,
};

use self::{
    api::App,
    claims::Claims,
    disk::{Lock, Store},
    origin::{Known, normalised_origin},
};

/// A file server that is bound to its address and holds its folder, ready to serve
#[derive(Debug)]
pub struct FileServer {
    app: Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
    lock: Lock,
}

impl FileServer {
    /// Locks and tidies the folder and binds the address; connections wait until the server is started
    ///
    /// Uploads that a killed server left half done are erased, as are expired ones.
    ///
    /// # Errors
    /// [`ServerError::Config`] for settings that can't work, [`ServerError::Locked`] if another server has the
    /// folder, [`ServerError::Folder`] if it can't be used, [`ServerError::Listen`] if the address can't be bound.
    pub async fn bind(config: ServerConfig) -> Result<Self, ServerError> {
        config.check()?;
        let listen = config.listen;
        let dir = config.dir.clone();
        let max_total = config.max_total;
        let tidy = move || {
            let (store, lock) = Store::open(&dir, max_total)?;
            let report = store.recover().map_err(|source| ServerError::Folder { dir, source })?;
            tracing::debug!(uploads = report.uploads, bytes = report.bytes, "expired uploads erased");
            Ok((store, lock))
        };
        let tidied = tokio::task::spawn_blocking(tidy).await;
        let failed = |error| ServerError::Folder { dir: config.dir.clone(), source: std::io::Error::other(error) };
        let (store, lock) = tidied.map_err(failed)??;
        let listener =
            TcpListener::bind(listen).await.map_err(|source| ServerError::Listen { address: listen, source })?;
        let address = listener.local_addr().map_err(|source| ServerError::Listen { address: listen, source })?;
        let app = App {
            base: format!("http://{address}"),
            host: config.download_host(),
            known: Known::new(&config, address),
            cors: config.cors_origins.iter().filter_map(|origin| normalised_origin(origin).ok()).collect(),
            config,
            store: Arc::new(store),
            claims: Arc::new(Claims::default()),
            jobs: TaskTracker::new(),
        };
        Ok(Self { app: Arc::new(app), listener, address, lock })
    }

    /// The address it listens on, with the port that was chosen
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The address clients on this machine use, such as `http://127.0.0.1:8080`
    #[must_use]
    pub fn url(&self) -> String {
        self.app.base.clone()
    }

    /// Serves until `stop` is ready, then lets running transfers end within the configured grace
    ///
    /// When it returns, all disk work is done and the folder is free for another server.
    pub async fn serve_until(self, stop: impl Future<Output = ()> + Send) {
        let Self { app, listener, address, lock } = self;
        tracing::info!(%address, "file server started");
        tokio::select! {
            () = connection::serve(&listener, &app, stop) => {}
            () = sweep_regularly(&app) => {}
        }
        app.jobs.close();
        app.jobs.wait().await;
        drop(lock);
        tracing::info!(%address, "file server stopped");
    }

    /// Serves in the background until the handle is shut down or dropped
    ///
    /// # Panics
    /// Outside a tokio runtime, as [`tokio::spawn`] does.
    #[must_use = "the server stops when the handle is dropped"]
    pub fn start(self) -> ServerHandle {
        let (address, url) = (self.local_addr(), self.url());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(self.serve_until(async move {
            // A handle that is dropped ends the task as well, so both answers mean stop.
            let _ = stopped.await;
        }));
        ServerHandle { address, url, stop: Some(stop), task }
    }
}

/// A file server in the background; dropping it ends the server at once and cuts its transfers
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    url: String,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl ServerHandle {
    /// The address it listens on
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The address clients on this machine use, such as `http://127.0.0.1:8080`
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Lets running transfers end within the configured grace, then stops; the folder is free afterwards
    pub async fn shutdown(mut self) {
        drop(self.stop.take());
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "file server ended badly");
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Erases expired uploads again and again
async fn sweep_regularly(app: &Arc<App>) {
    loop {
        tokio::time::sleep(app.config.sweep_interval).await;
        match app.disk(|app| Ok(app.store.sweep()?)).await {
            Ok(report) if report.uploads > 0 => {
                tracing::info!(uploads = report.uploads, bytes = report.bytes, "expired uploads erased")
            }
            Ok(_) => {}
            Err(refusal) => tracing::warn!(?refusal, "expired uploads can't be erased"),
        }
    }
}
