//! Arrow tables through the codec: every type, both formats, compression, and rows both ways.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::as_conversions, reason = "test code")]

mod table_support;

use std::sync::Arc;

use arrow_array::types::Int8Type;
use arrow_array::{Array, BooleanArray, DictionaryArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow_ipc::CompressionType;
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use natsbridge_core::{Part, PayloadType, Rows, Source, Table, TableLimits, Value};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use table_support::{batch, columns, file, one_column, sample, samples, stream};

fn read(bytes: &Bytes) -> Table {
    Table::from_ipc(bytes, &TableLimits::default()).unwrap()
}

fn rows(json: Json) -> Rows {
    serde_json::from_value::<Vec<serde_json::Map<String, Json>>>(json).unwrap().into()
}

#[test]
fn types_all_come_back_as_they_were() {
    for length in [0, 1, 2, 9, 100] {
        for (name, array) in columns(length, 7) {
            let table = one_column(name, &array);
            assert_eq!(read(&table.to_ipc().unwrap()), table, "{name}, {length} rows");
        }
    }
}

#[test]
fn types_all_come_back_from_slices() {
    for (name, array) in columns(20, 3) {
        for (offset, length) in [(0, 5), (1, 8), (7, 13), (20, 0)] {
            let table = one_column(name, &array.slice(offset, length));
            let back = read(&table.to_ipc().unwrap());
            assert_eq!(back.to_rows().unwrap(), table.to_rows().unwrap(), "{name} from {offset}");
            assert_eq!(back.schema(), table.schema());
        }
    }
}

#[test]
fn files_and_compressed_bodies_hold_the_same_table() {
    let batch = batch(columns(50, 11));
    let table = Table::from(batch.clone());
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        assert_eq!(read(&stream(&batch, compression)), table, "stream, {compression:?}");
        assert_eq!(read(&file(&batch, compression)), table, "file, {compression:?}");
    }
}

#[test]
fn batches_stay_apart_and_dictionaries_may_change_between() {
    let words = |words: Vec<&str>| -> RecordBatch {
        batch(vec![("w", Arc::new(words.into_iter().collect::<DictionaryArray<Int8Type>>()))])
    };
    let batches = vec![words(vec!["a", "b", "a"]), words(vec![]), words(vec!["z", "b"])];
    let table = Table::new(batches[0].schema(), batches).unwrap();
    let back = read(&table.to_ipc().unwrap());
    assert_eq!(back, table);
    assert_eq!((back.batches().len(), back.num_rows(), back.num_columns()), (3, 5, 1));
}

#[test]
fn table_of_no_batches_keeps_its_schema() {
    let schema = Arc::new(
        Schema::new(vec![Field::new("n", DataType::Int64, false)]).with_metadata([("k".to_owned(), "v".to_owned())]),
    );
    let table = Table::new(schema, vec![]).unwrap();
    assert_eq!(read(&table.to_ipc().unwrap()), table);
}

#[test]
fn rows_without_columns_are_counted() {
    let options = RecordBatchOptions::new().with_row_count(Some(3));
    let table = Table::from(RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap());
    assert_eq!(read(&table.to_ipc().unwrap()).num_rows(), 3);
}

#[test]
fn batch_of_another_schema_is_refused() {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, true)]));
    let error = Table::new(schema, vec![batch(vec![("n", Arc::new(Int64Array::from(vec![1])))])]).unwrap_err();
    assert!(error.to_string().contains("batch 0"), "{error}");
}

#[test]
fn columns_are_slices_of_the_input() {
    let sent = Table::from(batch(vec![("n", Arc::new(Int64Array::from_iter_values(0..1000)))])).to_ipc().unwrap();
    let back = read(&sent);
    let values = back.batches()[0].column(0).to_data().buffers()[0].as_ptr();
    assert!(sent.as_ptr_range().contains(&values));
}

#[test]
fn large_table_is_sent_in_pieces_without_copying_columns() {
    let numbers = Int64Array::from_iter_values(0..100_000);
    let flags = BooleanArray::from_iter((0..100_000).map(|n| Some(n % 3 == 0)));
    let own = [numbers.values().as_ptr().cast::<u8>(), numbers.slice(50_000, 50_000).values().as_ptr().cast()];
    let whole = batch(vec![("n", Arc::new(numbers)), ("f", Arc::new(flags))]);
    let table = Table::new(whole.schema(), vec![whole.slice(0, 50_000), whole.slice(50_000, 50_000)]).unwrap();
    let part = Part::new("t", PayloadType::ArrowTable, table.clone()).unwrap();
    let Source::Pieces(pieces) = part.source() else { panic!("in pieces") };
    assert!(pieces.iter().all(|piece| !piece.is_empty()) && pieces.len() <= 5);
    assert!(own.iter().all(|column| pieces.iter().any(|piece| piece.as_ptr() == *column)));
    let stream = table.to_ipc().unwrap();
    assert_eq!(pieces.concat(), stream);
    assert_eq!((part.size(), part.bytes()), (stream.len() as u64, None));
    assert_eq!(part.into_value().unwrap(), Value::from(table));

    let small = Table::from(whole.slice(0, 50_000));
    assert_eq!(small.to_source().unwrap(), Source::Bytes(small.to_ipc().unwrap()));
    let crumbs = Table::new(whole.schema(), (0..5_000).map(|n| whole.slice(n * 20, 20)).collect()).unwrap();
    let Source::Pieces(pieces) = crumbs.to_source().unwrap() else { panic!("in pieces") };
    assert!(pieces.len() <= 50, "{} pieces: short ones are together", pieces.len());
    assert_eq!(pieces.concat(), crumbs.to_ipc().unwrap());
}

