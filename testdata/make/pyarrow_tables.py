"""Arrow tables that pyarrow writes: python make/pyarrow_tables.py, with pyarrow as producers.json says.

What must be read is what pyarrow was given, stated here as text beside it; nothing is read back.
"""
import datetime as dt
import decimal
import struct

import pyarrow as pa

from common import LARGEST_INLINE, URL, Producer, b64, body, column, compact, direct, envelope, link, part, sha256, table
from hand_send import given, item, payload

D = decimal.Decimal
producer = Producer("pyarrow", "captured")
assert pa.__version__ == producer.version, f"pyarrow {pa.__version__} is here, producers.json says {producer.version}"


def ipc(batches, schema=None, file=False, **options):
    sink = pa.BufferOutputStream()
    new = pa.ipc.new_file if file else pa.ipc.new_stream
    with new(sink, batches[0].schema if schema is None else schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def valid(name, comment, data, columns, flags=()):
    flags = ["Arrow", *flags]
    if name.endswith("_link"):
        held = body(data)
        producer.valid(f"arrowtable_{name}", comment, envelope(link("value", "arrowtable", data)), [part("value", "arrowtable", table(*columns), "link")],
                       [*flags, *(["Large"] if "blob" in held else [])], links={URL: held})
    else:
        producer.valid(f"arrowtable_{name}", comment, envelope(direct("value", "arrowtable", data)), [part("value", "arrowtable", table(*columns))], flags)


def batch(*columns):
    """A batch of (name, array) pairs, all of whose fields may be null."""
    return pa.record_batch([array for _, array in columns], schema=pa.schema([(name, array.type) for name, array in columns]))


def days(date):
    return str((date - dt.date(1970, 1, 1)).days)


def micros(moment):
    return str((moment - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1))


integers = {
    f"{'' if signed else 'u'}int{bits}": ((-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1))
    for bits in (8, 16, 32, 64) for signed in (True, False)
}
moment = dt.datetime(2026, 5, 13, 8, 15, 30, 123456)
early = dt.datetime(1900, 1, 1)
day = dt.date(2026, 5, 13)

# name: (type as README.md names it, what each row must be, the array)
TYPES = {
    "null": ("null", [None, None, None], pa.nulls(3)),
    "bool": ("bool", ["true", None, "false"], pa.array([True, None, False])),
    **{name: (name, [str(low), None, str(high)], pa.array([low, None, high], getattr(pa, name)())) for name, (low, high) in integers.items()},
    "float16": ("float16", ["1.5", None, "NaN", "-inf", "-0.0", "65504"], pa.array([1.5, None, float("nan"), float("-inf"), -0.0, 65504.0], pa.float32()).cast(pa.float16())),
    "float32": ("float32", ["1.5", None, "NaN", "inf", "-0.0", "1.401298464324817e-45"], pa.array([1.5, None, float("nan"), float("inf"), -0.0, 2**-149], pa.float32())),
    "float64": ("float64", ["0.1", None, "NaN", "-inf", "-0.0", "5e-324", "1.7976931348623157e308"],
                pa.array([0.1, None, float("nan"), float("-inf"), -0.0, 5e-324, 1.7976931348623157e308], pa.float64())),
    **{f"decimal{bits}": (f"decimal{bits}({precision},2)", ["12.50", None, "-0.01", "9" * (precision - 2) + ".99"],
                          pa.array([D("12.50"), None, D("-0.01"), D("9" * (precision - 2) + ".99")], getattr(pa, f"decimal{bits}")(precision, 2)))
       for bits, precision in ((32, 9), (64, 18), (128, 38), (256, 76))},
    "decimal128_scale_0": ("decimal128(10,0)", ["7", None], pa.array([D("7"), None], pa.decimal128(10, 0))),
    "date32": ("date32", [days(day), None, days(dt.date(1900, 1, 1)), "2932896"], pa.array([day, None, dt.date(1900, 1, 1), dt.date(9999, 12, 31)], pa.date32())),
    "date64": ("date64", [str(int(days(day)) * 86_400_000), None, str(int(days(dt.date(1900, 1, 1))) * 86_400_000)],
               pa.array([day, None, dt.date(1900, 1, 1)], pa.date64())),
    "date32_far": ("date32", ["2932897", None, "-719529", "2147483647"], pa.array([2932897, None, -719529, 2**31 - 1], pa.int32()).cast(pa.date32())),
    "time32_midnight": ("time32[s]", ["86400", None], pa.array([86400, None], pa.int32()).cast(pa.time32("s"))),
    "timestamp_far": ("timestamp[s]", ["253402300800", None, str(2**63 - 1), str(-(2**63))], pa.array([253402300800, None, 2**63 - 1, -(2**63)], pa.int64()).cast(pa.timestamp("s"))),
    "time32_s": ("time32[s]", ["0", None, "86399"], pa.array([0, None, 86399], pa.time32("s"))),
    "time32_ms": ("time32[ms]", ["1", None, "86399999"], pa.array([1, None, 86399999], pa.time32("ms"))),
    "time64_us": ("time64[us]", ["1", None, "86399999999"], pa.array([1, None, 86399999999], pa.time64("us"))),
    "time64_ns": ("time64[ns]", ["1", None, "86399999999999"], pa.array([1, None, 86399999999999], pa.time64("ns"))),
    "timestamp_s": ("timestamp[s]", ["0", None, "-2208988800"], pa.array([0, None, -2208988800], pa.timestamp("s"))),
    "timestamp_ms": ("timestamp[ms]", ["1", None, "-1"], pa.array([1, None, -1], pa.timestamp("ms"))),
    "timestamp_us": ("timestamp[us]", [micros(moment), None, micros(early)], pa.array([moment, None, early], pa.timestamp("us"))),
    "timestamp_ns": ("timestamp[ns]", ["1778660130123456789", None, str(-(2**63) + 1)], pa.array([1778660130123456789, None, -(2**63) + 1], pa.timestamp("ns"))),
    "timestamp_utc": ("timestamp[us, UTC]", [micros(moment), None], pa.array([moment, None], pa.timestamp("us", "UTC"))),
    "timestamp_zone": ("timestamp[ms, Europe/Berlin]", ["1778660130123", None], pa.array([1778660130123, None], pa.timestamp("ms", "Europe/Berlin"))),
    "timestamp_offset": ("timestamp[s, +05:30]", ["1778660130", None], pa.array([1778660130, None], pa.timestamp("s", "+05:30"))),
    **{f"duration_{unit}": (f"duration[{unit}]", ["1500", None, "-1"], pa.array([1500, None, -1], pa.duration(unit))) for unit in ("s", "ms", "us", "ns")},
    "interval": ("interval[month_day_nano]", ["1,2,3", None, "-1,0,5"], pa.array([(1, 2, 3), None, (-1, 0, 5)], pa.month_day_nano_interval())),
    "utf8": ("utf8", ["a", None, "Grüße 👩\u200d🔬 e\u0301", "", "a\0b"], pa.array(["a", None, "Grüße 👩\u200d🔬 e\u0301", "", "a\0b"])),
    "large_utf8": ("large_utf8", ["a", None, "سلام"], pa.array(["a", None, "سلام"], pa.large_string())),
    "utf8_view": ("utf8_view", ["short", None, "longer than twelve bytes", ""], pa.array(["short", None, "longer than twelve bytes", ""], pa.string_view())),
    "binary": ("binary", ["00ff", None, ""], pa.array([b"\x00\xff", None, b""])),
    "large_binary": ("large_binary", ["00ff", None, ""], pa.array([b"\x00\xff", None, b""], pa.large_binary())),
    "binary_view": ("binary_view", ["00ff", None, "78" * 20], pa.array([b"\x00\xff", None, b"x" * 20], pa.binary_view())),
    "fixed_size_binary": ("fixed_size_binary(3)", ["616263", None, "000000"], pa.array([b"abc", None, b"\0\0\0"], pa.binary(3))),
    "uuid": ("fixed_size_binary(16)", ["00123456789a4bcd8ef0123456789abc", None],
             pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes.fromhex("00123456789a4bcd8ef0123456789abc"), None], pa.binary(16)))),
    "list": ("list<int32>", ["[1,null]", None, "[]"], pa.array([[1, None], None, []], pa.list_(pa.int32()))),
    "large_list": ("large_list<utf8>", ['["a"]', None, '["b",null]'], pa.array([["a"], None, ["b", None]], pa.large_list(pa.string()))),
    "fixed_size_list": ("fixed_size_list<int16, 2>", ["[1,2]", None, "[3,null]"], pa.array([[1, 2], None, [3, None]], pa.list_(pa.int16(), 2))),
    "list_view": ("list_view<int64>", ["[1,2]", None, "[9223372036854775807]"], pa.array([[1, 2], None, [2**63 - 1]], pa.list_view(pa.int64()))),
    "large_list_view": ("large_list_view<int64>", ["[1,2]", None, "[]"], pa.array([[1, 2], None, []], pa.large_list_view(pa.int64()))),
    "struct": ("struct<x: int64, y: utf8>", ['{"x":1,"y":"a"}', None, '{"x":null,"y":"c"}'],
               pa.array([{"x": 1, "y": "a"}, None, {"x": None, "y": "c"}], pa.struct([("x", pa.int64()), ("y", pa.string())]))),
    "struct_leaves": ("struct<f: float64, d: decimal128(10,2), t: timestamp[us], b: binary, o: bool>",
                      ['{"f":"NaN","d":"12.50","t":"%s","b":"00ff","o":true}' % micros(moment)],
                      pa.array([{"f": float("nan"), "d": D("12.50"), "t": moment, "b": b"\x00\xff", "o": True}],
                               pa.struct([("f", pa.float64()), ("d", pa.decimal128(10, 2)), ("t", pa.timestamp("us")), ("b", pa.binary()), ("o", pa.bool_())]))),
    "map": ("map<utf8, int32>", ['[["k",1]]', None, '[["a",2],["b",null]]'], pa.array([[("k", 1)], None, [("a", 2), ("b", None)]], pa.map_(pa.string(), pa.int32()))),
    "map_integer_keys": ("map<int32, utf8>", ['[[1,"x"]]', None, "[]"], pa.array([[(1, "x")], None, []], pa.map_(pa.int32(), pa.string()))),
    "nested": ("list<list<struct<l: list<int8>>>>", ['[[{"l":[1]}]]', None, "[]"],
               pa.array([[[{"l": [1]}]], None, []], pa.list_(pa.list_(pa.struct([("l", pa.list_(pa.int8()))]))))),
    "dictionary": ("dictionary<int32, utf8>", ["r", None, "g", "r"], pa.array(["r", None, "g", "r"]).dictionary_encode()),
    "dictionary_int8": ("dictionary<int8, utf8>", ["b", "a", None], pa.DictionaryArray.from_arrays(pa.array([1, 0, None], pa.int8()), pa.array(["a", "b"]))),
    "dictionary_integers": ("dictionary<int32, int64>", ["9223372036854775807", None], pa.array([2**63 - 1, None]).dictionary_encode()),
    "run_end_encoded": ("run_end_encoded<int32, utf8>", ["u", "u", None], pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["u", None]))),
}
for name, (kind, values, array) in TYPES.items():
    flags = ["Integer64"] if name in ("int64", "uint64", "timestamp_ns", "list_view", "dictionary_integers") else []
    data = ipc([batch(("c", array))])
    suffix = "" if len(data) <= LARGEST_INLINE else "_link"
    valid(f"type_{name}{suffix}", f"A column of type {kind}, written by pyarrow.", data, [column("c", kind, values)], flags)
