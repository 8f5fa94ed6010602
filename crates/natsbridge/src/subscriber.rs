//! Messages as they arrive: a subscription that loads links ahead, keeps order within limits, and ends in order.

use std::fmt;
use std::time::Duration;

use natsbridge_core::Envelope;
use natsbridge_nats::{RawMessage, Subscription};
use tokio::time::Instant;

use crate::ahead::{Ahead, Item, State};
use crate::bridge::Bridge;
use crate::message::Message;
use crate::sequence::{Detector, Losses};
use crate::window::{Claim, Seen, Window};
use crate::{Error, observe};

/// Handled messages that are remembered, so that a repeat is not handled twice
const REMEMBERED: usize = 65_536;

/// How long what has arrived is counted after the grace of [`Subscriber::drain_within`] is over
const COUNTING: Duration = Duration::from_secs(1);

/// A subscription as a stream of messages, in the order in which they came
///
/// A message that can't be read is an item with an error, and the next one follows. Links of several messages are
/// downloaded at once, within [`Config::links_ahead`](crate::Config::links_ahead). A message whose links still load holds up
/// later ones for at most [`Config::order_timeout`](crate::Config::order_timeout), 5 seconds; then those that are whole go
/// first, in their order. [`ordered`](Self::ordered) and [`unordered`](Self::unordered) change that.
///
/// A message that was acknowledged and comes again is answered and not handed out twice, as long as this inbox lives and
/// remembers it: it remembers the 65,536 messages that were handled or repeated last. After more messages than that without
/// a repeat, after a restart, or in another member of a queue group, a message may be handled a second time. Where that
/// matters, keep the `msg_id` with what the handler does.
pub struct Subscriber {
    bridge: Bridge,
    subscription: Subscription,
    lazy: bool,
    unordered: bool,
    ahead: Ahead,
    window: Window,
    detector: Option<Detector>,
    /// Whether the subscription has given its last message
    ended: bool,
    /// When to give up what has arrived
    end: Option<Instant>,
    unhandled: u64,
    /// Whether all that was not handed out is counted
    counted: bool,
}

/// What comes next
enum Next {
    Item(Item),
    Arrived(RawMessage),
    /// Something has changed: look again
    Again,
    End,
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
            unhandled: 0,
            counted: false,
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

