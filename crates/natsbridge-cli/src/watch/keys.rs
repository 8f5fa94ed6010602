//! The key that ends `watch`: `q`, read from the terminal without waiting for the end of a line.

#[cfg(unix)]
pub(crate) use system::{Keys, restore};

/// Where keys can't be read one by one, none ends the program
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) struct Keys;

#[cfg(not(unix))]
impl Keys {
    pub(crate) fn start() -> Option<Self> {
        None
    }

    pub(crate) async fn quit(&self) {
        std::future::pending().await
    }
}

#[cfg(not(unix))]
pub(crate) fn restore() {}

#[cfg(unix)]
mod system {
    use std::io::{self, IsTerminal as _, Read as _};
    use std::sync::{Arc, Mutex, PoisonError};

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
    use tokio::sync::Notify;

    /// How the terminal was before, as long as it is changed
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    /// The terminal gives its keys one by one, as long as this lives
    #[derive(Debug)]
    pub(crate) struct Keys(Arc<Notify>);

    impl Keys {
        /// Begins to read keys, where standard input is a terminal that is ours to read from
        pub(crate) fn start() -> Option<Self> {
            let stdin = io::stdin();
            // A program in the background is stopped when it changes the terminal.
            if !stdin.is_terminal() || tcgetpgrp(&stdin).ok()? != rustix::process::getpgrp() {
                return None;
            }
            let before = tcgetattr(&stdin).ok()?;
            let mut changed = before.clone();
            // Ctrl-C and Ctrl-Z stay what they are.
            changed.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            tcsetattr(&stdin, OptionalActions::Now, &changed).ok()?;
            *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
            let quit = Arc::new(Notify::new());
            let keys = Self(Arc::clone(&quit));
            // Dropped where no thread can be started, which restores the terminal.
            let reading = move || {
                for key in io::stdin().lock().bytes() {
                    match key {
                        Ok(b'q' | b'Q') => quit.notify_one(),
                        Ok(_) => {}
                        Err(_) => return,
                    }
                }
            };
            std::thread::Builder::new().name("keys".to_owned()).spawn(reading).ok().map(|_| keys)
        }

        /// Returns when `q` is pressed
        pub(crate) async fn quit(&self) {
            self.0.notified().await;
        }
    }

    impl Drop for Keys {
        fn drop(&mut self) {
            restore();
        }
    }

    /// Gives the terminal back as it was; nothing where it is
    pub(crate) fn restore() {
        if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take()
            && let Err(error) = tcsetattr(io::stdin(), OptionalActions::Now, &before)
        {
            tracing::debug!(%error, "the terminal stays without echo; `reset` mends it");
        }
    }
}