for name, comment, array, shown in (
    ("uuid", "A column of the extension arrow.uuid becomes the text of UUIDs.", TYPES["uuid"][2], ["00123456-789a-4bcd-8ef0-123456789abc", None]),
    ("interval", "Each part of an interval is written, also when it is 0.", pa.array([(1, 2, 3), (-1, 0, 5_000_000_000), None], pa.month_day_nano_interval()),
     ["P1M2DT0.000000003S", "P-1M0DT5S", None]),
):
    producer.write(f"send/jsontable_from_arrow_{name}", comment, ["Arrow"], "valid", {
        "given": given([item("value", "arrowtable", {"base64": b64(ipc([batch(("c", array))]))})], limits={"receiver": "browser", "convert_tables": True}),
        "expect": {"envelope": envelope(payload(0, "value", "jsontable", compact([{"c": cell} for cell in shown]))), "transports": ["direct"]}})

two = batch(("n", pa.array([1, None, 2**63 - 1], pa.int64())), ("größe", pa.array(["a", "ß", None])))
two_columns = [column("n", "int64", ["1", None, str(2**63 - 1)]), column("größe", "utf8", ["a", "ß", None])]
valid("two_columns", "Columns keep their names and order.", ipc([two]), two_columns, ["Integer64"])
valid("link", "A stream that a link holds.", ipc([two]), two_columns, ["Integer64"])
valid("file_link", "The file format is read too: it begins with ARROW1.", ipc([two], file=True), two_columns, ["Integer64", "Tolerance"])
doubled = [column(c["name"], c["type"], c["values"] * 2) for c in two_columns]
valid("batches_link", "Rows of two batches are one table.", ipc([two, two]), doubled, ["Integer64"])
valid("file_batches_link", "Rows of two batches in a file.", ipc([two, two], file=True), doubled, ["Integer64", "Tolerance"])
valid("batch_empty_link", "A batch without rows between two others.", ipc([two, two.slice(0, 0), two]), doubled, ["Empty", "Integer64"])
sliced = [column(c["name"], c["type"], c["values"][1:]) for c in two_columns]
valid("sliced", "A batch that was cut from another.", ipc([two.slice(1)]), sliced, ["Integer64"])
valid("no_batches", "A schema and no batch: columns without rows.", ipc([], two.schema), [column(c["name"], c["type"], []) for c in two_columns], ["Empty"])
valid("no_rows", "A batch without rows.", ipc([two.slice(0, 0)]), [column(c["name"], c["type"], []) for c in two_columns], ["Empty"])
valid("no_columns", "Neither columns nor rows.", ipc([], pa.schema([])), [], ["Empty"])
same = pa.record_batch([pa.array([1]), pa.array(["x"])], names=["a", "a"])
valid("names_repeat", "Two columns of one name.", ipc([same]), [column("a", "int64", ["1"]), column("a", "utf8", ["x"])])
unnamed = pa.record_batch([pa.array([1])], names=[""])
valid("name_empty", "A column named by the empty string.", ipc([unnamed]), [column("", "int64", ["1"])], ["Empty"])
marked = two.replace_schema_metadata({"pandas": "{}", "note": "ü"})
valid("schema_metadata_link", "Metadata of the schema is in nobody's way.", ipc([marked]), two_columns, ["Integer64", "UnknownField"])
required = pa.record_batch([pa.array([1, 2])], schema=pa.schema([pa.field("n", pa.int64(), nullable=False)]))
valid("not_nullable", "A column that holds no nulls by its schema.", ipc([required]), [column("n", "int64", ["1", "2"])])
valid("no_end_mark", "A stream that ends without saying so.", ipc([required])[:-8], [column("n", "int64", ["1", "2"])], ["Tolerance"])
old = pa.record_batch([pa.array([1, 2, None])], names=["n"])
valid("before_0_15", "Format version V4, without continuation marks.", ipc([old], use_legacy_format=True, metadata_version=pa.ipc.MetadataVersion.V4),
      [column("n", "int64", ["1", "2", None])], ["Tolerance"])

