//! Received values as JSON text: what a table's rows say, what JSON can't show, and that a few bytes cost no memory.
#![allow(clippy::unwrap_used, clippy::as_conversions, reason = "test code")]

#[path = "table_support/measured.rs"]
mod measured;
mod table_support;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use arrow_array::builder::{Int32Builder, MapBuilder, StringBuilder};
use arrow_array::types::{Int8Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, Date32Array, DictionaryArray, FixedSizeBinaryArray, Int32Array, ListViewArray, NullArray,
    RecordBatch, RecordBatchOptions, RunArray, StringArray, StructArray, Time32SecondArray, TimestampSecondArray,
};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use measured::{peak, turn};
use natsbridge_core::{CodecError, JsonView, Part, PayloadType, Table, TableLimits};
use serde_json::{Value as Json, json};
use table_support::{batch, columns, int64};

const LIMIT: u64 = 64 << 20;

fn text(view: &JsonView) -> String {
    let mut out = Vec::new();
    view.write_to(&mut out).unwrap();
    assert_eq!(out.len() as u64, view.len());
    String::from_utf8(out).unwrap()
}

fn rows(table: &Table) -> (Json, Vec<CodecError>) {
    let view = table.json_view(LIMIT).unwrap();
    (serde_json::from_str(&text(&view)).unwrap(), view.problems().to_vec())
}

fn part(payload_type: PayloadType, bytes: impl Into<Bytes>) -> Part {
    Part::from_source("p", payload_type, bytes.into())
}

fn column(array: ArrayRef) -> Table {
    Table::from(batch(vec![("c", array)]))
}

/// Writes away; the writer that a slow terminal is not
fn write_away(view: &JsonView) {
    view.write_to(&mut io::sink()).unwrap();
}

#[test]
fn rows_as_text_are_the_rows_as_values() {
    for (name, array) in columns(40, 7) {
        let table = Table::from(batch(vec![(name, array.clone()), ("again \u{1b}", array)]));
        let (shown, problems) = rows(&table);
        assert_eq!(shown, Json::from(table.to_rows().unwrap().into_vec()), "{name}");
        assert_eq!(problems, [], "{name}");
    }
    assert_eq!(text(&Table::new(Arc::new(Schema::empty()), vec![]).unwrap().json_view(LIMIT).unwrap()), "[]");
}

#[test]
fn dates_and_moments_far_away_have_a_text() {
    let table = Table::from(batch(vec![
        ("day", Arc::new(Date32Array::from(vec![i32::MAX, -719_529, 2_932_897])) as ArrayRef),
        ("when", Arc::new(TimestampSecondArray::from(vec![i64::MAX, -62_167_219_201, 0]).with_timezone("UTC"))),
    ]));
    let expected = json!([
        { "day": "+5881580-07-11", "when": "+292277026596-12-04T15:30:07Z" },
        { "day": "-000001-12-31", "when": "-000001-12-31T23:59:59Z" },
        { "day": "+010000-01-01", "when": "1970-01-01T00:00:00Z" },
    ]);
    assert_eq!(rows(&table), (expected.clone(), vec![]));
    assert_eq!(Json::from(table.to_rows().unwrap().into_vec()), expected);
}

#[test]
fn uuid_columns_are_shown_as_uuids_and_other_bytes_as_hex() {
    let id = uuid::Uuid::from_u128(0x0012_3456_789a_4bcd_8ef0_1234_5678_9abc);
    let bytes = || Arc::new(FixedSizeBinaryArray::try_from_iter([id.as_bytes()].into_iter()).unwrap()) as ArrayRef;
    let named = |name: &str| {
        let metadata = HashMap::from([("ARROW:extension:name".to_owned(), name.to_owned())]);
        Field::new("id", DataType::FixedSizeBinary(16), true).with_metadata(metadata)
    };
    let of = |field: Field| {
        let list = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![bytes()]).unwrap();
        let table = Table::from_ipc(&Table::from(list).to_ipc().unwrap(), &TableLimits::default()).unwrap();
        rows(&table).0[0]["id"].clone()
    };
    assert_eq!(of(named("arrow.uuid")), "00123456-789a-4bcd-8ef0-123456789abc");
    assert_eq!(of(named("other")), "00123456789a4bcd8ef0123456789abc");
    // Within a struct and a list the extension is its field's too.
    let inner = Arc::new(named("arrow.uuid"));
    let nested = StructArray::new(vec![Arc::clone(&inner)].into(), vec![bytes()], None);
    assert_eq!(rows(&column(Arc::new(nested))).0, json!([{ "c": { "id": "00123456-789a-4bcd-8ef0-123456789abc" } }]));
}

