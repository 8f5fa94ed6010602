//! Defines what a broker does: the trait that the real and the in-memory one implement, and what passes through it.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::error::BrokerError;
use crate::event::EventStream;
use crate::subject::{QueueGroup, Subject, SubjectFilter};
use crate::subscription::Subscription;

/// A message on its way out
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Publish {
    /// Where it goes
    pub subject: Subject,
    /// Where an answer is wanted, if any
    pub reply: Option<Subject>,
    /// Its bytes
    pub payload: Bytes,
}

impl Publish {
    /// A message that asks for no answer
    #[must_use]
    pub fn new(subject: Subject, payload: impl Into<Bytes>) -> Self {
        Self { subject, reply: None, payload: payload.into() }
    }

    /// Asks for an answer at `reply`
    #[must_use]
    pub fn reply(mut self, reply: Subject) -> Self {
        self.reply = Some(reply);
        self
    }
}

/// A message that arrived
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RawMessage {
    /// What it was published to, as the broker gave it
    pub subject: Subject,
    /// Where its sender wants an answer; `None` also when the sender named a subject that cannot be published to
    pub reply: Option<Subject>,
    /// Its bytes
    pub payload: Bytes,
}

impl RawMessage {
    /// A delivery, for other implementations of [`Broker`]
    #[must_use]
    pub fn new(subject: Subject, reply: Option<Subject>, payload: Bytes) -> Self {
        Self { subject, reply, payload }
    }
}

/// Moves messages between programs, at most once each; knows nothing of what is inside them
///
/// [`NatsBroker`](crate::NatsBroker) is a connection to a NATS server, [`MemoryBroker`](crate::MemoryBroker) lives inside
/// the process for tests. Every method can be called from several tasks at once.
pub trait Broker: Send + Sync + Debug {
    /// Hands a message over; it may still be lost
    ///
    /// While the connection is down it is kept and sent after the next connect; when that store is full the call waits.
    ///
    /// # Errors
    /// `TooLarge` with both sizes, `Closed`.
    fn publish(&self, outgoing: Publish) -> BoxFuture<'_, Result<(), BrokerError>>;

    /// Hands a message over whose arrival its receiver confirms, or whose loss the other side notices: a message that is
    /// repeated until it is acknowledged, or an acknowledgement
    ///
    /// As [`Self::publish`], but [`Self::confirm`] and [`Self::drain`] do not answer for it.
    ///
    /// # Errors
    /// Those of [`Self::publish`].
    fn publish_acknowledged(&self, outgoing: Publish) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.publish(outgoing)
    }

    /// Waits until the server has processed everything published through this handle since the last `confirm`
    ///
    /// For one publisher at a time. Where several tasks share a handle, use [`Self::publish_confirmed`], which keeps its
    /// books per message.
    ///
    /// # Errors
    /// `TimedOut`; `ConnectionLost` when the connection was replaced in between, so that some of them may be lost;
    /// `PermissionDenied` when the server refused one of the messages; `Closed`.
    fn confirm(&self) -> BoxFuture<'_, Result<(), BrokerError>>;

    /// Publishes one message and waits until the server has processed it
    ///
    /// # Errors
    /// Those of [`Self::publish`] and [`Self::confirm`], about this message alone. `PermissionDenied` is best effort with
    /// a real server: the first call for a subject waits 20 ms for a refusal that is late; where even that is too short, on
    /// a machine under heavy load, the refusal is only an [`Event`](crate::Event).
    fn publish_confirmed(&self, outgoing: Publish) -> BoxFuture<'_, Result<(), BrokerError>>;

    /// Finds out in the background whether the connection still stands, because an answer has not come; makes it again when
    /// nothing at all comes within `patience`
    ///
    /// Returns at once; calls while one is under way do nothing. A broker without a connection has nothing to do.
    fn probe(&self, patience: Duration) {
        let _ = patience;
    }

    /// Listens to a filter, alone or as a member of a queue group
    ///
    /// When it returns on a standing connection, the server knows the subscription: what is published afterwards, by
    /// anyone, reaches it.
    ///
    /// # Errors
    /// `PermissionDenied` (best effort, as for [`Self::publish_confirmed`]), `Closed`.
    fn subscribe(
        &self,
        filter: SubjectFilter,
        queue: Option<QueueGroup>,
    ) -> BoxFuture<'_, Result<Subscription, BrokerError>>;

    /// Publishes a message and waits for one answer
    ///
    /// A `reply` in `outgoing` is replaced by an inbox of this connection.
    ///
    /// # Errors
    /// `NoResponders` when nobody listens, `TimedOut` when somebody does and does not answer, and those of
    /// [`Self::publish`].
    fn request(&self, outgoing: Publish, timeout: Duration) -> BoxFuture<'_, Result<RawMessage, BrokerError>>;

    /// A subject that nobody else uses, to receive answers at
    fn new_inbox(&self) -> Subject;

    /// The largest message the broker takes, in bytes; can change with each connect
    fn max_payload(&self) -> u64;

    /// The broker's URL without user name, password, token and query
    fn server_url(&self) -> String;

    /// What happens to the connection from now on
    fn events(&self) -> EventStream;

    /// Ends in order: stops all subscriptions, lets what has arrived be read, sends what was published, closes
    ///
    /// A subscription's stream ends after its last message. Calling it again does nothing. While the connection is down there
    /// is nothing to wait for, and it returns at once.
    ///
    /// # Errors
    /// `TimedOut` or `ConnectionLost` when publishes could not be confirmed, with their number in the text; it is closed all
    /// the same.
    fn drain(&self) -> BoxFuture<'_, Result<(), BrokerError>>;
}