rows = batch(("n", pa.array(range(1000), pa.int64())), ("s", pa.array([f"row {i % 7}" for i in range(1000)])), ("f", pa.array([i / 8 for i in range(1000)])))
row_columns = [column("n", "int64", [str(i) for i in range(1000)]), column("s", "utf8", [f"row {i % 7}" for i in range(1000)]), column("f", "float64", [repr(i / 8) for i in range(1000)])]
for codec in ("lz4", "zstd"):
    for file in (False, True):
        form = "file" if file else "stream"
        valid(f"compressed_{codec}_{form}_link", f"1,000 rows, bodies compressed by {codec.upper()}, as {form}.", ipc([rows], file=file, compression=codec), row_columns,
              ["Compressed", *(["Tolerance"] if file else [])])
    tiny = batch(("n", pa.array([7], pa.int64())))
    valid(f"compressed_{codec}_tiny", "Bodies that would not shrink are kept as they are, and say so.", ipc([tiny], compression=codec), [column("n", "int64", ["7"])], ["Compressed"])
valid("rows_link", "1,000 rows.", ipc([rows]), row_columns)

first, second = pa.array(["a", "b"]), pa.array(["a", "b", "c"])
chunks = [batch(("d", pa.DictionaryArray.from_arrays(pa.array(at, pa.int8()), words))) for at, words in (([0, 1], first), ([2, 0], second))]
words = [column("d", "dictionary<int8, utf8>", ["a", "b", "c", "a"])]
valid("dictionary_delta_link", "A dictionary that grows between batches.", ipc(chunks, emit_dictionary_deltas=True), words)
other = batch(("d", pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array(["z"]))))
valid("dictionary_replaced_link", "A dictionary that another one replaces.", ipc([chunks[0], other]), [column("d", "dictionary<int8, utf8>", ["a", "b", "z"])])


