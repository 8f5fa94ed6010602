//! A large file with its progress, and where it was saved
use natsbridge::{Bridge, Config, PayloadType};

#[tokio::main]
pub async fn main() -> Result<(), natsbridge::Error> {
    let bridge = Bridge::connect(Config::from_env()?).await?;
    let mut messages = bridge.subscribe("films").await?.lazy();
    bridge
        .message("films")
        .file("film", "run7.mp4", PayloadType::Video)
        .on_progress(|progress| eprintln!("{} of {} bytes", progress.done, progress.total))
        .send()
        .await?;
    if let Some(message) = messages.next().await {
        let saved = message?.payload("film")?.save("films/").await?; // makes the folder
        println!("{} ({} bytes)", saved.path.display(), saved.size);
    }
    Ok(())
}
