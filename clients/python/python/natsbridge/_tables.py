"""Tables: the class, and whose table a value is; `_columns` has what turns rows, columns and DataFrames into one."""

import importlib
import sys
from typing import Any, Dict, List, Tuple

from . import _natsbridge as _native
from ._errors import NATSBridgeError, UnsupportedError, WrongTypeError

_SHOWN = 10
"""Rows that a repr shows"""
_WIDEST = 30


class Table:
    """An Arrow table, without needing pyarrow.

    Made of anything that has ``__arrow_c_stream__`` or ``__arrow_c_array__`` (pyarrow, polars, pandas, duckdb …), of a pandas
    DataFrame, of rows (a list of dictionaries), or of columns (a dictionary of sequences). Columns are shared, not copied,
    where Arrow's interface allows it.
    """

    __slots__ = ("_table", "__weakref__")

    def __init__(self, data: Any) -> None:
        table = native(data)
        if type(table) is not _native.Table:
            raise WrongTypeError("wrong_value", f"a Table is made of a DataFrame, anything of Arrow's, rows or columns, and not of {type(data).__name__}")
        self._table = table

    @classmethod
    def _of(cls, table: Any) -> "Table":
        made = cls.__new__(cls)
        made._table = table
        return made

    @classmethod
    def from_ipc(cls, data: bytes) -> "Table":
        """Reads an Arrow IPC stream or file"""
        return cls._of(_native.Table.from_ipc(bytes(data)))

    def to_ipc(self) -> bytes:
        """The table as an Arrow IPC stream"""
        made: bytes = self._table.to_ipc()
        return made

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Arrow's PyCapsule interface: ``polars.DataFrame(table)``, ``pyarrow.table(table)`` and others take a table as it is"""
        return self._table.__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> Any:
        """The schema by Arrow's PyCapsule interface"""
        return self._table.__arrow_c_schema__()

    def __len__(self) -> int:
        return len(self._table)

    @property
    def num_rows(self) -> int:
        """The number of rows"""
        return len(self._table)

    @property
    def columns(self) -> List[str]:
        """The columns' names"""
        return list(self._table.columns)

    @property
    def types(self) -> Dict[str, str]:
        """The columns' types by name, in Arrow's words"""
        return dict(zip(self._table.columns, self._table.types))

    def column(self, name: str) -> List[Any]:
        """The values of one column; the first of this name"""
        try:
            at = self._table.columns.index(name)
        except ValueError:
            raise KeyError(f"no column {name!r}; the table has {', '.join(self.columns) or 'none'}") from None
        return list(self._table.values(at))

    def __getitem__(self, name: str) -> List[Any]:
        return self.column(name)

    def to_pylist(self) -> List[Dict[str, Any]]:
        """The rows as dictionaries of Python values"""
        names = self.columns
        if len(set(names)) < len(names):
            raise WrongTypeError("unconvertible", "two columns have the same name, and a dictionary holds one; use column positions of to_pyarrow")
        values = [self._table.values(at) for at in range(len(names))]
        return [dict(zip(names, row)) for row in zip(*values)] if values else [{} for _ in range(len(self))]

    def to_pydict(self) -> Dict[str, List[Any]]:
        """The columns as lists of Python values"""
        return {name: list(self._table.values(at)) for at, name in enumerate(self.columns)}

    def to_pyarrow(self) -> Any:
        """A ``pyarrow.Table``; the columns are shared"""
        pyarrow = _needed("pyarrow")
        if hasattr(pyarrow.RecordBatchReader, "from_stream"):
            return pyarrow.RecordBatchReader.from_stream(self).read_all()
        return pyarrow.ipc.open_stream(self.to_ipc()).read_all()

    def to_polars(self) -> Any:
        """A ``polars.DataFrame``"""
        polars = _needed("polars")
        return polars.DataFrame(self) if len(self.columns) else polars.DataFrame()

    def to_pandas(self, **options: Any) -> Any:
        """A ``pandas.DataFrame``: by pyarrow where it is installed (``options`` are those of its ``to_pandas``), else by numpy"""
        pandas = _needed("pandas")
        try:
            importlib.import_module("pyarrow")
        except ImportError:
            if options:
                raise UnsupportedError("unsupported", "options of to_pandas need pyarrow; install natsbridge[pyarrow]") from None
            from ._columns import to_pandas

            return to_pandas(self._table, pandas)
        return self.to_pyarrow().to_pandas(**options)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
            return NotImplemented
        return bool(self._table.equals(other._table))

    __hash__ = None  # type: ignore[assignment]

    def _first(self) -> Tuple[List[str], List[List[str]]]:
        names = self.columns
        first = self._table.slice(0, _SHOWN)
        rows = []
        try:
            columns = [first.values(at) for at in range(len(names))]
        except Exception:  # values that Python does not have
            return names, []
        for row in zip(*columns):
            rows.append([_cell(value) for value in row])
        return names, rows

    def __repr__(self) -> str:
        names, rows = self._first()
        head = f"Table: {_counted(len(self), 'row')}, {_counted(len(names), 'column')}"
        kinds = list(self._table.types)
        shown = min(len(names), 12)
        table = [[_cut(name) for name in names[:shown]], [_cut(kind) for kind in kinds[:shown]]] + [row[:shown] for row in rows]
        widths = [max(len(line[at]) for line in table) for at in range(shown)]
        lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in table]
        if lines:
            lines.insert(2, "  ".join("-" * width for width in widths))
        if len(self) > len(rows):
            lines.append("…")
        if len(names) > shown:
            lines.append(f"and {len(names) - shown} more columns")
        return "\n".join([head, *lines])

    def _repr_html_(self) -> str:
        import html

        names, rows = self._first()
        kinds = list(self._table.types)
        head = "".join(f"<th>{html.escape(name)}<br><small>{html.escape(kind)}</small></th>" for name, kind in zip(names, kinds))
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        return f"<p>Table: {_counted(len(self), 'row')}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _cut(text: str) -> str:
    # Text of strangers goes to a terminal: nothing but what can be printed.
    text = "".join(char if char.isprintable() else "\ufffd" for char in text[: _WIDEST + 1])
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def _cell(value: Any) -> str:
    if value is None:
        return "null"
    return _cut(value if isinstance(value, str) else str(value))


