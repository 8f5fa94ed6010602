//! A payload's identifier, and the text form of UUIDs.

use uuid::Uuid;

/// Bytes of a UUID as text
pub(crate) const UUID_LEN: usize = 36;

/// A payload's identifier: a UUID's text needs no allocation, and holds nothing that JSON wants escaped
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Id {
    /// Letters, digits and hyphens
    Uuid([u8; UUID_LEN]),
    Other(Box<str>),
}

/// Whether a text has only the characters of a UUID, in any order
pub(crate) fn is_uuid_text(text: &[u8]) -> bool {
    // No early return, so that the loop vectorises.
    text.iter().fold(true, |plain, byte| plain & (byte.is_ascii_alphanumeric() | (*byte == b'-')))
}

impl Id {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            // Nothing but ASCII.
            Self::Uuid(text) => std::str::from_utf8(text).unwrap_or_default(),
            Self::Other(text) => text,
        }
    }
}

impl From<Uuid> for Id {
    fn from(uuid: Uuid) -> Self {
        let mut text = [0; UUID_LEN];
        uuid.hyphenated().encode_lower(&mut text);
        Self::Uuid(text)
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        let uuid = text.as_bytes().try_into().ok().filter(|uuid: &[u8; UUID_LEN]| is_uuid_text(uuid));
        uuid.map_or_else(|| Self::Other(text.into()), Self::Uuid)
    }
}
