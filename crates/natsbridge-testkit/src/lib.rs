//! Declares the crate's rooms and the names it gives out.

#[cfg(feature = "servers")]
pub mod certificates;
#[cfg(feature = "servers")]
pub mod fault_proxy;
#[cfg(feature = "servers")]
pub mod nanio;
#[cfg(feature = "servers")]
pub mod nats_server;
pub mod process;
#[cfg(feature = "servers")]
pub mod scripted_http;
#[cfg(feature = "servers")]
pub mod tls;
