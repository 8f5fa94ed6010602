//! Counts what arrives on each subject
use std::collections::HashMap;

use futures_util::{StreamExt as _, TryStreamExt as _};
use natsbridge::{Bridge, Config, Subject};

#[tokio::main]
pub async fn main() -> Result<(), natsbridge::Error> {
    let bridge = Bridge::connect(Config::from_env()?).await?;
    let subscriber = bridge.subscribe("lab.>").await?;
    for subject in ["lab.a", "lab.b", "lab.a"] {
        bridge.message(subject).text("note", "hi").send().await?;
    }
    let mut counts: HashMap<Subject, u32> = HashMap::new();
    let messages: Vec<_> = subscriber.take(3).try_collect().await?;
    for message in messages {
        *counts.entry(message.subject().clone()).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().map(|(subject, count)| format!("{subject} {count}")).collect();
    counts.sort();
    println!("{}", counts.join(", "));
    Ok(())
}
