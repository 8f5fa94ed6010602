//! Two programs talk: each line that is typed goes to the room, each message of the others is printed.
//!
//! Run `cargo run --example chat -- alice` in one terminal and `… -- bob` in another. Servers come from `NATS_URL` and
//! `FILESERVER_URL` (`cargo xtask up` starts both). The end of the input, Ctrl-D, ends it.
#![allow(clippy::print_stdout, reason = "a chat is shown by printing")]

use std::env;
use std::error::Error;

use natsbridge::{Bridge, Config};
use tokio::io::{AsyncBufReadExt as _, BufReader};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::from_env()?.sender_name(env::args().nth(1).ok_or("say who you are: chat NAME")?);
    let bridge = Bridge::connect(config).await?;
    let mut inbox = bridge.subscribe("chat.room").await?;
    // From here on nothing that others say is missed.
    bridge.confirm().await?;
    println!("you are in the room");

    let mut typed = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = typed.next_line() => match line? {
                Some(line) => {
                    bridge.message("chat.room").text("line", line).send().await?;
                }
                None => break,
            },
            Some(message) = inbox.next() => match message {
                // NATS sends everybody everything, one's own lines as well.
                Ok(message) if message.header().sender_id() == bridge.sender_id() => {}
                Ok(message) => println!("{}: {}", message.header().sender_name(), message.text("line")?),
                // What a stranger sent and cannot be read is no reason to leave.
                Err(error) => println!("({error})"),
            },
        }
    }
    Ok(bridge.drain().await?)
}
