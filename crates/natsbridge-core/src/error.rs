//! What can go wrong in core, one enum per operation, each with a stable code that vectors and NACKs share.

use crate::harmless::{shown, shown_within};
use crate::{Digest, PayloadType, ReceiverKind};

/// A value that can't be serialised as its payload type, or bytes that can't be read as it
///
/// The payload's name is added by who knows it ([`PayloadError`], [`PlanError`]).
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
    /// A number in received JSON that would be read as another one: an integer beyond 64 bits, or a number that is too
    /// large or too small for a float64
    #[error(
        "the number {number} at line {line}, column {column} does not fit 64 bits and would become another one; ask for it as a string, or read the payload's bytes"
    )]
    Number {
        /// Line, from 1
        line: usize,
        /// Column in bytes, from 1
        column: usize,
        /// The number as it stands, cut
        number: String,
    },
    /// A number in JSON to be sent that receivers would read as another one
    #[error(
        "the number {number} at line {line}, column {column} can't be sent: no receiver has to hold more than 64 bits; send it as a string"
    )]
    WrongNumber {
        /// Line, from 1
        line: usize,
        /// Column in bytes, from 1
        column: usize,
        /// The number as it stands, cut
        number: String,
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
    #[error(
        "the Arrow table needs {needed} bytes when read, the limit is {limit}; raise the table limit or send fewer rows"
    )]
    TableTooLarge {
        /// Bytes it declares
        needed: u64,
        /// Bytes allowed
        limit: u64,
    },
    /// A value that is longer as JSON text than it may be shown
    #[error("as JSON it has more than {limit} bytes, the limit for showing it; save the payload to have it whole")]
    TooLargeToShow {
        /// Bytes of JSON text allowed
        limit: u64,
    },
    /// A table that has no counterpart in the other table type
    #[error("column `{}` can't be converted: {reason}", shown(column))]
    Unconvertible {
        /// The column
        column: String,
        /// Why not
        reason: String,
    },
    /// JSON that nests deeper than any reader follows
    #[error("JSON nests deeper than {limit} levels; flatten it, or send it as `text`")]
    TooDeep {
        /// Levels allowed
        limit: usize,
    },
    /// A payload whose bytes are in a file, which core does not open
    #[error("the payload is in a file; open the file, or load it first")]
    InFile,
    /// A value that its serde type can't write as JSON: a map whose keys are no strings, or what the type itself says
    #[error("it can't be written as JSON: {reason}")]
    Serialize {
        /// Why not
        reason: String,
    },
    /// A sound payload that is not of the shape that the program's type has
    #[error("can't be read as {wanted}: {reason}")]
    Mismatch {
        /// The type that was asked for
        wanted: &'static str,
        /// What does not fit
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
    /// What a type's own `Deserialize` says of a sound value; it may repeat a stranger's text
    pub(crate) fn mismatch<T>(error: &dyn std::fmt::Display) -> Self {
        let reason = shown_within(&error.to_string(), 500).into_owned();
        Self::Mismatch { wanted: std::any::type_name::<T>(), reason }
    }

    /// The stable word for this error (docs/specification.md, "Error codes")
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Utf8 { .. } | Self::Json { .. } | Self::Number { .. } | Self::NotRows { .. } | Self::Table { .. } => {
                "undecodable"
            }
            Self::TableTooLarge { .. } | Self::TooLargeToShow { .. } => "too_large",
            Self::TooDeep { .. } => "too_deep",
            Self::InFile => "in_file",
            Self::Unconvertible { .. } => "unconvertible",
            Self::WrongValue { .. } | Self::WrongNumber { .. } | Self::Serialize { .. } | Self::Mismatch { .. } => {
                "wrong_value"
            }
            Self::NoArrow => "unsupported",
        }
    }
}

/// JSON that is no envelope (specification, section 5)
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Not JSON, or JSON whose strings and keys are not sound: a lone surrogate, a key that stands twice
    #[error("the message is not an envelope: not JSON at line {line}, column {column}: {reason}")]
    NotJson {
        /// Line, from 1
        line: usize,
        /// Column in bytes, from 1
        column: usize,
        /// What was found instead
        reason: String,
    },
    /// JSON, but no object
    #[error("the message is not an envelope: it is {found}, not an object")]
    NotAnObject {
        /// What it is instead: `a JSON array`
        found: &'static str,
    },
    /// A field without which there is no message
    #[error("the message is not an envelope: `{field}` is missing")]
    MissingField {
        /// The field
        field: &'static str,
    },
    /// A field of another JSON type
    #[error("the envelope's `{field}` is not {expected}")]
    WrongType {
        /// The field
        field: &'static str,
        /// What it has to be
        expected: &'static str,
    },
    /// An item of `payloads` that is not an object
    #[error("item {index} of `payloads` is not an object")]
    NotAPayload {
        /// Its place, from 0
        index: usize,
    },
    /// A payload that can't be read
    #[error("payload `{}`: {fault}", shown(dataname))]
    Payload {
        /// The payload's name; `#` and its place where the name itself is at fault
        dataname: String,
        /// What is wrong with it
        fault: PayloadFault,
    },
}

