//! The claim check pattern over NATS: programs in different languages send each other named payloads, small ones inside the
//! message, large ones by link.
//!
//! A message is a list of named payloads: text, dictionaries, tables, images, audio, video, files. Payloads below 0.5 MB
//! travel inside it; larger ones are uploaded to a file server, and the message has their link. The receiver gets the same
//! list back. Programs in Python, JavaScript, Julia, Dart and MicroPython speak the same wire, which
//! `docs/specification.md` describes.
//!
//! # Send and receive
//!
//! A [`Bridge`] is a connection to NATS and a file server. [`Bridge::connect`] reaches real ones, [`Config::from_env`] reads
//! where they are; here and in your tests a [`MemoryBroker`] stands in for them.
//!
//! ```
//! use natsbridge::{Bridge, Config, MemoryBroker};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Reading {
//!     sensor: String,
//!     celsius: f64,
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let bridge = Bridge::with_broker(MemoryBroker::new(), Config::default())?;
//! let mut messages = bridge.subscribe("lab.>").await?;
//!
//! let readings = [Reading { sensor: "roof".to_owned(), celsius: 8.5 }];
//! bridge.message("lab.results").text("note", "run 7").rows("readings", &readings).send().await?;
//!
//! let message = messages.next().await.expect("the subscription goes on")?;
//! assert_eq!(message.text("note")?, "run 7");
//! assert_eq!(message.get::<Vec<Reading>>("readings")?[0].sensor, "roof");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`MessageBuilder`] has a method for each payload type, [`Message`] the ways to read them. A message that can't be read is an item
//! with an error ([`Error::Unreadable`]); the next one follows. Every [`Error`] names its payload and has a stable
//! [`code`](Error::code), the same word in every language.
//!
//! # Large payloads
//!
//! The program has no code for this. NATSBridge decides by size what travels as a link, for the whole message and before
//! anything is uploaded, so that the message fits the connected server to the byte. By default the file server is the one at `FILESERVER_URL`, a
//! Plik or `natsbridge serve`; [`Config::uploader`] takes any other [`Uploader`](store::Uploader): a bucket, plain
//! HTTP, a closure ([`upload_handler`](store::upload_handler)). Uploads and downloads stream, are retried, and are compared with their SHA-256 before anything is
//! handed out. [`Config::on_progress`] and [`MessageBuilder::on_progress`] tell how many bytes are done.
//!
//! A [`Subscriber`] downloads links ahead and in order. A [`lazy`](Subscriber::lazy) one downloads a link only when its
//! [`Payload`] is asked for the value, or saves it to a file without holding it in memory:
//!
//! ```
//! use std::sync::Arc;
//!
//! use natsbridge::store::MemoryStore;
//! use natsbridge::{Bridge, Config, MemoryBroker, Transport};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let store = Arc::new(MemoryStore::new());
//! let config = Config::default().uploader(Arc::clone(&store)).downloader(store);
//! let bridge = Bridge::with_broker(MemoryBroker::new(), config)?;
//! let mut messages = bridge.subscribe("films").await?.lazy();
//!
//! bridge.message("films").video("clip", vec![0; 2_000_000]).send().await?;
//!
//! let message = messages.next().await.expect("the subscription goes on")?;
//! let clip = message.payload("clip")?;
//! assert_eq!((clip.transport(), clip.size()), (Transport::Link, Some(2_000_000)));
//! let folder = tempfile::tempdir()?;
//! let saved = clip.save(folder.path()).await?;
//! assert_eq!(saved.size, 2_000_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What must not be lost
//!
//! Core NATS drops a message without a subscriber, and one that a subscriber was too slow for. [`MessageBuilder::deliver`]
//! sends it again until it is acknowledged, and [`Message::ack`] acknowledges. A repeat of an acknowledged message is not
//! handed out again. Here half of all messages are lost on the way:
//!
//! ```
//! use std::time::Duration;
//!
//! use natsbridge::{Bridge, Config, DeliverOptions, MemoryBroker};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let broker = MemoryBroker::builder().drop(0.5).seed(7).build();
//! let bridge = Bridge::with_broker(broker, Config::default())?;
//! let mut messages = bridge.subscribe("orders").await?;
//! let receiver = tokio::spawn(async move {
//!     while let Some(Ok(message)) = messages.next().await {
//!         message.ack().await?;
//!     }
//!     Ok::<(), natsbridge::Error>(())
//! });
//!
//! let often = DeliverOptions::default().pauses(Duration::from_millis(1), Duration::from_millis(10));
//! bridge.message("orders").dictionary("order", 17).deliver(&often).await?;
//! # bridge.drain().await?;
//! # receiver.await??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Less costly: [`MessageBuilder::send_confirmed`] waits until the server has processed the message, and [`Subscriber::losses`] counts
//! what is missing by the senders' own numbers.
//!
//! # Requests and replies
//!
//! [`MessageBuilder::request`] waits for one reply, [`Message::reply`] begins one, and [`Bridge::serve`] replies to each message
//! with what an async function returns; [`Bridge::serve_typed`] goes from a type of yours to another.
//!
//! # With a NATS connection of your own
//!
//! [`smartsend`] makes the JSON to publish, and [`smartreceive`] reads what arrived: the same two functions as in the other
//! languages. They know no connection.
//!
//! # Testing
//!
//! [`MemoryBroker`] speaks subjects, wildcards and queue groups, and loses, repeats and overtakes messages on demand, by a
//! seed. [`MemoryStore`](store::MemoryStore) is a file server without one. Neither opens a socket. The example `testing` shows both in tests.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `arrow` (on) | `arrowtable` payloads as [`Table`]s of record batches; without it tables are `jsontable`s |
//! | `compression` (on) | Arrow tables that another program compressed with LZ4 or ZSTD; needs a C compiler |
//! | `nkeys` (on) | login with nkeys and credentials files |
//! | `websockets` (on) | NATS servers at `ws://` and `wss://` |
//! | `s3`, `gcs`, `azure` | a bucket as the file server, `BucketStore` |
//! | `server` | the embedded file server, module `server` |
//! | `otel` | W3C trace context in each message |
//!
//! Programs that log through `tracing` see every message's fields; [`describe_metrics`](metrics::describe_metrics) tells a `metrics` recorder what is
//! counted. Which room a name lives in is in `docs/architecture.md`.

