//! Keeps the history of a connection: when it broke, why as far as anybody knows, and when it stood again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::event::BreakCause;

/// How long before the end of a connection the server's last words are taken for its reason.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A break that is part of an episode, and so not said, is said all the same when it lasts this long.
pub(crate) const LASTING: Duration = Duration::from_secs(1);

/// What is known of the connection's breaks.
#[derive(Debug, Default)]
pub(crate) struct Breaks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Since when the connection is down.
    since: Option<Instant>,
    /// Counts the breaks.
    number: u64,
    said: bool,
    failed_attempts: u64,
    silent: bool,
    /// Since when nothing has come, as far as was looked.
    heard: Option<Instant>,
    ping_interval: Duration,
    last_words: Option<(Instant, String)>,
}

/// A break that is over.
#[derive(Debug)]
pub(crate) struct Mended {
    pub(crate) cause: BreakCause,
    pub(crate) lasted: Duration,
    pub(crate) said: bool,
}

impl Breaks {
    /// Something has come; asked at every interval, at which the connection is tried when nothing has.
    pub(crate) fn heard(&self, ping_interval: Duration) {
        let mut state = self.lock();
        state.heard = Some(Instant::now());
        state.ping_interval = ping_interval;
    }

    /// This side has given the connection up, because nothing came back.
    pub(crate) fn given_up_as_silent(&self) {
        self.lock().silent = true;
    }

    pub(crate) fn server_said(&self, text: &str) {
        self.lock().last_words = Some((Instant::now(), text.to_owned()));
    }

    pub(crate) fn attempt_failed(&self) {
        self.lock().failed_attempts += 1;
    }

    /// The connection broke; gives the number of the break.
    pub(crate) fn broke(&self) -> u64 {
        let mut state = self.lock();
        state.silent |= state.heard.is_some_and(|heard| heard.elapsed() >= state.ping_interval * 2);
        if state.last_words.as_ref().is_some_and(|(when, _)| when.elapsed() > LAST_WORDS) {
            state.last_words = None;
        }
        state.since = Some(Instant::now());
        state.failed_attempts = 0;
        state.said = false;
        state.number += 1;
        state.number
    }

    /// Notes that break `number` is said, where it is not over and nobody has said it.
    pub(crate) fn has_to_be_said(&self, number: u64) -> bool {
        let mut state = self.lock();
        let due = state.number == number && state.since.is_some() && !state.said;
        state.said |= due;
        due
    }

    /// The connection stands again.
    pub(crate) fn mended(&self) -> Option<Mended> {
        let mut state = self.lock();
        let lasted = state.since.take()?.elapsed();
        let silent = std::mem::take(&mut state.silent);
        let cause = match state.last_words.take() {
            _ if silent => BreakCause::Silent,
            Some((_, text)) => BreakCause::Told(text),
            None if state.failed_attempts > 0 => BreakCause::Away,
            None => BreakCause::Unsaid,
        };
        state.heard = state.heard.map(|_| Instant::now());
        Some(Mended { cause, lasted, said: state.said })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of `text` as it may be shown: what is no plain character by the rule of Rust's `Debug` (control characters,
/// what turns the direction of text, what has no width) is escaped, and no more than 500 characters are kept.
///
/// The rule of the standard library, so that there is no second list beside the one sanitiser of `natsbridge-core`, which
/// this crate does not know.
pub(crate) fn harmless(text: &str) -> String {
    const LONGEST: usize = 500;
    let mut shown = String::with_capacity(text.len().min(LONGEST));
    for (index, character) in text.chars().enumerate() {
        if index == LONGEST {
            shown.push('…');
            break;
        }
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_apart() {
        let breaks = Breaks::default();
        assert!(breaks.mended().is_none());
        breaks.broke();
        assert_eq!(breaks.mended().unwrap().cause, BreakCause::Unsaid);
        breaks.broke();
        breaks.attempt_failed();
        assert_eq!(breaks.mended().unwrap().cause, BreakCause::Away);
        breaks.server_said("Stale Connection");
        breaks.broke();
        assert_eq!(breaks.mended().unwrap().cause, BreakCause::Told("Stale Connection".into()));
        breaks.given_up_as_silent();
        breaks.broke();
        assert_eq!(breaks.mended().unwrap().cause, BreakCause::Silent);
        breaks.broke();
        assert_eq!(breaks.mended().unwrap().cause, BreakCause::Unsaid, "each break has its own cause");
        breaks.heard(Duration::ZERO);
        breaks.broke();
        assert_eq!(breaks.mended().unwrap().cause, BreakCause::Silent);
    }

    #[test]
    fn breaks_are_said_once_and_only_while_they_last() {
        let breaks = Breaks::default();
        let number = breaks.broke();
        assert!(breaks.has_to_be_said(number) && !breaks.has_to_be_said(number));
        assert!(breaks.mended().unwrap().said);
        let number = breaks.broke();
        assert!(!breaks.mended().unwrap().said && !breaks.has_to_be_said(number));
    }

    #[test]
    fn strangers_text_is_shown_harmlessly() {
        let shown = harmless("größe \"x\"\u{1b}[31m\r\n\u{9b}\u{202e}\u{61c}\u{2028}\u{feff}\u{200f}\u{2066}");
        assert!(shown.starts_with("größe \"x\"\\u{1b}[31m\\r\\n"), "{shown}");
        assert!(
            shown.chars().all(|c| !c.is_control() && !"\u{202e}\u{61c}\u{2028}\u{feff}\u{200f}\u{2066}".contains(c))
        );
        assert_eq!(harmless(&"a".repeat(10_000)).chars().count(), 501);
    }
}
