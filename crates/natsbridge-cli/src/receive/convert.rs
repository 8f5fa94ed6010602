//! `--save-tables`: a saved table as a file of the kind that was asked for, in place of the one that came.

use std::error::Error;
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::ValueEnum;
use natsbridge::arrow::TableLimits;
use natsbridge::{PayloadType, Rows, Table};
use serde_json::{Map, Value as Json};

use crate::parquet;

type Problem = Box<dyn Error + Send + Sync>;

/// Names with a number that are tried
const NUMBERED: u32 = 1_000;

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
    match wanted {
        TableFile::Parquet => parquet::write(&table()?, out),
        TableFile::Arrow => Ok(out.write_all(&table()?.to_ipc()?)?),
        TableFile::Csv | TableFile::Json => {
            let (columns, rows) = match payload_type {
                PayloadType::ArrowTable => {
                    let table = table()?;
                    let names = table.schema().fields().iter().map(|field| field.name().clone());
                    (names.collect::<Vec<_>>(), table.to_rows()?)
                }
                _ => {
                    let rows = rows_of(bytes)?;
                    (rows.columns().into_iter().map(str::to_owned).collect(), rows)
                }
            };
            match wanted {
                TableFile::Csv => write_csv(&columns, rows.as_slice(), out),
                _ => Ok(serde_json::to_writer(out, rows.as_slice())?),
            }
        }
    }
}

fn rows_of(bytes: &Bytes) -> Result<Rows, Problem> {
    Ok(Rows::new(serde_json::from_slice::<Vec<Map<String, Json>>>(bytes)?))
}

/// Texts as they are, null as an empty cell, lists and objects as JSON
fn write_csv(columns: &[String], rows: &[Map<String, Json>], out: &mut dyn io::Write) -> Result<(), Problem> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(columns)?;
    for row in rows {
        let cells = columns.iter().map(|column| match row.get(column) {
            None | Some(Json::Null) => String::new(),
            Some(Json::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        });
        csv.write_record(cells)?;
    }
    csv.flush()?;
    Ok(())
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
}
