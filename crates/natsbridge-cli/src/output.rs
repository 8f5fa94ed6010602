//! What reaches the terminal: lines that end quietly when nobody reads, colours that can be turned off, text from
//! strangers made harmless.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use indicatif::MultiProgress;
use serde_json::Value as Json;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// The progress bars on the terminal, once there are any
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// Where progress bars are drawn; from now on lines are printed above them
pub(crate) fn bars() -> &'static MultiProgress {
    BARS.get_or_init(MultiProgress::new)
}

/// Prints while no progress bar is on the terminal
pub(crate) fn above_bars<T>(print: impl FnOnce() -> T) -> T {
    match BARS.get() {
        Some(bars) => bars.suspend(print),
        None => print(),
    }
}

/// Prints text and a line end on standard output, at once
pub(crate) fn line(text: &str) -> io::Result<()> {
    above_bars(|| {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}").and_then(|()| stdout.flush())
    })
}

/// JSON as one line that commands no terminal: what would is written as JSON escapes, so that the value is the same
pub(crate) fn json(json: &Json) -> String {
    let text = json.to_string();
    if natsbridge::wire::harmless(&text) == text {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        let mut room = [0; 4];
        let alone: &str = character.encode_utf8(&mut room);
        if natsbridge::wire::harmless(alone) == alone {
            escaped.push(character);
        } else {
            // Such characters stand in strings only, and all have four digits.
            escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
        }
    }
    escaped
}

/// Prints a line for people on standard error; that nobody reads it is no failure
pub(crate) fn note(text: &str) {
    let _ = above_bars(|| writeln!(io::stderr().lock(), "{text}"));
}

/// Prints text for people on standard error, wrapped where that is a terminal
pub(crate) fn problem(text: &str) {
    note(&hanging(text, 0, "  "));
}

/// Text for standard error, behind something that is so many columns wide: on a terminal wrapped between words, with
/// further lines indented; else as it is
pub(crate) fn hanging(text: &str, behind: usize, indent: &str) -> String {
    if io::stderr().is_terminal() {
        let columns = columns().saturating_sub(behind.max(indent.width())).max(20);
        return folded(text, columns).join(&format!("\n{indent}"));
    }
    text.to_owned()
}

/// A day for people, such as 2026-03-29
pub(crate) fn date(moment: std::time::SystemTime) -> String {
    time::OffsetDateTime::from(moment).date().to_string()
}

/// Whether and how to colour
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style(bool);

/// The style of standard output
pub(crate) fn stdout_style() -> Style {
    Style(io::stdout().is_terminal() && colours())
}

/// The style of standard error
pub(crate) fn stderr_style() -> Style {
    Style(io::stderr().is_terminal() && colours())
}

/// Whether nothing speaks against colours: neither <https://no-color.org> nor a terminal without them
fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && moves_cursor()
}

/// Whether a terminal, if there is one, can draw over what it has shown
pub(crate) fn moves_cursor() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

impl Style {
    pub(crate) const fn is_coloured(self) -> bool {
        self.0
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.wrapped("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.wrapped("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.wrapped("1;31", text)
    }

    fn wrapped(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Text as a terminal may be given it: what would move the cursor or turn the writing direction is escaped
pub(crate) fn harmless(text: &str) -> String {
    natsbridge::wire::harmless(text).into_owned()
}

/// Columns of the terminal, of standard output or else of standard error; 80 where neither is one
pub(crate) fn columns() -> usize {
    let size = terminal_size::terminal_size_of(io::stdout()).or_else(|| terminal_size::terminal_size_of(io::stderr()));
    // A terminal that does not know its own size says 0.
    size.map_or(80, |(width, _)| if width.0 < 20 { 80 } else { usize::from(width.0).min(200) })
}

/// Lines of at most `columns`, broken between words, and within one that is longer than a line; text that goes to a
/// file or a pipe stays one line
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    if io::stdout().is_terminal() { folded(text, columns) } else { vec![text.to_owned()] }
}

/// Lines of at most `columns`, broken between words, and within one that is longer than a line
pub(crate) fn folded(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let used = lines.last().map_or(0, |line| line.width());
        if used > 0 && used + 1 + word.width() > columns {
            lines.push(String::new());
        }
        for (n, character) in word.chars().enumerate() {
            let wide = character.width().unwrap_or(0);
            if lines.last().is_some_and(|line| line.width() + wide > columns) {
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                if n == 0 && !line.is_empty() {
                    line.push(' ');
                }
                line.push(character);
            }
        }
    }
    lines
}

/// At most `columns` wide, with `…` where something is missing
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut width = 1;
    for character in text.chars() {
        width += character.width().unwrap_or(0);
        if width > columns {
            break;
        }
        shown.push(character);
    }
    shown.push('…');
    shown
}

/// Cut and filled to exactly `columns`
pub(crate) fn cell(text: &str, columns: usize) -> String {
    let mut shown = cut(text, columns);
    shown.extend(std::iter::repeat_n(' ', columns.saturating_sub(shown.width())));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_strangers_cannot_command_a_terminal() {
        assert_eq!(harmless("a\x1b]0;x\x07b\r\n"), "a\\u{1b}]0;x\\u{7}b\\r\\n");
        assert_eq!(harmless("gpj\u{202e}.exe"), "gpj\\u{202e}.exe");
        assert_eq!(harmless("Grüße, 世界 🌍"), "Grüße, 世界 🌍");
    }

    #[test]
    fn json_for_a_terminal_keeps_its_meaning() {
        let value = serde_json::json!({ "a\u{9b}": "\u{202e}\n\u{7f} Grüße 🌍", "b": [1.5, null] });
        let text = json(&value);
        assert_eq!(harmless(&text), text);
        assert_eq!(serde_json::from_str::<Json>(&text).unwrap(), value);
    }

    #[test]
    fn long_text_is_folded_and_nothing_is_lost() {
        assert_eq!(folded("one two three", 7), ["one two", "three"]);
        assert_eq!(folded("a abcdefghij b", 4), ["a", "abcd", "efgh", "ij b"]);
        assert_eq!(folded("世界世界", 4), ["世界", "世界"]);
        assert_eq!(folded("", 4), [""]);
    }

    #[test]
    fn cell_width_is_its_width_on_the_screen() {
        for (text, shown) in
            [("ab", "ab   "), ("abcde", "abcde"), ("abcdef", "abcd…"), ("世界世界", "世界…"), ("世a", "世a  ")]
        {
            assert_eq!(cell(text, 5), shown);
        }
    }
}
