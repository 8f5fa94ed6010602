//! Walks the JSON of an envelope once: structure and plain strings here at memory speed, everything else by `serde_json`.
//!
//! A base64 payload is one long string without escapes. Finding its end with `memchr` costs a fiftieth of decoding it;
//! a general parser looks at every byte of it first.

use std::borrow::Cow;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;

use crate::codec::json::reason;
use crate::error::{EnvelopeError, EnvelopeFault};
use crate::escape::has_control;
use crate::fields::BETWEEN;
use crate::sequence::sequence_len;

/// A place in the text
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

/// A value as it stands in the text
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'a> {
    bytes: &'a [u8],
    /// Whether a string holds a backslash; meaningless for the rest
    escaped: bool,
}

/// What was found in an object
#[derive(Debug)]
pub(super) struct Members<'a, const N: usize> {
    /// By the place of their names
    pub(super) values: [Option<Raw<'a>>; N],
    /// The text from the first opening to the end of its last string, without the quote, where all stand as our own
    /// writers put them
    pub(super) usual: Option<&'a [u8]>,
}

impl<'a> Raw<'a> {
    pub(super) fn is_null(&self) -> bool {
        self.bytes == b"null"
    }

    pub(super) fn starts_with(&self, first: u8) -> bool {
        self.bytes.first() == Some(&first)
    }