impl EnvelopeError {
    /// The stable word for this error (docs/specification.md, "Error codes")
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotJson { .. } => "not_json",
            Self::MissingField { .. } => "missing_field",
            Self::NotAnObject { .. } | Self::WrongType { .. } | Self::NotAPayload { .. } => "wrong_type",
            Self::Payload { fault, .. } => fault.code(),
        }
    }

    /// The payload at fault, where it is one payload's
    #[must_use]
    pub fn dataname(&self) -> Option<&str> {
        match self {
            Self::Payload { dataname, .. } => Some(dataname),
            Self::NotJson { .. }
            | Self::NotAnObject { .. }
            | Self::MissingField { .. }
            | Self::WrongType { .. }
            | Self::NotAPayload { .. } => None,
        }
    }
}

/// What is wrong with one payload of an envelope
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadFault {
    /// A field without which there is no payload
    #[error("`{field}` is missing")]
    MissingField {
        /// The field
        field: &'static str,
    },
    /// A field of another JSON type
    #[error("`{field}` is not {expected}")]
    WrongType {
        /// The field
        field: &'static str,
        /// What it has to be
        expected: &'static str,
    },
    /// A payload type that is none of the eight
    #[error(
        "unknown payload_type `{}`; the types are text, dictionary, arrowtable, jsontable, image, audio, video and binary",
        shown(found)
    )]
    UnknownPayloadType {
        /// The word that was found
        found: String,
    },
    /// A transport that is neither of the two
    #[error("unknown transport `{}`; a payload travels `direct` or as a `link`", shown(found))]
    UnknownTransport {
        /// The word that was found
        found: String,
    },
    /// An encoding that a direct payload can't have
    #[error("unknown encoding `{}`; the encodings are none, json, base64 and arrow-ipc", shown(found))]
    UnknownEncoding {
        /// The word that was found
        found: String,
    },
    /// Text that is base64 in no form
    #[error("not base64: {reason}")]
    Base64 {
        /// What is wrong with it
        reason: String,
    },
}

impl PayloadFault {
    /// The stable word for this error (docs/specification.md, "Error codes")
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::MissingField { .. } => "missing_field",
            Self::WrongType { .. } => "wrong_type",
            Self::UnknownPayloadType { .. } => "unknown_payload_type",
            Self::UnknownTransport { .. } => "unknown_transport",
            Self::UnknownEncoding { .. } => "unknown_encoding",
            Self::Base64 { .. } => "base64",
        }
    }
}

/// A message that can't be sent as it is, found before anything is uploaded or published
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A payload larger than its receiver takes
    #[error(
        "payload `{}` has {size} bytes, and {receiver} takes at most {limit} in one payload; send it smaller or in parts",
        shown(dataname)
    )]
    PayloadTooLarge {
        /// The payload
        dataname: String,
        /// Its size in bytes, serialised
        size: u64,
        /// The most that is taken, in bytes
        limit: u64,
        /// Who receives it
        receiver: ReceiverKind,
    },
    /// A message that exceeds the broker's limit even with every payload that can be a link as a link
    #[error("the message needs {size} bytes and the broker takes {limit}{links}; its direct payloads are {payloads}; raise the broker's max_payload, or split the message",
        links = if *.links_allowed { ", with all that can be linked as links" } else { ", and links are not allowed" },
        payloads = sizes(.direct))]
    MessageTooLarge {
        /// Bytes of the whole envelope as it would be published
        size: u64,
        /// Bytes that the broker takes
        limit: u64,
        /// Name and size in bytes, serialised, of each payload that stayed direct
        direct: Vec<(String, u64)>,
        /// Whether payloads could travel as links
        links_allowed: bool,
    },
    /// A payload that can only travel as a link to a receiver, or in a program, without links
    #[error("payload `{}` of {size} bytes has to travel as a link, and {reason}", shown(dataname))]
    LinksNotAllowed {
        /// The payload
        dataname: String,
        /// Its size in bytes, serialised
        size: u64,
        /// Why there are no links, and what to do
        reason: &'static str,
    },
    /// A payload type that the receiver can't read
    #[error(
        "payload `{}` is an arrowtable, which {receiver} can't read; send it as jsontable, or allow the conversion",
        shown(dataname)
    )]
    UnreadableType {
        /// The payload
        dataname: String,
        /// Who receives it
        receiver: ReceiverKind,
    },
    /// A table that could not be converted for its receiver
    #[error("payload `{}` can't be converted to jsontable", shown(dataname))]
    Convert {
        /// The payload
        dataname: String,
        /// Why not
        source: CodecError,
    },
    /// A store that holds another number of bytes than it was given
    #[error(
        "payload `{}` has {sent} bytes, and the file server stored {stored}; the upload is not used",
        shown(dataname)
    )]
    StoredSize {
        /// The payload
        dataname: String,
        /// Bytes sent
        sent: u64,
        /// Bytes stored
        stored: u64,
    },
}

