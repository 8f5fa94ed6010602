//! File servers behind a link: stores that keep a payload, the one fetcher that follows links, and an embedded server.
//!
//! [`Uploader`] and [`Downloader`] are the two traits everything else is written against. Any link from an envelope is
//! an address from a stranger: follow it with [`Fetcher`] and nothing else.

mod answer;
mod body;
mod breaker;
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
mod bucket;
mod client;
#[cfg(feature = "contract")]
pub mod contract;
mod error;
mod fetch;
mod glance;
mod handler;
mod http;
mod memory;
mod observe;
mod plik;
mod plik_wire;
mod policy;
mod retry;
#[cfg(feature = "server")]
pub mod server;
mod sink;
mod status;
mod store;
mod transfer;
mod upload;

pub use breaker::BreakerPolicy;
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
pub use bucket::{BucketStore, BucketStoreBuilder};
pub use error::{BoxError, ConfigError, FetchError, FetchErrorKind, StoreError, StoreErrorKind};
pub use fetch::{Fetcher, FetcherBuilder};
pub use glance::Glance;
pub use handler::{download_handler, upload_handler};
pub use http::{HttpStore, HttpStoreBuilder};
pub use memory::MemoryStore;
pub use plik::{PlikStore, PlikStoreBuilder};
pub use policy::Origin;
pub use retry::RetryPolicy;
pub use store::{Downloader, Receipt, Stored, Target, Uploader};
