//! A broker that is a connection of async-nats.

mod breaks;
mod connect;
mod connection;
mod episodes;
mod failure;
mod greeting;
mod inbox;
mod pump;
mod signals;
mod token;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::client::{PublishError, PublishErrorKind};
use async_nats::connection::State;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::broker::Broker;
use crate::error::{BrokerError, BrokerErrorKind};
use crate::event::EventStream;
use crate::message::{Publish, RawMessage};
use crate::options::ConnectOptions;
use crate::subject::{QueueGroup, Subject, SubjectFilter};
use crate::subscription::Subscription;
use connection::Connection;
use pump::Pump;
use signals::Signals;

/// How long a new subscription, or the first confirmed publish to a subject, waits for a refusal that the server sent
/// before it confirmed; on a busy machine the task that brings it may run late
const REFUSAL_GRACE: Duration = Duration::from_millis(20);

/// The most subjects that are remembered as allowed
const MAX_ALLOWED: usize = 1_024;

/// A connection to a NATS server or cluster that reconnects by itself; [`ConnectOptions::connect`] makes one
///
/// Clones share the connection; each clone counts its own publishes for [`confirm`](Broker::confirm). Call
/// [`drain`](Broker::drain) before the program ends. When the last clone is dropped without it, a task of the runtime in
/// which `connect` ran still flushes what was published, for at most five seconds and only while the connection is up.
/// Subscriptions keep working without the broker.
pub struct NatsBroker {
    inner: Arc<Inner>,
    /// The connection that carries the last unconfirmed message of this handle; 0 for none
    unconfirmed: AtomicU64,
    /// How many messages of this handle are unconfirmed
    unconfirmed_messages: AtomicU64,
    /// How many of them earlier connections carry
    unconfirmed_earlier: AtomicU64,
    refusals_seen: AtomicU64,
}

struct Inner {
    connection: Arc<Connection>,
    options: ConnectOptions,
    pumps: Mutex<Vec<Pump>>,
    draining: AtomicBool,
    allowed: Mutex<Allowed>,
    /// Held by all that need the client to reconnect
    alive: Arc<()>,
    runtime: Handle,
}

/// Subjects to which a confirmed publish was not refused, so that the next one need not wait for a late refusal
#[derive(Debug, Default)]
struct Allowed {
    /// The connection and the number of refusals when they were allowed: after either changed, none is remembered
    as_of: (u64, u64),
    subjects: BTreeSet<Subject>,
}

impl Allowed {
    fn holds(&self, as_of: (u64, u64), subject: &Subject) -> bool {
        self.as_of == as_of && self.subjects.contains(subject)
    }

    fn note(&mut self, as_of: (u64, u64), subject: Subject) {
        if self.as_of != as_of || self.subjects.len() >= MAX_ALLOWED {
            *self = Self { as_of, subjects: BTreeSet::new() };
        }
        self.subjects.insert(subject);
    }
}

impl ConnectOptions {
    /// Connects, within [`connect_timeout`](Self::connect_timeout)
    ///
    /// After this first success, the client reconnects by itself for ever.
    ///
    /// # Errors
    /// `InvalidOptions`, `Unresolved`, `Refused`, `Unreachable`, `TimedOut`, `Unauthorized`, `NotWebSocket`, `Tls` and the
    /// kinds that begin with it; the text names the servers without credentials and says what to do.
    pub async fn connect(self) -> Result<NatsBroker, BrokerError> {
        NatsBroker::connect(self).await
    }
}

impl NatsBroker {
    async fn connect(options: ConnectOptions) -> Result<Self, BrokerError> {
        let signals = Arc::new(Signals::default());
        let alive = Arc::new(());
        let connected = connect::connect(&options, &signals, Arc::downgrade(&alive)).await?;
        let connection = Connection::new(connected, signals, &options);
        connection.signals.first_connected().await;
        let inner = Inner {
            connection: Arc::new(connection),
            options,
            pumps: Mutex::default(),
            draining: AtomicBool::new(false),
            allowed: Mutex::default(),
            alive,
            runtime: Handle::current(),
        };
        Ok(Self::with_own_books(Arc::new(inner)))
    }

