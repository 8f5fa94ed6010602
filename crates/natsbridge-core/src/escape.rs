//! What JSON wants escaped in a string, and whether a text has any of it.

/// Whether nothing in a text has to be escaped
pub(crate) fn is_plain(text: &str) -> bool {
    // No early return, so that the loop vectorises.
    !text.bytes().fold(false, |found, byte| found | (byte < 0x20) | (byte == b'"') | (byte == b'\\'))
}

/// Whether there are control characters, which JSON does not allow in a string
pub(crate) fn has_control(bytes: &[u8]) -> bool {
    // No early return, so that the loop vectorises.
    bytes.iter().fold(false, |found, byte| found | (*byte < 0x20))
}

/// Writes what stands between the quotes of a JSON string, piece by piece
pub(crate) fn escape(text: &str, mut put: impl FnMut(&[u8])) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    if is_plain(text) {
        return put(text.as_bytes());
    }
    for byte in text.bytes() {
        match byte {
            b'"' => put(b"\\\""),
            b'\\' => put(b"\\\\"),
            b'\n' => put(b"\\n"),
            b'\r' => put(b"\\r"),
            b'\t' => put(b"\\t"),
            0x08 => put(b"\\b"),
            0x0c => put(b"\\f"),
            0..0x20 => put(&[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
            _ => put(&[byte]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_text_is_read_back_by_serde_json() {
        for text in ["", "plain", "\"\\\n\r\t\u{8}\u{c}\u{0}\u{1f}\u{7f}", "سلام é \u{1F600} a\u{301}"] {
            let mut out = vec![b'"'];
            escape(text, |bytes| out.extend_from_slice(bytes));
            out.push(b'"');
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
