//! Sequence numbers as metadata (`docs/specification.md`, section 6): written and read as JSON, without a map.

use std::sync::OnceLock;

use uuid::Uuid;

use crate::id::{UUID_LEN, is_uuid_text};
use crate::metadata::Metadata;

/// Bytes of the longest JSON that [`write()`] writes
pub(crate) const MAX_LEN: usize = SEQ.len() + 20 + EPOCH.len() + UUID_LEN + END.len();

const SEQ: &str = "{\"seq\":";
const EPOCH: &str = ",\"epoch\":\"";
const END: &str = "\"}";

/// A header's metadata as it was read
pub(crate) enum ParsedMetadata<'a> {
    /// JSON of a sequence number and nothing else, as [`sequence_len`] finds it
    Sequence(&'a [u8]),
    Map(Metadata),
}

impl<'a> ParsedMetadata<'a> {
    /// The JSON of a sequence number, and any other metadata
    pub(crate) fn split(self) -> (&'a [u8], OnceLock<Box<Metadata>>) {
        match self {
            Self::Sequence(json) => (json, OnceLock::new()),
            Self::Map(metadata) => (&[], packed(metadata)),
        }
    }
}

/// Metadata as a header holds it; nothing where it is empty
pub(crate) fn packed(metadata: Metadata) -> OnceLock<Box<Metadata>> {
    if metadata.is_empty() { OnceLock::new() } else { Box::new(metadata).into() }
}

/// Appends the JSON of metadata that holds nothing but a sequence number
pub(crate) fn write(seq: u64, epoch: Uuid, out: &mut String) {
    out.push_str(SEQ);
    out.push_str(itoa::Buffer::new().format(seq));
    out.push_str(EPOCH);
    out.push_str(epoch.hyphenated().encode_lower(&mut [0; UUID_LEN]));
    out.push_str(END);
}

/// The length of a sequence number as [`write()`] writes it, at the beginning of a text; `None` for every other form
pub(crate) fn sequence_len(text: &[u8]) -> Option<usize> {
    /// Any number with so many digits fits 64 bits
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

/// `seq` and `epoch` out of JSON that [`write()`] wrote or [`sequence_len`] found
pub(crate) fn parts(json: &str) -> Option<(u64, &str)> {
    let (seq, epoch) = json.split_at_checked(json.len().checked_sub(UUID_LEN + END.len())?)?;
    let seq = seq.strip_prefix(SEQ)?.strip_suffix(EPOCH)?;
    Some((seq.parse().ok()?, epoch.strip_suffix(END)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_numbers_are_found_and_are_json() {
        let epoch = Uuid::from_u128(7);
        let text = epoch.to_string();
        for seq in [1, 9, 10, 9_999_999_999_999_999_999] {
            let mut json = String::new();
            write(seq, epoch, &mut json);
            assert_eq!(sequence_len(format!("{json} and more").as_bytes()), Some(json.len()));
            assert_eq!(parts(&json), Some((seq, &*text)));
            let map: Metadata = serde_json::from_str(&json).unwrap();
            assert_eq!((&map["seq"], &map["epoch"]), (&seq.into(), &text.as_str().into()));
        }
        let mut json = String::new();
        write(u64::MAX, epoch, &mut json);
        assert_eq!((json.len(), parts(&json)), (MAX_LEN, Some((u64::MAX, &*text))));
        assert_eq!(parts(""), None);
    }

    #[test]
    fn other_forms_are_left_to_the_reader() {
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
            assert_eq!(sequence_len(json.as_bytes()), None, "{json}");
        }
    }
}
