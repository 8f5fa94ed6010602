//! A large file travels as a link, and both ends show how far it is; neither holds it in memory.
//!
//! Run `cargo run --example large_file -- receive FOLDER` in one terminal and `cargo run --example large_file -- send FILE`
//! in another. Servers come from `NATS_URL` and `FILESERVER_URL` (`cargo xtask up` starts both).
#![allow(clippy::print_stdout, reason = "progress is shown by printing")]

use std::env;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use natsbridge::{Bridge, Config, DeliverOptions, Payload, PayloadType, Saved};

/// How often progress is shown
const TICK: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let bridge = Bridge::connect(Config::from_env()?).await?;
    match args.as_slice() {
        ["send", file] => send(&bridge, Path::new(file)).await?,
        ["receive", folder] => receive(&bridge, Path::new(folder)).await?,
        _ => return Err("usage: large_file send FILE | large_file receive FOLDER".into()),
    }
    Ok(bridge.drain().await?)
}

/// Sends until the receiver has the whole file, then the upload is deleted
async fn send(bridge: &Bridge, file: &Path) -> Result<(), Box<dyn Error>> {
    let name = file.file_name().ok_or("this is no file")?.to_string_lossy();
    let started = Instant::now();
    let message = bridge.message("files.large").file(name.clone(), PayloadType::Binary, file);
    let options = DeliverOptions::default().deadline(Duration::from_secs(600));
    let mut delivered = std::pin::pin!(message.deliver(&options));
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            outcome = &mut delivered => {
                outcome?;
                println!("{name} was received");
                return Ok(());
            }
            _ = ticks.tick() => println!("sending {name} for {:.1} s", started.elapsed().as_secs_f64()),
        }
    }
}

/// Receives one message and saves its files
async fn receive(bridge: &Bridge, folder: &Path) -> Result<(), Box<dyn Error>> {
    // Lazy: a link stays one until it is saved, straight to the disk.
    let mut inbox = bridge.subscribe("files.large").await?.lazy();
    bridge.confirm().await?;
    println!("waiting for a file");
    let Some(message) = inbox.next().await else { return Ok(()) };
    let message = message?;
    for payload in message.payloads() {
        let saved = save(payload, folder).await?;
        println!("saved {}, {} bytes, sha256 {}", saved.path.display(), saved.size, saved.sha256);
    }
    // Only now: a receiver that ends before this gets the message again.
    Ok(message.ack().await?)
}

/// Saves under a name of its own, beside which the growing file can be watched
async fn save(payload: &Payload, folder: &Path) -> Result<Saved, natsbridge::Error> {
    let size = payload.size().unwrap_or_default();
    let mut saving = std::pin::pin!(payload.save(folder));
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            saved = &mut saving => return saved,
            _ = ticks.tick() => println!("{} of {size} bytes", written(folder)),
        }
    }
}

/// Bytes in the unfinished file
fn written(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let unfinished = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with('.'));
    unfinished.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