#[test]
fn invalid_times_are_null_and_named() {
    let table = Table::from(batch(vec![
        ("t", Arc::new(Time32SecondArray::from(vec![86_400, 86_401, -1])) as ArrayRef),
        ("n", int64(vec![Some(1), Some(2), Some(3)])),
    ]));
    let (shown, problems) = rows(&table);
    assert_eq!(shown, json!([{ "t": "24:00:00", "n": 1 }, { "t": null, "n": 2 }, { "t": null, "n": 3 }]));
    let [problem] = &*problems else { panic!("{problems:?}") };
    assert_eq!(problem.to_string(), "column `t` can't be converted: row 1 is no time of a day");
    assert_eq!(table.to_rows().unwrap_err(), problems[0]);
}

fn maps(keys: &[&[Option<&str>]]) -> ArrayRef {
    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for keys in keys {
        for (value, key) in keys.iter().enumerate() {
            maps.keys().append_value(key.unwrap_or_default());
            maps.values().append_value(value as i32);
        }
        maps.append(true).unwrap();
    }
    Arc::new(maps.finish())
}

#[test]
fn columns_of_one_name_are_shown_or_reported() {
    let fields =
        || vec![Arc::new(Field::new("a", DataType::Int32, true)), Arc::new(Field::new("a", DataType::Int32, true))];
    let twice = |n: i32| Arc::new(Int32Array::from(vec![n])) as ArrayRef;
    let fields = StructArray::new(fields().into(), vec![twice(1), twice(2)], None);
    let list = arrow_array::ListArray::new(
        Arc::new(Field::new_list_field(fields.data_type().clone(), true)),
        arrow_buffer::OffsetBuffer::from_lengths([1]),
        Arc::new(fields.clone()),
        None,
    );
    for (array, shown) in [
        (Arc::new(fields) as ArrayRef, json!([{ "c": null }])),
        (Arc::new(list), json!([{ "c": [null] }])),
        (maps(&[&[Some("k"), Some("l"), Some("k")]]), json!([{ "c": null }])),
    ] {
        let table = column(array);
        let (found, problems) = rows(&table);
        assert_eq!(found, shown);
        assert!(matches!(&*problems, [problem] if problem.column() == Some("c")), "{problems:?}");
        assert_eq!(table.to_rows().unwrap_err(), problems[0]);
        assert_eq!(problems[0].code(), "unconvertible");
    }
    let fine = column(maps(&[&[Some("k"), Some("l")], &[Some("k")], &[]]));
    assert_eq!(rows(&fine), (json!([{ "c": { "k": 0, "l": 1 } }, { "c": { "k": 0 } }, { "c": {} }]), vec![]));

    let twice = Table::from(batch(vec![("n", int64(vec![Some(1)])), ("n", int64(vec![Some(2)]))]));
    let (found, problems) = rows(&twice);
    assert_eq!(found, Json::Null);
    assert!(matches!(&*problems, [problem] if problem.column() == Some("n")));
}

