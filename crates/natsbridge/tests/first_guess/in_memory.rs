//! What a test of one's own program looks like: no server, two bridges
use natsbridge::{Bridge, Config, MemoryBroker};

async fn greet(bridge: &Bridge, name: &str) -> Result<(), natsbridge::Error> {
    bridge.message("hello").text("greeting", format!("hello, {name}")).send().await?;
    Ok(())
}

#[tokio::main]
pub async fn main() -> Result<(), natsbridge::Error> {
    let broker = MemoryBroker::new();
    let sender = Bridge::with_broker(broker.clone(), Config::default().sender_name("a"))?;
    let receiver = Bridge::with_broker(broker, Config::default().sender_name("b"))?;
    let mut greetings = receiver.subscribe("hello").await?;
    greet(&sender, "Ada").await?;
    if let Some(message) = greetings.next().await {
        let message = message?;
        assert_eq!(message.text("greeting")?, "hello, Ada");
        println!("{} from {}", message.text("greeting")?, message.sender_name());
    }
    Ok(())
}
