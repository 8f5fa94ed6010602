//! What arrived, on its way to its reader: payloads, their downloads and files, and the messages that wait in order.

pub(crate) mod ahead;
pub(crate) mod losses;
pub(crate) mod payload;
pub(crate) mod read;
pub(crate) mod save;
mod suffix;
pub(crate) mod transfer;
pub(crate) mod unfinished;
pub(crate) mod window;
