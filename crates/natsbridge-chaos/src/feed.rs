//! Numbered lines for `natsbridge send --lines`, at a steady rate, some of them large enough to travel as links.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

/// Every so many lines one is large
const LARGE_EVERY: u64 = 40;

/// Characters of a large line; the sender's threshold is below
const LARGE: usize = 4_000;

/// The sender's threshold in bytes
pub(crate) const THRESHOLD: &str = "2000";

/// How lines are written
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feed {
    pub(crate) per_second: u64,
    pub(crate) links: bool,
}

impl Feed {
    /// Writes numbered lines until `stop` turns true or the program takes no more; gives how many it took
    pub(crate) async fn write(self, to: &mut ChildStdin, from: u64, mut stop: watch::Receiver<bool>) -> u64 {
        let mut tick = interval(Duration::from_millis(20));
        // A sender that waits for a broken network is not flooded afterwards.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = from;
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return number,
                _ = tick.tick() => {}
            }
            let mut lines = String::new();
            let batch = (self.per_second / 50).max(1);
            for next in number + 1..=number + batch {
                lines.push_str(&self.line(next));
            }
            // Not cut when it has to stop: half a batch would be lines that nobody knows of. A program that has ended
            // closes the pipe.
            if to.write_all(lines.as_bytes()).await.is_err() {
                return number;
            }
            number += batch;
        }
    }

    fn line(self, number: u64) -> String {
        let padding = if self.links && number.is_multiple_of(LARGE_EVERY) { LARGE } else { 20 };
        format!("{number} {}\n", "x".repeat(padding))
    }

    /// Writes single lines until `seen` says that the last one arrived; whether it did in time
    pub(crate) async fn write_until_seen(
        self,
        to: &mut ChildStdin,
        number: &mut u64,
        patience: Duration,
        seen: impl Fn(u64) -> bool,
    ) -> bool {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            *number += 1;
            let written = timeout_at(deadline, to.write_all(self.line(*number).as_bytes())).await;
            if !matches!(written, Ok(Ok(()))) {
                return false;
            }
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if seen(*number) {
                    return true;
                }
            }
        }
        false
    }
}
