//! Tables of every Arrow type, and the samples in `testdata/arrow`, for the tests of the table codec.
#![allow(dead_code, reason = "each test binary uses its own share")]
#![allow(clippy::disallowed_methods, reason = "samples are files")]

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::builder::{Int32Builder, ListBuilder, MapBuilder, StringBuilder};
use arrow_array::types::{
    Decimal32Type, Decimal64Type, Decimal128Type, Float16Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalDayTimeType, IntervalMonthDayNanoType, IntervalYearMonthType, UInt16Type,
};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Date64Array,
    Decimal256Array, DictionaryArray, DurationNanosecondArray, DurationSecondArray, FixedSizeBinaryArray,
    FixedSizeListArray, Float32Array, Float64Array, Int32Array, Int64Array, LargeBinaryArray, LargeListArray,
    LargeListViewArray, LargeStringArray, ListArray, ListViewArray, NullArray, PrimitiveArray, RecordBatch, RunArray,
    StringArray, StringViewArray, StructArray, Time32SecondArray, Time64NanosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, UInt8Array, UInt64Array, UnionArray,
};
use arrow_buffer::{IntervalDayTime, IntervalMonthDayNano, NullBuffer, OffsetBuffer, i256};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field, UnionFields};
use bytes::Bytes;
use natsbridge_core::Table;

