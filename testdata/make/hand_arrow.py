"""Arrow streams and files that no writer makes: one rule of the schema, of a batch or of a footer is broken in each."""
import struct

from common import direct, envelope

BYTE, SHORT, INT, LONG = "<b", "<h", "<i", "<q"
INT32 = (2, {0: (INT, 32), 1: (BYTE, 1)})
UTF8 = (5, {})


class Structs(list):
    """Numbers of 64 bits, `width` of which are one struct."""

    def __init__(self, width, *numbers):
        super().__init__(numbers)
        self.width = width


def flat(root):
    """A flatbuffer. A table is a dict of field number to (format, number), text, bytes, Structs, a table, or a list of tables."""
    out = bytearray(4)

    def align(to, rest=0):
        out.extend(bytes(-(len(out) - rest) % to))

    def put(value):
        if isinstance(value, dict):
            return table(value)
        align(8, 4)
        start = len(out)
        if isinstance(value, Structs):
            out.extend(struct.pack(f"<I{len(value)}q", len(value) // value.width, *value))
        elif isinstance(value, list):
            out.extend(struct.pack(f"<I{4 * len(value)}x", len(value)))
            for index, item in enumerate(value):
                at = start + 4 + 4 * index
                struct.pack_into("<I", out, at, put(item) - at)
        else:
            data = value if isinstance(value, bytes) else value.encode()
            out.extend(struct.pack("<I", len(data)) + data + b"\0")
        return start

    def table(fields):
        slots = max(fields, default=-1) + 1
        align(8, -2 * slots)
        words = len(out)
        out.extend(bytes(4 + 2 * slots))
        start = len(out)
        out.extend(struct.pack("<i", start - words))
        later = []
        for slot, value in fields.items():
            isolated = isinstance(value, tuple)
            align(struct.calcsize(value[0]) if isolated else 4)
            struct.pack_into("<H", out, words + 4 + 2 * slot, len(out) - start)
            if not isolated:
                later.append((len(out), value))
            out.extend(struct.pack(*value) if isolated else bytes(4))
        struct.pack_into("<HH", out, words, 4 + 2 * slots, len(out) - start)
        for at, value in later:
            struct.pack_into("<I", out, at, put(value) - at)
        return start

    struct.pack_into("<I", out, 0, table(root))
    align(8)
    return bytes(out)


def message(kind, header, body=b"", version=4):
    head = flat({0: (SHORT, version), 1: (BYTE, kind), **({} if header is None else {2: header}), 3: (LONG, len(body))})
    return struct.pack("<ii", -1, len(head)) + head + body


def field(type_, children=(), name="c", **other):
    code, parameters = type_
    more = {4: other["dictionary"]} if "dictionary" in other else {}
    return {0: name, 1: (BYTE, other.get("nullable", 1)), 2: (BYTE, code), **({} if parameters is None else {3: parameters}), **more, 5: list(children)}


def schema(*fields):
    return {1: list(fields)}


def batch(rows, nodes, buffers, **other):
    return {0: (LONG, rows), 1: Structs(2, *nodes), 2: Structs(2, *buffers), **other.get("more", {})}


def coded(type_, id_):
    return field(type_, dictionary={0: (LONG, id_), 1: {0: (INT, 32), 1: (BYTE, 1)}})


NUMBERS = message(1, schema(field(INT32)))
TWO = message(3, batch(2, [2, 0], [0, 0, 0, 8]), bytes(8))
END = b"\xff\xff\xff\xff\0\0\0\0"


def file(blocks, footer=None, middle=NUMBERS + TWO):
    """A file whose footer names these blocks; the batch stands behind the schema."""
    foot = flat({0: (SHORT, 4), 1: schema(field(INT32)), 3: Structs(3, *blocks)} if footer is None else footer)
    return b"ARROW1\0\0" + middle + END + foot + struct.pack("<i", len(foot)) + b"ARROW1"


AT = 8 + len(NUMBERS)
HEAD, BODY = len(TWO) - 8, 8


def streams():
    """(name, what it shows, bytes)"""
    for name, comment, *fields in (
        ("integer_width", "Integers of 24 bits.", field((2, {0: (INT, 24), 1: (BYTE, 1)}))),
        ("decimal_width", "Decimals of 100 bits.", field((7, {0: (INT, 10), 1: (INT, 2), 2: (INT, 100)}))),
        ("decimal_digits", "Decimals without a digit.", field((7, {0: (INT, 0), 1: (INT, 0), 2: (INT, 128)}))),
        ("decimal_digits_many", "Decimals of 77 digits.", field((7, {0: (INT, 77), 1: (INT, 0), 2: (INT, 256)}))),
        ("time_unit", "Times of a unit that there is not.", field((9, {0: (SHORT, 4), 1: (INT, 64)}))),
        ("time_width", "Times in seconds, of 64 bits.", field((9, {0: (SHORT, 0), 1: (INT, 64)}))),
        ("interval_unit", "Intervals of a unit that there is not.", field((11, {0: (SHORT, 3)}))),
        ("binary_negative", "Values of fewer than no bytes.", field((15, {0: (INT, -1)}))),
        ("list_without_items", "A list that is of nothing.", field((12, {}))),
        ("list_of_two", "A list that is of two.", field((12, {}), [field(INT32), field(INT32)])),
        ("fixed_list_without_items", "A list of two that are of nothing.", field((16, {0: (INT, 2)}))),
        ("map_of_integers", "A map whose entries are no pairs.", field((17, {}), [field(INT32)])),
        ("map_of_three", "A map whose entries have three parts.", field((17, {}), [field((13, {}), [field(INT32), field(INT32), field(INT32)])])),
        ("runs_of_floats", "Runs that end at halves.", field((22, {}), [field((3, {0: (SHORT, 2)}), nullable=0), field(UTF8)])),
        ("runs_unsigned", "Runs whose ends have no sign.", field((22, {}), [field((2, {0: (INT, 32)}), nullable=0), field(UTF8)])),
        ("runs_of_bytes", "Runs whose ends have 8 bits.", field((22, {}), [field((2, {0: (INT, 8), 1: (BYTE, 1)}), nullable=0), field(UTF8)])),
        ("runs_without_values", "Runs of nothing.", field((22, {}), [field(INT32, nullable=0)])),
        ("type_none", "A column of no type.", field((0, {}))),
        ("type_missing", "A column of integers that does not say of which.", field((2, None))),
        ("name_not_utf8", "A column whose name is no UTF-8.", field(INT32, name=b"\xff\xfe")),
    ):
        yield f"schema_{name}", comment, message(1, schema(*fields))
    yield "schema_empty", "A message that should hold the schema and holds nothing.", message(1, None)
    yield "schema_twice", "A second schema.", NUMBERS + TWO + NUMBERS
    yield "schema_late", "A batch before the schema.", TWO + NUMBERS
    yield "message_kind", "A message that is neither schema nor dictionary nor batch.", NUMBERS + message(5, {})
    yield "message_version", "A batch of format version V3.", NUMBERS + message(3, batch(2, [2, 0], [0, 0, 0, 8]), bytes(8), version=2)
    yield "message_tiny", "A message of four bytes.", struct.pack("<iii", -1, 4, 0)
    yield "message_beyond", "A message whose table lies beyond it.", struct.pack("<iiIi", -1, 8, 1000, 0)
    yield "message_before", "A message whose table is described before it begins.", struct.pack("<iiIi", -1, 8, 4, 2**30)
    yield "batch_empty", "A message that should hold a batch and holds nothing.", NUMBERS + message(3, None)
    yield "batch_without_nodes", "A batch that says nothing of its column.", NUMBERS + message(3, batch(2, [], [0, 0, 0, 8]), bytes(8))
    yield "batch_without_buffers", "A batch without the bytes of its column.", NUMBERS + message(3, batch(2, [2, 0], []), bytes(8))
    yield "batch_compression", "A way of compression that there is not.", NUMBERS + message(3, batch(2, [2, 0], [0, 0, 0, 16], more={3: {0: (BYTE, 9)}}), struct.pack("<qii", -1, 1, 2))
    yield "batch_compression_short", "A compressed buffer that is shorter than its length.", NUMBERS + message(3, batch(2, [2, 0], [0, 0, 0, 4], more={3: {0: (BYTE, 1)}}), bytes(8))
    views = message(1, schema(field((24, {}))))
    for name, comment, counts in (("negative", "Views of fewer than no buffers.", [-1]), ("many", "Views of more buffers than there are.", [9])):
        more = {4: Structs(1, *counts)}
        yield f"view_buffers_{name}", comment, views + message(3, batch(1, [1, 0], [0, 0, 0, 16], more=more), struct.pack("<i12s", 3, b"abc"))
    strings = message(1, schema(coded(UTF8, 7)))
    words = batch(1, [1, 0], [0, 0, 0, 8, 8, 1])
    held = struct.pack("<ii8s", 0, 1, b"a")
    indices = message(3, batch(1, [1, 0], [0, 0, 0, 4]), bytes(8))
    yield "dictionary_of_nothing", "A dictionary that no column has.", strings + message(2, {0: (LONG, 8), 1: words}, held) + indices
    yield "dictionary_empty", "A message that should hold a dictionary and holds nothing.", strings + message(2, None)
    yield "dictionary_missing", "Indices, and no dictionary.", strings + indices
    entries = field((13, {}), [field(INT32, name="key", nullable=0), field(INT32, name="value")], name="entries", nullable=0)
    yield "map_entry_null", "A map one of whose entries is null.", message(1, schema(field((17, {}), [entries]))) + message(
        3, batch(1, [1, 0, 2, 1, 2, 0, 2, 0], [0, 0, 0, 8, 8, 1, 16, 0, 16, 8, 16, 0, 24, 8]), struct.pack("<ii8siiii", 0, 2, b"\1", 1, 2, 3, 4))
    runs = message(1, schema(field((22, {}), [field(INT32, name="run_ends", nullable=0), field(INT32, name="values")])))
    yield "run_values_short", "Two runs and one value.", runs + message(3, batch(4, [4, 0, 2, 0, 1, 0], [0, 0, 0, 8, 8, 0, 8, 4]), struct.pack("<iiii", 2, 4, 7, 0))
    whole = [AT, HEAD, BODY]
    for name, comment, block in (
        ("block_beyond", "A file whose batch begins beyond its end.", [2**40, HEAD, BODY]), ("block_negative", "A file whose batch begins before it.", [-8, HEAD, BODY]),
        ("block_of_schema", "A file whose footer names the schema as a batch.", [8, len(NUMBERS), 0]), ("block_of_end", "A file whose batch is the end of its stream.", [AT + len(TWO), 8, 0]),
    ):
        yield f"file_{name}", comment, file(block)
    yield "file_batch_as_dictionary", "A file whose footer names a batch as a dictionary.", file(whole, {0: (SHORT, 4), 1: schema(field(INT32)), 2: Structs(3, *whole), 3: Structs(3, *whole)})
    yield "file_dictionary_as_batch", "A file whose footer names a dictionary as a batch.", file(
        [8 + len(strings), 8, 8], {0: (SHORT, 4), 1: schema(coded(UTF8, 7)), 3: Structs(3, 8 + len(strings), 8, 8)}, strings + message(2, {0: (LONG, 7), 1: words}, held) + indices)
    yield "file_without_schema", "A file whose footer has no schema.", file(whole, {0: (SHORT, 4), 3: Structs(3, *whole)})


def write(p):
    for name, comment, data in streams():
        p.invalid(f"arrowtable_{name}", comment, envelope(direct("value", "arrowtable", data)), "undecodable", ["Arrow", "Hostile"], dataname="value")
