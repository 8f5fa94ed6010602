//! How many rows a jsontable has, its columns and first rows, found without building the others.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::preview::{COLUMNS, Cell, Preview, ROWS, Row};

/// What is told of a table
#[derive(Debug, Default, PartialEq)]
pub(super) struct Counted {
    rows: usize,
    /// Names in the order in which rows first name them
    columns: Vec<String>,
    first: Vec<Row>,
}

impl Counted {
    /// Looks through an array of objects; what is none has no rows
    pub(super) fn of(json: &[u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_default()
    }

    pub(super) fn into_preview(self) -> Preview {
        let columns = self.columns.len();
        Preview::of_rows(self.columns, columns, self.first, self.rows)
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Rows)
    }
}

struct Rows;

impl<'de> Visitor<'de> for Rows {
    type Value = Counted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Counted, A::Error> {
        let mut counted = Counted::default();
        loop {
            let keys = if counted.first.len() < ROWS {
                let Some(First(row)) = rows.next_element()? else { break };
                let keys = row.iter().map(|(key, _)| key.clone()).collect();
                counted.first.push(row);
                keys
            } else {
                let Some(Keys(keys)) = rows.next_element()? else { break };
                keys
            };
            counted.rows += 1;
            for key in keys {
                if counted.columns.len() < COLUMNS && !counted.columns.contains(&key) {
                    counted.columns.push(key);
                }
            }
        }
        Ok(counted)
    }
}

/// The first members of an object
struct First(Row);

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members::<Cell>(PhantomData)).map(Self)
    }
}

/// The first keys of an object
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = deserializer.deserialize_map(Members::<IgnoredAny>(PhantomData))?;
        Ok(Self(members.into_iter().map(|(key, _)| key).collect()))
    }
}

/// The first members of an object, whose values are read as `V`
struct Members<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Members<V> {
    type Value = Vec<(String, V)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut first = Vec::new();
        while let Some(key) = members.next_key::<String>()? {
            if first.len() < COLUMNS {
                first.push((key, members.next_value()?));
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_are_counted() {
        let counted = Counted::of(br#"[{"a": 1, "b": {"x": [2]}}, {"c": null, "a": "t"}]"#);
        assert_eq!((counted.rows, &counted.columns[..]), (2, &["a".to_owned(), "b".to_owned(), "c".to_owned()][..]));
        let many = Counted::of(format!("[{}{{}}]", "{\"a\":1},".repeat(20)).as_bytes());
        assert_eq!((many.rows, many.first.len()), (21, ROWS));
        assert_eq!(Counted::of(b"3"), Counted::default());
    }
}
