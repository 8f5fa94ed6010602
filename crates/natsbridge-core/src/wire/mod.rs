//! The envelope's JSON: its writer and its reader.

mod read;
mod scan;
pub(crate) mod write;
