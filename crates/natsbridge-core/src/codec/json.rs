//! Dictionary and jsontable payloads: JSON, with a nesting depth that every reader can follow.

use std::cell::Cell;
use std::io;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};
use serde_json::{Map, Value as Json};

use super::maps::Watched;
use crate::error::{CodecError, CodecFault};
use crate::harmless::shown_within;
use crate::json_text::{Shape, compact, numbers};
use crate::{JsonText, Rows};

/// Arrays and objects may nest this deep; the JSON reader's own limit, kept on both sides so that what is sent is read
pub(crate) const MAX_DEPTH: usize = 127;

/// What `serde_json` says of more levels than that
const TOO_DEEP: &str = "recursion limit exceeded";
/// What `serde_json` says of a number beyond float64
const OUT_OF_RANGE: &str = "number out of range";

/// Serialises straight into bytes; how deep it nests and what has to be checked again is seen on the way
pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, CodecError> {
    let is_map = Cell::new(false);
    write(&Watched::new(value, &is_map), &is_map).map(|(json, _)| json)
}

/// The same for JSON, of which an object has each key once
pub(super) fn encode_json(json: &Json) -> Result<Bytes, CodecError> {
    write(json, &Cell::new(false)).map(|(json, _)| json)
}

/// As [`encode`], for rows: an array whose items are all objects
pub(super) fn encode_rows<T: Serialize + ?Sized>(rows: &T) -> Result<Bytes, CodecError> {
    let is_map = Cell::new(false);
    checked_rows(write(&Watched::new(rows, &is_map), &is_map)?)
}

/// The same for rows of JSON, each of which has each key once
pub(super) fn encode_json_rows(rows: &[Map<String, Json>]) -> Result<Bytes, CodecError> {
    checked_rows(write(rows, &Cell::new(false))?)
}

fn checked_rows((json, other_items): (Bytes, isize)) -> Result<Bytes, CodecError> {
    if other_items != 0 || !json.starts_with(b"[") {
        // Says what it is instead.
        check_rows(&json)?;
    }
    Ok(json)
}

/// JSON, and the number of items of its outermost array that did not begin as objects
fn write<T: Serialize + ?Sized>(value: &T, is_map: &Cell<bool>) -> Result<(Bytes, isize), CodecError> {
    let mut json = Vec::with_capacity(128);
    let mut levels = Levels { depth: 0, other_items: 0, foreign: false, is_map, keys: Keys::default() };
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, &mut levels));
    if levels.depth > MAX_DEPTH {
        return Err(CodecError(CodecFault::TooDeep { limit: MAX_DEPTH }));
    }
    written.map_err(|error| CodecError(CodecFault::Serialize { reason: reason(&error) }))?;
    if let Some(key) = levels.keys.twice {
        return Err(CodecError(CodecFault::KeyTwice { key }));
    }
    let json = Bytes::from(json);
    let json = if levels.foreign { encode_text(&JsonText::new(json))? } else { json };
    Ok((json, levels.other_items))
}

/// Writes compact JSON and sees what receivers could not read
#[derive(Debug)]
struct Levels<'a> {
    depth: usize,
    /// Items of the outermost array that are no objects, as far as it is one
    other_items: isize,
    /// Whether it holds JSON that somebody else wrote, or integers beyond 64 bits
    foreign: bool,
    /// Whether the object that begins next is a map
    is_map: &'a Cell<bool>,
    keys: Keys,
}

impl Levels<'_> {
    fn begin(&mut self) -> io::Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) }
    }
}

