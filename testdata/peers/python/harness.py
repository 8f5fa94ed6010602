"""What the adapters of natsbridge.py and of the package have in common: values, vectors and the runner's lines (docs/peers.md)."""

import argparse
import asyncio
import base64
import hashlib
import json
import logging
import os
import sys

import pyarrow
import tables

import natsbridge  # of the adapter: the file beside this one, or the package, which is imported there first
from natsbridge import NATSBridgeError

BLOBS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "blobs")
BYTES_TYPES = ("image", "audio", "video", "binary")
LONGEST = 4096


def say(answer):
    sys.stdout.write(json.dumps(answer, ensure_ascii=False, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def bytes_of(value):
    """The bytes of `base64`, `blob`, `repeat` or `text`"""
    if "base64" in value:
        return base64.b64decode(value["base64"])
    if "blob" in value:
        with open(os.path.join(BLOBS, value["blob"]), "rb") as blob:
            return blob.read()
    if "repeat" in value:
        return bytes([value["repeat"]["byte"]]) * value["repeat"]["count"]
    return value["text"].encode("utf-8")


def table_of_ipc(body):
    """A table as the library reads it: the package has its own kind"""
    return natsbridge.Table.from_ipc(body) if hasattr(natsbridge, "Table") else pyarrow.ipc.open_stream(body).read_all()


def data_of(part):
    """What smartsend is given for a part"""
    value = part["value"]
    if "table" in value:
        return tables.table_of(value["table"])
    if "json" in value:
        return value["json"]
    if "text" in value:
        return value["text"]
    body = bytes_of(value)
    if part["type"] in BYTES_TYPES:
        return body
    if part["type"] == "arrowtable":
        return table_of_ipc(body)
    return body.decode("utf-8") if part["type"] == "text" else json.loads(body)


def parts_of(given):
    return [(part["name"], data_of(part), part["type"]) for part in given]


def value_of(data, payload_type):
    if payload_type == "text":
        return {"text": data}
    if payload_type == "arrowtable":
        return {"table": tables.value_of(data if isinstance(data, pyarrow.Table) else data.to_pyarrow())}
    if payload_type not in BYTES_TYPES:
        return {"json": data}
    if len(data) <= LONGEST:
        return {"base64": base64.b64encode(data).decode("ascii")}
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def failed(error):
    return {"error": error.code, "dataname": error.dataname} if error.dataname is not None else {"error": error.code}


def crashed(error, *what):
    logging.exception(*what)
    return {"error": f"crashed: {type(error).__name__}: {error}"}


# ---------------------------------------------------------------------------------------------------------- vectors


def message_of(vector):
    if "envelope" in vector:
        return compact(vector["envelope"])
    if "envelope_base64" in vector:
        return base64.b64decode(vector["envelope_base64"])
    pieces = vector["envelope_pieces"]
    return b"".join(piece.encode("utf-8") if isinstance(piece, str) else bytes_of(piece) for piece in pieces)


def links_of(vector):
    """A download handler that has the vector's links"""
    links = vector.get("links") or {}

    async def download(link):
        if link.url not in links:
            raise NATSBridgeError("not_found", "the vector has no such link", link.dataname)
        return bytes_of(links[link.url])

    return download


def received_of(received, transports):
    """What a vector expects of a message"""
    parts = [
        {"name": name, "type": kind, "transport": transport, "value": value_of(data, kind)}
        for (name, data, kind), transport in zip(received["payloads"], transports)
    ]
    fields = {name: value for name, value in received.items() if name != "payloads"}
    return {"expect": {"subject": received["send_to"], "parts": parts, "fields": fields}}


async def answered(kinds, vector):
    try:
        return await kinds[vector["kind"]](vector)
    except NATSBridgeError as error:
        return failed(error)
    except Exception as error:  # an answer for every vector, whatever happens
        return crashed(error, "%s", vector.get("name"))


async def vectors(kinds):
    for line in sys.stdin:
        vector = json.loads(line)
        say(dict(name=vector["name"], **await answered(kinds, vector)))


# ------------------------------------------------------------------------------------------------------------- live


class Program:
    """One program in the matrix: obeys the runner's lines with `publish` and `request`"""

    async def send(self, order):
        envelope = await self.publish(order["to"], parts_of(order["parts"]), **order.get("options", {}))
        return {"msg_id": envelope["msg_id"], "transports": [payload["transport"] for payload in envelope["payloads"]]}

    async def obey(self, order):
        try:
            result = await (self.send if order["do"] == "send" else self.request)(order)
        except NATSBridgeError as error:
            result = failed(error)
        except Exception as error:
            result = crashed(error, "order %s", order.get("id"))
        say(dict(done=order["id"], **result))

    async def obey_all(self):
        say({"ready": True})
        loop = asyncio.get_running_loop()
        while True:
            line = await loop.run_in_executor(None, sys.stdin.readline)
            if not line or json.loads(line)["do"] == "quit":
                break
            await self.obey(json.loads(line))


def main(description, kinds, live, level):
    parser = argparse.ArgumentParser(description=description)
    modes = parser.add_subparsers(dest="mode", required=True)
    modes.add_parser("vectors")
    mode = modes.add_parser("live")
    for name in ("nats", "files", "name"):
        mode.add_argument(f"--{name}", required=True)
    mode.add_argument("--ws")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=level)
    sys.stdin.reconfigure(encoding="utf-8")
    sys.stdout.reconfigure(encoding="utf-8")
    asyncio.run(vectors(kinds) if options.mode == "vectors" else live(options))
