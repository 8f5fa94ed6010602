"""All vectors of testdata, and 100,000 messages that were changed: nothing but the library's own error comes of them."""

import asyncio
import base64
import importlib.util
import json
import os
import random
import sys
from typing import Any, List

import pytest
from conftest import TESTDATA, vectors

from natsbridge import NATSBridgeError, sync


def adapter() -> Any:
    """The adapter of the conformance run, so that both read vectors alike"""
    pytest.importorskip("pyarrow")
    path = TESTDATA / "peers" / "python" / "package" / "adapter.py"
    spec = importlib.util.spec_from_file_location("adapter", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["adapter"] = module
    spec.loader.exec_module(module)
    return module


def test_receive_vectors() -> None:
    peer, wrong, seen = adapter(), [], 0
    for path, vector in vectors("receive"):
        vector.update(kind="receive", name=path.stem)
        answer = asyncio.run(peer.answered(vector))
        seen += 1
        if vector["result"] == "valid":
            found, expected = (shown(peer, whole.get("expect", {})) for whole in (answer, vector))
            good = found == expected
        elif vector["result"] == "invalid":
            good = answer.get("error") == vector["error"] and vector.get("dataname") in (None, answer.get("dataname"))
        else:
            good = not str(answer.get("error", "")).startswith("crashed")
        if not good:
            wrong.append((str(path.relative_to(TESTDATA)), vector.get("error"), answer))
    assert not wrong, wrong[:5]
    assert seen > 300


def shown(peer: Any, expected: Any) -> List[Any]:
    """Parts as both sides write them; columns of floats by their length, since they have several texts"""
    parts = []
    for part in expected.get("parts", []):
        value, kind = part["value"], part["type"]
        if kind == "arrowtable":
            columns = [(column["name"], column["type"], column["values"]) for column in value["table"]["columns"]]
            value = [(name, type_, len(values) if "float" in type_ else values) for name, type_, values in columns]
        elif "json" in value or kind == "text":
            value = json.dumps(value)
        elif kind in ("dictionary", "jsontable"):
            value = json.dumps({"json": json.loads(peer.harness.bytes_of(value))})
        elif "sha256" not in value:
            value = peer.value_of(peer.harness.bytes_of(value), kind)
        parts.append((part["name"], kind, part["transport"], value))
    return parts


def test_send_vectors() -> None:
    peer, wrong, seen = adapter(), [], 0
    for path, vector in vectors("send"):
        vector.update(kind="send", name=path.stem)
        answer = asyncio.run(peer.answered(vector))
        seen += 1
        if vector["result"] == "valid":
            found, expected = answer.get("expect", {}), vector["expect"]
            good = found.get("transports") == expected["transports"] and fields(found.get("envelope", {})) == fields(expected["envelope"])
        else:
            good = answer.get("error") == vector["error"]
        if not good:
            wrong.append((path.stem, vector.get("error"), answer))
    assert not wrong, wrong[:5]
    assert seen > 90


def fields(envelope: Any) -> List[Any]:
    """What is the same from every serialiser"""
    header = [(name, value) for name, value in envelope.items() if name != "payloads"]
    payloads = [
        [(name, value) for name, value in payload.items() if name not in ("size", "data", "metadata")] for payload in envelope.get("payloads", [])
    ]
    return [header, payloads]


def test_mutated_messages_are_values_or_the_library_error() -> None:
    count = int(os.environ.get("MUTATIONS", "100000"))
    rng = random.Random(7)
    peer = adapter()
    bases = []
    for path, vector in vectors("receive"):
        vector.update(kind="receive")
        message = peer.message_of(vector)
        if len(message) < 3000:
            bases.append(message)
    words = [b'"', b"{", b"}", b"[", b"]", b"null", b"1e400", b"-", b"\\ud800", b"\xff", b",", b":", b"0", b"link", b"direct", b"arrowtable", b"=="]
    read = refused = 0
    for _ in range(count):
        message = bytearray(rng.choice(bases))
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(message) + 1)
            kind = rng.randrange(4)
            if kind == 0:
                message[at : at + rng.randrange(1, 20)] = b""
            elif kind == 1:
                message[at:at] = rng.choice(words)
            elif kind == 2 and at < len(message):
                message[at] = rng.randrange(256)
            else:
                other = rng.choice(bases)
                start = rng.randrange(len(other) + 1)
                message[at:at] = other[start : start + rng.randrange(40)]
        try:
            sync.smartreceive(bytes(message), max_retries=0, allowed_origins=[])
            read += 1
        except NATSBridgeError as error:
            assert error.code
            refused += 1
    assert read + refused == count and refused > count // 10


def test_damaged_values_of_every_type() -> None:
    rng = random.Random(8)
    for kind in ("text", "dictionary", "jsontable", "arrowtable"):
        for _ in range(300):
            body = bytes(rng.randrange(256) for _ in range(rng.randrange(64)))
            message = {"payloads": [{"dataname": "x", "payload_type": kind, "transport": "direct", "data": base64.b64encode(body).decode()}]}
            try:
                sync.smartreceive(json.dumps(message))
            except NATSBridgeError as error:
                assert error.dataname == "x"
