//! One batch's metadata against its schema and its body: every row and every buffer accounted for before Arrow looks.

use arrow_ipc::{Buffer, CompressionType, FieldNode};
use arrow_schema::{DataType, Field, UnionMode};
use flatbuffers::VectorIter;

use super::limits::Budget;
use super::{column, damaged};
use crate::error::{CodecError, CodecFault};

/// The bytes of a batch, and how its message says to read them
#[derive(Debug, Clone, Copy)]
pub(super) struct Body<'a> {
    pub(super) bytes: &'a [u8],
    /// Before format version V5 a union had a validity bitmap
    pub(super) union_validity: bool,
}

/// Checks a batch whose columns have these fields; returns the bytes its columns take once read
pub(super) fn check<'f>(
    batch: arrow_ipc::RecordBatch<'_>,
    fields: impl IntoIterator<Item = &'f Field>,
    body: Body<'_>,
    budget: &mut Budget,
) -> Result<u64, CodecError> {
    let compressed = match batch.compression().map(|compression| compression.codec()) {
        None => false,
        Some(CompressionType::LZ4_FRAME | CompressionType::ZSTD) if !cfg!(feature = "compression") => {
            return Err(CodecError(CodecFault::NoCompression));
        }
        Some(CompressionType::LZ4_FRAME | CompressionType::ZSTD) => true,
        Some(CompressionType(other)) => {
            return Err(damaged(format!("its bodies are compressed by the unknown method {other}")));
        }
    };
    let (Some(nodes), Some(buffers)) = (batch.nodes(), batch.buffers()) else {
        return Err(damaged("a batch lacks its list of nodes or of buffers"));
    };
    let rows = unsigned(batch.length(), || "a batch has a negative number of rows".to_owned())?;
    let variadic = batch.variadicBufferCounts().map(|counts| counts.iter());
    let mut walk = Walk {
        nodes: nodes.iter(),
        buffers: buffers.iter(),
        variadic,
        body,
        compressed,
        held: 0,
        decoded: 0,
        unbacked: 0,
        budget,
    };
    let mut columns = 0_u64;
    for field in fields {
        let found = walk.field(field)?;
        if found != rows {
            return Err(damaged(format!("{} has {found} rows in a batch of {rows}", column(field))));
        }
        columns += 1;
    }
    if columns == 0 {
        walk.unbacked = rows;
    }
    let (unbacked, decoded) = (walk.unbacked, walk.decoded);
    budget.take_unbacked(unbacked)?;
    Ok(decoded)
}

struct Walk<'a, 'b> {
    nodes: VectorIter<'a, FieldNode>,
    buffers: VectorIter<'a, Buffer>,
    variadic: Option<VectorIter<'a, i64>>,
    body: Body<'a>,
    compressed: bool,
    /// Bytes of the body that buffers have claimed
    held: u64,
    decoded: u64,
    /// The most rows of a node for which no bytes stand
    unbacked: u64,
    budget: &'b mut Budget,
}

#[derive(Clone, Copy)]
struct Node {
    rows: u64,
    nulls: u64,
}

