//! Moves a subscription's messages out of async-nats, whose full queues drop silently, into ours, which count.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::broker::Delivery;
use crate::subject::Subject;
use crate::subscription::Feed;

/// How many messages go over under one lock of the queue.
const BATCH: usize = 128;

/// A running pump, as its broker sees it.
#[derive(Debug)]
pub(crate) struct Pump {
    pub(crate) stop: Arc<Notify>,
    pub(crate) task: JoinHandle<()>,
}

impl Pump {
    /// async-nats's queue is made large enough never to be full, so nothing is lost before `feed`; since this task does
    /// nothing but move, little ever waits there.
    pub(crate) fn start(subscriber: async_nats::Subscriber, feed: Feed, stop: Arc<Notify>) -> Self {
        let task = tokio::spawn(run(subscriber, feed, stop.clone()));
        Self { stop, task }
    }
}

async fn run(mut subscriber: async_nats::Subscriber, feed: Feed, stop: Arc<Notify>) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            () = stop.notified(), if !stopping => {
                stopping = true;
                if feed.is_abandoned() || subscriber.drain().await.is_err() {
                    return;
                }
            }
            more = poll_fn(|cx| fill(&mut subscriber, &mut batch, cx)) => {
                if !more || (stopping && feed.is_abandoned()) {
                    return;
                }
                feed.push_all(batch.drain(..));
            }
        }
    }
}

/// Ready with `true` when `batch` holds something, with `false` at the end of the subscription.
fn fill(subscriber: &mut async_nats::Subscriber, batch: &mut Vec<Delivery>, cx: &mut Context<'_>) -> Poll<bool> {
    while batch.len() < BATCH {
        match Pin::new(&mut *subscriber).poll_next(cx) {
            Poll::Ready(Some(message)) => batch.push(delivery(message)),
            Poll::Ready(None) => return Poll::Ready(!batch.is_empty()),
            Poll::Pending if batch.is_empty() => return Poll::Pending,
            Poll::Pending => break,
        }
    }
    Poll::Ready(true)
}

pub(crate) fn delivery(message: async_nats::Message) -> Delivery {
    let subject = Subject::from_server(message.subject);
    Delivery::new(subject, message.reply.and_then(Subject::reply_from_server), message.payload)
}
