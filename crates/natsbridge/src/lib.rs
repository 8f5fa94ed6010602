//! Send anything between programs in different languages over NATS: small payloads inside the message, large ones by
//! link.
//!
//! [`smartsend`] and [`smartreceive`] are the contract shared with the other languages; the caller moves the JSON.
//! [`Bridge`] does the whole job. Which room a name lives in is in `docs/architecture.md`.

mod bridge;
mod config;
mod deliver;
mod draft;
mod error;
mod fetcher;
mod handle;
mod inbox;
mod observe;
mod perform;
mod save;
mod sequence;
mod serve;
mod smart;
#[cfg(feature = "otel")]
mod trace;
mod window;

pub use bridge::Bridge;
pub use config::{Config, ConfigError, Secret};
pub use deliver::{DeliverOptions, Delivered, DeliveryError};
pub use draft::Draft;
pub use error::{Error, ReceiveError};
pub use handle::{Handle, Saved};
pub use inbox::{Inbox, Incoming};
pub use observe::{
    ACKS_SENT, DELIVERIES_FAILED, DOWNLOAD_RETRY_EXCEEDED, FILE_DOWNLOAD_DURATION, FILE_UPLOAD_DURATION,
    MESSAGE_DUPLICATES, MESSAGE_GAPS, MESSAGES_RECEIVED, MESSAGES_REORDERED, MESSAGES_REPEATED, MESSAGES_SENT,
    MESSAGES_UNREADABLE, NACKS_SENT, RETRY_ATTEMPTS, describe_metrics,
};
pub use sequence::Losses;
pub use serve::{Failure, ServeOptions, Service};
pub use smart::{Data, ReceiveOptions, Received, SendOptions, open, smartreceive, smartsend};
#[cfg(feature = "otel")]
pub use trace::trace_context;

pub use natsbridge_core::{
    Checks, CodecError, Digest, Downloaded, Encoding, Envelope, EnvelopeError, Header, Life, Limits, Link, Metadata,
    Object, OpenError, OpenFault, Part, Payload, PayloadFault, PayloadType, PlanError, Purpose, Receiver, Rows, Source,
    Transport, Uploaded, Value, redacted,
};
#[cfg(feature = "arrow")]
pub use natsbridge_core::{Table, TableLimits};
#[cfg(feature = "server")]
pub use natsbridge_fileserver::server;
pub use natsbridge_fileserver::{
    BoxError, Downloader, FetchError, FetchErrorKind, Fetcher, Glance, HttpStore, MemoryStore, Origin, PlikStore,
    Receipt, RetryPolicy, StoreError, StoreErrorKind, Stored, Target, Uploader, download_handler, upload_handler,
};
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
pub use natsbridge_fileserver::{BucketStore, BucketStoreBuilder};
pub use natsbridge_nats::{
    Broker, BrokerError, BrokerErrorKind, ConnectOptions, Delivery, Event, EventStream, MemoryBroker, NatsBroker,
    Outgoing, QueueGroup, Subject, SubjectError, SubjectFault, SubjectFilter, Subscription,
};

/// The README's examples compile
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}
