//! Base64 on the wire: written in the standard alphabet with padding, read strictly first and tolerantly after.

use base64::DecodeError;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64_simd::AsOut as _;

use crate::harmless::shown;

/// Takes what is left once white space is gone and the alphabet is one: padding or none
const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Base64 characters for this many bytes, padding included
pub(crate) const fn encoded_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Appends the standard, padded form
pub(crate) fn encode_into(bytes: &[u8], out: &mut Vec<u8>) {
    base64_simd::STANDARD.encode_append(bytes, out);
}

/// Writes the standard, padded form over `out`, which has to have room for [`encoded_len`]
pub(crate) fn encode_to(bytes: &[u8], out: &mut [u8]) {
    let _ = base64_simd::STANDARD.encode(bytes, out.as_out());
}

/// Decodes the standard, padded form alone; `None` for anything else
pub(crate) fn decode_strict(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    base64_simd::STANDARD.decode_append(text, &mut bytes).is_ok().then_some(bytes)
}

/// Decodes what any peer may have written (specification, section 5)
///
/// The standard, padded form takes the fast path. What it refuses is tried again without white space, in either
/// alphabet, with or without padding.
///
/// # Errors
/// Says what is wrong with the text in neither form.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, String> {
    if let Some(bytes) = decode_strict(text.as_bytes()) {
        return Ok(bytes);
    }
    let standard: Vec<u8> = text
        .bytes()
        .filter(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect();
    TOLERANT.decode(&standard).map_err(|error| fault(text, &error))
}

/// What is wrong with text that no form of base64 takes, in words that name the character as it stands
fn fault(text: &str, error: &DecodeError) -> String {
    let is_white = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let is_known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_' | '=');
    let mut characters = text.chars().enumerate();
    if let Some((at, c)) = characters.find(|(_, c)| !is_known(*c) && !is_white(*c)) {
        return format!(
            "character {} is `{}`, which is in neither alphabet",
            at + 1,
            shown(c.encode_utf8(&mut [0; 4]))
        );
    }
    let without_white = |at: usize| text.chars().enumerate().filter(|(_, c)| !is_white(*c)).nth(at);
    match error {
        DecodeError::InvalidLastSymbol { offset, .. } => match without_white(*offset) {
            Some((at, c)) => format!("the last character, {} `{c}`, has bits that belong to no byte", at + 1),
            None => "the last character has bits that belong to no byte".to_owned(),
        },
        DecodeError::InvalidByte(offset, _) => match without_white(*offset) {
            Some((at, c)) => format!("character {} is `{c}`, where padding has begun or none may be", at + 1),
            None => "padding is not at its end".to_owned(),
        },
        DecodeError::InvalidLength(_) => "its last group has one character, and a byte takes two".to_owned(),
        DecodeError::InvalidPadding => "its padding is not `=` or `==` at the end".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_that_a_peer_may_write_are_all_read() {
        for text in ["+/+/AA==", "-_-_AA==", "+/+/AA", "-_-_AA", "+/+/\r\nAA==", " +/ +/AA\n", "+/+/AA="] {
            assert_eq!(decode(text), Ok(vec![0xfb, 0xff, 0xbf, 0x00]), "{text:?}");
        }
        assert_eq!(decode(""), Ok(vec![]));
    }

    #[test]
    fn text_that_is_not_base64_is_refused() {
        for text in ["A", "AA=A", "AAA*", "é", "AA==AA==", "AAAAA", "AB=="] {
            assert!(decode(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn errors_name_the_character_and_its_place() {
        for (text, reason) in [
            ("aGVs\nRÄ==", "character 7 is `Ä`, which is in neither alphabet"),
            ("aGVs*G8=", "character 5 is `*`, which is in neither alphabet"),
            ("aG\u{1b}s", "character 3 is `\\u{1b}`, which is in neither alphabet"),
            ("aG Vs bGB=", "the last character, 9 `B`, has bits that belong to no byte"),
            ("A", "its last group has one character, and a byte takes two"),
        ] {
            assert_eq!(decode(text).unwrap_err(), reason, "{text:?}");
        }
        for text in ["AA=A", "AA==AA==", "====", "AAA=="] {
            assert!(!decode(text).unwrap_err().is_empty(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn fast_encoder_writes_what_the_reference_writes(bytes in proptest::collection::vec(any::<u8>(), 0..4_000)) {
            let (mut text, mut over) = (Vec::new(), vec![0; encoded_len(bytes.len())]);
            encode_into(&bytes, &mut text);
            encode_to(&bytes, &mut over);
            prop_assert_eq!(&over, &text);
            let text = String::from_utf8(text).unwrap();
            prop_assert_eq!(&text, &base64::engine::general_purpose::STANDARD.encode(&bytes));
            prop_assert_eq!(text.len(), encoded_len(bytes.len()));
            prop_assert_eq!(decode(&text), Ok(bytes));
        }
    }
}