#[test]
fn keys_of_strangers_command_no_terminal() {
    let table = Table::from(batch(vec![("a\u{1b}\u{202e}\u{9b}", int64(vec![Some(1)]))]));
    let view = table.json_view(LIMIT).unwrap();
    assert_eq!(text(&view), r#"[{"a\u001b\u202e\u009b":1}]"#);
    let view = part(PayloadType::Text, "\u{2066}\u{7f}\n\"é").json_view(LIMIT).unwrap();
    assert_eq!(text(&view), r#""\u2066\u007f\n\"é""#);
    let times = Arc::new(Time32SecondArray::from(vec![-1])) as ArrayRef;
    let error = Table::from(batch(vec![("\u{1b}]0;", times)])).to_rows().unwrap_err();
    assert!(error.to_string().starts_with("column `\\u{1b}]0;` can't be converted: "), "{error}");
}

#[test]
fn json_goes_out_as_it_came_in() {
    let json = "{ \"n\": [1.50, 1E2,\n 0.12345678901234567890123],\"s\":\"\\u00e9\" }";
    let view = part(PayloadType::Dictionary, json).json_view(LIMIT).unwrap();
    assert_eq!(text(&view), r#"{"n":[1.50,1E2,0.12345678901234567890123],"s":"\u00e9"}"#);
    for (payload_type, bytes) in [
        (PayloadType::Dictionary, "[1,"),
        (PayloadType::Dictionary, "\"\\ud800\""),
        (PayloadType::Dictionary, "123456789012345678901"),
        (PayloadType::JsonTable, "[{},1]"),
        (PayloadType::JsonTable, "{}"),
        (PayloadType::JsonTable, "[{\"a\":1e999}]"),
        (PayloadType::ArrowTable, "[]"),
    ] {
        let part = part(payload_type, bytes);
        assert_eq!(part.json_view(LIMIT).unwrap_err(), part.value().unwrap_err(), "{bytes}");
    }
    assert!(part(PayloadType::Text, vec![0xff]).json_view(LIMIT).is_err());
    assert_eq!(text(&part(PayloadType::Binary, vec![0xff]).json_view(LIMIT).unwrap()), "null");
}

#[test]
fn text_beyond_the_limit_is_not_shown() {
    for (payload_type, bytes) in [(PayloadType::Text, "abcdef"), (PayloadType::Dictionary, "\"abcdef\"")] {
        let part = part(payload_type, bytes);
        assert_eq!(text(&part.json_view(8).unwrap()), "\"abcdef\"");
        let view = part.json_view(7).unwrap();
        assert_eq!(text(&view), "null");
        let [problem] = view.problems() else { panic!("{:?}", view.problems()) };
        assert_eq!(problem.code(), "too_large");
    }
}

/// Small messages that stand for much: what each becomes as JSON, and what they take, is bounded
fn small_messages() -> Vec<(&'static str, PayloadType, Bytes)> {
    let ipc = |batch: RecordBatch| Table::from(batch).to_ipc().unwrap();
    let nulls = batch(vec![("n", Arc::new(NullArray::new(4_000_000)) as ArrayRef)]);
    let none = RecordBatchOptions::new().with_row_count(Some(16_000_000));
    let none = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &none).unwrap();
    let long = Arc::new(StringArray::from(vec!["x".repeat(300_000)]));
    let repeated = DictionaryArray::<Int8Type>::new(vec![0_i8; 10_000].into(), Arc::clone(&long) as ArrayRef);
    let ends = Int32Array::from(vec![16_000_000]);
    let runs = RunArray::<Int32Type>::try_new(&ends, &StringArray::from(vec!["again"])).unwrap();
    let item = Arc::new(Field::new_list_field(DataType::Utf8, true));
    let (offsets, sizes) = (ScalarBuffer::from(vec![0; 20_000]), ScalarBuffer::from(vec![1; 20_000]));
    let views = ListViewArray::new(item, offsets, sizes, long, None);
    let mut nested: ArrayRef = Arc::new(NullArray::new(1_000));
    for _ in 0..4 {
        let item = Arc::new(Field::new_list_field(nested.data_type().clone(), true));
        let (offsets, sizes) = (ScalarBuffer::from(vec![0; 1_000]), ScalarBuffer::from(vec![1_000; 1_000]));
        nested = Arc::new(ListViewArray::new(item, offsets, sizes, nested, None));
    }
    let mut text = arrow_array::builder::StringViewBuilder::new();
    let block = text.append_block(Buffer::from(vec![b'y'; 200_000]));
    for _ in 0..20_000 {
        text.try_append_view(block, 0, 200_000).unwrap();
    }
    let deep = |open: &str, close: &str, levels: usize, times: usize| {
        let one = format!("{}{}", open.repeat(levels), close.repeat(levels));
        Bytes::from(format!("[{}]", vec![one; times].join(",")))
    };
    let column = |array: ArrayRef| ipc(batch(vec![("c", array)]));
    vec![
        ("nulls", PayloadType::ArrowTable, ipc(nulls)),
        ("rows without columns", PayloadType::ArrowTable, ipc(none)),
        ("a long text in a dictionary", PayloadType::ArrowTable, column(Arc::new(repeated))),
        ("a run", PayloadType::ArrowTable, column(Arc::new(runs))),
        ("views of one long text", PayloadType::ArrowTable, column(Arc::new(views))),
        ("views of views", PayloadType::ArrowTable, column(nested)),
        ("views of text", PayloadType::ArrowTable, column(Arc::new(text.finish()))),
        ("nested lists", PayloadType::Dictionary, deep("[", "]", 126, 3_900)),
        ("many rows", PayloadType::JsonTable, deep("{\"\":[0]", "}", 1, 100_000)),
    ]
}

#[test]
fn small_messages_cost_little_memory_to_show() {
    let _turn = turn();
    for (name, payload_type, bytes) in small_messages() {
        assert!(bytes.len() < 1_000_000, "{name}: {}", bytes.len());
        let part = part(payload_type, bytes.clone());
        let ((), peak) = peak(|| match part.json_view(4 << 20) {
            Ok(view) => write_away(&view),
            Err(error) => panic!("{name}: {error}"),
        });
        // What reading it may take, and a little for writing.
        assert!(peak <= 4 * bytes.len() as u64 + (1 << 20), "{name}: {peak} bytes for a message of {}", bytes.len());
    }
}

#[test]
fn small_messages_become_rows_in_bounded_memory_or_are_refused() {
    let _turn = turn();
    for (name, _, bytes) in small_messages().into_iter().filter(|(_, kind, _)| *kind == PayloadType::ArrowTable) {
        let table = Table::from_ipc(&bytes, &TableLimits::default()).unwrap();
        let (rows, peak) = peak(|| table.to_rows().map(drop));
        let bound = (64 << 20).max(256 * bytes.len() as u64);
        assert!(peak <= bound + (bound / 2), "{name}: {peak} bytes for a message of {}", bytes.len());
        assert_eq!(rows.unwrap_err().code(), "too_large", "{name}");
    }
}
