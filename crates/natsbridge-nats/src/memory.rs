//! A broker inside the process, for tests: wildcards, queue groups, requests, and faults that a seed repeats.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use crate::broker::Broker;
use crate::error::BrokerError;
use crate::event::{Event, EventHub, EventStream};
use crate::message::{Publish, RawMessage};
use crate::random::Random;
use crate::setters::setters;
use crate::subject::{QueueGroup, Subject, SubjectFilter};
use crate::subscription::{Feed, Subscription, SubscriptionLimits};

/// A [`Broker`] inside the process, for tests: no server is needed
///
/// Clones share it, as connections share a server. Draining one clone closes all of them.
///
/// ```
/// use natsbridge_nats::{Broker, MemoryBroker, Publish};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = MemoryBroker::new();
/// let mut readings = broker.subscribe("lab.*".parse()?, None).await?;
/// broker.publish(Publish::new("lab.7".parse()?, "21.5")).await?;
/// let reading = readings.next().await.ok_or("the broker is gone")?;
/// assert_eq!((reading.subject.as_str(), &reading.payload[..]), ("lab.7", &b"21.5"[..]));
/// # Ok(())
/// # }
/// ```
///
/// It can lose, repeat and reorder messages as networks do; the same seed repeats the same faults:
///
/// ```
/// # use natsbridge_nats::{Broker, MemoryBroker, Publish};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = MemoryBroker::builder().seed(7).drop(0.1).duplicate(0.05).reorder(0.1).build();
/// let mut numbers = broker.subscribe("n".parse()?, None).await?;
/// for number in 0..100 {
///     broker.publish(Publish::new("n".parse()?, number.to_string())).await?;
/// }
/// broker.drain().await?;
/// let mut arrived = Vec::new();
/// while let Some(message) = numbers.next().await {
///     arrived.push(message.payload);
/// }
/// assert_eq!(arrived.len() as u64, 100 - broker.faults_dropped() + broker.faults_duplicated());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct MemoryBroker {
    shared: Arc<Shared>,
}

/// Settings of a [`MemoryBroker`]
#[derive(Debug, Clone)]
pub struct MemoryBrokerBuilder {
    seed: u64,
    drop: f64,
    duplicate: f64,
    reorder: f64,
    max_payload: u64,
    limits: SubscriptionLimits,
}

impl MemoryBrokerBuilder {
    setters! {
        /// Sets the seed of the faults, and of the choice among the members of a queue group; 0 by default
        fn seed(self, seed: u64) { self.seed = seed }

        /// Sets the probability that a message is lost, from 0 to 1; 0 by default
        fn drop(self, probability: f64) { self.drop = probability }

        /// Sets the probability that a message arrives twice, from 0 to 1; 0 by default
        fn duplicate(self, probability: f64) { self.duplicate = probability }

        /// Sets the probability that the next message overtakes a message, from 0 to 1; 0 by default
        ///
        /// A message that is held back for this arrives with the next publish, request, confirm or drain.
        fn reorder(self, probability: f64) { self.reorder = probability }

        /// Sets the largest message, in bytes; 1,048,576 by default, as in nats-server
        fn max_payload(self, bytes: u64) { self.max_payload = bytes }

        /// Sets how much may wait in each subscription before messages are dropped and counted
        fn subscription_limits(self, limits: SubscriptionLimits) { self.limits = limits }
    }

