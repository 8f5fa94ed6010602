//! Acknowledges what can be used and refuses the rest with a reason
use std::time::Duration;

use natsbridge::{Bridge, Config, DeliverOptions, HandlerError};

#[tokio::main]
pub async fn main() -> Result<(), natsbridge::Error> {
    let bridge = Bridge::connect(Config::from_env()?).await?;
    let mut numbers = bridge.subscribe("numbers").await?;
    tokio::spawn(async move {
        while let Some(message) = numbers.next().await {
            let message = message?;
            match message.get::<u64>("number") {
                Ok(_) => message.ack().await?,
                Err(error) => message.nack(HandlerError::new(error.to_string()).permanent()).await?,
            }
        }
        Ok::<_, natsbridge::Error>(())
    });
    let options = DeliverOptions::default().deadline(Duration::from_secs(5));
    bridge.message("numbers").dictionary("number", 7).deliver(&options).await?;
    println!("delivered");
    if let Err(error) = bridge.message("numbers").dictionary("number", "seven").deliver(&options).await {
        println!("{:?} {}", error.kind(), error.code());
    }
    Ok(())
}
