//! A service that reads several payloads and answers with a table; any error becomes a NACK
use natsbridge::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use natsbridge::{Bridge, Config, HandlerError, Message, Reply, ServeOptions};
use std::sync::Arc;

async fn measure(message: Message) -> Result<Reply, HandlerError> {
    let mut names = Vec::new();
    let mut sizes = Vec::new();
    for image in message.payloads() {
        names.push(image.name().to_owned());
        sizes.push(i64::try_from(image.bytes().await?.len())?);
    }
    let columns: [(&str, ArrayRef); 2] =
        [("name", Arc::new(StringArray::from(names))), ("bytes", Arc::new(Int64Array::from(sizes)))];
    Ok(Reply::new().text("note", "measured").table("sizes", RecordBatch::try_from_iter(columns)?))
}

#[tokio::main]
pub async fn main() -> Result<(), natsbridge::Error> {
    let bridge = Bridge::connect(Config::from_env()?).await?;
    let service = bridge.serve("vision.measure", ServeOptions::default().concurrency(8), measure).await?;
    tokio::signal::ctrl_c().await.ok();
    service.stop().await
}
