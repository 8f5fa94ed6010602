//! Values to serialised bytes and back, one file per family of payload types.

#[cfg(feature = "arrow")]
mod table;

#[cfg(feature = "arrow")]
pub use table::{Table, TableLimits};
