//! Sequence numbers on the messages of a sender, subject by subject.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use natsbridge_core::{Envelope, OutboundMessage};
use natsbridge_nats::{Subject, SubjectError};
use uuid::Uuid;

/// Bytes that `seq` and `epoch` take in an envelope at most, kept free when a message is planned
pub(crate) const ROOM: u64 = 80;

/// Subjects whose messages one bridge counts; messages to further ones carry no numbers
const MAX_SUBJECTS: usize = 65_536;

/// The subjects that one bridge sends to
#[derive(Debug)]
pub(crate) struct Subjects {
    /// Names the time since which it counts
    epoch: Uuid,
    states: Mutex<HashMap<Box<str>, Arc<SubjectState>>>,
}

/// A subject that was checked once, and how many messages were sent to it
#[derive(Debug)]
pub(crate) struct SubjectState {
    pub(crate) subject: Subject,
    epoch: Uuid,
    /// Nothing if its messages are not counted
    sent: Option<AtomicU64>,
}

impl Subjects {
    pub(crate) fn new() -> Self {
        Self { epoch: Uuid::new_v4(), states: Mutex::default() }
    }

    /// The subject that a message goes to; that of a reply is a stranger's text, and not remembered
    pub(crate) fn get_or_insert(
        &self,
        message: &OutboundMessage,
        is_reply: bool,
    ) -> Result<Arc<SubjectState>, SubjectError> {
        // Nobody could reply to a subject that is none.
        if !message.reply_to.is_empty() {
            Subject::new(&*message.reply_to)?;
        }
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = states.get(&*message.send_to) {
            return Ok(Arc::clone(state));
        }
        // A reply goes to a subject of its own: there is nothing to count, and no end of such subjects.
        let counts = !is_reply && message.reply_to_msg_id.is_empty() && states.len() < MAX_SUBJECTS;
        let subject = Subject::new(&*message.send_to)?;
        let state = Arc::new(SubjectState { subject, epoch: self.epoch, sent: counts.then(AtomicU64::default) });
        if counts {
            states.insert(message.send_to.as_ref().into(), Arc::clone(&state));
        }
        Ok(state)
    }
}

impl SubjectState {
    /// Gives a message the subject's next number
    pub(crate) fn number(&self, envelope: &mut Envelope) {
        if let Some(sent) = self.sent.as_ref().filter(|_| envelope.header().reply_to_msg_id().is_empty()) {
            envelope.set_sequence(sent.fetch_add(1, Ordering::Relaxed) + 1, self.epoch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(state: &SubjectState) -> Envelope {
        let mut envelope = Envelope::from_json(br#"{"metadata":{"seq":7},"payloads":[]}"#).unwrap();
        state.number(&mut envelope);
        envelope
    }

    #[test]
    fn reserved_room_is_enough() {
        let most = r#"{"seq":18446744073709551615,"epoch":"00000000-0000-0000-0000-000000000000"}"#;
        assert!(u64::try_from(most.len()).unwrap() <= ROOM);
    }

    #[test]
    fn numbers_of_each_subject_begin_at_one() {
        let subjects = Subjects::new();
        for (subject, number) in [("a", 1), ("a", 2), ("b", 1), ("a", 3), ("a", 4), ("b", 2)] {
            let state = subjects.get_or_insert(&OutboundMessage::new(subject), false).unwrap();
            let envelope = numbered(&state);
            assert_eq!((state.subject.as_str(), envelope.header().seq()), (subject, Some(number)));
            assert_eq!(envelope.header().epoch(), Some(&*subjects.epoch.to_string()));
        }
    }

    #[test]
    fn replies_are_neither_counted_nor_remembered() {
        let subjects = Subjects::new();
        let mut reply = OutboundMessage::new("reply.1");
        // The second replies to a message that has no identifier.
        for (replied, is_reply) in [("m", false), ("", true)] {
            reply.reply_to_msg_id = replied.into();
            let state = subjects.get_or_insert(&reply, is_reply).unwrap();
            assert_eq!(numbered(&state).header().seq(), Some(7));
        }
        assert!(subjects.states.lock().unwrap().is_empty());
    }
}
