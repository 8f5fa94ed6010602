//! Arrow from a stranger, forged by hand: each lie ends in the error that names it, in bounded memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::as_conversions, reason = "test code")]

#[path = "table_support/measured.rs"]
mod measured;
mod table_support;

use std::sync::Arc;

use arrow_array::types::Int8Type;
use arrow_array::{ArrayRef, DictionaryArray, Int64Array, NullArray, RecordBatch, StringArray};
use arrow_ipc::writer::{DictionaryHandling, IpcWriteOptions, StreamWriter};
use arrow_ipc::{
    Block, CompressionType, Endianness, FieldBuilder, FooterBuilder, MessageBuilder, MessageHeader, MetadataVersion,
    NullBuilder, SchemaBuilder, Struct_Builder, Type, root_as_footer, root_as_message,
};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use flatbuffers::FlatBufferBuilder;
use measured::{bound, read, refused, turn};
use natsbridge_core::{CodecError, Table, TableLimits};
use table_support::{batch, file, int64, stream};

fn rows(count: i64) -> RecordBatch {
    batch(vec![("n", int64((0..count).map(Some).collect()))])
}

/// Where each message of a stream starts, its metadata, and its body
fn messages(stream: &[u8]) -> Vec<(usize, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        let length = u32::from_le_bytes(stream[at + 4..at + 8].try_into().unwrap()) as usize;
        if length == 0 {
            return found;
        }
        let metadata = at + 8..at + 8 + length;
        let body = root_as_message(&stream[metadata.clone()]).unwrap().bodyLength() as usize;
        found.push((at, metadata.clone(), metadata.end..metadata.end + body));
        at = metadata.end + body;
    }
}

/// Where the numbers of the last batch's buffers lie: offset and length of each
fn buffers(stream: &[u8]) -> Vec<usize> {
    let (_, metadata, _) = messages(stream).pop().unwrap();
    let message = root_as_message(&stream[metadata]).unwrap();
    let buffers = message.header_as_record_batch().unwrap().buffers().unwrap();
    buffers.iter().map(|buffer| std::ptr::from_ref(buffer).addr() - stream.as_ptr().addr()).collect()
}

fn patched(bytes: &Bytes, at: usize, value: i64) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    bytes.into()
}

/// The input with every eight-byte `old` replaced
fn replaced(bytes: &Bytes, old: i64, new: i64) -> Bytes {
    let mut bytes = bytes.to_vec();
    let mut count = 0;
    for at in (0..bytes.len() - 7).step_by(4) {
        if bytes[at..at + 8] == old.to_le_bytes() {
            bytes[at..at + 8].copy_from_slice(&new.to_le_bytes());
            count += 1;
        }
    }
    assert!(count > 0, "{old} is not in the input");
    bytes.into()
}

fn reason(error: &CodecError) -> String {
    error.to_string()
}

#[test]
fn decompressed_length_of_exabytes_is_refused_unallocated() {
    let _turn = turn();
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let honest = stream(&rows(1000), Some(compression));
        let body = messages(&honest).pop().unwrap().2;
        // The first buffer is the validity, which is empty, so the body starts with the values' length.
        for declared in [i64::MAX, 1 << 60, 1 << 40, 1 << 31] {
            let error = refused(&patched(&honest, body.start, declared));
            assert_eq!(error.code(), "too_large", "{error}");
        }
        for declared in [i64::MIN, -2, 0, 7, 7992] {
            refused(&patched(&honest, body.start, declared));
        }
        // More than there is, but within the limits: allocated as declared and no more.
        let (result, peak) = read(&patched(&honest, body.start, 8 << 20), &TableLimits::default());
        result.unwrap_err();
        assert!(peak < (8 << 20) + (32 << 20) + bound(&honest), "{peak}");
    }
}

