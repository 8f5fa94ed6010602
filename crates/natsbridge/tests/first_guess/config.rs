//! Settings by setters, as builders have them everywhere
use natsbridge::{Bridge, Config};

#[tokio::main]
pub async fn main() -> Result<(), natsbridge::Error> {
    let config = Config::new("nats://localhost:4222")
        .fileserver_url("http://localhost:8080")
        .sender_name("lab")
        .size_threshold(100_000);
    let bridge = Bridge::connect(config).await?;
    bridge.message("lab.results").text("note", "run 7").send().await?;
    Ok(())
}