    /// Waits for the next message; `None` after the subscription or the bridge was drained
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// The item is [`Error::Unreadable`] for a message that can't be read; call again for the next one.
    /// [`Error::Broker`] is the last item: the server no longer lets this program listen.
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        loop {
            let delivery = if self.ahead.is_empty() && self.end.is_none() {
                match self.subscription.next().await {
                    Some(delivery) => delivery,
                    None => return self.subscription.take_error().map(|error| Err(error.into())),
                }
            } else {
                match self.look().await {
                    Next::Item(item) => return Some(item),
                    Next::Arrived(delivery) => delivery,
                    Next::Again => continue,
                    Next::End => return self.subscription.take_error().map(|error| Err(error.into())),
                }
            };
            let bytes = delivery.payload.len();
            let Some(opened) = self.opened(delivery) else { continue };
            match opened {
                Ok(incoming) if incoming.has_links() && !self.lazy => {
                    let link_bytes = self.link_bytes(&incoming);
                    self.ahead.push_links(incoming, bytes, link_bytes);
                }
                opened if self.unordered || self.ahead.is_empty() => return Some(opened),
                opened => self.ahead.push_whole(opened, bytes),
            }
        }
    }

    /// Waits for what comes next while messages are held here, or the end is near
    async fn look(&mut self) -> Next {
        if self.end.is_some_and(|end| Instant::now() >= end) {
            self.count_unhandled().await;
            return Next::End;
        }
        self.ahead.load(self.bridge.config().links_ahead);
        if let Some(item) = self.ahead.take() {
            return Next::Item(item);
        }
        if self.ended && self.ahead.is_empty() {
            return Next::End;
        }
        let wake = [self.end, self.ahead.passes_at()].into_iter().flatten().min();
        tokio::select! {
            biased;
            () = self.ahead.loaded(), if !self.ahead.is_empty() => Next::Again,
            delivery = self.subscription.next(), if !self.ended && self.ahead.has_room() => {
                self.ended = delivery.is_none();
                delivery.map_or(Next::Again, Next::Arrived)
            }
            () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => Next::Again,
        }
    }

    /// What the links of a message will take in memory; one whose sender did not say fills all the room there is
    fn link_bytes(&self, incoming: &Message) -> u64 {
        let unknown = self.bridge.config().links_ahead;
        let links = incoming.payloads().iter().filter(|handle| handle.part().is_none());
        links.fold(0, |sum: u64, handle| sum.saturating_add(handle.size().unwrap_or(unknown)))
    }

    /// The message, unless it is a repeat of one that was or is being handled
    fn opened(&mut self, delivery: RawMessage) -> Option<Result<Message, Error>> {
        if self.is_nats_own(&delivery) {
            return None;
        }
        let mut incoming = match Message::open(&self.bridge, delivery) {
            Ok(incoming) => incoming,
            Err(error) => return Some(Err(error)),
        };
        if let Some(detector) = &mut self.detector {
            detector.note(incoming.header());
        }
        if incoming.wants_answer() {
            let (seen, claim) = self.window.begin(incoming.header().sender_id(), incoming.header().msg_id());
            match seen {
                Seen::New => incoming.claim = claim,
                Seen::Handling => return None,
                Seen::Handled => {
                    // The first acknowledgement may have been lost; it is not worth holding up the next message.
                    tokio::spawn(async move {
                        if let Err(error) = incoming.ack().await {
                            tracing::warn!(error = observe::cause(&error), "a repeat could not be acknowledged");
                        }
                    });
                    return None;
                }
            }
        }
        Some(Ok(incoming))
    }

    /// Whether `>` let us overhear what NATS clients tell each other, such as a confirmation: no message that is broken
    fn is_nats_own(&self, delivery: &RawMessage) -> bool {
        const INBOX: &str = "_INBOX.";
        delivery.subject.as_str().starts_with(INBOX)
            && !Subscription::filter(&self.subscription).as_str().starts_with(INBOX)
            && Envelope::from_json(&delivery.payload).is_err()
    }

    /// How many messages were dropped because this inbox was read too slowly
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.subscription.dropped()
    }

    /// How often the connection was made again while this inbox stood
    ///
    /// What others published in between did not reach it. Only numbers on later messages tell how much that was
    /// ([`Self::losses`]).
    #[must_use]
    pub fn interruptions(&self) -> u64 {
        self.subscription.interruptions()
    }

    /// What is missing, repeated or overtaken by the senders' own numbers; nothing is known in a queue group
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.detector.as_ref().map(Detector::losses).unwrap_or_default()
    }

    /// Stops listening; what has arrived can still be read, however long that takes, then the stream ends
    pub fn drain(&self) {
        self.subscription.drain();
    }

    /// Stops listening; what has arrived can be read until `grace` is over, then the stream ends
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
    /// let mut inbox = bridge.subscribe("orders").await?;
    /// bridge.message("orders").dictionary("order", 17).send().await?;
    /// // The program is asked to stop:
    /// inbox.drain_within(Duration::from_secs(10));
    /// while let Some(message) = inbox.next().await {
    ///     println!("{}", message?.get::<u64>("order")?);
    /// }
    /// assert_eq!(inbox.unhandled(), 0);
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
    async fn count_unhandled(&mut self) {
        if std::mem::replace(&mut self.counted, true) {
            return;
        }
        // A repeat of a message is not another one.
        let mut claims: Vec<Claim> = Vec::new();
        for state in self.ahead.clear() {
            self.unhandled += 1;
            if let State::Whole(item) = state
                && let Ok(mut incoming) = *item
            {
                claims.extend(incoming.claim.take());
            }
        }
        let counting = async {
            while let Some(delivery) = self.subscription.next().await {
                let Some(opened) = self.opened(delivery) else { continue };
                self.unhandled += 1;
                claims.extend(opened.ok().and_then(|mut incoming| incoming.claim.take()));
            }
        };
        // The server says where the end is; where it is silent, what came until now is all that is known.
        let _ = tokio::time::timeout(COUNTING, counting).await;
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
