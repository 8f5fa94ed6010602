//! Where a payload's serialised bytes are: in memory, or in a file that core names and never opens.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

/// Re-readable bytes: an upload that is tried again reads them from the start
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a new kind of source must break every match that reads one")]
pub enum Source {
    /// In memory
    Bytes(Bytes),
    /// In memory, one piece behind the other: a large table, whose columns stay where they are
    Pieces(Arc<[Bytes]>),
    /// In a file of `len` bytes; who reads it checks that it still has that length
    File {
        /// Where the file is
        path: PathBuf,
        /// Its length in bytes when the message was made
        len: u64,
    },
}

impl Source {
    /// The number of serialised bytes
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => size_of_bytes(bytes),
            Self::Pieces(pieces) => pieces.iter().map(|piece| size_of_bytes(piece)).sum(),
            Self::File { len, .. } => *len,
        }
    }

    /// Whether there are no bytes
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, where they are in memory; several pieces are copied into one
    #[must_use]
    pub fn into_bytes(self) -> Option<Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Pieces(pieces) => Some(pieces.concat().into()),
            Self::File { .. } => None,
        }
    }
}

impl<T: Into<Bytes>> From<T> for Source {
    fn from(bytes: T) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// A length in memory as a wire size; no platform has memory beyond 64 bits
pub(crate) fn size_of_bytes(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
