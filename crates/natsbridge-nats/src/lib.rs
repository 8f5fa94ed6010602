//! Declares the crate's rooms and the names it gives out: connections to NATS that move bytes and know no envelope.
//!
//! Start at [`ConnectOptions`] for a server or [`MemoryBroker`] for a test; both are a [`Broker`].

mod address;
mod broker;
mod error;
mod event;
mod memory;
mod nats;
mod observe;
mod options;
mod random;
mod subject;
mod subscription;

pub use broker::{Broker, Delivery, Outgoing};
pub use error::{BrokerError, BrokerErrorKind};
pub use event::{Event, EventHub, EventStream};
pub use memory::{MemoryBroker, MemoryBrokerBuilder};
pub use nats::NatsBroker;
pub use observe::{MESSAGES_DROPPED, RECONNECTS, SERVER_ERRORS, describe_metrics};
pub use options::ConnectOptions;
pub use subject::{MAX_NAME_LEN, QueueGroup, Subject, SubjectError, SubjectFault, SubjectFilter};
pub use subscription::{Feed, Subscription, SubscriptionLimits};
