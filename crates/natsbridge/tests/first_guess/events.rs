//! Events of the connection, beside the work
use natsbridge::broker::Event;
use natsbridge::{Bridge, Config};

#[tokio::main]
pub async fn main() -> Result<(), natsbridge::Error> {
    let bridge = Bridge::connect(Config::from_env()?).await?;
    let mut events = bridge.events();
    let watcher = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                Event::Closed => println!("closed"),
                other => println!("{other:?}"),
            }
        }
    });
    bridge.message("lab").text("note", "hi").send().await?;
    bridge.drain().await?;
    watcher.await.expect("the watcher does not panic");
    Ok(())
}
