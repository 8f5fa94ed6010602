//! Defines the trait that every broker implements.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::error::BrokerError;
use crate::event::EventStream;
use crate::message::{Publish, RawMessage};
use crate::subject::{QueueGroup, Subject, SubjectFilter};
use crate::subscription::Subscription;

/// Moves messages between programs, at most once each, without looking inside them
///
/// [`NatsBroker`](crate::NatsBroker) is a connection to a NATS server; [`MemoryBroker`](crate::MemoryBroker) lives inside
/// the process, for tests. Every method can be called from several tasks at once.
///
/// A broker of your own keeps an [`EventHub`](crate::EventHub), and makes subscriptions with
/// [`Subscription::new`]:
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use std::time::Duration;
///
/// use futures_util::future::{BoxFuture, FutureExt as _, ready};
/// use natsbridge_nats::{
///     Broker, BrokerError, BrokerErrorKind, EventHub, EventStream, Feed, Publish, QueueGroup, RawMessage, Subject,
///     SubjectFilter, Subscription, SubscriptionLimits,
/// };
///
/// /// Gives every message to every subscription whose filter matches
/// #[derive(Debug, Default)]
/// struct Loopback {
///     events: Arc<EventHub>,
///     feeds: Mutex<Vec<(SubjectFilter, Feed)>>,
/// }
///
/// impl Broker for Loopback {
///     fn publish(&self, message: Publish) -> BoxFuture<'_, Result<(), BrokerError>> {
///         for (filter, feed) in &*self.feeds.lock().unwrap() {
///             if filter.matches(message.subject.as_str()) {
///                 let Publish { subject, reply, payload, .. } = message.clone();
///                 feed.push(RawMessage::new(subject, reply, payload));
///             }
///         }
///         ready(Ok(())).boxed()
///     }
///
///     fn confirm(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
///         ready(Ok(())).boxed()
///     }
///
///     fn publish_confirmed(&self, message: Publish) -> BoxFuture<'_, Result<(), BrokerError>> {
///         self.publish(message)
///     }
///
///     fn subscribe(
///         &self,
///         filter: SubjectFilter,
///         _queue: Option<QueueGroup>,
///     ) -> BoxFuture<'_, Result<Subscription, BrokerError>> {
///         let limits = SubscriptionLimits::default();
///         let (feed, subscription) = Subscription::new(filter.clone(), limits, self.events.clone(), || {});
///         self.feeds.lock().unwrap().push((filter, feed));
///         ready(Ok(subscription)).boxed()
///     }
///
///     fn request(&self, _message: Publish, _timeout: Duration) -> BoxFuture<'_, Result<RawMessage, BrokerError>> {
///         ready(Err(BrokerError::new(BrokerErrorKind::NoResponders, "nobody replies here"))).boxed()
///     }
///
///     fn new_inbox(&self) -> Subject {
///         Subject::new("_INBOX.1").unwrap()
///     }
///
///     fn max_payload(&self) -> u64 {
///         1_048_576
///     }
///
///     fn server_url(&self) -> String {
///         "loopback://".to_owned()
///     }
///
///     fn events(&self) -> EventStream {
///         self.events.stream()
///     }
///
///     fn drain(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
///         // A subscription ends when its feed is dropped.
///         self.feeds.lock().unwrap().clear();
///         ready(Ok(())).boxed()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = Loopback::default();
/// let mut readings = broker.subscribe("lab.*".parse()?, None).await?;
/// broker.publish(Publish::new("lab.7".parse()?, "21.5")).await?;
/// broker.drain().await?;
/// assert_eq!(readings.next().await.expect("a message").payload, "21.5");
/// assert!(readings.next().await.is_none());
/// # Ok(())
/// # }
/// ```
pub trait Broker: Send + Sync + Debug {
    /// Publishes a message without waiting for the server: it may still be lost
    ///
    /// While the connection is down, messages are kept and sent after the next connect; when that buffer is full, the call
    /// waits.
    ///
    /// # Errors
    /// `TooLarge`, `Closed`.
    fn publish(&self, message: Publish) -> BoxFuture<'_, Result<(), BrokerError>>;

    /// Publishes a message whose loss is noticed without [`Self::confirm`]: one that is repeated until it is acknowledged,
    /// or an acknowledgement
    ///
    /// As [`Self::publish`], but [`Self::confirm`] and [`Self::drain`] don't count it.
    ///
    /// # Errors
    /// Those of [`Self::publish`].
    fn publish_acknowledged(&self, message: Publish) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.publish(message)
    }

    /// Waits until the server has processed everything published through this handle since the last `confirm`
    ///
    /// For one publisher at a time. Where several tasks share a handle, use [`Self::publish_confirmed`].
    ///
    /// # Errors
    /// `TimedOut`; `ConnectionLost` when the connection was replaced in between, so that some messages may be lost;
    /// `PermissionDenied` when the server refused one of the messages; `Closed`.
    fn confirm(&self) -> BoxFuture<'_, Result<(), BrokerError>>;

    /// Publishes one message and waits until the server has processed it
    ///
    /// # Errors
    /// Those of [`Self::publish`] and [`Self::confirm`], about this message alone. `PermissionDenied` is best effort with
    /// a real server: the first call for a subject waits 20 ms for a late refusal; a refusal that is even later is only an
    /// [`Event`](crate::Event).
    fn publish_confirmed(&self, message: Publish) -> BoxFuture<'_, Result<(), BrokerError>>;

    /// Checks in the background whether the connection is alive, and replaces it when nothing comes within `patience`
    ///
    /// Returns at once; a call while a check runs does nothing. The default is for brokers without a connection, and does
    /// nothing.
    fn probe(&self, patience: Duration) {
        let _ = patience;
    }

    /// Subscribes to a filter, alone or as a member of a queue group
    ///
    /// When it returns on an open connection, the server knows the subscription: it gets whatever anybody publishes
    /// afterwards.
    ///
    /// # Errors
    /// `PermissionDenied` (best effort, as for [`Self::publish_confirmed`]), `Closed`.
    fn subscribe(
        &self,
        filter: SubjectFilter,
        queue: Option<QueueGroup>,
    ) -> BoxFuture<'_, Result<Subscription, BrokerError>>;

    /// Publishes a message and waits for one reply
    ///
    /// A `reply` in `message` is replaced by an inbox of this connection.
    ///
    /// # Errors
    /// `NoResponders` when nobody subscribes to the subject, `TimedOut` when somebody does and does not reply, and those of
    /// [`Self::publish`].
    fn request(&self, message: Publish, timeout: Duration) -> BoxFuture<'_, Result<RawMessage, BrokerError>>;

    /// A new inbox: a subject that nobody else uses, to receive replies at
    fn new_inbox(&self) -> Subject;

    /// The largest message that the broker takes, in bytes; can change with each connect
    fn max_payload(&self) -> u64;

    /// The broker's URL, without credentials and query
    fn server_url(&self) -> String;

    /// Returns a stream of connection events, starting now
    fn events(&self) -> EventStream;

    /// Drains the connection: unsubscribes, lets buffered messages be read, flushes, closes
    ///
    /// Each subscription's stream ends after its last message. A second call does nothing. While the connection is down
    /// there is nothing to wait for, and the call returns at once.
    ///
    /// # Errors
    /// `TimedOut` or `ConnectionLost` when some publishes could not be confirmed; the text says how many. The connection is
    /// closed in any case.
    fn drain(&self) -> BoxFuture<'_, Result<(), BrokerError>>;
}
