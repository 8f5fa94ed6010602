//! A sensor sends its readings; `dashboard` shows them.
//!
//! Run `cargo run --example dashboard` in one terminal and `cargo run --example sensor -- kitchen` in another.
//! `sensor NAME COUNT` ends after that many readings. The server comes from `NATS_URL`.
#![allow(clippy::print_stdout, reason = "an example speaks by printing")]

use std::env;
use std::error::Error;
use std::time::Duration;

use natsbridge::{Bridge, Config};
use serde::Serialize;

#[derive(Serialize)]
struct Reading {
    number: u32,
    celsius: f64,
}

/// The sensor that this example has instead of one: between 18 and 24 °C, up and down once a minute
fn measured(number: u32) -> f64 {
    let celsius = 21.0 + 3.0 * (f64::from(number) / 60.0 * std::f64::consts::TAU).sin();
    (celsius * 10.0).round() / 10.0
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let name = args.next().ok_or("name the sensor: sensor NAME [COUNT]")?;
    let count = args.next().map_or(Ok(u32::MAX), |count| count.parse())?;

    let bridge = Bridge::connect(Config::from_env()?.sender_name(&name)).await?;
    let subject = format!("sensors.{name}");
    let mut pause = tokio::time::interval(Duration::from_secs(1) / 10);
    for number in 0..count {
        pause.tick().await;
        let reading = Reading { number, celsius: measured(number) };
        bridge.message(&subject).dictionary("reading", &reading).send().await?;
    }
    println!("sent {count} readings");
    // What was sent leaves before the program does.
    Ok(bridge.drain().await?)
}
