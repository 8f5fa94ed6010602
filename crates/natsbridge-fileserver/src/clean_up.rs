//! Removes what an upload has left at the server when its future is dropped.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

/// How long a clean-up may take; what it leaves expires
pub(crate) const CLEAN_UP: Duration = Duration::from_secs(2);

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
