//! JSON to Python values, straight out of bytes: no tree of another kind in between.

use std::fmt;

use natsbridge::wire::Part;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyList, PyString};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use crate::failure::Failure;

/// Keys that are kept, so that rows share them; a power of two
const KEYS: usize = 256;
/// Longer keys are made each time
const MAX_KEY: usize = 48;

/// The value of a dictionary payload
pub(crate) fn dictionary<'py>(py: Python<'py>, part: &Part) -> Result<Bound<'py, PyAny>, Failure> {
    Ok(part.deserialize::<Value>().map_err(natsbridge::Error::from)?.0.into_bound(py))
}

/// The rows of a jsontable payload
pub(crate) fn rows<'py>(py: Python<'py>, part: &Part) -> Result<Bound<'py, PyAny>, Failure> {
    Ok(part.deserialize::<Rows>().map_err(natsbridge::Error::from)?.0.into_bound(py))
}

/// A tree that is there already, such as metadata
pub(crate) fn tree<'py>(py: Python<'py>, tree: &natsbridge::Metadata) -> PyResult<Bound<'py, PyAny>> {
    let found: Result<Value, serde_json::Error> = Value::deserialize(serde_json::Value::Object(tree.clone()));
    found.map(|value| value.0.into_bound(py)).map_err(|error| Failure::wrong(error.to_string()).raise(py))
}

/// Any JSON value
struct Value(Py<PyAny>);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Python::attach(|py| {
            let mut keys = Keys::new();
            Any { py, keys: &mut keys }.deserialize(deserializer).map(Bound::unbind).map(Self)
        })
    }
}

/// An array of objects
struct Rows(Py<PyAny>);

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Python::attach(|py| {
            let mut keys = Keys::new();
            deserializer.deserialize_seq(RowsVisitor { py, keys: &mut keys }).map(Bound::unbind).map(Self)
        })
    }
}

struct RowsVisitor<'py, 'k> {
    py: Python<'py>,
    keys: &'k mut Keys<'py>,
}

impl<'de, 'py> Visitor<'de> for RowsVisitor<'py, '_> {
    type Value = Bound<'py, PyAny>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let Self { py, keys } = self;
        let mut rows = Vec::new();
        while let Some(row) = items.next_element_seed(Row { py, keys: &mut *keys })? {
            rows.push(row);
        }
        PyList::new(py, rows).map(Bound::into_any).map_err(A::Error::custom)
    }
}

/// One object
struct Row<'py, 'k> {
    py: Python<'py>,
    keys: &'k mut Keys<'py>,
}

impl<'de, 'py> DeserializeSeed<'de> for Row<'py, '_> {
    type Value = Bound<'py, PyAny>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, 'py> Visitor<'de> for Row<'py, '_> {
    type Value = Bound<'py, PyAny>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        object(self.py, self.keys, entries)
    }
}

/// Any value
struct Any<'py, 'k> {
    py: Python<'py>,
    keys: &'k mut Keys<'py>,
}

impl<'de, 'py> DeserializeSeed<'de> for Any<'py, '_> {
    type Value = Bound<'py, PyAny>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

fn made<'py, T, E: de::Error>(value: Result<Bound<'py, T>, impl fmt::Display>) -> Result<Bound<'py, PyAny>, E> {
    value.map(Bound::into_any).map_err(E::custom)
}

impl<'de, 'py> Visitor<'de> for Any<'py, '_> {
    type Value = Bound<'py, PyAny>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        made(value.into_pyobject(self.py).map(|truth| truth.to_owned()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        made(value.into_pyobject(self.py))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        made(value.into_pyobject(self.py))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(PyFloat::new(self.py, value).into_any())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(PyString::new(self.py, value).into_any())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(self.py.None().into_bound(self.py))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let Self { py, keys } = self;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Any { py, keys: &mut *keys })? {
            list.push(item);
        }
        made(PyList::new(py, list))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        object(self.py, self.keys, entries)
    }
}

fn object<'de, 'py, A: MapAccess<'de>>(
    py: Python<'py>,
    keys: &mut Keys<'py>,
    mut entries: A,
) -> Result<Bound<'py, PyAny>, A::Error> {
    let dict = PyDict::new(py);
    while let Some(key) = entries.next_key_seed(Key { py, keys: &mut *keys })? {
        let value = entries.next_value_seed(Any { py, keys: &mut *keys })?;
        dict.set_item(key, value).map_err(A::Error::custom)?;
    }
    Ok(dict.into_any())
}

/// One key of an object
struct Key<'py, 'k> {
    py: Python<'py>,
    keys: &'k mut Keys<'py>,
}

impl<'de, 'py> DeserializeSeed<'de> for Key<'py, '_> {
    type Value = Bound<'py, PyString>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, 'py> Visitor<'de> for Key<'py, '_> {
    type Value = Bound<'py, PyString>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.keys.get(self.py, key))
    }
}

/// Keys that were seen in this value: objects of one shape share them, and Python hashes each once
struct Keys<'py>(Vec<Option<(Box<str>, Bound<'py, PyString>)>>);

impl<'py> Keys<'py> {
    const fn new() -> Self {
        Self(Vec::new())
    }

    fn get(&mut self, py: Python<'py>, key: &str) -> Bound<'py, PyString> {
        if key.len() > MAX_KEY {
            return PyString::new(py, key);
        }
        if self.0.is_empty() {
            self.0.resize_with(KEYS, || None);
        }
        // FNV-1a: keys are short.
        let hash = key
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let place = usize::try_from((hash ^ (hash >> 32)) & 0xff).unwrap_or_default() % KEYS;
        match &self.0[place] {
            Some((known, text)) if **known == *key => text.clone(),
            _ => {
                let text = PyString::new(py, key);
                self.0[place] = Some((key.into(), text.clone()));
                text
            }
        }
    }
}
