//! The envelope's JSON: its writer and its reader.

pub(crate) mod read;
pub(crate) mod write;
