"""Arrow tables as testdata/README.md writes them: a type by name, each value a string or null."""

import json
import math
import re
from decimal import Decimal

import pyarrow as pa

SIMPLE = {
    "null": pa.null(), "bool": pa.bool_(), "float16": pa.float16(), "float32": pa.float32(), "float64": pa.float64(),
    "date32": pa.date32(), "date64": pa.date64(), "utf8": pa.string(), "large_utf8": pa.large_string(),
    "binary": pa.binary(), "large_binary": pa.large_binary(), "interval[month_day_nano]": pa.month_day_nano_interval(),
}  # fmt: skip
SIMPLE.update({f"{sign}int{bits}": getattr(pa, f"{sign}int{bits}")() for sign in ("", "u") for bits in (8, 16, 32, 64)})
SIMPLE.update({f"time{bits}[{unit}]": getattr(pa, f"time{bits}")(unit) for bits, unit in ((32, "s"), (32, "ms"), (64, "us"), (64, "ns"))})
SIMPLE.update({f"duration[{unit}]": pa.duration(unit) for unit in ("s", "ms", "us", "ns")})
SIMPLE.update({name: getattr(pa, make)() for name, make in (("utf8_view", "string_view"), ("binary_view", "binary_view")) if hasattr(pa, make)})
NAMES = {kind: name for name, kind in SIMPLE.items()}


def table_of(value):
    """A pyarrow.Table of `{"columns": [{"name", "type", "values"}]}`"""
    arrays, fields = [], []
    for column in value["columns"]:
        kind = type_of(column["type"])
        nested = is_nested(kind)
        items = [json.loads(item) if nested and item is not None else item for item in column["values"]]
        arrays.append(array_of(kind, items))
        fields.append(pa.field(column["name"], kind))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def value_of(table):
    """The reverse of `table_of`"""
    columns = []
    for field, column in zip(table.schema, table.columns):
        if isinstance(column.type, pa.BaseExtensionType):
            stored = column.type.storage_type
            column = pa.chunked_array([chunk.storage for chunk in column.chunks], stored)
        columns.append({"name": field.name, "type": name_of(column.type), "values": texts_of(column)})
    return {"columns": columns}


def is_nested(kind):
    """Whether a value is written as JSON text"""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return is_nested(kind.value_type)
    return pa.types.is_nested(kind)


def type_of(name):
    if name in SIMPLE:
        return SIMPLE[name]
    match = re.fullmatch(r"timestamp\[(s|ms|us|ns)(?:, (.+))?\]", name)
    if match:
        return pa.timestamp(match[1], match[2])
    match = re.fullmatch(r"(decimal\d+|fixed_size_binary)\(([-\d, ]+)\)", name)
    if match:
        numbers = [int(number) for number in match[2].split(",")]
        return pa.binary(*numbers) if match[1] == "fixed_size_binary" else getattr(pa, match[1])(*numbers)
    match = re.fullmatch(r"(\w+)<(.*)>", name)
    if not match:
        raise ValueError(f"no Arrow type is named {name}")
    outer, inner = match[1], split(match[2])
    if outer == "struct":
        return pa.struct([(field.split(": ", 1)[0], type_of(field.split(": ", 1)[1])) for field in inner])
    if outer == "fixed_size_list":
        return pa.list_(type_of(inner[0]), int(inner[1]))
    makers = {"list": "list_", "map": "map_"}
    return getattr(pa, makers.get(outer, outer))(*map(type_of, inner))


