//! Connections to NATS that move bytes, without looking inside them.
//!
//! Start with [`ConnectOptions`] for a server, or with [`MemoryBroker`] for a test. Both give a [`Broker`], so code that is
//! written for one runs with the other.
//!
//! ```
//! use natsbridge_nats::{Broker as _, MemoryBroker, Publish, Subject, SubjectFilter};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! // with a server: ConnectOptions::new("nats://localhost:4222").connect().await?
//! let broker = MemoryBroker::new();
//! let mut subscription = broker.subscribe(SubjectFilter::new("lab.*")?, None).await?;
//! broker.publish(Publish::new(Subject::new("lab.results")?, "run 7")).await?;
//! let message = subscription.next().await.expect("a message");
//! assert_eq!((message.subject.as_str(), &*message.payload), ("lab.results", &b"run 7"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A subscription that is read too slowly drops the newest messages, and counts them. [`Broker::events`] tells what happens
//! to the connection.
//!
//! Both features are on: `nkeys` logs in with nkeys and credentials files, `websockets` connects to `ws://` and `wss://`.

mod address;
mod auth;
mod broker;
mod error;
mod event;
mod harmless;
mod memory;
mod message;
mod nats;
mod observe;
mod options;
mod random;
mod setters;
mod subject;
mod subscription;

pub use broker::Broker;
pub use error::{BrokerError, BrokerErrorKind};
pub use event::{Event, EventHub, EventStream};
pub use memory::{MemoryBroker, MemoryBrokerBuilder};
pub use message::{Publish, RawMessage};
pub use nats::NatsBroker;
pub use observe::{MESSAGES_DROPPED, RECONNECTS, SERVER_ERRORS, describe_metrics};
pub use options::ConnectOptions;
pub use subject::{QueueGroup, Subject, SubjectError, SubjectFilter};
pub use subscription::{Feed, Subscription, SubscriptionLimits};

/// The README's example compiles
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
