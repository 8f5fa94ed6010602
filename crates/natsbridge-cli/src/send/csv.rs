//! CSV as an Arrow table: the separator is found or given, a column has a type where no cell's text is lost by it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema};
use csv::{ReaderBuilder, StringRecord};
use natsbridge::Table;
use natsbridge::wire::shown;

use super::columns::{Column, Guess, Kind};
use crate::output;

/// Rows in a batch: large enough that a batch's own bytes do not count
const BATCH_ROWS: usize = 65_536;

/// What may stand between cells, and what it is called
const SEPARATORS: [(u8, &str); 4] = [(b',', "`,`"), (b';', "`;`"), (b'\t', "a tab"), (b'|', "`|`")];

/// Reads the character of `--delimiter`
pub(super) fn delimiter(text: &str) -> Result<u8, String> {
    match text {
        "tab" | "\\t" => return Ok(b'\t'),
        _ => {}
    }
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !matches!(byte, b'"' | b'\n' | b'\r' | 0) => {
            Ok(*byte)
        }
        _ => Err("write one character that is no letter and no digit, such as ';', or the word tab".to_owned()),
    }
}

/// Reads a table with a header line; empty cells are null, and all others stay text where that is asked for
pub(super) fn read(text: &str, given: Option<u8>, as_text: bool) -> Result<Table, Box<dyn Error + Send + Sync>> {
    if let Some(at) = text.find('\0') {
        let line = line_at(text, at);
        return Err(format!("line {line} holds a NUL byte: these are binary data, or text of another encoding").into());
    }
    let (named, text) = named_separator(text).map_or((None, text), |(separator, rest)| (Some(separator), rest));
    let separator = match given.or(named) {
        Some(separator) => separator,
        None => separator(text)?,
    };
    check_quotes(text, separator)?;
    let mut header = StringRecord::new();
    if !reader(text, separator).read_record(&mut header)? {
        return Err("the file is empty; a table needs a line with the names of its columns".into());
    }
    warnings(&header).iter().for_each(|warning| output::note(warning));
    let text = if header.len() == 1 { with_empty_rows(text) } else { Cow::Borrowed(text) };
    let text = text.as_ref();
    let mut guesses: Vec<_> = header.iter().map(|_| Guess::new()).collect();
    each_row(text, separator, &header, |row| {
        guesses.iter_mut().zip(row).for_each(|(guess, cell)| guess.look_at(cell));
        Ok(())
    })?;

    let kinds: Vec<_> = guesses.iter().map(|guess| if as_text { Kind::Text } else { guess.kind() }).collect();
    let fields = header.iter().zip(&kinds).map(|(name, kind)| Field::new(name, kind.data_type(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut columns: Vec<_> = kinds.into_iter().map(Column::new).collect();
    let (mut batches, mut rows) = (Vec::new(), 0);
    let mut batch = |columns: &mut [Column]| -> Result<(), Box<dyn Error + Send + Sync>> {
        let arrays = columns.iter_mut().map(Column::take).collect();
        batches.push(RecordBatch::try_new(Arc::clone(&schema), arrays)?);
        Ok(())
    };
    each_row(text, separator, &header, |row| {
        columns.iter_mut().zip(row).for_each(|(column, cell)| column.add(cell));
        rows += 1;
        if rows % BATCH_ROWS == 0 { batch(&mut columns) } else { Ok(()) }
    })?;
    if rows % BATCH_ROWS != 0 {
        batch(&mut columns)?;
    }
    Ok(Table::new(schema, batches)?)
}

/// What ends the lines: a carriage return alone in files of old programs, which have no line feed
fn line_end(text: &str) -> char {
    if text.contains('\n') { '\n' } else { '\r' }
}

/// The line that a byte is in, from 1
fn line_at(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or_default().matches(line_end(text)).count() + 1
}

/// A spreadsheet's own way to name the separator in a first line, and what follows: `sep=;`, `"sep=;"`
fn named_separator(text: &str) -> Option<(u8, &str)> {
    let (line, rest) = text.split_once(line_end(text))?;
    let line = line.trim_end_matches('\r');
    let line = line.strip_prefix('"').and_then(|line| line.strip_suffix('"')).unwrap_or(line);
    let (name, separator) = line.split_once('=')?;
    // Of anything else it is a column's name.
    if name.eq_ignore_ascii_case("sep") { Some((delimiter(separator).ok()?, rest)) } else { None }
}

/// What is seldom meant in a header line: two columns of one name, and one without a name
fn warnings(header: &StringRecord) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut seen = HashSet::new();
    let mut told = HashSet::new();
    for (at, name) in (1..).zip(header) {
        if name.is_empty() {
            let end = if at == header.len() { "; is there a separator too many at the line's end?" } else { "" };
            warnings.push(format!("warning: column {at} has no name in the header line{end}"));
        } else if !seen.insert(name) && told.insert(name) {
            warnings.push(format!("warning: more than one column is called `{}`", shown(name)));
        }
    }
    warnings
}

fn reader(text: &str, separator: u8) -> csv::Reader<&[u8]> {
    ReaderBuilder::new().delimiter(separator).has_headers(false).flexible(true).from_reader(text.as_bytes())
}

/// The text of a table with one column, where an empty line between others is a row without a value
///
/// The reader leaves out lines that are empty, and the row would be lost.
fn with_empty_rows(text: &str) -> Cow<'_, str> {
    let body = text.trim_end_matches(['\r', '\n']);
    if !["\n\n", "\n\r\n", "\r\r"].iter().any(|gap| body.contains(gap)) {
        return Cow::Borrowed(text);
    }
    let mut quoted = false;
    let mut rows = String::with_capacity(text.len() + 64);
    for line in body.split_inclusive(line_end(body)) {
        let cell = line.trim_end_matches(['\r', '\n']);
        if cell.is_empty() && !quoted {
            rows.push_str("\"\"");
        }
        rows.push_str(line);
        if (quoted || cell.starts_with('"')) && !cell.matches('"').count().is_multiple_of(2) {
            quoted = !quoted;
        }
    }
    Cow::Owned(rows)
}

/// Does something with each row, which has to have as many cells as the header
fn each_row(
    text: &str,
    separator: u8,
    header: &StringRecord,
    mut work: impl FnMut(&StringRecord) -> Result<(), Box<dyn Error + Send + Sync>>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut rows = reader(text, separator);
    let mut row = StringRecord::new();
    rows.read_record(&mut row)?;
    while rows.read_record(&mut row)? {
        if row.len() != header.len() {
            let at = row.position().map_or(0, csv::Position::byte);
            let line = line_at(text, usize::try_from(at).unwrap_or(usize::MAX));
            let cells = if row.len() == 1 { "cell" } else { "cells" };
            let columns = if header.len() == 1 { "column" } else { "columns" };
            return Err(format!(
                "line {line} has {} {cells} and the header line {} {columns}, with {} between them; where that is wrong, \
                 give the separator with --delimiter",
                row.len(),
                header.len(),
                called(separator)
            )
            .into());
        }
        work(&row)?;
    }
    Ok(())
}

fn called(separator: u8) -> String {
    let known = SEPARATORS.iter().find(|(known, _)| *known == separator);
    known.map_or_else(|| format!("`{}`", shown(&char::from(separator).to_string())), |(_, name)| (*name).to_owned())
}

/// The separator that makes a table of the text: as many cells in every line, and more than one
fn separator(text: &str) -> Result<u8, String> {
    let columns = |separator: u8| {
        let mut header = StringRecord::new();
        reader(text, separator).read_record(&mut header).ok()?;
        (header.len() > 1).then_some(header)
    };
    let possible: Vec<_> = SEPARATORS.into_iter().filter_map(|(byte, _)| Some((byte, columns(byte)?))).collect();
    match &possible[..] {
        [] => return Ok(b','),
        [(only, _)] => return Ok(*only),
        _ => {}
    }
    let even: Vec<_> =
        possible.iter().filter(|(byte, header)| each_row(text, *byte, header, |_| Ok(())).is_ok()).collect();
    match (&even[..], &possible[..]) {
        ([(only, _)], _) | ([], [(only, _), ..]) => Ok(*only),
        _ => {
            let names: Vec<_> = even.iter().map(|(byte, _)| called(*byte)).collect();
            Err(format!("{} could separate the cells; say which with --delimiter", names.join(" and ")))
        }
    }
}

/// Refuses a quote that nothing closes, since all that follows would be one cell, and text behind a closing one, since the
/// quotes would be lost
fn check_quotes(text: &str, separator: u8) -> Result<(), String> {
    let (mut opened, mut start) = (None, true);
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        let next = bytes.peek().map(|(_, next)| *next);
        match (opened, byte) {
            (Some(_), b'"') if next == Some(b'"') => drop(bytes.next()),
            (Some(_), b'"') => {
                opened = None;
                if next.is_some_and(|next| next != separator && !matches!(next, b'\n' | b'\r')) {
                    let line = line_at(text, at);
                    return Err(format!(
                        "line {line} has text behind the closing quote of a cell; a quote inside of one is written twice"
                    ));
                }
            }
            (None, b'"') if start => opened = Some(at),
            _ => {}
        }
        start = opened.is_none() && (byte == separator || byte == b'\n' || byte == b'\r');
    }
    match opened {
        Some(at) => Err(format!("the quoted cell that begins in line {} has no closing quote", line_at(text, at))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;

    fn rows(text: &str, given: Option<u8>) -> Json {
        read(text, given, false).unwrap().to_rows().unwrap().into_vec().into()
    }

    fn refusal(text: &str) -> String {
        read(text, None, false).unwrap_err().to_string()
    }

    #[test]
    fn columns_get_the_type_that_keeps_all_their_cells() {
        let text = "n,x,on,day,at,note,zip\n1,0.5,true,2026-01-31,2026-01-31T08:15:30Z,\"a, b\",02134\n,,,,,,\n-2,1e3,false,2026-02-01,2026-01-31T08:15:31Z,7,10001\n";
        let expected = json!([
            {"n": 1, "x": 0.5, "on": true, "day": "2026-01-31", "at": "2026-01-31T08:15:30Z", "note": "a, b", "zip": "02134"},
            {"n": null, "x": null, "on": null, "day": null, "at": null, "note": null, "zip": null},
            {"n": -2, "x": 1000.0, "on": false, "day": "2026-02-01", "at": "2026-01-31T08:15:31Z", "note": "7", "zip": "10001"},
        ]);
        assert_eq!(rows(text, None), expected);
    }

    #[test]
    fn separator_is_found_or_given() {
        for (text, given) in [
            ("a,b\n1,x\n", None),
            ("a;b\n1;x\n", None),
            ("a\tb\n1\tx\n", None),
            ("a|b\r\n1|x\r\n", None),
            ("sep=;\r\na;b\r\n1;x\r\n", None),
            ("SEP=;\na;b\n1;x\n", None),
            ("\"sep=;\"\r\na;b\r\n1;x\r\n", None),
            ("sep=;\ra;b\r1;x\r", None),
            ("a:b\n1:x\n", Some(b':')),
        ] {
            assert_eq!(rows(text, given), json!([{"a": 1, "b": "x"}]), "{text}");
        }
        assert_eq!(rows("a;b\n\"1;5\";2,5\n", None), json!([{"a": "1;5", "b": "2,5"}]));
        assert_eq!(rows("\"a;1\",b\n1,2\n", None), json!([{"a;1": 1, "b": 2}]));
        assert_eq!(rows("Length, mm;Width\n1.5;2\n", None), json!([{"Length, mm": 1.5, "Width": 2}]));
        assert_eq!(rows("a\nx y\n", None), json!([{"a": "x y"}]));
        assert_eq!(rows("sep=1\nx\n", None), json!([{"sep=1": "x"}]));
        assert_eq!(rows("a,b|c\n1,2|3\n", Some(b',')), json!([{"a": 1, "b|c": "2|3"}]));
        let refused = refusal("a,b;c\n1,5;2\n");
        assert!(refused.contains("`,` and `;`") && refused.contains("--delimiter"), "{refused}");
    }

    #[test]
    fn empty_line_of_one_column_is_a_row_without_a_value() {
        assert_eq!(rows("a\nx\n\ny\n\n", None), json!([{"a": "x"}, {"a": null}, {"a": "y"}]));
        assert_eq!(rows("a\r\n1\r\n\r\n\r\n3", None), json!([{"a": 1}, {"a": null}, {"a": null}, {"a": 3}]));
        assert_eq!(rows("a\r1\r\r3\r\r", None), json!([{"a": 1}, {"a": null}, {"a": 3}]));
        let quoted = "a\n\"x\n\ny\"\n\n5\" disk\n\nz\n";
        let expected = json!([{"a": "x\n\ny"}, {"a": null}, {"a": "5\" disk"}, {"a": null}, {"a": "z"}]);
        assert_eq!(rows(quoted, None), expected);
    }

    #[test]
    fn invalid_csv_is_refused_with_its_line() {
        for (text, parts) in [
            ("a,b\n1,2\n3\n", ["line 3 has 1 cell", "2 columns"]),
            ("a,b\n1,\"x\n2,y\n", ["line 2", "closing quote"]),
            ("a,b\n1,\0\n", ["line 2", "NUL"]),
            ("a,b\r1,2\r3\r", ["line 3 has 1 cell", "2 columns"]),
            ("a,b\r1,\"x\r2,y\r", ["line 2", "closing quote"]),
            ("a,b\r1,\0\r", ["line 2", "NUL"]),
            ("a,b\n1,\"x\"y\n", ["line 2", "written twice"]),
            ("a,b\n\"x\\\"y\",2\n", ["line 2", "written twice"]),
            ("a,b\n\"x\" ,2\n", ["line 2", "written twice"]),
            ("", ["empty", "names"]),
        ] {
            let refused = refusal(text);
            assert!(parts.iter().all(|part| refused.contains(part)), "{refused}");
        }
    }

    #[test]
    fn header_with_twins_or_without_a_name_is_told_once() {
        let warnings = |names: &[&str]| warnings(&StringRecord::from(names.to_vec())).join("\n");
        assert_eq!(warnings(&["n", "N", " n"]), "");
        let told = warnings(&["n", "x", "n", "", "n", ""]);
        assert_eq!(told.matches("called `n`").count(), 1, "{told}");
        assert!(told.contains("column 4 has no name in the header line\n"), "{told}");
        assert!(
            told.ends_with("column 6 has no name in the header line; is there a separator too many at the line's end?"),
            "{told}"
        );
    }

    #[test]
    fn delimiter_is_one_character_or_a_name() {
        assert_eq!([";", "tab", "\\t", "^"].map(|text| delimiter(text).unwrap()), [b';', b'\t', b'\t', b'^']);
        for text in ["", ";;", "a", "1", "\"", "\n", "§"] {
            assert!(delimiter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn table_of_many_rows_arrives_whole() {
        let text: String = std::iter::once("n\n".to_owned()).chain((0..150_000).map(|n| format!("{n}\n"))).collect();
        let table = read(&text, None, false).unwrap();
        assert_eq!(table.num_rows(), 150_000);
    }

    /// Whether a received value says what the cell said
    fn same(cell: &str, value: &Json) -> bool {
        match value {
            Json::Null => cell.is_empty(),
            Json::Bool(on) => on.to_string() == cell,
            Json::String(text) => text == cell || moment(text) == moment(cell),
            Json::Number(number) if number.is_f64() => {
                cell.parse::<f64>().is_ok_and(|expected| number.as_f64().map(f64::to_bits) == Some(expected.to_bits()))
            }
            Json::Number(number) => number.to_string() == cell,
            _ => false,
        }
    }

    /// A moment without a fraction that is zero, which the column's unit says
    fn moment(text: &str) -> Option<(String, String)> {
        let (clock, zone) = text.strip_suffix('Z').map_or((text, ""), |clock| (clock, "Z"));
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        (clock.len() == 19).then(|| (clock.to_owned(), format!("{}{zone}", fraction.trim_end_matches('0'))))
    }

    fn cell() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(String::new()),
            "[-+]?[0-9]{1,22}",
            "-?[0-9]{1,3}\\.[0-9]{0,4}",
            "-?[0-9]{1,2}\\.?[0-9]{0,3}[eE][-+]?[0-9]{1,3}",
            "0\\.[0-9]{14,36}",
            any::<f64>().prop_map(|x| x.to_string()),
            any::<f64>().prop_map(|x| format!("{x:e}")),
            any::<i64>().prop_map(|x| x.to_string()),
            "(true|false|True|NaN|Inf|null|1_000|0x1F)",
            "[0-9]{4}-[0-1][0-9]-[0-3][0-9]",
            "20[0-9]{2}-0[1-9]-1[0-9][T ][0-2][0-9]:[0-5][0-9]:[0-6][0-9](\\.[0-9]{0,9})?(Z|\\+0100|)",
            "[a-z,;\"\n ]{1,6}",
            "\\PC{1,5}",
        ]
    }

    proptest! {
        #[test]
        fn received_cells_equal_the_sent_ones(
            table in proptest::collection::vec([cell(), cell(), cell()], 1..5),
            alike in cell(),
        ) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["a", "b", "c", "d"]).unwrap();
            for row in &table {
                writer.write_record(row.iter().chain([&alike])).unwrap();
            }
            let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            let received = rows(&text, Some(b','));
            for (row, received) in table.iter().zip(received.as_array().unwrap()) {
                for (cell, value) in row.iter().chain([&alike]).zip(received.as_object().unwrap().values()) {
                    prop_assert!(same(cell, value), "{cell:?} became {value}");
                }
            }
        }
    }
}
