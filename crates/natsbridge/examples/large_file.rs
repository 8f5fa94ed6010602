//! A large file travels as a link, and both ends show how far it is; neither holds it in memory.
//!
//! Run `cargo run --example large_file -- receive FOLDER` in one terminal and `cargo run --example large_file -- send FILE`
//! in another. Servers come from `NATS_URL` and `FILESERVER_URL` (`cargo xtask up` starts both).
#![allow(clippy::print_stdout, reason = "progress is shown by printing")]

use std::env;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use natsbridge::{Bridge, Config, DeliverOptions, PayloadType};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    // Uploads and downloads alike; `MessageBuilder::on_progress` is for one message.
    let config = Config::from_env()?.on_progress(|progress| println!("{} of {} bytes", progress.done, progress.total));
    let bridge = Bridge::connect(config).await?;
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
    let message = bridge.message("files.large").file(name.clone(), file, PayloadType::Binary);
    message.deliver(&DeliverOptions::default().deadline(Duration::from_secs(600))).await?;
    println!("{name} was received");
    Ok(())
}

/// Receives one message and saves its files
async fn receive(bridge: &Bridge, folder: &Path) -> Result<(), Box<dyn Error>> {
    // Lazy: a link stays one until it is saved, straight to the disk.
    let mut messages = bridge.subscribe("files.large").await?.lazy();
    bridge.confirm().await?;
    println!("waiting for a file");
    let Some(message) = messages.next().await else { return Ok(()) };
    let message = message?;
    for payload in message.payloads() {
        let saved = payload.save(folder).await?;
        println!("saved {}, {} bytes, sha256 {}", saved.path.display(), saved.size, saved.sha256);
    }
    // Only now: a receiver that ends before this gets the message again.
    Ok(message.ack().await?)
}
