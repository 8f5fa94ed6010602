//! What a sender's messages to one subject have in common, joined once for all of them.

use std::sync::OnceLock;

use crate::envelope::{FIELDS, OPENINGS};
use crate::wire::write::{is_plain, total};
use crate::{OutboundMessage, Purpose, Sender};

/// Fields that are new in every message: its flow, its identifier and its time
pub(crate) const NEW: usize = 3;

/// The most bytes that a letterhead joins; longer fields are joined for every message
const MAX_LEN: usize = 2_048;

/// What a sender's messages to one subject have in common: all text fields of the header but flow, identifier and time
///
/// They are joined for the first message, so that the header of a further one with the same fields takes a third of the time.
/// One with other fields, to another receiver say, has its header joined as if there were no letterhead: keep one for each
/// subject. Of a sender without an identifier, which gets a new one for every message, no two have the same.
#[derive(Debug, Default)]
pub struct Letterhead(OnceLock<Option<Box<Joined>>>);

/// Common fields as members of a JSON object
#[derive(Debug)]
pub(crate) struct Joined {
    /// From the last field's quote before them to their last character
    pub(crate) text: Box<str>,
    /// Where each ends in the text
    pub(crate) ends: [u32; FIELDS.len() - NEW],
    sender: Sender,
    msg_purpose: Purpose,
    /// The message's own
    texts: [Box<str>; 5],
}

impl Letterhead {
    /// The fields joined, where they are the first message's, nothing in them is to be escaped, and they are not long
    pub(crate) fn joined(&self, message: &OutboundMessage, sender: &Sender) -> Option<&Joined> {
        let joined = self.0.get_or_init(|| Joined::new(message, sender)).as_ref()?;
        joined.is_of(message, sender).then_some(joined)
    }
}

impl Joined {
    fn new(message: &OutboundMessage, sender: &Sender) -> Option<Box<Self>> {
        let [send_to, receiver_name, receiver_id, reply_to, reply_to_msg_id] = texts(message);
        let (sender_name, sender_id, broker_url) = sender.fields();
        let fields: [&str; FIELDS.len() - NEW] = [
            send_to,
            message.msg_purpose.as_str(),
            sender_name,
            sender_id?,
            receiver_name,
            receiver_id,
            reply_to,
            reply_to_msg_id,
            broker_url,
        ];
        let len = fields.iter().map(|field| field.len()).fold(total(&OPENINGS[NEW..]), usize::saturating_add);
        let mut text = String::with_capacity(Some(len).filter(|len| *len <= MAX_LEN)?);
        let mut ends = [0; FIELDS.len() - NEW];
        for ((opening, field), end) in OPENINGS[NEW..].iter().zip(fields).zip(&mut ends) {
            text.push_str(opening);
            text.push_str(Some(field).filter(|field| is_plain(field))?);
            *end = u32::try_from(text.len()).ok()?;
        }
        let (sender, msg_purpose) = (sender.clone(), message.msg_purpose.clone());
        Some(Box::new(Self { text: text.into(), ends, sender, msg_purpose, texts: texts(message).map(Box::from) }))
    }

    fn is_of(&self, message: &OutboundMessage, sender: &Sender) -> bool {
        // Most texts are empty, and glibc takes long to compare nothing with nothing where AVX-512 is.
        let same = |ours: &str, theirs: &str| ours.len() == theirs.len() && (theirs.is_empty() || ours == theirs);
        self.sender == *sender
            && self.msg_purpose == message.msg_purpose
            && self.texts.iter().zip(texts(message)).all(|(ours, theirs)| same(ours, theirs))
    }
}

fn texts(message: &OutboundMessage) -> [&str; 5] {
    let OutboundMessage { send_to, receiver_name, receiver_id, reply_to, reply_to_msg_id, .. } = message;
    [send_to, receiver_name, receiver_id, reply_to, reply_to_msg_id]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> Sender {
        Sender::default().name("sensor").id("id").broker_url("nats://a")
    }

    fn is_joined(letterhead: &Letterhead, message: &OutboundMessage, sender: &Sender) -> bool {
        letterhead.joined(message, sender).is_some()
    }

    #[test]
    fn only_the_same_fields_are_joined() {
        let (letterhead, first) = (Letterhead::default(), OutboundMessage::new("lab.results"));
        let joined = letterhead.joined(&first, &sender()).unwrap();
        assert!(joined.text.starts_with(r#"","send_to":"lab.results","msg_purpose":"chat","#), "{}", joined.text);
        assert!(joined.text.ends_with(r#""broker_url":"nats://a"#), "{}", joined.text);
        for other in ["", "lab.result", "lab.results.", "lab.resultz"] {
            assert!(!is_joined(&letterhead, &OutboundMessage::new(other), &sender()), "{other}");
        }
        let changes: [fn(&mut OutboundMessage); 6] = [
            |message| message.msg_purpose = Purpose::Shutdown,
            |message| message.msg_purpose = Purpose::Other("chat".into()),
            |message| message.receiver_name = "lab.results".into(),
            |message| message.receiver_id = "x".into(),
            |message| message.reply_to = "x".into(),
            |message| message.reply_to_msg_id = "x".into(),
        ];
        for change in changes {
            let mut message = first.clone();
            change(&mut message);
            assert!(!is_joined(&letterhead, &message, &sender()), "{message:?}");
        }
        for other in [sender().name("sensors"), sender().id(""), sender().broker_url("nats://b"), Sender::default()] {
            assert!(!is_joined(&letterhead, &first, &other), "{other:?}");
        }
        assert!(is_joined(&letterhead, &first, &sender()), "the first message's fields stay, for an equal sender too");
    }

    #[test]
    fn without_an_identifier_no_two_messages_are_the_same() {
        let (letterhead, nobody) = (Letterhead::default(), Sender::default());
        assert!(!is_joined(&letterhead, &OutboundMessage::new("a"), &nobody));
        assert!(!is_joined(&letterhead, &OutboundMessage::new("a"), &nobody));
    }

    #[test]
    fn what_has_to_be_escaped_or_is_long_is_not_joined() {
        let message = OutboundMessage::new("lab.results");
        assert!(!is_joined(&Letterhead::default(), &message, &sender().name("a \"sensor\"")));
        for (len, joined) in [(MAX_LEN / 2, true), (MAX_LEN, false)] {
            assert_eq!(is_joined(&Letterhead::default(), &message, &sender().name("x".repeat(len))), joined);
        }
    }
}
