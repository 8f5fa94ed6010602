//! Escapes strangers' text for terminals, logs and errors.

use std::borrow::Cow;

/// Most characters of a stranger's text in an error or a log line
const SHOWN: usize = 80;

/// Escapes characters of strangers' text that would control a terminal or change the direction of text
///
/// These are control characters (C0, DEL, C1), direction marks, the line and paragraph separators, and the byte-order mark.
/// They are escaped as in Rust's strings (`\u{1b}`, `\n`). [`shown`] truncates the text too.
///
/// ```
/// assert_eq!(natsbridge_core::harmless("gpj\u{202e}.exe"), "gpj\\u{202e}.exe");
/// assert_eq!(natsbridge_core::harmless("Grüße, 世界"), "Grüße, 世界");
/// ```
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(is_harmful) else { return Cow::Borrowed(text) };
    let (kept, rest) = text.split_at(first);
    let mut safe = String::with_capacity(text.len() + 16);
    safe.push_str(kept);
    for c in rest.chars() {
        if is_harmful(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

/// Escapes strangers' text as [`harmless`] does, and truncates it to 80 characters and `…`
///
/// An escaped character counts as one.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    shown_within(text, SHOWN)
}

/// Escapes and truncates strangers' text to `characters`
pub(crate) fn shown_within(text: &str, characters: usize) -> Cow<'_, str> {
    match text.char_indices().nth(characters) {
        Some((end, _)) => Cow::Owned(harmless(&text[..end]).into_owned() + "…"),
        None => harmless(text),
    }
}

/// Whether a character can overwrite a terminal, break a log line, or disguise text
pub(crate) const fn is_harmful(c: char) -> bool {
    matches!(
        c,
        '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_get_no_character_that_commands_them() {
        let commands = (0..=0x1f)
            .chain(0x7f..=0x9f)
            .chain([0x61c, 0x200e, 0x200f])
            .chain(0x2028..=0x202e)
            .chain(0x2066..=0x2069)
            .chain([0xfeff]);
        for c in commands.filter_map(char::from_u32) {
            let escaped: String = c.escape_default().collect();
            assert_eq!(harmless(&format!("a{c}b")), format!("a{escaped}b"));
            assert_eq!(shown(&format!("a{c}b")), format!("a{escaped}b"));
        }
    }

    #[test]
    fn ordinary_text_stays_where_it_is() {
        for text in ["", "Grüße, 世界 🌍", "\u{200d}", "a b", "\\u{1b}"] {
            assert!(matches!(harmless(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn long_text_is_cut_by_characters_and_only_where_it_is_shown() {
        let long = "é".repeat(81);
        assert_eq!(harmless(&long), long);
        assert_eq!(shown(&long), "é".repeat(80) + "…");
        assert_eq!(shown(&long[2..]), "é".repeat(80));
        assert_eq!(shown(&("\x1b".repeat(80) + "b")), "\\u{1b}".repeat(80) + "…");
    }
}
