//! Whether the connection to NATS stands: told on standard error when it breaks and when it is back.

use std::time::Duration;

use natsbridge::broker::{Event, EventStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::output;

/// What is known of a connection; as long as it lives, changes are told
#[derive(Debug)]
pub(crate) struct Connection {
    up: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

/// What a break means for a command
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meaning {
    /// Said when the connection is gone
    pub(crate) gone: &'static str,
    /// Said when it is back
    pub(crate) back: &'static str,
}

impl Connection {
    /// Tells each break and each return once, from now on, with what that means
    pub(crate) fn watch(events: EventStream, server: String, meaning: Meaning) -> Self {
        let (sender, up) = watch::channel(true);
        let task = tokio::spawn(follow(events, sender, server, meaning));
        Self { up, task }
    }

    pub(crate) fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    /// Returns as soon as the connection is broken, which it may be already
    pub(crate) async fn broken(&self) {
        let mut up = self.up.clone();
        if up.wait_for(|up| !up).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns when something was told
    pub(crate) async fn changed(&mut self) {
        if self.up.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // What follows is our own leaving.
        self.task.abort();
    }
}

async fn follow(mut events: EventStream, sender: watch::Sender<bool>, server: String, meaning: Meaning) {
    let mut told = Told { server, meaning, last: None, often: false, hushed: false };
    let (mut up, mut next) = (true, None);
    loop {
        let event = match next.take() {
            Some(event) => event,
            None => match events.next().await {
                Some(event) => event,
                None => break,
            },
        };
        match event {
            Event::Disconnected if up => {
                told.gone();
                up = false;
            }
            Event::Connected if !up => {
                // Why it broke is known by now, and told at once.
                let why = match tokio::time::timeout(MOMENT, events.next()).await {
                    Ok(Some(Event::Interrupted { cause, lasted, .. })) => Some((cause, lasted)),
                    Ok(other) => {
                        next = other;
                        None
                    }
                    Err(_) => None,
                };
                told.back(why);
                up = true;
            }
            Event::Closed => up = false,
            _ => continue,
        }
        sender.send_replace(up);
    }
    sender.send_replace(false);
}

/// How long the reason of a break is waited for
const MOMENT: Duration = Duration::from_millis(50);

/// Breaks that follow each other within this time are told as one
const EPISODE: Duration = Duration::from_secs(10);

/// What was told of the connection
struct Told {
    server: String,
    meaning: Meaning,
    last: Option<Instant>,
    /// Whether it was told that the connection breaks often
    often: bool,
    /// Whether the present break was not told, so that its end is not told either
    hushed: bool,
}

impl Told {
    fn gone(&mut self) {
        self.hushed = self.last.replace(Instant::now()).is_some_and(|last| last.elapsed() < EPISODE);
        let Self { server, meaning, .. } = &*self;
        if !self.hushed {
            output::problem(&format!("disconnected from {server}; trying to connect again. {}", meaning.gone));
            self.often = false;
        } else if !self.often {
            output::problem(&format!("the connection to {server} breaks again and again. {}", meaning.gone));
            self.often = true;
        }
    }

    fn back(&self, why: Option<(String, Duration)>) {
        if self.hushed {
            return;
        }
        let why = why.map_or_else(String::new, |(cause, lasted)| {
            format!(" after {}.{} s ({cause})", lasted.as_secs(), lasted.subsec_millis() / 100)
        });
        output::problem(&format!("reconnected to {}{why}. {}", self.server, self.meaning.back));
    }
}
