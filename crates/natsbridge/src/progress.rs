//! Progress of uploads and downloads: what a program's hook is told, and when.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use natsbridge_core::{Downloaded, Link, Object, Source};
use natsbridge_fileserver::{
    Downloader, FetchError, FetcherBuilder, LifetimeRules, Origin, Receipt, StoreError, Stored, Target, Uploader,
};

/// Bytes between two reports
const STEP: u64 = 64 * 1024;

/// How far the upload or download of one payload is; handed to the hook that `on_progress` sets
///
/// A transfer is reported at its beginning, then every 64 KiB or more, and once at its end. `done` reaches `total` with the
/// last report of a transfer that succeeded, and not before. An attempt that starts again reports from 0 again. Payloads
/// inside the message are not reported.
///
/// # Examples
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use natsbridge::store::MemoryStore;
/// use natsbridge::{Bridge, Config, MemoryBroker};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let config = Config::default().uploader(MemoryStore::new());
/// let bridge = Bridge::with_broker(MemoryBroker::new(), config)?;
///
/// let last = Arc::new(Mutex::new((0, 0)));
/// let seen = Arc::clone(&last);
/// let message = bridge.message("films").video("clip", vec![0; 2_000_000]);
/// message.on_progress(move |progress| *seen.lock().unwrap() = (progress.done, progress.total)).send().await?;
/// assert_eq!(*last.lock().unwrap(), (2_000_000, 2_000_000));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The payload's name
    pub dataname: &'a str,
    /// Whether the payload goes to the file server or comes from it
    pub direction: Direction,
    /// Bytes done
    pub done: u64,
    /// Bytes in all; 0 before the last report of a download whose sender did not say its size
    pub total: u64,
    /// Number of the transfer: names may repeat, and several transfers may run at once
    pub transfer: u64,
    /// Whether this is the transfer's last report: it succeeded, or failed, or was stopped
    pub ended: bool,
}

/// Whether a [`Progress`] is of an upload or of a download
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a transfer has no other direction")]
pub enum Direction {
    /// To the file server
    Upload,
    /// From the file server
    Download,
}

/// What a program has called
#[derive(Clone)]
pub(crate) struct ProgressHook(Arc<dyn Fn(Progress<'_>) + Send + Sync>);

impl ProgressHook {
    pub(crate) fn new(hook: impl Fn(Progress<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    /// The store, with its uploads reported
    pub(crate) fn uploader(&self, inner: Arc<dyn Uploader>) -> Arc<dyn Uploader> {
        Arc::new(Reported { inner, hook: self.clone() })
    }

    /// The downloader, with its downloads reported
    pub(crate) fn downloader(&self, inner: Arc<dyn Downloader>) -> Arc<dyn Downloader> {
        Arc::new(Reported { inner, hook: self.clone() })
    }
}

impl fmt::Debug for ProgressHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProgressHook(…)")
    }
}

/// A transfer that runs; its end is reported when this is dropped
struct Transfer(Arc<Reports>);

struct Reports {
    hook: ProgressHook,
    dataname: String,
    direction: Direction,
    transfer: u64,
    state: Mutex<State>,
}

/// What was reported last
struct State {
    done: u64,
    total: u64,
    ended: bool,
}

impl Transfer {
    fn begin(hook: &ProgressHook, direction: Direction, dataname: &str, total: u64) -> Self {
        static TRANSFERS: AtomicU64 = AtomicU64::new(1);
        let transfer = TRANSFERS.fetch_add(1, Ordering::Relaxed);
        let state = Mutex::new(State { done: 0, total, ended: false });
        let reports = Reports { hook: hook.clone(), dataname: dataname.to_owned(), direction, transfer, state };
        reports.tell(&reports.state());
        Self(Arc::new(reports))
    }

    /// What a store calls as the bytes go
    fn report(&self) -> impl Fn(u64, u64) + Send + Sync + use<> {
        let reports = Arc::clone(&self.0);
        move |done, total| {
            let mut state = reports.state();
            // All of them are only done when the store says that it succeeded.
            let is_news = done < state.done || (done - state.done >= STEP && done != total);
            if is_news && !state.ended {
                state.done = done;
                reports.tell(&state);
            }
        }
    }

    fn succeeded(self, bytes: u64) {
        let mut state = self.0.state();
        (state.done, state.total) = (bytes, bytes);
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        // A hook that panicked would do so again, and end the program.
        if std::thread::panicking() {
            return;
        }
        let mut state = self.0.state();
        state.ended = true;
        self.0.tell(&state);
    }
}

impl Reports {
    /// Calls the hook; the lock on the state keeps reports in their order
    fn tell(&self, state: &State) {
        let Self { hook, dataname, direction, transfer, .. } = self;
        let State { done, total, ended } = *state;
        (hook.0)(Progress { dataname, direction: *direction, done, total, transfer: *transfer, ended });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store or downloader whose transfers are reported
#[derive(Debug)]
struct Reported<T: ?Sized> {
    hook: ProgressHook,
    inner: Arc<T>,
}

impl Uploader for Reported<dyn Uploader> {
    fn name(&self) -> Cow<'_, str> {
        self.inner.name()
    }

    fn upload<'a>(&'a self, object: &'a Object, source: &'a Source) -> BoxFuture<'a, Result<Stored, StoreError>> {
        Box::pin(async move {
            let transfer = Transfer::begin(&self.hook, Direction::Upload, &object.dataname, object.size);
            let object = object.clone().on_progress(transfer.report());
            let stored = self.inner.upload(&object, source).await?;
            transfer.succeeded(stored.uploaded.size);
            Ok(stored)
        })
    }

    fn delete<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.delete(receipt)
    }

    fn origins(&self) -> Vec<Origin> {
        self.inner.origins()
    }

    fn allow_downloads(&self, fetcher: FetcherBuilder) -> FetcherBuilder {
        self.inner.allow_downloads(fetcher)
    }

    fn lifetime_rules(&self) -> LifetimeRules {
        self.inner.lifetime_rules()
    }
}

impl Downloader for Reported<dyn Downloader> {
    fn download<'a>(&'a self, link: &'a Link, target: Target) -> BoxFuture<'a, Result<Downloaded, FetchError>> {
        Box::pin(async move {
            let transfer = Transfer::begin(&self.hook, Direction::Download, &link.dataname, link.size.unwrap_or(0));
            let link = link.clone().on_progress(transfer.report());
            let downloaded = self.inner.download(&link, target).await?;
            transfer.succeeded(downloaded.source.len());
            Ok(downloaded)
        })
    }
}
