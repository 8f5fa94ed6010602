//! Moves a subscription's messages out of async-nats, whose full queues drop silently, into ours, which count.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::{Stream, StreamExt as _};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, unconstrained};

use crate::broker::Delivery;
use crate::subject::Subject;
use crate::subscription::Feed;

/// A running pump, as its broker sees it.
#[derive(Debug)]
pub(crate) struct Pump {
    pub(crate) stop: Arc<Notify>,
    pub(crate) task: JoinHandle<()>,
}

impl Pump {
    /// async-nats's queue is made large enough never to be full, so nothing is lost before `feed`; since every message
    /// is moved as soon as it is there, none ever waits there.
    pub(crate) fn start(subscriber: async_nats::Subscriber, feed: Feed, stop: Arc<Notify>) -> Self {
        let mover = Arc::new(Mover {
            held: Mutex::new(Some((subscriber, feed))),
            due: AtomicBool::new(false),
            stop: stop.clone(),
        });
        mover.wake_by_ref();
        let task = tokio::spawn(finish(mover, stop.clone()));
        Self { stop, task }
    }
}

/// Moves messages when it is woken, in the middle of whatever woke it: the connection's task, which has just read one
///
/// A task of its own would get its turn only once that one has read all there is. Until then it would hold every message,
/// and with them the memory that the connection wants to read into again.
struct Mover {
    /// Nothing once the subscription has ended or is drained
    held: Mutex<Option<(async_nats::Subscriber, Feed)>>,
    /// Whether to look again before letting go
    due: AtomicBool,
    stop: Arc<Notify>,
}

impl Mover {
    /// What is held, unless somebody is at it, who then looks again
    fn free(&self) -> Option<MutexGuard<'_, Option<(async_nats::Subscriber, Feed)>>> {
        match self.held.try_lock() {
            Ok(held) => Some(held),
            Err(TryLockError::Poisoned(held)) => Some(held.into_inner()),
            // Never waits: a queue may wake from within a poll, and so within this very lock.
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn take(&self) -> Option<(async_nats::Subscriber, Feed)> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Wake for Mover {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waker = Waker::from(self.clone());
        self.due.store(true, Ordering::SeqCst);
        while self.due.load(Ordering::SeqCst)
            && let Some(mut held) = self.free()
        {
            self.due.store(false, Ordering::SeqCst);
            let Some((subscriber, feed)) = held.as_mut() else { return };
            if !moved(subscriber, feed, &waker) {
                *held = None;
                self.stop.notify_one();
                return;
            }
        }
    }
}

/// Moves all that is there; `false` at the end of the subscription
fn moved(subscriber: &mut async_nats::Subscriber, feed: &Feed, waker: &Waker) -> bool {
    let mut context = Context::from_waker(waker);
    loop {
        // The task that it happens in has a budget of its own, which is not for this.
        let next = unconstrained(std::future::poll_fn(|cx| Pin::new(&mut *subscriber).poll_next(cx)));
        match std::pin::pin!(next).poll(&mut context) {
            Poll::Ready(Some(message)) => feed.push(delivery(message)),
            Poll::Ready(None) => return false,
            Poll::Pending => return true,
        }
    }
}

/// Waits for the end; after a drain, what is still on its way is moved here
async fn finish(mover: Arc<Mover>, stop: Arc<Notify>) {
    stop.notified().await;
    let Some((mut subscriber, feed)) = mover.take() else { return };
    if feed.is_abandoned() || subscriber.drain().await.is_err() {
        return;
    }
    while let Some(message) = subscriber.next().await {
        if feed.is_abandoned() {
            return;
        }
        feed.push(delivery(message));
    }
}

pub(crate) fn delivery(message: async_nats::Message) -> Delivery {
    let subject = Subject::from_server(message.subject);
    Delivery::new(subject, message.reply.and_then(Subject::reply_from_server), message.payload)
}
