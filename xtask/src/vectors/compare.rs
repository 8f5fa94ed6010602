//! Whether two tagged values are the same, however each is written (testdata/README.md, "Values").

use std::str::FromStr;

use anyhow::{Error, Result, anyhow, bail};
use serde_json::Value;

use super::{bytes, parse};
use crate::workspace::sha256;

/// Says where two values of a payload type differ
pub(crate) fn values(payload_type: &str, wanted: &Value, found: &Value) -> Result<()> {
    match payload_type {
        "text" => {
            let (wanted, found) = (text(wanted)?, text(found)?);
            require(wanted == found, || format!("text {:?}, not {:?}", shortened(&found), shortened(&wanted)))
        }
        "dictionary" => json(&tree(wanted)?, &tree(found)?, "", Keys::InAnyOrder),
        "jsontable" => json(&tree(wanted)?, &tree(found)?, "", Keys::InOrder),
        "arrowtable" => tables(wanted, found),
        _ => {
            let (wanted, found) = (digest(wanted)?, digest(found)?);
            require(wanted == found, || format!("bytes {found:?}, not {wanted:?}"))
        }
    }
}

fn require(holds: bool, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::msg(what())) }
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

fn text(tagged: &Value) -> Result<String> {
    if let Some(text) = tagged["text"].as_str() {
        return Ok(text.to_owned());
    }
    String::from_utf8(bytes(tagged)?).map_err(|_| anyhow!("bytes that are no text"))
}

fn tree(tagged: &Value) -> Result<Value> {
    if let Some(json) = tagged.get("json") {
        return Ok(json.clone());
    }
    parse(&text(tagged)?)
}

/// Size and SHA-256: peers report no more of long payloads
fn digest(tagged: &Value) -> Result<(u64, String)> {
    if let (Some(digest), Some(size)) = (tagged["sha256"].as_str(), tagged["size"].as_u64()) {
        return Ok((size, digest.to_owned()));
    }
    Ok(digest_of(&bytes(tagged)?))
}

/// Size and SHA-256 of bytes
pub(crate) fn digest_of(bytes: &[u8]) -> (u64, String) {
    (u64::try_from(bytes.len()).unwrap_or(u64::MAX), sha256(bytes))
}

/// Whether the order of an object's keys counts
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Keys {
    /// Columns of rows, fields of an envelope
    InOrder,
    InAnyOrder,
}

/// Says where two JSON values differ; 1 and 1.0 are the same number, integers are compared exactly
pub(crate) fn json(wanted: &Value, found: &Value, at: &str, keys: Keys) -> Result<()> {
    let differ = || anyhow!("{at}: {}, not {}", shown(found), shown(wanted));
    match (wanted, found) {
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            let mut pairs = wanted.iter().zip(found).enumerate();
            pairs.try_for_each(|(index, (wanted, found))| json(wanted, found, &format!("{at}/{index}"), keys))
        }
        (Value::Object(wanted), Value::Object(found)) if wanted.len() == found.len() => {
            if keys == Keys::InOrder && !wanted.keys().eq(found.keys()) {
                let order = found.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                bail!("{at}: keys in another order: {order}");
            }
            wanted.iter().try_for_each(|(key, wanted)| match found.get(key) {
                Some(found) => json(wanted, found, &format!("{at}/{key}"), keys),
                None => Err(anyhow!("{at}: `{key}` is missing")),
            })
        }
        (Value::Number(wanted), Value::Number(found)) if integer(wanted) == integer(found) => {
            let same = integer(wanted).is_some() || wanted.as_f64() == found.as_f64();
            if same { Ok(()) } else { Err(differ()) }
        }
        _ if wanted == found => Ok(()),
        _ => Err(differ()),
    }
}

/// A number that is whole, exactly; -0.0 is 0
fn integer(number: &serde_json::Number) -> Option<i128> {
    if let Some(integer) = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)) {
        return Some(integer);
    }
    let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e30)?;
    format!("{float:.0}").parse().ok()
}

fn shown(value: &Value) -> String {
    shortened(&value.to_string())
}

fn tables(wanted: &Value, found: &Value) -> Result<()> {
    let columns = |tagged: &Value| {
        let columns = tagged["table"]["columns"].as_array().cloned();
        columns.ok_or_else(|| anyhow!("no table: {}", shown(tagged)))
    };
    let (wanted, found) = (columns(wanted)?, columns(found)?);
    require(wanted.len() == found.len(), || format!("{} columns, not {}", found.len(), wanted.len()))?;
    for (wanted, found) in wanted.iter().zip(&found) {
        let name = wanted["name"].as_str().unwrap_or_default();
        for key in ["name", "type"] {
            require(wanted[key] == found[key], || format!("column {name}: {key} {}, not {}", found[key], wanted[key]))?;
        }
        let cells = |column: &Value| column["values"].as_array().cloned().unwrap_or_default();
        let (values, others) = (cells(wanted), cells(found));
        require(values.len() == others.len(), || {
            format!("column {name}: {} rows, not {}", others.len(), values.len())
        })?;
        let kind = wanted["type"].as_str().unwrap_or_default();
        for (row, (value, other)) in values.iter().zip(&others).enumerate() {
            require(cell(kind, value, other), || {
                format!("column {name}, row {row}: {}, not {}", shown(other), shown(value))
            })?;
        }
    }
    Ok(())
}

