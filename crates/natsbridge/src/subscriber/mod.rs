//! Messages as they arrive: a subscriber loads links ahead, keeps order within limits, and drains.

pub(crate) mod message;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;

use natsbridge_core::Envelope;
use natsbridge_nats::{RawMessage, Subscription};
use tokio::time::{Instant, Sleep};

use crate::bridge::Bridge;
use crate::receive::ahead::{Ahead, Links};
use crate::receive::losses::{Detector, Losses};
use crate::receive::window::{Claim, Seen, Window};
use crate::setters::getters;
use crate::{Error, observe};
use message::Message;

/// Handled messages that are remembered, so that a repeat is not handled twice
const REMEMBERED: usize = 65_536;

/// How long what has arrived is counted after the grace of [`Subscriber::drain_within`] is over
const COUNTING: Duration = Duration::from_secs(1);

/// A subscription: a [`Stream`] of the messages that arrive on a subject, in their order
///
/// An item is an error for a message that can't be read, and the next one follows. Links of several messages are
/// downloaded at once, within [`Config::links_ahead`](crate::Config::links_ahead). A message whose links still load holds up
/// later ones for at most [`Config::order_timeout`](crate::Config::order_timeout), 5 seconds; then those that are whole go
/// first, in their order. [`ordered`](Self::ordered) and [`unordered`](Self::unordered) change that.
///
/// A message that was acknowledged and arrives again is acknowledged again and not handed out twice, as long as this
/// subscriber lives and remembers it: it remembers the 65,536 messages that were handled or repeated last. After more
/// messages than that without a repeat, after a restart, or in another member of a queue group, a message may be handled a
/// second time. Where that matters, store the `msg_id` together with what the handler does.
///
/// # Examples
/// ```
/// use futures_util::StreamExt as _;
/// # use natsbridge::{Bridge, Config, MemoryBroker};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let bridge = Bridge::with_broker(MemoryBroker::new(), Config::default())?;
/// let mut messages = bridge.subscribe("orders").await?.take(2);
/// bridge.message("orders").text("order", "a shirt").send().await?;
/// bridge.message("orders").text("order", "a hat").send().await?;
/// while let Some(message) = messages.next().await {
///     println!("{}", message?.text("order")?);
/// }
/// # Ok::<(), natsbridge::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Subscriber {
    bridge: Bridge,
    subscription: Subscription,
    lazy: bool,
    unordered: bool,
    ahead: Ahead<Message>,
    window: Window,
    detector: Option<Detector>,
    /// Whether the subscription has given its last message
    ended: bool,
    /// When to give up what has arrived
    end: Option<Instant>,
    /// Wakes the reader at `end`, or when a message may overtake
    timer: Option<Pin<Box<Sleep>>>,
    unhandled: u64,
    /// How far what was not handed out is counted
    count: Count,
}

/// The count of what arrived and was not handed out when the grace was over
#[derive(Default)]
enum Count {
    #[default]
    NotBegun,
    /// A repeat of a message is not another one, so the claims are held
    Running(Vec<Arc<Claim>>),
    Done,
}

impl Subscriber {
    /// `alone`: every message for the filter comes here, so that gaps in a sender's numbers are losses
    pub(crate) fn new(bridge: Bridge, subscription: Subscription, alone: bool) -> Self {
        let patience = Some(bridge.config().order_timeout).filter(|patience| *patience != Duration::MAX);
        Self {
            bridge,
            subscription,
            lazy: false,
            unordered: patience == Some(Duration::ZERO),
            ahead: Ahead::new(patience),
            window: Window::new(REMEMBERED),
            detector: alone.then(Detector::default),
            ended: false,
            end: None,
            timer: None,
            unhandled: 0,
            count: Count::NotBegun,
        }
    }

    /// Leaves links where they are: each payload is downloaded when it is asked for
    #[must_use]
    pub const fn lazy(mut self) -> Self {
        self.lazy = true;
        self
    }

    /// Lets a message overtake an earlier one that still waits for its links, without waiting for it
    #[must_use]
    pub const fn unordered(mut self) -> Self {
        self.unordered = true;
        self.ahead.set_patience(Some(Duration::ZERO));
        self
    }

