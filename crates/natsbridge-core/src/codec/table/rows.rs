//! Arrow tables to JSON rows: as values in memory, or as text that is written while it is made.

use std::collections::HashSet;
use std::io;

use serde_json::Value as Json;

use super::Table;
use super::cells::cell;
use super::out::{Out, Step, Stop, Text, Tree};
use crate::{CodecError, Rows};

/// The rows as values, within a limit of memory
pub(super) fn to_rows(table: &Table, max_bytes: u64) -> Result<Rows, CodecError> {
    distinct(table)?;
    let mut rows = Vec::new();
    let mut tree = Tree::new(max_bytes);
    let mut current = None;
    let taken = each_row(table, &mut tree, |tree, event| {
        match event {
            Event::Row => tree.spend(0)?,
            Event::Column(column) => current = Some(column),
            Event::End => {
                if let Some(Json::Object(row)) = tree.take() {
                    rows.push(row);
                }
            }
        }
        Ok(())
    });
    let name = |column: usize| table.schema.fields().get(column).map_or("", |field| field.name());
    taken.map_err(|stop| stop.of(current.map_or("", name)))?;
    Ok(Rows::new(rows))
}

/// Writes the rows as one JSON array; answers for each column with values that have no JSON, which become null, why
///
/// What can't be written at all, because two columns have one name, is refused before anything is written.
pub(super) fn write_rows(table: &Table, out: &mut dyn io::Write) -> Result<io::Result<Vec<CodecError>>, CodecError> {
    distinct(table)?;
    let fields = table.schema.fields();
    let mut reasons: Vec<Option<String>> = vec![None; fields.len()];
    let mut text = Text::new(out);
    let mut current = 0;
    let mut note = |text: &mut Text<'_>, column: usize| {
        if let (Some(reason), Some(known)) = (text.unconvertible.take(), reasons.get_mut(column)) {
            known.get_or_insert(reason);
        }
    };
    let written = text.begin_list().and_then(|()| {
        each_row(table, &mut text, |text, event| {
            note(text, current);
            match event {
                Event::Row => text.item()?,
                Event::Column(column) => current = column,
                Event::End => {}
            }
            Ok(())
        })?;
        text.end_list()
    });
    match written {
        Ok(()) => {}
        Err(Stop::Io(error)) => return Ok(Err(error)),
        Err(stop) => return Err(stop.of("")),
    }
    let named = fields.iter().zip(reasons);
    let unconvertible = |(field, reason): (&arrow_schema::FieldRef, Option<String>)| {
        reason.map(|reason| CodecError::Unconvertible { column: field.name().clone(), reason })
    };
    Ok(Ok(named.filter_map(unconvertible).collect()))
}

/// A JSON object holds one value for a key
fn distinct(table: &Table) -> Result<(), CodecError> {
    let mut names = HashSet::new();
    match table.schema.fields().iter().find(|field| !names.insert(field.name())) {
        Some(twice) => {
            let reason = "two columns have this name, and a JSON object holds one of them".to_owned();
            Err(CodecError::Unconvertible { column: twice.name().clone(), reason })
        }
        None => Ok(()),
    }
}

/// What comes next, or is done
enum Event {
    /// Before a row
    Row,
    /// Before a value of the column at this place
    Column(usize),
    /// After a row
    End,
}

fn each_row<O: Out>(table: &Table, out: &mut O, mut tell: impl FnMut(&mut O, Event) -> Step) -> Step {
    let fields = table.schema.fields();
    for batch in &table.batches {
        let columns = fields.iter().zip(batch.columns());
        let columns: Vec<_> = columns.map(|(field, array)| (field.name(), cell(field, array))).collect();
        for row in 0..batch.num_rows() {
            tell(out, Event::Row)?;
            out.begin_object(columns.len())?;
            for (at, (name, cell)) in columns.iter().enumerate() {
                tell(out, Event::Column(at))?;
                out.key(name)?;
                cell(row, out)?;
            }
            out.end_object()?;
            tell(out, Event::End)?;
        }
    }
    Ok(())
}
