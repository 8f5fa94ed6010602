//! How text that comes in is encoded: a byte-order mark is skipped, UTF-16 with one is read, anything else is named.

use std::borrow::Cow;

/// Why bytes can't be read as text: what they seem to be, and what to do
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotText(String);

/// The UTF-8 byte-order mark, which editors and spreadsheets write
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes that are looked at to tell UTF-16 and UTF-32 without a mark
const LOOKED_AT: usize = 256;

/// The bytes without a UTF-8 byte-order mark
///
/// # Errors
/// Where they begin as text of another encoding, with its mark or without.
pub(crate) fn unmarked(bytes: &[u8]) -> Result<&[u8], NotText> {
    match marked(bytes).or_else(|| wide(bytes)) {
        Some(encoding) => Err(NotText::of(encoding)),
        None => Ok(bytes.strip_prefix(MARK).unwrap_or(bytes)),
    }
}

/// The text without its byte-order mark; UTF-16 with one is decoded
///
/// # Errors
/// Where it is in another encoding, which the error names, with what to do.
pub(crate) fn text(bytes: &[u8]) -> Result<Cow<'_, str>, NotText> {
    let utf16 = |read: fn([u8; 2]) -> u16| {
        let units = bytes.get(2..).unwrap_or_default().chunks_exact(2);
        let whole = units.remainder().is_empty();
        let units = units.map(|pair| read([pair.first().copied().unwrap_or(0), pair.get(1).copied().unwrap_or(0)]));
        let text: Result<String, _> = char::decode_utf16(units).collect();
        let wrong = || NotText("this is UTF-16 that is damaged or cut; write the file again, best as UTF-8".to_owned());
        text.ok().filter(|_| whole).map(Cow::Owned).ok_or_else(wrong)
    };
    match marked(bytes) {
        Some("UTF-16LE") => return utf16(u16::from_le_bytes),
        Some("UTF-16BE") => return utf16(u16::from_be_bytes),
        Some(other) => return Err(NotText::of(other)),
        None => {}
    }
    let bytes = bytes.strip_prefix(MARK).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| NotText::found_in(bytes))?;
    match wide(bytes) {
        Some(encoding) => Err(NotText::of(encoding)),
        None => Ok(Cow::Borrowed(text)),
    }
}

/// So many bytes in a row that are not ASCII are no Western text of one byte a letter
const FOREIGN_RUN: usize = 4;

impl NotText {
    /// Bytes that are not UTF-8: says what they most likely are
    pub(crate) fn found_in(bytes: &[u8]) -> Self {
        if let Some(encoding) = marked(bytes).or_else(|| wide(bytes)) {
            return Self::of(encoding);
        }
        let beginning = bytes.get(..LOOKED_AT).unwrap_or(bytes);
        if beginning.contains(&0) {
            return Self("these are binary data, not text".to_owned());
        }
        let valid = bytes.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len());
        let line = bytes.iter().take(valid).filter(|byte| **byte == b'\n').count() + 1;
        let place = if line > 1 { format!(" from line {line} on") } else { String::new() };
        // In Western text they stand alone or in twos.
        if bytes.split(u8::is_ascii).any(|run| run.len() >= FOREIGN_RUN) {
            return Self(format!(
                "it is not UTF-8{place}: binary data, or text in another alphabet; convert text first: iconv -f ENCODING -t \
                 UTF-8 OLD > NEW, where ENCODING is what it was written in, such as GB18030, SHIFT_JIS or WINDOWS-1251"
            ));
        }
        // Windows uses for letters what is left to control characters in Latin-1.
        let windows = bytes.iter().any(|byte| (0x80..0xa0).contains(byte));
        let (name, from) = if windows { ("Windows-1252", "WINDOWS-1252") } else { ("Latin-1 (ISO 8859-1)", "LATIN1") };
        Self(format!(
            "it is not UTF-8{place}, most likely {name}; convert it first: iconv -f {from} -t UTF-8 OLD > NEW"
        ))
    }

    fn of(encoding: &str) -> Self {
        Self(format!("this is {encoding}, not UTF-8; convert it first: iconv -f {encoding} -t UTF-8 OLD > NEW"))
    }
}

