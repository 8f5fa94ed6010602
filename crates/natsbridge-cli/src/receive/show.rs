//! A payload's value as it is printed: checked when the message is read, made while it is written, never kept whole.

use std::fs;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use natsbridge::arrow::TableLimits;
use natsbridge::wire::{CodecError, Part};
use natsbridge::{Error, PayloadType, Table};
use serde_json::{Value as Json, json};

use super::count::Counted;
use super::preview::Preview;
use crate::listing;

/// Links up to this size are read back to be shown, in bytes
pub(super) const READ_BACK: u64 = 64 * 1024 * 1024;

/// The most JSON text that the values of one message are shown with together, in bytes
const SHOWN: u64 = 64 * 1024 * 1024;

/// What a value may take of that at least, as a multiple of its payload's size
const SHOWN_TIMES: u64 = 8;

/// Lines of a text that are shown to people
const LINES: usize = 10;

/// Characters of a line for people that are looked at; more never fit
const LINE: usize = 400;

/// For whom it is printed
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    People,
    Json,
}

/// Where a payload's serialised bytes are
#[derive(Debug)]
pub(super) enum Body {
    Memory(Bytes),
    File(PathBuf),
}

impl Body {
    fn bytes(&self) -> io::Result<Bytes> {
        match self {
            Self::Memory(bytes) => Ok(bytes.clone()),
            Self::File(path) => fs::read(path).map(Bytes::from),
        }
    }
}

/// A payload's value in the form that was asked for
#[derive(Debug)]
pub(super) enum Shown {
    Nothing,
    /// Short JSON text
    Json(Vec<u8>),
    /// JSON text that is made again when it is written, so that it is never in memory; the most bytes that it may have
    Large(Body, u64),
    Lines(Vec<String>),
}

/// How much JSON text the values of one message may still have together
///
/// Without it, a small message of many payloads that stand for much would keep the program busy for hours.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    left: u64,
}

impl Budget {
    /// That of one message
    pub(super) const fn new() -> Self {
        Self { left: SHOWN }
    }

    /// The most for a payload of this size; what is in proportion to its size is always shown
    fn most(&self, size: u64) -> u64 {
        self.left.max(in_proportion(size))
    }

    /// Counts a value that was looked at
    fn take(&mut self, text: u64) {
        self.left = self.left.saturating_sub(text);
    }
}

/// Why a value, or a part of it, is not shown; the payload itself is sound
#[derive(Debug)]
pub(super) struct Unshown {
    pub(super) code: &'static str,
    pub(super) message: String,
    columns: Vec<String>,
}

impl Unshown {
    /// A payload that is too large to be looked into
    pub(super) fn too_large() -> Self {
        let message = format!("it is larger than {} MiB and was not read; save it to have it whole", READ_BACK >> 20);
        Self { code: "too_large", message, columns: Vec::new() }
    }

    fn of(problems: &[CodecError]) -> Option<Self> {
        let first = problems.first()?;
        let mut columns: Vec<String> = Vec::new();
        for problem in problems {
            let column = problem.column().map(str::to_owned);
            columns.extend(column.filter(|column| !columns.contains(column)));
        }
        let messages: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Some(Self { code: first.code(), message: messages.join("; "), columns })
    }

    pub(super) fn to_json(&self) -> Json {
        json!({ "code": self.code, "message": self.message, "columns": self.columns })
    }
}

impl Shown {
    /// Checks a value and prepares its printing; a large one keeps the processor busy, so it belongs on a blocking thread
    pub(super) fn of(
        dataname: &str,
        payload_type: PayloadType,
        body: Body,
        form: Form,
        budget: &mut Budget,
    ) -> Result<(Self, Option<Unshown>), Error> {
        let read = |path: &PathBuf, source| Error::file(dataname, "read", path, source);
        let bytes = body.bytes().map_err(|source| match &body {
            Body::File(path) => read(path, source),
            Body::Memory(_) => read(&PathBuf::new(), source),
        })?;
        match form {
            Form::Json => json_of(dataname, payload_type, bytes, body, budget),
            Form::People => lines_of(dataname, payload_type, &bytes, budget),
        }
    }

