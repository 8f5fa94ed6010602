//! What went wrong, told apart by its kind
use std::time::Duration;

use natsbridge::{Bridge, Config, Error, ErrorKind};

fn advice(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::NoResponders => "start the service",
        ErrorKind::TimedOut => "wait longer",
        ErrorKind::NoSuchPayload => "check the payload's name",
        _ if error.is_retryable() => "try again later",
        _ => "read the message",
    }
}

#[tokio::main]
pub async fn main() -> Result<(), Error> {
    let bridge = Bridge::connect(Config::from_env()?).await?;
    let mut subscriber = bridge.subscribe("lab.notes").await?;
    if let Err(error) = bridge.message("nobody.home").text("note", "hi").request(Duration::from_secs(1)).await {
        println!("{}", advice(&error));
    }
    if let Err(error) = bridge.message("lab.notes").text("note", "hi").request(Duration::from_millis(100)).await {
        println!("{}", advice(&error));
    }
    if let Some(message) = subscriber.next().await {
        if let Err(error) = message?.text("nope") {
            println!("{} {:?}", advice(&error), error.dataname());
        }
    }
    Ok(())
}