/// The encoding that a byte-order mark shows, other than UTF-8
fn marked(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        // Arrow's streams begin with four of these.
        [0xff, 0xfe, 0, 0, ..] => Some("UTF-32LE"),
        [0, 0, 0xfe, 0xff, ..] => Some("UTF-32BE"),
        [0xff, 0xfe, ..] => Some("UTF-16LE"),
        [0xfe, 0xff, ..] => Some("UTF-16BE"),
        _ => None,
    }
}

/// UTF-16 or UTF-32 without a mark: in Western text, every other byte is zero, or three of four
fn wide(bytes: &[u8]) -> Option<&'static str> {
    let looked_at = bytes.get(..LOOKED_AT).unwrap_or(bytes);
    let at = |first: usize, step: usize| looked_at.iter().skip(first).step_by(step);
    let none = |first, step| at(first, step).len() > 0 && at(first, step).all(|byte| *byte != 0);
    let most = |first, step| {
        let zeros = at(first, step).filter(|byte| **byte == 0).count();
        zeros > 0 && zeros * 10 >= at(first, step).count() * 9
    };
    if none(0, 4) && (1..4).all(|first| most(first, 4)) {
        Some("UTF-32LE")
    } else if none(3, 4) && (0..3).all(|first| most(first, 4)) {
        Some("UTF-32BE")
    } else if none(0, 2) && most(1, 2) {
        Some("UTF-16LE")
    } else if none(1, 2) && most(0, 2) {
        Some("UTF-16BE")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn marks_are_skipped_and_utf16_with_one_is_decoded() {
        for written in [
            "a,ü\n🌍".as_bytes().to_vec(),
            "\u{feff}a,ü\n🌍".as_bytes().to_vec(),
            utf16("\u{feff}a,ü\n🌍", u16::to_le_bytes),
            utf16("\u{feff}a,ü\n🌍", u16::to_be_bytes),
        ] {
            assert_eq!(text(&written).unwrap(), "a,ü\n🌍");
        }
        assert_eq!(unmarked(b"\xef\xbb\xbf{}").unwrap(), b"{}");
        assert_eq!(text(b"").unwrap(), "");
    }

    #[test]
    fn other_encodings_are_named() {
        let utf32: Vec<u8> = "\u{feff}a".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
        for (bytes, name) in [
            (&utf16("a,b\n1,2\n", u16::to_le_bytes)[..], "UTF-16LE"),
            (&utf16("a,b\n1,ü\n", u16::to_be_bytes), "UTF-16BE"),
            (&utf32, "UTF-32LE"),
            (&utf32[4..], "UTF-32LE"),
            (b"\0\0\0a\0\0\0b", "UTF-32BE"),
            (b"a\nGr\xfc\xdfe", "from line 2 on, most likely Latin-1"),
            (b"5 \x80", "Windows-1252"),
            (b"na\xefvet\xe9\x85\x94", "Windows-1252"),
            (b"\xd6\xd0\xce\xc4\n", "GB18030"),
            (b"a\n\x93\xfa\x96{\x8c\xea\x82\xcc", "from line 2 on: binary data, or text in another alphabet"),
            (b"\xcf\xf0\xe8\xe2\xe5\xf2", "WINDOWS-1251"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\r", "binary"),
            (&[0xff, 0xfe, b'a', 0, b'b'], "UTF-16"),
        ] {
            let error = text(bytes).unwrap_err().to_string();
            assert!(error.contains(name), "{name}: {error}");
        }
        for beginning in ["\u{feff}{}", "{}", "a"] {
            assert!(unmarked(&utf16(beginning, u16::to_le_bytes)).is_err(), "{beginning}");
        }
    }

    #[test]
    fn text_that_holds_some_zeros_stays_text() {
        for taken in [&b"\0"[..], b"\0\0\0\0", b"name\0other name\0", b"a\0\0b", b""] {
            assert_eq!(unmarked(taken).unwrap(), taken);
        }
    }
}
