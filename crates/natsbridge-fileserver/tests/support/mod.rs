//! What the tests of stores and fetcher share.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::time::Duration;

use natsbridge_core::{Digest, Link, Object, PayloadType, Source};
use natsbridge_fileserver::{Fetcher, FetcherBuilder, Origin, PlikStore, PlikStoreBuilder, RetryPolicy};

/// The contract's five retries without its pauses
pub(crate) fn quick() -> RetryPolicy {
    RetryPolicy::default().base_delay(Duration::from_millis(2)).max_delay(Duration::from_millis(4))
}

pub(crate) fn fetcher() -> FetcherBuilder {
    Fetcher::builder().retry(quick()).idle_timeout(Duration::from_secs(5)).connect_timeout(Duration::from_secs(2))
}

pub(crate) fn plik(url: &str) -> PlikStoreBuilder {
    PlikStore::builder(url).retry(quick()).idle_timeout(Duration::from_secs(5)).connect_timeout(Duration::from_secs(2))
}

pub(crate) fn origin(url: &str) -> Origin {
    url.parse().unwrap()
}

/// Bytes that repeat at no power of two
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i ^ (i >> 8)) % 251).unwrap()).collect()
}

/// A link that says everything about these bytes
pub(crate) fn link(url: impl Into<String>, bytes: &[u8]) -> Link {
    let mut link = Link::new("clip", url);
    link.size = u64::try_from(bytes.len()).ok();
    link.sha256 = Some(Digest::of(bytes));
    link
}

pub(crate) fn object(bytes: &[u8]) -> Object {
    Object::new("clip", PayloadType::Binary, u64::try_from(bytes.len()).unwrap())
}

pub(crate) fn source(bytes: &[u8]) -> Source {
    Source::from(bytes.to_vec())
}

/// A server that is gone: its port is taken, so that nobody else listens there, and refuses every connection
pub(crate) struct Dead(tokio::net::TcpSocket);

pub(crate) fn dead() -> Dead {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    Dead(socket)
}

impl Dead {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }
}

/// Every level of an error, as a chain printer shows it
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// What is logged at `warn` and above, as text
#[derive(Clone, Default)]
pub(crate) struct Captured(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Captured {
    /// Captures until the guard is dropped, on this thread
    pub(crate) fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
