//! Holds what has arrived for one subscription: a queue bounded by messages and bytes that counts what it drops.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;

use crate::error::BrokerError;
use crate::event::{Event, EventHub};
use crate::message::RawMessage;
use crate::observe;
use crate::subject::SubjectFilter;

/// How many messages a reader takes from the shared queue under one lock
const BATCH: usize = 128;

/// How much may wait in a subscription for a slow reader before messages are dropped
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionLimits {
    /// Messages; the default is 65,536
    pub messages: usize,
    /// Bytes of payloads; the default is 64 MiB. A larger message is still taken when no other message waits
    pub bytes: u64,
}

impl Default for SubscriptionLimits {
    fn default() -> Self {
        Self { messages: 65_536, bytes: 64 * 1024 * 1024 }
    }
}

/// The messages of one filter, as they arrive
///
/// Read it with [`next`](Self::next), [`next_batch`](Self::next_batch) or as a [`Stream`]. When the reader is too slow,
/// the newest messages are dropped and counted: *read + dropped = sent by the server*. Besides the
/// [limits](SubscriptionLimits), up to 128 messages can wait on the reader's side. Dropping a subscription unsubscribes.
pub struct Subscription {
    filter: SubjectFilter,
    taken: VecDeque<RawMessage>,
    queue: Arc<Queue>,
    stop: Box<dyn Fn() + Send + Sync>,
    interruptions: Arc<AtomicU64>,
}

impl Subscription {
    /// A subscription and the [`Feed`] that writes to it; public for other implementations of
    /// [`Broker`](crate::Broker)
    ///
    /// `stop` is called when the reader drains or drops the subscription, possibly more than once: drop the feed then.
    /// `events` gets a [`SlowConsumer`](Event::SlowConsumer) when messages begin to be dropped.
    #[must_use]
    pub fn new(
        filter: SubjectFilter,
        limits: SubscriptionLimits,
        events: Arc<EventHub>,
        stop: impl Fn() + Send + Sync + 'static,
    ) -> (Feed, Self) {
        let queue = Arc::new(Queue { limits, dropped: AtomicU64::new(0), state: Mutex::default() });
        let subscription = Self {
            filter: filter.clone(),
            taken: VecDeque::new(),
            queue: queue.clone(),
            stop: Box::new(stop),
            interruptions: Arc::default(),
        };
        (Feed { queue, filter, events }, subscription)
    }

    /// Waits for the next message; `None` once the subscription has ended
    ///
    /// It ends when it or its broker is drained, and when the server refuses it:
    /// [`take_error`](Self::take_error) tells these apart.
    pub async fn next(&mut self) -> Option<RawMessage> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// Waits for at least one message and returns all that have arrived, up to `limit`; empty once it has ended
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

    /// How often the client reconnected while this subscription was open
    ///
    /// Messages that others published in between are lost, and not counted: see [`Event::Interrupted`].
    #[must_use]
    pub fn interruptions(&self) -> u64 {
        self.interruptions.load(Ordering::Relaxed)
    }

    pub(crate) fn count_interruptions(&mut self, counter: Arc<AtomicU64>) {
        self.interruptions = counter;
    }

    /// How many messages have arrived and not been read
    #[must_use]
    pub fn pending(&self) -> usize {
        self.taken.len() + self.queue.lock().messages.len()
    }

    /// The error that ended the subscription, such as a permission that the server withdrew; returned once
    pub fn take_error(&mut self) -> Option<BrokerError> {
        self.queue.lock().error.take()
    }

    /// The filter it was made with
    #[must_use]
    pub fn filter(&self) -> &SubjectFilter {
        &self.filter
    }

    /// Unsubscribes; what has arrived can still be read, then the stream ends
    ///
    /// Nothing is lost: whatever the server sent before it stopped can be read, and the rest goes to the other members of
    /// the queue group.
    pub fn drain(&self) {
        (self.stop)();
    }

    fn poll_message(&mut self, cx: &Context<'_>) -> Poll<Option<RawMessage>> {
        if let Some(message) = self.taken.pop_front() {
            return Poll::Ready(Some(message));
        }
        self.poll_taken(cx).map(|_| self.taken.pop_front())
    }

