//! Where a payload's serialised bytes are: in memory, or in a file that core names and never opens.

use std::path::PathBuf;

use bytes::Bytes;

/// Re-readable bytes: an upload that is tried again reads them from the start
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a new kind of source must break every match that reads one")]
pub enum Source {
    /// In memory
    Bytes(Bytes),
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
            Self::File { len, .. } => *len,
        }
    }

    /// Whether there are no bytes
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
