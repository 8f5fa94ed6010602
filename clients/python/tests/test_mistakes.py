"""Mistakes that Python developers make: each is one error of the library's own, that names the payload and says what to do."""

import asyncio
import dataclasses
import json
import pathlib
import sys
from typing import Any, Callable, Dict, Tuple

import pytest

import natsbridge
from natsbridge import NATSBridgeError, WrongTypeError, sync, testing


def send(value: Any, kind: Any = "dictionary", **options: Any) -> Any:
    return sync.smartsend("lab.x", [("x", value, kind)], **options)


def sends(*payloads: Any) -> Callable[[], Any]:
    data: Any = payloads[0] if len(payloads) == 1 else payloads
    return lambda: sync.smartsend("lab.x", data)


class Awaited:
    """A coroutine that nobody awaits, and that nobody is warned of"""

    def __init__(self, use: Callable[[Any], Any]) -> None:
        self.use = use

    def __call__(self) -> Any:
        async def value() -> int:
            return 7

        coroutine = value()
        try:
            return self.use(coroutine)
        finally:
            coroutine.close()


class Msg:
    """As clients of NATS hand it out"""

    data = b"{}"


@dataclasses.dataclass
class Point:
    x: int = 1


def frame(**columns: Any) -> Any:
    return pytest.importorskip("pandas").DataFrame(columns)


def of_link(**options: Any) -> Any:
    payload = {"dataname": "x", "payload_type": "binary", "transport": "link", "data": "http://127.0.0.1:9/x"}
    return sync.smartreceive(json.dumps({"payloads": [payload]}), **options)


def closed() -> sync.Bridge:
    bridge = testing.sync_bridge()
    bridge.drain()
    return bridge


ANYTHING: Any = "f"
KEYWORDS: Any = {"acks": 1}