    /// Never lets a message overtake an earlier one, however long its links take
    #[must_use]
    pub const fn ordered(mut self) -> Self {
        self.unordered = false;
        self.ahead.set_patience(None);
        self
    }

    /// Waits for the next message; `None` after the subscriber or the bridge was drained
    ///
    /// Dropping the future loses no message.
    ///
    /// # Errors
    /// The item is [`Error::Unreadable`] for a message that can't be read; call again for the next one.
    /// [`Error::Broker`] is the last item: the server ended the subscription.
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        loop {
            if self.end.is_some_and(|end| Instant::now() >= end) {
                return self.poll_count(cx).map(|()| self.last());
            }
            if !self.ahead.is_empty() {
                self.ahead.load(self.bridge.config().links_ahead);
                if let Some(item) = self.ahead.take() {
                    return Poll::Ready(Some(item));
                }
                if self.ahead.poll_loaded(cx).is_ready() {
                    continue;
                }
            } else if self.ended {
                return Poll::Ready(self.last());
            }
            if !self.ended && self.ahead.has_room() {
                match Pin::new(&mut self.subscription).poll_next(cx) {
                    Poll::Ready(Some(delivery)) => match self.take(delivery) {
                        Some(item) => return Poll::Ready(Some(item)),
                        None => continue,
                    },
                    Poll::Ready(None) => {
                        self.ended = true;
                        continue;
                    }
                    Poll::Pending => {}
                }
            }
            if self.poll_timer(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// The last item: why the server ended the subscription, where it did
    fn last(&mut self) -> Option<Result<Message, Error>> {
        self.subscription.take_error().map(|error| Err(error.into()))
    }

    /// Ready when the grace is over, or a message may overtake an earlier one; never where nothing is awaited
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = [self.end, self.ahead.passes_at()].into_iter().flatten().min() else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx)
    }

    /// Hands a message out, or holds it until its links are loaded or it is its turn
    fn take(&mut self, delivery: RawMessage) -> Option<Result<Message, Error>> {
        let bytes = delivery.payload.len();
        match self.open(delivery)? {
            Ok(message) if message.has_links() && !self.lazy => {
                let links = self.links(message);
                self.ahead.push_links(links, bytes);
                None
            }
            item if self.unordered || self.ahead.is_empty() => Some(item),
            item => {
                self.ahead.push_whole(item, bytes);
                None
            }
        }
    }

    fn links(&self, message: Message) -> Links<Message> {
        let stopped = Error::Stopped.unreadable(message.subject().as_str(), None, message.reply.clone());
        let bytes = self.link_bytes(&message);
        let load = async move {
            message.fetch().await?;
            Ok(message)
        };
        Links { load: Box::pin(load), stopped, bytes }
    }

    /// What the links of a message will take in memory; one whose sender did not say fills all the room there is
    fn link_bytes(&self, message: &Message) -> u64 {
        let unknown = self.bridge.config().links_ahead;
        let links = message.payloads().iter().filter(|payload| payload.part().is_none());
        links.fold(0, |sum: u64, payload| sum.saturating_add(payload.size().unwrap_or(unknown)))
    }

    /// The message, unless it is a repeat of one that was or is being handled
    fn open(&mut self, delivery: RawMessage) -> Option<Result<Message, Error>> {
        if self.is_nats_own(&delivery) {
            return None;
        }
        let mut message = match Message::open(&self.bridge, delivery) {
            Ok(message) => message,
            Err(error) => return Some(Err(error)),
        };
        if let Some(detector) = &mut self.detector {
            detector.note(message.header());
        }
        if message.wants_answer() {
            let (seen, claim) = self.window.begin(message.header().sender_id(), message.header().msg_id());
            match seen {
                Seen::New => message.claim = claim.map(Arc::new),
                Seen::Handling => return None,
                Seen::Handled => {
                    // The first acknowledgement may have been lost; it is not worth holding up the next message.
                    tokio::spawn(async move {
                        if let Err(error) = message.ack().await {
                            tracing::warn!(error = observe::cause(&error), "a repeat could not be acknowledged");
                        }
                    });
                    return None;
                }
            }
        }
        Some(Ok(message))
    }

