//! Tables from files: CSV, Parquet, Arrow, JSON and newline-delimited JSON, as the payload type that suits them.

use std::error::Error;
use std::path::Path;

use bytes::Bytes;
use clap::ValueEnum;
use natsbridge::arrow::TableLimits;
use natsbridge::wire::JsonText;
use natsbridge::{PayloadType, Rows, Table, Value};
use serde_json::Value as Json;

use super::{csv, exact};
use crate::{encoding, parquet};

type Problem = Box<dyn Error + Send + Sync>;

/// How a table is written in a file
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    /// Cells with tabs between them
    Tsv,
    Parquet,
    Arrow,
    Json,
    JsonLines,
}

/// The payload type that a table is sent as
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "lower")]
pub(super) enum TableType {
    ArrowTable,
    JsonTable,
}

/// How a table is to be read and sent
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct How {
    /// The payload type that is asked for, whatever the file
    pub(super) wanted: Option<TableType>,
    /// What stands between the cells of a CSV
    pub(super) delimiter: Option<u8>,
    /// Whether every cell of a CSV stays text
    pub(super) text: bool,
}

impl Format {
    /// The format that a file's extension names
    ///
    /// # Errors
    /// What to do with a file that is no table, or not one that can be read here.
    pub(super) fn of(path: &Path) -> Result<Self, String> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let foreign = match &*extension {
            "csv" => return Ok(Self::Csv),
            "tsv" | "tab" => return Ok(Self::Tsv),
            // Feather is Arrow's file format under its older name.
            "arrow" | "arrows" | "ipc" | "feather" => return Ok(Self::Arrow),
            "json" => return Ok(Self::Json),
            "ndjson" | "jsonl" => return Ok(Self::JsonLines),
            "parquet" | "pq" => return Ok(Self::Parquet),
            "xlsx" | "xls" | "xlsm" | "ods" => Foreign::Sheet,
            "gz" | "zst" | "bz2" | "xz" | "zip" => Foreign::Compressed,
            "orc" | "avro" | "h5" | "hdf5" | "sqlite" | "db" | "pkl" | "npy" => Foreign::Other,
            _ => {
                return Err(
                    "its name does not end with .csv, .tsv, .parquet, .arrow, .json or .ndjson: rename it if it is one \
                            of these, or send it as it is with --file"
                        .to_owned(),
                );
            }
        };
        Err(foreign.advice().to_owned())
    }

    /// The format that the first bytes show: Arrow's marks, an array, an object, else CSV
    pub(super) fn sniffed(bytes: &[u8]) -> Self {
        if bytes.starts_with(b"ARROW1") || bytes.starts_with(&[0xff; 4]) {
            return Self::Arrow;
        }
        if bytes.starts_with(PARQUET) {
            return Self::Parquet;
        }
        let text = encoding::text(bytes).unwrap_or_default();
        match text.trim_ascii_start().bytes().next() {
            Some(b'[') => Self::Json,
            Some(b'{') => Self::JsonLines,
            _ => Self::Csv,
        }
    }
}

/// What every Parquet file begins with
const PARQUET: &[u8] = b"PAR1";

/// A file of tables that is read elsewhere
#[derive(Debug, Clone, Copy)]
enum Foreign {
    Sheet,
    Compressed,
    Other,
}

impl Foreign {
    /// What the first bytes show
    fn sniffed(bytes: &[u8]) -> Option<Self> {
        let marks: [(&[u8], Self); 8] = [
            (b"PK\x03\x04", Self::Sheet),
            (b"\xd0\xcf\x11\xe0", Self::Sheet),
            (b"\x1f\x8b", Self::Compressed),
            (b"\x28\xb5\x2f\xfd", Self::Compressed),
            (b"BZh", Self::Compressed),
            (b"FEA1", Self::Other),
            (b"\x89HDF", Self::Other),
            (b"SQLite format 3\0", Self::Other),
        ];
        marks.into_iter().find(|(mark, _)| bytes.starts_with(mark)).map(|(_, foreign)| foreign)
    }

    const fn advice(self) -> &'static str {
        match self {
            Self::Sheet => {
                "it is a spreadsheet or an archive: save the sheet as CSV first, or send it as it is with --file"
            }
            Self::Compressed => "it is compressed: unpack it first, or send it as it is with --file",
            Self::Other => {
                "it is of a kind that is not read here: convert it to .csv, .arrow or .ndjson first, or send it as it \
                 is with --file"
            }
        }
    }
}

