//! An Arrow table out and in
use std::sync::Arc;

use natsbridge::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use natsbridge::{Bridge, Config};

#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bridge = Bridge::connect(Config::from_env()?).await?;
    let mut subscriber = bridge.subscribe("lab.tables").await?;
    let t: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let volts: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5]));
    let batch = RecordBatch::try_from_iter([("t", t), ("volts", volts)])?;
    bridge.message("lab.tables").table("readings", batch).send().await?;
    if let Some(message) = subscriber.next().await {
        let message = message?;
        let table = message.payload("readings")?.table().await?;
        for batch in table.batches() {
            println!(
                "{} rows, columns {:?}",
                batch.num_rows(),
                batch.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
            );
        }
    }
    Ok(())
}