/// One column of each type, every third row null, values from `seed`
pub(crate) fn columns(rows: usize, seed: u64) -> Vec<(&'static str, ArrayRef)> {
    let number = |row: usize| (seed.wrapping_add(row as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let some = |row: usize| (row % 3 != 1).then(|| number(row));
    let texts: Vec<Option<String>> = (0..rows).map(|row| some(row).map(|n| "é".repeat((n >> 59) as usize))).collect();
    let bytes: Vec<Option<Vec<u8>>> =
        texts.iter().map(|text| text.as_ref().map(|text| text.as_bytes().to_vec())).collect();
    let slices = || bytes.iter().map(Option::as_deref);
    let nulls = || NullBuffer::from((0..rows).map(|row| row % 3 != 1).collect::<Vec<_>>());
    fn ints<T: ArrowPrimitiveType>(rows: usize, value: impl Fn(usize) -> Option<T::Native>) -> ArrayRef {
        Arc::new((0..rows).map(value).collect::<PrimitiveArray<T>>())
    }
    let int64 = |rows: usize| ints::<Int64Type>(rows, |row| some(row).map(|n| n as i64));
    let item = || Arc::new(Field::new_list_field(DataType::Int64, true));
    let twos = |rows: usize| OffsetBuffer::from_lengths(std::iter::repeat_n(2, rows));
    let wide_twos = OffsetBuffer::<i64>::from_lengths(std::iter::repeat_n(2, rows));

    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    let mut lists = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
    for (row, text) in texts.iter().enumerate() {
        if some(row).is_some() {
            maps.keys().append_value("k");
            maps.values().append_option((row % 2 == 0).then_some(row as i32));
            lists.values().values().append_option(text.as_deref());
            lists.values().append(true);
            lists.values().append(false);
        }
        maps.append(some(row).is_some()).unwrap();
        lists.append(some(row).is_some());
    }
    let union_fields = || {
        UnionFields::try_new([3, 5], [Field::new("i", DataType::Int64, true), Field::new("s", DataType::Utf8, true)])
            .unwrap()
    };
    let type_ids = || (0..rows).map(|row| if row % 2 == 0 { 3_i8 } else { 5 }).collect::<Vec<_>>();
    let strings: ArrayRef = Arc::new(StringArray::from(texts.clone()));
    let struct_fields = vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)];
    let run_count = rows.div_ceil(2);
    let run_ends = Int32Array::from_iter_values((0..run_count).map(|run| ((run + 1) * 2).min(rows) as i32));

    vec![
        ("null", Arc::new(NullArray::new(rows))),
        ("bool", Arc::new((0..rows).map(|row| some(row).map(|n| n % 2 == 0)).collect::<BooleanArray>())),
        ("int8", ints::<Int8Type>(rows, |row| some(row).map(|n| n as i8))),
        ("int16", ints::<Int16Type>(rows, |row| some(row).map(|n| n as i16))),
        ("int32", ints::<Int32Type>(rows, |row| some(row).map(|n| n as i32))),
        ("int64", int64(rows)),
        ("uint8", Arc::new((0..rows).map(|row| some(row).map(|n| n as u8)).collect::<UInt8Array>())),
        ("uint16", ints::<UInt16Type>(rows, |row| some(row).map(|n| n as u16))),
        ("uint64", Arc::new((0..rows).map(some).collect::<UInt64Array>())),
        ("half", ints::<Float16Type>(rows, |row| some(row).map(half))),
        ("float", Arc::new((0..rows).map(|row| some(row).map(|n| n as f32)).collect::<Float32Array>())),
        ("double", Arc::new((0..rows).map(|row| some(row).map(|n| n as f64)).collect::<Float64Array>())),
        ("decimal32", ints::<Decimal32Type>(rows, |row| some(row).map(|n| (n % 1000) as i32))),
        ("decimal64", ints::<Decimal64Type>(rows, |row| some(row).map(|n| (n % 1000) as i64))),
        ("decimal128", ints::<Decimal128Type>(rows, |row| some(row).map(i128::from))),
        (
            "decimal256",
            Arc::new((0..rows).map(|row| some(row).map(|n| i256::from_i128(n.into()))).collect::<Decimal256Array>()),
        ),
        ("date32", Arc::new((0..rows).map(|row| some(row).map(|n| (n % 40_000) as i32)).collect::<Date32Array>())),
        (
            "date64",
            Arc::new((0..rows).map(|row| some(row).map(|n| (n % 40_000) as i64 * 86_400_000)).collect::<Date64Array>()),
        ),
        (
            "time32",
            Arc::new((0..rows).map(|row| some(row).map(|n| (n % 86_400) as i32)).collect::<Time32SecondArray>()),
        ),
        (
            "time64",
            Arc::new((0..rows).map(|row| some(row).map(|n| (n % 86_400) as i64)).collect::<Time64NanosecondArray>()),
        ),
        (
            "timestamp",
            Arc::new((0..rows).map(|row| some(row).map(|n| (n >> 24) as i64)).collect::<TimestampMillisecondArray>()),
        ),
        (
            "timestamp_tz",
            Arc::new(
                (0..rows)
                    .map(|row| some(row).map(|n| n as i64))
                    .collect::<TimestampNanosecondArray>()
                    .with_timezone("Europe/Berlin"),
            ),
        ),
        ("duration_s", Arc::new((0..rows).map(|row| some(row).map(|n| n as i64)).collect::<DurationSecondArray>())),
        (
            "duration_ns",
            Arc::new((0..rows).map(|row| some(row).map(|n| n as i64)).collect::<DurationNanosecondArray>()),
        ),
        ("months", ints::<IntervalYearMonthType>(rows, |row| some(row).map(|n| n as i32))),
        ("day_time", ints::<IntervalDayTimeType>(rows, |row| some(row).map(|n| IntervalDayTime::new(n as i32, 7)))),
        (
            "month_day_nano",
            ints::<IntervalMonthDayNanoType>(rows, |row| {
                some(row).map(|n| IntervalMonthDayNano::new(n as i32, 2, n as i64))
            }),
        ),
        ("text", Arc::clone(&strings)),
        ("large_text", Arc::new(LargeStringArray::from(texts.clone()))),
        ("text_view", Arc::new(texts.iter().map(Option::as_deref).collect::<StringViewArray>())),
        ("binary", Arc::new(slices().collect::<BinaryArray>())),
        ("large_binary", Arc::new(slices().collect::<LargeBinaryArray>())),
        ("binary_view", Arc::new(slices().collect::<BinaryViewArray>())),
        (
            "fixed_binary",
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                    (0..rows).map(|row| some(row).map(|n| n.to_le_bytes())),
                    8,
                )
                .unwrap(),
            ),
        ),
        ("list", Arc::new(ListArray::new(item(), twos(rows), int64(rows * 2), Some(nulls())))),
        ("large_list", Arc::new(LargeListArray::new(item(), wide_twos, int64(rows * 2), Some(nulls())))),
        ("nested_list", Arc::new(lists.finish())),
        (
            "list_view",
            Arc::new(ListViewArray::new(
                item(),
                (0..rows as i32).rev().collect(),
                vec![1; rows].into(),
                int64(rows),
                Some(nulls()),
            )),
        ),
        (
            "large_list_view",
            Arc::new(LargeListViewArray::new(
                item(),
                (0..rows as i64).collect(),
                vec![1; rows].into(),
                int64(rows),
                None,
            )),
        ),
        ("fixed_list", Arc::new(FixedSizeListArray::new(item(), 3, int64(rows * 3), Some(nulls())))),
        (
            "struct",
            Arc::new(StructArray::new(struct_fields.into(), vec![int64(rows), Arc::clone(&strings)], Some(nulls()))),
        ),
        ("map", Arc::new(maps.finish())),
        (
            "dense_union",
            Arc::new(
                UnionArray::try_new(
                    union_fields(),
                    type_ids().into(),
                    Some((0..rows as i32).map(|row| row / 2).collect()),
                    vec![int64(rows.div_ceil(2)), strings.slice(0, rows / 2)],
                )
                .unwrap(),
            ),
        ),
        (
            "sparse_union",
            Arc::new(
                UnionArray::try_new(union_fields(), type_ids().into(), None, vec![int64(rows), Arc::clone(&strings)])
                    .unwrap(),
            ),
        ),
        ("dictionary", Arc::new(texts.iter().map(Option::as_deref).collect::<DictionaryArray<Int8Type>>())),
        (
            "dictionary_list",
            Arc::new(ListArray::new(
                Arc::new(Field::new_list_field(
                    DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into()),
                    true,
                )),
                OffsetBuffer::from_lengths(std::iter::repeat_n(1, rows)),
                Arc::new(texts.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>()),
                None,
            )),
        ),
        ("runs", Arc::new(RunArray::try_new(&run_ends, &strings.slice(0, run_count)).unwrap())),
    ]
}