def vtable_of(data, root):
    """Where a flatbuffer's table begins to say which fields it has."""
    at = root + struct.unpack_from("<I", data, root)[0]
    return at, at - struct.unpack_from("<i", data, at)[0]


def without_footer_version(data):
    """A file as Arrow 0.14 wrote it: the version, a footer's first field, is not there."""
    data = bytearray(data)
    _, fields = vtable_of(data, len(data) - 10 - struct.unpack_from("<i", data, len(data) - 10)[0])
    struct.pack_into("<H", data, fields + 4, 0)
    return bytes(data)


valid("file_no_version_link", "A file whose footer has no version: its messages have theirs.", without_footer_version(ipc([two], file=True)), two_columns, ["Integer64", "Tolerance"])


# Hostile ones: real streams with one place changed.

def invalid(name, comment, data, code="undecodable", flags=()):
    flags = ["Arrow", "Hostile", *flags]
    if len(data) <= LARGEST_INLINE:
        producer.invalid(f"arrowtable_{name}", comment, envelope(direct("value", "arrowtable", data)), code, flags, dataname="value", how="derived")
    else:
        producer.invalid(f"arrowtable_{name}_link", comment, envelope(link("value", "arrowtable", data)), code, flags, links={URL: body(data)}, dataname="value", how="derived")


