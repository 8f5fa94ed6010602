//! Arrow tables straight into serde types: the same as by way of JSON rows, in bounded memory.
#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions, reason = "test code")]

#[path = "table_support/measured.rs"]
mod measured;
mod table_support;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::types::Int8Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, NullArray, RecordBatch, StringArray,
    StructArray, Time32SecondArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field};
use measured::{peak, turn};
use natsbridge_core::{Part, PayloadType, Rows, Table, TableLimits};
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value as Json, json};
use table_support::{batch, columns, int64, sample};

fn read(table: &Table) -> Table {
    Table::from_ipc(&table.to_ipc().unwrap(), &TableLimits::default()).unwrap()
}

fn of_json(rows: Json) -> Table {
    Table::from_rows(&Rows::new(serde_json::from_value(rows).unwrap())).unwrap()
}

fn column(array: ArrayRef) -> Table {
    Table::from(batch(vec![("c", array)]))
}

/// What a type reads from a table is what it reads from the rows as JSON, or is refused by both
fn same_as_by_json<T: DeserializeOwned + PartialEq + Debug>(table: &Table) -> Option<T> {
    let rows = Json::from(table.to_rows().unwrap().into_vec());
    match (table.deserialize::<T>(), serde_json::from_value::<T>(rows.clone())) {
        (Ok(found), Ok(expected)) => {
            assert_eq!(found, expected);
            Some(found)
        }
        (Err(error), Err(_)) if error.code() == "wrong_value" => None,
        (found, expected) => panic!("{found:?}, but {expected:?} by JSON from {rows}"),
    }
}

#[derive(Debug, PartialEq, Deserialize)]
struct Row<T> {
    c: T,
}

mod values {
    use super::*;

    #[test]
    fn types_are_read_as_json() {
        for (name, array) in columns(40, 7) {
            let table = Table::from(batch(vec![(name, array.clone()), ("again", array)]));
            assert!(same_as_by_json::<Vec<BTreeMap<String, Json>>>(&table).is_some(), "{name}");
            assert!(same_as_by_json::<Json>(&read(&table)).is_some(), "{name}");
        }
        for name in ["flat.arrows", "nested.arrows"] {
            let table = Table::from_ipc(&sample(name), &TableLimits::default()).unwrap();
            assert!(same_as_by_json::<Vec<Map<String, Json>>>(&table).is_some(), "{name}");
        }
    }

