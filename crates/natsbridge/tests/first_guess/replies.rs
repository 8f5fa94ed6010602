//! A chain of replies: question, counter-question, answer
use std::time::Duration;

use natsbridge::{Bridge, Config};

#[tokio::main]
pub async fn main() -> Result<(), natsbridge::Error> {
    let bridge = Bridge::connect(Config::from_env()?).await?;
    let mut questions = bridge.subscribe("shop.order").await?;
    let clerk = tokio::spawn(async move {
        let Some(order) = questions.next().await else { return Ok(()) };
        let order = order?;
        let size = order.reply().text("question", "which size?").request(Duration::from_secs(5)).await?;
        let text = format!("{} of size {}", order.text("item")?, size.text("answer")?);
        size.reply().text("receipt", text).send().await?;
        Ok::<_, natsbridge::Error>(())
    });
    let question = bridge.message("shop.order").text("item", "shirt").request(Duration::from_secs(5)).await?;
    println!("{}", question.text("question")?);
    let receipt = question.reply().text("answer", "XL").request(Duration::from_secs(5)).await?;
    println!("{}", receipt.text("receipt")?);
    clerk.await.expect("the clerk does not panic")?;
    Ok(())
}
