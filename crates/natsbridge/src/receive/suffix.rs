//! The usual extension of a picture, sound, film or archive, known by its first bytes.
//!
//! Not from the embedded file server's table: that one says what Plik says to the byte, and knows neither FLAC nor TIFF.

/// First bytes that are looked at
pub(super) const LOOKED_AT: usize = 64;

/// What files begin with, and their usual extension
const MARKS: [(&[u8], &str); 18] = [
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF87a", ".gif"),
    (b"GIF89a", ".gif"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"fLaC", ".flac"),
    (b"OggS", ".ogg"),
    (b"ID3", ".mp3"),
    (b"\xff\xfb", ".mp3"),
    (b"\xff\xf3", ".mp3"),
    (b"\xff\xf1", ".aac"),
    (b"\xff\xf9", ".aac"),
    (b"MThd", ".mid"),
    (b"%PDF-", ".pdf"),
    (b"PK\x03\x04", ".zip"),
    (b"\x1f\x8b\x08", ".gz"),
    (b"\x28\xb5\x2f\xfd", ".zst"),
];

/// The extension of a file that begins like this; empty where that is not known
pub(super) fn of(head: &[u8]) -> &'static str {
    if let Some((_, extension)) = MARKS.iter().find(|(mark, _)| head.starts_with(mark)) {
        return extension;
    }
    match (head.get(..4), head.get(4..8), head.get(8..12)) {
        (Some(b"RIFF"), _, Some(b"WEBP")) => ".webp",
        (Some(b"RIFF"), _, Some(b"WAVE")) => ".wav",
        (Some(b"RIFF"), _, Some(b"AVI ")) => ".avi",
        (_, Some(b"ftyp"), Some(brand)) => match brand {
            b"avif" | b"avis" => ".avif",
            b"heic" | b"heix" | b"mif1" => ".heic",
            b"M4A " | b"M4B " => ".m4a",
            b"qt  " => ".mov",
            _ => ".mp4",
        },
        // Both are Matroska files, whose header names the kind.
        (Some(b"\x1a\x45\xdf\xa3"), ..) if head.windows(4).any(|bytes| bytes == b"webm") => ".webm",
        (Some(b"\x1a\x45\xdf\xa3"), ..) => ".mkv",
        // Two bytes alone are too little: the header's unused fields are zero.
        (Some([b'B', b'M', ..]), ..) if head.get(6..10) == Some(&[0; 4]) => ".bmp",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_names_its_extension() {
        for (head, extension) in [
            (&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], ".png"),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", ".jpg"),
            (b"RIFF\x24\0\0\0WAVEfmt ", ".wav"),
            (b"\0\0\0\x20ftypisom\0\0\x02\0", ".mp4"),
            (b"\0\0\0\x14ftypqt  ", ".mov"),
            (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm", ".webm"),
            (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska", ".mkv"),
            (b"BM\x36\0\0\0\0\0\0\0\x36\0", ".bmp"),
            (b"BMW, a text about cars", ""),
            (b"hello, world", ""),
            (b"", ""),
        ] {
            assert_eq!(of(head), extension, "{head:?}");
        }
    }
}