def _needed(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError:
        raise UnsupportedError("unsupported", f"this needs {name}; install natsbridge[{name}]") from None


def of_ipc(data: bytes) -> Any:
    """The engine's table of an Arrow stream or file"""
    return _native.Table.from_ipc(data)


def native(value: Any) -> Any:
    """The engine's table of whatever holds one; the value itself where it is none"""
    if isinstance(value, Table):
        return value._table
    if isinstance(value, _native.Table):
        return value
    try:
        module = type(value).__module__.split(".", 1)[0]
        if module == "pandas" and hasattr(value, "columns") and hasattr(value, "dtypes"):
            from ._columns import of_pandas

            return of_pandas(value)
        if hasattr(value, "__arrow_c_stream__"):
            return _native.Table.from_stream(value.__arrow_c_stream__())
        if hasattr(value, "__arrow_c_array__"):
            return _native.Table.from_array(*value.__arrow_c_array__())
        if module == "pyarrow":  # before 14, without the interface
            pyarrow = sys.modules["pyarrow"]
            table = pyarrow.Table.from_batches([value]) if isinstance(value, pyarrow.RecordBatch) else value
            sink = pyarrow.BufferOutputStream()
            with pyarrow.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
            return of_ipc(sink.getvalue().to_pybytes())
        if isinstance(value, dict):
            from ._columns import of_columns

            return of_columns(value)
        if isinstance(value, (list, tuple)):
            from ._columns import of_rows

            return of_rows(value)
    except NATSBridgeError:
        raise
    except Exception as error:
        raise WrongTypeError("unconvertible", f"it has no Arrow form: {type(error).__name__}: {error}") from error
    return value
