//! JSON that travels as it was written: no number that would become another one, no key that would hide another.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value as Json};

/// How an error about JSON that goes on behind its value ends
pub(super) const MORE: &str = "more follows behind the JSON value";

/// Digits that tell every float from all others
const DIGITS: usize = 17;

/// Reads JSON, and refuses what could not be sent exactly
///
/// A number travels as an integer of 64 bits or as a float's shortest decimal; one that is neither would arrive as
/// another number. Of a key that occurs twice in an object, the first value would be lost.
///
/// # Errors
/// What is wrong, counting lines from `first`, the line that the text begins in.
pub(crate) fn json(text: &str, first: usize) -> Result<Json, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Exact.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    let value = value.map_err(|error| wrong(text, &error, first))?;
    match numbers(text).find(|(_, number)| !keeps(number)) {
        None => Ok(value),
        Some((at, number)) => {
            let before = text.get(..at).unwrap_or_default();
            let line = before.matches('\n').count() + first;
            let number = natsbridge::wire::shown(number);
            Err(format!(
                "the number {number} in line {line} would arrive as another one: numbers travel as 64-bit integers or \
                 floats; write it as text, in quotes"
            ))
        }
    }
}

fn wrong(text: &str, error: &serde_json::Error, first: usize) -> String {
    let said = error.to_string();
    let reason = said.rfind(" at line ").map_or(&*said, |at| said.get(..at).unwrap_or_default());
    // From the character on that does not fit.
    let line = text.split('\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let found = line.get(error.column().saturating_sub(1)..).unwrap_or_default();
    let infinite = ["NaN", "nan", "Inf", "inf"].iter().any(|word| found.starts_with(word));
    let place = format!("line {}, column {}", error.line() + first - 1, error.column());
    match reason {
        "trailing characters" => format!("{place}: {MORE}"),
        // Both are this module's own; all else is about syntax.
        _ if reason.starts_with("the key ") => format!("{place}: {reason}"),
        "number out of range" => {
            format!("{place}: this number is beyond what a float holds; write it as text, in quotes")
        }
        _ if text.trim_ascii().is_empty() => "it is empty; JSON is at least one value, such as null".to_owned(),
        _ if error.is_eof() => format!("{place}: the JSON ends here, before it is complete"),
        "expected ident" | "expected value" | "invalid number" if infinite => {
            format!("{place}: JSON has no NaN and no infinity; write null, or a text in quotes")
        }
        "expected value" if found.starts_with([',', ':', ']', '}']) => {
            format!("{place}: it is not JSON: a value is missing")
        }
        "expected ident" | "expected value" | "key must be a string" => {
            format!("{place}: it is not JSON; keys and texts need double quotes, such as '{{\"gain\": 0.5}}'")
        }
        _ => format!("{place}: it is not JSON: {reason}"),
    }
}

/// Whether a JSON number is the same number when it has been read and written again
///
/// Many programs write a float with 17 digits, as `%.17g` does: 0.10000000000000001 names the float that 0.1 names.
pub(super) fn keeps(number: &str) -> bool {
    if number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return true;
    }
    let Ok(value) = number.parse::<f64>() else { return false };
    // A float keeps every decimal of 15 digits.
    if number.len() <= 15 && !number.contains(['e', 'E']) {
        return true;
    }
    let written = parts(number);
    if !value.is_finite() || written == parts(&format!("{value:e}")) {
        return value.is_finite();
    }
    let digits = written.as_ref().map_or(0, |(digits, _)| digits.len());
    number.contains(['.', 'e', 'E']) && digits <= DIGITS && written == parts(&format!("{value:.*e}", DIGITS - 1))
}

/// A decimal number's significant digits, and the power of ten of the first one; none of both for zero
fn parts(number: &str) -> Option<(String, i64)> {
    let number = number.trim_start_matches('-');
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let leading = digits.len() - digits.trim_start_matches('0').len();
    let significant = digits.trim_matches('0');
    // An exponent that no integer holds is far from any float.
    let exponent = exponent.parse::<i64>().unwrap_or(i64::MAX / 2);
    let first = i64::try_from(whole.len()).ok()? - i64::try_from(leading).ok()?;
    (!significant.is_empty()).then(|| (significant.to_owned(), exponent.saturating_add(first)))
}

