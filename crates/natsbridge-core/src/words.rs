//! The words of the wire: payload types, transports, encodings and purposes, each with its one spelling (`docs/specification.md`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::harmless::shown;

/// Declares an enum of words with one spelling each, their list, and parsing.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every word, in the order of the specification
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word as it stands on the wire
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Finds the word; `None` for any other spelling
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

words! {
    /// What a payload is, and so how it is serialised (`docs/specification.md`, section 3)
    PayloadType {
        /// A string, UTF-8
        Text = "text",
        /// Any JSON value
        Dictionary = "dictionary",
        /// A table, Arrow IPC
        ArrowTable = "arrowtable",
        /// A table, JSON array of objects
        JsonTable = "jsontable",
        /// An image's bytes as they are
        Image = "image",
        /// A sound's bytes as they are
        Audio = "audio",
        /// A video's bytes as they are
        Video = "video",
        /// Bytes as they are
        Binary = "binary",
    }
}

words! {
    /// How a payload travels
    Transport {
        /// Inside the envelope
        Direct = "direct",
        /// As the URL of an upload
        Link = "link",
    }
}

words! {
    /// How `data` is written; senders write `base64` with `direct` and `none` with `link`
    Encoding {
        /// The text or URL itself
        None = "none",
        /// JSON, in base64 or as it is
        Json = "json",
        /// Base64, RFC 4648
        Base64 = "base64",
        /// Arrow IPC in base64
        ArrowIpc = "arrow-ipc",
    }
}

/// Text that names no payload type
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown payload type `{}`; the types are text, dictionary, arrowtable, jsontable, image, audio, video and binary",
    shown(found)
)]
pub struct ParsePayloadTypeError {
    found: String,
}

impl FromStr for PayloadType {
    type Err = ParsePayloadTypeError;

    /// Reads a payload type as the wire spells it, such as `text`
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::from_word(word).ok_or_else(|| ParsePayloadTypeError { found: word.to_owned() })
    }
}

impl PayloadType {
    /// Whether the payload is handed over as bytes, with no codec: image, audio, video and binary
    #[must_use]
    pub const fn is_bytes(self) -> bool {
        matches!(self, Self::Image | Self::Audio | Self::Video | Self::Binary)
    }

    /// Whether the payload is a table
    #[must_use]
    pub const fn is_table(self) -> bool {
        matches!(self, Self::ArrowTable | Self::JsonTable)
    }
}

impl<'de> Deserialize<'de> for PayloadType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Self::from_word(&word).ok_or_else(|| serde::de::Error::custom(format!("unknown payload_type `{word}`")))
    }
}

/// Why a message was sent; a word that is not in the list is kept as text (`docs/specification.md`)
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// The answered message was handled
    Ack,
    /// The answered message could not be handled; `metadata` says why
    Nack,
    /// News about a sender's state
    UpdateStatus,
    /// The receiver is asked to stop
    Shutdown,
    /// Anything else, the default
    #[default]
    Chat,
    /// A word this version does not know, as it came
    Other(Box<str>),
}

impl Purpose {
    /// The word as it stands on the wire
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Ack => "ACK",
            Self::Nack => "NACK",
            Self::UpdateStatus => "updateStatus",
            Self::Shutdown => "shutdown",
            Self::Chat => "chat",
            Self::Other(word) => word,
        }
    }
}

impl From<&str> for Purpose {
    fn from(word: &str) -> Self {
        match word {
            "ACK" => Self::Ack,
            "NACK" => Self::Nack,
            "updateStatus" => Self::UpdateStatus,
            "shutdown" => Self::Shutdown,
            "chat" => Self::Chat,
            other => Self::Other(other.into()),
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_by_its_spelling() {
        for &word in PayloadType::ALL {
            assert_eq!(PayloadType::from_word(word.as_str()), Some(word));
        }
        for &word in Encoding::ALL {
            assert_eq!(Encoding::from_word(word.as_str()), Some(word));
        }
        assert_eq!(Transport::from_word("Direct"), None, "words are case-sensitive");
    }

    #[test]
    fn an_unknown_purpose_is_kept_as_text() {
        for word in ["ACK", "NACK", "updateStatus", "shutdown", "chat", "ping", ""] {
            assert_eq!(Purpose::from(word).as_str(), word);
        }
        assert_eq!(Purpose::from("ack"), Purpose::Other("ack".into()));
    }
}
