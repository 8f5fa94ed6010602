//! A subscriber is a stream; `?` works on what it yields
use futures_util::StreamExt as _;
use natsbridge::{Bridge, Config};

#[tokio::main]
pub async fn main() -> Result<(), natsbridge::Error> {
    let bridge = Bridge::connect(Config::from_env()?).await?;
    let mut messages = bridge.subscribe("lab.>").await?.take(3);
    while let Some(message) = messages.next().await {
        println!("{}", message?.text("note")?);
    }
    bridge.drain().await
}
