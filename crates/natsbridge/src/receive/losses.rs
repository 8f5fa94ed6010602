//! What a subscription has missed: a receiver finds messages that were lost, repeated or overtaken by the senders' numbers.

use std::collections::{BTreeSet, HashMap, VecDeque};

use natsbridge_core::Header;

use crate::observe;

/// Missing, repeated and reordered messages of a subscription, by the senders' sequence numbers (`docs/specification.md`, section 6)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Losses {
    /// Messages that were numbered and have not arrived
    pub missing: u64,
    /// Messages that arrived again
    pub duplicates: u64,
    /// Messages that arrived after a later one
    pub reordered: u64,
}

/// Follows the numbers of every sender on a subscription
#[derive(Debug, Default)]
pub(crate) struct Detector {
    losses: Losses,
    senders: HashMap<Box<str>, Sender>,
    oldest: VecDeque<Box<str>>,
    /// The current message's sender and subject; kept for its memory
    key: String,
}

#[derive(Debug)]
struct Sender {
    highest: u64,
    missing: BTreeSet<u64>,
}

/// Senders and subjects that are followed at once; the one seen first is forgotten first
const MAX_SENDERS: usize = 1_024;
/// Numbers of one sender that may still arrive late; older ones stay counted as missing
const MAX_MISSING: usize = 1_024;
/// A jump that no loss explains: the numbers begin anew there
const MAX_GAP: u64 = 1_000_000;
/// The longest `epoch` that is followed, in bytes; a UUID has 36
const MAX_EPOCH: usize = 64;
/// The longest subject that is followed, in bytes
const MAX_SUBJECT: usize = 512;

impl Detector {
    /// Takes note of a message; one without numbers says nothing
    pub(crate) fn note(&mut self, header: &Header) {
        let (Some(seq), Some(epoch)) = (header.seq(), header.epoch()) else { return };
        if epoch.len() > MAX_EPOCH || header.send_to().len() > MAX_SUBJECT {
            return;
        }
        self.key.clear();
        for piece in [epoch, " ", header.send_to()] {
            self.key.push_str(piece);
        }
        let Some(sender) = self.senders.get_mut(&*self.key) else {
            self.follow(seq);
            return;
        };
        if seq > sender.highest {
            let gap = seq - sender.highest - 1;
            if gap > MAX_GAP {
                sender.missing.clear();
            } else if gap > 0 {
                self.losses.missing += gap;
                observe::gap(gap, header);
                sender.missing.extend((sender.highest + 1..seq).rev().take(MAX_MISSING));
                while sender.missing.len() > MAX_MISSING {
                    sender.missing.pop_first();
                }
            }
            sender.highest = seq;
        } else if sender.missing.remove(&seq) {
            self.losses.missing = self.losses.missing.saturating_sub(1);
            self.losses.reordered += 1;
            observe::reordered();
        } else {
            self.losses.duplicates += 1;
            observe::duplicate();
        }
    }

    /// Begins with a sender: what it sent before the subscription is not missing
    fn follow(&mut self, seq: u64) {
        let key: Box<str> = self.key.as_str().into();
        if self.senders.len() >= MAX_SENDERS
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.senders.remove(&oldest);
        }
        self.oldest.push_back(key.clone());
        self.senders.insert(key, Sender { highest: seq, missing: BTreeSet::new() });
    }

    pub(crate) const fn losses(&self) -> Losses {
        self.losses
    }
}

#[cfg(test)]
mod tests {
    use natsbridge_core::Envelope;
    use serde_json::json;

    use super::*;

    fn header(epoch: &str, seq: u64) -> Header {
        let json = json!({"send_to": "a", "metadata": {"seq": seq, "epoch": epoch}, "payloads": []}).to_string();
        Envelope::from_json(json.as_bytes()).unwrap().header().clone()
    }

    fn after(numbers: &[u64]) -> (u64, u64, u64) {
        let mut detector = Detector::default();
        for seq in numbers {
            detector.note(&header("e", *seq));
        }
        let Losses { missing, duplicates, reordered, .. } = detector.losses();
        (missing, duplicates, reordered)
    }

    #[test]
    fn messages_lost_repeated_or_overtaken_are_counted() {
        assert_eq!(after(&[1, 2, 3]), (0, 0, 0));
        assert_eq!(after(&[7, 8]), (0, 0, 0), "what came before the subscription is not missing");
        assert_eq!(after(&[1, 2, 5]), (2, 0, 0));
        assert_eq!(after(&[1, 3, 2]), (0, 0, 1));
        assert_eq!(after(&[1, 2, 2, 1]), (0, 2, 0));
        assert_eq!(after(&[1, u64::MAX, 5]), (0, 1, 0), "a jump that no loss explains begins anew");
    }

    #[test]
    fn senders_are_counted_apart_and_their_number_is_bounded() {
        let mut detector = Detector::default();
        detector.note(&header("one", 1));
        detector.note(&header("two", 9));
        detector.note(&header("one", 2));
        assert_eq!(detector.losses(), Losses::default());
        detector.note(&header(&"long".repeat(100_000), 1));
        assert_eq!(detector.senders.len(), 2, "what is no epoch is not kept");
        for sender in 0..2 * MAX_SENDERS {
            detector.note(&header(&sender.to_string(), 1));
        }
        assert!(detector.senders.len() <= MAX_SENDERS && detector.oldest.len() <= MAX_SENDERS);
    }

    #[test]
    fn numbers_of_hostile_senders_add_up_to_no_overflow() {
        let mut detector = Detector::default();
        for sender in ["a", "b", "c"] {
            detector.note(&header(sender, 1));
            detector.note(&header(sender, u64::MAX));
            detector.note(&header(sender, 0));
        }
        assert_eq!(detector.losses().missing, 0);
    }
}
