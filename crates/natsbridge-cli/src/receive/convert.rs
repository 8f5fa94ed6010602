//! `--save-tables`: a saved table as a file of the kind that was asked for, in place of the one that came.

use std::collections::HashSet;
use std::error::Error;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use arrow_array::Array;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_schema::DataType;
use bytes::Bytes;
use clap::ValueEnum;
use natsbridge::arrow::TableLimits;
use natsbridge::{PayloadType, Rows, Table};
use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

use crate::parquet;

type Problem = Box<dyn Error + Send + Sync>;

/// Names with a number that are tried
const NUMBERED: u32 = 1_000;

/// Rows of an Arrow table that are values in memory at once
const ROWS_AT_ONCE: usize = 256;

/// Bytes that they may have: a few bytes of a table can stand for gigabytes
const ROWS_IN_MEMORY: u64 = 256 * 1024 * 1024;

/// A kind of file for tables
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TableFile {
    /// A line for each row, below one with the names
    Csv,
    /// Parquet, compressed by snappy
    Parquet,
    /// An Arrow IPC stream
    Arrow,
    /// An array of objects
    Json,
}

impl TableFile {
    const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
            Self::Json => "json",
        }
    }

    /// Whether a payload of this type is such a file already
    const fn is(self, payload_type: PayloadType) -> bool {
        matches!((self, payload_type), (Self::Arrow, PayloadType::ArrowTable) | (Self::Json, PayloadType::JsonTable))
    }
}

/// Writes the table of a saved file as another kind of file beside it, and removes the first one
///
/// # Errors
/// Where the table can't be read, or has no form in such a file; the first file stays.
pub(super) fn convert(saved: &Path, payload_type: PayloadType, wanted: TableFile) -> Result<PathBuf, Problem> {
    if wanted.is(payload_type) {
        return Ok(saved.to_owned());
    }
    let bytes = Bytes::from(fs::read(saved)?);
    let dir = saved.parent().unwrap_or_else(|| Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".converting-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As any other new file: the user's mask takes away what it has to.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(dir)?;
    {
        let mut out = BufWriter::new(file.as_file_mut());
        write(&bytes, payload_type, wanted, &mut out)?;
        out.flush()?;
    }
    let stem = saved.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let extension = wanted.extension();
    for number in 1..=NUMBERED {
        let name = if number == 1 { format!("{stem}.{extension}") } else { format!("{stem} ({number}).{extension}") };
        let path = dir.join(name);
        if path == saved {
            // A table that came under the name of such a file.
            file.persist(&path)?;
            return Ok(path);
        }
        match file.persist_noclobber(&path) {
            Ok(_) => {
                fs::remove_file(saved)?;
                return Ok(path);
            }
            Err(taken) if taken.error.kind() == io::ErrorKind::AlreadyExists => file = taken.file,
            Err(failed) => return Err(failed.error.into()),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "no free name was found for it; clear the folder").into())
}

fn write(
    bytes: &Bytes,
    payload_type: PayloadType,
    wanted: TableFile,
    out: &mut (dyn io::Write + Send),
) -> Result<(), Problem> {
    let table = || match payload_type {
        PayloadType::ArrowTable => Ok::<_, Problem>(Table::from_ipc(bytes, &TableLimits::default())?),
        _ => Ok(Table::from_rows(&rows_of(bytes)?)?),
    };
    match (wanted, payload_type) {
        (TableFile::Parquet, _) => parquet::write(&table()?, out),
        (TableFile::Arrow, _) => Ok(out.write_all(&table()?.to_ipc()?)?),
        (TableFile::Json, _) => {
            let view = table()?.json_view(u64::MAX)?;
            match view.problems().first() {
                Some(problem) => Err(problem.clone().into()),
                None => Ok(view.write_to(out)?),
            }
        }
        (TableFile::Csv, PayloadType::ArrowTable) => csv_of_table(&table()?, out),
        (TableFile::Csv, _) => csv_of_rows(bytes, out),
    }
}

fn rows_of(bytes: &Bytes) -> Result<Rows, Problem> {
    Ok(Rows::new(serde_json::from_slice::<Vec<Map<String, Json>>>(bytes)?))
}

/// Some rows at a time, so that memory does not grow with the table
fn csv_of_table(table: &Table, out: &mut dyn io::Write) -> Result<(), Problem> {
    let columns: Vec<String> = table.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(&columns)?;
    let limits = TableLimits::default().max_bytes(ROWS_IN_MEMORY);
    for batch in table.batches() {
        for at in (0..batch.num_rows()).step_by(ROWS_AT_ONCE) {
            let some = Table::from(batch.slice(at, ROWS_AT_ONCE.min(batch.num_rows() - at)));
            for (row, mut cells) in (at..).zip(some.to_rows_within(&limits)?.into_vec()) {
                for (name, column) in columns.iter().zip(batch.columns()) {
                    if let Some(text) = unlimited(column, row) {
                        cells.insert(name.clone(), text.into());
                    }
                }
                write_row(&mut csv, &columns, &cells)?;
            }
        }
    }
    Ok(csv.flush()?)
}

/// A float that is no number of JSON, where it is null: `NaN`, `inf` or `-inf`
fn unlimited(column: &dyn Array, row: usize) -> Option<String> {
    let value = match column.data_type() {
        DataType::Float16 => column.as_primitive::<Float16Type>().value(row).to_f64(),
        DataType::Float32 => column.as_primitive::<Float32Type>().value(row).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row),
        _ => return None,
    };
    (column.is_valid(row) && !value.is_finite()).then(|| value.to_string())
}