def replaced(data, old, new, count=1):
    assert data.count(old) == count and len(old) == len(new), (data.count(old), len(old), len(new))
    return data.replace(old, new)


plain = ipc([batch(("n", pa.array([11, 22, 33], pa.int64())))])
i32 = struct.Struct("<i").pack
i64 = struct.Struct("<q").pack
for cut, where in ((3, "in the first mark"), (6, "in the first length"), (40, "in the schema"), (len(plain) - 8 - 24 - 40, "in the batch's message"), (len(plain) - 8 - 12, "in the batch's body")):
    invalid(f"cut_{cut}", f"Cut {where}.", plain[:cut])
file = ipc([batch(("n", pa.array([11, 22, 33], pa.int64())))], file=True)
invalid("file_cut", "A file without its end, which is where it is read from.", file[:-20])
invalid("file_footer_length", "A file whose footer is longer than the file.", file[:-10] + i32(2**31 - 1) + file[-6:])
invalid("file_footer_negative", "A file whose footer has a negative length.", file[:-10] + i32(-1) + file[-6:])
length = struct.unpack_from("<i", plain, 4)[0]
invalid("schema_length", "The schema's message is longer than the stream.", plain[:4] + i32(2**31 - 8) + plain[8:])
invalid("schema_length_negative", "The schema's message has a negative length.", plain[:4] + i32(-16) + plain[8:])
body_at = plain.index(i64(11) + i64(22) + i64(33))
message = plain[8 + length:body_at]
invalid("body_length", "A body of an exabyte.", plain[:8 + length] + replaced(message, i64(24), i64(2**60), message.count(i64(24))) + plain[body_at:])
invalid("rows_lying", "Three values, and three hundred rows.", plain[:8 + length] + replaced(message, i64(3), i64(300), message.count(i64(3))) + plain[body_at:])
invalid("rows_negative", "A negative number of rows.", plain[:8 + length] + replaced(message, i64(3), i64(-3), message.count(i64(3))) + plain[body_at:])
big = ipc([batch(("n", pa.array([5] * 4000, pa.int64())))], compression="zstd")
invalid("exabyte_zstd", "A compressed column that says it grows to an exabyte.", replaced(big, i64(32000) + b"\x28\xb5\x2f\xfd", i64(2**60) + b"\x28\xb5\x2f\xfd"), "too_large", ["Compressed"])
big = ipc([batch(("n", pa.array([5] * 4000, pa.int64())))], compression="lz4")
invalid("exabyte_lz4", "The same with LZ4.", replaced(big, i64(32000) + b"\x04\x22\x4d\x18", i64(2**60) + b"\x04\x22\x4d\x18"), "too_large", ["Compressed"])
bomb = ipc([batch(("n", pa.array([0] * 40_000_000, pa.int64())))], compression="zstd")
invalid("bomb_zstd", "40 million rows of nothing in few bytes.", bomb, "too_large", ["Compressed"])
big = ipc([batch(("n", pa.array([5] * 4000, pa.int64())))], compression="zstd")
invalid("negative_zstd", "A compressed column of negative length.", replaced(big, i64(32000) + b"\x28\xb5\x2f\xfd", i64(-2) + b"\x28\xb5\x2f\xfd"), flags=["Compressed"])
at = big.index(b"\x28\xb5\x2f\xfd")
invalid("damaged_zstd", "A compressed column that is no ZSTD.", big[:at] + b"\0\0\0\0" + big[at + 4:], flags=["Compressed"])
strings = ipc([batch(("s", pa.array(["alpha", "beta", "gamma"])))])
invalid("offset_beyond", "A string that ends beyond the column.", replaced(strings, struct.pack("<iiii", 0, 5, 9, 14), struct.pack("<iiii", 0, 5, 9, 2**30)))
invalid("offset_backwards", "A string that ends before it begins.", replaced(strings, struct.pack("<iiii", 0, 5, 9, 14), struct.pack("<iiii", 0, 9, 5, 14)))
invalid("string_not_utf8", "A string that is no UTF-8.", replaced(strings, b"alpha", b"al\xffha"))
big_endian = bytearray(plain)
at, fields = vtable_of(big_endian, 8)
# The schema is the message's third field, its byte order the schema's first: any 1 within its reach will do.
header = at + struct.unpack_from("<H", big_endian, fields + 8)[0]
schema, fields = vtable_of(big_endian, header)
one = next(offset for offset in range(4, 400, 2) if struct.unpack_from("<h", big_endian, schema + offset)[0] == 1)
struct.pack_into("<H", big_endian, fields + 4, one)
invalid("big_endian", "A table whose numbers have their high byte first.", bytes(big_endian))
coded = ipc([batch(("d", pa.DictionaryArray.from_arrays(pa.array([0, 1, 1], pa.int8()), pa.array(["alpha", "beta"]))))])
at = coded.rindex(bytes([0, 1, 1, 0, 0, 0, 0, 0]))
invalid("dictionary_index", "An index beyond the dictionary.", coded[:at] + bytes([0, 100, 1]) + coded[at + 3:])


