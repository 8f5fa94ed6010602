//! Errors of core: one type per operation, each with a stable code that vectors and NACKs use; what is wrong in detail is in
//! their text, and inside core in their fault.

use crate::harmless::{shown, shown_within};
use crate::{Digest, PayloadType, ReceiverKind};

/// A value can't be serialised as its payload type, or bytes can't be read as it
///
/// [`PayloadError`] and [`PlanError`] add the payload's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct CodecError(pub(crate) CodecFault);

impl CodecError {
    /// The error of a type's own `Deserialize` for a valid value; it may repeat a stranger's text
    pub(crate) fn mismatch<T>(error: &dyn std::fmt::Display) -> Self {
        let reason = shown_within(&error.to_string(), 500).into_owned();
        Self(CodecFault::Mismatch { wanted: std::any::type_name::<T>(), reason })
    }

    /// Returns the stable code of the error (`docs/specification.md`, section 9)
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.0.code()
    }

    /// Returns the column of the table that has no equivalent in the other table type, if the error is about one
    #[must_use]
    pub fn column(&self) -> Option<&str> {
        match &self.0 {
            CodecFault::Unconvertible { column, .. } => Some(column),
            _ => None,
        }
    }
}

/// What is wrong with a value or its bytes
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(dead_code, reason = "some faults need the feature `arrow`, one needs that it is off")]
pub(crate) enum CodecFault {
    /// A text payload with bytes that are not UTF-8
    #[error("not UTF-8 from byte {at}; send bytes as `binary`")]
    Utf8 { at: usize },
    /// A dictionary or jsontable payload that is not JSON
    #[error("not JSON at line {line}, column {column}: {reason}")]
    Json { line: usize, column: usize, reason: String },
    /// A number in received JSON that would be read as another one: an integer beyond 64 bits, or a number that is too
    /// large or too small for a float64
    #[error(
        "the number {number} at line {line}, column {column} does not fit 64 bits and would become another one; ask for it as a string, or read the payload's bytes"
    )]
    Number { line: usize, column: usize, number: String },
    /// A number in JSON to be sent that receivers would read as another one
    #[error(
        "the number {number} at line {line}, column {column} can't be sent: no receiver has to hold more than 64 bits; send it as a string"
    )]
    WrongNumber { line: usize, column: usize, number: String },
    /// A jsontable payload that is JSON but not an array of objects
    #[error("a jsontable is an array of objects, one per row; {found}")]
    NotRows { found: String },
    /// An arrowtable payload that is damaged, hostile or of a kind that can't be read
    #[error("not a readable Arrow table: {reason}")]
    Table { reason: String },
    /// An arrowtable payload that would grow beyond a limit when read
    #[error(
        "the Arrow table needs {needed} bytes when read, the limit is {limit}; raise the table limit or send fewer rows"
    )]
    TableTooLarge { needed: u64, limit: u64 },
    /// A value whose JSON text is longer than the limit for showing it
    #[error("as JSON it has more than {limit} bytes, the limit for showing it; save the payload to have it whole")]
    TooLargeToShow { limit: u64 },
    /// A table that has no equivalent in the other table type
    #[error("column `{}` can't be converted: {reason}", shown(column))]
    Unconvertible { column: String, reason: String },
    /// JSON that is nested deeper than readers accept
    #[error("JSON nests deeper than {limit} levels; flatten it, or send it as `text`")]
    TooDeep { limit: usize },
    /// A payload whose bytes are in a file, which core does not open
    #[error("the payload is in a file; open the file, or load it first")]
    InFile,
    /// A serde type that gives one object the same key twice
    #[error(
        "the key `{}` occurs twice in one object, and a receiver would read one of the two; rename a field, or leave the key out of the map that `#[serde(flatten)]` adds",
        shown(key)
    )]
    KeyTwice { key: String },
    /// A serde type that can't be written as JSON: a map with keys that are not strings, or an error of the type itself
    #[error("it can't be written as JSON: {reason}")]
    Serialize { reason: String },
    /// A valid payload that does not fit the program's type
    #[error("can't be read as {wanted}: {reason}")]
    Mismatch { wanted: &'static str, reason: String },
    /// A value of another kind than the payload type
    #[error("a payload of type {payload_type} holds {expected}, but was given {found}")]
    WrongValue { payload_type: PayloadType, expected: &'static str, found: &'static str },
    /// This program is built without feature `arrow`
    #[error("this program was built without Arrow tables; build it with the feature `arrow`, or use `jsontable`")]
    NoArrow,
    /// This program is built without feature `compression`
    #[error(
        "the Arrow table is compressed, and this program was built without LZ4 and ZSTD; build it with the feature `compression`, or send the table without compression"
    )]
    NoCompression,
}

