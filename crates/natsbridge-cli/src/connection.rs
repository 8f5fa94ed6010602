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

impl Connection {
    /// Tells each break and each return once, from now on
    pub(crate) fn watch(events: EventStream, server: String) -> Self {
        let (sender, up) = watch::channel(true);
        let task = tokio::spawn(follow(events, sender, server));
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

async fn follow(mut events: EventStream, sender: watch::Sender<bool>, server: String) {
    let mut up = true;
    while let Some(event) = events.next().await {
        match event {
            Event::Disconnected if up => {
                output::note(&format!("disconnected from {server}; trying to connect again"));
                up = false;
            }
            Event::Connected if !up => {
                output::note(&format!("reconnected to {server}"));
                up = true;
            }
            Event::Closed => up = false,
            _ => continue,
        }
        sender.send_replace(up);
    }
    sender.send_replace(false);
}
