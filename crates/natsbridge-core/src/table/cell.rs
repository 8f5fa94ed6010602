//! One value of a table: into any serializer, and into any type that deserialises.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::Error;

use super::column::{Column, Values};
use super::ledger::Ledger;
use crate::harmless::shown;

/// The value of a column in a row
#[derive(Clone, Copy)]
pub(super) struct Value<'c, 'a> {
    pub(super) column: &'c Column<'a>,
    pub(super) row: usize,
    pub(super) ledger: &'c Ledger,
}

impl<'c, 'a> Value<'c, 'a> {
    fn of(self, column: &'c Column<'a>, row: usize) -> Self {
        Self { column, row, ..self }
    }

    /// A member of an object, by its place
    fn member(self, members: &'c [(&'a str, Column<'a>)], row: usize) -> impl Fn(usize) -> (&'c str, Self) {
        move |at| {
            let (name, column) = &members[at];
            (*name, self.of(column, row))
        }
    }

    /// The same of a whole row, whose columns are named in errors
    fn column_of_row(self, columns: &'c [(&'a str, Column<'a>)], row: usize) -> impl Fn(usize) -> (&'c str, Self) {
        let member = self.member(columns, row);
        move |at| {
            self.ledger.column.set(at);
            member(at)
        }
    }
}

/// Why a map has no counterpart as an object
fn unkeyed<'a>(range: Range<usize>, key: &dyn Fn(usize) -> Option<&'a str>) -> Option<String> {
    let mut seen = HashSet::with_capacity(range.len());
    range.map(key).find_map(|key| match key {
        None => Some("a map has a key that is null".to_owned()),
        Some(key) if !seen.insert(key) => Some(format!("a map has the key `{}` twice", shown(key))),
        Some(_) => None,
    })
}

/// Bytes as lower-case hexadecimal text
struct Hex<'b>(&'b [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or_default();
        for some in self.0.chunks(128) {
            let mut text = [0; 256];
            for (byte, [high, low]) in some.iter().zip(text.as_chunks_mut().0) {
                (*high, *low) = (digit(byte >> 4), digit(byte & 15));
            }
            f.write_str(std::str::from_utf8(&text[..some.len() * 2]).unwrap_or_default())?;
        }
        Ok(())
    }
}

impl Serialize for Value<'_, '_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let take = |text| self.ledger.take(text).map_err(S::Error::custom);
        take(0)?;
        let Some((values, row)) = self.column.value(self.row) else { return out.serialize_unit() };
        let reason = match values {
            Values::Boolean(values) => return out.serialize_bool(values.value(row)),
            Values::Signed(value) => return out.serialize_i64(value(row)),
            Values::Unsigned(value) => return out.serialize_u64(value(row)),
            Values::Float(value) => return out.serialize_f64(value(row)),
            Values::Text(text) => {
                let text = text(row);
                take(text.len())?;
                return out.serialize_str(text);
            }
            Values::Bytes(bytes) => {
                let bytes = bytes(row);
                take(bytes.len().saturating_mul(2))?;
                return out.collect_str(&Hex(bytes));
            }
            Values::Words(words) => match words(row) {
                Ok(words) => return out.serialize_str(&words),
                Err(reason) => reason,
            },
            Values::List(items, range) => return out.collect_seq(range(row).map(|at| self.of(items, at))),
            Values::Row(columns) => return out.collect_map((0..columns.len()).map(self.column_of_row(columns, row))),
            Values::Struct(members) => return out.collect_map((0..members.len()).map(self.member(members, row))),
            Values::Map(key, values, range) => match unkeyed(range(row), key) {
                None => {
                    let entry = |at| (key(at).unwrap_or_default(), self.of(values, at));
                    return out.collect_map(range(row).map(entry));
                }
                Some(reason) => reason,
            },
            Values::Never(reason) => reason.clone(),
            // They were followed to what they stand for.
            Values::Null | Values::Elsewhere(..) | Values::Union(..) => return out.serialize_unit(),
        };
        self.ledger.unconvertible(reason).map_err(S::Error::custom)?;
        out.serialize_unit()
    }
}

