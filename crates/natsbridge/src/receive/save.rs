//! Received payloads as files: names that are safe on every system, and files that appear only when they are whole.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use natsbridge_core::{PayloadType, harmless};
use uuid::Uuid;

use crate::receive::suffix;
use crate::receive::unfinished::Unfinished;

/// Room for a number and an extension below the 255 bytes that file systems take
const MAX_NAME: usize = 200;

/// Names with a number that are tried before a random one
const NUMBERED: u32 = 20;

/// Writes a new file whole
pub(crate) async fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use tokio::io::AsyncWriteExt as _;
    let mut file = tokio::fs::OpenOptions::new().write(true).create_new(true).open(path).await?;
    file.write_all(bytes).await?;
    file.flush().await
}

/// Gives a whole file its name in `dir`: the payload's, made safe, with a number where that is taken
pub(crate) fn place(
    mut file: Unfinished,
    dir: &Path,
    dataname: &str,
    payload_type: PayloadType,
) -> io::Result<PathBuf> {
    let (stem, mut extension) = file_name(dataname, payload_type);
    if extension.is_empty() {
        extension.push_str(suffix::of(&head(file.path())?));
    }
    for number in 1..=2 * NUMBERED {
        let name = match number {
            1 => format!("{stem}{extension}"),
            2..=NUMBERED => format!("{stem} ({number}){extension}"),
            // A folder full of the same name is not searched to its end for each further one.
            _ => format!("{stem} ({}){extension}", Uuid::new_v4().simple()),
        };
        let path = dir.join(name);
        match file.place(&path) {
            Ok(()) => return Ok(path),
            Err((error, back)) if error.kind() == io::ErrorKind::AlreadyExists => file = back,
            Err((error, _)) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "no free name was found for it; clear the folder"))
}

/// The first bytes of a file
fn head(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut head = Vec::with_capacity(suffix::LOOKED_AT);
    let looked_at = u64::try_from(suffix::LOOKED_AT).unwrap_or(u64::MAX);
    std::fs::File::open(path)?.take(looked_at).read_to_end(&mut head)?;
    Ok(head)
}

/// Stem and extension of a safe file name: never a path, never hidden, never a device, never too long
///
/// A name without an extension gets the one that fits the type; pictures, sounds, films and bytes have none.
fn file_name(dataname: &str, payload_type: PayloadType) -> (String, String) {
    let kept = dataname.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = kept
        .chars()
        .map(|c| if is_confusing(c) || matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*') { '_' } else { c })
        .collect();
    let clean = clean.trim_matches(|c: char| c == '.' || c.is_whitespace());
    let (stem, extension) = match clean.rfind('.').map(|at| clean.split_at(at)) {
        Some((stem, extension)) if (2..=16).contains(&extension.len()) => (stem, extension.to_owned()),
        _ => (clean, usual_extension(payload_type).to_owned()),
    };
    let stem = cut(stem, MAX_NAME);
    let stem = match stem.trim_end_matches(|c: char| c == '.' || c.is_whitespace()) {
        "" => "payload".to_owned(),
        // A command would take it for an option.
        stem if stem.starts_with('-') => format!("_{stem}"),
        device if is_device(device) => format!("{device}_"),
        stem => stem.to_owned(),
    };
    (stem, extension)
}

/// What no terminal may be given, and invisible characters, which make a name look like another
fn is_confusing(c: char) -> bool {
    let is_harmful = matches!(harmless(c.encode_utf8(&mut [0; 4])), Cow::Owned(_));
    is_harmful || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2069}')
}

/// Names that are devices on Windows, with any extension
fn is_device(stem: &str) -> bool {
    let base = stem.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    // Windows takes superscripts for digits here.
    let numbered = |prefix: &str| {
        let mut rest = base.strip_prefix(prefix).unwrap_or_default().chars();
        matches!((rest.next(), rest.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    };
    matches!(&*base, "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") || numbered("COM") || numbered("LPT")
}

/// At most `limit` bytes, ending with a whole character
fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

const fn usual_extension(payload_type: PayloadType) -> &'static str {
    match payload_type {
        PayloadType::Text => ".txt",
        PayloadType::Dictionary | PayloadType::JsonTable => ".json",
        PayloadType::ArrowTable => ".arrow",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(dataname: &str) -> String {
        let (stem, extension) = file_name(dataname, PayloadType::Binary);
        stem + &extension
    }

    #[test]
    fn hostile_name_becomes_a_plain_one() {
        for (dataname, file) in [
            ("run7.mp4", "run7.mp4"),
            ("../../x", "x"),
            ("/etc/passwd", "passwd"),
            (r"C:\Windows\system32\x.dll", "x.dll"),
            ("..", "payload"),
            ("", "payload"),
            ("a/", "payload"),
            (".bashrc", "bashrc"),
            ("-rf", "_-rf"),
            ("nul", "nul_"),
            ("COM1.txt", "COM1_.txt"),
            ("con .tar.gz", "con .tar_.gz"),
            ("com¹.txt", "com¹_.txt"),
            ("com10.txt", "com10.txt"),
            ("CONIN$", "CONIN$_"),
            ("a\0b\nc", "a_b_c"),
            ("a:b|c?", "a_b_c_"),
            ("gpj\u{202e}.exe", "gpj_.exe"),
            ("  spaced . ", "spaced"),
            ("سلام.png", "سلام.png"),
        ] {
            assert_eq!(name(dataname), file, "{dataname:?}");
        }
        assert!(name(&"é".repeat(5_000)).len() <= 255 && name(&format!("{}.png", "x".repeat(5_000))).ends_with(".png"));
    }

    #[test]
    fn name_without_extension_gets_the_usual_one() {
        assert_eq!(file_name("note", PayloadType::Text), ("note".into(), ".txt".into()));
        assert_eq!(file_name("t.arrow", PayloadType::ArrowTable), ("t".into(), ".arrow".into()));
    }

    #[tokio::test]
    async fn picture_without_extension_gets_the_one_of_its_content() {
        let dir = tempfile::tempdir().unwrap();
        for (dataname, content, expected) in [
            ("photo", &b"\x89PNG\r\n\x1a\n..."[..], "photo.png"),
            ("photo.dat", b"\x89PNG\r\n\x1a\n...", "photo.dat"),
            ("bytes", b"anything", "bytes"),
        ] {
            let file = Unfinished::new(dir.path()).await.unwrap();
            std::fs::write(file.path(), content).unwrap();
            let path = place(file, dir.path(), dataname, PayloadType::Binary).unwrap();
            assert_eq!(path, dir.path().join(expected));
        }
    }

    #[tokio::test]
    async fn name_in_use_gets_a_number_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        for expected in ["a.txt", "a (2).txt", "a (3).txt"] {
            let file = Unfinished::new(dir.path()).await.unwrap();
            std::fs::write(file.path(), expected).unwrap();
            let path = place(file, dir.path(), "a", PayloadType::Text).unwrap();
            assert_eq!(path, dir.path().join(expected));
        }
        assert_eq!(std::fs::read_to_string(dir.path().join("a.txt")).unwrap(), "a.txt");
        drop(Unfinished::new(dir.path()).await.unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