    #[test]
    fn types_are_asked_for_as_each_other() {
        fn ask<T: DeserializeOwned + PartialEq + Debug>(table: &Table) {
            same_as_by_json::<Vec<Row<T>>>(table);
            same_as_by_json::<Vec<Row<Option<T>>>>(table);
            same_as_by_json::<Vec<Row<Vec<T>>>>(table);
            same_as_by_json::<Vec<Row<(T, Option<T>)>>>(table);
            same_as_by_json::<Vec<Row<BTreeMap<String, Option<T>>>>>(table);
        }
        for (_, array) in columns(3, 5) {
            for (at, length) in [(0, 1), (1, 1), (0, 3)] {
                let table = column(array.slice(at, length));
                ask::<bool>(&table);
                ask::<i8>(&table);
                ask::<i64>(&table);
                ask::<u64>(&table);
                ask::<i128>(&table);
                ask::<f32>(&table);
                ask::<f64>(&table);
                ask::<char>(&table);
                ask::<String>(&table);
                ask::<()>(&table);
                ask::<Named>(&table);
                ask::<Kind>(&table);
            }
        }
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Named(String);

    #[derive(Debug, PartialEq, Deserialize)]
    enum Kind {
        Plain,
        One(i32),
        Two(i32, String),
        Named { on: bool },
    }

    #[test]
    fn enums_are_names_or_objects_of_one_member() {
        let table = of_json(json!([{"c": "Plain"}]));
        assert_eq!(same_as_by_json(&table), Some(vec![Row { c: Kind::Plain }]));
        for (json, expected) in [
            (json!({"One": 5}), Some(Kind::One(5))),
            (json!({"Named": {"on": true}}), Some(Kind::Named { on: true })),
            (json!({"One": 5, "Named": {"on": true}}), None),
            (json!({"Plain": null}), Some(Kind::Plain)),
        ] {
            let found = same_as_by_json(&of_json(json!([{ "c": json }])));
            assert_eq!(found, expected.map(|c| vec![Row { c }]));
        }
        let pair = StructArray::from(vec![(
            Arc::new(Field::new("0", DataType::Int32, true)),
            Arc::new(Int32Array::from(vec![1])) as ArrayRef,
        )]);
        assert_eq!(same_as_by_json::<Vec<Row<Kind>>>(&column(Arc::new(pair))), None);
        assert_eq!(Kind::Two(1, String::new()), Kind::Two(1, String::new()));
    }

    #[test]
    fn keys_are_read_as_numbers_where_asked_for() {
        let table = of_json(json!([{"1": {"-2": 3, "4": 5}}]));
        assert!(same_as_by_json::<Vec<BTreeMap<u8, BTreeMap<i64, u8>>>>(&table).is_some());
        assert_eq!(same_as_by_json::<Vec<BTreeMap<bool, Json>>>(&table), None);
    }

    #[test]
    fn columns_without_a_field_are_not_read() {
        let table = Table::from(batch(vec![
            ("t", Arc::new(Time32SecondArray::from(vec![86_401])) as ArrayRef),
            ("c", int64(vec![Some(1)])),
        ]));
        assert_eq!(table.deserialize::<Vec<Row<i64>>>().unwrap(), [Row { c: 1 }]);
        assert_eq!(table.deserialize::<Vec<IgnoredAny>>().unwrap().len(), 1);
        let error = table.deserialize::<Vec<BTreeMap<String, Json>>>().unwrap_err();
        assert_eq!(error, table.to_rows().unwrap_err());
        assert_eq!(error.column(), Some("t"));
    }

    #[test]
    fn rows_of_all_batches_are_one_sequence() {
        let whole = batch(vec![("c", int64((0..10).map(Some).collect()))]);
        let cuts = [(0, 3), (3, 0), (3, 7)].map(|(at, rows)| whole.slice(at, rows));
        let table = Table::new(whole.schema(), cuts.into()).unwrap();
        let rows = table.deserialize::<Vec<Row<i64>>>().unwrap();
        assert_eq!(rows.iter().map(|row| row.c).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        assert_eq!(table.deserialize::<[Json; 9]>().unwrap_err().code(), "wrong_value");
        let none = Table::new(whole.schema(), vec![]).unwrap();
        assert_eq!(none.deserialize::<Vec<Json>>().unwrap(), Vec::<Json>::new());
    }

    #[test]
    fn mismatch_names_the_payload() {
        let part = Part::new("readings", PayloadType::ArrowTable, column(int64(vec![None]))).unwrap();
        let error = part.deserialize::<Vec<Row<i64>>>().unwrap_err().to_string();
        assert!(error.starts_with("payload `readings`: can't be read as alloc::vec::Vec<"), "{error}");
        assert!(error.ends_with("invalid type: null, expected i64"), "{error}");
    }
}

mod conversions {
    use super::*;

    #[test]
    fn rows_of_types_become_tables() {
        let rows = [BTreeMap::from([("c", 1.5)]), BTreeMap::from([("c", f64::NAN)])];
        let part = Part::serialize("t", PayloadType::ArrowTable, &rows).unwrap();
        assert_eq!(part.deserialize::<Vec<Row<Option<f64>>>>().unwrap(), [Row { c: Some(1.5) }, Row { c: None }]);
        let error = Part::serialize("t", PayloadType::ArrowTable, &[(1, 2)]).unwrap_err();
        assert!(error.to_string().contains("row 0 is an array"), "{error}");
    }

    #[test]
    fn jsontable_of_a_table_holds_its_rows() {
        for (name, array) in columns(20, 3) {
            let table = Table::from(batch(vec![(name, array)]));
            let part = Part::new("t", PayloadType::JsonTable, table.clone()).unwrap();
            let rows = Part::new("t", PayloadType::JsonTable, table.to_rows().unwrap()).unwrap();
            assert_eq!(part, rows, "{name}");
        }
        let never = column(Arc::new(Time32SecondArray::from(vec![-1])));
        let error = Part::new("t", PayloadType::JsonTable, never.clone()).unwrap_err();
        assert!(error.to_string().contains(&never.to_rows().unwrap_err().to_string()), "{error}");
    }
}

mod bounds {
    use super::*;

    #[test]
    fn long_text_named_in_every_row_is_refused() {
        let _turn = turn();
        let long = StringArray::from(vec!["x".repeat(300_000)]);
        let repeated = DictionaryArray::<Int8Type>::new(vec![0_i8; 10_000].into(), Arc::new(long));
        let table = read(&column(Arc::new(repeated)));
        let (rows, peak) = peak(|| table.deserialize::<Vec<Row<String>>>().map(drop));
        assert_eq!(rows.unwrap_err().code(), "too_large");
        assert!(peak < 100 << 20, "{peak}");
        assert_eq!(Part::new("t", PayloadType::JsonTable, table).unwrap_err().code(), "too_large");
    }

    #[test]
    fn rows_without_bytes_are_bounded() {
        let _turn = turn();
        let table = read(&column(Arc::new(NullArray::new(16_000_000))));
        let (rows, peak) = peak(|| table.deserialize::<Vec<Row<Option<u8>>>>().map(drop));
        assert_eq!(rows.unwrap_err().code(), "too_large");
        assert!(peak < 32 << 20, "{peak}");
    }

    #[derive(Deserialize)]
    struct Reading {
        time: String,
        channel: i32,
        volts: f64,
        celsius: f64,
        count: i64,
    }

    fn readings(rows: i64) -> Table {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("time", Arc::new(TimestampMicrosecondArray::from_iter_values(0..rows))),
            ("channel", Arc::new(Int32Array::from_iter_values((0..rows).map(|row| (row % 8) as i32)))),
            ("volts", Arc::new(Float64Array::from_iter_values((0..rows).map(|row| row as f64)))),
            ("celsius", Arc::new(Float64Array::from_iter_values((0..rows).map(|_| 20.0)))),
            ("count", Arc::new(Int64Array::from_iter_values(0..rows))),
        ];
        let whole = RecordBatch::try_from_iter(columns).unwrap();
        let cuts = (0..rows as usize).step_by(65_536).map(|at| whole.slice(at, 65_536.min(rows as usize - at)));
        Table::new(whole.schema(), cuts.collect()).unwrap()
    }

    #[test]
    fn plain_rows_take_what_they_hold() {
        const ROWS: usize = 200_000;
        let _turn = turn();
        let table = read(&readings(ROWS as i64));
        let (rows, peak) = peak(|| table.deserialize::<Vec<Reading>>().unwrap());
        assert_eq!(rows.len(), ROWS);
        let last = rows.last().unwrap();
        assert_eq!((last.channel, last.volts, last.celsius, last.count), (7, 199_999.0, 20.0, 199_999));
        assert_eq!(last.time, "1970-01-01T00:00:00.199999");
        let texts: usize = rows.iter().map(|row| row.time.capacity()).sum();
        // The list grows by doubling, and both halves are there while it does.
        let held = 3 * ROWS * size_of::<Reading>() + texts;
        assert!(peak <= held as u64, "{peak} bytes for rows of {held}");
        let flags = read(&column(Arc::new(BooleanArray::from(vec![true; 1_000_000]))));
        assert_eq!(flags.deserialize::<Vec<Row<bool>>>().unwrap().len(), 1_000_000);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn tables_are_read_as_json(rows in 0_usize..30, seed: u64, cut in 0_usize..30) {
        let whole = batch(columns(rows, seed));
        let cut = cut.min(rows);
        let table = Table::new(whole.schema(), vec![whole.slice(0, cut), whole.slice(cut, rows - cut)]).unwrap();
        prop_assert!(same_as_by_json::<Vec<BTreeMap<String, Json>>>(&read(&table)).is_some());
    }
}
