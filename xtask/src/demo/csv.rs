//! A CSV reader of the demo's own, so that a table is not compared with itself.

use anyhow::Result;
use serde_json::Value;

/// Column names and rows of cells, all as written
#[derive(Debug)]
pub(super) struct Sheet {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// Reads comma-separated text; rows all have as many cells as there are columns
pub(super) fn parse(text: &str) -> Result<Sheet> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns = reader.headers()?.iter().map(str::to_owned).collect();
    Ok(Sheet { columns, rows: reader.deserialize().collect::<csv::Result<_>>()? })
}

impl Sheet {
    /// Why an array of row objects is not this table, if it is not
    pub(super) fn difference(&self, arrived: &Value) -> Option<String> {
        let Some(rows) = arrived.as_array() else {
            return Some("its value is not an array of rows".to_owned());
        };
        if rows.len() != self.rows.len() {
            return Some(format!("{} rows instead of {}", rows.len(), self.rows.len()));
        }
        self.rows.iter().zip(rows).enumerate().find_map(|(index, (cells, row))| {
            let Some(row) = row.as_object() else {
                return Some(format!("row {} is not an object", index + 1));
            };
            if let Some(extra) = row.keys().find(|key| !self.columns.contains(key)) {
                return Some(format!("row {}: unknown column {extra}", index + 1));
            }
            let (column, cell) = self.columns.iter().zip(cells).find(|(column, cell)| {
                let value = row.get(column.as_str()).unwrap_or(&Value::Null);
                !same(cell, value)
            })?;
            let value = row.get(column).unwrap_or(&Value::Null);
            Some(format!("row {}, {column}: {value} instead of {cell}", index + 1))
        })
    }
}

/// Whether a value is what a cell says: numbers as numbers, an empty cell as nothing
fn same(cell: &str, value: &Value) -> bool {
    if let Ok(whole) = cell.parse::<i64>() {
        return value.as_i64() == Some(whole);
    }
    if let Ok(number) = cell.parse::<f64>() {
        return value.as_f64().is_some_and(|value| value.to_bits() == number.to_bits());
    }
    match value {
        Value::Null => cell.is_empty(),
        Value::String(text) => text == cell || instant(text) == instant(cell),
        _ => false,
    }
}

/// A UTC time without its zone and an empty fraction, which writers add or leave out
fn instant(text: &str) -> &str {
    let text = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00")).unwrap_or(text);
    match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn table_equals_its_rows_whatever_the_writer_leaves_out() {
        let sheet = parse("at,n,x,note\n2026-01-01T00:00:00Z,1,0.5,\"a, b\"\n2026-01-01T00:00:01Z,2,1e3,\n").unwrap();
        let rows = json!([
            {"at": "2026-01-01T00:00:00.000", "n": 1, "x": 0.5, "note": "a, b"},
            {"at": "2026-01-01T00:00:01", "n": 2, "x": 1000.0},
        ]);
        assert_eq!(sheet.difference(&rows), None);
    }

    #[test]
    fn differences_of_every_kind_are_named() {
        let sheet = parse("n,x,note\n1,0.5,a\n").unwrap();
        let cases = [
            (json!({}), "its value is not an array of rows"),
            (json!([]), "0 rows instead of 1"),
            (json!([{"n": 2, "x": 0.5, "note": "a"}]), "row 1, n: 2 instead of 1"),
            (json!([{"n": "1", "x": 0.5, "note": "a"}]), "row 1, n: \"1\" instead of 1"),
            (json!([{"n": 1, "note": "a"}]), "row 1, x: null instead of 0.5"),
            (json!([{"n": 1, "x": 0.5, "note": "a", "y": 1}]), "row 1: unknown column y"),
            (json!([7]), "row 1 is not an object"),
        ];
        for (rows, reason) in cases {
            assert_eq!(sheet.difference(&rows).as_deref(), Some(reason));
        }
    }
}