    fn with_own_books(inner: Arc<Inner>) -> Self {
        let refusals_seen = AtomicU64::new(inner.connection.signals.refusal_count());
        Self {
            inner,
            unconfirmed: AtomicU64::new(0),
            unconfirmed_messages: AtomicU64::new(0),
            unconfirmed_earlier: AtomicU64::new(0),
            refusals_seen,
        }
    }

    /// Before the hand-over, so that a connection that breaks in between is noticed
    fn note_unconfirmed(&self) {
        let earlier = self.unconfirmed_messages.fetch_add(1, Ordering::Relaxed);
        let number = self.inner.connection.number();
        let last = self.unconfirmed.load(Ordering::Relaxed);
        // Another publish of this handle may have been the first on the new connection; then its number stands.
        if last < number && self.unconfirmed.compare_exchange(last, number, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            self.unconfirmed_earlier.store(earlier, Ordering::Relaxed);
        }
    }

    /// Takes what has to be confirmed
    fn unconfirmed(&self) -> Unconfirmed {
        let messages = self.unconfirmed_messages.swap(0, Ordering::AcqRel);
        let noted = self.unconfirmed.swap(0, Ordering::AcqRel);
        let on_earlier = self.unconfirmed_earlier.swap(0, Ordering::AcqRel).min(messages);
        let sent_on = if noted == 0 { self.inner.connection.number() } else { noted };
        Unconfirmed { sent_on, messages, on_earlier }
    }

    /// Puts back what was not confirmed
    fn put_back(&self, Unconfirmed { sent_on, messages, on_earlier }: Unconfirmed) {
        if messages == 0 {
            return;
        }
        let earlier = match self.unconfirmed.compare_exchange(0, sent_on, Ordering::AcqRel, Ordering::Relaxed) {
            Err(later) if later > sent_on => messages,
            Ok(_) | Err(_) => on_earlier,
        };
        self.unconfirmed_earlier.fetch_add(earlier, Ordering::AcqRel);
        self.unconfirmed_messages.fetch_add(messages, Ordering::AcqRel);
    }

    async fn confirm_all(&self) -> Result<(), BrokerError> {
        let taken = Taken { broker: self, unconfirmed: self.unconfirmed() };
        let confirmed = self.inner.confirm(taken.unconfirmed).await;
        taken.settle();
        confirmed?;
        let seen = self.refusals_seen.swap(self.inner.connection.signals.refusal_count(), Ordering::AcqRel);
        self.inner.not_refused(seen, "for Publish")
    }

    async fn drain_all(&self) -> Result<(), BrokerError> {
        let taken = Taken { broker: self, unconfirmed: self.unconfirmed() };
        let drained = self.inner.drain(taken.unconfirmed).await;
        taken.settle();
        drained
    }
}

/// The messages of a handle that the server has not confirmed
#[derive(Debug, Clone, Copy)]
struct Unconfirmed {
    /// The connection that carries the last of them
    sent_on: u64,
    messages: u64,
    /// How many of them earlier connections carry
    on_earlier: u64,
}

/// What a `confirm` or a `drain` has taken on; put back when its future is dropped, so that the next one answers for it
struct Taken<'a> {
    broker: &'a NatsBroker,
    unconfirmed: Unconfirmed,
}

impl Taken<'_> {
    fn settle(mut self) {
        self.unconfirmed.messages = 0;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.broker.put_back(self.unconfirmed);
    }
}

/// Allows another drain when one is dropped before its end
struct Draining<'a> {
    flag: &'a AtomicBool,
    ended: bool,
}

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.flag.store(false, Ordering::Release);
        }
    }
}

/// The error that says how many messages the server has not confirmed
fn unconfirmed_error(kind: BrokerErrorKind, before: &str, messages: u64) -> BrokerError {
    let messages = if messages == 1 { "1 message".to_owned() } else { format!("{messages} messages") };
    let message =
        format!("{before} before the server confirmed {messages}, of which some may be lost; publish them again");
    BrokerError::new(kind, message)
}

impl Inner {
    fn checked(&self, subject: &Subject, size: u64) -> Result<(), BrokerError> {
        if self.draining.load(Ordering::Acquire) {
            return Err(BrokerError::closed());
        }
        let limit = self.max_payload();
        if size > limit {
            return Err(BrokerError::too_large(subject.as_str(), size, limit));
        }
        Ok(())
    }

