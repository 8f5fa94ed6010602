//! Whether the connection to NATS stands: told on standard error when it breaks and when it is back.

use natsbridge::broker::{Event, EventStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

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
    let mut up = true;
    while let Some(event) = events.next().await {
        match event {
            Event::Disconnected if up => {
                output::problem(&format!("disconnected from {server}; trying to connect again. {}", meaning.gone));
                up = false;
            }
            Event::Connected if !up => {
                output::problem(&format!("reconnected to {server}. {}", meaning.back));
                up = true;
            }
            Event::Closed => up = false,
            _ => continue,
        }
        sender.send_replace(up);
    }
    sender.send_replace(false);
}
