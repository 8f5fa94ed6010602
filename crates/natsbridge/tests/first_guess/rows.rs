//! Typed rows, whichever of the two table types the sender chose
use natsbridge::{Bridge, Config};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Reading {
    t: i64,
    volts: f64,
}

#[tokio::main]
pub async fn main() -> Result<(), natsbridge::Error> {
    let bridge = Bridge::connect(Config::from_env()?).await?;
    let mut messages = bridge.subscribe("lab.tables").await?;
    if let Some(message) = messages.next().await {
        let readings: Vec<Reading> = message?.get("readings")?;
        let highest = readings.iter().map(|reading| reading.volts).fold(f64::MIN, f64::max);
        println!(
            "{} readings to t = {:?}, at most {highest} V",
            readings.len(),
            readings.last().map(|reading| reading.t)
        );
    }
    Ok(())
}
