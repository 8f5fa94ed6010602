//! Where each Arrow IPC message lies in a stream or a file, with every length checked against the input.

use std::ops::Range;

use arrow_ipc::{Block, Footer, Message, root_as_footer_with_opts, root_as_message_with_opts};
use flatbuffers::VerifierOptions;

use super::damaged;
use crate::CodecError;

const MAGIC: &[u8] = b"ARROW1";
/// A file starts with the magic padded to eight bytes
const FILE_HEAD: usize = 8;
/// A file ends with the footer's length and the magic
const FILE_TAIL: usize = 10;

/// One message whose body lies inside the input
pub(super) struct Frame<'a> {
    pub(super) message: Message<'a>,
    pub(super) body: Range<usize>,
    /// Bytes of metadata and body together
    pub(super) length: usize,
}

/// Whether these bytes are the file format rather than a stream
pub(super) fn is_file(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The messages of a stream, in order
#[derive(Debug)]
pub(super) struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next message, or nothing at the end-of-stream marker or the end of the input (both end a stream)
    pub(super) fn next(&mut self) -> Result<Option<Frame<'a>>, CodecError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let metadata = metadata_range(self.bytes, self.at)?;
        if metadata.is_empty() {
            let padding = self.bytes.get(metadata.end..).unwrap_or_default();
            if padding.iter().any(|byte| *byte != 0) {
                return Err(damaged(format!("{} bytes follow the end of the stream", padding.len())));
            }
            self.at = self.bytes.len();
            return Ok(None);
        }
        let frame = frame(self.bytes, metadata.clone(), metadata.end)?;
        self.at = frame.body.end;
        Ok(Some(frame))
    }
}

/// The footer of a file
pub(super) fn footer(bytes: &[u8]) -> Result<Footer<'_>, CodecError> {
    let (rest, tail) = bytes
        .split_last_chunk::<FILE_TAIL>()
        .filter(|(rest, tail)| rest.len() >= FILE_HEAD && tail.ends_with(MAGIC))
        .ok_or_else(|| damaged("the file does not end with the mark `ARROW1`; it may be cut off"))?;
    let declared = i32_at(tail, 0)?;
    let start = usize::try_from(declared).ok().and_then(|length| rest.len().checked_sub(length));
    let footer = start
        .filter(|start| *start >= FILE_HEAD)
        .and_then(|start| rest.get(start..))
        .ok_or_else(|| damaged(format!("the footer's length {declared} does not fit the file")))?;
    root_as_footer_with_opts(&verifier(footer.len()), footer)
        .map_err(|error| damaged(format!("its footer: {}", brief(&error))))
}

/// The message that a footer's block points to
pub(super) fn block<'a>(bytes: &'a [u8], block: &Block) -> Result<Frame<'a>, CodecError> {
    let outside = || damaged("a block of the footer points outside the file");
    let start = usize::try_from(block.offset()).map_err(|_| outside())?;
    let skip = usize::try_from(block.metaDataLength()).map_err(|_| outside())?;
    let body = start.checked_add(skip).ok_or_else(outside)?;
    let metadata = metadata_range(bytes, start)?;
    if metadata.is_empty() || metadata.end > body {
        return Err(damaged("a block of the footer does not hold a message"));
    }
    let frame = frame(bytes, metadata, body)?;
    if frame.message.bodyLength() != block.bodyLength() {
        return Err(damaged("a block of the footer and its message disagree about the body's length"));
    }
    Ok(frame)
}

/// Where the metadata of the message at `at` lies: after an optional continuation mark and its length
fn metadata_range(bytes: &[u8], at: usize) -> Result<Range<usize>, CodecError> {
    let word = i32_at(bytes, at)?;
    // Before format version 0.15 the length came without the continuation mark.
    let (length, start) = if word == -1 { (i32_at(bytes, at.saturating_add(4))?, at + 8) } else { (word, at + 4) };
    let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length));
    match end {
        Some(end) if end <= bytes.len() => Ok(start..end),
        _ if at == 0 && word != -1 => Err(damaged("it begins neither as an Arrow stream nor as an Arrow file")),
        _ => Err(damaged(format!("the message at byte {at} declares {length} bytes of metadata, more than there are"))),
    }
}

fn frame(bytes: &[u8], metadata: Range<usize>, body: usize) -> Result<Frame<'_>, CodecError> {
    let at = metadata.start;
    let metadata = bytes.get(metadata).unwrap_or_default();
    let message = root_as_message_with_opts(&verifier(metadata.len()), metadata)
        .map_err(|error| damaged(format!("the message at byte {at}: {}", brief(&error))))?;
    let length = message.bodyLength();
    let end = usize::try_from(length).ok().and_then(|length| body.checked_add(length));
    match end {
        Some(end) if end <= bytes.len() => Ok(Frame { message, body: body..end, length: end - at }),
        _ => Err(damaged(format!("the message at byte {at} declares a body of {length} bytes, more than there are"))),
    }
}

/// Flatbuffers may point to one table from many places; without a bound on the expanded size, kilobytes become a schema
/// of a million fields
fn verifier(length: usize) -> VerifierOptions {
    VerifierOptions {
        max_apparent_size: length.saturating_mul(4).saturating_add(1024),
        ignore_missing_null_terminator: true,
        ..VerifierOptions::default()
    }
}

/// The verifier's complaint without its trace, which can be as long as the nesting is deep
fn brief(error: &flatbuffers::InvalidFlatbuffer) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().trim_end_matches([':', '.', ' ']).to_owned()
}

fn i32_at(bytes: &[u8], at: usize) -> Result<i32, CodecError> {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    word.map(|word| i32::from_le_bytes(*word))
        .ok_or_else(|| damaged(format!("it ends at byte {}, inside a message", bytes.len())))
}