impl Formatter for &mut Levels<'_> {
    #[inline]
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin()?;
        writer.write_all(b"[")
    }

    #[inline]
    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        writer.write_all(b"]")
    }

    #[inline]
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.other_items += isize::from(self.depth == 1);
        if first { Ok(()) } else { writer.write_all(b",") }
    }

    #[inline]
    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.other_items -= isize::from(self.depth == 1);
        self.begin()?;
        self.keys.begin(self.is_map.get());
        writer.write_all(b"{")
    }

    #[inline]
    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        self.keys.end();
        writer.write_all(b"}")
    }

    #[inline]
    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.keys.in_key = self.keys.open & 1 == 1;
        if first { Ok(()) } else { writer.write_all(b",") }
    }

    #[inline]
    fn end_object_key<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        if self.keys.in_key {
            self.keys.in_key = false;
            self.keys.add(&[0]);
        }
        Ok(())
    }

    #[inline]
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if self.keys.in_key {
            self.keys.add(fragment.as_bytes());
        }
        writer.write_all(fragment.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        if !self.keys.in_key {
            return CompactFormatter.write_char_escape(writer, escape);
        }
        let mut text = Vec::new();
        CompactFormatter.write_char_escape(&mut text, escape)?;
        self.keys.add(&text);
        writer.write_all(&text)
    }

    fn write_i128<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: i128) -> io::Result<()> {
        self.foreign |= i64::try_from(value).is_err() && u64::try_from(value).is_err();
        write!(writer, "{value}")
    }

    fn write_u128<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: u128) -> io::Result<()> {
        self.foreign |= u64::try_from(value).is_err();
        write!(writer, "{value}")
    }

    fn write_raw_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        self.foreign = true;
        writer.write_all(fragment.as_bytes())
    }
}

/// The keys of the maps that are open: a type with a flattened map can name one twice, and a reader would keep the last
#[derive(Debug, Default)]
struct Keys {
    /// Whether a map's key is being written
    in_key: bool,
    /// One bit for each object that is open, the innermost last: whether it is a map; there are at most [`MAX_DEPTH`]
    open: u128,
    /// How many maps are open
    maps: usize,
    /// For each of these the keys of the last one there, which were looked at: those of rows are the same in each
    levels: Vec<Level>,
    /// The first key that occurs twice in one object
    twice: Option<String>,
}

#[derive(Debug, Default)]
struct Level {
    /// As they are in the JSON, each with a zero behind it, which none of them contains
    keys: Vec<u8>,
    /// How far the object that is open has come in them
    at: usize,
    /// Whether it has others than the object before
    new: bool,
}

impl Keys {
    #[inline]
    fn begin(&mut self, is_map: bool) {
        self.open = self.open << 1 | u128::from(is_map);
        if is_map {
            self.begin_map();
        }
    }

    // What maps alone need stays out of the structs' way.
    #[inline(never)]
    fn begin_map(&mut self) {
        self.maps += 1;
        if self.levels.len() < self.maps {
            self.levels.push(Level::default());
        }
        self.levels[self.maps - 1].at = 0;
    }

    #[inline(never)]
    fn add(&mut self, text: &[u8]) {
        let level = &mut self.levels[self.maps - 1];
        if level.keys[level.at..].starts_with(text) {
            level.at += text.len();
        } else {
            level.keys.truncate(level.at);
            level.keys.extend_from_slice(text);
            level.at = level.keys.len();
            level.new = true;
        }
    }

    #[inline]
    fn end(&mut self) {
        let is_map = self.open & 1 == 1;
        self.open >>= 1;
        if is_map {
            self.end_map();
        }
    }

    #[inline(never)]
    fn end_map(&mut self) {
        self.maps -= 1;
        let level = &mut self.levels[self.maps];
        if !level.new {
            return;
        }
        level.new = false;
        // Keys that are numbers leave no text here; they come from maps, which hold each of them once.
        let mut each: Vec<_> = level.keys.split(|byte| *byte == 0).filter(|key| !key.is_empty()).collect();
        each.sort_unstable();
        if let Some(pair) = each.windows(2).find(|pair| pair[0] == pair[1]) {
            let key = String::from_utf8_lossy(pair[0]).into_owned();
            self.twice.get_or_insert(key);
        }
    }
}

/// Rows given as the JSON array that they are on the wire
pub(super) fn rows_of(json: Json) -> Result<Rows, CodecError> {
    let Json::Array(items) = json else {
        return Err(CodecError(CodecFault::NotRows { found: format!("this is {}", kind(&json)) }));
    };
    let row = |(at, item)| match item {
        Json::Object(row) => Ok(row),
        other => Err(CodecError(CodecFault::NotRows { found: format!("row {at} is {}", kind(&other)) })),
    };
    items.into_iter().enumerate().map(row).collect::<Result<Vec<_>, _>>().map(Rows::new)
}

/// JSON that is text already; it is checked as a receiver would
pub(super) fn encode_text(text: &JsonText) -> Result<Bytes, CodecError> {
    let bytes = text.as_bytes();
    shape(bytes).map_err(found_when_sending)?;
    Ok(compacted(bytes))
}

