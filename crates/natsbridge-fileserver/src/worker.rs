//! One stage of a download: a queue of batches, processed in order on a blocking thread while the next bytes arrive.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

/// Batches in the queue; with only one, receiving and processing would wait for each other
const BATCHES: u32 = 3;

/// What a batch goes through; may block
pub(crate) trait Stage: Send + 'static {
    /// Processes the next batch
    fn process(&mut self, batch: &[Bytes]) -> io::Result<()>;
}

/// A stage and the batches that wait for it
///
/// It uses a thread only while there are batches, so slow downloads occupy none.
pub(crate) struct Worker<S> {
    /// One permit for each unfinished batch
    room: Arc<Semaphore>,
    work: Arc<Mutex<Work<S>>>,
}

struct Work<S> {
    batches: VecDeque<(Vec<Bytes>, OwnedSemaphorePermit)>,
    /// `None` while the thread runs, and after a failure
    stage: Option<S>,
    failed: Option<io::Error>,
}

impl<S: Stage> Worker<S> {
    pub(crate) fn new(stage: S) -> Self {
        let work = Work { batches: VecDeque::new(), stage: Some(stage), failed: None };
        let room = usize::try_from(BATCHES).unwrap_or(1);
        Self { room: Arc::new(Semaphore::new(room)), work: Arc::new(Mutex::new(work)) }
    }

    /// Sends a batch to the thread; waits while the queue is full
    pub(crate) async fn send(&self, batch: Vec<Bytes>) -> io::Result<()> {
        let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else { return Err(self.failure()) };
        let mut work = lock(&self.work);
        work.batches.push_back((batch, permit));
        if let Some(stage) = work.stage.take() {
            let (room, work) = (Arc::clone(&self.room), Arc::clone(&self.work));
            spawn_blocking(move || run(stage, &room, &work));
        }
        Ok(())
    }

    /// Waits until all batches are finished and takes the stage
    pub(crate) async fn wait(&self) -> io::Result<S> {
        let Ok(_permits) = self.room.acquire_many(BATCHES).await else { return Err(self.failure()) };
        let stage = lock(&self.work).stage.take();
        stage.ok_or_else(|| self.failure())
    }

    /// Puts a stage where [`wait`](Self::wait) took it
    pub(crate) fn put_back(&self, stage: S) {
        lock(&self.work).stage = Some(stage);
    }

    /// Changes the stage, unless the thread already runs
    pub(crate) fn change(&self, change: impl FnOnce(&mut S)) {
        if let Some(stage) = lock(&self.work).stage.as_mut() {
            change(stage);
        }
    }

    fn failure(&self) -> io::Error {
        let failed = lock(&self.work).failed.take();
        failed.unwrap_or_else(|| io::Error::other("an earlier part of the download could not be kept"))
    }
}

/// Closes the queue if the thread panics, so that no one waits for it
struct ClosedByPanic<'a>(&'a Semaphore);

impl Drop for ClosedByPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close();
        }
    }
}

/// Processes batches until the queue is empty or one fails
fn run<S: Stage>(mut stage: S, room: &Semaphore, work: &Mutex<Work<S>>) {
    let _closed = ClosedByPanic(room);
    let mut held = lock(work);
    while let Some((batch, permit)) = held.batches.pop_front() {
        drop(held);
        let outcome = stage.process(&batch);
        // Freed without the lock.
        drop(batch);
        held = lock(work);
        if let Err(error) = outcome {
            held.failed = Some(error);
            held.batches.clear();
            room.close();
            return;
        }
        if held.batches.is_empty() {
            // Return it before the last permit, which signals that it is there.
            held.stage = Some(stage);
            drop(permit);
            return;
        }
    }
}

fn lock<S>(work: &Mutex<Work<S>>) -> MutexGuard<'_, Work<S>> {
    work.lock().unwrap_or_else(PoisonError::into_inner)
}
