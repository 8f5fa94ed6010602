//! The first rows of a table, drawn so that they fit the terminal.

use natsbridge::{PayloadType, Table};
use serde_json::{Map, Value as Json};
use unicode_width::UnicodeWidthStr as _;

use crate::output;

/// Rows that are shown
pub(super) const ROWS: usize = 5;

/// Columns whose names are kept; a line for people has room for fewer
pub(super) const COLUMNS: usize = 40;

/// Columns of the screen that a cell has at most
const WIDEST: usize = 24;

/// Between two columns
const GAP: &str = "  ";

/// The first rows of a table, with its columns in their order
#[derive(Debug, Default, PartialEq)]
pub(super) struct Preview {
    columns: Vec<String>,
    rows: Vec<Map<String, Json>>,
    /// Rows of the whole table
    total: usize,
    /// Columns of the whole table
    all_columns: usize,
}

impl Preview {
    /// Of rows that were counted and kept in part
    pub(super) fn of_rows(
        columns: Vec<String>,
        all_columns: usize,
        rows: Vec<Map<String, Json>>,
        total: usize,
    ) -> Self {
        Self { columns, rows, total, all_columns }
    }

    /// Of an Arrow table; a column that JSON has no form for is shown without its values
    pub(super) fn of_table(table: &Table) -> Self {
        let fields = table.schema().fields();
        let mut rows: Vec<Map<String, Json>> = vec![Map::new(); table.num_rows().min(ROWS)];
        for at in 0..fields.len() {
            let mut place = 0;
            for batch in table.batches() {
                let taken = batch.num_rows().min(rows.len() - place);
                let column = batch.slice(0, taken).project(&[at]).ok();
                let read = column.and_then(|column| Table::from(column).to_rows().ok());
                for row in read.into_iter().flat_map(natsbridge::Rows::into_vec) {
                    if let Some(target) = rows.get_mut(place) {
                        target.extend(row);
                    }
                    place += 1;
                }
                if taken == 0 || place == rows.len() {
                    break;
                }
            }
        }
        let columns = fields.iter().take(COLUMNS).map(|field| field.name().clone()).collect();
        Self { columns, rows, total: table.num_rows(), all_columns: fields.len() }
    }

    /// The lines, each at most so many columns wide
    pub(super) fn lines(&self, width: usize) -> Vec<String> {
        let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        let mut lines = vec![format!("{} of {}", count(self.total, "row"), count(self.all_columns, "column"))];
        let (mut drawn, mut used) = (Vec::new(), 0);
        for name in &self.columns {
            let column = Column::new(name, &self.rows);
            let wide = column.width + if drawn.is_empty() { 0 } else { GAP.len() };
            if used + wide > width {
                break;
            }
            used += wide;
            drawn.push(column);
        }
        let line = |cell: &dyn Fn(&Column) -> String| {
            drawn.iter().map(cell).collect::<Vec<_>>().join(GAP).trim_end().to_owned()
        };
        if !drawn.is_empty() {
            lines.push(line(&|column| column.cell(&column.name)));
            for row in 0..self.rows.len() {
                lines.push(line(&|column| column.cell(column.cells.get(row).map_or("", String::as_str))));
            }
        }
        let more_rows = self.total.saturating_sub(self.rows.len());
        let names = self.columns.get(drawn.len()..).unwrap_or_default();
        match (more_rows, self.all_columns - drawn.len()) {
            (0, 0) => {}
            (rows, 0) => lines.push(format!("… {} more", count(rows, "row"))),
            (rows, columns) => {
                let rows = if rows > 0 { format!("{} and ", count(rows, "row")) } else { String::new() };
                let more =
                    format!("… {rows}{} more: {}", count(columns, "column"), output::harmless(&names.join(", ")));
                lines.push(output::cut(&more, width));
            }
        }
        lines
    }
}

/// A column as it is drawn
struct Column {
    name: String,
    cells: Vec<String>,
    width: usize,
    /// Numbers end below each other
    right: bool,
}

impl Column {
    fn new(name: &str, rows: &[Map<String, Json>]) -> Self {
        let shown = |cell: Option<&Json>| match cell {
            None => String::new(),
            // More than a cell's width is never drawn.
            Some(Json::String(text)) => text.chars().take(4 * WIDEST).collect(),
            Some(other) => other.to_string().chars().take(4 * WIDEST).collect(),
        };
        let key = name;
        let name = output::cut(&output::harmless(key), WIDEST);
        let cells = rows.iter().map(|row| output::cut(&output::harmless(&shown(row.get(key))), WIDEST));
        let cells: Vec<_> = cells.collect();
        let width = cells.iter().map(|cell| cell.width()).chain([name.width(), 1]).max().unwrap_or(1);
        let number = |row: &Map<String, Json>| row.get(key).is_none_or(|cell| cell.is_number() || cell.is_null());
        let right = rows.iter().all(number);
        Self { name, cells, width, right }
    }

    fn cell(&self, text: &str) -> String {
        let space = " ".repeat(self.width.saturating_sub(text.width()));
        if self.right { format!("{space}{text}") } else { format!("{text}{space}") }
    }
}

/// Whether a payload has rows to show
pub(super) const fn is_table(payload_type: PayloadType) -> bool {
    matches!(payload_type, PayloadType::ArrowTable | PayloadType::JsonTable)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(rows: &Json) -> Vec<Map<String, Json>> {
        rows.as_array().unwrap().iter().map(|row| row.as_object().unwrap().clone()).collect()
    }

    #[test]
    fn rows_are_drawn_below_their_columns() {
        let table = rows(&json!([{"sensor": "kitchen", "celsius": 21.5}, {"sensor": null, "celsius": 9}]));
        let preview = Preview::of_rows(vec!["sensor".to_owned(), "celsius".to_owned()], 2, table, 7);
        let expected =
            ["7 rows of 2 columns", "sensor   celsius", "kitchen     21.5", "null           9", "… 5 rows more"];
        assert_eq!(preview.lines(40), expected);
        assert_eq!(preview.lines(10).last().unwrap(), "… 5 rows …");
    }

    #[test]
    fn every_line_fits_whatever_strangers_send() {
        let name = "世\u{1b}[2J".repeat(30);
        let row: Map<String, Json> = (0..30).map(|n| (format!("{n}{name}"), json!(name))).collect();
        let columns: Vec<String> = row.keys().cloned().collect();
        let preview = Preview::of_rows(columns, 30, vec![row; ROWS], 1_000);
        for width in [10, 36, 76, 116] {
            for line in preview.lines(width) {
                assert!(line.width() <= width.max(24) && !line.contains('\u{1b}'), "{width}: {line}");
            }
        }
    }

    #[test]
    fn arrow_table_is_shown_from_several_batches() {
        use std::sync::Arc;
        let batch = |from: i64| {
            let numbers: arrow_array::ArrayRef = Arc::new(arrow_array::Int64Array::from_iter_values(from..from + 3));
            arrow_array::RecordBatch::try_from_iter([("n", numbers)]).unwrap()
        };
        let table = Table::new(batch(0).schema(), vec![batch(0), batch(3)]).unwrap();
        let lines = Preview::of_table(&table).lines(76);
        assert_eq!(lines, ["6 rows of 1 column", "n", "0", "1", "2", "3", "4", "… 1 row more"]);
    }
}
