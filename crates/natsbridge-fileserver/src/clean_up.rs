//! Removes what an upload has left at the server: its future was dropped, or the server's answer was lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use crate::StoreError;
use crate::upload::Failure;

/// How long a clean-up may take; what it leaves expires
pub(crate) const CLEAN_UP: Duration = Duration::from_secs(2);

/// Whether a server may hold what was sent to it, although it never said so
#[derive(Debug, Clone, Default)]
pub(crate) struct Doubt(Arc<AtomicBool>);

impl Doubt {
    /// Makes an attempt to store; one that is dropped before its answer leaves a doubt
    pub(crate) async fn during<T>(&self, attempt: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let before = self.0.swap(true, Ordering::Relaxed);
        let tried = attempt.await;
        if tried.as_ref().is_err_and(|failure| !failure.doubtful) {
            self.0.store(before, Ordering::Relaxed);
        }
        tried
    }

    pub(crate) fn exists(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Deletes what a failed upload may have stored; where that fails too, the error names it
    pub(crate) async fn settle(
        &self,
        error: StoreError,
        name: &str,
        delete: impl Future<Output = Result<(), Failure>>,
    ) -> StoreError {
        if !self.exists() || matches!(tokio::time::timeout(CLEAN_UP, delete).await, Ok(Ok(()))) {
            return error;
        }
        error.may_be_stored_as(name)
    }
}

/// Runs a future in the background on drop, unless it was cancelled
pub(crate) struct CleanUp(Option<BoxFuture<'static, ()>>);

impl CleanUp {
    pub(crate) fn on_drop(clean_up: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(Box::pin(clean_up)))
    }

    /// There is nothing to clean up any more
    pub(crate) fn cancel(mut self) {
        self.0 = None;
    }
}

impl Drop for CleanUp {
    fn drop(&mut self) {
        let Some(clean_up) = self.0.take() else { return };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async { tokio::time::timeout(CLEAN_UP, clean_up).await })),
            Err(_) => tracing::warn!("an upload that was stopped outside of a runtime stays until it expires"),
        }
    }
}