#[test]
fn bomb_of_zeros_is_refused_by_its_expansion() {
    let _turn = turn();
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let bomb = stream(&batch(vec![("n", Arc::new(Int64Array::from(vec![0; 8 << 20])))]), Some(compression));
        let error = read(&bomb, &TableLimits::default().max_expansion(100)).0.unwrap_err();
        assert!(error.code() == "too_large" && reason(&error).contains(&(64 << 20).to_string()), "{error}");
        // Declared small, in truth large: the reader stops at what was declared.
        let body = messages(&bomb).pop().unwrap().2;
        let lie = replaced(&patched(&bomb, body.start, 1 << 20), 8 << 20, 1 << 17);
        let (result, peak) = read(&lie, &TableLimits::default());
        result.unwrap_err();
        assert!(peak < (1 << 20) + (32 << 20) + bound(&lie), "{peak}");
    }
    let small = stream(&batch(vec![("n", Arc::new(Int64Array::from(vec![0; 1 << 20])))]), Some(CompressionType::ZSTD));
    assert!(read(&small, &TableLimits::default()).0.is_ok(), "8 MiB of zeros are an honest column");
}

#[test]
fn buffers_outside_their_body_are_refused() {
    let _turn = turn();
    let honest = stream(&rows(100), None);
    let values = buffers(&honest)[1];
    for (at, value) in [
        (values, -1),
        (values, -8),
        (values, 1 << 40),
        (values, i64::MAX),
        (values, 64),
        (values, i64::MIN),
        (values + 8, -1),
        (values + 8, -800),
        (values + 8, 1 << 40),
        (values + 8, i64::MAX),
        (values + 8, i64::MIN),
    ] {
        let error = refused(&patched(&honest, at, value));
        assert!(reason(&error).contains("not inside the body"), "{error}");
    }
    for (length, fault) in [(792, "not 800"), (801, "steps of 8"), (0, "not 800")] {
        let error = refused(&patched(&honest, values + 8, length));
        assert!(reason(&error).contains(fault), "{error}");
    }
}

#[test]
fn buffers_that_share_their_bytes_are_refused() {
    let _turn = turn();
    let columns: Vec<(&str, ArrayRef)> = (0..50).map(|_| ("n", int64((0..100).map(Some).collect()))).collect();
    let honest = stream(&batch(columns), None);
    let body = messages(&honest).pop().unwrap().2.len() as i64;
    let places = buffers(&honest);
    let shared = places.iter().fold(honest, |bytes, at| patched(&patched(&bytes, *at, 0), *at + 8, body));
    assert!(reason(&refused(&shared)).contains("longer than its body"));
}

#[test]
fn rows_that_are_missing_are_refused() {
    let _turn = turn();
    let honest = stream(&rows(12_345), None);
    for lie in [12_346, 1 << 40, i64::MAX, -1, i64::MIN] {
        refused(&replaced(&honest, 12_345, lie));
    }
    let text = stream(&batch(vec![("s", Arc::new(StringArray::from(vec!["x"; 12_345])))]), None);
    for lie in [12_346, i64::MAX / 4, i64::MAX] {
        refused(&replaced(&text, 12_345, lie));
    }
}

#[test]
fn rows_without_bytes_have_a_limit() {
    let _turn = turn();
    let nulls = |rows| batch(vec![("nothing", Arc::new(NullArray::new(rows)))]);
    let honest = stream(&nulls(12_345), None);
    assert_eq!(read(&honest, &TableLimits::default()).0.unwrap().num_rows(), 12_345);
    for lie in [1 << 62, i64::MAX, (1 << 24) + 1] {
        let error = refused(&replaced(&honest, 12_345, lie));
        assert!(reason(&error).contains("max_unbacked_rows"), "{error}");
    }
    let two = Table::new(nulls(0).schema(), vec![nulls(600), nulls(600)]).unwrap().to_ipc().unwrap();
    assert!(read(&two, &TableLimits::default().max_unbacked_rows(1000)).0.is_err(), "batches add up");
    assert!(read(&two, &TableLimits::default().max_unbacked_rows(1200)).0.is_ok());
}

#[test]
fn dictionary_that_is_missing_or_unknown_is_refused() {
    let _turn = turn();
    let words: DictionaryArray<Int8Type> = ["a", "b", "a"].into_iter().collect();
    let honest = stream(&batch(vec![("w", Arc::new(words))]), None);
    let (start, _, body) = messages(&honest)[1].clone();
    let missing = Bytes::from([&honest[..start], &honest[body.end..]].concat());
    refused(&missing);
    // After the batch that needs it is as good as missing.
    let late = [&honest[..start], &honest[body.end..honest.len() - 8], &honest[start..body.end]].concat();
    refused(&late.into());
    let other = stream(&rows(3), None);
    let schema_end = messages(&other)[0].2.end;
    let unknown = [&other[..schema_end], &honest[start..body.end], &other[schema_end..]].concat();
    assert!(reason(&refused(&unknown.into())).contains("belongs to no column"));
}

