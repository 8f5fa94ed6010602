//! Values as people hold them: what a payload of each type is before it is serialised and after it is read.

use bytes::Bytes;
use serde_json::Value as Json;

use crate::rows::Rows;
#[cfg(feature = "arrow")]
use crate::table::Table;

/// What a payload holds, by type
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `text`
    Text(String),
    /// `dictionary`: any JSON value; integers keep 64 bits
    Json(Json),
    /// `dictionary` or `jsontable`, to be sent: JSON as text, which keeps each digit of its numbers; what is received is
    /// never given so
    JsonText(JsonText),
    /// `jsontable`
    Rows(Rows),
    /// `arrowtable`
    #[cfg(feature = "arrow")]
    Table(Table),
    /// `image`, `audio`, `video`, `binary`
    Bytes(Bytes),
}

impl Value {
    /// What it is, in words for an error
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Json(_) | Self::JsonText(_) => "a JSON value",
            Self::Rows(_) => "rows",
            #[cfg(feature = "arrow")]
            Self::Table(_) => "an Arrow table",
            Self::Bytes(_) => "bytes",
        }
    }
}

/// Declares what a value is made from.
macro_rules! value_from {
    ($($(#[$meta:meta])* $variant:ident($from:ty),)+) => {
        $($(#[$meta])*
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        })+
    };
}

value_from! {
    Text(&str),
    Text(String),
    Json(Json),
    JsonText(JsonText),
    Rows(Rows),
    #[cfg(feature = "arrow")]
    Table(Table),
    #[cfg(feature = "arrow")]
    Table(arrow_array::RecordBatch),
    Bytes(Bytes),
    Bytes(Vec<u8>),
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(Bytes::copy_from_slice(bytes))
    }
}

/// JSON as somebody wrote it, to be sent as `dictionary`, `jsontable` or, converted, as `arrowtable`
///
/// On the wire are its own digits: `1.50` stays `1.50`, and a fraction with twenty digits keeps them. Only white space
/// between its parts is left out. Whether it is JSON is found when it is encoded.
///
/// ```
/// use natsbridge_core::{JsonText, PayloadType, encode};
///
/// let text = JsonText::new("{ \"pi\": 3.14159265358979323846 }");
/// assert_eq!(encode(PayloadType::Dictionary, text.into())?, "{\"pi\":3.14159265358979323846}");
/// // No receiver holds it in 64 bits, and rounded it would be another number.
/// let error = encode(PayloadType::Dictionary, JsonText::new("36893488147419103232").into()).unwrap_err();
/// assert_eq!(error.code(), "wrong_value");
/// # Ok::<(), natsbridge_core::CodecError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonText(Bytes);

impl JsonText {
    /// JSON as UTF-8, without byte-order mark; not looked at yet
    #[must_use]
    pub fn new(text: impl Into<Bytes>) -> Self {
        Self(text.into())
    }

    /// The text as it was given
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}
