//! What NATSBridge costs, measured as ratios within one run: the measures, their opponents and how samples are taken.
//!
//! The program of this crate runs all of them for `cargo xtask bench`; `cargo bench` shows the codec's in detail.

pub mod allocations;
pub mod bounds;
pub mod bridge;
pub mod codec;
pub mod job;
pub mod large;
pub mod links;
pub mod live;
pub mod micro;
pub mod nats;
pub mod peers;
pub mod python;
pub mod report;
pub mod sample;
pub mod tables;
pub mod textbook;
pub mod typed;
pub mod workload;

/// Why a measure could not be taken; read by people only
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