impl PlanError {
    /// The stable word for this error (docs/specification.md, "Error codes")
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::PayloadTooLarge { .. } | Self::MessageTooLarge { .. } => "too_large",
            Self::LinksNotAllowed { .. } => "links_not_allowed",
            Self::UnreadableType { .. } => "unsupported",
            Self::Convert { source, .. } => source.code(),
            Self::StoredSize { .. } => "size_mismatch",
        }
    }

    /// The payload at fault, where it is one payload's
    #[must_use]
    pub fn dataname(&self) -> Option<&str> {
        match self {
            Self::MessageTooLarge { .. } => None,
            Self::PayloadTooLarge { dataname, .. }
            | Self::LinksNotAllowed { dataname, .. }
            | Self::UnreadableType { dataname, .. }
            | Self::Convert { dataname, .. }
            | Self::StoredSize { dataname, .. } => Some(dataname),
        }
    }
}

/// The largest first; a long list is cut, the sum stands in the message already
fn sizes(direct: &[(String, u64)]) -> String {
    const SHOWN: usize = 8;
    let mut largest: Vec<_> = direct.iter().collect();
    largest.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    let mut text: Vec<_> = largest.iter().take(SHOWN).map(|(name, size)| format!("`{}` {size}", shown(name))).collect();
    if largest.len() > SHOWN {
        text.push(format!("and {} more", largest.len() - SHOWN));
    }
    if text.is_empty() { "none".to_owned() } else { text.join(", ") }
}

/// A payload that arrived, but is not what its envelope or its type says
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("payload `{}`: {fault}", shown(dataname))]
pub struct PayloadError {
    /// The payload
    pub dataname: String,
    /// What is wrong with it
    pub fault: PayloadErrorKind,
}

impl PayloadError {
    /// Says what is wrong with the payload of this name
    #[must_use]
    pub fn new(dataname: impl Into<String>, fault: PayloadErrorKind) -> Self {
        Self { dataname: dataname.into(), fault }
    }

    /// The stable word for this error (docs/specification.md, "Error codes")
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.fault.code()
    }
}

/// What is wrong with one payload that arrived
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadErrorKind {
    /// Other bytes than the sender digested
    #[error(
        "the bytes have SHA-256 {found}, the envelope says {stated}; they were changed or cut on the way, ask for the message again"
    )]
    Digest {
        /// Digest in the envelope
        stated: Digest,
        /// Digest of the bytes
        found: Digest,
    },
    /// A digest in the envelope that is none
    #[error("the envelope's sha256 is not 64 hexadecimal digits")]
    DigestForm,
    /// A link without a digest, in strict mode
    #[error(
        "the link has no sha256, and strict mode asks for one; send it with a digest, or receive without strict mode"
    )]
    DigestMissing,
    /// Another number of bytes than the envelope says
    #[error("there are {found} bytes, the envelope says {stated}")]
    Size {
        /// Bytes in the envelope
        stated: u64,
        /// Bytes that are there
        found: u64,
    },
    /// More bytes than the receiver takes
    #[error("there are {size} bytes, the receiver takes at most {limit}; raise max_payload_size if that is too little")]
    TooLarge {
        /// Bytes stated or found
        size: u64,
        /// The most that is taken
        limit: u64,
    },
    /// Bytes that are not what the payload type says
    #[error("{0}")]
    Codec(CodecError),
}

impl PayloadErrorKind {
    /// The stable word for this error (docs/specification.md, "Error codes")
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Digest { .. } | Self::DigestForm => "digest",
            Self::DigestMissing => "digest_missing",
            Self::Size { .. } => "size_mismatch",
            Self::TooLarge { .. } => "too_large",
            Self::Codec(error) => error.code(),
        }
    }
}
