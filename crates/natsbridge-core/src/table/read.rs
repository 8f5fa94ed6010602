//! From Arrow IPC bytes to a table: each message is checked, then read by Arrow, inside one fence for panics.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::{RecordBatchDecoder, read_dictionary};
use arrow_ipc::{Block, MessageHeader, MetadataVersion};
use arrow_schema::{Field, FieldRef};
use bytes::Bytes;

use super::frame::{self, Frame, Frames};
use super::limits::Budget;
use super::schema::Checked;
use super::{Size, Table, TableLimits, damaged, layout, schema};
use crate::CodecError;

/// Reads a stream or a file
pub(super) fn read(bytes: &Bytes, limits: &TableLimits) -> Result<Table, CodecError> {
    let input = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let mut budget = limits.budget(input);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let buffer = Buffer::from(bytes.clone());
        if frame::is_file(bytes) { read_file(&buffer, &mut budget) } else { read_stream(&buffer, &mut budget) }
    }));
    // The checks are the fence that holds when a panic aborts; no input is known that comes this far.
    outcome.unwrap_or_else(|_| Err(damaged("the Arrow reader panicked on it")))
}

fn read_stream(whole: &Buffer, budget: &mut Budget) -> Result<Table, CodecError> {
    let first = Frames::new(whole).next()?.ok_or_else(|| damaged("it is empty"))?;
    supported(first.message.version())?;
    let schema = first.message.header_as_schema().ok_or_else(|| damaged("its first message is not a schema"))?;
    let checked = schema::check(schema)?;
    let buffer = aligned(whole, &checked);

    let mut frames = Frames::new(&buffer);
    // The schema, read above; reading it again is cheaper than a second way to start.
    frames.next()?;
    let mut reader = Reader::new(checked, &buffer, budget);
    while let Some(frame) = frames.next()? {
        reader.message(&frame)?;
    }
    Ok(reader.table())
}

fn read_file(whole: &Buffer, budget: &mut Budget) -> Result<Table, CodecError> {
    let footer = frame::footer(whole)?;
    // Writers before 0.15 left it out of the footer, where V1 stands for nothing; each message has its own.
    if footer.version() != MetadataVersion::V1 {
        supported(footer.version())?;
    }
    let checked = schema::check(footer.schema().ok_or_else(|| damaged("its footer has no schema"))?)?;
    let buffer = aligned(whole, &checked);

    let footer = frame::footer(&buffer)?;
    let mut reader = Reader::new(checked, &buffer, budget);
    // Two blocks may not name the same bytes: each would be read anew.
    let mut unread = buffer.len();
    let blocks = |kind: MessageHeader,
                  list: Option<flatbuffers::Vector<'_, Block>>,
                  reader: &mut Reader<'_, '_>,
                  unread: &mut usize| {
        for block in list.into_iter().flatten() {
            let frame = frame::block(&buffer, block)?;
            *unread = unread
                .checked_sub(frame.length)
                .ok_or_else(|| damaged("the blocks of its footer are longer than the file"))?;
            if frame.message.header_type() != kind {
                return Err(damaged("a block of its footer points to a message of another kind"));
            }
            reader.message(&frame)?;
        }
        Ok(())
    };
    blocks(MessageHeader::DictionaryBatch, footer.dictionaries(), &mut reader, &mut unread)?;
    blocks(MessageHeader::RecordBatch, footer.recordBatches(), &mut reader, &mut unread)?;
    Ok(reader.table())
}

/// The input where Arrow can read it in place; columns are slices of it
fn aligned(whole: &Buffer, checked: &Checked) -> Buffer {
    let in_place = !checked.dense_union || whole.as_ptr().addr().is_multiple_of(8);
    if in_place { whole.clone() } else { Buffer::from_slice_ref(whole.as_slice()) }
}

fn supported(version: MetadataVersion) -> Result<(), CodecError> {
    match version {
        MetadataVersion::V4 | MetadataVersion::V5 => Ok(()),
        MetadataVersion(other) => {
            Err(damaged(format!("its format version is {}; V4 and V5 can be read", i32::from(other) + 1)))
        }
    }
}