#[test]
fn input_at_any_address_is_read() {
    let table = Table::from(batch(columns(10, 5)));
    let sent = table.to_ipc().unwrap();
    for shift in 0..9 {
        let mut shifted = vec![0; shift];
        shifted.extend_from_slice(&sent);
        assert_eq!(read(&Bytes::from(shifted).slice(shift..)), table, "shifted by {shift}");
    }
}

#[test]
fn pyarrow_output_is_read() {
    for (name, bytes) in samples() {
        let table = Table::from_ipc(&bytes, &TableLimits::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read(&table.to_ipc().unwrap()), table, "{name}");
        table.to_rows().unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for name in ["flat", "nested"] {
        let plain = read(&sample(&format!("{name}.arrows")));
        let one = |sample: Bytes| read(&sample).batches()[0].clone();
        assert_eq!(one(sample(&format!("{name}.arrow"))), plain.batches()[0]);
        assert_eq!(one(sample(&format!("{name}-zstd.arrows"))), plain.batches()[0]);
        assert_eq!(one(sample(&format!("{name}-lz4.arrow"))), plain.batches()[0]);
    }
}

#[test]
fn dictionaries_extended_or_replaced_in_a_stream_are_followed() {
    let words = |name: &str| {
        read(&sample(name)).to_rows().unwrap().into_vec().into_iter().map(|row| row["d"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(words("deltas.arrows"), ["a", "b", "c", "a"]);
    assert_eq!(words("replaced.arrows"), ["a", "b", "z"]);
}

#[test]
fn flat_values_become_json() {
    let rows = read(&sample("flat.arrows")).to_rows().unwrap();
    assert_eq!(rows.len(), 4);
    let expected = json!({
        "null": null, "bool": true, "int8": 1, "int16": 1, "int32": 1, "int64": 1, "uint8": 1, "uint16": 1, "uint32": 1, "uint64": 1,
        "half": 1.5, "float": 1.5, "double": 1e300, "decimal32": "12.50", "decimal64": "12.50", "decimal128": "12.50",
        "decimal256": "12.50", "date32": "2026-05-13", "date64": "2026-05-13", "time32s": "00:00:01", "time64us": "00:00:00.000001",
        "timestamp": "2026-05-13T08:15:30.123", "timestamp_tz": "2026-05-13T08:15:30.123Z", "duration": "PT1.5S",
        "interval": "P1M2DT0.000000003S", "string": "a", "large_string": "a", "string_view": "short", "binary": "00ff",
        "large_binary": "00ff", "binary_view": "00ff", "fixed": "616263"
    });
    assert_eq!(Json::Object(rows.as_slice()[0].clone()), expected);
    assert!(rows.as_slice()[1].values().all(Json::is_null), "{:?}", rows.as_slice()[1]);
    let last = &rows.as_slice()[2];
    assert_eq!((&last["float"], &last["double"]), (&Json::Null, &Json::Null), "NaN and infinity have no JSON");
    assert_eq!((&last["decimal256"], &last["duration"]), (&json!("-0.01"), &json!("PT-0.001S")));
    assert_eq!(last["string"], "Grüße 🌍");
}

#[test]
fn nested_values_become_json() {
    let rows = read(&sample("nested.arrows")).to_rows().unwrap();
    let expected = json!([
        { "list": [1, null], "large_list": ["a"], "fixed_list": [1, 2], "list_view": [1, 2], "large_list_view": [1, 2],
          "struct": {"x": 1, "y": "a"}, "map": {"k": 1}, "map_int": [{"key": 1, "value": "x"}], "dense_union": 1, "sparse_union": 1,
          "dictionary": "r", "dictionary_list": ["p", "q"], "runs": "u", "deep": [[{"l": [1]}]] },
        { "list": null, "large_list": null, "fixed_list": null, "list_view": null, "large_list_view": null, "struct": null,
          "map": null, "map_int": null, "dense_union": "x", "sparse_union": "y", "dictionary": null, "dictionary_list": [],
          "runs": "u", "deep": null },
        { "list": [], "large_list": ["b", null], "fixed_list": [3, 4], "list_view": [3], "large_list_view": [3],
          "struct": {"x": null, "y": "c"}, "map": {"a": 2, "b": null}, "map_int": [], "dense_union": 2, "sparse_union": 3,
          "dictionary": "g", "dictionary_list": ["p"], "runs": null, "deep": [] },
    ]);
    assert_eq!(serde_json::to_value(&rows.as_slice()[..3]).unwrap(), expected);
}

#[test]
fn integers_of_64_bits_survive_both_ways() {
    let given = rows(json!([{"i": i64::MIN, "u": u64::MAX}, {"i": i64::MAX, "u": 0}]));
    assert_eq!(Table::from_rows(&given).unwrap().to_rows().unwrap(), given);
}

#[test]
fn rows_come_back_with_missing_values_as_null() {
    let given = rows(json!([
        {"b": true, "f": 1.5, "t": "x", "l": [1, null, 3], "s": {"p": 1, "q": ["y"]}},
        {"f": 2, "late": null, "l": [], "s": null, "empty": {}},
    ]));
    let table = Table::from_rows(&given).unwrap();
    assert_eq!(
        table.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["b", "f", "t", "l", "s", "late", "empty"]
    );
    let expected = rows(json!([
        {"b": true, "f": 1.5, "t": "x", "l": [1, null, 3], "s": {"p": 1, "q": ["y"]}, "late": null, "empty": null},
        {"b": null, "f": 2.0, "t": null, "l": [], "s": null, "late": null, "empty": {}},
    ]));
    assert_eq!(table.to_rows().unwrap(), expected);
    assert_eq!(read(&table.to_ipc().unwrap()), table);
}

#[test]
fn table_of_no_rows_has_no_columns() {
    let table = Table::from_rows(&rows(json!([]))).unwrap();
    assert_eq!((table.num_rows(), table.num_columns()), (0, 0));
    assert_eq!(Table::from_rows(&rows(json!([{}, {}]))).unwrap().num_rows(), 2);
}

#[test]
fn mixed_columns_are_refused_by_name() {
    for (given, column, reason) in [
        (json!([{"a": 1}, {"a": "1"}]), "a", "numbers and text"),
        (json!([{"a": {"b": [1, true]}}]), "a.b[]", "numbers and booleans"),
        (json!([{"a": -1}, {"a": u64::MAX}]), "a", "above 2^63"),
        (json!([{"a": 0.5}, {"a": 9_007_199_254_740_993_i64}]), "a", "above 2^53"),
    ] {
        let error = Table::from_rows(&rows(given)).unwrap_err();
        assert_eq!(error.column(), Some(column), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn rows_with_ever_new_keys_do_not_grow_with_their_square() {
    let many: Vec<_> = (0..20_000).map(|row| [(format!("k{row}"), json!(row))].into_iter().collect()).collect();
    assert_eq!(Table::from_rows(&Rows::new(many)).unwrap_err().code(), "too_large");
}

#[test]
fn long_text_named_in_every_row_does_not_fill_memory() {
    let long = StringArray::from(vec!["x".repeat(1 << 20)]);
    let column = DictionaryArray::<Int8Type>::new(vec![0_i8; 5000].into(), Arc::new(long));
    let error = Table::from(batch(vec![("d", Arc::new(column))])).to_rows().unwrap_err();
    assert_eq!(error.code(), "too_large");
}

#[test]
fn columns_of_one_name_have_no_rows() {
    let twice = Table::from(batch(vec![("n", table_support::int64(vec![])), ("n", table_support::int64(vec![]))]));
    assert_eq!(twice.to_rows().unwrap_err().column(), Some("n"));
}

fn json_value() -> impl Strategy<Value = Json> {
    prop_oneof![Just(Json::Null), any::<i64>().prop_map(Json::from)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn batches_of_any_values_and_cuts_come_back(rows in 0_usize..40, seed: u64, cuts in proptest::collection::vec(0_usize..70, 0..4)) {
        let whole = batch(columns(rows, seed));
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(rows)).chain([0, rows]).collect();
        cuts.sort_unstable();
        let batches = cuts.windows(2).map(|cut| whole.slice(cut[0], cut[1] - cut[0])).collect();
        let table = Table::new(whole.schema(), batches).unwrap();
        let back = read(&table.to_ipc().unwrap());
        prop_assert_eq!(back.batches().len(), table.batches().len());
        prop_assert_eq!(back.to_rows().unwrap(), table.to_rows().unwrap());
    }

    #[test]
    fn integer_rows_of_any_shape_come_back(values in proptest::collection::vec((json_value(), json_value()), 1..50)) {
        let given: Vec<_> = values.into_iter().map(|(a, b)| [("a".to_owned(), a), ("b".to_owned(), json!({"c": [b]}))].into_iter().collect()).collect();
        let given = Rows::new(given);
        prop_assert_eq!(Table::from_rows(&given).unwrap().to_rows().unwrap(), given);
    }
}
