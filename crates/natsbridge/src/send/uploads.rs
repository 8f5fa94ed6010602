//! The uploads of one message: performed several at once, and deleted again if the message is not published.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use natsbridge_core::{Plan, Upload, Uploaded, shown};
use natsbridge_fileserver::{OneShotRule, Receipt, StoreError, StoreErrorKind, Stored, Uploader};
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::ConfigError;
use crate::{Error, observe};

/// How long a caller waits while uploads are deleted
const DELETION: Duration = Duration::from_secs(5);

/// Until when something is tried again, and how often
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) first_pause: Duration,
    pub(crate) longest_pause: Duration,
}

impl Deadline {
    /// Pauses that double up to the longest one, each shortened at random by up to a half, so that programs that failed
    /// together do not come back together
    pub(crate) fn pauses(self) -> impl Iterator<Item = Duration> {
        let doubled = move |pause: &Duration| Some(pause.saturating_mul(2).min(self.longest_pause));
        std::iter::successors(Some(self.first_pause.min(self.longest_pause)), doubled).enumerate().map(
            |(number, pause)| {
                // The first is what was set: a receiver that replies within it is asked once.
                if number == 0 {
                    return pause;
                }
                let random = u32::from_le_bytes(*Uuid::new_v4().as_bytes().last_chunk().unwrap_or(&[0; 4]));
                pause.mul_f64(1.0 - f64::from(random) / f64::from(u32::MAX) / 2.0)
            },
        )
    }
}

/// What a message has stored at the file server, if anything; deleted on drop unless the message was published
#[derive(Debug, Default)]
pub(crate) struct UploadGuard(Option<Arc<StoredObjects>>);

/// Objects that one message has stored
#[derive(Debug)]
pub(super) struct StoredObjects {
    uploader: Arc<dyn Uploader>,
    receipts: Mutex<Vec<Receipt>>,
}

impl StoredObjects {
    /// Performs the uploads of a plan, several at once; each finished one leaves its receipt, whatever becomes of the others
    pub(super) async fn upload_all(
        &self,
        plan: &Plan,
        transfers: usize,
        one_reader: bool,
        deadline: Option<Deadline>,
    ) -> Result<Vec<Uploaded>, Error> {
        // Refused before anything is uploaded, where the store is known for it.
        let is_unfit = !one_reader && self.uploader.lifetime_rules().one_shot == OneShotRule::Always;
        if let Some(first) = plan.uploads().next().filter(|_| is_unfit) {
            return Err(self.forces_one_shot(first).into());
        }
        let mut uploads: Vec<BoxFuture<'_, Result<Uploaded, Error>>> = Vec::new();
        for upload in plan.uploads() {
            uploads.push(Box::pin(async move {
                let Stored { uploaded, receipt } = self.upload(upload, deadline).await?;
                self.receipts().push(receipt);
                if uploaded.one_shot && !one_reader {
                    return Err(self.forces_one_shot(upload).into());
                }
                Ok(uploaded)
            }));
        }
        stream::iter(uploads).buffered(transfers.max(1)).try_collect().await
    }

    /// Uploads one payload; until the deadline, if there is one, it is tried again
    async fn upload(&self, upload: &Upload, deadline: Option<Deadline>) -> Result<Stored, StoreError> {
        let once = || self.uploader.upload(upload.object(), upload.source());
        let Some(deadline) = deadline else { return once().await };
        let mut last = None;
        for pause in deadline.pauses() {
            match tokio::time::timeout_at(deadline.at, once()).await {
                Ok(Err(error)) if error.is_retryable() => {
                    tracing::debug!(error = observe::cause(&error), "an upload is tried again");
                    last = Some(error);
                }
                Ok(done) => return done,
                Err(_) => break,
            }
            if Instant::now().checked_add(pause).is_none_or(|next| next >= deadline.at) {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        let late = || {
            StoreError::new(StoreErrorKind::Timeout, self.uploader.name())
                .with_dataname(upload.object().dataname.as_str())
                .with_source("the deadline of the delivery has passed")
        };
        Err(last.unwrap_or_else(late))
    }

    fn forces_one_shot(&self, upload: &Upload) -> ConfigError {
        let reason = format!(
            "{} makes the link of payload `{}` one-shot, and the message may be sent again or is for more than one \
             receiver; use a store that keeps files until they expire, or name one receiver_id and ask for no reply",
            self.uploader.name(),
            shown(&upload.object().dataname)
        );
        ConfigError::new("uploader", reason)
    }

    async fn delete(&self) {
        loop {
            // It stays in the list while it is deleted: whoever is stopped then leaves it to the guard.
            let Some(receipt) = self.receipts().last().cloned() else { return };
            if let Err(error) = self.uploader.delete(&receipt).await {
                tracing::warn!(error = observe::cause(&error), "an upload of an unsent message stays until it expires");
            }
            self.receipts().pop();
        }
    }

    fn receipts(&self) -> MutexGuard<'_, Vec<Receipt>> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UploadGuard {
    /// Deletes every upload of the message, as well as that can be done (`docs/specification.md`, section 8)
    pub(crate) async fn delete(&mut self) {
        let Some(stored) = &self.0 else { return };
        // Where the server is slow, the guard goes on in the background: the caller's outcome is known.
        if tokio::time::timeout(DELETION, stored.delete()).await.is_ok() {
            self.0 = None;
        }
    }

    /// Where the uploads of the message leave their receipts
    pub(super) fn stored(
        &mut self,
        uploader: impl FnOnce() -> Result<Arc<dyn Uploader>, ConfigError>,
    ) -> Result<Arc<StoredObjects>, ConfigError> {
        if let Some(stored) = &self.0 {
            return Ok(Arc::clone(stored));
        }
        let stored = Arc::new(StoredObjects { uploader: uploader()?, receipts: Mutex::default() });
        self.0 = Some(Arc::clone(&stored));
        Ok(stored)
    }

    /// Whether there is anything to delete
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Leaves the links to the receivers; they can still be deleted
    pub(crate) fn publish(&mut self) -> PublishedUploads {
        PublishedUploads(self.0.take())
    }
}

/// Uploads of a published message: they stay unless they are deleted
pub(crate) struct PublishedUploads(Option<Arc<StoredObjects>>);

impl PublishedUploads {
    /// Keeps the links if the message may be delivered in spite of the error, else deletes them
    pub(crate) async fn publish_failed(self, maybe_delivered: bool) {
        if !maybe_delivered {
            self.delete().await;
        }
    }

    /// Takes them back: the message was not published, and will be planned again
    pub(crate) fn take_back(self) -> UploadGuard {
        UploadGuard(self.0)
    }

    /// Deletes them: all receivers have what they need
    pub(crate) async fn delete(self) {
        self.take_back().delete().await;
    }
}

impl Drop for UploadGuard {
    fn drop(&mut self) {
        let Some(stored) = self.0.take() else { return };
        let uploads = stored.receipts().len();
        match tokio::runtime::Handle::try_current() {
            _ if uploads == 0 => {}
            Ok(runtime) => drop(runtime.spawn(async move { stored.delete().await })),
            Err(_) => tracing::warn!(uploads, "uploads of an unsent message stay until they expire"),
        }
    }
}