pub(super) fn encode_rows_text(text: &JsonText) -> Result<Bytes, CodecError> {
    let bytes = text.as_bytes();
    check_rows(bytes).map_err(found_when_sending)?;
    Ok(compacted(bytes))
}

#[cfg(feature = "arrow")]
pub(super) fn rows_of_text(text: &JsonText) -> Result<Rows, CodecError> {
    decode_rows(text.as_bytes()).map_err(found_when_sending)
}

fn compacted(json: &[u8]) -> Bytes {
    // It was read as JSON, so it is UTF-8.
    std::str::from_utf8(json).map(compact).unwrap_or_default().into()
}

fn found_when_sending(error: CodecError) -> CodecError {
    match error {
        CodecError(CodecFault::Number { line, column, number }) => {
            CodecError(CodecFault::WrongNumber { line, column, number })
        }
        CodecError(CodecFault::Json { reason, .. }) if reason == TOO_DEEP => {
            CodecError(CodecFault::TooDeep { limit: MAX_DEPTH })
        }
        error => error,
    }
}

/// Reads JSON; to look at the encoding once, and not in each string, takes a tenth less time
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        // Says where.
        Err(_) => serde_json::from_slice(bytes),
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Json, CodecError> {
    let json = parse(bytes).map_err(|error| unread(bytes, &error))?;
    check_numbers(bytes)?;
    Ok(json)
}

pub(super) fn decode_rows(bytes: &[u8]) -> Result<Rows, CodecError> {
    // Rows are read as such straight away; only what is not rows is read again, to say what it is.
    match parse::<Vec<Map<String, Json>>>(bytes) {
        Ok(rows) => check_numbers(bytes).map(|()| Rows::new(rows)),
        Err(_) => rows_of(decode(bytes)?),
    }
}

/// Reads a type of the program's own; `rows` says whether the bytes have to be rows
pub(super) fn decode_as<T: DeserializeOwned>(bytes: &[u8], rows: bool) -> Result<T, CodecError> {
    match parse(bytes) {
        Ok(value) => check_numbers(bytes).map(|()| value),
        Err(error) => {
            // Bytes that are not what their payload type says come first; then it is the type that asks for something else.
            if rows {
                check_rows(bytes)?
            } else {
                check(bytes)?
            }
            Err(CodecError::mismatch::<T>(&error))
        }
    }
}

/// Whether these bytes can be read as a dictionary, without building it
pub(crate) fn check(bytes: &[u8]) -> Result<(), CodecError> {
    shape(bytes).map(drop)
}

/// Whether these bytes can be read as rows, without building them
pub(crate) fn check_rows(bytes: &[u8]) -> Result<(), CodecError> {
    let found = match shape(bytes)? {
        Shape { kind: Shape::ARRAY, no_row: None } => return Ok(()),
        Shape { kind: Shape::ARRAY, no_row: Some((at, kind)) } => format!("row {at} is {kind}"),
        Shape { kind, .. } => format!("this is {kind}"),
    };
    Err(CodecError(CodecFault::NotRows { found }))
}

fn shape(bytes: &[u8]) -> Result<Shape, CodecError> {
    let shape = parse(bytes).map_err(|error| unread(bytes, &error))?;
    check_numbers(bytes)?;
    Ok(shape)
}

/// Why JSON was not read; of a number that fits no float64 the reader does not say which
fn unread(bytes: &[u8], error: &serde_json::Error) -> CodecError {
    match not_json(error) {
        CodecError(CodecFault::Json { reason, .. }) if reason == OUT_OF_RANGE => {
            check_numbers(bytes).err().unwrap_or_else(|| not_json(error))
        }
        other => other,
    }
}

/// Refuses numbers that would be read as others: integers beyond 64 bits, and those too large or too small for a float64
/// (docs/specification.md, section 3); of what is no JSON, the answer means nothing
fn check_numbers(bytes: &[u8]) -> Result<(), CodecError> {
    if !may_differ(bytes) {
        return Ok(());
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return Ok(()) };
    match numbers(text).find(|(_, number)| !is_kept(number)) {
        None => Ok(()),
        Some((at, number)) => {
            let before = &bytes[..at];
            let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
            Err(CodecError(CodecFault::Number {
                line: memchr::memchr_iter(b'\n', before).count() + 1,
                column: at - line_start + 1,
                number: shown_within(number, 40).into_owned(),
            }))
        }
    }
}

