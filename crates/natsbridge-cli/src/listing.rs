//! The table of a message's payloads for people: name, type, size, way and digest, at most 80 columns wide.

use natsbridge::store::Digest;
use natsbridge::{PayloadType, Transport};

use crate::output::{self, Style};
use crate::units;

/// Columns of a terminal that lines have to fit
pub(crate) const COLUMNS: usize = 80;

/// Columns of what is below a payload's line, after its indentation
pub(crate) const NOTE_COLUMNS: usize = COLUMNS - 4;

/// The same on the terminal that there is, which may be wider
pub(crate) fn note_columns() -> usize {
    output::columns().saturating_sub(4)
}

/// What a line says of a payload
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) dataname: &'a str,
    pub(crate) payload_type: PayloadType,
    pub(crate) size: u64,
    pub(crate) transport: Transport,
    pub(crate) sha256: Option<Digest>,
}

/// The line above the rows
pub(crate) fn heading(style: Style) -> String {
    style.dim(&format!("  {:<24}  {:<10}  {:>9}  {:<6}  {}", "name", "type", "size", "way", "sha256"))
}

impl Row<'_> {
    /// The line of this payload
    pub(crate) fn line(&self, style: Style) -> String {
        let name = style.bold(&output::cell(&output::harmless(self.dataname), 24));
        let digest: String =
            self.sha256.map(|digest| digest.to_string()).unwrap_or_default().chars().take(16).collect();
        let (kind, size, way) = (self.payload_type, units::shown(self.size), self.transport);
        format!("  {name}  {kind:<10}  {size:>9}  {way:<6}  {digest}").trim_end().to_owned()
    }
}

/// A line below a payload's
pub(crate) fn note(text: &str) -> String {
    format!("    {}", output::cut(&output::harmless(text), note_columns()))
}

/// Lines below a payload's, with nothing cut
pub(crate) fn notes(text: &str) -> Vec<String> {
    let lines = output::wrapped(&output::harmless(text), note_columns());
    lines.into_iter().map(|line| format!("    {line}")).collect()
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::*;

    #[test]
    fn longest_row_fits_the_terminal() {
        let dataname = "世界\u{1b}".repeat(50);
        let row = Row {
            dataname: &dataname,
            payload_type: PayloadType::ArrowTable,
            size: 999_900,
            transport: Transport::Direct,
            sha256: Some(Digest::of(b"")),
        };
        let style = output::stdout_style();
        for line in [row.line(style), heading(style), note(&dataname)] {
            assert!(line.width() <= COLUMNS && !line.contains('\u{1b}'), "{line}");
        }
    }
}
