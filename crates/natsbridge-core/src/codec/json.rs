//! Dictionary and jsontable payloads: JSON, with a nesting depth that every reader can follow.

use bytes::Bytes;
use serde_json::{Map, Value as Json};

use crate::{CodecError, Rows};

/// Arrays and objects may nest this deep; the JSON reader's own limit, kept on both sides so that what is sent is read
pub(crate) const MAX_DEPTH: usize = 127;

pub(super) fn encode(json: &Json) -> Result<Bytes, CodecError> {
    if !nests_within(json, MAX_DEPTH) {
        return Err(CodecError::TooDeep { limit: MAX_DEPTH });
    }
    to_vec(json)
}

pub(super) fn encode_rows(rows: &Rows) -> Result<Bytes, CodecError> {
    let shallow = rows.as_slice().iter().flat_map(Map::values).all(|cell| nests_within(cell, MAX_DEPTH - 2));
    if !shallow {
        return Err(CodecError::TooDeep { limit: MAX_DEPTH });
    }
    to_vec(rows.as_slice())
}

/// Rows given as the JSON array that they are on the wire
pub(super) fn rows_of(json: Json) -> Result<Rows, CodecError> {
    let Json::Array(items) = json else {
        return Err(CodecError::NotRows { found: format!("this is {}", kind(&json)) });
    };
    let row = |(at, item)| match item {
        Json::Object(row) => Ok(row),
        other => Err(CodecError::NotRows { found: format!("row {at} is {}", kind(&other)) }),
    };
    items.into_iter().enumerate().map(row).collect::<Result<Vec<_>, _>>().map(Rows::new)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Json, CodecError> {
    serde_json::from_slice(bytes).map_err(|error| not_json(&error))
}

pub(super) fn decode_rows(bytes: &[u8]) -> Result<Rows, CodecError> {
    // Rows are read as such straight away; only what is not rows is read again, to say what it is.
    match serde_json::from_slice(bytes) {
        Ok(rows) => Ok(Rows::new(rows)),
        Err(_) => rows_of(decode(bytes)?),
    }
}

fn to_vec<T: serde::Serialize + ?Sized>(value: &T) -> Result<Bytes, CodecError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| not_json(&error))
}

fn not_json(error: &serde_json::Error) -> CodecError {
    CodecError::Json { line: error.line(), column: error.column(), reason: reason(error) }
}

/// What `serde_json` says, without the position that it appends
pub(crate) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rfind(" at line ").map_or_else(|| text.clone(), |at| text[..at].to_owned())
}

fn nests_within(json: &Json, depth: usize) -> bool {
    match json {
        Json::Array(items) => depth > 0 && items.iter().all(|item| nests_within(item, depth - 1)),
        Json::Object(map) => depth > 0 && map.values().all(|item| nests_within(item, depth - 1)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => true,
    }
}

const fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Json {
        (0..depth).fold(Json::from(1), |inner, _| Json::Array(vec![inner]))
    }

    #[test]
    fn what_is_written_nests_no_deeper_than_what_is_read() {
        let deepest = nested(MAX_DEPTH);
        assert_eq!(decode(&encode(&deepest).unwrap()).unwrap(), deepest);
        assert_eq!(encode(&nested(MAX_DEPTH + 1)), Err(CodecError::TooDeep { limit: MAX_DEPTH }));
        assert!(decode("[".repeat(100_000).as_bytes()).is_err());
        let row = |depth| Rows::new(vec![Map::from_iter([("a".to_owned(), nested(depth))])]);
        let deepest = row(MAX_DEPTH - 2);
        assert_eq!(decode_rows(&encode_rows(&deepest).unwrap()).unwrap(), deepest);
        assert!(encode_rows(&row(MAX_DEPTH - 1)).is_err());
    }

    #[test]
    fn numbers_keep_64_bits() {
        for text in ["-9223372036854775808", "18446744073709551615", "9007199254740993", "0.1", "1e-7", "5e-324"] {
            let value = decode(text.as_bytes()).unwrap();
            assert_eq!(decode(&encode(&value).unwrap()).unwrap(), value);
        }
        assert_eq!(decode(b"9007199254740993").unwrap().as_i64(), Some(9_007_199_254_740_993));
        assert_eq!(decode(b"2.2250738585072014e-308").unwrap().as_f64(), Some(f64::MIN_POSITIVE));
    }

    #[test]
    fn what_is_not_rows_is_named() {
        for (json, found) in [("{}", "this is an object"), ("[{},1]", "row 1 is a number"), ("null", "this is null")] {
            assert_eq!(decode_rows(json.as_bytes()), Err(CodecError::NotRows { found: found.into() }));
        }
        assert!(matches!(decode_rows(b"[{}"), Err(CodecError::Json { line: 1, .. })));
        for json in ["NaN", "[1,]", "{\"a\":\"\\ud800\"}", "1 2", ""] {
            assert!(matches!(decode(json.as_bytes()), Err(CodecError::Json { .. })), "{json}");
        }
    }
}