impl CodecFault {
    const fn code(&self) -> &'static str {
        match self {
            Self::Utf8 { .. } | Self::Json { .. } | Self::Number { .. } | Self::NotRows { .. } | Self::Table { .. } => {
                "undecodable"
            }
            Self::TableTooLarge { .. } | Self::TooLargeToShow { .. } => "too_large",
            Self::TooDeep { .. } => "too_deep",
            Self::InFile => "in_file",
            Self::Unconvertible { .. } => "unconvertible",
            Self::WrongValue { .. }
            | Self::WrongNumber { .. }
            | Self::KeyTwice { .. }
            | Self::Serialize { .. }
            | Self::Mismatch { .. } => "wrong_value",
            Self::NoArrow | Self::NoCompression => "unsupported",
        }
    }
}

/// JSON that is not an envelope (`docs/specification.md`, section 5)
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct EnvelopeError(pub(crate) EnvelopeFault);

impl EnvelopeError {
    /// Returns the stable code of the error (`docs/specification.md`, section 9)
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match &self.0 {
            EnvelopeFault::NotJson { .. } => "not_json",
            EnvelopeFault::MissingField { .. } => "missing_field",
            EnvelopeFault::NotAnObject { .. } | EnvelopeFault::WrongType { .. } | EnvelopeFault::NotAPayload { .. } => {
                "wrong_type"
            }
            EnvelopeFault::Payload { fault, .. } => fault.code(),
        }
    }

    /// Returns the name of the payload, if the error is about one payload
    #[must_use]
    pub fn dataname(&self) -> Option<&str> {
        match &self.0 {
            EnvelopeFault::Payload { dataname, .. } => Some(dataname),
            _ => None,
        }
    }

    /// Returns the line and the column in bytes, both from 1, where it stops to be JSON
    #[must_use]
    pub const fn position(&self) -> Option<(usize, usize)> {
        match &self.0 {
            EnvelopeFault::NotJson { line, column, .. } => Some((*line, *column)),
            _ => None,
        }
    }
}

