//! The signals that ask a program to end: the first one lets it end in order, a second one ends it at once.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Signals this close to the first one are the same request: `timeout` and some shells send each signal twice
const TOGETHER: Duration = Duration::from_millis(100);

/// Whether and since when the program is asked to end; clones see the same request
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<Option<Instant>>);

impl Stop {
    /// Catches Ctrl-C and SIGTERM from now on
    ///
    /// A thread of its own does, so that a second signal ends the program whatever else is blocked, such as its
    /// standard output.
    pub(crate) fn watch() -> Self {
        static ASKED: OnceLock<watch::Receiver<Option<Instant>>> = OnceLock::new();
        let receiver = ASKED.get_or_init(|| {
            let (sender, receiver) = watch::channel(None);
            // Before the thread runs: a signal that comes now must not end the program.
            let started = system::Caught::new().and_then(|caught| {
                std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
                    if let Err(error) = caught.listen(&sender) {
                        tracing::warn!(%error, "signals can't be caught; end the program by its process id");
                    }
                    // Whoever waits for a signal goes on waiting.
                    std::mem::forget(sender);
                })
            });
            if let Err(error) = started {
                tracing::warn!(%error, "signals can't be caught; end the program by its process id");
            }
            receiver
        });
        Self(receiver.clone())
    }

    /// Waits for the first signal; gives its time
    pub(crate) async fn requested(&self) -> Instant {
        let mut asked = self.0.clone();
        if let Ok(since) = asked.wait_for(Option::is_some).await
            && let Some(since) = *since
        {
            return since;
        }
        std::future::pending().await
    }

    /// Waits until this time has passed since the first signal
    pub(crate) async fn over(&self, grace: Duration) {
        let since = self.requested().await;
        match since.checked_add(grace) {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    }
}

/// Returns at the first Ctrl-C or SIGTERM
pub(crate) async fn stopped() {
    Stop::watch().requested().await;
}

/// A signal that came: the first one is told, a later one ends the program
struct Calls<'a> {
    asked: &'a watch::Sender<Option<Instant>>,
    first: Option<std::time::Instant>,
}

impl Calls<'_> {
    /// Whether the program has to end at once
    fn take(&mut self) -> bool {
        match self.first {
            None => {
                self.first = Some(std::time::Instant::now());
                self.asked.send_replace(Some(Instant::now()));
                false
            }
            Some(first) => first.elapsed() > TOGETHER,
        }
    }
}

#[cfg(unix)]
mod system {
    use std::io;

    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use tokio::sync::watch;
    use tokio::time::Instant;

    use super::Calls;

    /// Signals that are caught, and wait to be listened to
    pub(super) struct Caught(Signals);

    impl Caught {
        pub(super) fn new() -> io::Result<Self> {
            Signals::new([SIGINT, SIGTERM]).map(Self)
        }

        #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
        pub(super) fn listen(mut self, asked: &watch::Sender<Option<Instant>>) -> io::Result<()> {
            let mut calls = Calls { asked, first: None };
            for signal in self.0.forever() {
                if calls.take() {
                    // Without any other clean-up, which could wait for what is blocked.
                    crate::watch::keys::restore();
                    signal_hook::low_level::exit(128 + signal);
                }
            }
            Ok(())
        }
    }
}

#[cfg(not(unix))]
mod system {
    use std::io;

    use tokio::sync::watch;
    use tokio::time::Instant;

    use super::Calls;

    /// Ctrl-C that waits to be listened to
    pub(super) struct Caught(tokio::runtime::Runtime);

    impl Caught {
        pub(super) fn new() -> io::Result<Self> {
            tokio::runtime::Builder::new_current_thread().enable_all().build().map(Self)
        }

        pub(super) fn listen(self, asked: &watch::Sender<Option<Instant>>) -> io::Result<()> {
            let mut calls = Calls { asked, first: None };
            loop {
                self.0.block_on(tokio::signal::ctrl_c())?;
                if calls.take() {
                    std::process::exit(130);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_sent_twice_at_once_is_one_and_a_later_one_ends() {
        let (asked, receiver) = watch::channel(None);
        let mut calls = Calls { asked: &asked, first: None };
        assert!(!calls.take() && receiver.borrow().is_some());
        assert!(!calls.take(), "sent twice at once");
        calls.first = calls.first.and_then(|first| first.checked_sub(2 * TOGETHER));
        assert!(calls.take());
    }
}
