//! A dashboard shows what the sensors send: the last reading, the mean, and how many were lost on the way.
//!
//! Run `cargo run --example dashboard`, then a `sensor` or several. `dashboard COUNT` ends after that many readings. The
//! server comes from `NATS_URL`.
#![allow(clippy::print_stdout, reason = "a dashboard is shown by printing")]

use std::collections::BTreeMap;
use std::env;
use std::error::Error;

use natsbridge::{Bridge, Config};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reading {
    celsius: f64,
}

#[derive(Default)]
struct Row {
    readings: u32,
    sum: f64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let count = env::args().nth(1).map_or(Ok(u32::MAX), |count| count.parse())?;
    let bridge = Bridge::connect(Config::from_env()?).await?;
    let mut inbox = bridge.subscribe("sensors.*").await?;
    bridge.confirm().await?;
    println!("{:<12} {:>9} {:>9} {:>9} {:>6}", "sensor", "readings", "last °C", "mean °C", "lost");

    let mut rows = BTreeMap::<String, Row>::new();
    for _ in 0..count {
        let Some(message) = inbox.next().await else { break };
        let message = message?;
        let reading: Reading = message.get("reading")?;
        let sensor = message.header().sender_name().to_owned();
        let row = rows.entry(sensor.clone()).or_default();
        row.readings += 1;
        row.sum += reading.celsius;
        let mean = row.sum / f64::from(row.readings);
        // Senders number their messages, so the receiver knows what is missing.
        let lost = inbox.losses().missing;
        println!("{sensor:<12} {:>9} {:>9.1} {mean:>9.1} {lost:>6}", row.readings, reading.celsius);
    }
    Ok(bridge.drain().await?)
}
