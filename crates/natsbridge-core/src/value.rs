//! Values as people hold them: what a payload of each type is before it is serialised and after it is read.

use bytes::Bytes;
use serde_json::{Map, Value as Json};

#[cfg(feature = "arrow")]
use crate::Table;

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

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Json> for Value {
    fn from(json: Json) -> Self {
        Self::Json(json)
    }
}

impl From<JsonText> for Value {
    fn from(json: JsonText) -> Self {
        Self::JsonText(json)
    }
}

impl From<Rows> for Value {
    fn from(rows: Rows) -> Self {
        Self::Rows(rows)
    }
}

#[cfg(feature = "arrow")]
impl From<Table> for Value {
    fn from(table: Table) -> Self {
        Self::Table(table)
    }
}

#[cfg(feature = "arrow")]
impl From<arrow_array::RecordBatch> for Value {
    fn from(batch: arrow_array::RecordBatch) -> Self {
        Self::Table(batch.into())
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
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

/// The rows of a `jsontable`: JSON objects in order, whose keys keep the order they came in
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows(Vec<Map<String, Json>>);

impl Rows {
    /// A table of these rows; rows may lack columns that others have
    #[must_use]
    pub const fn new(rows: Vec<Map<String, Json>>) -> Self {
        Self(rows)
    }

    /// Column names in the order in which rows first name them (specification, section 3)
    #[must_use]
    pub fn columns(&self) -> Vec<&str> {
        let mut seen = std::collections::HashSet::new();
        let names = self.0.iter().flat_map(Map::keys).map(String::as_str);
        names.filter(|name| seen.insert(*name)).collect()
    }

    /// The rows in order
    #[must_use]
    pub fn as_slice(&self) -> &[Map<String, Json>] {
        &self.0
    }

    /// The rows in order, given away
    #[must_use]
    pub fn into_vec(self) -> Vec<Map<String, Json>> {
        self.0
    }

    /// The number of rows
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no rows
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<Map<String, Json>>> for Rows {
    fn from(rows: Vec<Map<String, Json>>) -> Self {
        Self(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_in_first_seen_order() {
        let rows: Vec<Map<String, Json>> = serde_json::from_str(r#"[{"b":1},{"a":2,"b":3},{"c":4}]"#).unwrap();
        assert_eq!(Rows::new(rows).columns(), ["b", "a", "c"]);
    }
}
