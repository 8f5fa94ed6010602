"""Columns of tables: from rows, dictionaries, numpy and pandas, and to pandas without pyarrow."""

import array
import datetime
import decimal
import importlib
import sys
import uuid
from typing import Any, Dict, List, Optional, Sequence, Tuple

from . import _natsbridge as _native
from ._errors import NATSBridgeError, WrongTypeError

# ------------------------------------------------------------------------------------------------ rows and columns


def of_rows(rows: Sequence[Any]) -> Any:
    names: Dict[str, None] = {}
    for at, row in enumerate(rows):
        if not isinstance(row, dict):
            raise WrongTypeError("wrong_value", f"row {at} is {type(row).__name__}, and rows are dictionaries")
        for name in row:
            if not isinstance(name, str):
                raise WrongTypeError("wrong_value", f"row {at}: the key {name!r} is no string but {type(name).__name__}")
            names.setdefault(name)
    return _native.Table.from_columns([_column(name, [row.get(name) for row in rows]) for name in names])


def of_columns(columns: Dict[Any, Any]) -> Any:
    made = []
    for name, values in columns.items():
        _check_name(name, "name it by text")
        if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
            kind = type(values).__name__
            raise WrongTypeError("wrong_value", f"column `{name}` is {kind}, and a column is a list of values; one row is [{{{name!r}: …}}]")
        module = type(values).__module__.split(".", 1)[0]
        if module == "pandas":
            made.append(_series(name, values))
        elif module == "numpy":
            made.append(_numpy(name, values))
        else:
            made.append(_column(name, list(values)))
    return _native.Table.from_columns(made)


def _check_name(name: Any, advice: str) -> None:
    if not isinstance(name, str):
        raise WrongTypeError("wrong_value", f"a column is named by {name!r}, of type {type(name).__name__}, and names are text; {advice}")


def _unconvertible(name: str, text: str) -> WrongTypeError:
    return WrongTypeError("unconvertible", f"column `{name}`: {text}")


def _mask(nulls: List[bool]) -> Optional[bytes]:
    return bytes(nulls) if any(nulls) else None


def _column(name: str, values: List[Any]) -> Tuple[Any, ...]:
    """A column of Python values, its type found by what it holds; mixed kinds are refused"""
    values = [None if _is_missing(value) else value for value in values]
    kinds = {type(value) for value in values if value is not None}
    nulls = [value is None for value in values]
    if not kinds:
        return name, "null", len(values)
    if any(kind.__module__.split(".", 1)[0] == "numpy" for kind in kinds):
        values = [value.item() if hasattr(value, "item") and not isinstance(value, (str, bytes)) and not _is_nano(value) else value for value in values]
        kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return name, "bool", bytes(bool(value) for value in values), _mask(nulls)
    if all(issubclass(kind, int) and kind is not bool for kind in kinds):
        return _integers(name, values, nulls)
    if all(issubclass(kind, (int, float)) and kind is not bool for kind in kinds):
        for value in values:
            if isinstance(value, int) and abs(value) > 1 << 53:
                raise _unconvertible(name, f"the integer {value} among floats would become another number")
        return name, "float64", array.array("d", [0.0 if value is None else value for value in values]).tobytes(), _mask(nulls)
    if all(issubclass(kind, str) for kind in kinds):
        return name, "string", values
    if all(issubclass(kind, (bytes, bytearray, memoryview)) for kind in kinds):
        return name, "binary", [None if value is None else bytes(value) for value in values]
    if all(issubclass(kind, datetime.datetime) for kind in kinds):
        return _moments(name, values, nulls)
    if all(issubclass(kind, datetime.date) for kind in kinds) and datetime.datetime not in kinds:
        days = [0 if value is None else (value - datetime.date(1970, 1, 1)).days for value in values]
        return name, "date32", array.array("i", days).tobytes(), _mask(nulls)
    if all(issubclass(kind, datetime.time) for kind in kinds):
        micros = [0 if v is None else ((v.hour * 60 + v.minute) * 60 + v.second) * 1_000_000 + v.microsecond for v in values]
        return name, "time64", array.array("q", micros).tobytes(), _mask(nulls)
    if all(issubclass(kind, datetime.timedelta) for kind in kinds):
        micros = [0 if v is None else (v.days * 86_400 + v.seconds) * 1_000_000 + v.microseconds for v in values]
        return name, "duration[us]", array.array("q", micros).tobytes(), _mask(nulls)
    if all(issubclass(kind, decimal.Decimal) for kind in kinds):
        return _decimals(name, values)
    if all(issubclass(kind, uuid.UUID) for kind in kinds):
        return name, "string", [None if value is None else str(value) for value in values]
    if all(issubclass(kind, (dict, list, tuple)) for kind in kinds):
        return name, "nested", _nested(name, values)
    shown = ", ".join(sorted(kind.__name__ for kind in kinds))
    what = f"it mixes {shown}" if len(kinds) > 1 else f"{shown} has no Arrow type"
    raise _unconvertible(name, f"{what}; make it one type, such as text")


