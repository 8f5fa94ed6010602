//! Errors of core: one enum per operation, each with a stable code that vectors and NACKs use.

use crate::harmless::{shown, shown_within};
use crate::{Digest, PayloadType, ReceiverKind};

/// A value can't be serialised as its payload type, or bytes can't be read as it
///
/// [`PayloadError`] and [`PlanError`] add the payload's name.
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
        /// The number, truncated
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
        /// The number, truncated
        number: String,
    },
    /// A jsontable payload that is JSON but not an array of objects
    #[error("a jsontable is an array of objects, one per row; {found}")]
    NotRows {
        /// What was found instead
        found: String,
    },
    /// An arrowtable payload that is damaged, hostile or of a kind that can't be read
    #[error("not a readable Arrow table: {reason}")]
    Table {
        /// What is wrong, naming the part of Arrow IPC
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
    /// A value whose JSON text is longer than the limit for showing it
    #[error("as JSON it has more than {limit} bytes, the limit for showing it; save the payload to have it whole")]
    TooLargeToShow {
        /// Bytes of JSON text allowed
        limit: u64,
    },
    /// A table that has no equivalent in the other table type
    #[error("column `{}` can't be converted: {reason}", shown(column))]
    Unconvertible {
        /// The column
        column: String,
        /// Why not
        reason: String,
    },
    /// JSON that is nested deeper than readers accept
    #[error("JSON nests deeper than {limit} levels; flatten it, or send it as `text`")]
    TooDeep {
        /// Levels allowed
        limit: usize,
    },
    /// A payload whose bytes are in a file, which core does not open
    #[error("the payload is in a file; open the file, or load it first")]
    InFile,
    /// A serde type that can't be written as JSON: a map with keys that are not strings, or an error of the type itself
    #[error("it can't be written as JSON: {reason}")]
    Serialize {
        /// Why not
        reason: String,
    },
    /// A valid payload that does not fit the program's type
    #[error("can't be read as {wanted}: {reason}")]
    Mismatch {
        /// The program's type
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
    /// This program is built without feature `arrow`
    #[error("this program was built without Arrow tables; build it with the feature `arrow`, or use `jsontable`")]
    NoArrow,
}

impl CodecError {
    /// The error of a type's own `Deserialize` for a valid value; it may repeat a stranger's text
    pub(crate) fn mismatch<T>(error: &dyn std::fmt::Display) -> Self {
        let reason = shown_within(&error.to_string(), 500).into_owned();
        Self::Mismatch { wanted: std::any::type_name::<T>(), reason }
    }

    /// Returns the stable code of the error (`docs/specification.md`, section 9)
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

/// JSON that is not an envelope (`docs/specification.md`, section 5)
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Not JSON, or JSON with a lone surrogate or a key that occurs twice
    #[error("the message is not an envelope: not JSON at line {line}, column {column}: {reason}")]
    NotJson {
        /// Line, from 1
        line: usize,
        /// Column in bytes, from 1
        column: usize,
        /// What was found instead
        reason: String,
    },
    /// JSON that is not an object
    #[error("the message is not an envelope: it is {found}, not an object")]
    NotAnObject {
        /// What it is instead: `a JSON array`
        found: &'static str,
    },
    /// A required field of the message is missing
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
        /// The required JSON type
        expected: &'static str,
    },
    /// An item of `payloads` that is not an object
    #[error("item {index} of `payloads` is not an object")]
    NotAPayload {
        /// Its position, from 0
        index: usize,
    },
    /// A payload that can't be read
    #[error("payload `{}`: {fault}", shown(dataname))]
    Payload {
        /// The payload's name, or `#` and its position if the name can't be read
        dataname: String,
        /// What is wrong with it
        fault: PayloadFault,
    },
}

impl EnvelopeError {
    /// Returns the stable code of the error (`docs/specification.md`, section 9)
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotJson { .. } => "not_json",
            Self::MissingField { .. } => "missing_field",
            Self::NotAnObject { .. } | Self::WrongType { .. } | Self::NotAPayload { .. } => "wrong_type",
            Self::Payload { fault, .. } => fault.code(),
        }
    }

    /// Returns the name of the payload, if the error is about one payload
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

/// Why a payload of an envelope is invalid
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadFault {
    /// A required field of the payload is missing
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
        /// The required JSON type
        expected: &'static str,
    },
    /// An unknown payload type
    #[error(
        "unknown payload_type `{}`; the types are text, dictionary, arrowtable, jsontable, image, audio, video and binary",
        shown(found)
    )]
    UnknownPayloadType {
        /// The word that was found
        found: String,
    },
    /// An unknown transport
    #[error("unknown transport `{}`; a payload travels `direct` or as a `link`", shown(found))]
    UnknownTransport {
        /// The word that was found
        found: String,
    },
    /// An unknown encoding of a direct payload
    #[error("unknown encoding `{}`; the encodings are none, json, base64 and arrow-ipc", shown(found))]
    UnknownEncoding {
        /// The word that was found
        found: String,
    },
    /// Text that is not base64 in any form
    #[error("not base64: {reason}")]
    Base64 {
        /// What is wrong with it
        reason: String,
    },
}