impl Walk<'_, '_> {
    /// Checks one field and what is below it; returns its rows
    fn field(&mut self, field: &Field) -> Result<u64, CodecError> {
        let node = self.node(field)?;
        let rows = node.rows;
        match field.data_type() {
            DataType::Null => {
                if node.nulls != rows {
                    return Err(damaged(format!("{} is null, but not all of its rows are", column(field))));
                }
                self.unbacked = self.unbacked.max(rows);
            }
            DataType::Boolean => {
                self.validity(field, node)?;
                self.buffer(field, "values", rows.div_ceil(8), 1)?;
            }
            DataType::FixedSizeBinary(width) => {
                let width = unsigned((*width).into(), || format!("{} has a negative width", column(field)))?;
                self.validity(field, node)?;
                self.buffer(field, "values", times(rows, width), 1)?;
                if width == 0 {
                    self.unbacked = self.unbacked.max(rows);
                }
            }
            DataType::Utf8 | DataType::Binary => {
                self.offsets(field, node, 4)?;
                self.buffer(field, "values", 0, 1)?;
            }
            DataType::LargeUtf8 | DataType::LargeBinary => {
                self.offsets(field, node, 8)?;
                self.buffer(field, "values", 0, 1)?;
            }
            DataType::Utf8View | DataType::BinaryView => {
                let count = self.variadic.as_mut().and_then(Iterator::next);
                let count = count.ok_or_else(|| damaged(format!("{} has no count of its buffers", column(field))))?;
                let count = unsigned(count, || format!("{} has a negative number of buffers", column(field)))?;
                self.validity(field, node)?;
                self.buffer(field, "views", rows, 16)?;
                // Ends with the batch's buffers if the count is a lie.
                for _ in 0..count {
                    self.buffer(field, "values", 0, 1)?;
                }
            }
            DataType::List(child) | DataType::Map(child, _) => {
                self.offsets(field, node, 4)?;
                self.field(child)?;
            }
            DataType::LargeList(child) => {
                self.offsets(field, node, 8)?;
                self.field(child)?;
            }
            DataType::ListView(child) => self.list_view(field, node, child, 4)?,
            DataType::LargeListView(child) => self.list_view(field, node, child, 8)?,
            DataType::FixedSizeList(child, length) => {
                let length = unsigned((*length).into(), || format!("{} has lists of negative length", column(field)))?;
                self.validity(field, node)?;
                let found = self.field(child)?;
                if found < times(rows, length) {
                    return Err(damaged(format!("{} has {found} values for {rows} lists of {length}", column(field))));
                }
                if length == 0 {
                    self.unbacked = self.unbacked.max(rows);
                }
            }
            DataType::Struct(children) => {
                self.validity(field, node)?;
                for child in children {
                    self.child_of(field, rows, child)?;
                }
                if children.is_empty() {
                    self.unbacked = self.unbacked.max(rows);
                }
            }
            DataType::RunEndEncoded(ends, values) => {
                let runs = self.field(ends)?;
                self.child_of(field, runs, values)?;
                self.unbacked = self.unbacked.max(rows);
            }
            DataType::Union(children, mode) => {
                if self.body.union_validity {
                    self.buffer(field, "validity bitmap", 0, 1)?;
                }
                self.buffer(field, "type ids", rows, 1)?;
                match mode {
                    UnionMode::Dense => {
                        self.dense_offsets(field, rows)?;
                        children.iter().try_for_each(|(_, child)| self.field(child).map(drop))?;
                    }
                    UnionMode::Sparse => {
                        children.iter().try_for_each(|(_, child)| self.child_of(field, rows, child))?
                    }
                }
            }
            DataType::Dictionary(key, values) => {
                self.budget.take_expanded(rebuilt(values))?;
                self.validity(field, node)?;
                self.fixed_width(field, node, key)?;
            }
            other => {
                self.validity(field, node)?;
                self.fixed_width(field, node, other)?;
            }
        }
        Ok(rows)
    }

    fn node(&mut self, field: &Field) -> Result<Node, CodecError> {
        let node = self.nodes.next().ok_or_else(|| damaged(format!("a batch lacks the node of {}", column(field))))?;
        let negative = || format!("{} has a negative number of rows or nulls", column(field));
        let (rows, nulls) = (unsigned(node.length(), negative)?, unsigned(node.null_count(), negative)?);
        if nulls > rows {
            return Err(damaged(format!("{} has {nulls} nulls in {rows} rows", column(field))));
        }
        Ok(Node { rows, nulls })
    }

    /// A child that has as many rows as its parent says
    fn child_of(&mut self, field: &Field, rows: u64, child: &Field) -> Result<(), CodecError> {
        let found = self.field(child)?;
        if found == rows {
            return Ok(());
        }
        Err(damaged(format!("{} has {rows} rows, its child {} has {found}", column(field), column(child))))
    }

    fn validity(&mut self, field: &Field, node: Node) -> Result<(), CodecError> {
        let needed = if node.nulls == 0 { 0 } else { node.rows.div_ceil(8) };
        self.buffer(field, "validity bitmap", needed, 1).map(drop)
    }

    /// Validity and offsets; without rows the offsets may be left out
    fn offsets(&mut self, field: &Field, node: Node, width: u64) -> Result<(), CodecError> {
        self.validity(field, node)?;
        let count = if node.rows == 0 { 0 } else { node.rows.saturating_add(1) };
        self.buffer(field, "offsets", count, width).map(drop)
    }

    fn list_view(&mut self, field: &Field, node: Node, child: &Field, width: u64) -> Result<(), CodecError> {
        self.validity(field, node)?;
        self.buffer(field, "offsets", node.rows, width)?;
        self.buffer(field, "sizes", node.rows, width)?;
        self.field(child).map(drop)
    }