/// Whether two cells of a type are the same
fn cell(kind: &str, wanted: &Value, found: &Value) -> bool {
    let (Some(wanted), Some(found)) = (wanted.as_str(), found.as_str()) else { return wanted == found };
    if wanted == found {
        return true;
    }
    if kind.starts_with("float") {
        // The shortest text of a narrow float is that of no other narrow float, but of another wide one.
        return match kind {
            "float64" => same_float::<f64>(wanted, found, |float| (float.to_bits(), float.is_nan())),
            _ => same_float::<f32>(wanted, found, |float| (float.to_bits().into(), float.is_nan())),
        };
    }
    let nested = ["list", "large_list", "fixed_size_list", "struct", "map"].iter().any(|word| kind.starts_with(word));
    let same = |wanted: Value, found: Value| json(&wanted, &found, "", Keys::InAnyOrder).is_ok();
    nested && parse(wanted).is_ok_and(|wanted| parse(found).is_ok_and(|found| same(wanted, found)))
}

/// Whether two texts read as the same float, sign of zero included, or both as none
fn same_float<T: FromStr>(wanted: &str, found: &str, look: impl Fn(T) -> (u64, bool)) -> bool {
    match (wanted.parse().map(&look), found.parse().map(&look)) {
        (Ok((wanted, wanted_nan)), Ok((found, found_nan))) => wanted == found || (wanted_nan && found_nan),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn value_is_the_same_in_every_form() {
        let a = json!({"base64": "QUFB"});
        let digest = digest_of(b"AAA").1;
        for (kind, wanted, found) in [
            ("binary", a.clone(), json!({"repeat": {"byte": 65, "count": 3}})),
            ("image", a.clone(), json!({"sha256": digest, "size": 3})),
            ("text", a, json!({"text": "AAA"})),
            ("dictionary", json!({"json": {"a": 1.0, "b": [2]}}), json!({"base64": "eyJiIjpbMl0sImEiOjF9"})),
            ("dictionary", json!({"json": [1e300, 0.1, -0.0]}), json!({"json": [1e300, 0.1, 0]})),
        ] {
            values(kind, &wanted, &found).unwrap();
        }
    }

    #[test]
    fn differences_are_described() {
        for (kind, wanted, found, said) in [
            ("binary", json!({"base64": "QUFB"}), json!({"base64": "QUFC"}), "bytes (3"),
            ("text", json!({"text": "é"}), json!({"text": "e\u{301}"}), "text"),
            (
                "dictionary",
                json!({"json": {"n": 9007199254740993_u64}}),
                json!({"json": {"n": 9007199254740992.0}}),
                "/n: ",
            ),
            ("dictionary", json!({"json": [1]}), json!({"json": [true]}), "/0: "),
            ("dictionary", json!({"json": {"a": null}}), json!({"json": {"b": null}}), "`a` is missing"),
            ("jsontable", json!({"json": [{"b": 1, "a": 2}]}), json!({"json": [{"a": 2, "b": 1}]}), "another order"),
        ] {
            let error = values(kind, &wanted, &found).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn cells_are_compared_as_their_type_says() {
        let table =
            |kind: &str, value: &str| json!({"table": {"columns": [{"name": "c", "type": kind, "values": [value]}]}});
        for (kind, wanted, found, same) in [
            ("float64", "1e300", "1e+300", true),
            ("float64", "-0.0", "0.0", false),
            ("float32", "NaN", "nan", true),
            ("float32", "1e-45", "1.401298464324817e-45", true),
            ("float64", "1e-45", "1.401298464324817e-45", false),
            ("int64", "1", "1.0", false),
            ("list<int64>", "[1,null]", "[1, null]", true),
            ("struct<a: int64>", "{\"a\":1}", "{\"a\":2}", false),
            ("utf8", "[1]", "[ 1]", false),
        ] {
            let outcome = values("arrowtable", &table(kind, wanted), &table(kind, found));
            assert_eq!(outcome.is_ok(), same, "{kind} {wanted} {found}");
        }
        assert!(values("arrowtable", &table("int64", "1"), &table("int32", "1")).is_err());
    }
}
