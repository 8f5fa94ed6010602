//! Makes text of strangers safe to show in logs, errors and events.

/// `text` as it may be shown: control characters, what turns the direction of text and what has no width are escaped, and
/// no more than 500 characters are kept
///
/// By the rule of Rust's `Debug`, so that there is no second list beside that of `natsbridge-core`, on which this crate
/// does not depend.
pub(crate) fn harmless(text: &str) -> String {
    const LONGEST: usize = 500;
    let mut shown = String::with_capacity(text.len().min(LONGEST));
    for (index, character) in text.chars().enumerate() {
        if index == LONGEST {
            shown.push('…');
            break;
        }
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_strangers_is_shown_harmlessly() {
        let shown = harmless("größe \"x\"\u{1b}[31m\r\n\u{9b}\u{202e}\u{61c}\u{2028}\u{feff}\u{200f}\u{2066}");
        assert!(shown.starts_with("größe \"x\"\\u{1b}[31m\\r\\n"), "{shown}");
        assert!(
            shown.chars().all(|c| !c.is_control() && !"\u{202e}\u{61c}\u{2028}\u{feff}\u{200f}\u{2066}".contains(c))
        );
        assert_eq!(harmless(&"a".repeat(10_000)).chars().count(), 501);
    }
}
