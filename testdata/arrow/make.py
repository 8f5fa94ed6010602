"""Writes the Arrow samples in this folder with pyarrow: python make.py"""
import datetime as dt
import decimal
import pathlib

import pyarrow as pa

here = pathlib.Path(__file__).parent


def stream(name, schema, batches, file=False, **options):
    options = pa.ipc.IpcWriteOptions(**options)
    with pa.OSFile(str(here / name), "wb") as sink:
        new = pa.ipc.new_file if file else pa.ipc.new_stream
        with new(sink, schema, options=options) as writer:
            for batch in batches:
                writer.write_batch(batch)


day, moment = dt.date(2026, 5, 13), dt.datetime(2026, 5, 13, 8, 15, 30, 123000)
D = decimal.Decimal
flat = {
    "null": pa.nulls(3),
    "bool": pa.array([True, None, False]),
    **{str(t): pa.array([1, None, 100], t) for t in (
        pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())},
    "half": pa.array([1.5, None, -0.25]).cast(pa.float32()).cast(pa.float16()),
    "float": pa.array([1.5, None, float("nan")], pa.float32()),
    "double": pa.array([1e300, None, float("-inf")], pa.float64()),
    "decimal32": pa.array([D("12.50"), None, D("-0.01")], pa.decimal32(9, 2)),
    "decimal64": pa.array([D("12.50"), None, D("-0.01")], pa.decimal64(18, 2)),
    "decimal128": pa.array([D("12.50"), None, D("-0.01")], pa.decimal128(38, 2)),
    "decimal256": pa.array([D("12.50"), None, D("-0.01")], pa.decimal256(76, 2)),
    "date32": pa.array([day, None, dt.date(1900, 1, 1)], pa.date32()),
    "date64": pa.array([day, None, dt.date(1900, 1, 1)], pa.date64()),
    "time32s": pa.array([1, None, 86399], pa.time32("s")),
    "time64us": pa.array([1, None, 86399000001], pa.time64("us")),
    "timestamp": pa.array([moment, None, dt.datetime(1900, 1, 1)], pa.timestamp("ms")),
    "timestamp_tz": pa.array([moment, None, dt.datetime(1969, 12, 31)], pa.timestamp("us", "Europe/Berlin")),
    "duration": pa.array([1500, None, -1], pa.duration("ms")),
    "interval": pa.array([(1, 2, 3), None, (-1, 0, 5)], pa.month_day_nano_interval()),
    "string": pa.array(["a", None, "Grüße 🌍"]),
    "large_string": pa.array(["a", None, "ccc"], pa.large_string()),
    "string_view": pa.array(["short", None, "longer than twelve bytes"], pa.string_view()),
    "binary": pa.array([b"\x00\xff", None, b""]),
    "large_binary": pa.array([b"\x00\xff", None, b""], pa.large_binary()),
    "binary_view": pa.array([b"\x00\xff", None, b"x" * 20], pa.binary_view()),
    "fixed": pa.array([b"abc", None, b"def"], pa.binary(3)),
}
nested = {
    "list": pa.array([[1, None], None, []], pa.list_(pa.int32())),
    "large_list": pa.array([["a"], None, ["b", None]], pa.large_list(pa.string())),
    "fixed_list": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int16(), 2)),
    "list_view": pa.array([[1, 2], None, [3]], pa.list_view(pa.int64())),
    "large_list_view": pa.array([[1, 2], None, [3]], pa.large_list_view(pa.int64())),
    "struct": pa.array([{"x": 1, "y": "a"}, None, {"x": None, "y": "c"}]),
    "map": pa.array([[("k", 1)], None, [("a", 2), ("b", None)]], pa.map_(pa.string(), pa.int32())),
    "map_int": pa.array([[(1, "x")], None, []], pa.map_(pa.int32(), pa.string())),
    "dense_union": pa.UnionArray.from_dense(
        pa.array([0, 1, 0], pa.int8()), pa.array([0, 0, 1], pa.int32()), [pa.array([1, 2]), pa.array(["x"])]),
    "sparse_union": pa.UnionArray.from_sparse(
        pa.array([0, 1, 0], pa.int8()), [pa.array([1, 2, 3]), pa.array(["x", "y", "z"])]),
    "dictionary": pa.array(["r", None, "g"]).dictionary_encode(),
    "dictionary_list": pa.ListArray.from_arrays([0, 2, 2, 3], pa.array(["p", "q", "p"]).dictionary_encode()),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["u", None])),
    "deep": pa.array([[[{"l": [1]}]], None, []], pa.list_(pa.list_(pa.struct([("l", pa.list_(pa.int8()))])))),
}

for name, columns in (("flat", flat), ("nested", nested)):
    batch = pa.record_batch(list(columns.values()), names=list(columns))
    stream(f"{name}.arrows", batch.schema, [batch, batch.slice(1, 1), batch.slice(0, 0)])
    stream(f"{name}.arrow", batch.schema, [batch, batch.slice(1)], file=True)
    stream(f"{name}-zstd.arrows", batch.schema, [batch], compression="zstd")
    stream(f"{name}-lz4.arrow", batch.schema, [batch], file=True, compression="lz4")

numbers = pa.record_batch([pa.array(range(1000)), pa.array(["row %d" % (i % 7) for i in range(1000)])], names=["n", "s"])
stream("rows-lz4.arrows", numbers.schema, [numbers], compression="lz4")
stream("rows-zstd.arrow", numbers.schema, [numbers], file=True, compression="zstd")

first, second = pa.array(["a", "b"]), pa.array(["a", "b", "c"])
chunks = [
    pa.record_batch([pa.DictionaryArray.from_arrays(pa.array(i, pa.int8()), d)], names=["d"])
    for i, d in (([0, 1], first), ([2, 0], second))
]
stream("deltas.arrows", chunks[0].schema, chunks, emit_dictionary_deltas=True)
other = pa.record_batch([pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array(["z"]))], names=["d"])
stream("replaced.arrows", other.schema, [chunks[0], other])

legacy = pa.record_batch([pa.array([1, 2, None])], names=["n"])
stream("legacy.arrows", legacy.schema, [legacy], use_legacy_format=True, metadata_version=pa.ipc.MetadataVersion.V4)
stream("no-batches.arrows", legacy.schema, [])
none = pa.schema([])
stream("no-columns.arrows", none, [pa.RecordBatch.from_struct_array(pa.array([{}, {}], pa.struct([])))])
print("pyarrow", pa.__version__)
