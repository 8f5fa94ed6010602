//! Holds what has arrived for one subscription: a queue bounded by messages and bytes that counts what it drops.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;

use crate::broker::RawMessage;
use crate::error::BrokerError;
use crate::event::{Event, EventHub};
use crate::observe;
use crate::subject::SubjectFilter;

/// How many messages a reader takes from the shared queue under one lock.
const BATCH: usize = 128;

/// How much may wait for a slow reader before messages are dropped
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionLimits {
    /// Messages; 65,536 unless set
    pub messages: usize,
    /// Bytes of payloads; 64 MiB unless set. A single larger message is still taken when nothing else waits
    pub bytes: u64,
}

impl Default for SubscriptionLimits {
    fn default() -> Self {
        Self { messages: 65_536, bytes: 64 * 1024 * 1024 }
    }
}

/// Messages as they arrive for one filter
///
/// Read it with [`next`](Self::next), [`next_batch`](Self::next_batch) or as a [`Stream`]. When the reader is too slow
/// the newest messages are dropped, and counted: *read + dropped = sent to it by the server*. Besides the limits up to
/// 128 messages can wait on the reader's side. Dropping a subscription unsubscribes.
pub struct Subscription {
    filter: SubjectFilter,
    taken: VecDeque<RawMessage>,
    queue: Arc<Queue>,
    stop: Box<dyn Fn() + Send + Sync>,
    interruptions: Arc<AtomicU64>,
}

impl Subscription {
    /// Waits for the next message; `None` after the subscription or the broker was drained, and when it failed
    ///
    /// [`take_error`](Self::take_error) tells the two apart.
    pub async fn next(&mut self) -> Option<RawMessage> {
        poll_fn(|cx| self.poll_delivery(cx)).await
    }

    /// Waits for at least one message and gives all that are there, up to `limit`; empty only at the end
    pub async fn next_batch(&mut self, limit: usize) -> Vec<RawMessage> {
        let limit = limit.max(1);
        let ready = poll_fn(|cx| self.poll_taken(cx)).await;
        if !ready {
            return Vec::new();
        }
        let mut batch: Vec<_> = self.taken.drain(..limit.min(self.taken.len())).collect();
        if batch.len() < limit {
            self.queue.lock().take(limit - batch.len(), &mut batch);
        }
        batch
    }