#[test]
fn deltas_that_pile_up_are_charged_each_time() {
    let _turn = turn();
    let options = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
    let words = |count: usize| {
        let values = std::iter::once("x".repeat(1 << 20)).chain((1..count).map(|word| word.to_string()));
        let values: ArrayRef = Arc::new(values.map(Some).collect::<StringArray>());
        batch(vec![("w", Arc::new(DictionaryArray::<Int8Type>::new(vec![0_i8].into(), values)) as ArrayRef)])
    };
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), words(1).schema_ref(), options).unwrap();
    for count in 1..100 {
        writer.write(&words(count)).unwrap();
    }
    let bytes = Bytes::from(writer.into_inner().unwrap());
    assert!(bytes.len() < 2 << 20, "{}", bytes.len());
    let limits = TableLimits::default().max_bytes(16 << 20);
    let (result, peak) = read(&bytes, &limits);
    assert_eq!(result.unwrap_err().code(), "too_large");
    assert!(peak < (16 << 20) + bound(&bytes), "{peak}");
    assert_eq!(read(&bytes, &TableLimits::default()).0.unwrap().num_rows(), 99);
}

#[test]
fn nesting_of_ten_thousand_levels_is_refused() {
    let build = || {
        let mut field = Field::new("leaf", DataType::Int8, true);
        for _ in 0..10_000 {
            field = Field::new("l", DataType::List(Arc::new(field)), true);
        }
        let schema = Arc::new(Schema::new(vec![field]));
        let writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
        Bytes::from(writer.into_inner().unwrap())
    };
    // Building, writing and dropping it needs a stack that reading must not need.
    let bytes = std::thread::Builder::new().stack_size(1 << 30).spawn(build).unwrap().join().unwrap();
    let _turn = turn();
    assert!(reason(&refused(&bytes)).contains("message at byte"));
}

/// A stream that starts with this schema message
fn schema_stream(builder: &FlatBufferBuilder<'_>) -> Bytes {
    let metadata = builder.finished_data();
    let mut bytes = vec![0xff; 4];
    bytes.extend_from_slice(&(metadata.len() as u32).to_le_bytes());
    bytes.extend_from_slice(metadata);
    bytes.into()
}

/// A schema message of one struct, whose children are `width` times the same struct, `levels` deep
fn shared_fields(width: usize, levels: usize, endianness: Endianness) -> Bytes {
    let mut builder = FlatBufferBuilder::new();
    let null = NullBuilder::new(&mut builder).finish();
    let structure = Struct_Builder::new(&mut builder).finish();
    let mut leaf = FieldBuilder::new(&mut builder);
    leaf.add_type_type(Type::Null);
    leaf.add_type_(null.as_union_value());
    let mut field = leaf.finish();
    for _ in 0..levels {
        let children = builder.create_vector(&vec![field; width]);
        let mut parent = FieldBuilder::new(&mut builder);
        parent.add_type_type(Type::Struct_);
        parent.add_type_(structure.as_union_value());
        parent.add_children(children);
        field = parent.finish();
    }
    let fields = builder.create_vector(&[field]);
    let mut schema = SchemaBuilder::new(&mut builder);
    schema.add_fields(fields);
    schema.add_endianness(endianness);
    let schema = schema.finish();
    let mut message = MessageBuilder::new(&mut builder);
    message.add_version(MetadataVersion::V5);
    message.add_header_type(MessageHeader::Schema);
    message.add_header(schema.as_union_value());
    let message = message.finish();
    builder.finish(message, None);
    schema_stream(&builder)
}

#[test]
fn schema_naming_one_field_a_million_times_is_refused() {
    let _turn = turn();
    assert!(read(&shared_fields(2, 2, Endianness::Little), &TableLimits::default()).0.is_ok());
    for (width, levels) in [(100, 3), (1000, 2), (2, 20), (400_000, 1)] {
        refused(&shared_fields(width, levels, Endianness::Little));
    }
}

