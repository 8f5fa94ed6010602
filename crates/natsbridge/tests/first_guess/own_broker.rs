//! A broker of one's own: counts what is published, and hands all else on
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use natsbridge::broker::{
    Broker, BrokerError, EventStream, MemoryBroker, Publish, QueueGroup, RawMessage, SubjectFilter, Subscription,
};
use natsbridge::{Bridge, Config, Subject};

#[derive(Debug, Default)]
struct Counting {
    inner: MemoryBroker,
    published: Arc<AtomicU64>,
}

impl Broker for Counting {
    fn publish(&self, message: Publish) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.published.fetch_add(1, Ordering::Relaxed);
        self.inner.publish(message)
    }

    fn confirm(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.inner.confirm()
    }

    fn publish_confirmed(&self, message: Publish) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.published.fetch_add(1, Ordering::Relaxed);
        self.inner.publish_confirmed(message)
    }

    fn subscribe(
        &self,
        filter: SubjectFilter,
        group: Option<QueueGroup>,
    ) -> BoxFuture<'_, Result<Subscription, BrokerError>> {
        self.inner.subscribe(filter, group)
    }

    fn request(&self, message: Publish, timeout: Duration) -> BoxFuture<'_, Result<RawMessage, BrokerError>> {
        self.inner.request(message, timeout)
    }

    fn new_inbox(&self) -> Subject {
        self.inner.new_inbox()
    }

    fn max_payload(&self) -> u64 {
        self.inner.max_payload()
    }

    fn server_url(&self) -> String {
        self.inner.server_url()
    }

    fn events(&self) -> EventStream {
        self.inner.events()
    }

    fn drain(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.inner.drain()
    }
}

#[tokio::main]
pub async fn main() -> Result<(), natsbridge::Error> {
    let broker = Counting::default();
    let published = broker.published.clone();
    let bridge = Bridge::with_broker(broker, Config::default())?;
    let mut subscriber = bridge.subscribe("lab").await?;
    bridge.message("lab").text("note", "hi").send().await?;
    if let Some(message) = subscriber.next().await {
        println!("{} after {} published", message?.text("note")?, published.load(Ordering::Relaxed));
    }
    Ok(())
}
