//! Reports repeated incidents twice: the first one at once, and their number when they have stopped.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

/// An episode ends after this long without a further incident
pub(crate) const QUIET: Duration = Duration::from_secs(10);

/// The most episodes that are told apart at once; further ones share one
const MAX_OPEN: usize = 64;

type AtItsEnd = Box<dyn FnOnce(u64) + Send>;

/// The episodes that are not over, by a key that says what happens
#[derive(Debug, Default)]
pub(crate) struct Episodes {
    open: Mutex<HashMap<String, Episode>>,
}

struct Episode {
    times: u64,
    last: Instant,
    at_its_end: AtItsEnd,
}

impl Episodes {
    /// Counts an incident; whether it begins an episode, and so has to be reported
    ///
    /// `at_its_end` is called with the number of incidents, if there was more than one.
    pub(crate) fn begins(self: &Arc<Self>, key: &str, at_its_end: impl FnOnce(u64) + Send + 'static) -> bool {
        let now = Instant::now();
        let key = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let key = if open.len() < MAX_OPEN || open.contains_key(key) { key } else { "" };
            if let Some(episode) = open.get_mut(key) {
                episode.times += 1;
                episode.last = now;
                return false;
            }
            open.insert(key.to_owned(), Episode { times: 1, last: now, at_its_end: Box::new(at_its_end) });
            key.to_owned()
        };
        // Outside of a runtime nothing can wait for the end: it is reported when the connection is closed.
        if let Ok(runtime) = Handle::try_current() {
            let episodes = Arc::downgrade(self);
            runtime.spawn(async move {
                let mut next = now + QUIET;
                loop {
                    tokio::time::sleep_until(next).await;
                    let Some(episodes) = episodes.upgrade() else { return };
                    match episodes.ended_or_last(&key) {
                        Some(last) => next = last + QUIET,
                        None => return,
                    }
                }
            });
        }
        true
    }

    /// Ends the episode if it is over; else the time of its last incident
    fn ended_or_last(&self, key: &str) -> Option<Instant> {
        let ended = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let last = open.get(key)?.last;
            if last.elapsed() < QUIET {
                return Some(last);
            }
            open.remove(key)
        };
        ended.into_iter().for_each(Episode::end);
        None
    }

    /// Ends all episodes at once
    pub(crate) fn end_all(&self) {
        let open = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        open.into_values().for_each(Episode::end);
    }
}

impl Episode {
    fn end(self) {
        if self.times > 1 {
            (self.at_its_end)(self.times);
        }
    }
}

impl fmt::Debug for Episode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.times.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn counted(episodes: &Arc<Episodes>, key: &str, ended: &Arc<AtomicU64>) -> bool {
        let ended = Arc::clone(ended);
        episodes.begins(key, move |times| {
            ended.fetch_add(times, Ordering::Relaxed);
        })
    }

    #[tokio::test(start_paused = true)]
    async fn episodes_are_reported_at_beginning_and_end() {
        let (episodes, ended) = (Arc::new(Episodes::default()), Arc::new(AtomicU64::new(0)));
        for round in 0..5 {
            assert_eq!(counted(&episodes, "a", &ended), round == 0);
            tokio::time::sleep(QUIET - Duration::from_secs(1)).await;
        }
        assert!(counted(&episodes, "b", &ended), "another one");
        assert_eq!(ended.load(Ordering::Relaxed), 0);
        tokio::time::sleep(QUIET * 2).await;
        assert_eq!(ended.load(Ordering::Relaxed), 5, "a single incident has no end to report");
        assert!(counted(&episodes, "a", &ended));
        counted(&episodes, "a", &ended);
        episodes.end_all();
        assert_eq!(ended.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn episodes_beyond_the_bound_are_one() {
        let (episodes, ended) = (Arc::new(Episodes::default()), Arc::new(AtomicU64::new(0)));
        let begun = (0..10 * MAX_OPEN).filter(|number| counted(&episodes, &number.to_string(), &ended)).count();
        assert_eq!(begun, MAX_OPEN + 1);
    }
}