    /// Ready with `true` when messages are taken, with `false` when there will be none
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
        self.poll_message(cx)
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

/// The writing end of a [`Subscription`]; public for other implementations of [`Broker`](crate::Broker)
///
/// Dropping it ends the subscription's stream after what was pushed.
#[derive(Debug)]
pub struct Feed {
    queue: Arc<Queue>,
    filter: SubjectFilter,
    events: Arc<EventHub>,
}

impl Feed {
    /// Adds a message, or drops and counts it when the queue is full; never waits
    pub fn push(&self, message: RawMessage) {
        let mut state = self.queue.lock();
        if state.abandoned {
            return;
        }
        let dropped = !state.push(message, self.queue.limits);
        let reader = if state.messages.is_empty() { None } else { state.reader.take() };
        let episode_begins = dropped && !state.slow;
        state.slow |= dropped;
        let total = self.queue.dropped.fetch_add(u64::from(dropped), Ordering::Relaxed) + u64::from(dropped);
        drop(state);

        if let Some(waker) = reader {
            waker.wake();
        }
        if dropped {
            observe::dropped(1);
            if episode_begins {
                tracing::warn!(filter = %self.filter, dropped = total, "a subscription is read too slowly: messages are dropped");
                self.events.send(&Event::SlowConsumer { filter: self.filter.to_string(), dropped: total });
            }
        }
    }

    /// Ends the stream after what was pushed, with an error for [`Subscription::take_error`]
    pub(crate) fn fail(self, error: BrokerError) {
        self.queue.lock().error = Some(error);
    }

    /// Whether the reader is gone
    pub(crate) fn is_abandoned(&self) -> bool {
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
    /// `false` when it is full
    fn push(&mut self, message: RawMessage, limits: SubscriptionLimits) -> bool {
        let size = u64::try_from(message.payload.len()).unwrap_or(u64::MAX);
        let full = self.messages.len() >= limits.messages.max(1)
            || (!self.messages.is_empty() && self.bytes.saturating_add(size) > limits.bytes);
        if full {
            return false;
        }
        self.bytes = self.bytes.saturating_add(size);
        self.messages.push_back(message);
        true
    }

    /// Moves up to `limit` messages out; a reader that has caught up ends a slow episode
    fn take(&mut self, limit: usize, into: &mut impl Extend<RawMessage>) {
        let count = limit.min(self.messages.len());
        let bytes = &mut self.bytes;
        into.extend(self.messages.drain(..count).inspect(|message| {
            let size = u64::try_from(message.payload.len()).unwrap_or(u64::MAX);
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

    fn message(size: usize) -> RawMessage {
        RawMessage::new(Subject::new("a").unwrap(), None, Bytes::from(vec![0; size]))
    }

    fn pair(messages: usize, bytes: u64) -> (Feed, Subscription, Arc<EventHub>) {
        let hub = Arc::new(EventHub::default());
        let filter = SubjectFilter::new("a").unwrap();
        let limits = SubscriptionLimits { messages, bytes };
        let (feed, subscription) = Subscription::new(filter, limits, hub.clone(), || {});
        (feed, subscription, hub)
    }

    #[test]
    fn read_and_dropped_messages_add_up() {
        let (feed, mut subscription, _) = pair(10, 1_000_000);
        (0..25).for_each(|_| feed.push(message(1)));
        drop(feed);
        let mut read = 0;
        while subscription.next().now_or_never().unwrap().is_some() {
            read += 1;
        }
        assert_eq!((read, subscription.dropped()), (10, 15));
    }

    #[test]
    fn bytes_bound_the_queue_but_for_a_single_message() {
        let (feed, mut subscription, _) = pair(1_000, 100);
        feed.push(message(500));
        feed.push(message(1));
        assert_eq!((subscription.pending(), subscription.dropped()), (1, 1));
        assert_eq!(subscription.next().now_or_never().unwrap().unwrap().payload.len(), 500);
        (0..11).for_each(|_| feed.push(message(10)));
        assert_eq!((subscription.pending(), subscription.dropped()), (10, 2));
    }

    #[test]
    fn slow_episodes_are_told_once_each() {
        let (feed, mut subscription, hub) = pair(2, 1_000);
        let mut events = hub.stream();
        (0..3).for_each(|_| feed.push(message(1)));
        (0..3).for_each(|_| feed.push(message(1)));
        assert_eq!(subscription.next_batch(10).now_or_never().unwrap().len(), 2);
        (0..3).for_each(|_| feed.push(message(1)));
        let mut seen = Vec::new();
        while let Some(Some(event)) = events.next().now_or_never() {
            seen.push(event);
        }
        let slow = |dropped| Event::SlowConsumer { filter: "a".into(), dropped };
        assert_eq!(seen, [slow(1), slow(5)]);
    }

    #[test]
    fn batches_keep_their_limit() {
        let (feed, mut subscription, _) = pair(1_000, 10_000);
        (0..300).for_each(|_| feed.push(message(1)));
        assert_eq!(subscription.next_batch(7).now_or_never().unwrap().len(), 7);
        assert_eq!(subscription.next_batch(200).now_or_never().unwrap().len(), 200);
        drop(feed);
        assert_eq!(subscription.next_batch(200).now_or_never().unwrap().len(), 93);
        assert!(subscription.next_batch(200).now_or_never().unwrap().is_empty());
    }
}