# One rule of the columns each: what is there, and what stands there instead.
i32s, i64s = (lambda *numbers, width=width: struct.pack(f"<{len(numbers)}{width}", *numbers) for width in "iq")
lists = pa.array([[1] * 5, [2] * 4, [3] * 5], pa.list_(pa.int8()))
large = pa.array(["alpha", "beta", "gamma"], pa.large_string())
views = pa.array(["longer than twelve bytes", "another that is no shorter"], pa.string_view())
view = i32s(24) + b"long"
gap = pa.array([11, None, 33], pa.int64())
runs = pa.RunEndEncodedArray.from_arrays(pa.array([21, 43, 61], pa.int32()), pa.array(["u", "v", "w"]))
for name, comment, array, old, new in (
    ("list_offset_beyond", "A list that ends beyond its items.", lists, i32s(0, 5, 9, 14), i32s(0, 5, 9, 2**30)),
    ("list_offset_backwards", "A list that ends before it begins.", lists, i32s(0, 5, 9, 14), i32s(0, 9, 5, 14)),
    ("large_offset_beyond", "A string that ends an exabyte beyond the column.", large, i64s(0, 5, 9, 14), i64s(0, 5, 9, 2**62)),
    ("large_offset_negative", "A string that begins an exabyte before the column.", large, i64s(0, 5, 9, 14), i64s(-(2**62), 5, 9, 14)),
    ("map_offset_beyond", "A map that ends beyond its entries.", pa.array([[("k", 7)], [("l", 8), ("m", 9)]], pa.map_(pa.string(), pa.int32())), i32s(0, 1, 3, 0), i32s(0, 1, 300, 0)),
    ("view_buffer", "A view of a buffer that is not there.", views, view + i32s(0, 0), view + i32s(7, 0)),
    ("view_beyond", "A view that leads beyond its buffer.", views, view + i32s(0, 0), view + i32s(0, 1000)),
    ("view_negative", "A view of fewer than no bytes.", views, view + i32s(0), i32s(-1) + b"long" + i32s(0)),
    ("view_prefix", "A view whose first bytes are not those that it leads to.", views, view + i32s(0), i32s(24) + b"lost" + i32s(0)),
    ("list_view_beyond", "A list view that ends beyond its items.", pa.array([[1, 2], [3, 4, 5]], pa.list_view(pa.int64())), i32s(2, 3), i32s(2, 300)),
    ("struct_child_short", "A struct of three rows, one of whose fields has two.", pa.array([{"x": 11}, {"x": 22}, {"x": 33}]), i64s(3, 0, 3, 0), i64s(3, 0, 2, 0)),
    ("fixed_size_list_short", "Three lists of two items, which are five.", pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int16(), 2)), i64s(3, 0, 6, 0), i64s(3, 0, 5, 0)),
    ("nulls_beyond", "More nulls than rows.", gap, i64s(3, 1), i64s(3, 9)),
    ("buffer_beyond", "A buffer that ends beyond its body.", gap, i64s(8, 24), i64s(16, 24)),
    ("buffer_before", "A buffer that begins before its body.", gap, i64s(8, 24), i64s(-8, 24)),
    ("buffer_negative", "A buffer of fewer than no bytes.", gap, i64s(8, 24), i64s(8, -24)),
    ("buffer_overflow", "A buffer whose end is more than a number holds.", gap, i64s(8, 24), i64s(2**63 - 8, 24)),
    ("validity_short", "Twenty rows, and a byte that says which of them are null.", pa.array([None, *[7] * 19], pa.int8()), i64s(0, 3, 8, 20), i64s(0, 1, 8, 20)),
    ("booleans_short", "Forty booleans in a byte.", pa.array([True] * 40), i64s(0, 0, 0, 5), i64s(0, 0, 0, 1)),
    ("dictionary_index_negative", "An index before the dictionary.", pa.DictionaryArray.from_arrays(pa.array([0, 1, 1], pa.int8()), pa.array(["alpha", "beta"])), bytes([0, 1, 1, *[0] * 5]), bytes([0, 255, 1, *[0] * 5])),
    ("run_ends_backwards", "A run that ends before it begins.", runs, i32s(21, 43, 61), i32s(21, 13, 61)),
    ("run_ends_short", "Runs that end before the last row.", runs, i32s(21, 43, 61), i32s(21, 43, 60)),
):
    invalid(name, comment, replaced(ipc([batch(("c", array))]), old, new))
print(len(producer.written), "vectors")