    /// The whole value, quotes and brackets included
    pub(super) const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What stands between the quotes of a string without escapes, not yet checked for characters that JSON forbids
    pub(super) fn plain(&self) -> Option<&'a [u8]> {
        let inner = self.bytes.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        (!self.escaped).then_some(inner)
    }
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Takes an object, and gives the values of the named members; the rest is passed over
    ///
    /// `openings` stand before the members that come first where our own writers wrote the object. `value` takes any
    /// other member's value, given its place among the names. Members that stand in the order of the names are found
    /// without a search.
    pub(super) fn object<const N: usize>(
        &mut self,
        what: &str,
        names: &[&str; N],
        openings: &[&str],
        mut value: impl FnMut(&mut Self, usize) -> Result<Raw<'a>, EnvelopeError>,
    ) -> Result<Members<'a, N>, EnvelopeError> {
        let mut values = [None; N];
        self.expect(b'{', what)?;
        if self.eat(b'}') {
            return Ok(Members { values, usual: None });
        }
        let begin = self.at;
        let mut next = self.strings(openings, &mut values);
        let usual = (next == openings.len()).then(|| &self.text[begin..self.at - 1]);
        let mut is_first = next == 0;
        loop {
            if !is_first && !self.eat(b',') {
                self.expect(b'}', "`,` or `}`")?;
                return Ok(Members { values, usual });
            }
            is_first = false;
            match self.key(names, next)? {
                Some(index) if values[index].is_some() => {
                    return Err(self.error(format!("duplicate key `{}`", names[index])));
                }
                Some(index) => {
                    values[index] = Some(value(self, index)?);
                    next = index + 1;
                }
                None => self.skip()?,
            }
        }
    }

    /// Takes strings as long as each stands behind its opening, without spaces between or escapes within, as our own
    /// writers put them; answers how many
    ///
    /// An opening begins with the quote that ends the string before, and ends with the one that begins its own.
    fn strings(&mut self, openings: &[&str], values: &mut [Option<Raw<'a>>]) -> usize {
        let mut taken = 0;
        let mut rest = self.text.get(self.at..).unwrap_or_default();
        for (opening, value) in openings.iter().zip(values) {
            let opening = if taken == 0 { &opening[BETWEEN.len()..] } else { opening };
            let Some(behind) = rest.strip_prefix(opening.as_bytes()) else { break };
            let end = match memchr::memchr2(b'"', b'\\', behind) {
                Some(end) if behind[end] == b'"' => end,
                _ => break,
            };
            // Quotes included: the opening ends with the first.
            let first = self.text.len() - behind.len() - 1;
            let last = first + 1 + end;
            *value = Some(Raw { bytes: &self.text[first..=last], escaped: false });
            self.at = last + 1;
            rest = &self.text[last..];
            taken += 1;
        }
        taken
    }

    /// Takes a key and its colon; `None` for one that has no name here
    fn key<const N: usize>(&mut self, names: &[&str; N], next: usize) -> Result<Option<usize>, EnvelopeError> {
        if self.peek() != Some(b'"') {
            return Err(self.error("a key has to be a string"));
        }
        if let Some(name) = names.get(next)
            && let Some(rest) = self.text[self.at + 1..].strip_prefix(name.as_bytes())
            && rest.starts_with(b"\":")
        {
            self.at += name.len() + 3;
            return Ok(Some(next));
        }
        let key = self.string()?;
        let key = self.text(key)?;
        self.expect(b':', "`:`")?;
        Ok(names.iter().position(|name| *name == key))
    }

    /// Takes an array; `item` takes each of its items
    pub(super) fn items(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), EnvelopeError>,
    ) -> Result<Raw<'a>, EnvelopeError> {
        self.expect(b'[', "`[`")?;
        let start = self.at - 1;
        if !self.eat(b']') {
            loop {
                item(self)?;
                if !self.eat(b',') {
                    break;
                }
            }
            self.expect(b']', "`,` or `]`")?;
        }
        Ok(Raw { bytes: &self.text[start..self.at], escaped: false })
    }

    /// The next value's first byte
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    /// Takes the next value without reading what is in it
    pub(super) fn value(&mut self) -> Result<Raw<'a>, EnvelopeError> {
        if self.peek() == Some(b'"') {
            return self.string();
        }
        let rest = &self.text[self.at..];
        let bytes = match usual(rest) {
            0 => self.parsed::<&RawValue>(rest)?.get().as_bytes(),
            len => {
                self.at += len;
                &rest[..len]
            }
        };
        Ok(Raw { bytes, escaped: false })
    }

    /// Passes over a value that nobody will read
    pub(super) fn skip(&mut self) -> Result<(), EnvelopeError> {
        self.peek();
        self.parsed::<IgnoredAny>(&self.text[self.at..]).map(drop)
    }

    /// Refuses anything after the value
    pub(super) fn end(&mut self) -> Result<(), EnvelopeError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => {
                self.at += 1;
                Err(self.error("trailing characters"))
            }
        }
    }

    /// The content of a string, unescaped; whether it is UTF-8 and free of control characters is yet to be checked
    pub(super) fn content(&self, raw: Raw<'a>) -> Result<Cow<'a, [u8]>, EnvelopeError> {
        match raw.plain() {
            Some(inner) => Ok(Cow::Borrowed(inner)),
            None => self.read::<String>(raw).map(|text| Cow::Owned(text.into())),
        }
    }

    /// The content of a string, unescaped and checked
    pub(super) fn text(&self, raw: Raw<'a>) -> Result<Cow<'a, str>, EnvelopeError> {
        if let Some(inner) = raw.plain()
            && !has_control(inner)
            && let Ok(text) = std::str::from_utf8(inner)
        {
            return Ok(Cow::Borrowed(text));
        }
        self.read(raw).map(Cow::Owned)
    }

    /// Reads a value of the text
    pub(super) fn read<T: DeserializeOwned>(&self, raw: Raw<'a>) -> Result<T, EnvelopeError> {
        serde_json::from_slice(raw.bytes).map_err(|error| self.not_json_within(raw.bytes, &error))
    }

    /// What is wrong at the current place
    pub(super) fn error(&self, reason: impl Into<String>) -> EnvelopeError {
        let (line, column) = self.position(self.at);
        EnvelopeError(EnvelopeFault::NotJson { line, column, reason: reason.into() })
    }

    fn string(&mut self) -> Result<Raw<'a>, EnvelopeError> {
        let start = self.at;
        let mut escaped = false;
        let mut at = start + 1;
        while let Some(found) = memchr::memchr2(b'"', b'\\', self.text.get(at..).unwrap_or_default()) {
            at += found;
            if self.text[at] == b'"' {
                self.at = at + 1;
                return Ok(Raw { bytes: &self.text[start..self.at], escaped });
            }
            escaped = true;
            at += 2;
        }
        self.at = self.text.len();
        Err(self.error("EOF while parsing a string"))
    }

    fn parsed<T: serde::Deserialize<'a>>(&mut self, rest: &'a [u8]) -> Result<T, EnvelopeError> {
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<T>();
        match values.next() {
            Some(Ok(value)) => {
                self.at += values.byte_offset();
                Ok(value)
            }
            Some(Err(error)) => Err(self.not_json_within(rest, &error)),
            None => Err(self.error("EOF while parsing a value")),
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, what: &str) -> Result<(), EnvelopeError> {
        if self.eat(byte) {
            return Ok(());
        }
        let end = self.at >= self.text.len();
        self.at = (self.at + 1).min(self.text.len());
        Err(self.error(if end { format!("EOF while looking for {what}") } else { format!("expected {what}") }))
    }

    /// A fault that `serde_json` found in a part of the text, with its place in the whole
    fn not_json_within(&self, part: &[u8], error: &serde_json::Error) -> EnvelopeError {
        let offset = part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        let (lines, columns) = self.position(offset);
        let column = if error.line() <= 1 { columns + error.column() } else { error.column() };
        EnvelopeError(EnvelopeFault::NotJson {
            line: lines + error.line().saturating_sub(1),
            column,
            reason: reason(error),
        })
    }

    /// The line, from 1, and how many bytes of it lie before this place
    fn position(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..at.min(self.text.len())];
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        (memchr::memchr_iter(b'\n', before).count() + 1, before.len() - line_start)
    }
}

/// The length of metadata and sizes as senders write them; 0 for any other form
fn usual(text: &[u8]) -> usize {
    if text.starts_with(b"{}") {
        return 2;
    }
    sequence_len(text).unwrap_or_else(|| natural(text))
}

/// The length of a number that is digits alone; 0 where more than digits follow
fn natural(text: &[u8]) -> usize {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match text.get(digits) {
        // A number that begins with 0 has no further digits, and is left to the parser.
        _ if text.first() == Some(&b'0') => 0,
        Some(b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') => digits,
        _ => 0,
    }
}
