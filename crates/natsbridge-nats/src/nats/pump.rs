//! Moves a subscription's messages out of async-nats, whose full queues drop silently, into ours, which count.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::{Stream, StreamExt as _};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::task::coop::unconstrained;

use crate::error::{BrokerError, BrokerErrorKind};
use crate::message::RawMessage;
use crate::nats::connection::Connection;
use crate::subject::Subject;
use crate::subscription::Feed;

/// Ends a subscription at the server and keeps it in async-nats
///
/// async-nats's own `drain` forgets a subscription before the server has read the UNSUB, and throws away what the server
/// sends in between: in a queue group nobody gets that. It keeps a subscription that may still receive this many
/// messages, while nats-server takes a number with more than nine digits for none and stops at once.
const AT_ONCE: u64 = u64::MAX;

/// A running pump, as its broker sees it.
pub(crate) struct Pump {
    pub(crate) stop: Arc<Notify>,
    mover: Arc<Mover>,
    task: JoinHandle<()>,
    /// Closed when the task has ended
    ended: watch::Receiver<()>,
}

impl Pump {
    /// async-nats's queue is made large enough never to be full, so nothing is lost before `feed`; since every message
    /// is moved as soon as it is there, none ever waits there.
    pub(crate) fn start(
        subscriber: async_nats::Subscriber,
        feed: Feed,
        connection: Arc<Connection>,
        refused: oneshot::Receiver<String>,
        stop: Arc<Notify>,
    ) -> Self {
        let mover = Arc::new(Mover {
            held: Mutex::new(Some((subscriber, feed))),
            due: AtomicBool::new(false),
            stop: stop.clone(),
        });
        mover.wake_by_ref();
        let (ends, ended) = watch::channel(());
        let finished = finish(Arc::clone(&mover), connection, refused, stop.clone());
        let task = tokio::spawn(async move {
            finished.await;
            drop(ends);
        });
        Self { stop, mover, task, ended }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until all that has arrived is in the reader's queue
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    /// Ends the reader's stream after what is in its queue
    pub(crate) fn abort(&self) {
        self.task.abort();
        // Where the task has not come to take it: the queue's waker holds the mover, which holds the queue.
        drop(self.mover.take());
    }
}

/// Moves messages when it is woken, in the middle of whatever woke it: the connection's task, which has just read one
///
/// A task of its own would run only after that one has read all there is. Until then every message would keep its part of
/// the memory that the connection wants to read into again.
struct Mover {
    /// Nothing once the subscription has ended or is drained
    held: Mutex<Option<(async_nats::Subscriber, Feed)>>,
    /// Whether to look again before the lock is released
    due: AtomicBool,
    stop: Arc<Notify>,
}

impl Mover {
    /// What is held, unless another call uses it; that call then looks again
    fn free(&self) -> Option<MutexGuard<'_, Option<(async_nats::Subscriber, Feed)>>> {
        match self.held.try_lock() {
            Ok(held) => Some(held),
            Err(TryLockError::Poisoned(held)) => Some(held.into_inner()),
            // Never waits: a queue may wake within a poll, and so within this very lock.
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
        // The budget of the task that runs this is not for this.
        let next = unconstrained(std::future::poll_fn(|cx| Pin::new(&mut *subscriber).poll_next(cx)));
        match std::pin::pin!(next).poll(&mut context) {
            Poll::Ready(Some(message)) => feed.push(raw_message(message)),
            Poll::Ready(None) => return false,
            Poll::Pending => return true,
        }
    }
}

/// Waits for the end; after a drain, moves what is still on its way
async fn finish(mover: Arc<Mover>, connection: Arc<Connection>, refused: oneshot::Receiver<String>, stop: Arc<Notify>) {
    let refusal = tokio::select! {
        () = stop.notified() => None,
        Ok(text) = refused => Some(text),
    };
    let Some((mut subscriber, feed)) = mover.take() else { return };
    if feed.is_abandoned() {
        return;
    }
    if let Some(text) = refusal {
        moved(&mut subscriber, &feed, Waker::noop());
        let message = format!("{text}; ask for this permission, or subscribe to another subject");
        return feed.fail(BrokerError::new(BrokerErrorKind::PermissionDenied, message));
    }
    let sent_on = connection.number();
    if subscriber.unsubscribe_after(AT_ONCE).await.is_err() {
        return;
    }
    // When it returns, whatever the server sent before it stopped is in async-nats's queue. When it fails, the connection is
    // gone and nothing more comes.
    let mut stopped = pin!(connection.barrier(sent_on));
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            next = subscriber.next() => match next {
                Some(message) if !feed.is_abandoned() => feed.push(raw_message(message)),
                _ => return,
            },
        }
    }
    moved(&mut subscriber, &feed, Waker::noop());
}

pub(crate) fn raw_message(message: async_nats::Message) -> RawMessage {
    let subject = Subject::from_server(message.subject);
    RawMessage::new(subject, message.reply.and_then(Subject::reply_from_server), message.payload)
}
