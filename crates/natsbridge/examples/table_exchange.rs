//! An Arrow table goes to Python, and the means come back as another one.
//!
//! Start the Python half first, `python table_exchange.py` in this folder (its first lines say what it needs), then run
//! `cargo run --example table_exchange`. Servers come from `NATS_URL` and `FILESERVER_URL`.
#![allow(clippy::print_stdout, reason = "an example speaks by printing")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use natsbridge::{Bridge, Config};
use serde::Deserialize;

#[derive(Deserialize)]
struct Mean {
    sensor: String,
    celsius: f64,
}

/// 100,000 readings of three sensors: large enough to travel as a link
fn readings() -> Result<RecordBatch, Box<dyn Error>> {
    const SENSORS: [(&str, f64); 3] = [("cellar", 12.0), ("kitchen", 21.0), ("roof", 8.0)];
    let rows = SENSORS.iter().cycle().take(100_000);
    let sensor: ArrayRef = Arc::new(StringArray::from_iter_values(rows.clone().map(|(sensor, _)| sensor)));
    // Half a degree above and below in turn, so that the means are known.
    let half = [0.5, 0.5, 0.5, -0.5, -0.5, -0.5].iter().cycle();
    let celsius: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.zip(half).map(|((_, mean), off)| mean + off)));
    Ok(RecordBatch::try_from_iter([("sensor", sensor), ("celsius", celsius)])?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bridge = Bridge::connect(Config::from_env()?).await?;
    let answer = bridge.message("tables.means").table("readings", readings()?).request(Duration::from_secs(30)).await?;

    // Columns and types as Python had them …
    let means = answer.table("means")?;
    println!("{} rows, {} columns", means.num_rows(), means.num_columns());
    // … or rows of a type of one's own.
    for Mean { sensor, celsius } in answer.get::<Vec<Mean>>("means")? {
        println!("{sensor:<8} {celsius:.2}");
    }
    Ok(bridge.drain().await?)
}