/// Reads a table, and converts it where another type is asked for
pub(super) fn read(bytes: &Bytes, format: Format, how: How) -> Result<(PayloadType, Value), Problem> {
    if let Some(foreign) = Foreign::sniffed(bytes) {
        return Err(foreign.advice().into());
    }
    let value = match format {
        // Whatever the file's name says.
        _ if bytes.starts_with(PARQUET) => Value::Table(parquet::read(bytes)?),
        Format::Parquet => return Err("it is no Parquet file: it does not begin with PAR1".into()),
        Format::Csv => Value::Table(csv::read(&encoding::text(bytes)?, how.delimiter, how.text)?),
        Format::Tsv => Value::Table(csv::read(&encoding::text(bytes)?, how.delimiter.or(Some(b'\t')), how.text)?),
        Format::Arrow => Value::Table(Table::from_ipc(bytes, &TableLimits::default())?),
        Format::Json | Format::JsonLines => {
            let text = encoding::text(bytes)?;
            let rows = from_json(&text, format)?;
            return Ok(match how.wanted {
                Some(TableType::ArrowTable) => (PayloadType::ArrowTable, Value::Table(Table::from_rows(&rows)?)),
                _ => (PayloadType::JsonTable, Value::JsonText(array(&text))),
            });
        }
    };
    Ok(match (value, how.wanted) {
        (Value::Table(table), Some(TableType::JsonTable)) => (PayloadType::JsonTable, Value::Rows(table.to_rows()?)),
        (value, _) => (PayloadType::ArrowTable, value),
    })
}

/// Reads an array of objects, or an object a line
fn from_json(text: &str, format: Format) -> Result<Rows, Problem> {
    if text.trim_ascii_start().starts_with('{') {
        let one_line = text.trim_ascii().lines().count() < 2;
        if (format == Format::Json || !one_line) && exact::json(text, 1).is_ok() {
            return Err("this is one object, and a table is an array of objects; send it with --dict".into());
        }
        return from_lines(text);
    }
    let head = text.trim_ascii_start().lines().next().unwrap_or_default();
    if !head.starts_with('[') && head.contains([',', ';', '\t']) && exact::json(head, 1).is_err() {
        return Err("it is not JSON; a CSV file needs a name that ends with .csv".into());
    }
    if format == Format::JsonLines && !text.trim_ascii_start().starts_with('[') {
        return from_lines(text);
    }
    let Json::Array(items) = exact::json(text, 1)? else {
        return Err("this is a single value, and a table is an array of objects; send it with --dict".into());
    };
    let row = |(at, item)| match item {
        Json::Object(row) => Ok(row),
        _ => Err(format!("item {at} is no object, and a table is an array of objects; send it with --dict")),
    };
    let rows = (1_usize..).zip(items).map(row).collect::<Result<Vec<_>, _>>()?;
    Ok(Rows::new(rows))
}

/// Reads an object a line; empty lines are passed over
fn from_lines(text: &str) -> Result<Rows, Problem> {
    let rows = lines(text).map(|(number, line)| match exact::json(line, number)? {
        Json::Object(row) => Ok(row),
        _ => Err(format!("line {number}: this is no object, and a row is one").into()),
    });
    rows.collect::<Result<Vec<_>, Problem>>().map(Rows::new)
}

/// The lines that hold something, each with its number
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    // Where files were joined, a line begins with a byte-order mark.
    let plain = text.split('\n').map(|line| line.trim_start_matches('\u{feff}'));
    (1..).zip(plain).filter(|(_, line)| !line.trim_ascii().is_empty())
}