    /// Whether `>` let us overhear what NATS clients tell each other, such as a confirmation: no message that is broken
    fn is_nats_own(&self, delivery: &RawMessage) -> bool {
        const INBOX: &str = "_INBOX.";
        delivery.subject.as_str().starts_with(INBOX)
            && !Subscription::filter(&self.subscription).as_str().starts_with(INBOX)
            && Envelope::from_json(&delivery.payload).is_err()
    }

    getters! {
        /// How many messages were dropped because this subscriber was read too slowly
        fn dropped(&self) -> u64 { self.subscription.dropped() }

        /// How often the connection was made again during this subscription
        ///
        /// What others published in between did not reach it. Only numbers on later messages tell how much that was
        /// ([`Self::losses`]).
        fn interruptions(&self) -> u64 { self.subscription.interruptions() }

        /// What is missing, repeated or overtaken by the senders' own numbers; nothing is known in a queue group
        fn losses(&self) -> Losses { self.detector.as_ref().map(Detector::losses).unwrap_or_default() }
    }

    /// Unsubscribes; messages that have arrived can still be read, however long that takes, then the stream ends
    pub fn drain(&self) {
        self.subscription.drain();
    }

    /// Unsubscribes; messages that have arrived can be read until `grace` is over, then the stream ends
    ///
    /// The subscription ends at the server first. In a queue group the other members get what comes from then on, and
    /// nobody else gets what has arrived here: [`next`](Self::next) goes on to hand it out. After the stream has ended,
    /// [`unhandled`](Self::unhandled) says how many messages arrived and were not handed out.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// # use natsbridge::{Bridge, Config, MemoryBroker};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let bridge = Bridge::with_broker(MemoryBroker::new(), Config::default())?;
    /// let mut messages = bridge.subscribe("orders").await?;
    /// bridge.message("orders").dictionary("order", 17).send().await?;
    /// // The program is asked to stop:
    /// messages.drain_within(Duration::from_secs(10));
    /// while let Some(message) = messages.next().await {
    ///     println!("{}", message?.get::<u64>("order")?);
    /// }
    /// assert_eq!(messages.unhandled(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drain_within(&mut self, grace: Duration) {
        self.subscription.drain();
        // A grace without an end is that of `drain`.
        self.end = Instant::now().checked_add(grace);
    }

    /// How many messages arrived and were not handed out when the grace of [`drain_within`](Self::drain_within) was over;
    /// 0 before the stream has ended
    #[must_use]
    pub const fn unhandled(&self) -> u64 {
        self.unhandled
    }

    /// Counts what was not handed out, once
    fn poll_count(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut claims: Vec<Arc<Claim>> = match std::mem::replace(&mut self.count, Count::Done) {
            Count::Done => return Poll::Ready(()),
            Count::Running(claims) => claims,
            Count::NotBegun => {
                let (held, whole) = self.ahead.clear();
                self.unhandled = u64::try_from(held).unwrap_or(u64::MAX);
                self.timer = Some(Box::pin(tokio::time::sleep(COUNTING)));
                whole.into_iter().filter_map(|mut message| message.claim.take()).collect()
            }
        };
        while let Poll::Ready(delivery) = Pin::new(&mut self.subscription).poll_next(cx) {
            // The server says where the end is.
            let Some(delivery) = delivery else { return Poll::Ready(()) };
            let Some(opened) = self.open(delivery) else { continue };
            self.unhandled += 1;
            claims.extend(opened.ok().and_then(|mut message| message.claim.take()));
        }
        // Where it is silent, what came until now is all that is known.
        let over = self.timer.as_mut().is_none_or(|timer| timer.as_mut().poll(cx).is_ready());
        if over {
            return Poll::Ready(());
        }
        self.count = Count::Running(claims);
        Poll::Pending
    }
}

impl Stream for Subscriber {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll(cx)
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber")
            .field("subscription", &self.subscription)
            .field("lazy", &self.lazy)
            .finish_non_exhaustive()
    }
}
