//! The numbers that senders put on their messages: metadata of nothing else is kept as JSON, without a map of its own.

use uuid::Uuid;

use crate::envelope::Metadata;

/// Bytes of the longest JSON that [`write`] writes
pub(crate) const MAX_LEN: usize = SEQ.len() + 20 + EPOCH.len() + EPOCH_LEN + END.len();

const SEQ: &str = "{\"seq\":";
const EPOCH: &str = ",\"epoch\":\"";
const END: &str = "\"}";
/// A UUID as text
const EPOCH_LEN: usize = 36;

/// What was found as a header's metadata
pub(crate) enum Found<'a> {
    /// JSON that [`found`] takes
    Numbers(&'a [u8]),
    /// Anything else, read
    Map(Metadata),
}

/// Appends the JSON of metadata that is nothing but numbers
pub(crate) fn write(seq: u64, epoch: Uuid, out: &mut String) {
    let mut buffer = [0; EPOCH_LEN];
    for piece in [SEQ, itoa::Buffer::new().format(seq), EPOCH, epoch.hyphenated().encode_lower(&mut buffer), END] {
        out.push_str(piece);
    }
}

/// Numbers as they stand in JSON
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Numbers<'a> {
    /// Digits of a whole number that fits 64 bits
    pub(crate) seq: &'a str,
    /// 36 characters that JSON does not escape
    pub(crate) epoch: &'a str,
    /// Bytes of the whole
    pub(crate) len: usize,
}

/// Finds, at the beginning of a text, metadata as [`write`] writes it; `None` for every other form
pub(crate) fn found(text: &[u8]) -> Option<Numbers<'_>> {
    /// Digits of which any number fits 64 bits
    const DIGITS: usize = 19;
    let rest = text.strip_prefix(SEQ.as_bytes())?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (seq, rest) = rest.split_at(digits);
    if !matches!(seq, [b'1'..=b'9', ..]) || digits > DIGITS {
        return None;
    }
    let (epoch, rest) = rest.strip_prefix(EPOCH.as_bytes())?.split_at_checked(EPOCH_LEN)?;
    if !epoch.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') || !rest.starts_with(END.as_bytes()) {
        return None;
    }
    let len = text.len() - rest.len() + END.len();
    Some(Numbers { seq: std::str::from_utf8(seq).ok()?, epoch: std::str::from_utf8(epoch).ok()?, len })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found_and_is_json() {
        let epoch = Uuid::from_u128(7);
        for seq in [1, 9, 10, 9_999_999_999_999_999_999] {
            let mut json = String::new();
            write(seq, epoch, &mut json);
            let text = format!("{json} and more");
            let found = found(text.as_bytes()).unwrap();
            assert_eq!((found.seq.parse(), found.epoch, found.len), (Ok(seq), &*epoch.to_string(), json.len()));
            let map: Metadata = serde_json::from_str(&json).unwrap();
            assert_eq!((&map["seq"], &map["epoch"]), (&seq.into(), &epoch.to_string().into()));
        }
        let mut json = String::new();
        write(u64::MAX, epoch, &mut json);
        assert_eq!(json.len(), MAX_LEN);
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
