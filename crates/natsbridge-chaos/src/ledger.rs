//! Who handled what: the numbers in the lines that receivers printed, and what follows from them.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

/// Numbers that all lives of all receivers have handled
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    handled: BTreeSet<u64>,
    /// Handled by more than one life, as at-least-once allows
    pub(crate) again: u64,
    /// Handled twice by one life, which nothing allows
    pub(crate) twice: u64,
    /// Lines that are no message of this round
    pub(crate) strange: Vec<String>,
}

impl Ledger {
    /// Enters what one life of a receiver printed, one JSON line for each message
    pub(crate) fn enter(&mut self, lines: &[String]) {
        let mut life = HashSet::new();
        for line in lines {
            match number(line) {
                Read::Number(number) if !life.insert(number) => self.twice += 1,
                Read::Number(number) if !self.handled.insert(number) => self.again += 1,
                Read::Number(_) | Read::Unreadable => {}
                Read::Strange => self.strange.push(line.chars().take(200).collect()),
            }
        }
    }

    pub(crate) fn handled(&self) -> u64 {
        u64::try_from(self.handled.len()).unwrap_or(u64::MAX)
    }

    /// How many of the numbers from 1 to `last` nobody has handled
    pub(crate) fn missing(&self, last: u64) -> u64 {
        (1..=last).filter(|number| !self.handled.contains(number)).count().try_into().unwrap_or(u64::MAX)
    }
}

/// What a receiver's line says
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Number(u64),
    /// A message whose link could not be read: it was refused, and comes again
    Unreadable,
    Strange,
}

pub(crate) fn number(line: &str) -> Read {
    let Ok(message) = serde_json::from_str::<Value>(line) else { return Read::Strange };
    if !message["error"].is_null() {
        return Read::Unreadable;
    }
    let text = message["payloads"][0]["value"].as_str().unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).map_or(Read::Strange, Read::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted_apart_for_each_run_of_a_receiver() {
        let line = |number: u64| format!(r#"{{"payloads":[{{"value":"{number} xx"}}]}}"#);
        let mut ledger = Ledger::default();
        ledger.enter(&[line(1), line(2), line(2)]);
        ledger.enter(&[line(2), line(4), "no".to_owned(), r#"{"error":{"code":"timeout"}}"#.to_owned()]);
        assert_eq!((ledger.handled(), ledger.again, ledger.twice), (3, 1, 1));
        assert_eq!((ledger.missing(4), ledger.strange.len()), (1, 1));
    }
}