    /// Writes the value as JSON
    pub(super) fn write(&self, dataname: &str, payload_type: PayloadType, out: &mut dyn io::Write) -> io::Result<()> {
        match self {
            Self::Nothing | Self::Lines(_) => out.write_all(b"null"),
            Self::Json(text) => out.write_all(text),
            Self::Large(body, most) => {
                let part = Part::from_source(dataname, payload_type, body.bytes()?);
                let view = part.json_view(*most).map_err(io::Error::other)?;
                view.write_to(out)
            }
        }
    }
}

fn size(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The JSON text that any payload of this size may have, in bytes
const fn in_proportion(size: u64) -> u64 {
    size.saturating_mul(SHOWN_TIMES).saturating_add(64)
}

fn json_of(
    dataname: &str,
    payload_type: PayloadType,
    bytes: Bytes,
    body: Body,
    budget: &mut Budget,
) -> Result<(Shown, Option<Unshown>), Error> {
    let (kept, most) = (in_proportion(size(&bytes)), budget.most(size(&bytes)));
    let view = Part::from_source(dataname, payload_type, bytes).json_view(most)?;
    let too_large = view.problems().iter().any(|problem| problem.code() == "too_large");
    // To find that a value is too large takes as long as to show as much of it.
    budget.take(if too_large { most } else { view.len() });
    let unshown = Unshown::of(view.problems());
    if view.len() > kept {
        return Ok((Shown::Large(body, most), unshown));
    }
    let mut text = Vec::with_capacity(usize::try_from(view.len()).unwrap_or(0));
    view.write_to(&mut text).map_err(|source| Error::file(dataname, "read", PathBuf::new(), source))?;
    Ok((Shown::Json(text), unshown))
}

/// The beginning of a value, for people
fn lines_of(
    dataname: &str,
    payload_type: PayloadType,
    bytes: &Bytes,
    budget: &Budget,
) -> Result<(Shown, Option<Unshown>), Error> {
    let most = budget.most(size(bytes));
    let part = Part::from_source(dataname, payload_type, bytes.clone());
    let lines = match payload_type {
        PayloadType::Text => {
            part.json_view(u64::MAX)?;
            let text = str::from_utf8(bytes).unwrap_or_default();
            let mut lines: Vec<String> =
                text.lines().take(LINES).map(|line| line.chars().take(LINE).collect()).collect();
            if text.lines().nth(LINES).is_some() {
                lines.push("…".to_owned());
            }
            lines
        }
        PayloadType::ArrowTable => {
            let limits = TableLimits::default().max_bytes(most);
            match Table::from_ipc(bytes, &limits) {
                Ok(table) => Preview::of_table(&table).lines(listing::note_columns()),
                Err(error) if error.code() == "too_large" => {
                    let unshown = Unshown::of(&[error]);
                    return Ok((Shown::Nothing, unshown));
                }
                // Says it with the payload's name.
                Err(_) => part.into_value().map(|_| Vec::new())?,
            }
        }
        PayloadType::JsonTable => {
            part.json_view(most)?;
            Counted::of(bytes).into_preview().lines(listing::note_columns())
        }
        PayloadType::Dictionary => {
            let view = part.json_view(most)?;
            let mut head = Head { text: Vec::new() };
            // Ends early on purpose.
            let _ = view.write_to(&mut head);
            vec![String::from_utf8_lossy(&head.text).into_owned()]
        }
        _ => Vec::new(),
    };
    Ok((Shown::Lines(lines), None))
}

/// Takes the beginning of a text
struct Head {
    text: Vec<u8>,
}

impl io::Write for Head {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (4 * LINE).saturating_sub(self.text.len());
        if room == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let taken = bytes.len().min(room);
        self.text.write_all(&bytes[..taken])?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