    fn max_payload(&self) -> u64 {
        u64::try_from(self.connection.client.max_payload()).unwrap_or(u64::MAX)
    }

    async fn hand_over(&self, message: Publish) -> Result<(), BrokerError> {
        let Publish { subject, reply, payload } = message;
        let size = len(&payload);
        self.checked(&subject, size)?;
        let (client, subject) = (&self.connection.client, subject.into_nats());
        // Given away and not cloned: the payload's count would go to and fro between this task's core and the connection's.
        let sent = match reply {
            None => client.publish(subject, payload).await,
            Some(reply) => client.publish_with_reply(subject, reply.into_nats(), payload).await,
        };
        sent.map_err(|error| self.not_sent(&error, size))
    }

    fn not_sent(&self, error: &PublishError, size: u64) -> BrokerError {
        match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => BrokerError::too_large_by_now(size, self.max_payload()),
            PublishErrorKind::InvalidSubject | PublishErrorKind::Send => BrokerError::closed(),
        }
    }

    /// Waits until the server has processed what is unconfirmed, and what was published since on another connection
    async fn confirm(&self, unconfirmed: Unconfirmed) -> Result<(), BrokerError> {
        let number = self.connection.number();
        let on_earlier = if number > unconfirmed.sent_on { unconfirmed.messages } else { unconfirmed.on_earlier };
        let lost = match self.connection.barrier(number.max(unconfirmed.sent_on)).await {
            Ok(()) => on_earlier,
            // It broke again before anything was confirmed.
            Err(error) if error.kind() == BrokerErrorKind::ConnectionLost => unconfirmed.messages,
            Err(error) => return Err(error),
        };
        if lost == 0 {
            return Ok(());
        }
        Err(unconfirmed_error(BrokerErrorKind::ConnectionLost, "the connection was replaced", lost))
    }

    /// Fails if the server sent a refusal that contains `phrase` after the first `since`
    ///
    /// Refusals come through another task than confirmations. The server sends them first and their task runs first, but
    /// where the operating system interrupts it, a refusal is too late for the call and only an event.
    fn not_refused(&self, since: u64, phrase: &str) -> Result<(), BrokerError> {
        match self.connection.signals.refusal(since, phrase) {
            None => Ok(()),
            Some(text) => {
                let message = format!("{text}; ask for this permission or use another subject");
                Err(BrokerError::new(BrokerErrorKind::PermissionDenied, message))
            }
        }
    }

    /// As `not_refused`, and waits for a refusal whose task has yet to run
    async fn not_refused_for(&self, grace: Duration, since: u64, phrase: &str) -> Result<(), BrokerError> {
        let mut changes = self.connection.signals.changes();
        let refused = async { while self.not_refused(since, phrase).is_ok() && changes.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(grace, refused).await;
        self.not_refused(since, phrase)
    }

    async fn publish_confirmed(&self, message: Publish) -> Result<(), BrokerError> {
        let phrase = format!("Publish to \"{}\"", message.subject);
        let since = self.connection.signals.refusal_count();
        let sent_on = self.connection.number();
        let subject = message.subject.clone();
        self.hand_over(message).await?;
        self.connection.barrier(sent_on).await?;
        if self.allowed().holds((sent_on, since), &subject) {
            return self.not_refused(since, &phrase);
        }
        self.not_refused_for(REFUSAL_GRACE, since, &phrase).await?;
        self.allowed().note((sent_on, since), subject);
        Ok(())
    }

    fn allowed(&self) -> MutexGuard<'_, Allowed> {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn subscribe(&self, filter: SubjectFilter, queue: Option<QueueGroup>) -> Result<Subscription, BrokerError> {
        if self.draining.load(Ordering::Acquire) {
            return Err(BrokerError::closed());
        }
        let phrase = format!("Subscription to \"{filter}\"");
        let since = self.connection.signals.refusal_count();
        let sent_on = self.connection.number();
        let interruptions = Arc::<AtomicU64>::default();
        let group = queue.as_ref().map(QueueGroup::as_str);
        let refused = self.connection.signals.refusal_of(filter.as_str(), group, Arc::clone(&interruptions));
        let subscriber = match queue {
            None => self.connection.client.subscribe(filter.to_nats()).await,
            Some(group) => self.connection.client.queue_subscribe(filter.to_nats(), group.as_str().to_owned()).await,
        };
        let subscriber = subscriber.map_err(|error| BrokerError::closed().with_source(failure::deepest(&error)))?;
        let stop = Arc::new(Notify::new());
        let stops = {
            let (stop, alive) = (stop.clone(), self.alive.clone());
            move || {
                // As long as it is read, the connection is needed.
                let _ = &alive;
                stop.notify_one();
            }
        };
        let events = self.connection.signals.hub.clone();
        let (feed, mut subscription) = Subscription::new(filter, self.options.subscription, events, stops);
        subscription.count_interruptions(interruptions);
        {
            let mut pumps = self.pumps.lock().unwrap_or_else(PoisonError::into_inner);
            pumps.retain(|pump| !pump.is_finished());
            pumps.push(Pump::start(subscriber, feed, Arc::clone(&self.connection), refused, stop));
        }
        // While the connection is down there is nothing to wait for: async-nats subscribes when it reconnects.
        if self.connection.client.connection_state() == State::Connected
            && self.connection.barrier(sent_on).await.is_ok()
        {
            self.not_refused_for(REFUSAL_GRACE, since, &phrase).await?;
        }
        Ok(subscription)
    }

    async fn request(&self, message: Publish, timeout: Duration) -> Result<RawMessage, BrokerError> {
        let Publish { subject, payload, .. } = message;
        let exchange = async {
            // Before the inbox is asked for, so that no refusal comes unseen.
            let mut changes = self.connection.signals.changes();
            let mut reply = self.connection.inbox().await?.reply();
            let to = Subject::from_server(reply.subject.as_str().into());
            self.hand_over(Publish { subject: subject.clone(), reply: Some(to), payload }).await?;
            loop {
                tokio::select! {
                    received = reply.received() => return received,
                    _ = changes.changed() => {
                        if self.connection.signals.is_inbox_denied() {
                            return Err(self.connection.inbox_denied());
                        }
                        if self.connection.signals.is_closed() {
                            return Err(BrokerError::closed());
                        }
                    }
                }
            }
        };
        let reply = tokio::time::timeout(timeout, exchange)
            .await
            .map_err(|_| BrokerError::request_timed_out(subject.as_str(), timeout))??;
        if reply.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
            return Err(BrokerError::no_responders(subject.as_str()));
        }
        Ok(pump::raw_message(reply))
    }

    async fn drain(&self, unconfirmed: Unconfirmed) -> Result<(), BrokerError> {
        if self.draining.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let mut draining = Draining { flag: &self.draining, ended: false };
        let deadline = tokio::time::Instant::now() + self.options.drain_timeout;
        let pumps = std::mem::take(&mut *self.pumps.lock().unwrap_or_else(PoisonError::into_inner));
        for pump in &pumps {
            pump.stop.notify_one();
        }
        let in_order = async {
            // Each has a task of its own, so that none waits for another.
            for pump in &pumps {
                pump.ended().await;
            }
            self.confirm(unconfirmed).await
        };
        let confirmed = tokio::select! {
            biased;
            confirmed = in_order => Some(confirmed),
            // Nothing comes any more, and what is to be sent would have to wait for the next connection.
            () = self.connection.down() => None,
            () = tokio::time::sleep_until(deadline) => Some(Err(self.drained_too_slowly(unconfirmed))),
        };
        // Ends the subscriptions' streams as well: the pumps own the feeds.
        pumps.iter().for_each(Pump::abort);
        let Some(confirmed) = confirmed else {
            // For the connection's task, in case it reconnects in this very moment.
            let _ = self.connection.client.drain().now_or_never();
            self.connection.signals.close();
            draining.ended = true;
            if unconfirmed.messages == 0 {
                return Ok(());
            }
            let what = format!("the connection to {} was down, and closed", self.connection.server_url());
            return Err(unconfirmed_error(BrokerErrorKind::ConnectionLost, &what, unconfirmed.messages));
        };
        // Ends the connection's task while it is up; while it is down, `close` keeps it from reconnecting.
        if let Ok(Ok(())) = tokio::time::timeout_at(deadline, self.connection.client.drain()).await {
            let mut changes = self.connection.signals.changes();
            while !self.connection.signals.is_closed() {
                if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                    break;
                }
            }
        }
        self.connection.signals.close();
        draining.ended = true;
        confirmed
    }

    fn drained_too_slowly(&self, unconfirmed: Unconfirmed) -> BrokerError {
        let limit = self.options.drain_timeout;
        if unconfirmed.messages > 0 {
            let what = format!("draining took longer than {limit:?}, and ended");
            return unconfirmed_error(BrokerErrorKind::TimedOut, &what, unconfirmed.messages);
        }
        let message = format!("draining took longer than {limit:?}; the server has confirmed all that was published");
        BrokerError::new(BrokerErrorKind::TimedOut, message)
    }
}

