//! Keeps the history of a connection: when it broke, why as far as a client can know, and when it was up again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long before a break the server's last error is taken for its reason
const LAST_ERROR: Duration = Duration::from_secs(2);

/// A break within an episode is not logged, unless it lasts this long
pub(crate) const LASTING: Duration = Duration::from_secs(1);

const SILENT: &str = "nothing came any more, as if the network had forgotten the connection";
const AWAY: &str = "the server could not be reached for a while";
const UNKNOWN: &str = "no reason is known: the server cut off a client that reads too slowly (its log says \"slow \
                       consumer\"), a message had malformed headers (the log of async_nats at level debug says so), or \
                       something reset it";

/// What is known of the connection's breaks
#[derive(Debug, Default)]
pub(crate) struct Breaks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Since when the connection is down
    since: Option<Instant>,
    /// Counts the breaks
    number: u64,
    logged: bool,
    failed_attempts: u64,
    silent: bool,
    /// When something last came, as far as was looked
    received: Option<Instant>,
    ping_interval: Duration,
    last_error: Option<(Instant, String)>,
}

/// A break that is over
#[derive(Debug)]
pub(crate) struct Break {
    pub(crate) cause: String,
    pub(crate) lasted: Duration,
    pub(crate) logged: bool,
}

impl Breaks {
    /// Something has come since the last look, one of which is due at every interval
    pub(crate) fn received(&self, ping_interval: Duration) {
        let mut state = self.lock();
        state.received = Some(Instant::now());
        state.ping_interval = ping_interval;
    }

    /// This side gives the connection up, because nothing comes back
    pub(crate) fn given_up_as_silent(&self) {
        self.lock().silent = true;
    }

    pub(crate) fn server_error(&self, text: &str) {
        self.lock().last_error = Some((Instant::now(), text.to_owned()));
    }

    pub(crate) fn attempt_failed(&self) {
        self.lock().failed_attempts += 1;
    }

    /// The connection broke; returns the number of the break
    pub(crate) fn begin(&self) -> u64 {
        let mut state = self.lock();
        state.silent |= state.received.is_some_and(|received| received.elapsed() >= state.ping_interval * 2);
        state.last_error.take_if(|(when, _)| when.elapsed() > LAST_ERROR);
        state.since = Some(Instant::now());
        state.failed_attempts = 0;
        state.logged = false;
        state.number += 1;
        state.number
    }

    /// Whether break `number` has to be logged: it is not over, and was not logged yet
    pub(crate) fn is_to_be_logged(&self, number: u64) -> bool {
        let mut state = self.lock();
        let due = state.number == number && state.since.is_some() && !state.logged;
        state.logged |= due;
        due
    }

    /// The connection is up; returns the break that is over now
    pub(crate) fn end(&self) -> Option<Break> {
        let mut state = self.lock();
        let lasted = state.since.take()?.elapsed();
        let silent = std::mem::take(&mut state.silent);
        let cause = match state.last_error.take() {
            _ if silent => SILENT.to_owned(),
            Some((_, text)) => format!("the server said: {text}"),
            None if state.failed_attempts > 0 => AWAY.to_owned(),
            // A server says nothing to a client that reads too slowly, and async-nats 0.51 does not report headers that it
            // can't read.
            None => UNKNOWN.to_owned(),
        };
        state.received = state.received.map(|_| Instant::now());
        Some(Break { cause, lasted, logged: state.logged })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_apart() {
        let breaks = Breaks::default();
        let cause = || breaks.end().unwrap().cause;
        assert!(breaks.end().is_none());
        breaks.begin();
        assert_eq!(cause(), UNKNOWN);
        breaks.begin();
        breaks.attempt_failed();
        assert_eq!(cause(), AWAY);
        breaks.server_error("Stale Connection");
        breaks.begin();
        assert_eq!(cause(), "the server said: Stale Connection");
        breaks.given_up_as_silent();
        breaks.begin();
        assert_eq!(cause(), SILENT);
        breaks.begin();
        assert_eq!(cause(), UNKNOWN, "each break has its own cause");
        breaks.received(Duration::ZERO);
        breaks.begin();
        assert_eq!(cause(), SILENT);
    }

    #[test]
    fn breaks_are_logged_once_and_only_while_they_last() {
        let breaks = Breaks::default();
        let number = breaks.begin();
        assert!(breaks.is_to_be_logged(number) && !breaks.is_to_be_logged(number));
        assert!(breaks.end().unwrap().logged);
        let number = breaks.begin();
        assert!(!breaks.end().unwrap().logged && !breaks.is_to_be_logged(number));
    }
}
