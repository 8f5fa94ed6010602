//! Python values to JSON, straight into bytes: integers exact or refused, keys that are no strings refused by name.

use std::fmt::Write as _;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::failure::Failure;

/// As deep as every reader follows (`docs/specification.md`, section 3)
const MAX_DEPTH: usize = 127;

/// What is wrong with a value, and where in it
struct Fault {
    failure: Failure,
    /// From the inside out
    path: Vec<String>,
}

impl Fault {
    fn wrong(text: impl Into<String>) -> Self {
        Self { failure: Failure::wrong(text), path: Vec::new() }
    }

    fn within(mut self, step: String) -> Self {
        if self.path.len() < 8 {
            self.path.push(step);
        }
        self
    }

    fn finish(self) -> Failure {
        if self.path.is_empty() {
            return self.failure;
        }
        let place: String = self.path.iter().rev().map(String::as_str).collect();
        let place = natsbridge::wire::shown(&place);
        match self.failure {
            Failure::Own(mut own) => {
                own.text = format!("at {place}: {}", own.text);
                Failure::Own(own)
            }
            // One that `natsbridge._values` raised; its place is added to its text.
            Failure::Python(error) => Python::attach(|py| {
                let at = py.import("natsbridge._errors").and_then(|errors| errors.getattr("_at"));
                let _ = at.and_then(|at| at.call1((error.value(py), &*place)));
                Failure::Python(error)
            }),
            other => other,
        }
    }
}

impl From<PyErr> for Fault {
    fn from(error: PyErr) -> Self {
        Self { failure: Failure::Python(error), path: Vec::new() }
    }
}

/// A dictionary payload's JSON
pub(crate) fn dictionary(value: &Bound<'_, PyAny>) -> Result<Vec<u8>, Failure> {
    let mut json = Vec::with_capacity(256);
    write(&mut json, value, 0).map_err(Fault::finish)?;
    Ok(json)
}

/// A jsontable payload's JSON: a list whose items are all dictionaries
pub(crate) fn rows(rows: &Bound<'_, PyAny>) -> Result<Vec<u8>, Failure> {
    let mut json = Vec::with_capacity(1024);
    json.push(b'[');
    for (at, row) in rows.try_iter().map_err(Failure::Python)?.enumerate() {
        let row = row.map_err(Failure::Python)?;
        let Ok(row) = row.cast::<PyDict>() else {
            return Err(Failure::wrong(format!("row {at} is no dictionary but {}", named(&row))));
        };
        if at > 0 {
            json.push(b',');
        }
        object(&mut json, row, 1).map_err(|fault| fault.within(format!("[{at}]")).finish())?;
    }
    json.push(b']');
    Ok(json)
}

fn write(json: &mut Vec<u8>, value: &Bound<'_, PyAny>, depth: usize) -> Result<(), Fault> {
    if let Ok(text) = value.cast_exact::<PyString>() {
        return string(json, text);
    }
    if let Ok(number) = value.cast_exact::<PyInt>() {
        return integer(json, number);
    }
    if let Ok(number) = value.cast_exact::<PyFloat>() {
        return float(json, number.value());
    }
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        return object(json, dict, depth);
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        return array(json, list.iter(), depth);
    }
    if value.is_none() {
        json.extend_from_slice(b"null");
        return Ok(());
    }
    if let Ok(truth) = value.cast::<PyBool>() {
        json.extend_from_slice(if truth.is_true() { b"true" } else { b"false" });
        return Ok(());
    }
    if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        return array(json, tuple.iter(), depth);
    }
    other(json, value, depth)
}

/// What is no plain value: by the rule of `natsbridge._values`, or by what it is a subclass of
fn other(json: &mut Vec<u8>, value: &Bound<'_, PyAny>, depth: usize) -> Result<(), Fault> {
    static PLAIN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    let plain = PLAIN.import(py, "natsbridge._values", "plain")?.call1((value,))?;
    if !plain.is(value) {
        // One step towards plain values; what does not get there ends by the depth.
        return write(json, &plain, depth + 1);
    }
    if let Ok(text) = value.cast::<PyString>() {
        return string(json, text);
    }
    if let Ok(number) = value.cast::<PyInt>() {
        return integer(json, number);
    }
    if let Ok(number) = value.cast::<PyFloat>() {
        return float(json, number.value());
    }
    if let Ok(dict) = value.cast::<PyDict>() {
        return object(json, dict, depth);
    }
    if let Ok(list) = value.cast::<PyList>() {
        return array(json, list.iter(), depth);
    }
    if let Ok(tuple) = value.cast::<PyTuple>() {
        return array(json, tuple.iter(), depth);
    }
    let name = named(value);
    let has = |attribute: &str| value.hasattr(attribute).unwrap_or(false);
    let advice = match &*name {
        "bytes" | "bytearray" | "memoryview" => "send it as a payload of type `binary`, or as text in base64",
        "set" | "frozenset" => "make it a list",
        "coroutine" => AWAIT,
        _ if has("__dataclass_fields__") => "make it a dictionary by dataclasses.asdict",
        _ if has("to_frame") => "make it a list",
        _ if has("__arrow_c_stream__") => "send it as a payload of its own, of type `arrowtable` or `jsontable`",
        _ => "turn it into text, numbers, lists or dictionaries",
    };
    Err(Fault::wrong(format!("{name} has no JSON form; {advice}")))
}

