//! Declares the crate's rooms and the names it gives out.
pub mod nats_server;
