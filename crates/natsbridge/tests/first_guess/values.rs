//! A loop over payloads, by reference; names may repeat, each payload is its own
use natsbridge::{Bridge, Config, Value};

async fn show(bridge: &Bridge) -> Result<(), natsbridge::Error> {
    let mut messages = bridge.subscribe("lab.>").await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        for payload in message.payloads() {
            match payload.value().await? {
                Value::Text(text) => println!("{}: {text}", payload.name()),
                Value::Bytes(bytes) => println!("{}: {} bytes", payload.name(), bytes.len()),
                other => println!("{}: {other:?}", payload.name()),
            }
        }
    }
    Ok(())
}

#[tokio::main]
pub async fn main() -> Result<(), natsbridge::Error> {
    show(&Bridge::connect(Config::from_env()?).await?).await
}
