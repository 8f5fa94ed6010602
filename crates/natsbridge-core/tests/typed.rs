//! Serde types straight into payloads and out of them: the same as by way of JSON values, and what is refused.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::collections::BTreeMap;
use std::fmt::Debug;

use natsbridge_core::{Part, PayloadError, PayloadType, Value};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Reading {
    id: i64,
    big: u64,
    narrow: i8,
    volts: f64,
    ok: bool,
    letter: char,
    name: String,
    note: Option<String>,
    nothing: (),
    list: Vec<Option<i32>>,
    pair: (u8, String),
    inner: Inner,
    kind: Kind,
    by_name: BTreeMap<String, f64>,
    by_number: BTreeMap<i16, bool>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Inner {
    wrapped: Wrapped,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    more: Vec<Self>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Wrapped(String);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    One(i32),
    Two(i32, String),
    Named { on: bool },
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Plain),
        any::<i32>().prop_map(Kind::One),
        any::<(i32, String)>().prop_map(|(one, two)| Kind::Two(one, two)),
        any::<bool>().prop_map(|on| Kind::Named { on }),
    ]
}

fn inner() -> impl Strategy<Value = Inner> {
    let leaf = any::<String>().prop_map(|text| Inner { wrapped: Wrapped(text), more: vec![] });
    leaf.prop_recursive(3, 8, 3, |inner| {
        (any::<String>(), proptest::collection::vec(inner, 0..3))
            .prop_map(|(text, more)| Inner { wrapped: Wrapped(text), more })
    })
}

prop_compose! {
    fn reading()(
        (id, big, narrow, ok, letter) in any::<(i64, u64, i8, bool, char)>(),
        volts in proptest::num::f64::NORMAL | proptest::num::f64::ZERO | proptest::num::f64::SUBNORMAL,
        (name, note) in any::<(String, Option<String>)>(),
        list in proptest::collection::vec(any::<Option<i32>>(), 0..4),
        pair in any::<(u8, String)>(),
        inner in inner(),
        kind in kind(),
        by_name in proptest::collection::btree_map(any::<String>(), -1e9..1e9, 0..4),
        by_number in any::<BTreeMap<i16, bool>>(),
    ) -> Reading {
        Reading { id, big, narrow, volts, ok, letter, name, note, nothing: (), list, pair, inner, kind, by_name, by_number }
    }
}

fn typed<T: Serialize + ?Sized>(payload_type: PayloadType, value: &T) -> Result<Part, Fault> {
    Part::serialize("readings", payload_type, value).map_err(fault)
}

fn received<T: DeserializeOwned>(payload_type: PayloadType, json: &str) -> Result<T, Fault> {
    Part::from_source("readings", payload_type, json.to_owned()).deserialize().map_err(fault)
}