# What was done; the class; the payload; words that the error has to say
MISTAKES: Dict[str, Tuple[Callable[[], Any], Any, Any, Tuple[str, ...]]] = {
    "no await: a value": (Awaited(send), WrongTypeError, "x", ("coroutine", "`await`")),
    "no await: bytes": (Awaited(lambda value: send(value, "binary")), WrongTypeError, "x", ("coroutine", "`await`")),
    "no await: a message": (Awaited(sync.smartreceive), WrongTypeError, None, ("coroutine", "`await`")),
    "a type table": (lambda: send([{"a": 1}], "table"), WrongTypeError, "x", ("`table`", "`arrowtable` or `jsontable`")),
    "a type json": (lambda: send({}, "json"), WrongTypeError, "x", ("`dictionary`",)),
    "a type in capitals": (lambda: send("x", "Text"), WrongTypeError, "x", ("lower case", "`text`")),
    "a class as type": (lambda: send({}, dict), WrongTypeError, "x", ("type, and no text",)),
    "type before value": (sends([("x", "text", "hello")]), WrongTypeError, "x", ("`hello`", "`text`, comes last")),
    "one payload, no list": (sends(("x", 1, "dictionary")), WrongTypeError, None, ("[(dataname, data, type)]",)),
    "a dictionary of payloads": (sends({"x": 1}), WrongTypeError, None, ("list of (dataname, data, type)", "dict")),
    "text for payloads": (sends("hello"), WrongTypeError, None, ("list of (dataname, data, type)", "str")),
    "a pair": (sends([("x", 1)]), WrongTypeError, "#0", ("(dataname, data, type)", "tuple of 2")),
    "text for a payload": (sends(["xyz"]), WrongTypeError, "#0", ("(dataname, data, type)", "str")),
    "a name as text for bytes": (lambda: send("film.mp4", "video"), WrongTypeError, "x", ("pathlib.Path",)),
    "a file that is absent": (lambda: send(pathlib.Path("nowhere", "x"), "binary"), natsbridge.LocalFileError, "x", ("No such file",)),
    "a CSV file as a table": (lambda: send(pathlib.Path("x.csv"), "arrowtable"), WrongTypeError, "x", ("csv", "Arrow IPC", "pandas")),
    "no file server": (
        lambda: send(bytes(600_000), "binary", fileserver_url="http://127.0.0.1:9"),
        natsbridge.UnreachableError, "x", ("http://127.0.0.1:9", "refused"),
    ),
    "no server": (lambda: sync.connect("nats://127.0.0.1:9"), natsbridge.UnreachableError, None, ("nats://127.0.0.1:9", "start nats-server")),
    "a keyword misspelt": (lambda: send(1, file_server_url="x"), natsbridge.UnknownKeywordError, None, ("did you mean 'fileserver_url'",)),
    "a keyword of another call": (lambda: sync.smartreceive(b"{}", **KEYWORDS), natsbridge.UnknownKeywordError, None, ("'acks'", "allowed_origins")),
    "a set": (lambda: send({"a": {1, 2}}), WrongTypeError, "x", ("at .a", "list")),
    "bytes in a dictionary": (lambda: send({"a": [bytearray(b"x")]}), WrongTypeError, "x", ("at .a[0]", "`binary`")),
    "a table in a dictionary": (lambda: send({"a": frame(b=[1])}), WrongTypeError, "x", ("at .a", "DataFrame")),
    "a dataclass": (lambda: send(Point()), WrongTypeError, "x", ("dataclasses.asdict",)),
    "an integer of 400 digits": (lambda: send({"n": 10**399}), WrongTypeError, "x", ("at .n", "send it as text")),
    "not a number": (lambda: send({"n": float("nan")}), WrongTypeError, "x", ("at .n", "None")),
    "a key that is no text": (lambda: send({1: 2}), WrongTypeError, "x", ("key 1", "int")),
    "columns of two lengths": (lambda: send({"a": [1, 2], "b": [1]}, "arrowtable"), WrongTypeError, "x", ("`a` has 2 rows, `b` has 1 row",)),
    "a column that is none": (lambda: send({"a": 1}, "arrowtable"), WrongTypeError, "x", ("`a`", "list of values")),
    "rows of two kinds": (lambda: send([{"a": 1}, {"a": "x"}], "arrowtable"), WrongTypeError, "x", ("`a`", "mixes int, str", "text")),
    "a frame of two kinds": (lambda: send(frame(a=[1, "x"]), "arrowtable"), WrongTypeError, "x", ("`a`", "mixes int, str", "text")),
    "a frame with numbers for names": (
        lambda: send(frame(a=[1]).rename(columns={"a": 0}), "arrowtable"),
        WrongTypeError, "x", ("named by 0", "frame.columns.map(str)"),
    ),
    "a table of text": (lambda: natsbridge.Table("x"), WrongTypeError, None, ("DataFrame", "str")),
    "a closed bridge": (lambda: closed().send("a", [("x", 1, "dictionary")]), natsbridge.ClosedError, None, ("connect again",)),
    "a wildcard": (lambda: testing.sync_bridge().send("a.*", [("x", 1, "dictionary")]), natsbridge.InvalidSubjectError, None, ("wildcard",)),
    "nobody there": (
        lambda: testing.sync_bridge().request("a", [("x", 1, "dictionary")], timeout=5),
        natsbridge.NoRespondersError, None, ("nobody subscribes",),
    ),
    "no function": (lambda: testing.sync_bridge().serve("a", ANYTHING), WrongTypeError, None, ("function", "str")),
    "a message object": (lambda: sync.smartreceive(Msg()), WrongTypeError, None, ("Msg", "`.data`")),  # type: ignore[arg-type]
    "text that is no message": (lambda: sync.smartreceive("hello"), natsbridge.InvalidMessageError, None, ("not JSON",)),
    "a server that is not allowed": (of_link, natsbridge.BlockedOriginError, "x", ('allowed_origins=["http://127.0.0.1:9"]',)),
    "no server is allowed": (lambda: of_link(allowed_origins=[]), natsbridge.BlockedOriginError, "x", ("`allowed_origins` is empty",)),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_one_error_that_says_what_to_do(what: str) -> None:
    call, kind, dataname, words = MISTAKES[what]
    with pytest.raises(NATSBridgeError) as caught:
        call()
    text = str(caught.value)
    assert type(caught.value) is kind and caught.value.dataname == dataname, (type(caught.value), text)
    assert [word for word in words if word not in text] == [], text
    assert dataname is None or f"`{dataname}`" in text, text


@pytest.mark.parametrize("name", ["pandas", "polars", "pyarrow"])
def test_a_library_that_is_not_installed_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = natsbridge.Table([{"a": 1}])
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(natsbridge.UnsupportedError, match=rf"install natsbridge\[{name}\]"):
        getattr(table, f"to_{name}")()


async def test_the_sync_twin_works_in_a_running_loop_as_notebooks_have_it() -> None:
    with testing.sync_bridge() as bridge:
        messages = bridge.subscribe("a")
        bridge.send("a", [("n", 7, "dictionary")])
        assert messages.next(5)["n"] == 7  # type: ignore[index]
    assert asyncio.get_running_loop().is_running()


def test_importing_takes_what_every_program_needs_and_no_more() -> None:
    import subprocess

    code = "import sys; before = set(sys.modules); import natsbridge.sync; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"asyncio", "ctypes", "decimal", "hashlib", "html", "pathlib", "ssl", "tempfile", "uuid", "natsbridge._columns"}
    assert heavy & set(loaded) == set(), sorted(heavy & set(loaded))
