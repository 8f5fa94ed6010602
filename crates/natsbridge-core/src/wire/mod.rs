//! The envelope's JSON: its writer and its reader.

mod read;
pub(crate) mod scan;
pub(crate) mod write;