    /// Makes the broker
    #[must_use]
    pub fn build(self) -> MemoryBroker {
        let state = State {
            random: Random::seeded(self.seed),
            members: Vec::new(),
            held: None,
            next: 0,
            closed: false,
            dropped: 0,
            duplicated: 0,
        };
        MemoryBroker { shared: Arc::new(Shared { settings: self, hub: Arc::default(), state: Mutex::new(state) }) }
    }
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryBroker {
    /// A broker without faults
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Starts with the default settings, without faults
    #[must_use]
    pub fn builder() -> MemoryBrokerBuilder {
        MemoryBrokerBuilder {
            seed: 0,
            drop: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            max_payload: 1_048_576,
            limits: SubscriptionLimits::default(),
        }
    }

    /// How many messages the faults have lost so far
    #[must_use]
    pub fn faults_dropped(&self) -> u64 {
        self.shared.lock().dropped
    }

    /// How many messages the faults have repeated so far
    #[must_use]
    pub fn faults_duplicated(&self) -> u64 {
        self.shared.lock().duplicated
    }

    /// Applies the faults and routes the message; whether anybody subscribes to its subject
    fn send(&self, message: Publish) -> Result<bool, BrokerError> {
        let settings = &self.shared.settings;
        let size = u64::try_from(message.payload.len()).unwrap_or(u64::MAX);
        if size > settings.max_payload {
            return Err(BrokerError::too_large(message.subject.as_str(), size, settings.max_payload));
        }
        let mut state = self.shared.lock();
        if state.closed {
            return Err(BrokerError::closed());
        }
        let has_subscribers = state.members.iter().any(|member| member.filter.matches(message.subject.as_str()));
        if state.random.happens(settings.drop) {
            state.dropped += 1;
            return Ok(has_subscribers);
        }
        let copies = if state.random.happens(settings.duplicate) { 2 } else { 1 };
        state.duplicated += copies - 1;
        if state.held.is_none() && state.random.happens(settings.reorder) {
            state.held = Some((message, copies));
            return Ok(has_subscribers);
        }
        state.route(&message, copies);
        state.release();
        Ok(has_subscribers)
    }

    fn join(&self, filter: SubjectFilter, queue: Option<QueueGroup>) -> Result<Subscription, BrokerError> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(BrokerError::closed());
        }
        state.next += 1;
        let number = state.next;
        let shared: Weak<Shared> = Arc::downgrade(&self.shared);
        let stop = move || {
            if let Some(shared) = shared.upgrade() {
                shared.leave(number);
            }
        };
        let (feed, subscription) =
            Subscription::new(filter.clone(), self.shared.settings.limits, self.shared.hub.clone(), stop);
        state.members.push(Member { number, filter, queue, feed });
        Ok(subscription)
    }

    async fn exchange(&self, message: Publish, timeout: Duration) -> Result<RawMessage, BrokerError> {
        let subject = message.subject.clone();
        let inbox = self.new_inbox();
        let mut replies = self.join(inbox.clone().into(), None)?;
        if !self.send(message.with_reply(inbox))? {
            return Err(BrokerError::no_responders(subject.as_str()));
        }
        match tokio::time::timeout(timeout, replies.next()).await {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(BrokerError::closed()),
            Err(_) => Err(BrokerError::request_timed_out(subject.as_str(), timeout)),
        }
    }

    fn settle(&self) -> Result<(), BrokerError> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(BrokerError::closed());
        }
        state.release();
        Ok(())
    }
}

impl Broker for MemoryBroker {
    fn publish(&self, message: Publish) -> BoxFuture<'_, Result<(), BrokerError>> {
        ready(self.send(message).map(|_| ())).boxed()
    }

    fn confirm(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        ready(self.settle()).boxed()
    }

    fn publish_confirmed(&self, message: Publish) -> BoxFuture<'_, Result<(), BrokerError>> {
        ready(self.send(message).and_then(|_| self.settle())).boxed()
    }

    fn subscribe(
        &self,
        filter: SubjectFilter,
        queue: Option<QueueGroup>,
    ) -> BoxFuture<'_, Result<Subscription, BrokerError>> {
        ready(self.join(filter, queue)).boxed()
    }

    fn request(&self, message: Publish, timeout: Duration) -> BoxFuture<'_, Result<RawMessage, BrokerError>> {
        self.exchange(message, timeout).boxed()
    }

    fn new_inbox(&self) -> Subject {
        let mut state = self.shared.lock();
        state.next += 1;
        Subject::from_server(format!("_INBOX.memory.{}", state.next).into())
    }

    fn max_payload(&self) -> u64 {
        self.shared.settings.max_payload
    }

    fn server_url(&self) -> String {
        "memory://local".to_owned()
    }

    fn events(&self) -> EventStream {
        self.shared.hub.stream()
    }

    fn drain(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        let members = {
            let mut state = self.shared.lock();
            state.release();
            let first = !std::mem::replace(&mut state.closed, true);
            if first {
                self.shared.hub.send(&Event::Closed);
            }
            std::mem::take(&mut state.members)
        };
        drop(members);
        ready(Ok(())).boxed()
    }
}

