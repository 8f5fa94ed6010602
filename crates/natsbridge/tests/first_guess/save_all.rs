//! Saves every payload of a message, two of one name too
use natsbridge::{Bridge, Config, PayloadType};

#[tokio::main]
pub async fn main() -> Result<(), natsbridge::Error> {
    let bridge = Bridge::connect(Config::from_env()?).await?;
    let mut subscriber = bridge.subscribe("lab.files").await?;
    bridge
        .message("lab.files")
        .data("page", "one", PayloadType::Text)
        .data("page", String::from("two"), PayloadType::Text)
        .data("blob", vec![1, 2, 3], PayloadType::Binary)
        .send()
        .await?;
    if let Some(message) = subscriber.next().await {
        let message = message?;
        for payload in message.payloads() {
            let saved = payload.save("saved").await?;
            println!("{} {} bytes", saved.path.file_name().unwrap_or_default().display(), saved.size);
        }
    }
    Ok(())
}
