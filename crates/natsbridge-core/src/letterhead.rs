//! What a sender's messages to one subject have in common, joined once for all of them.

use std::sync::OnceLock;

use crate::envelope::{FIELDS, OPENINGS};
use crate::wire::write::{is_plain, total};

/// Fields that are new in every message: its flow, its identifier and its time
pub(crate) const NEW: usize = 3;

/// The most bytes that a letterhead keeps; longer fields are joined for every message
const MAX_LEN: usize = 2_048;

/// All other fields, in wire order
pub(crate) type Common<'a> = [&'a str; FIELDS.len() - NEW];

/// What a sender's messages to one subject have in common: all text fields of the header but flow, identifier and time
///
/// They are joined for the first message, so that the header of a further one with the same fields takes a third of the time.
/// One with other fields, to another receiver say, has its header joined as if there were no letterhead: keep one for each
/// subject. Of a sender without an identifier, which gets a new one for every message, no two have the same.
#[derive(Debug, Default)]
pub struct Letterhead(OnceLock<Option<Joined>>);

/// Common fields as members of a JSON object
#[derive(Debug)]
pub(crate) struct Joined {
    /// From the last field's quote before them to their last character
    pub(crate) text: Box<str>,
    /// Where each ends in the text
    pub(crate) ends: [u32; FIELDS.len() - NEW],
}

impl Letterhead {
    /// The fields joined, where they are the first message's, nothing in them is to be escaped, and they are not long
    pub(crate) fn joined(&self, fields: Common<'_>) -> Option<&Joined> {
        self.0.get_or_init(|| Joined::new(fields)).as_ref().filter(|joined| joined.holds(fields))
    }
}

impl Joined {
    fn new(fields: Common<'_>) -> Option<Self> {
        let len = fields.iter().map(|field| field.len()).fold(total(&OPENINGS[NEW..]), usize::saturating_add);
        let mut text = String::with_capacity(Some(len).filter(|len| *len <= MAX_LEN)?);
        let mut ends = [0; FIELDS.len() - NEW];
        for ((opening, field), end) in OPENINGS[NEW..].iter().zip(fields).zip(&mut ends) {
            text.push_str(opening);
            text.push_str(Some(field).filter(|field| is_plain(field))?);
            *end = u32::try_from(text.len()).ok()?;
        }
        Some(Self { text: text.into(), ends })
    }

    fn holds(&self, fields: Common<'_>) -> bool {
        let mut before = 0;
        OPENINGS[NEW..].iter().zip(fields).zip(self.ends).all(|((opening, field), end)| {
            let (start, end) = (before + opening.len(), usize::try_from(end).unwrap_or(usize::MAX));
            before = end;
            // Most are empty, and glibc takes long to compare nothing with nothing where AVX-512 is.
            end - start == field.len()
                && (field.is_empty() || self.text.as_bytes().get(start..end) == Some(field.as_bytes()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Common<'_> = ["lab.results", "chat", "sensor", "id", "", "", "", "", "nats://a"];

    #[test]
    fn only_the_same_fields_are_joined() {
        let letterhead = Letterhead::default();
        assert!(letterhead.joined(FIRST).is_some_and(|joined| joined.text.ends_with(r#""broker_url":"nats://a"#)));
        for index in 0..FIRST.len() {
            for other in ["", "lab.result", "lab.results.", "\"chat", &"x".repeat(FIRST[index].len())] {
                let mut fields = FIRST;
                fields[index] = other;
                assert_eq!(letterhead.joined(fields).is_some(), fields == FIRST, "{fields:?}");
            }
        }
        assert!(letterhead.joined(FIRST).is_some(), "the first message's fields stay");
    }

    #[test]
    fn fields_that_are_one_in_another_place_are_not_the_same() {
        let letterhead = Letterhead::default();
        let mut fields = FIRST;
        fields[1] = "ab";
        assert!(letterhead.joined(fields).is_some());
        (fields[1], fields[2]) = ("a", "bsensor");
        assert!(letterhead.joined(fields).is_none());
    }

    #[test]
    fn what_has_to_be_escaped_or_is_long_is_not_joined() {
        let mut fields = FIRST;
        fields[2] = "a \"sensor\"";
        assert!(Letterhead::default().joined(fields).is_none());
        let long = "x".repeat(MAX_LEN);
        for (len, joined) in [(MAX_LEN / 2, true), (MAX_LEN, false)] {
            fields[2] = &long[..len];
            assert_eq!(Letterhead::default().joined(fields).is_some(), joined);
        }
    }
}
