//! Messages between their arrival and their reader: links load in the background, and order is kept within limits.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::Error;

/// Messages whose links load at once
const LOADING: usize = 16;
/// Messages that are held at once; more wait in the subscription
const HELD: usize = 256;
/// Bytes of messages that are held at once, without their links
const HELD_BYTES: usize = 8 * 1024 * 1024;

/// Messages in the order in which they arrived
pub(crate) struct Ahead<T> {
    /// How long a message whose links load holds up later ones; `None` as long as it takes
    patience: Option<Duration>,
    held: VecDeque<Held<T>>,
    /// Bytes of links that load or are loaded
    link_bytes: u64,
    bytes: usize,
    loading: usize,
}

struct Held<T> {
    since: Instant,
    /// Of the message as it arrived
    bytes: usize,
    link_bytes: u64,
    state: State<T>,
}

enum State<T> {
    Whole(Box<Result<T, Error>>),
    /// There is no room yet for its links
    Waiting(Links<T>),
    Loading(Loading<T>),
}

/// The links of a message, to be loaded
pub(crate) struct Links<T> {
    /// Gives the message when its links are loaded
    pub(crate) load: BoxFuture<'static, Result<T, Error>>,
    /// What is said where the runtime ends before
    pub(crate) stopped: Error,
    /// What they take in memory
    pub(crate) bytes: u64,
}

impl<T: Send + 'static> Ahead<T> {
    pub(crate) const fn new(patience: Option<Duration>) -> Self {
        Self { patience, held: VecDeque::new(), link_bytes: 0, bytes: 0, loading: 0 }
    }

    pub(crate) const fn set_patience(&mut self, patience: Option<Duration>) {
        self.patience = patience;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether another message may be taken from the subscription
    pub(crate) fn has_room(&self) -> bool {
        self.held.len() < HELD && self.bytes < HELD_BYTES
    }

    /// Adds a message of `bytes` that needs no links, or can't be read
    pub(crate) fn push_whole(&mut self, item: Result<T, Error>, bytes: usize) {
        self.push(State::Whole(Box::new(item)), bytes, 0);
    }

    /// Adds a message of `bytes` and its links
    pub(crate) fn push_links(&mut self, links: Links<T>, bytes: usize) {
        let link_bytes = links.bytes;
        self.push(State::Waiting(links), bytes, link_bytes);
    }

    fn push(&mut self, state: State<T>, bytes: usize, link_bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.held.push_back(Held { since: Instant::now(), bytes, link_bytes, state });
    }

    /// Begins to load the links of the messages for which there is room, in their order
    pub(crate) fn load(&mut self, links_ahead: u64) {
        for held in &mut self.held {
            if !matches!(held.state, State::Waiting(_)) {
                continue;
            }
            let bytes = self.link_bytes.saturating_add(held.link_bytes);
            // A message with more than there may ever be is loaded alone.
            if self.loading >= LOADING || (self.link_bytes > 0 && bytes > links_ahead) {
                return;
            }
            self.link_bytes = bytes;
            self.loading += 1;
            held.state.load();
        }
    }

    /// The next message that is whole, unless an earlier one still holds it up
    pub(crate) fn take(&mut self) -> Option<Result<T, Error>> {
        if self.held.is_empty() {
            return None;
        }
        let now = Instant::now();
        let mut first = None;
        for (place, held) in self.held.iter().enumerate() {
            if matches!(held.state, State::Whole(_)) {
                first = Some(place);
                break;
            }
            if self.lets_pass_at(held).is_none_or(|at| now < at) {
                break;
            }
        }
        let Held { bytes, link_bytes, state: State::Whole(item), .. } = self.held.remove(first?)? else { return None };
        self.bytes = self.bytes.saturating_sub(bytes);
        self.link_bytes = self.link_bytes.saturating_sub(link_bytes);
        Some(*item)
    }

    /// When the message that holds up others will let them pass, if it ever does
    pub(crate) fn passes_at(&self) -> Option<Instant> {
        let mut loading = self.held.iter().filter(|held| !matches!(held.state, State::Whole(_))).peekable();
        loading.peek()?;
        let now = Instant::now();
        loading.find_map(|held| self.lets_pass_at(held).filter(|at| *at > now))
    }

    fn lets_pass_at(&self, held: &Held<T>) -> Option<Instant> {
        held.since.checked_add(self.patience?)
    }

    /// Ready when the links of a message have just been loaded, or failed
    pub(crate) fn poll_loaded(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ready = Poll::Pending;
        for held in &mut self.held {
            if held.state.poll(cx).is_ready() {
                self.loading = self.loading.saturating_sub(1);
                ready = Poll::Ready(());
            }
        }
        ready
    }

    /// Gives up all messages, of which it returns how many there are and those that are whole; what loads is stopped
    pub(crate) fn clear(&mut self) -> (usize, Vec<T>) {
        (self.link_bytes, self.bytes, self.loading) = (0, 0, 0);
        let held = std::mem::take(&mut self.held);
        let count = held.len();
        let whole = held.into_iter().filter_map(|held| match held.state {
            State::Whole(item) => item.ok(),
            State::Waiting(_) | State::Loading(_) => None,
        });
        (count, whole.collect())
    }
}

impl<T: Send + 'static> State<T> {
    /// Loads in a task of its own, so that it goes on while the reader is busy with another message
    fn load(&mut self) {
        // Nobody sees what is in its place meanwhile.
        match std::mem::replace(self, Self::Whole(Box::new(Err(Error::Stopped)))) {
            Self::Waiting(Links { load, stopped, .. }) => {
                *self = Self::Loading(Loading { task: tokio::spawn(load), stopped: Some(stopped) });
            }
            other => *self = other,
        }
    }

    /// Ready when the links have just been loaded
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self::Loading(loading) = self else { return Poll::Pending };
        let item = match Pin::new(&mut loading.task).poll(cx) {
            Poll::Ready(Ok(item)) => item,
            Poll::Ready(Err(failed)) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only the end of the runtime stops it.
                Err(_) => Err(loading.stopped.take().unwrap_or(Error::Stopped)),
            },
            Poll::Pending => return Poll::Pending,
        };
        *self = Self::Whole(Box::new(item));
        Poll::Ready(())
    }
}

/// A task that loads a message's links
struct Loading<T> {
    task: JoinHandle<Result<T, Error>>,
    stopped: Option<Error>,
}

impl<T> Drop for Loading<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
