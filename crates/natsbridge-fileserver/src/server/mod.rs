//! An embedded file server that speaks Plik's HTTP API on a local folder.
//!
//! It serves links on one machine or in a small network: one process, one folder that survives a restart, no database.
//! Clients made for Plik 1.3 work unchanged: `POST /upload`, `POST /file/{upload}`, `GET` and
//! `HEAD /file/{upload}/{file}/{name}`, `GET` and `DELETE` of uploads and files, `POST /`, `/config`, `/version`,
//! `/health`. Statuses, texts and JSON are Plik's.
//!
//! # Intended differences from Plik 1.3.8
//!
//! - **A one-shot file is consumed when the client has received it**, not when it requests it. The server keeps the bytes
//!   until the client sends another request on the connection or closes it without a reset, so a broken download can be
//!   repeated. During a download, other clients get 409 with `Retry-After`; after it, 404. `HEAD` does not consume the
//!   file. `Range` is ignored. Bytes that the client's system received but the client never read count as received if the
//!   client closes without a reset.
//! - Ordinary files have a strong `ETag`, `Range` (one range), `If-Range` and `If-None-Match`, so that a broken download
//!   can be resumed.
//! - Errors are never redirects, whatever the user agent; there is no web page.
//! - Downloads have `X-Content-Type-Options: nosniff` and a content security policy that allows nothing. `?dl=1` sends
//!   `Content-Disposition: attachment`; file names are escaped in that header.
//! - Pages of configured origins may use the server (CORS). Without a token, pages of all other origins are refused, and
//!   so is a `Host` that is not the server's.
//! - A client may close its sending half after the request; it still gets its response.
//! - Everything that a client can store counts for `max_total`. Uploads beyond that limit, or beyond the space on the
//!   disk, are refused with 507. Names and comments of one upload have at most 1 MiB, comments 16 KiB (413).
//! - A body that is too large by its `Content-Length` is refused before it is read. Idle transfers and uploads that are
//!   too slow end with 408. The file names `.` and `..` are refused. A file of another upload is 404, not 500.
//! - With [`ServerConfig::tls`] it speaks TLS itself. `metrics` counts what it takes, gives out, refuses and holds.
//! - There are no users; one token may be required for uploads, and it has an administrator's rights. Streams, passwords,
//!   archives, extended expiry and uploads without expiry are refused as Plik does, or absent.
//! - Upload tokens and the server's token are stored as SHA-256 and compared in constant time.
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
mod meter;
mod origin;
mod outer;
mod pieces;
mod receive;
mod record;
mod send;
mod sniff;
mod tls;
mod wishes;

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tokio_util::task::TaskTracker;

pub use self::{
    config::ServerConfig,
    disk::{SweepReport, sweep},
    error::ServerError,
    tls::certificate_expiry,
};

use self::{
    api::App,
    claims::Claims,
    disk::{Lock, Store},
    error::Fault,
    origin::{Known, normalised_origin},
    tls::Tls,
};

/// A file server that has bound its address and locked its folder, ready to serve
#[derive(Debug)]
pub struct FileServer {
    app: Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
    lock: Lock,
}

impl FileServer {
    /// Locks the folder, deletes expired and incomplete uploads in it, and binds the address
    ///
    /// Connections wait until the server is started.
    ///
    /// # Errors
    /// [`ServerError`] for invalid settings, if another server uses the folder, if the folder can't be used, or if the
    /// address can't be bound; [`ServerError::code`] tells which.
    pub async fn bind(config: ServerConfig) -> Result<Self, ServerError> {
        config.check()?;
        meter::describe();
        let tls = config.tls.clone().map(Tls::load).transpose()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listen = config.listen;
        let dir = config.dir.clone();
        let max_total = config.max_total;
        let tidy = move || {
            let (store, lock) = Store::open(&dir, max_total)?;
            let report = store.recover().map_err(|source| Fault::Folder { dir, source })?;
            tracing::debug!(uploads = report.uploads, bytes = report.bytes, "expired uploads erased");
            Ok::<_, Fault>((store, lock))
        };
        let tidied = tokio::task::spawn_blocking(tidy).await;
        let failed = |error| Fault::Folder { dir: config.dir.clone(), source: std::io::Error::other(error) };
        let (store, lock) = tidied.map_err(failed)??;
        let listener = TcpListener::bind(listen).await.map_err(|source| Fault::Listen { address: listen, source })?;
        let address = listener.local_addr().map_err(|source| Fault::Listen { address: listen, source })?;
        let app = App {
            base: format!("{scheme}://{address}"),
            host: config.download_host(),
            known: Known::new(&config, address),
            cors: config.cors_origins.iter().filter_map(|origin| normalised_origin(origin).ok()).collect(),
            config,
            store: Arc::new(store),
            claims: Arc::new(Claims::default()),
            tls,
            jobs: TaskTracker::new(),
        };
        measure(&app);
        Ok(Self { app: Arc::new(app), listener, address, lock })
    }

    /// Returns the address it listens on, with the actual port
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL for clients on this machine, such as `http://127.0.0.1:8080`
    #[must_use]
    pub fn url(&self) -> String {
        self.app.base.clone()
    }

    /// Serves until `stop` completes, then waits for running transfers for at most [`ServerConfig::shutdown_grace`]
    ///
    /// When it returns, all work on the disk is done and the folder is unlocked.
    pub async fn serve_until(self, stop: impl Future<Output = ()> + Send) {
        let Self { app, listener, address, lock } = self;
        tracing::info!(%address, "file server started");
        tokio::select! {
            () = connection::serve(&listener, &app, stop) => {}
            () = sweep_regularly(&app) => {}
            () = measure_regularly(&app) => {}
        }
        app.jobs.close();
        app.jobs.wait().await;
        drop(lock);
        tracing::info!(%address, "file server stopped");
    }

    /// Serves in a background task until the handle is shut down or dropped
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

/// A file server in a background task; dropping the handle stops it at once and aborts its transfers
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    url: String,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl ServerHandle {
    /// Returns the address it listens on, with the actual port
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL for clients on this machine, such as `http://127.0.0.1:8080`
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops the server: waits for running transfers for at most [`ServerConfig::shutdown_grace`] and unlocks the folder
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

/// Sets the gauges, and looks for a renewed certificate
fn measure(app: &App) {
    meter::limits(app.config.max_connections, app.config.max_total);
    meter::holds(app.store.holdings());
    meter::disk(&app.config.dir, app.store.budget().used());
    if let Some(tls) = &app.tls {
        tls.refresh();
    }
}

async fn measure_regularly(app: &Arc<App>) {
    loop {
        tokio::time::sleep(meter::INTERVAL).await;
        let measured = app.disk(|app| {
            measure(app);
            Ok(())
        });
        if let Err(refusal) = measured.await {
            tracing::warn!(?refusal, "file server can't measure its disk");
        }
    }
}

/// Deletes expired uploads at every sweep interval
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