    /// A dense union's offsets, which Arrow does not realign
    fn dense_offsets(&mut self, field: &Field, rows: u64) -> Result<(), CodecError> {
        let compressed = self.compressed;
        let (bytes, length) = self.buffer(field, "offsets", rows, 4)?;
        // Arrow's buffer for a compressed length of 0 is aligned to nothing.
        if !bytes.as_ptr().addr().is_multiple_of(4) || (compressed && !bytes.is_empty() && length == 0) {
            return Err(damaged(format!("{}: its offsets are not aligned to 4 bytes", column(field))));
        }
        Ok(())
    }

    fn fixed_width(&mut self, field: &Field, node: Node, data_type: &DataType) -> Result<(), CodecError> {
        let width = data_type.primitive_width().and_then(|width| u64::try_from(width).ok());
        let width =
            width.ok_or_else(|| damaged(format!("{} has the type {data_type}, which can't be read", column(field))))?;
        self.buffer(field, "values", node.rows, width).map(drop)
    }

    /// The next buffer as it lies in the body, and its length once read: `count` elements of `width` bytes or more
    ///
    /// Arrow panics on a part of an element, so also what lies beyond the count is whole.
    fn buffer(&mut self, field: &Field, what: &str, count: u64, width: u64) -> Result<(&[u8], u64), CodecError> {
        let buffer =
            self.buffers.next().ok_or_else(|| damaged(format!("{}: no buffer for its {what}", column(field))))?;
        let start = usize::try_from(buffer.offset()).ok();
        let length = usize::try_from(buffer.length()).ok();
        let bytes = start
            .zip(length)
            .and_then(|(start, length)| self.body.bytes.get(start..start.checked_add(length)?))
            .ok_or_else(|| damaged(format!("{}: the buffer of its {what} is not inside the body", column(field))))?;
        // Writers give each buffer its own bytes. Many buffers over the same bytes would be copied or decompressed each.
        self.held = self.held.saturating_add(wide(bytes.len()));
        if self.held > wide(self.body.bytes.len()) {
            return Err(damaged("the buffers of a batch are longer than its body"));
        }
        let length =
            if self.compressed && !bytes.is_empty() { self.expanded(field, bytes)? } else { wide(bytes.len()) };
        if !self.compressed {
            self.budget.take(length)?;
        }
        let needed = times(count, width);
        if length < needed || !length.is_multiple_of(width) {
            let fault = format!("its {what} take {length} bytes, not {needed} or more in steps of {width}");
            return Err(damaged(format!("{}: {fault}", column(field))));
        }
        self.decoded = self.decoded.saturating_add(length);
        Ok((bytes, length))
    }

    /// The length that a compressed buffer declares, which Arrow allocates before it looks further
    fn expanded(&mut self, field: &Field, bytes: &[u8]) -> Result<u64, CodecError> {
        let (prefix, rest) = bytes
            .split_first_chunk::<8>()
            .ok_or_else(|| damaged(format!("{}: a compressed buffer is too short for its length", column(field))))?;
        match i64::from_le_bytes(*prefix) {
            // Not compressed after all, because that would have been longer.
            -1 => {
                let length = wide(rest.len());
                self.budget.take(length).map(|()| length)
            }
            declared => {
                let length = unsigned(declared, || {
                    format!("{}: a compressed buffer declares a negative length", column(field))
                })?;
                self.budget.take_expanded(length).map(|()| length)
            }
        }
    }
}

fn unsigned(number: i64, refusal: impl FnOnce() -> String) -> Result<u64, CodecError> {
    u64::try_from(number).map_err(|_| damaged(refusal()))
}

/// What Arrow allocates to name a dictionary's values in one more batch, beside the values: arrays below the first are
/// built anew, while the message grows by one node
fn rebuilt(values: &DataType) -> u64 {
    const ARRAY: u64 = 256;
    // A union keeps a slot for each of its 128 possible ids.
    const UNION: u64 = 2304;
    let child = |child: &Field| ARRAY + rebuilt(child.data_type());
    match values {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => child(field),
        DataType::Struct(fields) => fields.iter().map(|field| child(field)).sum(),
        DataType::RunEndEncoded(ends, values) => child(ends) + child(values),
        DataType::Union(fields, _) => UNION + fields.iter().map(|(_, field)| child(field)).sum::<u64>(),
        DataType::Dictionary(_, values) => ARRAY + rebuilt(values),
        _ => 0,
    }
}

const fn times(rows: u64, width: u64) -> u64 {
    rows.saturating_mul(width)
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
