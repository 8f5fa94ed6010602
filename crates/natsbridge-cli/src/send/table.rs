//! Tables from files: CSV, Arrow, JSON and newline-delimited JSON, as the payload type that suits them.

use std::error::Error;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use arrow_csv::ReaderBuilder;
use bytes::Bytes;
use natsbridge::{PayloadType, Rows, Table, TableLimits, Value};
use serde_json::Map;

use super::TableType;

/// Rows in a batch: large enough that a batch's own bytes do not count
const BATCH_ROWS: usize = 65_536;

/// How a table is written in a file
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Arrow,
    Json,
    JsonLines,
}

impl Format {
    /// The format that a file's extension names
    pub(super) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "arrow" | "arrows" => Some(Self::Arrow),
            "json" => Some(Self::Json),
            "ndjson" | "jsonl" => Some(Self::JsonLines),
            _ => None,
        }
    }

    /// The format that the first bytes show: Arrow's marks, an array, an object, else CSV
    pub(super) fn sniffed(bytes: &[u8]) -> Self {
        if bytes.starts_with(b"ARROW1") || bytes.starts_with(&[0xff; 4]) {
            return Self::Arrow;
        }
        match bytes.trim_ascii_start().first() {
            Some(b'[') => Self::Json,
            Some(b'{') => Self::JsonLines,
            _ => Self::Csv,
        }
    }
}

/// Reads a table, and converts it where another type is asked for
pub(super) fn read(
    bytes: &Bytes,
    format: Format,
    wanted: Option<TableType>,
) -> Result<(PayloadType, Value), Box<dyn Error + Send + Sync>> {
    let value = match format {
        Format::Csv => Value::Table(from_csv(bytes)?),
        Format::Arrow => Value::Table(Table::from_ipc(bytes, &TableLimits::default())?),
        Format::Json => Value::Rows(Rows::new(serde_json::from_slice(bytes)?)),
        Format::JsonLines => Value::Rows(from_lines(bytes)?),
    };
    Ok(match (value, wanted) {
        (Value::Table(table), Some(TableType::JsonTable)) => (PayloadType::JsonTable, Value::Rows(table.to_rows()?)),
        (Value::Rows(rows), Some(TableType::ArrowTable)) => {
            (PayloadType::ArrowTable, Value::Table(Table::from_rows(&rows)?))
        }
        (value @ Value::Table(_), _) => (PayloadType::ArrowTable, value),
        (value, _) => (PayloadType::JsonTable, value),
    })
}

/// Reads CSV with a header line; the whole column decides its type, empty cells are null
fn from_csv(bytes: &[u8]) -> Result<Table, Box<dyn Error + Send + Sync>> {
    // Spreadsheets write a byte-order mark, which would become part of the first column's name.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let format = arrow_csv::reader::Format::default().with_header(true);
    let (schema, _) = format.infer_schema(Cursor::new(bytes), None)?;
    let schema = Arc::new(schema);
    let reader = ReaderBuilder::new(Arc::clone(&schema)).with_format(format).with_batch_size(BATCH_ROWS);
    let batches = reader.build(Cursor::new(bytes))?.collect::<Result<Vec<_>, _>>()?;
    Ok(Table::new(schema, batches)?)
}

/// Reads an object a line; empty lines are passed over
fn from_lines(bytes: &[u8]) -> Result<Rows, Box<dyn Error + Send + Sync>> {
    let mut rows: Vec<Map<String, serde_json::Value>> = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if !line.trim_ascii().is_empty() {
            rows.push(serde_json::from_slice(line).map_err(|error| format!("line {}: {error}", index + 1))?);
        }
    }
    Ok(Rows::new(rows))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn rows(text: &'static str, format: Format) -> Json {
        match read(&Bytes::from_static(text.as_bytes()), format, Some(TableType::JsonTable)).unwrap() {
            (PayloadType::JsonTable, Value::Rows(rows)) => rows.into_vec().into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn csv_columns_get_the_type_that_all_their_cells_have() {
        let text = "\u{feff}n,x,on,day,at,note\n1,0.5,true,2026-01-31,2026-01-31T08:15:30Z,\"a, b\"\n,,,,,\n-2,1e3,false,2026-02-01,2026-01-31T08:15:31Z,7\n";
        let expected = json!([
            {"n": 1, "x": 0.5, "on": true, "day": "2026-01-31", "at": "2026-01-31T08:15:30", "note": "a, b"},
            {"n": null, "x": null, "on": null, "day": null, "at": null, "note": null},
            {"n": -2, "x": 1000.0, "on": false, "day": "2026-02-01", "at": "2026-01-31T08:15:31", "note": "7"},
        ]);
        assert_eq!(rows(text, Format::Csv), expected);
    }

    #[test]
    fn csv_with_a_row_of_another_length_is_refused() {
        assert!(read(&Bytes::from_static(b"a,b\n1,2\n3\n"), Format::Csv, None).is_err());
    }

    #[test]
    fn json_lines_are_rows_and_a_bad_line_is_named() {
        assert_eq!(rows("{\"a\":1}\r\n\n{\"a\":2}", Format::JsonLines), json!([{"a": 1}, {"a": 2}]));
        let error = read(&Bytes::from_static(b"{\"a\":1}\n[2]\n"), Format::JsonLines, None).unwrap_err();
        assert!(error.to_string().starts_with("line 2: "), "{error}");
    }

    #[test]
    fn rows_become_arrow_where_that_is_asked_for() {
        let bytes = Bytes::from_static(b"[{\"a\":1},{\"a\":null}]");
        let (payload_type, value) = read(&bytes, Format::Json, Some(TableType::ArrowTable)).unwrap();
        assert_eq!(payload_type, PayloadType::ArrowTable);
        assert!(matches!(value, Value::Table(table) if table.num_rows() == 2));
    }

    #[test]
    fn a_format_is_known_by_its_extension_or_its_first_bytes() {
        assert_eq!(Format::of(Path::new("a.b/X.CSV")), Some(Format::Csv));
        assert_eq!(Format::of(Path::new("csv")), None);
        let cases: [(&[u8], Format); 5] = [
            (b"ARROW1\0\0", Format::Arrow),
            (&[0xff, 0xff, 0xff, 0xff, 0x10], Format::Arrow),
            (b"\n [{}]", Format::Json),
            (b"{\"a\":1}", Format::JsonLines),
            (b"a,b\n", Format::Csv),
        ];
        for (bytes, format) in cases {
            assert_eq!(Format::sniffed(bytes), format);
        }
    }
}
