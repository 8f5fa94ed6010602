//! File servers behind a link: stores that keep a payload, the one fetcher that follows links, and an embedded server.
//!
//! [`Uploader`] and [`Downloader`] are the two traits everything else is written against. Any link from an envelope is
//! an address from a stranger: follow it with [`Fetcher`] and nothing else.
//!
//! | you have | take |
//! |---|---|
//! | a Plik, or `natsbridge serve` | [`PlikStore`] |
//! | an S3, Google or Azure bucket | `BucketStore` (features `s3`, `gcs`, `azure`) |
//! | a server that takes `PUT` | [`HttpStore`] |
//! | a function | [`upload_handler`] and [`download_handler`] |
//! | something else | an [`Uploader`] of your own; `contract` (a feature) has the suite that tests it |
//! | a test | [`MemoryStore`] |
//!
//! ```
//! use natsbridge_core::{Link, Object, PayloadType, Source};
//! use natsbridge_fileserver::{Downloader as _, MemoryStore, Target, Uploader as _};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let store = MemoryStore::new();
//! let object = Object::new("film", PayloadType::Video, 3);
//! let stored = store.upload(&object, &Source::Bytes(vec![1, 2, 3].into())).await?;
//!
//! let link = Link::new("film", &*stored.uploaded.url);
//! let found = store.download(&link, Target::Memory).await?;
//! assert_eq!(found.sha256, stored.uploaded.sha256);
//!
//! store.delete(&stored.receipt).await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod body;
mod breaker;
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
mod bucket;
mod checksum;
mod clean_up;
mod client;
#[cfg(feature = "contract")]
pub mod contract;
mod error;
mod error_response;
mod fetch;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod growing;
mod handler;
mod head;
mod http;
mod lifetime;
mod memory;
mod observe;
mod plik;
mod plik_wire;
mod policy;
mod retry;
mod roots;
mod secrets;
#[cfg(feature = "server")]
pub mod server;
mod sink;
mod status;
mod store;
mod transfer;
mod upload;
mod verdict;
mod worker;
mod wrong_protocol;

pub use breaker::BreakerPolicy;
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
pub use bucket::{BucketStore, BucketStoreBuilder};
pub use error::{BoxError, ConfigError, FetchError, FetchErrorKind, StoreError, StoreErrorKind};
pub use fetch::{Fetcher, FetcherBuilder};
pub use handler::{download_handler, upload_handler};
pub use head::LinkStatus;
pub use http::{HttpStore, HttpStoreBuilder};
pub use lifetime::{ExpiryRule, LifetimeRules, OneShotRule};
pub use memory::MemoryStore;
pub use plik::{PlikStore, PlikStoreBuilder};
pub use policy::Origin;
pub use retry::RetryPolicy;
pub use roots::RootCertificates;
pub use store::{Downloader, Receipt, Stored, Target, Uploader};

/// The README's example compiles
#[cfg(all(doctest, feature = "server"))]
#[doc = include_str!("../README.md")]
mod readme {}
