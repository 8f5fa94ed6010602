//! How to test a program that uses natsbridge: no server, no network, and failures on demand.
//!
//! Run `cargo test --example testing`. The program under test takes a `Bridge`, so a test can give it one whose broker
//! and store are in memory. `cargo run --example testing` runs it against the server of `NATS_URL`.
#![allow(clippy::print_stdout, reason = "an example speaks by printing")]

use std::error::Error;

use natsbridge::{Bridge, Config, Subscriber};

/// The program: keeps the larger of the numbers that come, until a message without one
async fn largest(mut inbox: Subscriber) -> Result<i64, natsbridge::Error> {
    let mut largest = i64::MIN;
    while let Some(Ok(message)) = inbox.next().await {
        let Ok(number) = message.get::<i64>("number") else { break };
        largest = largest.max(number);
        message.ack().await?;
    }
    Ok(largest)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bridge = Bridge::connect(Config::from_env()?).await?;
    let inbox = bridge.subscribe("numbers").await?;
    println!("the largest was {}", largest(inbox).await?);
    Ok(bridge.drain().await?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test code")]

    use std::sync::Arc;
    use std::time::Duration;

    use natsbridge::store::MemoryStore;
    use natsbridge::{DeliverOptions, MemoryBroker};

    use super::*;

    #[tokio::test]
    async fn largest_number_is_kept_though_half_of_the_messages_are_lost() {
        // What is lost is drawn from the seed: the same in each run.
        let broker = MemoryBroker::builder().drop(0.5).seed(7).build();
        let bridge = Bridge::with_broker(broker, Config::default()).unwrap();
        let program = tokio::spawn(largest(bridge.subscribe("numbers").await.unwrap()));
        let often = DeliverOptions::default().pauses(Duration::from_millis(1), Duration::from_millis(5));
        for number in [3, 9, 4] {
            bridge.message("numbers").dictionary("number", number).deliver(&often).await.unwrap();
        }
        bridge.drain().await.unwrap();
        assert_eq!(program.await.unwrap().unwrap(), 9);
    }

    #[tokio::test]
    async fn payload_too_large_for_the_broker_goes_to_the_store() {
        let store = Arc::new(MemoryStore::new());
        let config = Config::default().uploader(store.clone()).downloader(store.clone());
        let bridge = Bridge::with_broker(MemoryBroker::new(), config).unwrap();
        let mut inbox = bridge.subscribe("films").await.unwrap();
        bridge.message("films").video("clip", vec![0; 2_000_000]).send().await.unwrap();
        assert_eq!(store.len(), 1);
        let message = inbox.next().await.unwrap().unwrap();
        assert_eq!(message.bytes("clip").unwrap().len(), 2_000_000);
    }
}
