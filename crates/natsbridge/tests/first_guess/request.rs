//! A request whose failure is told apart by its kind
use std::time::Duration;

use natsbridge::{Bridge, Config, Error, ErrorKind};

async fn doubled(bridge: &Bridge, number: u64) -> Result<Option<u64>, Error> {
    match bridge.message("math.double").dictionary("number", number).request(Duration::from_secs(1)).await {
        Ok(reply) => Ok(Some(reply.get("number")?)),
        Err(error) if error.kind() == ErrorKind::NoResponders => Ok(None),
        Err(error) => Err(error),
    }
}

#[tokio::main]
pub async fn main() -> Result<(), Error> {
    let bridge = Bridge::connect(Config::from_env()?).await?;
    println!("{:?}", doubled(&bridge, 21).await?);
    Ok(())
}
