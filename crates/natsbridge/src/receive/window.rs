//! The messages that were handled: a bounded window of their identifiers, so that a repeat is answered and not handled
//! twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::MAX_ID;

/// What is known of a message when it arrives
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing: it is to be handled
    New,
    /// It is being handled right now: its answer will come
    Handling,
    /// It was handled and acknowledged
    Handled,
}

/// Remembers identifiers of handled messages; clones share the memory
#[derive(Debug, Clone)]
pub(crate) struct Window(Arc<Mutex<Memory>>);

#[derive(Debug)]
struct Memory {
    limit: usize,
    /// The turn in which it was handled or repeated last; none while it is being handled
    states: HashMap<Arc<str>, Option<u64>>,
    /// Those that were handled, the one that was not heard of for longest first
    handled: BTreeMap<u64, Arc<str>>,
    turn: u64,
}

impl Memory {
    /// Takes a message for the one that was heard of last
    fn refresh(&mut self, key: &Arc<str>) {
        self.turn += 1;
        if let Some(Some(earlier)) = self.states.insert(Arc::clone(key), Some(self.turn)) {
            self.handled.remove(&earlier);
        }
        self.handled.insert(self.turn, Arc::clone(key));
        if self.handled.len() > self.limit
            && let Some((_, oldest)) = self.handled.pop_first()
        {
            self.states.remove(&oldest);
        }
    }
}

impl Window {
    /// A window of at most `limit` handled messages
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Memory { limit, states: HashMap::new(), handled: BTreeMap::new(), turn: 0 })))
    }

    /// Looks a sender's message up, and takes it into handling where it is new
    ///
    /// One that was handled is remembered anew, so that a message that goes on being repeated is never forgotten.
    /// Identifiers that are far longer than a UUID are not remembered: a stranger's text must not fill the memory.
    pub(crate) fn begin(&self, sender_id: &str, msg_id: &str) -> (Seen, Option<Claim>) {
        if sender_id.len() > MAX_ID || msg_id.len() > MAX_ID {
            return (Seen::New, None);
        }
        let key: Arc<str> = format!("{sender_id} {msg_id}").into();
        let mut memory = self.memory();
        match memory.states.get(&key) {
            Some(Some(_)) => {
                memory.refresh(&key);
                (Seen::Handled, None)
            }
            Some(None) => (Seen::Handling, None),
            None => {
                memory.states.insert(Arc::clone(&key), None);
                (Seen::New, Some(Claim { window: self.clone(), key }))
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message that is being handled; forgotten when dropped, so that a repeat gets its chance
#[derive(Debug)]
pub(crate) struct Claim {
    window: Window,
    key: Arc<str>,
}

impl Claim {
    /// The handler succeeded: repeats are answered from now on
    pub(crate) fn handled(&self) {
        self.window.memory().refresh(&self.key);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut memory = self.window.memory();
        if memory.states.get(&self.key) == Some(&None) {
            memory.states.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeat_is_known_while_and_after_it_is_handled() {
        let window = Window::new(2);
        let (seen, claim) = window.begin("s", "a");
        assert_eq!(seen, Seen::New);
        assert_eq!(window.begin("s", "a").0, Seen::Handling);
        claim.as_ref().unwrap().handled();
        drop(claim);
        assert_eq!(window.begin("s", "a").0, Seen::Handled);
    }

    #[test]
    fn message_whose_handler_gave_up_is_new_again() {
        let window = Window::new(2);
        drop(window.begin("s", "a"));
        assert_eq!(window.begin("s", "a").0, Seen::New);
    }

    #[test]
    fn messages_of_one_id_from_two_senders_are_different() {
        let window = Window::new(2);
        window.begin("s", "a").1.unwrap().handled();
        assert_eq!(window.begin("t", "a").0, Seen::New);
        let (seen, claim) = window.begin("s", &"x".repeat(1_000_000));
        assert!(seen == Seen::New && claim.is_none(), "what is no identifier is not kept");
    }

    #[test]
    fn repeated_message_is_not_forgotten() {
        let window = Window::new(2);
        window.begin("s", "a").1.unwrap().handled();
        for other in 0..1_000 {
            window.begin("s", &other.to_string()).1.unwrap().handled();
            assert_eq!(window.begin("s", "a").0, Seen::Handled, "{other}");
        }
        let memory = window.memory();
        assert_eq!((memory.states.len(), memory.handled.len()), (2, 2));
    }

    #[test]
    fn oldest_message_is_forgotten_first() {
        let window = Window::new(2);
        for id in ["a", "b", "c"] {
            window.begin("s", id).1.unwrap().handled();
        }
        assert_eq!(window.begin("s", "b").0, Seen::Handled);
        assert_eq!(window.begin("s", "a").0, Seen::New);
        assert_eq!(window.memory().states.len(), 2, "what is looked up and dropped is not kept");
    }
}
