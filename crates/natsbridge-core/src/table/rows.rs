//! The rows of a table as a serde sequence of maps: into any serializer and any type, one batch after the other.

use std::collections::HashSet;

use arrow_array::RecordBatch;
use serde::Serialize;
use serde::de::{self, DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::ser::{SerializeSeq as _, Serializer};
use serde_json::Error;

use super::Table;
use super::cell::Value;
use super::column::Column;
use super::ledger::Ledger;
use crate::error::{CodecError, CodecFault};

/// A table's rows, and what was found on the way through them
///
/// It serialises as a sequence of maps, and a type is read from a reference to it.
pub(crate) struct TableRows<'t> {
    table: &'t Table,
    ledger: Ledger,
}

impl<'t> TableRows<'t> {
    /// Rows of which each value counts `value` bytes and its text, all of them at most `limit`
    pub(super) fn new(table: &'t Table, value: u64, limit: u64) -> Result<Self, CodecError> {
        let fields = table.schema.fields();
        let mut names = HashSet::new();
        if let Some(twice) = fields.iter().find(|field| !names.insert(field.name())) {
            let reason = "two columns have this name, and a JSON object holds one of them".to_owned();
            return Err(CodecError(CodecFault::Unconvertible { column: twice.name().clone(), reason }));
        }
        Ok(Self { table, ledger: Ledger::new(value, limit) })
    }

    /// The same rows with null for each value without counterpart
    pub(super) fn showing(self) -> Self {
        Self { ledger: self.ledger.showing(), ..self }
    }

    /// Why values have no counterpart, of each column the first reason; or what the rows would have cost
    pub(crate) fn problems(&self) -> Vec<CodecError> {
        let fields = self.table.schema.fields();
        self.ledger.problems(|column| fields.get(column).map(|field| field.name().clone()).unwrap_or_default())
    }

    /// The first of them
    pub(crate) fn problem(&self) -> Option<CodecError> {
        self.problems().into_iter().next()
    }

    /// Each row in turn
    pub(super) fn each<E>(&self, mut row: impl FnMut(Value<'_, '_>) -> Result<(), E>) -> Result<(), E> {
        for batch in &self.table.batches {
            let columns = Column::rows(batch);
            for at in 0..batch.num_rows() {
                row(Value { column: &columns, row: at, ledger: &self.ledger })?;
            }
        }
        Ok(())
    }
}

impl Serialize for TableRows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.table.num_rows()))?;
        self.each(|row| rows.serialize_element(&row))?;
        rows.end()
    }
}

impl<'de> Deserializer<'de> for &TableRows<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut rows = BatchRows {
            ledger: &self.ledger,
            batches: self.table.batches.iter(),
            columns: None,
            row: 0,
            rows: 0,
            left: self.table.num_rows(),
        };
        let value = visitor.visit_seq(&mut rows)?;
        match rows.left {
            0 => Ok(value),
            _ => Err(de::Error::invalid_length(self.table.num_rows(), &"fewer rows")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

/// The rows from here on
struct BatchRows<'r, 't> {
    ledger: &'r Ledger,
    batches: std::slice::Iter<'t, RecordBatch>,
    /// Those of the current batch
    columns: Option<Column<'t>>,
    row: usize,
    rows: usize,
    /// Rows of all batches that are not read yet
    left: usize,
}

impl<'de> SeqAccess<'de> for BatchRows<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        while self.row == self.rows {
            let Some(batch) = self.batches.next() else { return Ok(None) };
            (self.columns, self.row, self.rows) = (Some(Column::rows(batch)), 0, batch.num_rows());
        }
        let Some(column) = &self.columns else { return Ok(None) };
        let row = Value { column, row: self.row, ledger: self.ledger };
        self.row += 1;
        self.left -= 1;
        seed.deserialize(row).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}
