//! The receiving half of the contract, with a NATS connection of one's own
use futures_util::StreamExt as _;
use natsbridge::{PayloadType, ReceiveOptions, SendOptions, smartreceive, smartsend};

#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("NATS_URL").unwrap_or("nats://localhost:4222".to_owned());
    let client = async_nats::connect(url).await?;
    let mut subscriber = client.subscribe("lab.results").await?;
    let (_, json) = smartsend("lab.results", [("note", "hi", PayloadType::Text)], &SendOptions::default()).await?;
    client.publish("lab.results", json.into()).await?;
    if let Some(message) = subscriber.next().await {
        let received = smartreceive(&message.payload, &ReceiveOptions::default()).await?;
        for (name, value, payload_type) in received.payloads() {
            println!("{name} {payload_type} {value:?}");
        }
    }
    Ok(())
}
