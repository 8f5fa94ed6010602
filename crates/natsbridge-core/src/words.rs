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
            #[cfg(test)]
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Returns the word as it is written on the wire
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Parses a word; `None` for any other text, also in other upper or lower case
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
    /// Type of a payload, which decides how it is serialised (`docs/specification.md`, section 3)
    PayloadType {
        /// UTF-8 text
        Text = "text",
        /// Any JSON value
        Dictionary = "dictionary",
        /// A table as an Arrow IPC stream
        ArrowTable = "arrowtable",
        /// A table as a JSON array of objects, one per row
        JsonTable = "jsontable",
        /// Bytes of an image
        Image = "image",
        /// Bytes of a sound
        Audio = "audio",
        /// Bytes of a video
        Video = "video",
        /// Bytes of any kind
        Binary = "binary",
    }
}

words! {
    /// How a payload travels: inside the message, or as a link to a file server
    Transport {
        /// Inside the envelope
        Direct = "direct",
        /// As the URL of an upload
        Link = "link",
    }
}

words! {
    /// Encoding of `data`; senders write `base64` with `direct` and `none` with `link`
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

/// The text is not a payload type
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

    /// Parses the wire's word for a payload type, such as `text`
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::from_word(word).ok_or_else(|| ParsePayloadTypeError { found: word.to_owned() })
    }
}

impl PayloadType {
    /// Returns whether the payload is plain bytes: image, audio, video or binary
    #[must_use]
    pub const fn is_bytes(self) -> bool {
        matches!(self, Self::Image | Self::Audio | Self::Video | Self::Binary)
    }
}

impl<'de> Deserialize<'de> for PayloadType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Self::from_word(&word).ok_or_else(|| serde::de::Error::custom(format!("unknown payload_type `{word}`")))
    }
}

/// Purpose of a message: chat, ACK, NACK, status update or shutdown request (`docs/specification.md`, section 1)
///
/// An unknown word is kept as text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// Acknowledgement: the message was handled
    Ack,
    /// Negative acknowledgement: the message was not handled; `metadata` says why
    Nack,
    /// The sender's state has changed
    UpdateStatus,
    /// The receiver is asked to stop
    Shutdown,
    /// Anything else, the default
    #[default]
    Chat,
    /// An unknown word, unchanged
    Other(Box<str>),
}

impl Purpose {
    /// Returns the word as it is written on the wire
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
    fn names_are_all_found_by_their_spelling() {
        for &word in PayloadType::ALL {
            assert_eq!(PayloadType::from_word(word.as_str()), Some(word));
        }
        for &word in Encoding::ALL {
            assert_eq!(Encoding::from_word(word.as_str()), Some(word));
        }
        for &word in Transport::ALL {
            assert_eq!(Transport::from_word(word.as_str()), Some(word));
        }
        assert_eq!(Transport::from_word("Direct"), None, "words are case-sensitive");
    }

    #[test]
    fn unknown_purpose_is_kept_as_text() {
        for word in ["ACK", "NACK", "updateStatus", "shutdown", "chat", "ping", ""] {
            assert_eq!(Purpose::from(word).as_str(), word);
        }
        assert_eq!(Purpose::from("ack"), Purpose::Other("ack".into()));
    }
}