impl PayloadFault {
    /// Returns the stable code of the error (`docs/specification.md`, section 9)
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

/// A message that can't be sent, found before anything is uploaded or published
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A payload that exceeds the limit of its receiver
    #[error(
        "payload `{}` has {size} bytes, and {receiver} takes at most {limit} in one payload; send it smaller or in parts",
        shown(dataname)
    )]
    PayloadTooLarge {
        /// The payload
        dataname: String,
        /// Its size in bytes, serialised
        size: u64,
        /// The limit in bytes
        limit: u64,
        /// The kind of receiver
        receiver: ReceiverKind,
    },
    /// A message that exceeds the broker's limit even with every payload that can be a link as a link
    #[error("the message needs {size} bytes and the broker takes {limit}{links}; its direct payloads are {payloads}; raise the broker's max_payload, or split the message",
        links = if *.links_allowed { ", with all that can be linked as links" } else { ", and links are not allowed" },
        payloads = sizes(.direct))]
    MessageTooLarge {
        /// Bytes of the whole envelope as it would be published
        size: u64,
        /// The broker's limit in bytes
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
        /// The kind of receiver
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
    /// An upload without the store's response: the program that performs the plan has left it out
    #[error("payload `{}` has to be uploaded, and was not; perform every upload of the plan", shown(dataname))]
    NotUploaded {
        /// The payload
        dataname: String,
    },
    /// A store that stored another number of bytes than were sent
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
    /// Returns the stable code of the error (`docs/specification.md`, section 9)
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::PayloadTooLarge { .. } | Self::MessageTooLarge { .. } => "too_large",
            Self::LinksNotAllowed { .. } => "links_not_allowed",
            Self::UnreadableType { .. } => "unsupported",
            Self::Convert { source, .. } => source.code(),
            Self::NotUploaded { .. } => "not_uploaded",
            Self::StoredSize { .. } => "size_mismatch",
        }
    }

    /// Returns the name of the payload, if the error is about one payload
    #[must_use]
    pub fn dataname(&self) -> Option<&str> {
        match self {
            Self::MessageTooLarge { .. } => None,
            Self::PayloadTooLarge { dataname, .. }
            | Self::LinksNotAllowed { dataname, .. }
            | Self::UnreadableType { dataname, .. }
            | Self::Convert { dataname, .. }
            | Self::NotUploaded { dataname }
            | Self::StoredSize { dataname, .. } => Some(dataname),
        }
    }
}

/// The largest payloads first; a long list is truncated
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

/// A payload that arrived but does not match its envelope or its type
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
    /// Creates an error about the payload `dataname`
    #[must_use]
    pub fn new(dataname: impl Into<String>, fault: PayloadErrorKind) -> Self {
        Self { dataname: dataname.into(), fault }
    }

    /// Returns the stable code of the error (`docs/specification.md`, section 9)
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.fault.code()
    }
}

/// Kind of a [`PayloadError`]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadErrorKind {
    /// The digest of the bytes differs from the one in the envelope
    #[error(
        "the bytes have SHA-256 {found}, the envelope says {stated}; they were changed or cut on the way, ask for the message again"
    )]
    Digest {
        /// Digest in the envelope
        stated: Digest,
        /// Digest of the bytes
        found: Digest,
    },
    /// The digest in the envelope is invalid
    #[error("the envelope's sha256 is not 64 hexadecimal digits")]
    DigestForm,
    /// A link without a digest, in strict mode
    #[error(
        "the link has no sha256, and strict mode asks for one; send it with a digest, or receive without strict mode"
    )]
    DigestMissing,
    /// The number of bytes differs from the one in the envelope
    #[error("there are {found} bytes, the envelope says {stated}")]
    Size {
        /// Bytes in the envelope
        stated: u64,
        /// Bytes that are there
        found: u64,
    },
    /// The payload exceeds the limit of this receiver
    #[error("there are {size} bytes, the receiver takes at most {limit}; raise max_payload_size if that is too little")]
    TooLarge {
        /// Size in bytes, as stated or found
        size: u64,
        /// The limit in bytes
        limit: u64,
    },
    /// The bytes do not match the payload type
    #[error("{0}")]
    Codec(CodecError),
}

impl PayloadErrorKind {
    /// Returns the stable code of the error (`docs/specification.md`, section 9)
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