def split(text):
    """`a, b<c, d>` as [`a`, `b<c, d>`]"""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "<([") - (letter in ">)]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def name_of(kind):
    is_ = pa.types
    if kind in NAMES:
        return NAMES[kind]
    if is_.is_timestamp(kind):
        return f"timestamp[{kind.unit}{f', {kind.tz}' if kind.tz else ''}]"
    if is_.is_decimal(kind):
        return f"decimal{kind.bit_width}({kind.precision},{kind.scale})"
    if is_.is_fixed_size_binary(kind):
        return f"fixed_size_binary({kind.byte_width})"
    if is_.is_dictionary(kind):
        return f"dictionary<{name_of(kind.index_type)}, {name_of(kind.value_type)}>"
    if is_.is_run_end_encoded(kind):
        return f"run_end_encoded<{name_of(kind.run_end_type)}, {name_of(kind.value_type)}>"
    if is_.is_struct(kind):
        return f"struct<{', '.join(f'{field.name}: {name_of(field.type)}' for field in map(kind.field, range(kind.num_fields)))}>"
    if is_.is_map(kind):
        return f"map<{name_of(kind.key_type)}, {name_of(kind.item_type)}>"
    if is_.is_fixed_size_list(kind):
        return f"fixed_size_list<{name_of(kind.value_type)}, {kind.list_size}>"
    if is_.is_nested(kind):
        return f"{str(kind).split('<')[0]}<{name_of(kind.value_type)}>"
    return str(kind)


def array_of(kind, items):
    """An Arrow array of parsed JSON texts"""
    is_ = pa.types
    if is_.is_dictionary(kind):
        return array_of(kind.value_type, items).dictionary_encode().cast(kind)
    if is_.is_run_end_encoded(kind):
        return pa.compute.run_end_encode(array_of(kind.value_type, items), run_end_type=kind.run_end_type)
    mask = pa.array([item is None for item in items], pa.bool_())
    if is_.is_struct(kind):
        fields = [kind.field(index) for index in range(kind.num_fields)]
        arrays = [array_of(field.type, [item and item.get(field.name) for item in items]) for field in fields]
        return pa.StructArray.from_arrays(arrays, fields=fields, mask=mask) if fields else pa.array(items, kind)
    if is_.is_nested(kind):
        flat = [entry for item in items for entry in item or ()]
        if is_.is_fixed_size_list(kind):
            flat = [entry for item in items for entry in item or [None] * kind.list_size]
            return pa.FixedSizeListArray.from_arrays(array_of(kind.value_type, flat), type=kind, mask=mask)
        ends = [0]
        for item in items:
            ends.append(ends[-1] + len(item or ()))
        if is_.is_map(kind):
            keys, values = (array_of(part, [pair[side] for pair in flat]) for side, part in enumerate((kind.key_type, kind.item_type)))
            offsets = pa.array([None if item is None else end for item, end in zip(items + [0], ends)], pa.int32())
            return pa.MapArray.from_arrays(offsets, keys, values, type=kind)
        values = array_of(kind.value_type, flat)
        name = str(kind).split("<")[0]
        if name.endswith("_view"):
            offset = pa.int64() if name.startswith("large") else pa.int32()
            sizes = pa.array([len(item or ()) for item in items], offset)
            view = pa.LargeListViewArray if name.startswith("large") else pa.ListViewArray
            return view.from_arrays(pa.array(ends[:-1], offset), sizes, values, mask=mask)
        return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), values, mask=mask).cast(kind)
    return leaves(kind, items)


def leaves(kind, items):
    is_ = pa.types
    if is_.is_boolean(kind):
        read = lambda item: item in (True, "true")  # noqa: E731
    elif is_.is_integer(kind):
        read = int
    elif is_.is_floating(kind):
        read = float
    elif is_.is_decimal(kind):
        read = Decimal
    elif is_.is_interval(kind):
        read = lambda item: pa.MonthDayNano([int(part) for part in item.split(",")])  # noqa: E731
    elif is_.is_temporal(kind):
        storage = pa.int32() if kind.bit_width == 32 else pa.int64()
        return pa.array([None if item is None else int(item) for item in items], storage).view(kind)
    elif is_.is_string(kind) or is_.is_large_string(kind) or str(kind) == "string_view" or is_.is_null(kind):
        read = str
    else:
        read = bytes.fromhex
    return pa.array([None if item is None else read(item) for item in items], kind)


def texts_of(column):
    kind, is_ = column.type, pa.types
    if is_.is_integer(kind):
        return [None if item is None else str(item) for item in column.to_pylist()]
    if is_.is_string(kind):
        return column.to_pylist()
    if is_.is_temporal(kind) and not is_.is_interval(kind):
        return texts_of(column.cast(pa.int32() if kind.bit_width == 32 else pa.int64()))
    if is_.is_dictionary(kind):
        return texts_of(column.cast(kind.value_type))
    if is_.is_run_end_encoded(kind):
        return texts_of(pa.chunked_array([pa.compute.run_end_decode(chunk) for chunk in column.chunks], kind.value_type))
    if is_.is_nested(kind):
        items = [inner(scalar) for scalar in column]
        return [None if item is None else json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in items]
    return [text(scalar) for scalar in column]


def text(scalar):
    """One value as a string"""
    kind, is_ = scalar.type, pa.types
    value = scalar.as_py() if not is_.is_temporal(kind) or is_.is_interval(kind) else scalar.value if scalar.is_valid else None
    if value is None:
        return None
    if is_.is_boolean(kind):
        return "true" if value else "false"
    if is_.is_floating(kind):
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"
        return repr(value) if is_.is_float64(kind) else scalar.cast(pa.float32()).cast(pa.string()).as_py()
    if is_.is_decimal(kind):
        return format(value, "f")
    if is_.is_interval(kind):
        return f"{value.months},{value.days},{value.nanoseconds}"
    return value.hex() if isinstance(value, bytes) else str(value)


def inner(scalar):
    """One value inside JSON text"""
    kind, is_ = scalar.type, pa.types
    if not scalar.is_valid:
        return None
    if is_.is_dictionary(kind):
        return inner(scalar.value)
    if is_.is_struct(kind):
        return {kind.field(index).name: inner(scalar[index]) for index in range(kind.num_fields)}
    if is_.is_map(kind):
        return [[inner(item["key"]), inner(item["value"])] for item in scalar.values]
    if is_.is_nested(kind):
        return [inner(item) for item in scalar.values]
    if is_.is_boolean(kind) or is_.is_integer(kind):
        return scalar.as_py()
    shown = text(scalar)
    if is_.is_floating(kind) and shown not in ("NaN", "inf", "-inf") and float(shown) or shown in ("0", "0.0"):
        return float(shown)
    return "-0.0" if is_.is_floating(kind) and shown == "-0" else shown
