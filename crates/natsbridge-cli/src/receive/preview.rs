//! The first rows of a table, drawn so that they fit the terminal.

use std::collections::HashMap;
use std::sync::Arc;

use natsbridge::{PayloadType, Table};
use serde::de::{Deserialize, Deserializer};
use serde_json::value::RawValue;
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

/// Bytes of JSON text that the shown cells of an Arrow column may have; a few bytes of a message can stand for gigabytes
const MOST: u64 = 1024 * 1024;

/// A value of a row, cut to what is drawn at most
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    /// Whether it may stand at the right: a number, or nothing
    is_number: bool,
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The text as it stands in the message: nothing is made of a large value.
        let json = <&RawValue>::deserialize(deserializer)?.get();
        let is_number = json.starts_with(|first: char| first == '-' || first.is_ascii_digit()) || json == "null";
        let cut = |text: &str| -> String { text.chars().take(4 * WIDEST).collect() };
        let text = if json.starts_with('"') {
            cut(&serde_json::from_str::<String>(json).map_err(serde::de::Error::custom)?)
        } else {
            cut(json)
        };
        Ok(Self { text, is_number })
    }
}

/// A row: names and cells, in their order
pub(super) type Row = Vec<(String, Cell)>;

/// The first rows of a table, with its columns in their order
#[derive(Debug, Default, PartialEq)]
pub(super) struct Preview {
    columns: Vec<String>,
    rows: Vec<Row>,
    /// Rows of the whole table
    total: usize,
    /// Columns of the whole table
    all_columns: usize,
}

impl Preview {
    /// Of rows that were counted and kept in part
    pub(super) fn of_rows(columns: Vec<String>, all_columns: usize, rows: Vec<Row>, total: usize) -> Self {
        Self { columns, rows, total, all_columns }
    }

    /// Of an Arrow table; a column that JSON has no form for is shown without its values
    pub(super) fn of_table(table: &Table) -> Self {
        let fields = table.schema().fields();
        let mut rows: Vec<Row> = vec![Row::new(); table.num_rows().min(ROWS)];
        for (at, field) in fields.iter().enumerate().take(COLUMNS) {
            let cells = cells(table, at, rows.len()).unwrap_or_default();
            for (row, cell) in rows.iter_mut().zip(cells) {
                row.push((field.name().clone(), cell));
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

/// The first cells of a column; nothing where they have no form as JSON, or are too large to show
fn cells(table: &Table, at: usize, count: usize) -> Option<Vec<Cell>> {
    let schema = Arc::new(table.schema().project(&[at]).ok()?);
    let mut left = count;
    let mut batches = Vec::new();
    for batch in table.batches() {
        let taken = batch.num_rows().min(left);
        batches.push(batch.slice(0, taken).project(&[at]).ok()?);
        left -= taken;
        if left == 0 {
            break;
        }
    }
    let mut json = Vec::new();
    Table::new(schema, batches).ok()?.json_view(MOST).ok()?.write_to(&mut json).ok()?;
    let rows: Vec<HashMap<String, Cell>> = serde_json::from_slice(&json).ok()?;
    rows.into_iter().map(|row| row.into_values().next()).collect()
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
    fn new(name: &str, rows: &[Row]) -> Self {
        let found: Vec<_> =
            rows.iter().map(|row| row.iter().find(|(key, _)| key == name).map(|(_, cell)| cell)).collect();
        let right = found.iter().flatten().all(|cell| cell.is_number);
        let name = output::cut(&output::harmless(name), WIDEST);
        let shown =
            |cell: &Option<&Cell>| output::cut(&output::harmless(cell.map_or("", |cell| cell.text.as_str())), WIDEST);
        let cells: Vec<_> = found.iter().map(shown).collect();
        let width = cells.iter().map(|cell| cell.width()).chain([name.width(), 1]).max().unwrap_or(1);
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
    use serde_json::{Value as Json, json};

    use super::*;

    fn rows(rows: &Json) -> Vec<Row> {
        let row = |row: &Json| {
            let cells = row.as_object().unwrap().iter();
            cells.map(|(name, value)| (name.clone(), serde_json::from_str(&value.to_string()).unwrap())).collect()
        };
        rows.as_array().unwrap().iter().map(row).collect()
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
        let row: serde_json::Map<String, Json> = (0..30).map(|n| (format!("{n}{name}"), json!(name))).collect();
        let columns: Vec<String> = row.keys().cloned().collect();
        let row = rows(&json!([row])).remove(0);
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

    #[test]
    fn cell_that_stands_for_much_more_is_left_out_and_its_neighbour_shown() {
        use arrow_array::Array as _;
        use arrow_array::types::Int32Type;
        use arrow_array::{
            ArrayRef, DictionaryArray, FixedSizeListArray, Int32Array, Int64Array, RecordBatch, StringArray,
        };
        use arrow_schema::Field;
        // One row: a list of 1,000 references to a text of 300 KB, so 300 MB of JSON.
        let text: ArrayRef = Arc::new(StringArray::from_iter_values(["x".repeat(300_000)]));
        let references = DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0; 1_000]), text);
        let item = Arc::new(Field::new("item", references.data_type().clone(), true));
        let lists: ArrayRef = Arc::new(FixedSizeListArray::new(item, 1_000, Arc::new(references), None));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values([7]));
        let table = Table::from(RecordBatch::try_from_iter([("lists", lists), ("n", numbers)]).unwrap());
        assert_eq!(Preview::of_table(&table).lines(76), ["1 row of 2 columns", "lists  n", "       7"]);
    }
}