/// Whether some number is not kept, strings that look like numbers included
///
/// Such a number has a large exponent or 19 digits in a row. Nearly all JSON has neither, which is seen at the speed of memory.
fn may_differ(bytes: &[u8]) -> bool {
    [large_exponent, long_run].into_iter().any(|find| {
        let in_number = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let mut rest = bytes;
        while let Some(at) = find(rest) {
            let (before, behind) = rest.split_at(at);
            let start = at - before.iter().rev().take_while(in_number).count();
            let end = at + behind.iter().take_while(in_number).count();
            if std::str::from_utf8(&rest[start..end]).is_ok_and(|number| !is_kept(number)) {
                return true;
            }
            rest = &rest[end..];
        }
        false
    })
}

/// A digit before an exponent of three digits or more; with fewer, only a mantissa with a long run is not kept
fn large_exponent(bytes: &[u8]) -> Option<usize> {
    const BLOCK: usize = 64;
    let last = bytes.len().checked_sub(4)?;
    (0..last).step_by(BLOCK).find_map(|start| {
        let end = last.min(start + BLOCK);
        let from = |by: usize| &bytes[start + by..end + by];
        let found = |at: usize| {
            let is_digit = |by: usize| from(by).get(at).is_some_and(u8::is_ascii_digit);
            is_digit(0) && from(1).get(at).is_some_and(|byte| byte | 0x20 == b'e') && is_digit(3) && is_digit(4)
        };
        // No early return, so that the loop vectorises; nearly no block has one.
        let pairs = from(0).iter().zip(from(1)).zip(from(3)).zip(from(4));
        let some = pairs.fold(false, |some, (((digit, e), third), fourth)| {
            some | (digit.is_ascii_digit() & (e | 0x20 == b'e') & third.is_ascii_digit() & fourth.is_ascii_digit())
        });
        if some { (0..end - start).find(|at| found(*at)).map(|at| start + at) } else { None }
    })
}

/// A place in a run of 12 digits; each of 19 digits has one at which eight of them are one of our chunks
fn long_run(bytes: &[u8]) -> Option<usize> {
    let digits =
        |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|some| some.iter().all(u8::is_ascii_digit));
    let (chunks, _) = bytes.as_chunks::<8>();
    chunks.iter().enumerate().find_map(|(number, chunk)| {
        const HIGH: u64 = 0xF0F0_F0F0_F0F0_F0F0;
        const ZEROS: u64 = 0x3030_3030_3030_3030;
        let chunk = u64::from_le_bytes(*chunk);
        let at = number * 8;
        // A sum beyond `9` goes into the high half of its byte.
        let all = chunk & HIGH == ZEROS && chunk.wrapping_add(0x0606_0606_0606_0606) & HIGH == ZEROS;
        (all && (digits(at + 8..at + 12) || at >= 4 && digits(at - 4..at))).then_some(at)
    })
}

/// Whether a number as it stands has a counterpart of 64 bits: exactly for an integer, the nearest float64 for others
fn is_kept(number: &str) -> bool {
    if number.len() < 19 && !number.contains(['e', 'E']) {
        return true;
    }
    if number.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) {
        // -0 is the float64 that it says, and no integer.
        return number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok();
    }
    let digits = number.split(['e', 'E']).next().unwrap_or_default();
    let is_zero = !digits.contains(|digit| matches!(digit, '1'..='9'));
    // What does not parse is no number, but text in a string that looks like one.
    number.parse::<f64>().map_or(true, |value| value.is_finite() && (value == 0.0) == is_zero)
}

fn not_json(error: &serde_json::Error) -> CodecError {
    CodecError(CodecFault::Json { line: error.line(), column: error.column(), reason: reason(error) })
}