mod bridge;
mod builder;
mod config;
mod deliver;
pub mod error;
mod files;
mod observe;
mod parts;
mod progress;
mod receive;
mod reply;
mod send;
mod sequence;
mod serve;
mod setters;
mod smart;
mod stores;
mod subscriber;
#[cfg(feature = "otel")]
mod trace;

pub use bridge::Bridge;
pub use builder::MessageBuilder;
pub use config::Config;
pub use deliver::{DeliverOptions, Delivered};
pub use error::{Error, ErrorKind};
pub use progress::{Direction, Progress};
pub use receive::losses::Losses;
pub use receive::payload::{Payload, Saved};
pub use reply::{HandlerError, Reply};
pub use serve::{ServeOptions, Service};
pub use smart::{Data, ReceiveOptions, Received, SendOptions, open, smartreceive, smartsend};
pub use subscriber::Subscriber;
pub use subscriber::message::Message;
#[cfg(feature = "otel")]
pub use trace::trace_context;

#[cfg(feature = "arrow")]
pub use natsbridge_core::Table;
pub use natsbridge_core::{LinkLifetime, Metadata, PayloadType, Purpose, ReceiverKind, Rows, Transport, Value};
#[cfg(feature = "server")]
pub use natsbridge_fileserver::server;
pub use natsbridge_nats::{ConnectOptions, MemoryBroker, Subject};

/// The envelope as it travels: header, payloads, and the limits that a plan keeps
pub mod wire {
    pub use natsbridge_core::{
        CodecError, Encoding, Envelope, EnvelopeError, Header, JsonText, JsonView, Limits, Part, Payload, PayloadError,
        PlanError, ReceivePolicy, harmless, redacted, shown,
    };
}

/// File servers: stores to upload to, downloads that are safe, and what is needed to write a store of one's own
pub mod store {
    pub use crate::receive::unfinished::remove_unfinished;
    pub use natsbridge_core::{Digest, Downloaded, Link, Object, ParseDigestError, Source, Uploaded};
    pub use natsbridge_fileserver::{
        BoxError, BreakerPolicy, ConfigError, Downloader, ExpiryRule, FetchError, FetchErrorKind, Fetcher,
        FetcherBuilder, HttpStore, HttpStoreBuilder, LifetimeRules, LinkStatus, MemoryStore, OneShotRule, Origin,
        PlikStore, PlikStoreBuilder, Receipt, RetryPolicy, RootCertificates, StoreError, StoreErrorKind, Stored,
        Target, Uploader, download_handler, upload_handler,
    };
    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    pub use natsbridge_fileserver::{BucketStore, BucketStoreBuilder};
}

/// Connections: NATS, the broker in memory, and what is needed to write a broker of one's own
pub mod broker {
    pub use natsbridge_nats::{
        Broker, BrokerError, BrokerErrorKind, ConnectOptions, Event, EventHub, EventStream, Feed, MemoryBroker,
        MemoryBrokerBuilder, NatsBroker, Publish, QueueGroup, RawMessage, Subject, SubjectError, SubjectFilter,
        Subscription, SubscriptionLimits,
    };
}

/// Names of the counters and histograms that this library keeps for a `metrics` recorder
pub mod metrics {
    pub use crate::observe::{
        ACKS_SENT, DELIVERIES_FAILED, DOWNLOAD_RETRY_EXCEEDED, FILE_DOWNLOAD_DURATION, FILE_UPLOAD_DURATION,
        MESSAGE_DUPLICATES, MESSAGE_GAPS, MESSAGES_RECEIVED, MESSAGES_REORDERED, MESSAGES_REPEATED, MESSAGES_SENT,
        MESSAGES_UNREADABLE, NACKS_SENT, RETRY_ATTEMPTS, count_unreadable, describe_metrics,
    };
    pub use natsbridge_nats::{MESSAGES_DROPPED, RECONNECTS, SERVER_ERRORS};
}

/// The parts of Arrow that tables are made of, in the version that this library uses
#[cfg(feature = "arrow")]
pub mod arrow {
    pub use arrow_array as array;
    pub use arrow_schema as schema;
    pub use natsbridge_core::TableLimits;
}

/// The examples of both READMEs compile
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../../../README.md")]
mod readme {}
