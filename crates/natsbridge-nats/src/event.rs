//! Tells what happens to a connection: the events and the streams that carry them.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::mpsc;

/// Something that happened to the connection; for information, no reaction is needed
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The connection is up, for the first time or again
    Connected,
    /// The connection broke; the client reconnects by itself
    Disconnected,
    /// One attempt to reconnect failed, for the reason in the text; the next one follows after a pause
    ReconnectFailed(String),
    /// The client reconnected while subscriptions were open, and they missed what others published in between
    ///
    /// The server does not say how many messages that were; senders that number their messages make it known.
    /// Breaks that follow each other within ten seconds are one episode, with one event at its beginning and, where there
    /// was more than one break, another at its end.
    Interrupted {
        /// Why the connection broke, as far as a client can know: a text for people
        cause: String,
        /// How long the first break of the episode lasted
        lasted: Duration,
        /// Breaks of this episode so far: 1 at its beginning
        times: u64,
        /// Subscriptions that were open
        subscriptions: usize,
    },
    /// A subscription drops messages because its reader is slow
    ///
    /// One event when it begins to drop, and the next one only after the reader has caught up;
    /// [`Subscription::dropped`](crate::Subscription::dropped) counts exactly.
    SlowConsumer {
        /// The filter of the subscription
        filter: String,
        /// Messages that this subscription has dropped so far
        dropped: u64,
    },
    /// The server refused a publish or a subscription; the text is the server's, made safe to show, and names the subject
    ///
    /// One event per episode: refusals of the same thing within ten seconds of the last one add no event.
    PermissionDenied(String),
    /// The server is about to stop and asks its clients to leave
    LameDuck,
    /// Another error text of the server, made safe to show; one event per episode, as for `PermissionDenied`
    ServerError(String),
    /// The connection was closed on this side and stays closed
    Closed,
}

/// The most events that wait in a stream
const CAPACITY: usize = 256;

/// A stream of [`Event`]s, starting when it was made
///
/// It holds 256 unread events. Later ones are dropped and counted by [`Self::missed`].
#[derive(Debug)]
pub struct EventStream {
    receiver: mpsc::Receiver<Event>,
    missed: Arc<AtomicU64>,
}

impl EventStream {
    /// Waits for the next event; `None` after [`Event::Closed`], or when the broker is gone
    pub async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }

    /// How many events were dropped because this stream was not read
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

impl Stream for EventStream {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.receiver.poll_recv(cx)
    }
}

/// Sends each event to every [`EventStream`] that was made from it
///
/// Public for other implementations of [`Broker`](crate::Broker): keep one per connection, return [`Self::stream`] from
/// [`Broker::events`](crate::Broker::events), and give it to [`Subscription::new`](crate::Subscription::new).
#[derive(Debug, Default)]
pub struct EventHub {
    streams: Mutex<Vec<(mpsc::Sender<Event>, Arc<AtomicU64>)>>,
    /// Whether [`Event::Closed`] was sent
    closed: AtomicBool,
}

impl EventHub {
    /// A new stream, which gets every event that is sent from now on; it ends at once after [`Event::Closed`]
    #[must_use]
    pub fn stream(&self) -> EventStream {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let missed = Arc::<AtomicU64>::default();
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.closed.load(Ordering::Acquire) {
            streams.push((sender, missed.clone()));
        }
        drop(streams);
        EventStream { receiver, missed }
    }

    /// Sends an event to every stream that still exists; never waits. [`Event::Closed`] ends the streams
    pub fn send(&self, event: &Event) {
        let more = *event != Event::Closed;
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        self.closed.fetch_or(!more, Ordering::AcqRel);
        streams.retain(|(sender, missed)| match sender.try_send(event.clone()) {
            Ok(()) => more,
            Err(mpsc::error::TrySendError::Full(_)) => {
                missed.fetch_add(1, Ordering::Relaxed);
                more
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn streams_end_after_closed_and_later_ones_at_once() {
        let hub = EventHub::default();
        let mut before = hub.stream();
        hub.send(&Event::Closed);
        assert_eq!(before.next().await, Some(Event::Closed));
        assert_eq!(before.next().await, None);
        assert_eq!(hub.stream().next().await, None);
    }
}
