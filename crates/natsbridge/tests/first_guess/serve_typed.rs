//! The typed twin: from one serde type to another; `?` on a boxed error works
use natsbridge::{Bridge, Config, ServeOptions};

async fn double(number: u64) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    Ok(number * 2)
}

#[tokio::main]
pub async fn main() -> Result<(), natsbridge::Error> {
    let bridge = Bridge::connect(Config::from_env()?).await?;
    let service = bridge
        .serve_typed("math.double", ServeOptions::default(), async |number: u64| Ok(double(number).await?))
        .await?;
    service.ended().await
}
