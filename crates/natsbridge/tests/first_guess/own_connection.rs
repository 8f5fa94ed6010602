//! The contract with a NATS connection of one's own: plain values, no wrapper types
use natsbridge::{PayloadType, SendOptions, smartsend};

#[tokio::main]
pub async fn main() -> Result<(), natsbridge::Error> {
    let texts = vec![("note".to_owned(), "hi", PayloadType::Text), ("other".to_owned(), "ho", "text".parse()?)];
    let (_envelope, json) = smartsend("lab.results", texts, &SendOptions::default()).await?;
    println!("{} bytes", json.len());
    Ok(())
}
