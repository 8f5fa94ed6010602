//! JSON text as it is: checked without being built in memory, and written so that no terminal is commanded by it.

use std::fmt;
use std::io;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::ser::Formatter;

use crate::harmless::is_harmful;

/// Writes compact JSON whose strings hold no character that commands a terminal: such are escaped, the value is the same
pub(crate) struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        write_fragment(writer, fragment)
    }
}

/// Writes a part of a string's JSON
fn write_fragment<W: ?Sized + io::Write>(writer: &mut W, mut fragment: &str) -> io::Result<()> {
    while let Some(at) = fragment.find(is_harmful) {
        let (before, rest) = fragment.split_at(at);
        writer.write_all(before.as_bytes())?;
        let mut rest = rest.chars();
        // All of them have four digits.
        let code = rest.next().map_or(0, u32::from);
        write!(writer, "\\u{code:04x}")?;
        fragment = rest.as_str();
    }
    writer.write_all(fragment.as_bytes())
}

/// The parts of sound JSON that are no white space: strings, and what stands between them
fn pieces(json: &str) -> impl Iterator<Item = &str> {
    let mut rest = json;
    std::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        let end = match rest.as_bytes().first()? {
            b'"' => string_end(rest),
            _ => rest.find(|c: char| c == '"' || c.is_ascii_whitespace()).unwrap_or(rest.len()),
        };
        let (piece, behind) = rest.split_at(end);
        rest = behind;
        Some(piece)
    })
}

/// Writes sound JSON without white space between its parts, strings as [`Harmless`] does, everything else as it stands
pub(crate) fn write_compact(json: &str, out: &mut dyn io::Write) -> io::Result<()> {
    pieces(json).try_for_each(|piece| write_fragment(out, piece))
}

/// Sound JSON without white space between its parts, everything else as it stands
pub(crate) fn compact(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    text.extend(pieces(json));
    text
}

/// Where a string ends that begins with its quote, behind its last one
fn string_end(string: &str) -> usize {
    let bytes = string.as_bytes();
    let mut at = 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

/// The numbers of sound JSON, as they stand
pub(crate) fn numbers(json: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = json.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' => at += string_end(&json[at..]),
                b'-' | b'0'..=b'9' => {
                    let rest = &bytes[at..];
                    let inside = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                    let len = rest.iter().take_while(inside).count();
                    let start = at;
                    at += len;
                    return Some((start, &json[start..at]));
                }
                _ => at += 1,
            }
        }
        None
    })
}

/// What JSON holds, found without building it: memory does not grow with the text
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// What it is, in words for an error
    pub(crate) kind: &'static str,
    /// Of an array, the place of the first item that is no object, and what it is
    pub(crate) no_row: Option<(usize, &'static str)>,
}

impl Shape {
    pub(crate) const OBJECT: &'static str = "an object";
    pub(crate) const ARRAY: &'static str = "an array";

    const fn of(kind: &'static str) -> Self {
        Self { kind, no_row: None }
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::of("null"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::of("a boolean"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::of("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::of("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::of("a number"))
    }

    fn visit_str<E>(self, _: &str) -> Result<Shape, E> {
        Ok(Shape::of("a string"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        let mut shape = Shape::of(Shape::ARRAY);
        let mut at = 0;
        while let Some(item) = items.next_element::<Shape>()? {
            if item.kind != Shape::OBJECT {
                shape.no_row = shape.no_row.or(Some((at, item.kind)));
            }
            at += 1;
        }
        Ok(shape)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Shape, A::Error> {
        while members.next_entry::<Shape, Shape>()?.is_some() {}
        Ok(Shape::of(Shape::OBJECT))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    fn shown(json: &str) -> String {
        let mut out = Vec::new();
        write_compact(json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn compact_text_means_the_same_and_keeps_each_digit() {
        let json =
            "{ \"a \\\" b\" :\n[1.0, 1E400,\t123456789012345678901234567890 ], \"\u{9b}\u{202e}\": \"\\\\\" }\r\n";
        assert_eq!(
            compact(json).replace(['\u{9b}', '\u{202e}'], ""),
            r#"{"a \" b":[1.0,1E400,123456789012345678901234567890],"":"\\"}"#
        );
        let text = shown(json);
        assert_eq!(text, r#"{"a \" b":[1.0,1E400,123456789012345678901234567890],"\u009b\u202e":"\\"}"#);
        let json = "[\"é \u{feff}\u{7f}\\n\", {}]";
        assert_eq!(serde_json::from_str::<Json>(&shown(json)).unwrap(), serde_json::from_str::<Json>(json).unwrap());
    }

    #[test]
    fn numbers_are_found_outside_strings_only() {
        let found: Vec<_> = numbers("{\"1\":[-2.5e+3,\"\\\"4\\\\\",5],\"6\":true,\"x\":7}").map(|(_, n)| n).collect();
        assert_eq!(found, ["-2.5e+3", "5", "7"]);
        assert_eq!(numbers("  12").collect::<Vec<_>>(), [(2, "12")]);
    }

    #[test]
    fn shapes_are_refused_as_values_are() {
        for json in ["1", "[]", "{}", "[{},{}]", "[{},1,[]]", "null", "\"a\"", "[{\"a\":[1]}]"] {
            assert!(serde_json::from_str::<Shape>(json).is_ok(), "{json}");
        }
        assert_eq!(serde_json::from_str::<Shape>("[{},1,[]]").unwrap().no_row, Some((1, "a number")));
        for json in [
            "",
            "[1,]",
            "\"\\ud800\"",
            "{\"a\"}",
            "{1:2}",
            "01",
            "1e400",
            "NaN",
            "1 2",
            "[\"\u{1}\"]",
            &"[".repeat(200),
        ] {
            let (shape, value) = (serde_json::from_str::<Shape>(json), serde_json::from_str::<Json>(json));
            assert_eq!(
                shape.map(drop).map_err(|e| e.to_string()),
                value.map(drop).map_err(|e| e.to_string()),
                "{json}"
            );
        }
        let deepest = format!("{}1{}", "[".repeat(127), "]".repeat(127));
        assert!(serde_json::from_str::<Shape>(&deepest).is_ok());
        assert!(serde_json::from_str::<Shape>(&format!("[{deepest}]")).is_err());
        assert!(serde_json::from_slice::<Shape>(b"\"\xff\"").is_err());
    }
}
