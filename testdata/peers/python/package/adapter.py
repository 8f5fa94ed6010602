"""Runs the package natsbridge for the conformance tests: `adapter.py vectors` and `adapter.py live` (docs/peers.md)."""

import argparse
import asyncio
import base64
import datetime
import hashlib
import json
import logging
import os
import sys
import uuid

import pyarrow

import natsbridge
from natsbridge import NATSBridgeError, Table, smartreceive, smartsend

sys.dont_write_bytecode = True  # the checkout stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, ".."))  # last: the pure implementation has the package's name

import tables  # noqa: E402

BLOBS = os.path.join(HERE, "..", "..", "..", "blobs")
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
        return Table.from_ipc(body)
    return body.decode("utf-8") if part["type"] == "text" else json.loads(body)


def parts_of(given):
    return [(part["name"], data_of(part), part["type"]) for part in given]


def value_of(data, payload_type):
    if payload_type == "text":
        return {"text": data}
    if payload_type == "arrowtable":
        return {"table": tables.value_of(data.to_pyarrow())}
    if payload_type not in BYTES_TYPES:
        return {"json": data}
    if len(data) <= LONGEST:
        return {"base64": base64.b64encode(data).decode("ascii")}
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def failed(error):
    return {"error": error.code, "dataname": error.dataname} if error.dataname is not None else {"error": error.code}


# ---------------------------------------------------------------------------------------------------------- vectors


def message_of(vector):
    if "envelope" in vector:
        return compact(vector["envelope"])
    if "envelope_base64" in vector:
        return base64.b64decode(vector["envelope_base64"])
    pieces = vector["envelope_pieces"]
    return b"".join(piece.encode("utf-8") if isinstance(piece, str) else bytes_of(piece) for piece in pieces)


def links_of(vector, **otherwise):
    links = vector.get("links") or {}

    async def download(link):
        if link.url not in links:
            raise NATSBridgeError("not_found", "the vector has no such link", link.dataname)
        return bytes_of(links[link.url])

    return download


async def damaged_vector(vector):
    """A message that may be anything: what is asked is that nothing but the library's error comes of it"""
    message, given = message_of(vector), vector.get("given") or {}
    if vector.get("links"):
        received = await smartreceive(message, fileserver_download_handler=links_of(vector), **given)
    else:
        received = await smartreceive(message, max_retries=0, **given)
    return {"read": len(received["payloads"])}


async def receive_vector(vector):
    message = message_of(vector)
    received = await smartreceive(message, fileserver_download_handler=links_of(vector), **vector.get("given", {}))
    try:
        raw = json.loads(message)["payloads"]
    except (RecursionError, ValueError):  # Python's own reader is less patient
        raw = []
    parts = [
        {"name": name, "type": kind, "transport": payload["transport"], "value": value_of(data, kind)}
        for (name, data, kind), payload in zip(received["payloads"], raw)
    ]
    fields = {name: value for name, value in received.items() if name != "payloads"}
    return {"expect": {"subject": received["send_to"], "parts": parts, "fields": fields}}


async def send_vector(vector):
    given = vector["given"]
    urls = iter(given.get("uploads", []))

    async def upload(_):
        return next(urls)

    options = dict(given.get("options", {}), **given.get("limits", {}))
    _, text = await smartsend(given["subject"], parts_of(given["parts"]), fileserver_upload_handler=upload, **options)
    envelope = json.loads(text)
    # The package draws identifiers and reads the clock itself: what it drew is checked, then replaced by the vector's.
    ids = iter(given.get("ids", []))
    drawn = [(envelope, name) for name in ("correlation_id", "msg_id", "sender_id") if not options.get(name)]
    for place, name in drawn + [(payload, "id") for payload in envelope["payloads"]]:
        if uuid.UUID(place[name]).version != 4:
            raise ValueError(f"{name} is no UUID of version 4")
        place[name] = next(ids)
    age = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(envelope["timestamp"].replace("Z", "+00:00"))
    if abs(age.total_seconds()) > 60:
        raise ValueError(f"the timestamp is {age} old")
    envelope["timestamp"] = given["timestamp"]
    return {"expect": {"envelope": envelope, "transports": [payload["transport"] for payload in envelope["payloads"]]}}