/// The numbers of valid JSON, each with its place
fn numbers(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' => {
                    at += 1;
                    while let Some(inside) = bytes.get(at).filter(|byte| **byte != b'"') {
                        at += if *inside == b'\\' { 2 } else { 1 };
                    }
                    at += 1;
                }
                b'-' | b'0'..=b'9' => {
                    let start = at;
                    while bytes.get(at).is_some_and(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) {
                        at += 1;
                    }
                    return Some((start, text.get(start..at).unwrap_or_default()));
                }
                _ => at += 1,
            }
        }
        None
    })
}

/// Reads any JSON value; an object with a key that occurs twice is an error
struct Exact;

impl<'de> DeserializeSeed<'de> for Exact {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Exact {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json, E> {
        Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                let key = natsbridge::wire::shown(&key);
                return Err(A::Error::custom(format!("the key `{key}` occurs twice in one object")));
            }
            object.insert(key, entries.next_value_seed(Self)?);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_would_change_are_refused() {
        for number in [
            "123456789012345678901234567890",
            "18446744073709551616",
            "-9223372036854775809",
            "0.1000000000000000055511151231257827",
            "9007199254740993.0",
            "1e400",
            "-1e400",
            "1e-400",
            "1e99999999999999999999",
            "0.100000000000000006",
            "12345678901234567000000",
            "4e-324",
        ] {
            for text in [number.to_owned(), format!("{{\"a\":\n[\"1e400 \\\" 5\", {number}]}}")] {
                let error = json(&text, 1).unwrap_err();
                assert!(
                    error.contains("line") && (error.contains(number) || error.contains("beyond")),
                    "{text}: {error}"
                );
            }
        }
    }

    #[test]
    fn numbers_that_stay_the_same_are_taken() {
        for number in [
            "0",
            "-0",
            "-0.0",
            "0e5",
            "18446744073709551615",
            "-9223372036854775808",
            "0.1",
            "1.10",
            "100000000000000000000",
            "1e20",
            "1E+2",
            "5e-324",
            "2.2250738585072014e-308",
            "1.7976931348623157e308",
            "0.30000000000000004",
            "12e5",
            "0.10000000000000001",
            "3.1415926535897931",
            "2.2250738585072009e-308",
            "-2.7182818284590451",
            "1.0000000000000000000",
        ] {
            let value = json(number, 1).unwrap();
            let expected: f64 = number.parse().unwrap();
            assert_eq!(value.as_f64(), Some(expected), "{number}");
        }
        assert_eq!(json(r#"{"b":[null,true,"x"],"a":{}}"#, 1).unwrap().to_string(), r#"{"b":[null,true,"x"],"a":{}}"#);
    }

    #[test]
    fn what_is_wrong_is_said_by_what_is_there() {
        for (text, said) in [
            ("", "empty"),
            (" \n", "empty"),
            ("{\"a\":", "line 1, column 5: the JSON ends here"),
            ("[1,\n2", "line 2, column 1: the JSON ends here"),
            ("[NaN]", "line 1, column 2: JSON has no NaN"),
            ("{\"a\": Infinity}", "JSON has no NaN"),
            ("[-Infinity]", "JSON has no NaN"),
            ("[1,,2]", "line 1, column 4: it is not JSON: a value is missing"),
            ("{\"a\":}", "a value is missing"),
            ("{a:1}", "double quotes"),
            ("None", "double quotes"),
            ("['x']", "double quotes"),
        ] {
            let error = json(text, 1).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn duplicate_keys_and_broken_json_are_refused() {
        let error = json("{\"a\":[{\"b\":1,\"c\":2,\"b\":3}]}", 1).unwrap_err();
        assert!(error.contains("`b` occurs twice"), "{error}");
        for text in ["", "{", "1 2", "[1,]", "NaN", "\"\\ud800\"", &"[".repeat(10_000)] {
            assert!(json(text, 1).is_err(), "{text}");
        }
    }
}