/// The code of an error, and its text behind the payload's name
type Fault = (&'static str, String);

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn fault(error: PayloadError) -> Fault {
    assert_eq!(error.dataname(), "readings");
    (error.code(), error.to_string().trim_start_matches("payload `readings`: ").to_owned())
}

fn too_deep() -> Fault {
    ("too_deep", "JSON nests deeper than 127 levels; flatten it, or send it as `text`".to_owned())
}

/// The same bytes as by way of a JSON value, and the same value from both
fn same_as_by_value<T: Serialize + DeserializeOwned + PartialEq + Debug>(payload_type: PayloadType, value: &T) {
    let by_value = Part::new("readings", payload_type, serde_json::to_value(value).unwrap()).unwrap();
    let part = typed(payload_type, value).unwrap();
    assert_eq!(part, by_value);
    assert_eq!(&part.deserialize::<T>().unwrap(), value);
    assert_eq!(part.deserialize::<Json>().unwrap(), serde_json::to_value(value).unwrap());
}

mod json {
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn types_travel_as_their_json_values_do(readings in proptest::collection::vec(reading(), 0..5)) {
            same_as_by_value(PayloadType::JsonTable, &readings);
            same_as_by_value(PayloadType::Dictionary, &readings);
            for reading in &readings {
                same_as_by_value(PayloadType::Dictionary, reading);
                same_as_by_value(PayloadType::Dictionary, &reading.kind);
            }
        }

        #[test]
        fn numbers_are_kept_or_refused(text in "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?", before in "[ a-e0-9-]{0,70}") {
            let json = format!("[{},{text}]", Json::from(before));
            let kept = match text.parse::<f64>().unwrap() {
                _ if !text.contains(['.', 'e', 'E']) => text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok(),
                value => value.is_finite() && (value != 0.0 || !text.split(['e', 'E']).next().unwrap().contains(['1', '2', '3', '4', '5', '6', '7', '8', '9'])),
            };
            let found = received::<(String, Json)>(PayloadType::Dictionary, &json);
            prop_assert_eq!(found.is_ok(), kept, "{}", json);
            if let Err(error) = found {
                prop_assert!(error.0 == "undecodable" && error.1.contains("does not fit 64 bits"), "{:?}", error);
            }
        }
    }

    #[test]
    fn nesting_ends_at_the_limit() {
        #[derive(Serialize)]
        struct Nest(Vec<Self>);
        let nest = |levels: usize| (1..levels).fold(Nest(vec![]), |inner, _| Nest(vec![inner]));
        assert!(typed(PayloadType::Dictionary, &nest(127)).is_ok());
        for bomb in [nest(128), nest(2_000)] {
            assert_eq!(typed(PayloadType::Dictionary, &bomb), Err(too_deep()));
        }
        assert!(typed(PayloadType::JsonTable, &[json!({ "a": 1 })]).is_ok());
        let rows = [BTreeMap::from([("a", nest(126))])];
        assert_eq!(typed(PayloadType::JsonTable, &rows), Err(too_deep()));
    }

    #[test]
    fn rows_are_objects() {
        for (value, found) in [
            (json!({}), "this is an object"),
            (json!("[]"), "this is a string"),
            (json!(null), "this is null"),
            (json!([[]]), "row 0 is an array"),
            (json!([{}, 1]), "row 1 is a number"),
            (json!([{}, {"a": [1, {}]}, "x", {}]), "row 2 is a string"),
            (json!([[{}], {}]), "row 0 is an array"),
            (json!({"a": {}, "b": [1]}), "this is an object"),
        ] {
            let found = ("undecodable", format!("a jsontable is an array of objects, one per row; {found}"));
            assert_eq!(typed(PayloadType::JsonTable, &value), Err(found.clone()));
            assert_eq!(received::<i32>(PayloadType::JsonTable, &value.to_string()), Err(found));
        }
        assert_eq!(typed(PayloadType::JsonTable, &[(); 0]).unwrap().bytes().unwrap(), "[]");
    }

    #[test]
    fn integers_beyond_64_bits_are_refused() {
        for value in [i128::from(i64::MIN), i128::from(u64::MAX)] {
            assert_eq!(typed(PayloadType::Dictionary, &value).unwrap().deserialize::<i128>().unwrap(), value);
        }
        for value in [i128::from(i64::MIN) - 1, i128::from(u64::MAX) + 1] {
            let (code, text) = typed(PayloadType::Dictionary, &json_object(&value)).unwrap_err();
            assert_eq!(code, "wrong_value");
            assert!(text.starts_with(&format!("the number {value} at line 1, column 6 can't be sent")), "{text}");
        }
        assert!(typed(PayloadType::Dictionary, &BTreeMap::from([(u128::MAX, 1)])).is_ok(), "keys are text");
    }

    fn json_object<T>(value: T) -> BTreeMap<&'static str, T> {
        BTreeMap::from([("a", value)])
    }

    #[test]
    fn floats_without_a_number_are_null() {
        let part = typed(PayloadType::Dictionary, &[f64::NAN, f64::INFINITY, 1.5]).unwrap();
        assert_eq!(part.bytes().unwrap(), "[null,null,1.5]");
    }

    #[test]
    fn foreign_json_is_checked_and_compacted() {
        let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
        let part = typed(PayloadType::Dictionary, &json_object(raw("[ 1.50,\n {} ]"))).unwrap();
        assert_eq!(part.bytes().unwrap(), r#"{"a":[1.50,{}]}"#);
        assert!(typed(PayloadType::JsonTable, &[raw("{}"), raw(" {\"a\": 1}")]).is_ok());
        assert_eq!(typed(PayloadType::JsonTable, &[raw("[]")]).unwrap_err().0, "undecodable");
        let deep = |levels: usize| raw(&format!("{}{}", "[".repeat(levels), "]".repeat(levels)));
        assert!(typed(PayloadType::Dictionary, &json_object(deep(126))).is_ok());
        assert_eq!(typed(PayloadType::Dictionary, &json_object(deep(127))), Err(too_deep()));
        let number = "36893488147419103232";
        assert_eq!(typed(PayloadType::Dictionary, &raw(number)).unwrap_err().0, "wrong_value");
    }

    #[test]
    fn keys_are_strings() {
        let error = typed(PayloadType::Dictionary, &BTreeMap::from([(vec![1], 1)])).unwrap_err();
        assert_eq!(error, ("wrong_value", "it can't be written as JSON: key must be a string".to_owned()));
    }

    #[test]
    fn key_given_twice_is_refused() {
        #[derive(Serialize)]
        struct Tagged {
            id: u8,
            #[serde(flatten)]
            more: BTreeMap<String, Json>,
        }
        let tagged =
            |key: &str| Tagged { id: 1, more: BTreeMap::from([(key.to_owned(), json!({ "id": [{ "id": 2 }] }))]) };
        assert!(typed(PayloadType::Dictionary, &[tagged("name"), tagged("i\"d"), tagged("")]).is_ok());
        assert!(typed(PayloadType::Dictionary, &[tagged("idea"), tagged("ide"), tagged("i"), tagged("idea")]).is_ok());
        for value in [
            vec![tagged("id")],
            vec![tagged("name"), tagged("id")],
            vec![tagged("idea"), tagged("id")],
            vec![tagged("i"), tagged("id"), tagged("i")],
        ] {
            for payload_type in [PayloadType::Dictionary, PayloadType::JsonTable] {
                let (code, text) = typed(payload_type, &value).unwrap_err();
                assert!(code == "wrong_value" && text.starts_with("the key `id` occurs twice"), "{code}: {text}");
            }
        }
        let inner = BTreeMap::from([("outer", tagged("id"))]);
        assert_eq!(typed(PayloadType::Dictionary, &inner).unwrap_err().0, "wrong_value");
    }

    #[test]
    fn mismatch_names_the_type() {
        let error = Part::from_source("a\u{1b}", PayloadType::JsonTable, r#"[{"id":"\u001bx"}]"#);
        let error = error.deserialize::<Vec<BTreeMap<String, i32>>>().unwrap_err().to_string();
        assert!(error.starts_with(r"payload `a\u{1b}`: can't be read as alloc::vec::Vec<"), "{error}");
        assert!(error.contains("invalid type: string"), "{error}");
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }

    #[test]
    fn damaged_bytes_are_no_mismatch() {
        for payload_type in [PayloadType::Dictionary, PayloadType::JsonTable] {
            for json in ["[{}", "[{\"a\":\"\\ud800\"}]", "[{\"a\":1e400}]", ""] {
                let by_value = Part::from_source("readings", payload_type, json).value().map_err(fault);
                assert_eq!(received::<Json>(payload_type, json).map(Value::Json), by_value, "{json}");
            }
        }
    }
}

mod text {
    use super::*;

    #[test]
    fn strings_become_types() {
        let text = |text: &str| Part::new("readings", PayloadType::Text, text).unwrap();
        assert_eq!(text("a").deserialize::<String>().unwrap(), "a");
        assert_eq!(text("a").deserialize::<Option<Wrapped>>().unwrap(), Some(Wrapped("a".to_owned())));
        assert_eq!(text("Plain").deserialize::<Kind>().unwrap(), Kind::Plain);
        assert_eq!(text("a").deserialize::<i32>().unwrap_err().code(), "wrong_value");
    }

    #[test]
    fn bytes_have_no_type() {
        let part = Part::new("readings", PayloadType::Image, vec![1]).unwrap();
        assert_eq!(part.deserialize::<Vec<u8>>().unwrap_err().code(), "wrong_value");
        assert_eq!(typed(PayloadType::Text, "a").unwrap_err().0, "wrong_value");
    }
}
