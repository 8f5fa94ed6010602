//! A received value as JSON text for people and programs: written while it is made, never held in memory as a whole.

use std::fmt;
use std::io;

use bytes::Bytes;
use serde::Serialize as _;

use crate::codec;
use crate::error::CodecFault;
use crate::json_text::{Harmless, write_compact};
use crate::setters::getters;
use crate::{CodecError, PayloadType};
#[cfg(feature = "arrow")]
use crate::{Table, TableLimits};

/// A payload's value, checked and ready to be written as JSON text
///
/// Writing needs a fixed amount of memory beside the payload: rows of a table are written one after the other, and JSON
/// goes out as it came in, with each digit of its numbers. The text is one line. Control characters and marks that turn
/// the direction of text are written as JSON escapes, so that it can go to a terminal.
///
/// What JSON can't show is `null`, and [`problems`](Self::problems) says what and why.
///
/// ```
/// use natsbridge_core::{Part, PayloadType};
///
/// let part = Part::new("note", PayloadType::Dictionary, serde_json::json!({ "volts": [3, 5] }))?;
/// let view = part.json_view(1_000_000)?;
/// let mut line = Vec::new();
/// view.write_to(&mut line)?;
/// assert_eq!(line, br#"{"volts":[3,5]}"#);
/// assert!(view.problems().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct JsonView {
    held: Held,
    len: u64,
    problems: Vec<CodecError>,
}

#[derive(Clone)]
enum Held {
    Null,
    Text(Bytes),
    Json(Bytes),
    #[cfg(feature = "arrow")]
    Table(Table),
}

impl JsonView {
    /// Reads serialised bytes; see `Part::json_view`
    pub(crate) fn of(payload_type: PayloadType, bytes: Bytes, max_bytes: u64) -> Result<Self, CodecError> {
        let held = match payload_type {
            PayloadType::Text => {
                utf8(&bytes)?;
                Held::Text(bytes)
            }
            PayloadType::Dictionary => {
                codec::json::check(&bytes)?;
                Held::Json(bytes)
            }
            PayloadType::JsonTable => {
                codec::json::check_rows(&bytes)?;
                Held::Json(bytes)
            }
            #[cfg(feature = "arrow")]
            PayloadType::ArrowTable => match Table::from_ipc(&bytes, &table_limits(&bytes)) {
                Ok(table) => Held::Table(table),
                Err(error @ CodecError(CodecFault::TableTooLarge { .. })) => return Ok(Self::null(error)),
                Err(error) => return Err(error),
            },
            #[cfg(not(feature = "arrow"))]
            PayloadType::ArrowTable => return Err(CodecError(CodecFault::NoArrow)),
            PayloadType::Image | PayloadType::Audio | PayloadType::Video | PayloadType::Binary => Held::Null,
        };
        Self::measured(held, max_bytes)
    }

    /// The text is made once to find its length and what it lacks, so that nothing is begun that can't be ended
    fn measured(held: Held, max_bytes: u64) -> Result<Self, CodecError> {
        let mut count = Count { bytes: 0, limit: max_bytes };
        match held.write(&mut count) {
            Ok(Ok(problems)) => Ok(Self { held, len: count.bytes, problems }),
            // Only the limit ends the count.
            Ok(Err(_)) => Ok(Self::null(CodecError(CodecFault::TooLargeToShow { limit: max_bytes }))),
            Err(error @ CodecError(CodecFault::Unconvertible { .. })) => Ok(Self::null(error)),
            Err(error) => Err(error),
        }
    }

    fn null(problem: CodecError) -> Self {
        Self { held: Held::Null, len: 4, problems: vec![problem] }
    }

    getters! {
        /// What is `null` though the payload holds a value: the whole, where it can't be shown or would be too long, or some
        /// values of a column
        ///
        /// One with the code `unconvertible` names the [`column`](CodecError::column); one with `too_large` is about the whole.
        /// The payload itself is sound.
        fn problems(&self) -> &[CodecError] { &self.problems }

        /// Bytes of the text
        const fn len(&self) -> u64 { self.len }

        /// Whether the text has no bytes, which JSON never has
        const fn is_empty(&self) -> bool { self.len == 0 }
    }

    /// Writes the text, in many small pieces: give it a buffered writer
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_to(&self, out: &mut dyn io::Write) -> io::Result<()> {
        self.held.write(out).map_err(io::Error::other)?.map(drop)
    }
}

#[cfg(feature = "arrow")]
impl Table {
    /// The rows as JSON text that is written while it is made; see [`JsonView`]
    ///
    /// Values are those of [`to_rows`](Self::to_rows). What has none is `null` and among the view's problems. Beyond
    /// `max_bytes` of text, or with two columns of one name, the whole is.
    ///
    /// # Errors
    /// A table that can't be walked (`undecodable`).
    pub fn json_view(&self, max_bytes: u64) -> Result<JsonView, CodecError> {
        JsonView::measured(Held::Table(self.clone()), max_bytes)
    }
}

impl fmt::Debug for JsonView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonView").field("len", &self.len).field("problems", &self.problems).finish_non_exhaustive()
    }
}

impl Held {
    fn write(&self, out: &mut dyn io::Write) -> Result<io::Result<Vec<CodecError>>, CodecError> {
        let written = match self {
            Self::Null => out.write_all(b"null"),
            Self::Text(text) => {
                let mut serializer = serde_json::Serializer::with_formatter(out, Harmless);
                utf8(text)?.serialize(&mut serializer).map_err(io::Error::from)
            }
            Self::Json(json) => write_compact(utf8(json)?, out),
            #[cfg(feature = "arrow")]
            Self::Table(table) => {
                let rows = table.shown_rows()?;
                let written = rows.serialize(&mut serde_json::Serializer::with_formatter(out, Harmless));
                return Ok(written.map(|()| rows.problems()).map_err(io::Error::from));
            }
        };
        Ok(written.map(|()| Vec::new()))
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, CodecError> {
    std::str::from_utf8(bytes).map_err(|error| CodecError(CodecFault::Utf8 { at: error.valid_up_to() }))
}

/// A table is shown when it takes 32 MiB or 16 times its bytes in memory, not more
#[cfg(feature = "arrow")]
fn table_limits(bytes: &[u8]) -> TableLimits {
    const ALWAYS: u64 = 32 << 20;
    const TIMES: u64 = 16;
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    TableLimits::default().max_bytes(size.saturating_mul(TIMES).max(ALWAYS))
}

/// Counts bytes up to a limit
struct Count {
    bytes: u64,
    limit: u64,
}

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if self.bytes > self.limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