/// What is wrong with an envelope
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvelopeFault {
    /// Not JSON, or JSON with a lone surrogate or a key that occurs twice
    #[error("the message is not an envelope: not JSON at line {line}, column {column}: {reason}")]
    NotJson { line: usize, column: usize, reason: String },
    /// JSON that is not an object
    #[error("the message is not an envelope: it is {found}, not an object")]
    NotAnObject { found: &'static str },
    /// A required field of the message is missing
    #[error("the message is not an envelope: `{field}` is missing")]
    MissingField { field: &'static str },
    /// A field of another JSON type
    #[error("the envelope's `{field}` is not {expected}")]
    WrongType { field: &'static str, expected: &'static str },
    /// An item of `payloads` that is not an object
    #[error("item {index} of `payloads` is not an object")]
    NotAPayload { index: usize },
    /// A payload that can't be read
    #[error("payload `{}`: {fault}", shown(dataname))]
    Payload { dataname: String, fault: PayloadFault },
}

/// Why a payload of an envelope is invalid
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PayloadFault {
    /// A required field of the payload is missing
    #[error("`{field}` is missing")]
    MissingField { field: &'static str },
    /// A field of another JSON type
    #[error("`{field}` is not {expected}")]
    WrongType { field: &'static str, expected: &'static str },
    /// An unknown payload type
    #[error(
        "unknown payload_type `{}`; the types are text, dictionary, arrowtable, jsontable, image, audio, video and binary",
        shown(found)
    )]
    UnknownPayloadType { found: String },
    /// An unknown transport
    #[error("unknown transport `{}`; a payload travels `direct` or as a `link`", shown(found))]
    UnknownTransport { found: String },
    /// An unknown encoding of a direct payload
    #[error("unknown encoding `{}`; the encodings are none, json, base64 and arrow-ipc", shown(found))]
    UnknownEncoding { found: String },
    /// Text that is not base64 in any form
    #[error("not base64: {reason}")]
    Base64 { reason: String },
}

impl PayloadFault {
    const fn code(&self) -> &'static str {
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

/// A message that can't be sent; it is found before the message is published
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct PlanError(pub(crate) PlanFault);

impl PlanError {
    /// Returns the stable code of the error (`docs/specification.md`, section 9)
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match &self.0 {
            PlanFault::PayloadTooLarge { .. } | PlanFault::MessageTooLarge { .. } => "too_large",
            PlanFault::LinksNotAllowed { .. } => "links_not_allowed",
            PlanFault::UnreadableType { .. } => "unsupported",
            PlanFault::Convert { source, .. } => source.code(),
            PlanFault::NotUploaded { .. } => "not_uploaded",
            PlanFault::StoredSize { .. } => "size_mismatch",
        }
    }

    /// Returns the name of the payload, if the error is about one payload
    #[must_use]
    pub fn dataname(&self) -> Option<&str> {
        match &self.0 {
            PlanFault::MessageTooLarge { .. } => None,
            PlanFault::PayloadTooLarge { dataname, .. }
            | PlanFault::LinksNotAllowed { dataname, .. }
            | PlanFault::UnreadableType { dataname, .. }
            | PlanFault::Convert { dataname, .. }
            | PlanFault::NotUploaded { dataname }
            | PlanFault::StoredSize { dataname, .. } => Some(dataname),
        }
    }
}

/// Why a message can't be sent
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanFault {
    /// A payload that exceeds the limit of its receiver
    #[error(
        "payload `{}` has {size} bytes, and {receiver} takes at most {limit} in one payload; send it smaller or in parts",
        shown(dataname)
    )]
    PayloadTooLarge { dataname: String, size: u64, limit: u64, receiver: ReceiverKind },
    /// A message that exceeds the broker's limit even with every payload that can be a link as a link
    #[error("the message needs {size} bytes and the broker takes {limit}{links}; its direct payloads are {payloads}; raise the broker's max_payload, or split the message",
        links = if *.links_allowed { ", with all that can be linked as links" } else { ", and links are not allowed" },
        payloads = sizes(.direct))]
    MessageTooLarge { size: u64, limit: u64, direct: Vec<(String, u64)>, links_allowed: bool },
    /// A payload that can only travel as a link to a receiver, or in a program, without links
    #[error("payload `{}` of {size} bytes has to travel as a link, and {reason}", shown(dataname))]
    LinksNotAllowed { dataname: String, size: u64, reason: &'static str },
    /// A payload type that the receiver can't read
    #[error(
        "payload `{}` is an arrowtable, which {receiver} can't read; send it as jsontable, or allow the conversion",
        shown(dataname)
    )]
    UnreadableType { dataname: String, receiver: ReceiverKind },
    /// A table that could not be converted for its receiver
    #[error("payload `{}` can't be converted to jsontable", shown(dataname))]
    Convert { dataname: String, source: CodecError },
    /// An upload without the store's response: the program that performs the plan has left it out
    #[error("payload `{}` has to be uploaded, and was not; perform every upload of the plan", shown(dataname))]
    NotUploaded { dataname: String },
    /// A store that stored another number of bytes than were sent
    #[error(
        "payload `{}` has {sent} bytes, and the file server stored {stored}; the upload is not used",
        shown(dataname)
    )]
    StoredSize { dataname: String, sent: u64, stored: u64 },
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

/// A payload whose value does not fit its type, or that arrived and does not match its envelope
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("payload `{}`: {fault}", shown(dataname))]
pub struct PayloadError {
    pub(crate) dataname: String,
    pub(crate) fault: PartFault,
}

impl PayloadError {
    /// Returns the payload's name
    #[must_use]
    pub fn dataname(&self) -> &str {
        &self.dataname
    }

    /// Returns the stable code of the error (`docs/specification.md`, section 9)
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.fault.code()
    }
}

/// What does not match
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PartFault {
    /// The digest of the bytes differs from the one in the envelope
    #[error(
        "the bytes have SHA-256 {found}, the envelope says {stated}; they were changed or cut on the way, ask for the message again"
    )]
    Digest { stated: Digest, found: Digest },
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
    Size { stated: u64, found: u64 },
    /// The payload exceeds the limit of this receiver
    #[error("there are {size} bytes, the receiver takes at most {limit}; raise max_payload_size if that is too little")]
    TooLarge { size: u64, limit: u64 },
    /// The bytes do not match the payload type
    #[error("{0}")]
    Codec(CodecError),
}

impl PartFault {
    const fn code(&self) -> &'static str {
        match self {
            Self::Digest { .. } | Self::DigestForm => "digest",
            Self::DigestMissing => "digest_missing",
            Self::Size { .. } => "size_mismatch",
            Self::TooLarge { .. } => "too_large",
            Self::Codec(error) => error.code(),
        }
    }
}