/// What `serde_json` says, without the position that it appends; it may repeat a stranger's text
pub(crate) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rfind(" at line ").map_or(&*text, |at| &text[..at]);
    shown_within(text, 200).into_owned()
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
    fn nesting_written_is_no_deeper_than_nesting_read() {
        let deepest = nested(MAX_DEPTH);
        assert_eq!(decode(&encode(&deepest).unwrap()).unwrap(), deepest);
        assert_eq!(encode(&nested(MAX_DEPTH + 1)), Err(CodecError(CodecFault::TooDeep { limit: MAX_DEPTH })));
        assert!(decode("[".repeat(100_000).as_bytes()).is_err());
        let row = |depth| Rows::new(vec![Map::from_iter([("a".to_owned(), nested(depth))])]);
        let deepest = row(MAX_DEPTH - 2);
        assert_eq!(decode_rows(&encode_json_rows(deepest.as_slice()).unwrap()).unwrap(), deepest);
        assert!(encode_json_rows(row(MAX_DEPTH - 1).as_slice()).is_err());
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
    fn numbers_that_would_change_are_refused_with_their_place() {
        for number in [
            "123456789012345678901234567890",
            "18446744073709551616",
            "-9223372036854775809",
            "100000000000000000000",
            "1e-400",
            "1e400",
            "-1e999999999",
            "-0.0000000000000000000001e-320",
        ] {
            let found = CodecError(CodecFault::Number { line: 2, column: 7, number: number.to_owned() });
            let json = format!("{{\n \"n\": {number}}}");
            assert_eq!(decode(json.as_bytes()), Err(found.clone()));
            assert_eq!(check(json.as_bytes()), Err(found.clone()));
            assert_eq!(decode_rows(format!("[{json}]").as_bytes()), Err(found.clone()));
            assert_eq!(check_rows(format!("[{json}]").as_bytes()), Err(found));
        }
        for number in ["0.0", "-0", "0e-500", "1e30", "12345678901234567890.5", "3.14159265358979323846", "5e-324"] {
            assert!(decode(number.as_bytes()).is_ok() && check(number.as_bytes()).is_ok(), "{number}");
        }
        assert!(decode(b"[0.0,\"123456789012345678901234567890\"]").is_ok());
    }

    #[test]
    fn json_text_keeps_each_digit_or_is_refused() {
        let text = |text: &str| JsonText::new(text.to_owned());
        let json = "{ \"a\" : [1.50, 0.12345678901234567890123,\n -0, 1E2] }";
        let compact = "{\"a\":[1.50,0.12345678901234567890123,-0,1E2]}";
        assert_eq!(encode_text(&text(json)).unwrap(), compact);
        assert_eq!(encode_rows_text(&text(&format!("[{json}]"))).unwrap(), format!("[{compact}]"));
        for number in ["123456789012345678901234567890", "1e400", "1e-400"] {
            let error = encode_text(&text(&format!("[{number}]"))).unwrap_err();
            assert_eq!(error, CodecError(CodecFault::WrongNumber { line: 1, column: 2, number: number.to_owned() }));
            assert_eq!(error.code(), "wrong_value");
            let error = encode_rows_text(&text(&format!("[{{\"a\":{number}}}]"))).unwrap_err();
            assert_eq!(error.code(), "wrong_value");
        }
        let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
        assert_eq!(encode_text(&text(&deep)), Err(CodecError(CodecFault::TooDeep { limit: MAX_DEPTH })));
        assert!(encode_text(&text(&deep[1..255])).is_ok());
        assert!(matches!(encode_text(&text("{'a':1}")), Err(CodecError(CodecFault::Json { line: 1, .. }))));
        assert!(matches!(
            encode_text(&JsonText::new(vec![b'"', 0xff, b'"'])),
            Err(CodecError(CodecFault::Json { .. }))
        ));
        assert_eq!(
            encode_rows_text(&text("{}")),
            Err(CodecError(CodecFault::NotRows { found: "this is an object".to_owned() }))
        );
    }

    #[test]
    fn json_that_is_not_rows_is_named() {
        for (json, found) in [("{}", "this is an object"), ("[{},1]", "row 1 is a number"), ("null", "this is null")] {
            assert_eq!(decode_rows(json.as_bytes()), Err(CodecError(CodecFault::NotRows { found: found.into() })));
        }
        assert!(matches!(decode_rows(b"[{}"), Err(CodecError(CodecFault::Json { line: 1, .. }))));
        for json in ["NaN", "[1,]", "{\"a\":\"\\ud800\"}", "1 2", ""] {
            assert!(matches!(decode(json.as_bytes()), Err(CodecError(CodecFault::Json { .. }))), "{json}");
        }
    }
}