#[test]
fn schema_of_many_fields_stays_within_the_bound() {
    let _turn = turn();
    let fields: Vec<_> = (0..20_000).map(|_| Field::new("", DataType::Null, true)).collect();
    let table = Table::new(Arc::new(Schema::new(fields)), vec![]).unwrap();
    let bytes = table.to_ipc().unwrap();
    let (result, peak) = read(&bytes, &TableLimits::default());
    assert_eq!(result.unwrap().num_columns(), 20_000);
    assert!(peak <= bound(&bytes), "{peak} bytes for {}", bytes.len());
}

#[test]
fn small_batches_and_wide_types_stay_within_the_bound() {
    let _turn = turn();
    let ids = arrow_schema::UnionFields::try_new([127], [Field::new("", DataType::Null, true)]).unwrap();
    let union = DataType::Union(ids, arrow_schema::UnionMode::Sparse);
    let lists = DataType::List(Arc::new(Field::new("", DataType::Null, true)));
    for kind in [union, lists, DataType::Utf8View, DataType::Utf8, DataType::Int8, DataType::Null] {
        for (columns, batches) in [(1000, 1), (1000, 20), (1, 2000)] {
            let fields: Vec<_> = (0..columns).map(|_| Field::new("", kind.clone(), true)).collect();
            let empty = RecordBatch::new_empty(Arc::new(Schema::new(fields)));
            let table = Table::new(empty.schema(), vec![empty; batches]).unwrap();
            let bytes = table.to_ipc().unwrap();
            let (result, peak) = read(&bytes, &TableLimits::default());
            result.unwrap();
            assert!(
                peak <= bound(&bytes),
                "{kind}: {columns} columns, {batches} batches: {peak} bytes for {}",
                bytes.len()
            );
        }
    }
}

#[test]
fn wide_dictionary_of_many_batches_is_charged_each_time() {
    let _turn = turn();
    let fields: Vec<_> = (0..1000).map(|_| Field::new("", DataType::Int8, true)).collect();
    let values: ArrayRef =
        Arc::new(arrow_array::StructArray::from(RecordBatch::new_empty(Arc::new(Schema::new(fields)))));
    let one = batch(vec![("d", Arc::new(DictionaryArray::<Int8Type>::new(vec![0_i8; 0].into(), values)) as ArrayRef)]);
    let bytes = Table::new(one.schema(), vec![one; 1000]).unwrap().to_ipc().unwrap();
    let (result, peak) = read(&bytes, &TableLimits::default().max_bytes(16 << 20));
    assert_eq!(result.map(drop).unwrap_err().code(), "too_large");
    assert!(peak <= (16 << 20) + bound(&bytes), "{peak}");
}

#[test]
fn big_endian_is_refused_with_a_way_out() {
    let _turn = turn();
    let error = refused(&shared_fields(1, 1, Endianness::Big));
    assert!(reason(&error).contains("ask the sender to write little-endian"), "{error}");
}

/// A file with another footer
fn with_footer(file: &Bytes, forge: impl Fn(Block) -> Vec<Block>) -> Bytes {
    let end = file.len() - 10;
    let start = end - i32::from_le_bytes(file[end..end + 4].try_into().unwrap()) as usize;
    let footer = root_as_footer(&file[start..end]).unwrap();
    let blocks = forge(*footer.recordBatches().unwrap().get(0));
    let mut builder = FlatBufferBuilder::new();
    let schema = arrow_ipc::convert::try_fb_to_schema(footer.schema().unwrap()).unwrap();
    let schema = arrow_ipc::convert::IpcSchemaEncoder::new().schema_to_fb_offset(&mut builder, &schema);
    let blocks = builder.create_vector(&blocks);
    let mut forged = FooterBuilder::new(&mut builder);
    forged.add_version(MetadataVersion::V5);
    forged.add_schema(schema);
    forged.add_recordBatches(blocks);
    let forged = forged.finish();
    builder.finish(forged, None);
    let data = builder.finished_data();
    [&file[..start], data, &(data.len() as i32).to_le_bytes(), b"ARROW1"].concat().into()
}

