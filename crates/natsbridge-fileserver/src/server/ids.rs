//! Identifiers and tokens: how they are made, checked and compared.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

/// The 62 characters an identifier or token is made of
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Characters in an identifier, as in Plik 1.3.8
const ID_LENGTH: usize = 16;

/// Characters in an upload token, as in Plik 1.3.8
const TOKEN_LENGTH: usize = 32;

/// Names an upload or a file: exactly 16 of `[A-Za-z0-9]`
///
/// What exists is safe as a file name, so nothing a client sends ever becomes a path by another way.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id([u8; ID_LENGTH]);

impl Id {
    /// A fresh identifier of about 95 random bits
    pub(super) fn random() -> Self {
        let mut id = [0; ID_LENGTH];
        fill(&mut id);
        Self(id)
    }

    /// Reads an identifier, or nothing if the text is not one
    pub(super) fn parse(text: &str) -> Option<Self> {
        let id: [u8; ID_LENGTH] = text.as_bytes().try_into().ok()?;
        id.iter().all(u8::is_ascii_alphanumeric).then_some(Self(id))
    }

    /// The identifier as text
    pub(super) fn as_str(&self) -> &str {
        // Only ASCII gets in, so the fallback is never taken.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Which of `count` equal shares this identifier falls into
    pub(super) fn share(&self, count: usize) -> usize {
        self.0.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte))) % count.max(1)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Id {
    // Who knows an upload's identifier can read it, so logs see the start only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({}…)", self.hint())
    }
}

impl Id {
    /// The first six characters, enough to follow an upload through a log and too few to fetch it
    pub(super) fn hint(&self) -> &str {
        self.as_str().get(..6).unwrap_or_default()
    }
}

/// A fresh upload token of about 190 random bits
pub(super) fn upload_token() -> String {
    let mut token = [0; TOKEN_LENGTH];
    fill(&mut token);
    String::from_utf8_lossy(&token).into_owned()
}

/// What is kept of a secret: its SHA-256, compared in constant time, and by no `==` that would stop at a difference
#[derive(Clone)]
pub(super) struct SecretDigest([u8; 32]);

impl SecretDigest {
    pub(super) fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Whether `offered` is the secret; the time taken does not depend on where they differ
    pub(super) fn matches(&self, offered: &str) -> bool {
        self.0.ct_eq(&Self::of(offered).0).into()
    }

    pub(super) fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// Reads what [`to_hex`](Self::to_hex) wrote
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        if text.len() != digest.len() * 2 || !text.is_ascii() {
            return None;
        }
        for (at, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
        }
        Some(Self(digest))
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(…)")
    }
}

/// Lower-case hexadecimal text of bytes
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0'));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Fills a slice with characters of the alphabet, each equally likely
fn fill(out: &mut [u8]) {
    // UUID v4 is the system's random source but for the version and variant bits, which sit in bytes 6 and 8.
    let random = std::iter::repeat_with(|| Uuid::new_v4().into_bytes())
        .flat_map(|bytes| bytes.into_iter().enumerate())
        .filter(|(at, _)| *at != 6 && *at != 8)
        // 62 of the 64 values have a character; the other two are drawn again, so no character is favoured.
        .filter_map(|(_, byte)| ALPHABET.get(usize::from(byte & 63)).copied());
    for (slot, character) in out.iter_mut().zip(random) {
        *slot = character;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifier_is_sixteen_letters_and_digits_only() {
        assert!(Id::parse("fx42p6dwO4x3MKWX").is_some());
        for text in [
            "",
            "fx42p6dwO4x3MKW",
            "fx42p6dwO4x3MKWXX",
            "fx42p6dwO4x3MK/X",
            "../../etc/passwd",
            "fx42p6dwO4x3MKW\0",
            "fx42p6dwO4x3MKé",
        ] {
            assert!(Id::parse(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn fresh_identifiers_parse_and_differ() {
        let ids: std::collections::HashSet<Id> = (0..1000).map(|_| Id::random()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| Id::parse(id.as_str()) == Some(*id)));
        assert_ne!(upload_token(), upload_token());
        assert_eq!(upload_token().len(), TOKEN_LENGTH);
    }

    #[test]
    fn secret_digest_survives_its_text_and_knows_its_secret() {
        let digest = SecretDigest::of("open sesame");
        let read = SecretDigest::from_hex(&digest.to_hex()).unwrap();
        assert!(read.matches("open sesame"));
        assert!(!read.matches("open sesamf"));
        assert!(!read.matches(""));
        assert!(SecretDigest::from_hex("zz").is_none());
    }

    #[test]
    fn debug_output_does_not_give_an_identifier_away() {
        let id = Id::random();
        assert!(!format!("{id:?}").contains(id.as_str()));
    }
}
