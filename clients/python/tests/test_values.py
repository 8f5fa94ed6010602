"""Values as wide as Python: exact integers, keys, numpy's and pandas' scalars, times, decimals, and what is refused by name."""

import base64
import collections
import datetime as dt
import decimal
import enum
import io
import json
import pathlib
import uuid
from typing import Any, AsyncIterator, Dict, Iterator

import pytest

from natsbridge import NATSBridgeError, WrongTypeError, smartsend, sync


def wire(value: Any, kind: str = "dictionary") -> Any:
    envelope, _ = sync.smartsend("lab.x", [("x", value, kind)])
    return json.loads(base64.b64decode(envelope["payloads"][0]["data"]))


def refused(value: Any, kind: str = "dictionary", match: Any = None) -> NATSBridgeError:
    with pytest.raises(NATSBridgeError, match=match) as caught:
        sync.smartsend("lab.x", [("x", value, kind)])
    assert caught.value.dataname == "x"
    return caught.value


class Colour(enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    TWO = 2


Point = collections.namedtuple("Point", "x y")


def test_the_rule_for_values_that_json_does_not_have() -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    cases = [
        (dt.datetime(2026, 5, 13, 8, 15, 30), "2026-05-13T08:15:30"),
        (dt.datetime(2026, 5, 13, 8, 15, 30, 500_000), "2026-05-13T08:15:30.500"),
        (dt.datetime(2026, 5, 13, 8, 15, 30, 1), "2026-05-13T08:15:30.000001"),
        (dt.datetime(2026, 5, 13, 8, 15, 30, tzinfo=zone), "2026-05-13T06:15:30Z"),
        (dt.date(2026, 5, 13), "2026-05-13"),
        (dt.time(8, 15, 30), "08:15:30"),
        (dt.timedelta(seconds=90), "PT90S"),
        (dt.timedelta(milliseconds=-1), "PT-0.001S"),
        (decimal.Decimal("12.50"), "12.50"),
        (decimal.Decimal("1E+3"), "1000"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Colour.RED, "red"),
        (Number.TWO, 2),
        (Point(1, 2), [1, 2]),
        (collections.OrderedDict(a=1), {"a": 1}),
        ((1, 2), [1, 2]),
        (True, True),
        (1e16, 1e16),
        (-0.0, -0.0),
    ]
    for value, expected in cases:
        assert wire({"v": value}) == {"v": expected}, value


def test_numpy_and_pandas_scalars_are_pythons() -> None:
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    cases = [
        (numpy.int8(-3), -3), (numpy.uint64(2**64 - 1), 2**64 - 1), (numpy.float32(0.5), 0.5), (numpy.float64(1.25), 1.25),
        (numpy.bool_(True), True), (numpy.str_("x"), "x"), (numpy.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (numpy.datetime64("2026-05-13T08:15:30.123456789"), "2026-05-13T08:15:30.123456789"),
        (numpy.datetime64("2026-05-13"), "2026-05-13T00:00:00"), (numpy.datetime64("NaT"), None),
        (numpy.timedelta64(90, "s"), "PT90S"), (pandas.NaT, None), (pandas.NA, None),
        (pandas.Timestamp("2026-05-13T08:15:30.000000001"), "2026-05-13T08:15:30.000000001"),
        (pandas.Timestamp("2026-05-13T08:15:30", tz="Europe/Berlin"), "2026-05-13T06:15:30Z"),
        (pandas.Timedelta(1, "ns"), "PT0.000000001S"),
    ]  # fmt: skip
    for value, expected in cases:
        assert wire([value]) == [expected], repr(value)
    for value in (numpy.float32("nan"), numpy.float64("inf")):
        refused([value])


def test_integers_are_exact_or_refused_with_their_place() -> None:
    for number in (0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1):
        assert wire({"n": number})["n"] == number
    for number in (2**64, -(2**63) - 1, 10**30, -(10**400)):
        error = refused({"deep": [1, {"n": number}]}, match=r"\.deep\[1\]\.n")
        assert error.code == "wrong_value"
    refused([{"a": 10**30}], "jsontable", match=r"\[0\]\.a")


def test_keys_that_are_no_strings_are_refused_by_name() -> None:
    for key, shown in ((1, "1"), (True, "True"), (None, "None"), (1.5, "1.5"), ((1, 2), "(1, 2)"), (b"x", "b'x'")):
        for kind, value in (("dictionary", {"a": {key: 1}}), ("jsontable", [{key: 1}])):
            assert shown in str(refused(value, kind))
    assert wire({"": 1, "\0": 2, "a\"\\\n\u2028": 3}) == {"": 1, "\0": 2, "a\"\\\n\u2028": 3}


def test_what_has_no_json_form_is_refused_by_place() -> None:
    for value in (float("nan"), float("inf"), {1, 2}, object(), b"x", bytearray(b"x"), 1j, decimal.Decimal("NaN"), range(3), "\ud800"):
        assert "[0]" in str(refused([value])), value
    deep: Any = 1
    for _ in range(128):
        deep = [deep]
    assert refused(deep).code == "too_deep"
    circle: Any = []
    circle.append(circle)
    assert refused(circle).code == "too_deep"
    assert wire(json.loads("[" * 127 + "]" * 127)) is not None


def test_received_json_is_pythons_own() -> None:
    text = '{"a":1.5,"b":[true,false,null],"n":18446744073709551615,"m":-9223372036854775808,"e":1e-7,"s":"\\ud83d\\ude00","a":2}'
    envelope = {"payloads": [{"dataname": "x", "payload_type": "dictionary", "transport": "direct", "data": base64.b64encode(text.encode()).decode()}]}
    value = sync.smartreceive(json.dumps(envelope))["payloads"][0][1]
    assert value == {"a": 2, "b": [True, False, None], "n": 2**64 - 1, "m": -(2**63), "e": 1e-7, "s": "\U0001f600"}
    assert type(value["n"]) is int and type(value["e"]) is float


def test_bytes_come_from_any_buffer(tmp_path: pathlib.Path) -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(6, dtype="uint8").reshape(2, 3)
    path = tmp_path / "f.bin"
    path.write_bytes(b"in a file")
    cases = [
        (b"x" * 10_000, b"x" * 10_000), (bytearray(b"abc"), b"abc"), (memoryview(b"abcdef")[::2], b"ace"), (array, bytes(range(6))),
        (array.T, bytes([0, 3, 1, 4, 2, 5])), (io.BytesIO(b"a stream"), b"a stream"), (iter([b"a", b"b"]), b"ab"),
        (path, b"in a file"),
    ]  # fmt: skip
    for value, expected in cases:
        _, text = sync.smartsend("lab.x", [("x", value, "binary")])
        assert sync.smartreceive(text)["payloads"][0][1] == expected
    with open(path, "rb") as file:
        _, text = sync.smartsend("lab.x", [("x", file, "image"), ("y", io.StringIO("grüße"), "text")])
    assert [value for _, value, _ in sync.smartreceive(text)["payloads"]] == [b"in a file", "grüße"]
    refused("text", "binary", match=r"\.encode\(\)")
    refused(tmp_path / "missing", "binary", match="missing")
    refused(iter([b"a", 7]), "binary", match="piece")

    def broken() -> Iterator[bytes]:
        yield b"a"
        raise ValueError("no more")

    error = refused(broken(), "binary", match="no more")
    assert isinstance(error, WrongTypeError) and isinstance(error.__cause__, ValueError)


async def test_async_iterators_are_read_without_holding_the_loop() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"a" * 1000, b"b" * 1000):
            yield piece

    envelope, text = await smartsend("lab.x", [("x", pieces(), "audio")])
    assert envelope["payloads"][0]["size"] == 2000
    with pytest.raises(NATSBridgeError, match="async"):
        sync.smartsend("lab.x", [("x", pieces(), "audio")])


def test_dictionaries_that_change_while_they_are_written() -> None:
    changing: Dict[str, Any] = {}

    class Zone(dt.tzinfo):
        """Code of the program's own, which is called for each time with a zone"""

        def utcoffset(self, _: Any) -> dt.timedelta:
            changing.clear()
            changing.update({f"k{n}": n for n in range(50)})
            return dt.timedelta(0)

        def dst(self, _: Any) -> None:
            return None

        def tzname(self, _: Any) -> None:
            return None

    for kind in ("dictionary", "jsontable"):
        changing.clear()
        changing.update(a=dt.datetime(2026, 5, 13, tzinfo=Zone()), b=2)
        assert wire([changing], kind) == [{"a": "2026-05-13T00:00:00Z", "b": 2}]