/// Rows that were read, as an array of the same digits
fn array(text: &str) -> JsonText {
    if text.trim_ascii_start().starts_with('[') {
        return JsonText::new(text.to_owned());
    }
    let rows: Vec<_> = lines(text).map(|(_, line)| line).collect();
    JsonText::new(format!("[{}]", rows.join(",")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const JSON_TABLE: How = How { wanted: Some(TableType::JsonTable), delimiter: None, text: false };

    fn rows(text: &'static str, format: Format) -> Json {
        match read(&Bytes::from_static(text.as_bytes()), format, JSON_TABLE).unwrap() {
            (PayloadType::JsonTable, Value::Rows(rows)) => rows.into_vec().into(),
            (PayloadType::JsonTable, Value::JsonText(text)) => serde_json::from_slice(text.as_bytes()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn refusal(bytes: &'static [u8], format: Format) -> String {
        read(&Bytes::from_static(bytes), format, How::default()).unwrap_err().to_string()
    }

    #[test]
    fn csv_and_tsv_become_tables() {
        assert_eq!(rows("\u{feff}n;note\n1;x\n", Format::Csv), json!([{"n": 1, "note": "x"}]));
        assert_eq!(rows("n\tnote\n1\tx, y\n", Format::Tsv), json!([{"n": 1, "note": "x, y"}]));
        assert!(read(&Bytes::from_static(b"a,b\n1,2\n3\n"), Format::Csv, How::default()).is_err());
    }

    #[test]
    fn json_lines_are_rows_and_a_bad_line_is_named() {
        for format in [Format::JsonLines, Format::Json] {
            assert_eq!(rows("\u{feff}{\"a\":1}\r\n\n{\"a\":2}", format), json!([{"a": 1}, {"a": 2}]));
        }
        assert_eq!(rows("{\"a\":1}\n", Format::JsonLines), json!([{"a": 1}]));
        let joined = "\u{feff}{\"a\":1}\n\u{feff}{\"a\":2}\n\u{feff}\n";
        assert_eq!(rows(joined, Format::JsonLines), json!([{"a": 1}, {"a": 2}]));
        assert_eq!(rows("\u{feff} [{\"a\":1}]", Format::JsonLines), json!([{"a": 1}]));
        for (bytes, format, text) in [
            (&b"{\"a\":1}\n[2]\n"[..], Format::JsonLines, "line 2: "),
            (b"{\"a\":1}\n{\"a\":1e400}\n", Format::JsonLines, "line 2, "),
            (b"[{\"a\":\n123456789012345678901234567890}]", Format::Json, "line 2 "),
            (b"{\"a\":1,\"a\":2}\n", Format::JsonLines, "`a` occurs twice"),
            (b"{\"a\":1}", Format::Json, "--dict"),
            (b"{\n\"a\":1}", Format::JsonLines, "--dict"),
            (b"[1,2]", Format::Json, "item 1 is no object"),
            (b"7", Format::Json, "--dict"),
            (b"[{\"a\":1}", Format::Json, "ends here"),
        ] {
            let refused = refusal(bytes, format);
            assert!(refused.contains(text), "{text}: {refused}");
        }
    }

    #[test]
    fn numbers_keep_the_digits_that_they_were_written_with() {
        let digits = "[{\"a\":1.10,\"b\":1E5,\"c\":-0}]";
        for (text, format) in [
            (digits, Format::Json),
            ("[ {\"a\": 1.10, \"b\": 1E5,\n\"c\": -0} ]\n", Format::JsonLines),
            ("{\"a\":1.10,\"b\":1E5,\"c\":-0}\n\n", Format::JsonLines),
        ] {
            let read = read(&Bytes::from_static(text.as_bytes()), format, JSON_TABLE).unwrap();
            let (PayloadType::JsonTable, Value::JsonText(sent)) = read else { panic!("{read:?}") };
            let sent = std::str::from_utf8(sent.as_bytes()).unwrap();
            assert_eq!(sent.split_ascii_whitespace().collect::<String>(), digits, "{text}");
        }
    }

    #[test]
    fn rows_become_arrow_where_asked() {
        let bytes = Bytes::from_static(b"[{\"a\":1},{\"a\":null}]");
        let how = How { wanted: Some(TableType::ArrowTable), delimiter: None, text: false };
        let (payload_type, value) = read(&bytes, Format::Json, how).unwrap();
        assert_eq!(payload_type, PayloadType::ArrowTable);
        assert!(matches!(value, Value::Table(table) if table.num_rows() == 2));
    }

    #[test]
    fn format_is_known_by_its_extension_or_its_first_bytes() {
        assert_eq!(Format::of(Path::new("a.b/X.CSV")), Ok(Format::Csv));
        assert_eq!(Format::of(Path::new("x.tsv")), Ok(Format::Tsv));
        let cases: [(&[u8], Format); 6] = [
            (b"ARROW1\0\0", Format::Arrow),
            (&[0xff, 0xff, 0xff, 0xff, 0x10], Format::Arrow),
            (b"\n [{}]", Format::Json),
            (b"{\"a\":1}", Format::JsonLines),
            (b"\xef\xbb\xbf{\"a\":1}", Format::JsonLines),
            (b"a,b\n", Format::Csv),
        ];
        for (bytes, format) in cases {
            assert_eq!(Format::sniffed(bytes), format);
        }
    }

    #[test]
    fn unsupported_formats_are_refused_with_what_to_do() {
        for (name, text) in [
            ("t.xlsx", "as CSV"),
            ("t.csv.gz", "unpack it"),
            ("t.orc", "convert it"),
            ("t.txt", "rename it"),
            ("csv", "rename it"),
        ] {
            let refused = Format::of(Path::new(name)).unwrap_err();
            assert!(refused.contains(text) && refused.contains("--file"), "{name}: {refused}");
        }
        assert_eq!(Format::of(Path::new("t.parquet")), Ok(Format::Parquet));
        assert!(refusal(b"PAR1\x15\x04", Format::Csv).to_lowercase().contains("parquet"));
        assert!(refusal(b"a,b\n1,2\n", Format::Parquet).contains("no Parquet file"));
        assert!(refusal(b"\x1f\x8b\x08\0", Format::Json).contains("compressed"));
    }
}
