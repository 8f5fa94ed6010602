//! A stranger's schema: turned into Arrow's, with what Arrow's arrays take for granted checked.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::{Endianness, Type};
use arrow_schema::{DataType, Field, SchemaRef, UnionMode};

use super::{column, damaged};
use crate::CodecError;

/// A schema that arrays can be built from, and the value types of its dictionaries by id
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) schema: SchemaRef,
    pub(super) dictionaries: HashMap<i64, DataType>,
    /// Arrow copies misaligned columns, except the offsets of dense unions: those it refuses by a panic
    pub(super) dense_union: bool,
}

/// Checks a schema message
pub(super) fn check(schema: arrow_ipc::Schema<'_>) -> Result<Checked, CodecError> {
    if schema.endianness() != Endianness::Little {
        return Err(damaged("it is big-endian; ask the sender to write little-endian Arrow"));
    }
    for field in schema.fields().into_iter().flatten() {
        check_union_ids(field)?;
    }
    let schema = try_fb_to_schema(schema).map_err(|error| damaged(format!("its schema: {error}")))?;
    let mut checked = Checked { schema: Arc::new(schema), dictionaries: HashMap::new(), dense_union: false };
    for field in Arc::clone(&checked.schema).fields() {
        check_field(field, &mut checked)?;
    }
    Ok(checked)
}

/// A union's type ids are eight bits; Arrow panics beyond that when they are implied, and cuts them when they are given
fn check_union_ids(field: arrow_ipc::Field<'_>) -> Result<(), CodecError> {
    let children = field.children();
    if field.type_type() == Type::Union {
        let ids = field.type_as_union().and_then(|union| union.typeIds());
        let implied = children.map_or(0, |children| children.len());
        let fits = ids.map_or(implied <= 128, |ids| ids.iter().all(|id| (0..=127).contains(&id)));
        if !fits {
            return Err(damaged("a union's type ids are not within 0 to 127"));
        }
    }
    children.into_iter().flatten().try_for_each(check_union_ids)
}

fn check_field(field: &Field, checked: &mut Checked) -> Result<(), CodecError> {
    if let DataType::Dictionary(_, values) = field.data_type() {
        #[expect(
            deprecated,
            reason = "the id in the schema is the only link between a dictionary batch and its fields"
        )]
        let id = field.dict_id().unwrap_or_default();
        match checked.dictionaries.get(&id) {
            Some(known) if known != values.as_ref() => {
                return Err(damaged(format!("{}: dictionary {id} stands for two types", column(field))));
            }
            Some(_) => {}
            None => {
                checked.dictionaries.insert(id, values.as_ref().clone());
            }
        }
    }
    check_type(field, field.data_type(), checked)
}

fn check_type(field: &Field, data_type: &DataType, checked: &mut Checked) -> Result<(), CodecError> {
    let refuse = |what: &str| Err(damaged(format!("{}: {what}", column(field))));
    match data_type {
        DataType::FixedSizeBinary(width) if *width < 0 => refuse("its values have a negative width"),
        DataType::FixedSizeList(_, length) if *length < 0 => refuse("its lists have a negative length"),
        DataType::Decimal32(precision, _) if !(1..=9).contains(precision) => refuse("its precision is not 1 to 9"),
        DataType::Decimal64(precision, _) if !(1..=18).contains(precision) => refuse("its precision is not 1 to 18"),
        DataType::Decimal128(precision, _) if !(1..=38).contains(precision) => refuse("its precision is not 1 to 38"),
        DataType::Decimal256(precision, _) if !(1..=76).contains(precision) => refuse("its precision is not 1 to 76"),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => check_field(entries, checked),
            _ => refuse("a map's entries are a struct of key and value"),
        },
        DataType::RunEndEncoded(ends, values) => match ends.data_type() {
            DataType::Int16 | DataType::Int32 | DataType::Int64 => check_field(values, checked),
            _ => refuse("run ends are integers of 16, 32 or 64 bits"),
        },
        DataType::List(child)
        | DataType::LargeList(child)
        | DataType::ListView(child)
        | DataType::LargeListView(child)
        | DataType::FixedSizeList(child, _) => check_field(child, checked),
        DataType::Struct(children) => children.iter().try_for_each(|child| check_field(child, checked)),
        DataType::Union(children, mode) => {
            checked.dense_union |= *mode == UnionMode::Dense;
            children.iter().try_for_each(|(_, child)| check_field(child, checked))
        }
        DataType::Dictionary(_, values) => check_type(field, values, checked),
        _ => Ok(()),
    }
}

/// Whether a delta can be appended to a dictionary of this type without growing beyond both lengths together
///
/// Views, runs and dense unions may name the same value many times, and appending writes it out each time.
pub(super) fn appends_plainly(values: &DataType) -> bool {
    match values {
        DataType::Union(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::RunEndEncoded(..)
        | DataType::Dictionary(..) => false,
        DataType::List(child)
        | DataType::LargeList(child)
        | DataType::FixedSizeList(child, _)
        | DataType::Map(child, _) => appends_plainly(child.data_type()),
        DataType::Struct(children) => children.iter().all(|child| appends_plainly(child.data_type())),
        _ => true,
    }
}