def _nested(name: str, values: List[Any]) -> Any:
    try:
        return _native.Table.from_rows([{name: value} for value in values])
    except NATSBridgeError as error:
        raise _unconvertible(name, str(error)) from error


def _is_nano(value: Any) -> bool:
    return type(value).__name__ in ("datetime64", "timedelta64")


def _is_missing(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and (value is getattr(pandas, "NaT", value is None) or value is getattr(pandas, "NA", None))


def _integers(name: str, values: List[Any], nulls: List[bool]) -> Tuple[Any, ...]:
    numbers = [0 if value is None else int(value) for value in values]
    low, high = min(numbers, default=0), max(numbers, default=0)
    if low >= -(1 << 63) and high < 1 << 63:
        return name, "int64", array.array("q", numbers).tobytes(), _mask(nulls)
    if low >= 0 and high < 1 << 64:
        return name, "uint64", array.array("Q", numbers).tobytes(), _mask(nulls)
    raise _unconvertible(name, f"the integer {high if high >= 1 << 63 else low} is beyond 64 bits; send it as Decimal or text")


def _moments(name: str, values: List[Any], nulls: List[bool]) -> Tuple[Any, ...]:
    zones = {value.tzinfo is not None for value in values if value is not None}
    if len(zones) > 1:
        raise _unconvertible(name, "it mixes times with and without a zone")
    zone = None
    if zones == {True}:
        names = {_zone_name(value) for value in values if value is not None}
        zone = names.pop() if len(names) == 1 else "UTC"
    nano = any(getattr(value, "nanosecond", 0) for value in values)
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    counts = []
    for value in values:
        if value is None:
            counts.append(0)
            continue
        utc = value.astimezone(datetime.timezone.utc) if zone else value.replace(tzinfo=datetime.timezone.utc)
        delta = utc.replace(**({"nanosecond": 0} if hasattr(utc, "nanosecond") else {})) - epoch
        micros = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
        counts.append(micros * 1000 + getattr(value, "nanosecond", 0) if nano else micros)
    kind = f"timestamp[{'ns' if nano else 'us'}{f', {zone}' if zone else ''}]"
    return name, kind, array.array("q", counts).tobytes(), _mask(nulls)


def _zone_name(value: Any) -> str:
    """The zone's name, or its offset"""
    zone = value.tzinfo
    named = getattr(zone, "key", None) or getattr(zone, "zone", None)
    if named:
        return str(named)
    offset = value.utcoffset()
    if not offset:
        return "UTC"
    minutes = int(offset.total_seconds() // 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def _decimals(name: str, values: List[Any]) -> Tuple[Any, ...]:
    scale, whole = 0, 1
    for value in values:
        if value is None:
            continue
        if not value.is_finite():
            raise _unconvertible(name, f"the decimal {value} has no Arrow form")
        _, digits, exponent = value.as_tuple()
        scale = max(scale, -int(exponent))
        whole = max(whole, len(digits) + int(exponent))
    precision = whole + scale
    if precision > 76 or scale > 76:
        raise _unconvertible(name, f"decimals of {precision} digits; Arrow holds 76")
    return name, "decimal", [None if value is None else format(value, "f") for value in values], (max(precision, 1), scale)


# ------------------------------------------------------------------------------------------------------------ numpy

_NUMBERS = {"i": "int", "u": "uint", "f": "float"}


def _numpy(name: str, values: Any) -> Tuple[Any, ...]:
    kind, size = values.dtype.kind, values.dtype.itemsize
    if values.ndim != 1:
        return _column(name, values.tolist())
    if values.dtype.byteorder == ">" or (values.dtype.byteorder == "=" and sys.byteorder == "big"):
        values = values.astype(values.dtype.newbyteorder("<"))
    if kind == "b":
        return name, "bool", values.astype("uint8").tobytes(), None
    if kind in _NUMBERS and size <= 8:
        return name, f"{_NUMBERS[kind]}{size * 8}", values.tobytes(), None
    if kind in "mM":
        return _numpy_time(name, values, None)
    if kind in "UO":
        return _column(name, values.tolist())
    if kind == "S":
        return name, "binary", [bytes(value) for value in values]
    raise _unconvertible(name, f"numpy's type {values.dtype} has no Arrow type")


def _numpy_time(name: str, values: Any, zone: Optional[str]) -> Tuple[Any, ...]:
    import numpy

    unit = numpy.datetime_data(values.dtype)[0]
    if unit not in ("s", "ms", "us", "ns"):
        unit = "s" if unit in ("Y", "M", "W", "D", "h", "m") else "ns"
        values = values.astype(f"{values.dtype.kind}8[{unit}]")
    missing = numpy.isnat(values)
    mask = missing.astype("uint8").tobytes() if missing.any() else None
    counts = values.astype("int64")
    if mask is not None:
        counts = numpy.where(missing, 0, counts)
    kind = f"timestamp[{unit}{f', {zone}' if zone else ''}]" if values.dtype.kind == "M" else f"duration[{unit}]"
    return name, kind, counts.tobytes(), mask


# ----------------------------------------------------------------------------------------------------------- pandas


def of_pandas(frame: Any) -> Any:
    """The columns of a DataFrame, and its index where that has a name; an index without one only counts rows"""
    frame = _with_index(frame)
    for name in frame.columns:
        _check_name(name, "rename them by frame.columns = frame.columns.map(str)")
    try:
        pyarrow = importlib.import_module("pyarrow")
    except ImportError:
        if not len(frame.columns):
            return _native.Table.from_columns([])
        return _native.Table.from_columns([_series(name, frame.iloc[:, at]) for at, name in enumerate(frame.columns)])
    try:
        table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    except (pyarrow.ArrowException, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, pyarrow.ArrowException):
            for at, name in enumerate(frame.columns):
                if frame.dtypes.iloc[at] == object:
                    _series(name, frame.iloc[:, at])  # names the column, and what it holds
        raise WrongTypeError("unconvertible", f"it has no Arrow form: {'; '.join(str(part) for part in error.args)}") from error
    if any(column.num_chunks > 1 and pyarrow.types.is_dictionary(column.type) for column in table.columns):
        table = table.unify_dictionaries()
    if not hasattr(table, "__arrow_c_stream__"):
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return _native.Table.from_ipc(sink.getvalue().to_pybytes())
    return _native.Table.from_stream(table.__arrow_c_stream__())


def _with_index(frame: Any) -> Any:
    names = list(frame.index.names)
    if any(name is not None for name in names):
        return frame.reset_index()
    return frame


def _series(name: str, series: Any) -> Tuple[Any, ...]:
    """A pandas column without pyarrow"""
    import numpy
    import pandas

    kind = series.dtype
    if isinstance(kind, pandas.CategoricalDtype):
        codes = series.cat.codes.to_numpy().astype("int32")
        missing = codes < 0
        mask = missing.astype("uint8").tobytes() if missing.any() else None
        categories = _series("categories", pandas.Series(series.cat.categories))
        return name, "dictionary", numpy.where(missing, 0, codes).astype("int32").tobytes(), mask, categories, bool(series.cat.ordered)
    if isinstance(kind, pandas.DatetimeTZDtype):
        zone = getattr(kind.tz, "key", None) or getattr(kind.tz, "zone", None) or str(kind.tz)
        return _numpy_time(name, series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), "UTC" if zone in ("UTC", "utc") else zone)
    if isinstance(kind, numpy.dtype) and kind.kind in "biufmM":
        return _numpy(name, series.to_numpy())
    if str(kind) in ("boolean", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float32", "Float64"):
        missing = series.isna().to_numpy(dtype=bool)
        word = "bool" if str(kind) == "boolean" else str(kind).lower()
        filled = series.fillna(False if word == "bool" else 0).to_numpy(dtype=word)
        mask = missing.astype("uint8").tobytes() if missing.any() else None
        return name, word, filled.astype("uint8").tobytes() if word == "bool" else filled.tobytes(), mask
    values = series.tolist()
    missing = series.isna().tolist()
    # In a column of objects None and NaN both say that nothing is there.
    return _column(name, [None if gone else value for value, gone in zip(values, missing)])


def to_pandas(table: Any, pandas: Any) -> Any:
    """A DataFrame by numpy: the types are those that pyarrow's `to_pandas` gives"""
    import numpy

    columns = []
    names = list(table.columns)
    for at, kind in enumerate(table.types):
        found = table.buffer(at)
        if found is not None:
            dtype, data, mask = found
            values = numpy.frombuffer(data, dtype="bool" if dtype == "bool" else dtype).copy()
            if mask is not None:
                missing = numpy.frombuffer(mask, dtype="bool")
                if dtype[:2] in ("da", "ti"):
                    values[missing] = numpy.array("NaT", dtype=dtype)
                elif dtype[:5] == "float":
                    values[missing] = numpy.nan
                else:
                    # Integers stay exact: as floats the large ones would become others.
                    values = (pandas.arrays.BooleanArray if dtype == "bool" else pandas.arrays.IntegerArray)(values, missing)
            series = pandas.Series(values)
            if kind.startswith("timestamp[") and ", " in kind:
                series = series.dt.tz_localize("UTC").dt.tz_convert(kind[kind.index(", ") + 2 : -1])
            columns.append(series)
        elif kind.startswith("dictionary<"):
            columns.append(pandas.Series(pandas.Categorical(table.values(at))))
        else:
            columns.append(pandas.Series(table.values(at), dtype=object if kind not in ("string", "large_string") else None))
    frame = pandas.concat(columns, axis=1) if columns else pandas.DataFrame(index=range(len(table)))
    frame.columns = names
    return frame
