"""Whatever a payload may be given as, to what the engine takes: bytes, text, a path, rows or a table."""

import inspect
import os
from typing import Any, Callable, List, Optional, Tuple

from . import _tables
from ._errors import NATSBridgeError, WrongTypeError

_BYTES = ("image", "audio", "video", "binary")
_SIMPLE = frozenset({str, bytes, bytearray, dict, list, tuple, int, float, bool, type(None)})
_SPOOLED = 500_000
"""Bytes of a file object or an iterator that are held in memory; more go to a temporary file"""
_PIECE = 1 << 18


def convert(value: Any, payload_type: str) -> Any:
    """What the engine does not know by itself"""
    if payload_type in ("arrowtable", "jsontable"):
        return _tables.native(value)
    if payload_type in _BYTES and not isinstance(value, str):
        try:
            return memoryview(value).tobytes()
        except TypeError:
            return value
    return value


def is_stream(value: Any, payload_type: str) -> bool:
    """Whether the bytes come piece by piece: a file that is open, an iterator, an async one"""
    if type(value) in _SIMPLE or payload_type not in _BYTES and payload_type not in ("text", "arrowtable"):
        return False
    if isinstance(value, (str, bytes, bytearray, memoryview, os.PathLike)):
        return False
    if hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__"):
        return False
    if hasattr(value, "read") or hasattr(value, "__aiter__"):
        return True
    return payload_type in _BYTES and hasattr(value, "__next__")


def has_streams(data: Any) -> bool:
    """Whether any payload has to be read before it is sent"""
    return isinstance(data, (list, tuple)) and any(_streams(item) for item in data)


class Spool:
    """Bytes that come piece by piece: in memory as long as they are few, else in a temporary file"""

    def __init__(self, dataname: str) -> None:
        self.dataname = dataname
        self._pieces: List[bytes] = []
        self._held = 0
        self._file: Any = None

    def write(self, piece: Any) -> None:
        if isinstance(piece, str):
            piece = piece.encode("utf-8")
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            raise WrongTypeError("wrong_value", f"payload `{self.dataname}`: a piece of it is {type(piece).__name__}, not bytes", self.dataname)
        if self._file is None and self._held + len(piece) < _SPOOLED:
            self._pieces.append(bytes(piece))
            self._held += len(piece)
            return
        if self._file is None:
            import tempfile

            self._file = tempfile.NamedTemporaryFile(prefix="natsbridge-")
            for held in self._pieces:
                self._file.write(held)
            self._pieces = []
        self._file.write(piece)

    def finish(self, payload_type: str) -> Any:
        if self._file is not None:
            import pathlib

            self._file.flush()
            return pathlib.Path(self._file.name)
        whole = b"".join(self._pieces)
        return whole.decode("utf-8") if payload_type == "text" else whole if payload_type != "arrowtable" else _tables.of_ipc(whole)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _failed(dataname: str, error: Exception) -> NATSBridgeError:
    if isinstance(error, NATSBridgeError):
        return error
    failure = WrongTypeError("wrong_value", f"payload `{dataname}`: it can't be read: {type(error).__name__}: {error}", dataname)
    failure.__cause__ = error
    return failure


def read(data: Any) -> Tuple[List[Any], List[Spool]]:
    """The payloads with their streams read; close the spools when they are sent"""
    items, spools = [], []
    try:
        for item in data:
            if _streams(item):
                spool = Spool(str(item[0]))
                spools.append(spool)
                item = (item[0], _read_one(item, spool), item[2])
            items.append(item)
    except BaseException:
        close(spools)
        raise
    return items, spools


def _streams(item: Any) -> bool:
    return isinstance(item, (tuple, list)) and len(item) == 3 and is_stream(item[1], item[2])


def _read_one(item: Any, spool: Spool) -> Any:
    dataname, source, payload_type = item
    try:
        if hasattr(source, "__aiter__"):
            raise TypeError("an async iterator needs the async functions")
        if hasattr(source, "read"):
            for piece in iter(lambda: source.read(_PIECE), None):
                if inspect.isawaitable(piece):
                    raise TypeError("an async file needs the async functions")
                if not piece:
                    break
                spool.write(piece)
        else:
            for piece in source:
                spool.write(piece)
        return spool.finish(payload_type)
    except Exception as error:
        raise _failed(dataname, error) from error


async def read_async(data: Any, in_thread: Callable[..., Any]) -> Tuple[List[Any], List[Spool]]:
    """As `read`, without holding the event loop: what blocks is read in a thread"""
    items: List[Any] = []
    spools: List[Spool] = []
    try:
        for item in data:
            if _streams(item):
                spool = Spool(str(item[0]))
                spools.append(spool)
                item = (item[0], await _read_one_async(item, spool, in_thread), item[2])
            items.append(item)
    except BaseException:
        close(spools)
        raise
    return items, spools


async def _read_one_async(item: Any, spool: Spool, in_thread: Callable[..., Any]) -> Any:
    dataname, source, payload_type = item
    try:
        if hasattr(source, "__aiter__"):
            async for piece in source:
                await in_thread(spool.write, piece)
            return spool.finish(payload_type)
        if inspect.iscoroutinefunction(getattr(source, "read", None)):
            while True:
                piece = await source.read(_PIECE)
                if not piece:
                    return spool.finish(payload_type)
                await in_thread(spool.write, piece)
        return await in_thread(_read_one, item, spool)
    except Exception as error:
        raise _failed(dataname, error) from error


def close(spools: Optional[List[Spool]]) -> None:
    """Removes the temporary files"""
    for spool in spools or ():
        spool.close()