struct Shared {
    settings: MemoryBrokerBuilder,
    hub: Arc<EventHub>,
    state: Mutex<State>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, number: u64) {
        let mut state = self.lock();
        let place = state.members.iter().position(|member| member.number == number);
        let member = place.map(|place| state.members.remove(place));
        drop(state);
        // Its end wakes the reader, which may come back here: not under the lock.
        drop(member);
    }
}

struct Member {
    number: u64,
    filter: SubjectFilter,
    queue: Option<QueueGroup>,
    feed: Feed,
}

struct State {
    random: Random,
    members: Vec<Member>,
    /// The message that the next one overtakes, and how often it arrives
    held: Option<(Publish, u64)>,
    next: u64,
    closed: bool,
    dropped: u64,
    duplicated: u64,
}

impl State {
    /// Routes the message that was held back
    fn release(&mut self) {
        if let Some((message, copies)) = self.held.take() {
            self.route(&message, copies);
        }
    }

    fn route(&mut self, message: &Publish, copies: u64) {
        let push = |member: &Member| {
            member.feed.push(RawMessage::new(message.subject.clone(), message.reply.clone(), message.payload.clone()));
        };
        for _ in 0..copies {
            // As in nats-server, a group is a name together with a filter. In a fixed order, so that a seed gives the
            // same choice again.
            let mut groups: BTreeMap<(&QueueGroup, &SubjectFilter), Vec<&Member>> = BTreeMap::new();
            for member in &self.members {
                if !member.filter.matches(message.subject.as_str()) {
                    continue;
                }
                match &member.queue {
                    None => push(member),
                    Some(queue) => groups.entry((queue, &member.filter)).or_default().push(member),
                }
            }
            for group in groups.into_values() {
                let count = u64::try_from(group.len()).unwrap_or(u64::MAX);
                let chosen = usize::try_from(self.random.below(count)).unwrap_or(0);
                if let Some(member) = group.get(chosen) {
                    push(member);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn arrivals(seed: u64) -> Vec<String> {
        let broker = MemoryBroker::builder().seed(seed).drop(0.2).duplicate(0.2).reorder(0.2).build();
        let mut subscription = broker.subscribe("n".parse().unwrap(), None).await.unwrap();
        for number in 0..200 {
            broker.publish(Publish::new("n".parse().unwrap(), number.to_string())).await.unwrap();
        }
        broker.drain().await.unwrap();
        let mut arrived = Vec::new();
        while let Some(message) = subscription.next().await {
            arrived.push(String::from_utf8(message.payload.to_vec()).unwrap());
        }
        assert!(broker.faults_dropped() > 0 && broker.faults_duplicated() > 0);
        assert!(!arrived.is_sorted_by_key(|number| number.parse::<u64>().unwrap()), "some are reordered");
        arrived
    }

    #[tokio::test]
    async fn seeds_repeat_their_faults() {
        let first = arrivals(7).await;
        assert_eq!(first, arrivals(7).await);
        assert_ne!(first, arrivals(8).await);
    }

    #[tokio::test]
    async fn held_messages_leave_with_confirm() {
        let broker = MemoryBroker::builder().reorder(1.0).build();
        let mut subscription = broker.subscribe("n".parse().unwrap(), None).await.unwrap();
        broker.publish(Publish::new("n".parse().unwrap(), "1")).await.unwrap();
        assert_eq!(subscription.pending(), 0);
        broker.publish(Publish::new("n".parse().unwrap(), "2")).await.unwrap();
        broker.publish(Publish::new("n".parse().unwrap(), "3")).await.unwrap();
        broker.confirm().await.unwrap();
        let arrived: Vec<_> = subscription.next_batch(10).await.into_iter().map(|message| message.payload).collect();
        assert_eq!(arrived, ["2", "1", "3"]);
    }
}
