//! What can go wrong in core, one enum per operation, each with a stable code that vectors and NACKs share.

use crate::PayloadType;

/// A value that can't be serialised as its payload type, or bytes that can't be read as it
///
/// The payload's name is added by who knows it ([`OpenError`](crate::OpenError), [`PlanError`](crate::PlanError)).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// A text payload with bytes that are not UTF-8
    #[error("not UTF-8 from byte {at}; send bytes as `binary`")]
    Utf8 {
        /// Offset of the first bad byte
        at: usize,
    },
    /// A dictionary or jsontable payload that is not JSON
    #[error("not JSON at line {line}, column {column}: {reason}")]
    Json {
        /// Line, from 1
        line: usize,
        /// Column, from 1
        column: usize,
        /// What was found instead
        reason: String,
    },
    /// A jsontable payload that is JSON, but not an array of objects
    #[error("a jsontable is an array of objects, one per row; {found}")]
    NotRows {
        /// What was found instead
        found: String,
    },
    /// An arrowtable payload that is damaged, hostile or of a kind that can't be read
    #[error("not a readable Arrow table: {reason}")]
    Table {
        /// What is wrong, in words that name the Arrow part
        reason: String,
    },
    /// An arrowtable payload that would grow beyond a limit when read
    #[error("the Arrow table needs {needed} bytes when read, the limit is {limit}; raise the table limit or send fewer rows")]
    TableTooLarge {
        /// Bytes it declares
        needed: u64,
        /// Bytes allowed
        limit: u64,
    },
    /// A table that has no counterpart in the other table type
    #[error("column `{column}` can't be converted: {reason}")]
    Unconvertible {
        /// The column
        column: String,
        /// Why not
        reason: String,
    },
    /// A value of another kind than the payload type
    #[error("a payload of type {payload_type} holds {expected}, but was given {found}")]
    WrongValue {
        /// The payload type asked for
        payload_type: PayloadType,
        /// What such a payload holds
        expected: &'static str,
        /// What was given
        found: &'static str,
    },
    /// Arrow tables were left out of this program
    #[error("this program was built without Arrow tables; build it with the feature `arrow`, or use `jsontable`")]
    NoArrow,
}

impl CodecError {
    /// The stable word for this error (docs/specification.md, "Error codes")
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Utf8 { .. } | Self::Json { .. } | Self::NotRows { .. } | Self::Table { .. } => "undecodable",
            Self::TableTooLarge { .. } => "too_large",
            Self::Unconvertible { .. } => "unconvertible",
            Self::WrongValue { .. } => "wrong_value",
            Self::NoArrow => "unsupported",
        }
    }
}