#[test]
fn footer_that_points_elsewhere_is_refused() {
    let _turn = turn();
    let honest = file(&rows(100), None);
    assert!(read(&with_footer(&honest, |block| vec![block]), &TableLimits::default()).0.is_ok());
    let (far, length) = (i64::from(i32::MAX), honest.len() as i64);
    let forgeries: [fn(Block, i64, i64) -> Block; 12] = [
        |block, far, _| Block::new(far, block.metaDataLength(), block.bodyLength()),
        |block, _, _| Block::new(i64::MAX, block.metaDataLength(), block.bodyLength()),
        |block, _, _| Block::new(-8, block.metaDataLength(), block.bodyLength()),
        |block, _, length| Block::new(length - 4, block.metaDataLength(), block.bodyLength()),
        |block, _, _| Block::new(0, block.metaDataLength(), block.bodyLength()),
        |block, _, _| Block::new(8, block.metaDataLength(), block.bodyLength()),
        |block, _, _| Block::new(block.offset(), i32::MAX, block.bodyLength()),
        |block, _, _| Block::new(block.offset(), -1, block.bodyLength()),
        |block, _, _| Block::new(block.offset(), 0, block.bodyLength()),
        |block, far, _| Block::new(block.offset(), block.metaDataLength(), far),
        |block, _, _| Block::new(block.offset(), block.metaDataLength(), -1),
        |block, _, _| Block::new(block.offset() + 1, block.metaDataLength(), block.bodyLength()),
    ];
    for forge in forgeries {
        refused(&with_footer(&honest, |block| vec![forge(block, far, length)]));
    }
    let again = with_footer(&honest, |block| vec![block; 1000]);
    assert!(reason(&refused(&again)).contains("longer than the file"));
    // Without a body each block still costs its columns.
    let wide: Vec<(&str, ArrayRef)> = (0..1000).map(|_| ("n", int64(vec![]))).collect();
    let wide = file(&batch(wide), None);
    let again = with_footer(&wide, |block| vec![block; 2000]);
    assert!(reason(&refused(&again)).contains("longer than the file"));
    let tail = honest.len() - 10;
    for footer in [i32::MAX, -1, i32::MIN, 0, 3, tail as i32] {
        let mut bytes = honest.to_vec();
        bytes[tail..tail + 4].copy_from_slice(&footer.to_le_bytes());
        refused(&bytes.into());
    }
}

#[test]
fn bytes_after_the_end_are_refused_unless_zero() {
    let _turn = turn();
    let honest = stream(&rows(3), None);
    assert!(read(&[&honest[..], &[0; 100]].concat().into(), &TableLimits::default()).0.is_ok());
    assert!(reason(&refused(&[&honest[..], &honest[..]].concat().into())).contains("follow the end"));
}

#[test]
fn bytes_that_are_not_arrow_are_refused() {
    let _turn = turn();
    for bytes in [
        &b""[..],
        b"A",
        b"ARROW1",
        b"ARROW1\0\0",
        b"ARROW1\0\0\0\0\0\0ARROW1",
        b"{\"a\":1}",
        b"PAR1",
        &[0; 64],
        &[0xff; 64],
    ] {
        refused(&Bytes::copy_from_slice(bytes));
    }
    // A batch before its schema, and a schema twice.
    let honest = stream(&rows(3), None);
    let schema_end = messages(&honest)[0].2.end;
    refused(&honest.slice(schema_end..));
    assert!(reason(&refused(&[&honest[..schema_end], &honest[..]].concat().into())).contains("second schema"));
}

#[test]
fn table_beyond_the_byte_limit_is_refused() {
    let _turn = turn();
    let bytes = stream(&rows(1000), None);
    let error = read(&bytes, &TableLimits::default().max_bytes(7999)).0.unwrap_err();
    assert!(reason(&error).contains("8000") && reason(&error).contains("7999"), "{error}");
    assert!(read(&bytes, &TableLimits::default().max_bytes(8000)).0.is_ok());
}

#[test]
fn large_plain_table_is_not_copied() {
    let _turn = turn();
    let bytes = stream(&rows(1_000_000), None);
    let (table, peak) = read(&bytes, &TableLimits::default());
    assert_eq!(table.unwrap().num_rows(), 1_000_000);
    assert!(peak < 64 << 10, "{peak} bytes to read 8 MB in place");
}