    /// How many messages were dropped because this subscription was read too slowly
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.queue.dropped.load(Ordering::Relaxed)
    }

    /// How often the connection was made again while this subscription stood
    ///
    /// What others published in between did not reach it, and was not counted: see
    /// [`Event::Interrupted`].
    #[must_use]
    pub fn interruptions(&self) -> u64 {
        self.interruptions.load(Ordering::Relaxed)
    }

    pub(crate) fn count_interruptions(&mut self, counter: Arc<AtomicU64>) {
        self.interruptions = counter;
    }

    /// How many messages wait to be read
    #[must_use]
    pub fn pending(&self) -> usize {
        self.taken.len() + self.queue.lock().messages.len()
    }

    /// Why the stream ended, where nobody drained it: the server took the permission away; given once
    pub fn take_error(&mut self) -> Option<BrokerError> {
        self.queue.lock().error.take()
    }

    /// What it listens to
    #[must_use]
    pub fn filter(&self) -> &SubjectFilter {
        &self.filter
    }

    /// Stops listening; what has arrived can still be read, then the stream ends
    ///
    /// Nothing is lost: what the server has sent here until it stops can be read, and the rest goes to the other members
    /// of the queue group.
    pub fn drain(&self) {
        (self.stop)();
    }

    fn poll_delivery(&mut self, cx: &Context<'_>) -> Poll<Option<RawMessage>> {
        if let Some(delivery) = self.taken.pop_front() {
            return Poll::Ready(Some(delivery));
        }
        self.poll_taken(cx).map(|_| self.taken.pop_front())
    }

    /// Ready with `true` when messages are taken, with `false` when there will be none.
    fn poll_taken(&mut self, cx: &Context<'_>) -> Poll<bool> {
        if !self.taken.is_empty() {
            return Poll::Ready(true);
        }
        let mut state = self.queue.lock();
        if state.messages.is_empty() {
            if state.closed {
                return Poll::Ready(false);
            }
            match &mut state.reader {
                Some(waker) if waker.will_wake(cx.waker()) => {}
                other => *other = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        state.take(BATCH, &mut self.taken);
        Poll::Ready(true)
    }
}

impl Stream for Subscription {
    type Item = RawMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<RawMessage>> {
        self.poll_delivery(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let unread = {
            let mut state = self.queue.lock();
            state.abandoned = true;
            std::mem::take(&mut state.messages)
        };
        drop(unread);
        (self.stop)();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("filter", &self.filter)
            .field("pending", &self.pending())
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}

/// The writing end of a [`Subscription`]; dropping it ends the stream after what was pushed
///
/// Public so that other implementations of [`Broker`](crate::Broker) behave like ours when a reader is slow.
#[derive(Debug)]
pub struct Feed {
    queue: Arc<Queue>,
    filter: SubjectFilter,
    hub: Arc<EventHub>,
}

impl Feed {
    /// A subscription and its writing end
    ///
    /// `stop` is called when the reader drains or drops the subscription, possibly more than once. Slow episodes are
    /// told to `hub`.
    #[must_use]
    pub fn subscription(
        filter: SubjectFilter,
        limits: SubscriptionLimits,
        hub: Arc<EventHub>,
        stop: impl Fn() + Send + Sync + 'static,
    ) -> (Self, Subscription) {
        let queue = Arc::new(Queue { limits, dropped: AtomicU64::new(0), state: Mutex::default() });
        let subscription = Subscription {
            filter: filter.clone(),
            taken: VecDeque::new(),
            queue: queue.clone(),
            stop: Box::new(stop),
            interruptions: Arc::default(),
        };
        (Self { queue, filter, hub }, subscription)
    }

    /// Adds one message, or drops and counts it when the queue is full
    pub fn push(&self, delivery: RawMessage) {
        self.push_all(std::iter::once(delivery));
    }

    /// Adds messages in order under one lock; what does not fit is dropped and counted
    pub fn push_all(&self, deliveries: impl IntoIterator<Item = RawMessage>) {
        let mut state = self.queue.lock();
        if state.abandoned {
            return;
        }
        let mut dropped = 0;
        for delivery in deliveries {
            if !state.push(delivery, self.queue.limits) {
                dropped += 1;
            }
        }
        let reader = if state.messages.is_empty() { None } else { state.reader.take() };
        let episode_begins = dropped > 0 && !state.slow;
        state.slow |= dropped > 0;
        let total = self.queue.dropped.fetch_add(dropped, Ordering::Relaxed) + dropped;
        drop(state);

        if let Some(waker) = reader {
            waker.wake();
        }
        if dropped > 0 {
            observe::dropped(dropped);
        }
        if episode_begins {
            tracing::warn!(filter = %self.filter, dropped = total, "a subscription is read too slowly: messages are dropped");
            self.hub.send(&Event::SlowConsumer { filter: self.filter.to_string(), dropped: total });
        }
    }

    /// Ends the stream after what was pushed, with an error for [`Subscription::take_error`]
    pub fn fail(self, error: BrokerError) {
        self.queue.lock().error = Some(error);
    }

    /// Whether the reader is gone
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.queue.lock().abandoned
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let reader = {
            let mut state = self.queue.lock();
            state.closed = true;
            state.reader.take()
        };
        if let Some(waker) = reader {
            waker.wake();
        }
    }
}

struct Queue {
    limits: SubscriptionLimits,
    dropped: AtomicU64,
    state: Mutex<State>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    messages: VecDeque<RawMessage>,
    bytes: u64,
    reader: Option<Waker>,
    closed: bool,
    abandoned: bool,
    slow: bool,
    error: Option<BrokerError>,
}

impl State {
    fn push(&mut self, delivery: RawMessage, limits: SubscriptionLimits) -> bool {
        let size = u64::try_from(delivery.payload.len()).unwrap_or(u64::MAX);
        let full = self.messages.len() >= limits.messages.max(1)
            || (!self.messages.is_empty() && self.bytes.saturating_add(size) > limits.bytes);
        if full {
            return false;
        }
        self.bytes = self.bytes.saturating_add(size);
        self.messages.push_back(delivery);
        true
    }

    /// Moves up to `limit` messages out; a reader that has come this far ends a slow episode.
    fn take(&mut self, limit: usize, into: &mut impl Extend<RawMessage>) {
        let count = limit.min(self.messages.len());
        let bytes = &mut self.bytes;
        into.extend(self.messages.drain(..count).inspect(|delivery| {
            let size = u64::try_from(delivery.payload.len()).unwrap_or(u64::MAX);
            *bytes = bytes.saturating_sub(size);
        }));
        if self.messages.is_empty() {
            self.slow = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt;

    use super::*;
    use crate::subject::Subject;

    fn delivery(size: usize) -> RawMessage {
        RawMessage::new(Subject::new("a").unwrap(), None, Bytes::from(vec![0; size]))
    }

    fn pair(messages: usize, bytes: u64) -> (Feed, Subscription, Arc<EventHub>) {
        let hub = Arc::new(EventHub::default());
        let filter = SubjectFilter::new("a").unwrap();
        let limits = SubscriptionLimits { messages, bytes };
        let (feed, subscription) = Feed::subscription(filter, limits, hub.clone(), || {});
        (feed, subscription, hub)
    }

    #[test]
    fn what_is_read_and_what_is_dropped_add_up() {
        let (feed, mut subscription, _) = pair(10, 1_000_000);
        feed.push_all((0..25).map(|_| delivery(1)));
        drop(feed);
        let mut read = 0;
        while subscription.next().now_or_never().unwrap().is_some() {
            read += 1;
        }
        assert_eq!((read, subscription.dropped()), (10, 15));
    }

    #[test]
    fn bytes_bound_the_queue_and_one_large_message_still_fits() {
        let (feed, mut subscription, _) = pair(1_000, 100);
        feed.push(delivery(500));
        feed.push(delivery(1));
        assert_eq!((subscription.pending(), subscription.dropped()), (1, 1));
        assert_eq!(subscription.next().now_or_never().unwrap().unwrap().payload.len(), 500);
        feed.push_all((0..11).map(|_| delivery(10)));
        assert_eq!((subscription.pending(), subscription.dropped()), (10, 2));
    }

    #[test]
    fn a_slow_episode_is_told_once_and_a_later_one_again() {
        let (feed, mut subscription, hub) = pair(2, 1_000);
        let mut events = hub.stream();
        feed.push_all((0..3).map(|_| delivery(1)));
        feed.push_all((0..3).map(|_| delivery(1)));
        assert_eq!(subscription.next_batch(10).now_or_never().unwrap().len(), 2);
        feed.push_all((0..3).map(|_| delivery(1)));
        let mut seen = Vec::new();
        while let Some(Some(event)) = events.next().now_or_never() {
            seen.push(event);
        }
        let slow = |dropped| Event::SlowConsumer { filter: "a".into(), dropped };
        assert_eq!(seen, [slow(1), slow(5)]);
    }

    #[test]
    fn a_batch_takes_no_more_than_its_limit() {
        let (feed, mut subscription, _) = pair(1_000, 10_000);
        feed.push_all((0..300).map(|_| delivery(1)));
        assert_eq!(subscription.next_batch(7).now_or_never().unwrap().len(), 7);
        assert_eq!(subscription.next_batch(200).now_or_never().unwrap().len(), 200);
        drop(feed);
        assert_eq!(subscription.next_batch(200).now_or_never().unwrap().len(), 93);
        assert!(subscription.next_batch(200).now_or_never().unwrap().is_empty());
    }
}