/// Looks through the rows twice: for the columns, and for the cells
fn csv_of_rows(json: &Bytes, out: &mut dyn io::Write) -> Result<(), Problem> {
    let (mut columns, mut known) = (Vec::new(), HashSet::new());
    each_row(json, |row| {
        for name in row.keys() {
            if known.insert(name.clone()) {
                columns.push(name.clone());
            }
        }
        Ok(())
    })?;
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(&columns)?;
    each_row(json, |row| write_row(&mut csv, &columns, &row))?;
    Ok(csv.flush()?)
}

/// Texts as they are, null as an empty cell, lists and objects as JSON
fn write_row(
    csv: &mut csv::Writer<&mut dyn io::Write>,
    columns: &[String],
    row: &Map<String, Json>,
) -> Result<(), csv::Error> {
    csv.write_record(columns.iter().map(|column| match row.get(column) {
        None | Some(Json::Null) => String::new(),
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }))
}

/// Reads an array of objects one by one
fn each_row(json: &[u8], take: impl FnMut(Map<String, Json>) -> Result<(), csv::Error>) -> Result<(), Problem> {
    struct Each<F>(F);

    impl<'de, F: FnMut(Map<String, Json>) -> Result<(), csv::Error>> Visitor<'de> for Each<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of objects")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut rows: A) -> Result<(), A::Error> {
            while let Some(row) = rows.next_element()? {
                (self.0)(row).map_err(A::Error::custom)?;
            }
            Ok(())
        }
    }

    let mut reader = serde_json::Deserializer::from_slice(json);
    reader.deserialize_seq(Each(take))?;
    Ok(reader.end()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_table_becomes_the_file_that_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        for (wanted, begins) in [
            (TableFile::Csv, &b"n,note\n1,\"a, b\"\n,\n"[..]),
            (TableFile::Json, br#"[{"n":1,"note":"a, b"}"#),
            (TableFile::Arrow, b"\xff\xff\xff\xff"),
            #[cfg(feature = "parquet")]
            (TableFile::Parquet, b"PAR1"),
        ] {
            let saved = dir.path().join("t.json");
            fs::write(&saved, r#"[{"n":1,"note":"a, b"},{"n":null,"note":null}]"#).unwrap();
            let path = convert(&saved, PayloadType::JsonTable, wanted).unwrap();
            assert_eq!(path, dir.path().join(format!("t.{}", wanted.extension())));
            assert!(fs::read(&path).unwrap().starts_with(begins), "{wanted:?}");
            assert_eq!(saved.exists(), wanted == TableFile::Json);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), if cfg!(feature = "parquet") { 3 } else { 2 });
    }

    #[test]
    fn name_that_is_taken_gets_a_number_and_a_bad_table_stays() {
        let dir = tempfile::tempdir().unwrap();
        let saved = dir.path().join("t.json");
        fs::write(&saved, "[{\"n\":1}]").unwrap();
        fs::write(dir.path().join("t.csv"), "kept").unwrap();
        let path = convert(&saved, PayloadType::JsonTable, TableFile::Csv).unwrap();
        assert_eq!(path, dir.path().join("t (2).csv"));
        let named = dir.path().join("u.csv");
        fs::write(&named, "[{\"n\":1}]").unwrap();
        assert_eq!(convert(&named, PayloadType::JsonTable, TableFile::Csv).unwrap(), named);
        assert_eq!(fs::read_to_string(&named).unwrap(), "n\n1\n");
        fs::write(&saved, "no table").unwrap();
        assert!(convert(&saved, PayloadType::JsonTable, TableFile::Csv).is_err() && saved.exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn csv_tells_null_from_what_is_no_number() {
        use std::sync::Arc;
        let dir = tempfile::tempdir().unwrap();
        let floats = [Some(1.5), None, Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY)];
        let narrow = [Some(1.5), None, Some(f32::NAN), Some(f32::INFINITY), Some(f32::NEG_INFINITY)];
        let columns: [(_, arrow_array::ArrayRef); 2] = [
            ("x", Arc::new(arrow_array::Float64Array::from(floats.to_vec()))),
            ("y", Arc::new(arrow_array::Float32Array::from(narrow.to_vec()))),
        ];
        let saved = dir.path().join("t.arrow");
        fs::write(&saved, Table::from(arrow_array::RecordBatch::try_from_iter(columns).unwrap()).to_ipc().unwrap())
            .unwrap();
        let csv = fs::read_to_string(convert(&saved, PayloadType::ArrowTable, TableFile::Csv).unwrap()).unwrap();
        assert_eq!(csv, "x,y\n1.5,1.5\n,\nNaN,NaN\ninf,inf\n-inf,-inf\n");
    }

    #[test]
    fn arrow_table_becomes_csv_and_json_row_by_row() {
        use std::sync::Arc;
        let dir = tempfile::tempdir().unwrap();
        let numbers: arrow_array::ArrayRef = Arc::new(arrow_array::Int64Array::from_iter_values(0..600));
        let batch = arrow_array::RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let ipc = Table::from(batch).to_ipc().unwrap();
        let saved = dir.path().join("t.arrow");
        fs::write(&saved, &ipc).unwrap();
        let csv = fs::read_to_string(convert(&saved, PayloadType::ArrowTable, TableFile::Csv).unwrap()).unwrap();
        let expected: String = std::iter::once("n\n".to_owned()).chain((0..600).map(|n| format!("{n}\n"))).collect();
        assert_eq!(csv, expected);
        fs::write(&saved, &ipc).unwrap();
        let json = fs::read(convert(&saved, PayloadType::ArrowTable, TableFile::Json).unwrap()).unwrap();
        let rows: Vec<Map<String, Json>> = serde_json::from_slice(&json).unwrap();
        assert_eq!((rows.len(), &rows[599]["n"]), (600, &Json::from(599)));
    }
}
