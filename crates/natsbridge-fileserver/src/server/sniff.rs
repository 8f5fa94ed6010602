//! Guesses a content type from the first bytes of a file, as Plik does.

/// How many bytes at the start of a file are looked at
pub(super) const SNIFF_LENGTH: usize = 512;

/// Content types with a fixed start
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b\x08", "application/x-gzip"),
    (b"OggS\0", "application/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
    (b"\0asm", "application/wasm"),
];

/// What an HTML page may start with, after white space
const HTML: &[&str] = &[
    "<!doctype html",
    "<html",
    "<head",
    "<script",
    "<iframe",
    "<body",
    "<style",
    "<title",
    "<table",
    "<div",
    "<p>",
    "<br",
    "<a ",
    "<svg",
    "<!--",
];

/// The content type of a file that starts with `head`; empty for an empty file
pub(super) fn content_type(head: &[u8]) -> &'static str {
    if head.is_empty() {
        return "";
    }
    let start = head.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(head.len());
    let text = head.get(start..).unwrap_or_default();
    if HTML.iter().any(|tag| text.get(..tag.len()).is_some_and(|have| have.eq_ignore_ascii_case(tag.as_bytes()))) {
        return "text/html; charset=utf-8";
    }
    if text.starts_with(b"<?xml") {
        return "text/xml; charset=utf-8";
    }
    if let Some((_, found)) = SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature)) {
        return found;
    }
    match (head.get(..4), head.get(4..8), head.get(8..12)) {
        (Some(b"RIFF"), _, Some(b"WEBP")) => return "image/webp",
        (Some(b"RIFF"), _, Some(b"WAVE")) => return "audio/wave",
        (Some(b"RIFF"), _, Some(b"AVI ")) => return "video/avi",
        (_, Some(b"ftyp"), _) => return "video/mp4",
        _ => {}
    }
    if head.iter().any(|byte| matches!(byte, 0x00..=0x08 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f)) {
        "application/octet-stream"
    } else {
        "text/plain; charset=utf-8"
    }
}

/// The content type a stored one is sent with: nothing a browser would run
pub(super) fn served_type(stored: &str) -> &str {
    if ["html", "xml", "svg", "wasm"].iter().any(|word| stored.contains(word)) {
        "text/plain"
    } else if stored.is_empty() || stored.contains("pdf") || stored.contains("flash") || !stored.is_ascii() {
        "application/octet-stream"
    } else {
        stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_those_of_the_recorded_exchanges() {
        // Steps 2, 16 and 20 of the recorded exchanges.
        assert_eq!(content_type(b""), "");
        assert_eq!(content_type(b"{\"a\":1}\n"), "text/plain; charset=utf-8");
        assert_eq!(content_type(b"<html><script>1</script></html>\n"), "text/html; charset=utf-8");
        assert_eq!(content_type(&[0, 1, 2, 255]), "application/octet-stream");
        assert_eq!(content_type(b"\x89PNG\r\n\x1a\n\0"), "image/png");
    }

    #[test]
    fn types_that_a_browser_runs_are_not_served_as_such() {
        assert_eq!(served_type("text/html; charset=utf-8"), "text/plain");
        assert_eq!(served_type(content_type(b"  <SVG onload=x>")), "text/plain");
        assert_eq!(served_type(""), "application/octet-stream");
        assert_eq!(served_type("application/pdf"), "application/octet-stream");
        assert_eq!(served_type("image/png"), "image/png");
    }
}
