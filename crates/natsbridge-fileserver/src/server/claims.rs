//! One-shot downloads: who has the single copy, and whether it arrived.
//!
//! A one-shot goes through three steps. While its bytes are read it is **claimed**: others are told to come back.
//! Before its last bytes leave it is **marked** removed on disk. It is **settled** when the connection shows
//! what became of them: the next request or a clean close means they arrived and the content is erased; a reset or
//! a stalled write means they did not and the file is offered again. TCP gives no better proof: bytes in the
//! client's kernel count as arrived if the client closes without a reset.

use std::{
    collections::HashSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::task::TaskTracker;

use super::{disk::Store, ids::Id};

/// All one-shot files that are on their way
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<HashSet<(Id, Id)>>);

impl Claims {
    /// Claims a file for one download; nothing if another has it
    pub(super) fn take(self: &Arc<Self>, upload: Id, file: Id) -> Option<Arc<Claim>> {
        let fresh = lock(&self.0).insert((upload, file));
        fresh.then(|| Arc::new(Claim { claims: Arc::clone(self), upload, file, step: Mutex::new(Step::Claimed) }))
    }
}

/// How far a one-shot download came
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Claimed,
    Marked,
    /// Marked, and all bytes were handed to the connection
    Given,
    /// The download ended before its last bytes were read from disk
    Cut,
}

/// The right to download a one-shot file; the file is free for others when the last owner drops it
#[derive(Debug)]
pub(super) struct Claim {
    claims: Arc<Claims>,
    upload: Id,
    file: Id,
    step: Mutex<Step>,
}

impl Claim {
    /// Marks the file removed by another name, before its last bytes leave; false if the download was cut meanwhile
    pub(super) fn mark(&self, store: &Store) -> io::Result<bool> {
        // Held while the file is renamed, so that a cut download is either seen before or undone after.
        let mut step = lock(&self.step);
        if *step == Step::Cut {
            return Ok(false);
        }
        store.mark_removed(self.upload, self.file)?;
        *step = Step::Marked;
        Ok(true)
    }

    /// Notes that the connection has all bytes
    pub(super) fn given(&self) {
        let mut step = lock(&self.step);
        if *step == Step::Marked {
            *step = Step::Given;
        }
    }

    /// Notes that no further bytes will be asked for
    pub(super) fn cut(&self) {
        let mut step = lock(&self.step);
        if *step == Step::Claimed {
            *step = Step::Cut;
            self.release();
        }
    }

    /// Erases what arrived, offers again what did not
    fn settle(&self, store: &Store, arrived: bool) -> io::Result<()> {
        let step = *lock(&self.step);
        let outcome = match step {
            Step::Given if arrived => store.erase(self.upload, self.file),
            Step::Given | Step::Marked => {
                tracing::warn!(upload = self.upload.hint(), "one-shot download broke off; the file is offered again");
                store.offer_again(self.upload, self.file).map(drop)
            }
            // Released already: another download may have the file by now.
            Step::Cut => return Ok(()),
            Step::Claimed => {
                self.cut();
                return Ok(());
            }
        };
        self.release();
        outcome
    }

    fn release(&self) {
        lock(&self.claims.0).remove(&(self.upload, self.file));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A cut claim was released already, and another download may have the file by now.
        let step = *self.step.get_mut().unwrap_or_else(PoisonError::into_inner);
        if step == Step::Claimed {
            self.release();
        }
    }
}

/// The one-shot downloads of one connection that are not settled
#[derive(Debug, Clone, Default)]
pub(super) struct Unsettled(Arc<Mutex<Vec<Arc<Claim>>>>);

impl Unsettled {
    pub(super) fn add(&self, claim: Arc<Claim>) {
        lock(&self.0).push(claim);
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }

    /// Settles all of them on the threads for disk work
    pub(super) async fn settle(&self, store: &Arc<Store>, jobs: &TaskTracker, arrived: bool) {
        let claims = std::mem::take(&mut *lock(&self.0));
        if claims.is_empty() {
            return;
        }
        let store = Arc::clone(store);
        let job = jobs.spawn_blocking(move || {
            for claim in claims {
                if let Err(error) = claim.settle(&store, arrived) {
                    tracing::error!(%error, upload = claim.upload.hint(), "one-shot download can't be settled");
                }
            }
        });
        if let Err(error) = job.await {
            tracing::error!(%error, "settling one-shot downloads failed");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that can panic runs under these locks, and their content is whole at every moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
