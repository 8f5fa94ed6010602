//! Two workers share a subject; each message reaches one of them
use futures_util::{StreamExt as _, stream};
use natsbridge::{Bridge, Config};

#[tokio::main]
pub async fn main() -> Result<(), natsbridge::Error> {
    let bridge = Bridge::connect(Config::from_env()?).await?;
    let first = bridge.queue_subscribe("jobs", "workers").await?;
    let second = bridge.queue_subscribe("jobs", "workers").await?;
    for job in 0..20 {
        bridge.message("jobs").dictionary("job", job).send().await?;
    }
    let mut jobs = Vec::new();
    let mut both = stream::select(first, second).take(20);
    while let Some(message) = both.next().await {
        jobs.push(message?.get::<u32>("job")?);
    }
    jobs.sort();
    println!("{jobs:?}");
    Ok(())
}