/// What to do about a coroutine in a value's place
pub(crate) const AWAIT: &str = "`await` it first";

fn array<'py>(json: &mut Vec<u8>, items: impl Iterator<Item = Bound<'py, PyAny>>, depth: usize) -> Result<(), Fault> {
    if depth >= MAX_DEPTH {
        return Err(too_deep());
    }
    json.push(b'[');
    for (at, item) in items.enumerate() {
        if at > 0 {
            json.push(b',');
        }
        write(json, &item, depth + 1).map_err(|fault| fault.within(format!("[{at}]")))?;
    }
    json.push(b']');
    Ok(())
}

fn object(json: &mut Vec<u8>, dict: &Bound<'_, PyDict>, depth: usize) -> Result<(), Fault> {
    if depth >= MAX_DEPTH {
        return Err(too_deep());
    }
    json.push(b'{');
    let mut first = true;
    // Taken out first: code of the program's own may run while a value is written, and change the dictionary.
    let items: Vec<_> = dict.iter().collect();
    for (key, value) in items {
        let Ok(name) = key.cast::<PyString>() else {
            let shown = key.repr().map(|text| text.to_string()).unwrap_or_default();
            return Err(Fault::wrong(format!(
                "the key {} is no string but {}; JSON's keys are strings, and `1` and `\"1\"` would be one",
                natsbridge::wire::shown(&shown),
                named(&key)
            )));
        };
        if !first {
            json.push(b',');
        }
        first = false;
        string(json, name)?;
        json.push(b':');
        write(json, &value, depth + 1).map_err(|fault| fault.within(format!(".{name}")))?;
    }
    json.push(b'}');
    Ok(())
}

fn integer(json: &mut Vec<u8>, number: &Bound<'_, PyInt>) -> Result<(), Fault> {
    if let Ok(number) = number.extract::<i64>() {
        json.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        return Ok(());
    }
    if let Ok(number) = number.extract::<u64>() {
        json.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        return Ok(());
    }
    let bits = number.call_method0("bit_length")?.extract::<u64>()?;
    Err(Fault::wrong(format!("an integer of {bits} bits; receivers hold 64 (-2**63 to 2**64 - 1), so send it as text")))
}

fn float(json: &mut Vec<u8>, number: f64) -> Result<(), Fault> {
    if !number.is_finite() {
        return Err(Fault::wrong(format!("JSON has no {number}; send None, or text")));
    }
    serde_json::to_writer(json, &number).map_err(|error| Fault::wrong(error.to_string()))
}

fn string(json: &mut Vec<u8>, text: &Bound<'_, PyString>) -> Result<(), Fault> {
    let text = text.to_cow().map_err(|_| Fault::wrong("text with a lone surrogate, which is no Unicode"))?;
    json.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        json.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        match byte {
            b'"' => json.extend_from_slice(b"\\\""),
            b'\\' => json.extend_from_slice(b"\\\\"),
            b'\n' => json.extend_from_slice(b"\\n"),
            b'\r' => json.extend_from_slice(b"\\r"),
            b'\t' => json.extend_from_slice(b"\\t"),
            0x08 => json.extend_from_slice(b"\\b"),
            0x0c => json.extend_from_slice(b"\\f"),
            other => {
                let mut escape = String::with_capacity(6);
                let _ = write!(escape, "\\u{other:04x}");
                json.extend_from_slice(escape.as_bytes());
            }
        }
    }
    json.extend_from_slice(&bytes[from..]);
    json.push(b'"');
    Ok(())
}

fn too_deep() -> Fault {
    let text = format!("JSON nests deeper than {MAX_DEPTH} levels; flatten it, or send it as `text`");
    Fault { failure: Failure::own("WrongType", "too_deep", text), path: Vec::new() }
}

/// The type of a value, for an error
pub(crate) fn named(value: &Bound<'_, PyAny>) -> String {
    let name = value.get_type().fully_qualified_name().map(|name| name.to_string());
    name.map_or_else(|_| "something".to_owned(), |name| natsbridge::wire::shown(&name).into_owned())
}