struct Reader<'a, 'b> {
    checked: Checked,
    buffer: &'a Buffer,
    dictionaries: HashMap<i64, ArrayRef>,
    /// What each dictionary takes, deltas included
    dictionary_bytes: HashMap<i64, u64>,
    batches: Vec<RecordBatch>,
    budget: &'b mut Budget,
}

impl<'a, 'b> Reader<'a, 'b> {
    fn new(checked: Checked, buffer: &'a Buffer, budget: &'b mut Budget) -> Self {
        let (dictionaries, dictionary_bytes) = (HashMap::new(), HashMap::new());
        Self { checked, buffer, dictionaries, dictionary_bytes, batches: Vec::new(), budget }
    }

    fn message(&mut self, frame: &Frame<'_>) -> Result<(), CodecError> {
        supported(frame.message.version())?;
        let message = &frame.message;
        match message.header_type() {
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch().ok_or_else(|| damaged("a batch has no header"))?;
                self.record_batch(frame, batch)
            }
            MessageHeader::DictionaryBatch => {
                let batch =
                    message.header_as_dictionary_batch().ok_or_else(|| damaged("a dictionary has no header"))?;
                self.dictionary(frame, batch)
            }
            MessageHeader::Schema => Err(damaged("it has a second schema")),
            other => {
                Err(damaged(format!("it has a message of the kind {}", other.variant_name().unwrap_or("unknown"))))
            }
        }
    }

    fn record_batch(&mut self, frame: &Frame<'_>, batch: arrow_ipc::RecordBatch<'_>) -> Result<(), CodecError> {
        let schema = Arc::clone(&self.checked.schema);
        let body = self.body(frame);
        layout::check(batch, schema.fields().iter().map(FieldRef::as_ref), check_body(frame, &body), self.budget)?;
        let version = frame.message.version();
        let batch = RecordBatchDecoder::try_new(&body, batch, schema, &self.dictionaries, &version)
            .and_then(RecordBatchDecoder::read_record_batch)
            .map_err(|error| damaged(format!("batch {}: {error}", self.batches.len())))?;
        self.batches.push(batch);
        Ok(())
    }

    fn dictionary(&mut self, frame: &Frame<'_>, batch: arrow_ipc::DictionaryBatch<'_>) -> Result<(), CodecError> {
        let id = batch.id();
        let data = batch.data().ok_or_else(|| damaged(format!("dictionary {id} has no values")))?;
        let values = self.checked.dictionaries.get(&id);
        let values = values.ok_or_else(|| damaged(format!("dictionary {id} belongs to no column")))?;
        if batch.isDelta() && !schema::appends_plainly(values) {
            return Err(damaged(format!("dictionary {id} is extended, which is not supported for {values}")));
        }
        let field = Field::new("dictionary", values.clone(), true);
        let body = self.body(frame);
        let bytes = layout::check(data, [&field], check_body(frame, &body), self.budget)?;
        let known = self.dictionary_bytes.entry(id).or_default();
        if batch.isDelta() {
            // A delta makes a new dictionary of both; batches in between keep the old one.
            *known = known.saturating_add(bytes);
            self.budget.take_expanded(*known)?;
        } else {
            *known = bytes;
        }
        read_dictionary(&body, batch, &self.checked.schema, &mut self.dictionaries, &frame.message.version())
            .map_err(|error| damaged(format!("dictionary {id}: {error}")))
    }

    fn body(&self, frame: &Frame<'_>) -> Buffer {
        self.buffer.slice_with_length(frame.body.start, frame.body.len())
    }

    fn table(self) -> Table {
        let input = u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        let read = Some(Size { input, decoded: self.budget.decoded() });
        Table { schema: self.checked.schema, batches: self.batches, read }
    }
}

fn check_body<'a>(frame: &Frame<'_>, body: &'a Buffer) -> layout::Body<'a> {
    layout::Body { bytes: body.as_slice(), union_validity: frame.message.version() < MetadataVersion::V5 }
}
