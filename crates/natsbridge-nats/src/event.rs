//! Tells what happens to a connection: the events and the streams that carry them.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::mpsc;

/// Something that happened to the connection; none of it needs an answer
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The connection stands, for the first time or again
    Connected,
    /// The connection broke; the client connects again by itself
    Disconnected,
    /// One attempt to connect again failed; the next one follows after a pause
    ReconnectFailed(String),
    /// The connection was made again while subscriptions stood: what others published in between did not reach them, and
    /// only the senders' own numbers tell how much that was
    ///
    /// Breaks that follow each other within ten seconds are one episode: its first break is told, and at its end once more
    /// how many there were.
    Interrupted {
        /// Why it broke, as far as a client can know
        cause: BreakCause,
        /// How long the first break of the episode lasted
        lasted: Duration,
        /// Breaks of this episode so far: 1 at its beginning
        times: u64,
        /// Subscriptions that stood
        subscriptions: usize,
    },
    /// A subscription's queue is full because its reader is slow. One event per slow episode, at its beginning;
    /// [`Subscription::dropped`](crate::Subscription::dropped) counts exactly
    SlowConsumer {
        /// What the subscription listens to
        filter: String,
        /// Messages this subscription has dropped so far
        dropped: u64,
    },
    /// The server refused a publish or a subscription; its text names the subject, and shows no control characters
    ///
    /// One event per episode: further refusals of the same thing within ten seconds of the last one are not told.
    PermissionDenied(String),
    /// The server is about to stop and asks its clients to leave
    LameDuck,
    /// Another error text of the server, made harmless; one event per episode, as for `PermissionDenied`
    ServerError(String),
    /// The connection was closed on this side and stays closed
    Closed,
}

/// Why a connection broke, as far as a client can know
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakCause {
    /// Nothing came any more: something on the way has forgotten the connection, or the server hangs
    Silent,
    /// The server said why, in these words, made harmless
    Told(String),
    /// The server could not be reached for a while: it was restarted, or the network was away
    Away,
    /// Nobody said why, and a server was there again at once
    ///
    /// A server ends the connection of a client that reads too slowly ("slow consumer" in its log) without a word.
    /// async-nats 0.51 ends a connection at a message with malformed headers and does not tell its caller (it logs
    /// `disconnected` with the reason at `debug`). A proxy or an operator may have reset it.
    Unsaid,
}

impl fmt::Display for BreakCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("nothing came any more, as if the network had forgotten the connection"),
            Self::Told(text) => write!(f, "the server said: {text}"),
            Self::Away => f.write_str("the server could not be reached for a while"),
            Self::Unsaid => f.write_str(
                "nobody said why: the server cut off a client that reads too slowly (its log says \"slow consumer\"), a \
                 message had malformed headers (the log of async_nats at level debug says so), or something reset it",
            ),
        }
    }
}

const CAPACITY: usize = 256;

/// A stream of [`Event`]s from the moment it was asked for
///
/// It holds 256 unread events. Later ones are dropped and counted by [`Self::missed`].
pub struct EventStream {
    receiver: mpsc::Receiver<Event>,
    missed: Arc<AtomicU64>,
}

impl EventStream {
    /// Waits for the next event; `None` after the broker is gone
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

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("missed", &self.missed()).finish_non_exhaustive()
    }
}

struct Listener {
    sender: mpsc::Sender<Event>,
    missed: Arc<AtomicU64>,
}

/// Hands each event to every stream; public so that other implementations of [`Broker`](crate::Broker) can use it
#[derive(Default)]
pub struct EventHub {
    listeners: Mutex<Vec<Listener>>,
}

impl EventHub {
    /// A new stream, which sees what is sent from now on
    #[must_use]
    pub fn stream(&self) -> EventStream {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let missed = Arc::new(AtomicU64::new(0));
        let listener = Listener { sender, missed: missed.clone() };
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
        EventStream { receiver, missed }
    }

    /// Hands `event` to every stream that still exists
    pub fn send(&self, event: &Event) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| match listener.sender.try_send(event.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                listener.missed.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        });
    }
}

impl fmt::Debug for EventHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventHub").finish_non_exhaustive()
    }
}
