//! Parquet files as tables, and tables as Parquet files; without the feature `parquet`, a refusal that says so.

use bytes::Bytes;
use natsbridge::Table;

type Problem = Box<dyn std::error::Error + Send + Sync>;

/// Reads a whole file
#[cfg(feature = "parquet")]
pub(crate) fn read(bytes: &Bytes) -> Result<Table, Problem> {
    table(bytes).map_err(|error| format!("this Parquet file can't be read: {error}; --file sends it as it is").into())
}

#[cfg(feature = "parquet")]
fn table(bytes: &Bytes) -> Result<Table, Problem> {
    use std::sync::Arc;

    use arrow_array::RecordBatchReader as _;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone())?.with_batch_size(65_536).build()?;
    // What pandas and others note there about themselves is of no use to a receiver in another language.
    let schema = Arc::new(arrow_schema::Schema::new(reader.schema().fields().clone()));
    let batches = reader.map(|batch| batch?.with_schema(Arc::clone(&schema)));
    let batches = batches.collect::<Result<_, _>>()?;
    Ok(Table::new(schema, batches)?)
}

/// Writes a whole file, compressed by snappy as others do
#[cfg(feature = "parquet")]
pub(crate) fn write(table: &Table, file: &mut (dyn std::io::Write + Send)) -> Result<(), Problem> {
    use parquet::arrow::ArrowWriter;
    use parquet::basic::Compression;
    use parquet::file::properties::WriterProperties;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(file, std::sync::Arc::clone(table.schema()), Some(properties))?;
    for batch in table.batches() {
        writer.write(batch)?;
    }
    writer.close()?;
    Ok(())
}

#[cfg(not(feature = "parquet"))]
const ABSENT: &str = "this program was built without Parquet (cargo feature `parquet`)";

#[cfg(not(feature = "parquet"))]
pub(crate) fn read(_: &Bytes) -> Result<Table, Problem> {
    Err(format!("{ABSENT}; convert it to Arrow, or send it as it is with --file").into())
}

#[cfg(not(feature = "parquet"))]
pub(crate) fn write(_: &Table, _: &mut (dyn std::io::Write + Send)) -> Result<(), Problem> {
    Err(ABSENT.into())
}

#[cfg(all(test, feature = "parquet"))]
mod tests {
    use natsbridge::Rows;
    use serde_json::json;

    use super::*;

    #[test]
    fn table_comes_back_from_its_file() {
        let rows = json!([{"n": 1, "note": "a"}, {"n": null, "note": "ü"}]);
        let rows: Vec<_> = rows.as_array().unwrap().iter().map(|row| row.as_object().unwrap().clone()).collect();
        let table = Table::from_rows(&Rows::new(rows)).unwrap();
        let mut file = Vec::new();
        write(&table, &mut file).unwrap();
        assert!(file.starts_with(b"PAR1"));
        assert_eq!(read(&Bytes::from(file.clone())).unwrap(), table);
        file.truncate(file.len() - 9);
        assert!(read(&Bytes::from(file)).is_err());
        assert!(read(&Bytes::from_static(b"PAR1")).is_err());
    }
}
