//! Declares the crate's rooms and the names it gives out.

pub mod certificates;
pub mod fault_proxy;
pub mod nanio;
pub mod nats_server;
pub mod scripted_http;
pub mod tls;
