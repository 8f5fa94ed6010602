//! Messages between their arrival and their reader: links load in the background, and order is kept within limits.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use natsbridge_nats::Subject;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use crate::Error;
use crate::message::Message;

/// Messages whose links load at once
const LOADING: usize = 16;
/// Messages that are held at once; more wait in the subscription
const HELD: usize = 256;
/// Bytes of messages that are held at once, without their links
const HELD_BYTES: usize = 8 * 1024 * 1024;

/// What the reader gets
pub(crate) type Item = Result<Message, Error>;

/// Messages in the order in which they arrived
pub(crate) struct Ahead {
    /// How long a message whose links load holds up later ones; `None` as long as it takes
    patience: Option<Duration>,
    held: VecDeque<Held>,
    /// Bytes of links that load or are loaded
    link_bytes: u64,
    bytes: usize,
    loading: usize,
}

struct Held {
    since: Instant,
    /// Of the message as it arrived
    bytes: usize,
    link_bytes: u64,
    state: State,
}

pub(crate) enum State {
    Whole(Box<Item>),
    /// There is no room yet for its links
    Waiting(Box<Message>),
    Loading(Loading),
}

impl Ahead {
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

    /// Adds a message that needs no links, or can't be read
    pub(crate) fn push_whole(&mut self, item: Item, bytes: usize) {
        self.push(State::Whole(Box::new(item)), bytes, 0);
    }

    /// Adds a message with links that take `link_bytes`
    pub(crate) fn push_links(&mut self, incoming: Message, bytes: usize, link_bytes: u64) {
        self.push(State::Waiting(Box::new(incoming)), bytes, link_bytes);
    }

    fn push(&mut self, state: State, bytes: usize, link_bytes: u64) {
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
    pub(crate) fn take(&mut self) -> Option<Item> {
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
        let now = Instant::now();
        self.held.iter().filter(|held| !matches!(held.state, State::Whole(_))).find_map(|held| {
            let at = self.lets_pass_at(held)?;
            (at > now).then_some(at)
        })
    }

    fn lets_pass_at(&self, held: &Held) -> Option<Instant> {
        held.since.checked_add(self.patience?)
    }

    /// Waits until the links of a message are loaded, or failed
    pub(crate) async fn loaded(&mut self) {
        poll_fn(|cx| {
            let mut ready = Poll::Pending;
            for held in &mut self.held {
                if held.state.poll(cx).is_ready() {
                    self.loading = self.loading.saturating_sub(1);
                    ready = Poll::Ready(());
                }
            }
            ready
        })
        .await;
    }

    /// Gives up all messages; what loads is stopped
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = State> + use<> {
        (self.link_bytes, self.bytes, self.loading) = (0, 0, 0);
        std::mem::take(&mut self.held).into_iter().map(|held| held.state)
    }
}

impl State {
    /// Loads in a task of its own, so that it goes on while the reader is busy with another message
    fn load(&mut self) {
        // What stands here meanwhile is never seen.
        let placeholder = Self::Whole(Box::new(Err(Error::Stopped)));
        *self = match std::mem::replace(self, placeholder) {
            Self::Waiting(mut incoming) => {
                let (subject, reply) = (incoming.subject.clone(), incoming.reply.clone());
                let task = tokio::spawn(async move {
                    incoming.fetch().await?;
                    Ok(*incoming)
                });
                Self::Loading(Loading { task, subject, reply })
            }
            other => other,
        };
    }

    /// Ready when the links have just been loaded
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self::Loading(loading) = self else { return Poll::Pending };
        let item = match Pin::new(&mut loading.task).poll(cx) {
            Poll::Ready(Ok(item)) => item,
            Poll::Ready(Err(failed)) => Err(loading.stopped(failed)),
            Poll::Pending => return Poll::Pending,
        };
        *self = Self::Whole(Box::new(item));
        Poll::Ready(())
    }
}

/// A task that loads a message's links
pub(crate) struct Loading {
    task: JoinHandle<Item>,
    subject: Subject,
    reply: Option<Subject>,
}

impl Loading {
    /// Only the end of the runtime stops it, or a panic, which goes on
    fn stopped(&self, failed: JoinError) -> Error {
        match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Error::Stopped.unreadable(self.subject.as_str(), None, self.reply.clone()),
        }
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.task.abort();
    }
}
