//! Where a table's values go, one after the other: into JSON values, or as text into a writer.

use std::io;

use serde::Serialize as _;
use serde_json::{Map, Number, Value as Json};

use crate::CodecError;
use crate::json_text::Harmless;

/// Why the rest is not written
#[derive(Debug)]
pub(super) enum Stop {
    /// A value that has no JSON
    Unconvertible(String),
    /// More JSON values than allowed
    TooLarge { needed: u64, limit: u64 },
    /// The writer takes no more
    Io(io::Error),
}

impl Stop {
    /// The error, of this column where it is one column's
    pub(super) fn of(self, column: &str) -> CodecError {
        match self {
            Self::Unconvertible(reason) => CodecError::Unconvertible { column: column.to_owned(), reason },
            Self::TooLarge { needed, limit } => CodecError::TableTooLarge { needed, limit },
            Self::Io(error) => super::damaged(format!("its rows can't be written: {error}")),
        }
    }
}

pub(super) type Step = Result<(), Stop>;

/// Takes the parts of JSON values in their order
pub(super) trait Out {
    fn null(&mut self) -> Step;
    fn boolean(&mut self, value: bool) -> Step;
    fn number(&mut self, value: Number) -> Step;
    fn text(&mut self, text: &str) -> Step;
    /// Bytes as lower-case hexadecimal text
    fn hex(&mut self, bytes: &[u8]) -> Step;
    fn begin_list(&mut self) -> Step;
    /// Comes before each item
    fn item(&mut self) -> Step;
    fn end_list(&mut self) -> Step;
    fn begin_object(&mut self, members: usize) -> Step;
    /// Comes before each member's value
    fn key(&mut self, key: &str) -> Step;
    fn end_object(&mut self) -> Step;
    /// Stands for a value that has no JSON
    fn unconvertible(&mut self, reason: &str) -> Step;
}

/// What a value costs beside its text: itself, its key's head and its place in the object
const VALUE_BYTES: u64 = 128;

/// Builds JSON values, within a limit of memory
#[derive(Debug)]
pub(super) struct Tree {
    bytes: u64,
    limit: u64,
    open: Vec<Open>,
    done: Option<Json>,
}

#[derive(Debug)]
enum Open {
    List(Vec<Json>),
    Object(Map<String, Json>, String),
}

impl Tree {
    pub(super) const fn new(limit: u64) -> Self {
        Self { bytes: 0, limit, open: Vec::new(), done: None }
    }

    /// The value that is whole
    pub(super) fn take(&mut self) -> Option<Json> {
        self.done.take()
    }

    /// Asked before the value is made
    pub(super) fn spend(&mut self, text: usize) -> Step {
        let text = u64::try_from(text).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(VALUE_BYTES).saturating_add(text);
        if self.bytes > self.limit { Err(Stop::TooLarge { needed: self.bytes, limit: self.limit }) } else { Ok(()) }
    }

    fn put(&mut self, value: Json) -> Step {
        match self.open.last_mut() {
            Some(Open::List(items)) => items.push(value),
            Some(Open::Object(members, key)) => {
                members.insert(std::mem::take(key), value);
            }
            None => self.done = Some(value),
        }
        Ok(())
    }

    fn end(&mut self) -> Step {
        match self.open.pop() {
            Some(Open::List(items)) => self.put(items.into()),
            Some(Open::Object(members, _)) => self.put(members.into()),
            None => Ok(()),
        }
    }
}

impl Out for Tree {
    fn null(&mut self) -> Step {
        self.put(Json::Null)
    }

    fn boolean(&mut self, value: bool) -> Step {
        self.put(value.into())
    }

    fn number(&mut self, value: Number) -> Step {
        self.put(value.into())
    }

    fn text(&mut self, text: &str) -> Step {
        self.spend(text.len())?;
        self.put(text.into())
    }

