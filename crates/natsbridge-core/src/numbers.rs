//! The numbers that senders put on their messages: metadata of nothing else is kept as JSON, without a map of its own.

use std::fmt;
use std::sync::{Arc, OnceLock};

use uuid::Uuid;

use crate::envelope::{Metadata, UUID_LEN, is_uuid_text};

/// Bytes of the longest JSON that [`write()`] writes
pub(crate) const MAX_LEN: usize = SEQ.len() + 20 + EPOCH.len() + UUID_LEN + END.len();

const SEQ: &str = "{\"seq\":";
const EPOCH: &str = ",\"epoch\":\"";
const END: &str = "\"}";

/// What was found as a header's metadata
pub(crate) enum Found<'a> {
    /// JSON that [`found`] takes
    Numbers(&'a [u8]),
    /// Anything else, read
    Map(Metadata),
}

impl<'a> Found<'a> {
    /// The JSON to keep, and the map where there is one
    pub(crate) fn split(self) -> (&'a [u8], OnceLock<Box<Metadata>>) {
        match self {
            Self::Numbers(json) => (json, OnceLock::new()),
            Self::Map(metadata) => (&[], kept(metadata)),
        }
    }
}

/// A map as a header keeps it, which is not at all while it is empty
pub(crate) fn kept(metadata: Metadata) -> OnceLock<Box<Metadata>> {
    if metadata.is_empty() { OnceLock::new() } else { Box::new(metadata).into() }
}

/// Names the time since which a sender counts (specification, section 6); written once for all messages
#[derive(Clone, PartialEq, Eq)]
pub struct Epoch {
    /// What stands behind the number
    json: Arc<str>,
}

impl Epoch {
    /// The name as text
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.json.get(EPOCH.len()..self.json.len() - END.len()).unwrap_or_default()
    }
}

impl From<Uuid> for Epoch {
    fn from(uuid: Uuid) -> Self {
        Self { json: format!("{EPOCH}{uuid}{END}").into() }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Epoch").field(&self.as_str()).finish()
    }
}

/// Appends the JSON of metadata that is nothing but numbers
pub(crate) fn write(seq: u64, epoch: &Epoch, out: &mut String) {
    out.push_str(SEQ);
    out.push_str(itoa::Buffer::new().format(seq));
    out.push_str(&epoch.json);
}

/// The length of metadata as [`write()`] writes it, at the beginning of a text; `None` for every other form
pub(crate) fn found(text: &[u8]) -> Option<usize> {
    /// Digits of which any number fits 64 bits
    const DIGITS: usize = 19;
    let rest = text.strip_prefix(SEQ.as_bytes())?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if rest.first() == Some(&b'0') || !(1..=DIGITS).contains(&digits) {
        return None;
    }
    let (epoch, rest) = rest[digits..].strip_prefix(EPOCH.as_bytes())?.split_at_checked(UUID_LEN)?;
    let rest = rest.strip_prefix(END.as_bytes()).filter(|_| is_uuid_text(epoch))?;
    Some(text.len() - rest.len())
}

/// `seq` and `epoch` out of JSON that was [`found`] or written
pub(crate) fn parts(json: &str) -> Option<(u64, &str)> {
    let (seq, epoch) = json.split_at_checked(json.len().checked_sub(UUID_LEN + END.len())?)?;
    let seq = seq.strip_prefix(SEQ)?.strip_suffix(EPOCH)?;
    Some((seq.parse().ok()?, epoch.strip_suffix(END)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found_and_is_json() {
        let epoch = Epoch::from(Uuid::from_u128(7));
        for seq in [1, 9, 10, 9_999_999_999_999_999_999] {
            let mut json = String::new();
            write(seq, &epoch, &mut json);
            assert_eq!(found(format!("{json} and more").as_bytes()), Some(json.len()));
            assert_eq!(parts(&json), Some((seq, epoch.as_str())));
            let map: Metadata = serde_json::from_str(&json).unwrap();
            assert_eq!((&map["seq"], &map["epoch"]), (&seq.into(), &epoch.as_str().into()));
        }
        let mut json = String::new();
        write(u64::MAX, &epoch, &mut json);
        assert_eq!((json.len(), parts(&json)), (MAX_LEN, Some((u64::MAX, epoch.as_str()))));
        assert_eq!(parts(""), None);
    }

    #[test]
    fn what_another_sender_wrote_is_left_to_the_reader() {
        let epoch = "01234567-89ab-cdef-0123-456789abcdef";
        for json in [
            "{}".to_owned(),
            format!(r#"{{"seq": 1,"epoch":"{epoch}"}}"#),
            format!(r#"{{"seq":01,"epoch":"{epoch}"}}"#),
            format!(r#"{{"seq":-1,"epoch":"{epoch}"}}"#),
            format!(r#"{{"seq":1.5,"epoch":"{epoch}"}}"#),
            format!(r#"{{"seq":99999999999999999999,"epoch":"{epoch}"}}"#),
            format!(r#"{{"seq":1,"epoch":"{epoch}","seq":2}}"#),
            format!(r#"{{"epoch":"{epoch}","seq":1}}"#),
            format!(r#"{{"seq":1,"epoch":"{}"}}"#, epoch.replace('-', "\"")),
            format!(r#"{{"seq":1,"epoch":"{}é"}}"#, &epoch[2..]),
            format!(r#"{{"seq":1,"epoch":"{}"}}"#, &epoch[1..]),
        ] {
            assert_eq!(found(json.as_bytes()), None, "{json}");
        }
    }
}
