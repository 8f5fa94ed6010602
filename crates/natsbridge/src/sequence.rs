//! Numbers on messages: a sender counts each subject, and a receiver finds what was lost, repeated or overtaken.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use natsbridge_core::{Epoch, Header, Letterhead, OutboundMessage};
use natsbridge_nats::{Subject, SubjectError};
use uuid::Uuid;

use crate::observe;

/// Bytes that `seq` and `epoch` take in an envelope at most, kept free when a message is planned
pub(crate) const ROOM: u64 = 80;

/// Subjects that one bridge counts; messages to further ones carry no numbers
const MAX_SUBJECTS: usize = 65_536;

/// Subjects with a letterhead, which takes some 600 bytes: a program that has more sends little to each
const MAX_LETTERHEADS: usize = 1_024;

/// Counts the messages of one bridge, subject by subject
#[derive(Debug)]
pub(crate) struct Counter {
    epoch: Epoch,
    subjects: Mutex<Subjects>,
}

#[derive(Debug, Default)]
struct Subjects {
    counted: HashMap<Box<str>, Arc<Counted>>,
    /// The one asked for last: programs that send a lot mostly send it to one subject
    last: Option<Arc<Counted>>,
}

/// A subject that was checked once, and how often it was sent to
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) subject: Subject,
    /// Nothing where messages are not counted
    sent: Option<Sent>,
    /// What messages to the subject have in common
    pub(crate) letterhead: Option<Letterhead>,
}

/// How many messages, and since when
#[derive(Debug)]
struct Sent {
    messages: AtomicU64,
    epoch: Epoch,
}

impl Counter {
    pub(crate) fn new() -> Self {
        Self { epoch: Uuid::new_v4().into(), subjects: Mutex::default() }
    }

    /// The subject that a message goes to; that of an answer is a stranger's word, and not remembered
    pub(crate) fn counted(&self, message: &OutboundMessage, answers: bool) -> Result<Arc<Counted>, SubjectError> {
        // Where it is none, nobody could answer.
        if !message.reply_to.is_empty() {
            Subject::new(&*message.reply_to)?;
        }
        let mut subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        let Subjects { counted, last } = &mut *subjects;
        if let Some(last) = last.as_ref().filter(|last| last.subject.as_str() == message.send_to) {
            return Ok(Arc::clone(last));
        }
        if let Some(counted) = counted.get(&*message.send_to) {
            *last = Some(Arc::clone(counted));
            return Ok(Arc::clone(counted));
        }
        // An answer goes to a subject of its own: there is nothing to count, and no end of such subjects.
        let counts = !answers && message.reply_to_msg_id.is_empty() && counted.len() < MAX_SUBJECTS;
        let subject = Subject::new(&*message.send_to)?;
        let letterhead = (counts && counted.len() < MAX_LETTERHEADS).then(Letterhead::default);
        let sent = counts.then(|| Sent { messages: AtomicU64::default(), epoch: self.epoch.clone() });
        let new = Arc::new(Counted { subject, sent, letterhead });
        if counts {
            counted.insert(message.send_to.as_ref().into(), Arc::clone(&new));
        }
        Ok(new)
    }
}

impl Counted {
    /// Writes the subject's next number into a header's metadata
    pub(crate) fn number(&self, header: &mut Header) {
        if let Some(sent) = self.sent.as_ref().filter(|_| header.reply_to_msg_id().is_empty()) {
            header.number(sent.messages.fetch_add(1, Ordering::Relaxed) + 1, &sent.epoch);
        }
    }
}

/// What a subscription has missed, by the senders' own numbers (docs/specification.md, section 6)
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

    /// Begins with a sender: what it sent before the subscription stood is not missing
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
    fn what_was_lost_repeated_or_overtaken_is_counted() {
        assert_eq!(after(&[1, 2, 3]), (0, 0, 0));
        assert_eq!(after(&[7, 8]), (0, 0, 0), "what came before the subscription is not missing");
        assert_eq!(after(&[1, 2, 5]), (2, 0, 0));
        assert_eq!(after(&[1, 3, 2]), (0, 0, 1));
        assert_eq!(after(&[1, 2, 2, 1]), (0, 2, 0));
        assert_eq!(after(&[1, u64::MAX, 5]), (0, 1, 0), "a jump that no loss explains begins anew");
    }

    #[test]
    fn senders_are_followed_apart_and_their_number_is_bounded() {
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

    #[test]
    fn the_room_kept_free_is_enough() {
        let most = r#"{"seq":18446744073709551615,"epoch":"00000000-0000-0000-0000-000000000000"}"#;
        assert!(u64::try_from(most.len()).unwrap() <= ROOM);
    }

    #[test]
    fn a_counter_numbers_each_subject_from_one() {
        let counter = Counter::new();
        let mut first = header("x", 7);
        for (subject, number) in [("a", 1), ("a", 2), ("b", 1), ("a", 3), ("a", 4), ("b", 2)] {
            let counted = counter.counted(&OutboundMessage::new(subject), false).unwrap();
            counted.number(&mut first);
            assert_eq!((counted.subject.as_str(), first.seq()), (subject, Some(number)));
        }
        assert_eq!(first.metadata()["epoch"], json!(counter.epoch.as_str()));
    }

    #[test]
    fn answers_are_neither_counted_nor_remembered() {
        let counter = Counter::new();
        let mut answer = OutboundMessage::new("reply.1");
        // The second, to a message that has no identifier.
        for (answered, answers) in [("m", false), ("", true)] {
            answer.reply_to_msg_id = answered.into();
            let mut unnumbered = header("x", 7);
            let counted = counter.counted(&answer, answers).unwrap();
            counted.number(&mut unnumbered);
            assert_eq!(unnumbered.seq(), Some(7));
            assert!(counted.letterhead.is_none());
        }
        let subjects = counter.subjects.lock().unwrap();
        assert!(subjects.counted.is_empty() && subjects.last.is_none());
    }

    #[test]
    fn letterheads_have_an_end() {
        let counter = Counter::new();
        let has_one = |number: usize| {
            let message = OutboundMessage::new(format!("subject.{number}"));
            counter.counted(&message, false).unwrap().letterhead.is_some()
        };
        assert!((0..MAX_LETTERHEADS).all(has_one) && !has_one(MAX_LETTERHEADS) && has_one(0));
    }
}
