//! Connections to NATS that move bytes and know no envelope.
//!
//! Start at [`ConnectOptions`] for a server, or at [`MemoryBroker`] for a test; both are a [`Broker`], so what is written
//! against one runs with the other.
//!
//! ```
//! use natsbridge_nats::{Broker as _, MemoryBroker, Publish, Subject, SubjectFilter};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! // `ConnectOptions::new("nats://localhost:4222").connect().await?` is a server's
//! let broker = MemoryBroker::new();
//! let mut subscription = broker.subscribe(SubjectFilter::new("lab.*")?, None).await?;
//! broker.publish(Publish::new(Subject::new("lab.results")?, "run 7")).await?;
//! let delivery = subscription.next().await.expect("the subscription stands");
//! assert_eq!((delivery.subject.as_str(), &*delivery.payload), ("lab.results", &b"run 7"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A subscription drops the newest messages when it is read too slowly, and counts them; what happens to the connection is
//! told by [`Broker::events`].

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

pub use broker::{Broker, Publish, RawMessage};
pub use error::{BrokerError, BrokerErrorKind};
pub use event::{BreakCause, Event, EventHub, EventStream};
pub use memory::{MemoryBroker, MemoryBrokerBuilder};
pub use nats::NatsBroker;
pub use observe::{CONNECTIONS, MESSAGES_DROPPED, RECONNECTS, SERVER_ERRORS, describe_metrics};
pub use options::ConnectOptions;
pub use subject::{MAX_NAME_LEN, QueueGroup, Subject, SubjectError, SubjectFault, SubjectFilter};
pub use subscription::{Feed, Subscription, SubscriptionLimits};
