//! The serialised bytes of a payload: in memory, or in a file, which core never opens.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

/// The serialised bytes of a payload, which can be read again for each retry of an upload
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a new kind of source must break every match that reads one")]
pub enum Source {
    /// Bytes in memory
    Bytes(Bytes),
    /// Consecutive pieces in memory, such as the columns of a large table, which need not be copied into one
    Pieces(Arc<[Bytes]>),
    /// A file; a store refuses it if its length is no longer `len`
    File {
        /// Path of the file
        path: PathBuf,
        /// Length in bytes when the message was built
        len: u64,
    },
}

impl Source {
    /// Returns the number of serialised bytes
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => size_of_bytes(bytes),
            Self::Pieces(pieces) => pieces.iter().map(|piece| size_of_bytes(piece)).sum(),
            Self::File { len, .. } => *len,
        }
    }

    /// Returns whether there are no bytes
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes if they are in memory, copying several pieces into one; `None` for a file
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