async def answered(vector):
    try:
        kinds = {"receive": receive_vector, "send": send_vector, "damaged": damaged_vector}
        return await kinds[vector["kind"]](vector)
    except NATSBridgeError as error:
        return failed(error)
    except Exception as error:  # an answer for every vector, whatever happens
        logging.exception("%s", vector.get("name"))
        return {"error": f"crashed: {type(error).__name__}: {error}"}


async def vectors():
    for line in sys.stdin:
        vector = json.loads(line)
        say(dict(name=vector["name"], **await answered(vector)))


# ------------------------------------------------------------------------------------------------------------- live


class Live:
    """One program in the matrix: obeys the runner's lines, and answers the other programs' messages"""

    def __init__(self, bridge, options):
        self.bridge, self.name = bridge, options.name

    async def parts(self, message):
        parts = []
        for payload in message.payloads:
            value = value_of(await payload.value(), payload.type)
            shown = dict(name=payload.name, type=payload.type, transport=payload.transport, size=payload.size)
            parts.append(dict(shown, sha256=payload.sha256, value=value))
        return parts

    async def listen(self, messages):
        while True:
            try:
                message = await messages.next()
                if message is None:
                    return
                if message.reply_to and message.msg_purpose == "chat":
                    await self.answer(message)
                shown = {"msg_id": message.msg_id, "subject": message.send_to, "parts": await self.parts(message)}
            except NATSBridgeError as error:
                shown = dict(failed(error), msg_id=error.msg_id)
            say({"received": shown})

    async def answer(self, message):
        if message.payloads and message.payloads[0].name == "ask-ack":
            await message.ack()
        else:
            await message.reply([(payload.name, await payload.value(), payload.type) for payload in message.payloads])

    async def send(self, order):
        envelope = await self.bridge.send_confirmed(order["to"], parts_of(order["parts"]), **order.get("options", {}))
        return {"msg_id": envelope["msg_id"], "transports": [payload["transport"] for payload in envelope["payloads"]]}

    async def request(self, order):
        """Asks with a reply subject of its own, as programs do whose NATS client has no requests"""
        inbox = f"_INBOX.{uuid.uuid4()}"
        answers = await self.bridge.subscribe(inbox)
        sent = await self.bridge.send_confirmed(order["to"], parts_of(order["parts"]), reply_to=inbox, **order.get("options", {}))
        while True:
            try:
                reply = await answers.next(10)
            except asyncio.TimeoutError:
                raise NATSBridgeError("timeout", "no answer within 10 s") from None
            if reply.reply_to_msg_id == sent["msg_id"]:
                break
        answers.drain()
        answer = {"purpose": reply.msg_purpose, "parts": await self.parts(reply)}
        answer.update({name: getattr(reply, name) for name in ("reply_to_msg_id", "correlation_id")})
        return {"answer": answer}

    async def obey(self, order):
        try:
            result = await (self.send if order["do"] == "send" else self.request)(order)
        except NATSBridgeError as error:
            result = failed(error)
        except Exception as error:
            logging.exception("order %s", order.get("id"))
            result = {"error": f"crashed: {type(error).__name__}: {error}"}
        say(dict(done=order["id"], **result))


async def live(options):
    bridge = await natsbridge.connect(options.nats, fileserver_url=options.files, sender_name=options.name, name=options.name)
    program = Live(bridge, options)
    messages = await bridge.subscribe(f"conform.{options.name}")
    listening = asyncio.ensure_future(program.listen(messages))
    say({"ready": True})
    loop = asyncio.get_running_loop()
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line or json.loads(line)["do"] == "quit":
            break
        await program.obey(json.loads(line))
    await bridge.drain()
    await listening


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    modes = parser.add_subparsers(dest="mode", required=True)
    modes.add_parser("vectors")
    mode = modes.add_parser("live")
    for name in ("nats", "files", "name"):
        mode.add_argument(f"--{name}", required=True)
    mode.add_argument("--ws")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR)
    sys.stdin.reconfigure(encoding="utf-8")
    sys.stdout.reconfigure(encoding="utf-8")
    assert pyarrow.__version__
    asyncio.run(vectors() if options.mode == "vectors" else live(options))


if __name__ == "__main__":
    main()