fn len(payload: &Bytes) -> u64 {
    u64::try_from(payload.len()).unwrap_or(u64::MAX)
}

impl Broker for NatsBroker {
    fn publish(&self, message: Publish) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.note_unconfirmed();
        self.publish_acknowledged(message)
    }

    fn publish_acknowledged(&self, message: Publish) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.inner.hand_over(message).boxed()
    }

    fn probe(&self, patience: Duration) {
        let connection = Arc::clone(&self.inner.connection);
        self.inner.runtime.spawn(async move { connection.probe(patience).await });
    }

    fn confirm(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.confirm_all().boxed()
    }

    fn publish_confirmed(&self, message: Publish) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.inner.publish_confirmed(message).boxed()
    }

    fn subscribe(
        &self,
        filter: SubjectFilter,
        queue: Option<QueueGroup>,
    ) -> BoxFuture<'_, Result<Subscription, BrokerError>> {
        self.inner.subscribe(filter, queue).boxed()
    }

    fn request(&self, message: Publish, timeout: Duration) -> BoxFuture<'_, Result<RawMessage, BrokerError>> {
        self.inner.request(message, timeout).boxed()
    }

    fn new_inbox(&self) -> Subject {
        Subject::from_server(self.inner.connection.new_inbox().into())
    }

    fn max_payload(&self) -> u64 {
        self.inner.max_payload()
    }

    fn server_url(&self) -> String {
        self.inner.connection.server_url()
    }

    fn events(&self) -> EventStream {
        self.inner.connection.signals.hub.stream()
    }

    fn drain(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.drain_all().boxed()
    }
}

