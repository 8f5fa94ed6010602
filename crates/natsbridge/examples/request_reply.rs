//! A service answers requests: its handler takes a type of the program's own and gives back another.
//!
//! Run `cargo run --example request_reply -- serve` in one terminal and `cargo run --example request_reply -- ask 3 4 5`
//! in another. The server comes from `NATS_URL`. Several that serve share the work.
#![allow(clippy::print_stdout, reason = "an example speaks by printing")]

use std::env;
use std::error::Error;
use std::num::ParseFloatError;
use std::time::Duration;

use natsbridge::{Bridge, Config, HandlerError, ServeOptions};
use serde::{Deserialize, Serialize};

const SUBJECT: &str = "math.statistics";

#[derive(Serialize, Deserialize)]
struct Question {
    numbers: Vec<f64>,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    mean: f64,
    largest: f64,
}

/// The handler; a failure reaches the asker as a refusal with this code and reason
async fn statistics(Question { numbers }: Question) -> Result<Answer, HandlerError> {
    let largest = numbers.iter().copied().reduce(f64::max);
    let largest = largest.ok_or_else(|| HandlerError::new("no numbers were given").code("empty").permanent())?;
    let count = u32::try_from(numbers.len())?;
    Ok(Answer { mean: numbers.iter().sum::<f64>() / f64::from(count), largest })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let bridge = Bridge::connect(Config::from_env()?).await?;
    match args.split_first() {
        Some((word, [])) if word == "serve" => {
            let options = ServeOptions::default().queue_group("statistics");
            let service = bridge.serve_typed(SUBJECT, options, statistics).await?;
            bridge.confirm().await?;
            println!("serving {SUBJECT}");
            // Until Ctrl-C; running handlers finish first.
            tokio::signal::ctrl_c().await?;
            service.stop().await?;
        }
        Some((word, numbers)) if word == "ask" => {
            let numbers = numbers.iter().map(|number| number.parse()).collect::<Result<_, ParseFloatError>>()?;
            let question = Question { numbers };
            let answer =
                bridge.message(SUBJECT).dictionary("question", &question).request(Duration::from_secs(5)).await?;
            let Answer { mean, largest } = answer.get("reply")?;
            println!("mean {mean}, largest {largest}");
        }
        _ => return Err("usage: request_reply serve | request_reply ask NUMBERS".into()),
    }
    Ok(bridge.drain().await?)
}