fn half(n: u64) -> <Float16Type as ArrowPrimitiveType>::Native {
    <Float16Type as ArrowPrimitiveType>::Native::from_f32((n % 1000) as f32 / 8.0)
}

/// A batch of these columns
pub(crate) fn batch(columns: Vec<(&'static str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

/// A stream of this batch, with bodies compressed so
pub(crate) fn stream(batch: &RecordBatch, compression: Option<CompressionType>) -> Bytes {
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), batch.schema_ref(), options).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap().into()
}

/// A file of this batch, with bodies compressed so
pub(crate) fn file(batch: &RecordBatch, compression: Option<CompressionType>) -> Bytes {
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer = FileWriter::try_new_with_options(Vec::new(), batch.schema_ref(), options).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap().into()
}

/// The samples that pyarrow wrote, by name
pub(crate) fn samples() -> Vec<(String, Bytes)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/arrow");
    let mut samples: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "arrow" || end == "arrows"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap().into()))
        .collect();
    samples.sort();
    assert!(samples.len() >= 10, "the samples in {} are missing", folder.display());
    samples
}

/// The sample of this name
pub(crate) fn sample(name: &str) -> Bytes {
    samples().into_iter().find(|(known, _)| known == name).unwrap().1
}

/// A table of this one column
pub(crate) fn one_column(name: &'static str, array: &ArrayRef) -> Table {
    batch(vec![(name, Arc::clone(array))]).into()
}

/// A column of integers
pub(crate) fn int64(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}