impl Clone for NatsBroker {
    fn clone(&self) -> Self {
        Self::with_own_books(self.inner.clone())
    }
}

impl fmt::Debug for NatsBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBroker").field("server", &self.inner.connection.server_url()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        const LAST_FLUSH: Duration = Duration::from_secs(5);
        if self.draining.load(Ordering::Acquire) {
            return;
        }
        // Without this the client would forget what it has not yet written. A runtime that has ended drops the task unrun.
        let (client, alive) = (self.connection.client.clone(), self.alive.clone());
        self.runtime.spawn(async move {
            if !matches!(tokio::time::timeout(LAST_FLUSH, client.flush()).await, Ok(Ok(()))) {
                tracing::warn!("a NATS connection was dropped without draining; its last messages may be lost");
            }
            drop(alive);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_subjects_are_remembered_until_something_changes() {
        let subject = |number: usize| Subject::new(format!("a.{number}")).unwrap();
        let mut allowed = Allowed::default();
        assert!(!allowed.holds((0, 0), &subject(0)));
        allowed.note((1, 0), subject(0));
        allowed.note((1, 0), subject(1));
        assert!(allowed.holds((1, 0), &subject(0)) && allowed.holds((1, 0), &subject(1)));
        assert!(!allowed.holds((2, 0), &subject(0)) && !allowed.holds((1, 1), &subject(0)));
        allowed.note((1, 1), subject(1));
        assert!(allowed.holds((1, 1), &subject(1)) && !allowed.holds((1, 0), &subject(0)));
        for number in 0..=2 * MAX_ALLOWED {
            allowed.note((1, 1), subject(number));
        }
        assert!(allowed.subjects.len() <= MAX_ALLOWED && allowed.holds((1, 1), &subject(2 * MAX_ALLOWED)));
    }
}