    fn hex(&mut self, bytes: &[u8]) -> Step {
        self.spend(bytes.len().saturating_mul(2))?;
        let mut text = String::with_capacity(bytes.len().saturating_mul(2));
        text.extend(bytes.iter().flat_map(|byte| hex_of(*byte)));
        self.put(text.into())
    }

    fn begin_list(&mut self) -> Step {
        self.open.push(Open::List(Vec::new()));
        Ok(())
    }

    fn item(&mut self) -> Step {
        self.spend(0)
    }

    fn end_list(&mut self) -> Step {
        self.end()
    }

    fn begin_object(&mut self, members: usize) -> Step {
        self.open.push(Open::Object(Map::with_capacity(members), String::new()));
        Ok(())
    }

    fn key(&mut self, key: &str) -> Step {
        self.spend(key.len())?;
        if let Some(Open::Object(_, next)) = self.open.last_mut() {
            key.clone_into(next);
        }
        Ok(())
    }

    fn end_object(&mut self) -> Step {
        self.end()
    }

    fn unconvertible(&mut self, reason: &str) -> Step {
        Err(Stop::Unconvertible(reason.to_owned()))
    }
}

fn hex_of(byte: u8) -> [char; 2] {
    [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or_default())
}

/// Writes JSON text; what has none becomes null, and is noted
pub(super) struct Text<'w> {
    out: &'w mut dyn io::Write,
    /// Whether nothing stands before the next item or member
    first: bool,
    /// The first reason of the current column
    pub(super) unconvertible: Option<String>,
}

impl<'w> Text<'w> {
    pub(super) fn new(out: &'w mut dyn io::Write) -> Self {
        Self { out, first: true, unconvertible: None }
    }

    fn raw(&mut self, text: &[u8]) -> Step {
        self.out.write_all(text).map_err(Stop::Io)
    }

    fn comma(&mut self) -> Step {
        if std::mem::replace(&mut self.first, false) { Ok(()) } else { self.raw(b",") }
    }

    fn begin(&mut self, bracket: &[u8]) -> Step {
        self.first = true;
        self.raw(bracket)
    }

    fn end(&mut self, bracket: &[u8]) -> Step {
        self.first = false;
        self.raw(bracket)
    }

    fn string(&mut self, text: &str) -> Step {
        let mut serializer = serde_json::Serializer::with_formatter(&mut self.out, Harmless);
        text.serialize(&mut serializer).map_err(|error| Stop::Io(error.into()))
    }
}

impl Out for Text<'_> {
    fn null(&mut self) -> Step {
        self.raw(b"null")
    }

    fn boolean(&mut self, value: bool) -> Step {
        self.raw(if value { b"true" } else { b"false" })
    }

    fn number(&mut self, value: Number) -> Step {
        serde_json::to_writer(&mut self.out, &value).map_err(|error| Stop::Io(error.into()))
    }

    fn text(&mut self, text: &str) -> Step {
        self.string(text)
    }

    fn hex(&mut self, bytes: &[u8]) -> Step {
        self.raw(b"\"")?;
        for some in bytes.chunks(512) {
            let text: String = some.iter().flat_map(|byte| hex_of(*byte)).collect();
            self.raw(text.as_bytes())?;
        }
        self.raw(b"\"")
    }

    fn begin_list(&mut self) -> Step {
        self.begin(b"[")
    }

    fn item(&mut self) -> Step {
        self.comma()
    }

    fn end_list(&mut self) -> Step {
        self.end(b"]")
    }

    fn begin_object(&mut self, _members: usize) -> Step {
        self.begin(b"{")
    }

    fn key(&mut self, key: &str) -> Step {
        self.comma()?;
        self.string(key)?;
        self.raw(b":")
    }

    fn end_object(&mut self) -> Step {
        self.end(b"}")
    }

    fn unconvertible(&mut self, reason: &str) -> Step {
        self.unconvertible.get_or_insert_with(|| reason.to_owned());
        self.null()
    }
}