impl<'de> Deserializer<'de> for Value<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let take = |text| self.ledger.take(text).map_err(de::Error::custom);
        take(0)?;
        let Some((values, row)) = self.column.value(self.row) else { return visitor.visit_unit() };
        let reason = match values {
            Values::Boolean(values) => return visitor.visit_bool(values.value(row)),
            Values::Signed(value) => return visitor.visit_i64(value(row)),
            Values::Unsigned(value) => return visitor.visit_u64(value(row)),
            Values::Float(value) => return visitor.visit_f64(value(row)),
            Values::Text(text) => {
                let text = text(row);
                take(text.len())?;
                return visitor.visit_str(text);
            }
            Values::Bytes(bytes) => {
                let bytes = bytes(row);
                take(bytes.len().saturating_mul(2))?;
                return visitor.visit_string(Hex(bytes).to_string());
            }
            Values::Words(words) => match words(row) {
                Ok(words) => return visitor.visit_string(words),
                Err(reason) => reason,
            },
            Values::List(items, range) => {
                let mut items = Items { range: range(row), item: |at| self.of(items, at) };
                let value = visitor.visit_seq(&mut items)?;
                return whole(value, items.range.len(), range(row).len());
            }
            Values::Row(columns) => return object(visitor, 0..columns.len(), self.column_of_row(columns, row)),
            Values::Struct(members) => return object(visitor, 0..members.len(), self.member(members, row)),
            Values::Map(key, values, range) => match unkeyed(range(row), key) {
                None => {
                    let entry = |at| (key(at).unwrap_or_default(), self.of(values, at));
                    return object(visitor, range(row), entry);
                }
                Some(reason) => reason,
            },
            Values::Never(reason) => reason.clone(),
            // They were followed to what they stand for.
            Values::Null | Values::Elsewhere(..) | Values::Union(..) => return visitor.visit_unit(),
        };
        self.ledger.unconvertible(reason).map_err(de::Error::custom)?;
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.column.value(self.row).is_some() {
            return visitor.visit_some(self);
        }
        self.ledger.take(0).map_err(de::Error::custom)?;
        visitor.visit_none()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_any(Variant(visitor))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier
    }
}

/// A type that leaves out some of the values does not fit
fn whole<T>(value: T, left: usize, all: usize) -> Result<T, Error> {
    if left == 0 { Ok(value) } else { Err(de::Error::invalid_length(all, &"fewer values")) }
}

fn object<'de, 'c, 'a: 'c, V: Visitor<'de>>(
    visitor: V,
    range: Range<usize>,
    entry: impl Fn(usize) -> (&'c str, Value<'c, 'a>),
) -> Result<V::Value, Error> {
    let all = range.len();
    let mut entries = Entries { range, entry, value: None };
    let value = visitor.visit_map(&mut entries)?;
    whole(value, entries.range.len(), all)
}

struct Items<F> {
    range: Range<usize>,
    item: F,
}

impl<'de, 'c, 'a: 'c, F: Fn(usize) -> Value<'c, 'a>> SeqAccess<'de> for Items<F> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.range.next().map(|at| seed.deserialize((self.item)(at))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.range.len())
    }
}

struct Entries<'c, 'a, F> {
    range: Range<usize>,
    entry: F,
    /// That of the key before
    value: Option<Value<'c, 'a>>,
}

impl<'de, 'c, 'a: 'c, F: Fn(usize) -> (&'c str, Value<'c, 'a>)> MapAccess<'de> for Entries<'c, 'a, F> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(at) = self.range.next() else { return Ok(None) };
        let (key, value) = (self.entry)(at);
        self.value = Some(value);
        seed.deserialize(Key(key)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let value = self.value.take().ok_or_else(|| de::Error::custom("a value was asked for before its key"))?;
        seed.deserialize(value)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.range.len())
    }
}

/// Reads an enum as JSON has it: text names a variant, an object with one member holds its content
struct Variant<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Variant<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_str<E: de::Error>(self, variant: &str) -> Result<V::Value, E> {
        self.0.visit_enum(variant.into_deserializer())
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(MapAccessDeserializer::new(members))
    }
}

/// A key of an object; a number or boolean where the type asks for one, as in JSON
struct Key<'c>(&'c str);

macro_rules! parsed {
    ($($deserialize:ident $visit:ident)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0.parse() {
                Ok(value) => visitor.$visit(value),
                Err(_) => visitor.visit_str(self.0),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Key<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.0)
    }

    parsed! {
        deserialize_bool visit_bool
        deserialize_i8 visit_i8 deserialize_i16 visit_i16 deserialize_i32 visit_i32 deserialize_i64 visit_i64
        deserialize_u8 visit_u8 deserialize_u16 visit_u16 deserialize_u32 visit_u32 deserialize_u64 visit_u64
        deserialize_i128 visit_i128 deserialize_u128 visit_u128 deserialize_f32 visit_f32 deserialize_f64 visit_f64
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    serde::forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
