"""Runs natsbridge.py for the conformance tests: `adapter.py vectors` and `adapter.py live` (docs/peers.md)."""

import argparse
import asyncio
import base64
import hashlib
import json
import logging
import os
import sys

import pyarrow

sys.dont_write_bytecode = True  # the checkout stays as it is

import tables  # noqa: E402

import natsbridge  # noqa: E402
from natsbridge import NATSBridgeError, smartreceive, smartsend  # noqa: E402

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
        return pyarrow.ipc.open_stream(body).read_all()
    return body.decode("utf-8") if part["type"] == "text" else json.loads(body)


def parts_of(given):
    return [(part["name"], data_of(part), part["type"]) for part in given]


def value_of(data, payload_type):
    if payload_type == "text":
        return {"text": data}
    if payload_type == "arrowtable":
        return {"table": tables.value_of(data)}
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
        message = compact(vector["envelope"])
    elif "envelope_base64" in vector:
        message = base64.b64decode(vector["envelope_base64"])
    else:
        pieces = vector["envelope_pieces"]
        message = b"".join(piece.encode("utf-8") if isinstance(piece, str) else bytes_of(piece) for piece in pieces)
    return message


async def damaged_vector(vector):
    """A message that may be anything: what is asked is that nothing but the library's error comes of it"""
    links = vector.get("links") or {}

    async def download(link):
        return bytes_of(links[link.url]) if link.url in links else await natsbridge.fetch_with_backoff(link)

    received = await smartreceive(message_of(vector), fileserver_download_handler=download, max_retries=0, **vector.get("given") or {})
    return {"read": len(received["payloads"])}


async def receive_vector(vector):
    message = message_of(vector)
    links = vector.get("links", {})

    async def download(link):
        if link.url not in links:
            raise NATSBridgeError("not_found", "the vector has no such link", link.dataname)
        return bytes_of(links[link.url])

    received = await smartreceive(message, fileserver_download_handler=download, **vector.get("given", {}))
    transports = [payload["transport"] for payload in natsbridge._read_envelope(message)["payloads"]]
    parts = [
        {"name": name, "type": kind, "transport": transport, "value": value_of(data, kind)}
        for (name, data, kind), transport in zip(received["payloads"], transports)
    ]
    fields = {name: value for name, value in received.items() if name != "payloads"}
    return {"expect": {"subject": received["send_to"], "parts": parts, "fields": fields}}


async def send_vector(vector):
    given = vector["given"]
    ids, urls = iter(given.get("ids", [])), iter(given.get("uploads", []))

    async def upload(_):
        return next(urls)

    stamp = natsbridge.parse_timestamp(given["timestamp"])
    keywords = dict(given.get("options", {}), **given.get("limits", {}))
    envelope, text = await smartsend(
        given["subject"], parts_of(given["parts"]), fileserver_upload_handler=upload,
        new_id=lambda: next(ids), now=lambda: stamp, **keywords,
    )  # fmt: skip
    return {"expect": {"envelope": json.loads(text), "transports": [payload["transport"] for payload in envelope["payloads"]]}}


async def vectors():
    for line in sys.stdin:
        vector = json.loads(line)
        try:
            kinds = {"receive": receive_vector, "send": send_vector, "damaged": damaged_vector}
            answer = await kinds[vector["kind"]](vector)
        except NATSBridgeError as error:
            answer = failed(error)
        except Exception as error:  # an answer for every vector, whatever happens
            logging.exception("%s", vector["name"])
            answer = {"error": f"crashed: {type(error).__name__}: {error}"}
        say(dict(name=vector["name"], **answer))


# ------------------------------------------------------------------------------------------------------------- live


class Live:
    """One program in the matrix: obeys the runner's lines, and answers the other programs' messages"""

    def __init__(self, broker, options):
        self.broker, self.name = broker, options.name
        self.files = options.files
        self.keywords = dict(
            broker_url=options.nats, fileserver_url=options.files, sender_name=options.name, max_message_size=broker.max_payload
        )

    async def publish(self, subject, parts, **options):
        envelope, text = await smartsend(subject, parts, **dict(self.keywords, **options))
        try:
            await self.broker.publish(subject, text.encode("utf-8"))
            await self.broker.flush()
        except Exception:
            await envelope.discard()
            raise
        return envelope

    async def read(self, message):
        """A message and its parts as the runner wants to see them"""
        fetched = {}

        async def download(link):
            fetched[link.url] = body = await natsbridge.fetch_with_backoff(link)
            return body

        received = await smartreceive(message.data, fileserver_download_handler=download, allowed_origins=[self.files])
        parts = []
        for payload, (name, data, kind) in zip(natsbridge._read_envelope(message.data)["payloads"], received["payloads"]):
            body = fetched[payload["data"]] if payload["body"] is None else payload["body"]
            digest = hashlib.sha256(body).hexdigest()
            shown = dict(name=name, type=kind, transport=payload["transport"], size=len(body), sha256=digest)
            parts.append(dict(shown, value=value_of(data, kind)))
        return received, parts

    async def arrived(self, message):
        try:
            received, parts = await self.read(message)
            if received["reply_to"] and received["msg_purpose"] == "chat":
                await self.answer(received)
            shown = {"msg_id": received["msg_id"], "subject": received["send_to"], "parts": parts}
        except NATSBridgeError as error:
            try:
                msg_id = natsbridge._loads(message.data.decode("utf-8"))["msg_id"]
            except (ValueError, KeyError, TypeError):
                msg_id = None
            shown = dict(failed(error), msg_id=msg_id)
        say({"received": shown})

    async def answer(self, received):
        payloads = received["payloads"]
        flow = dict(correlation_id=received["correlation_id"], reply_to_msg_id=received["msg_id"])
        if payloads and payloads[0][0] == "ask-ack":
            await self.publish(received["reply_to"], [], msg_purpose="ACK", **flow)
        else:
            await self.publish(received["reply_to"], payloads, **flow)

    async def send(self, order):
        envelope = await self.publish(order["to"], parts_of(order["parts"]), **order.get("options", {}))
        return {"msg_id": envelope["msg_id"], "transports": [payload["transport"] for payload in envelope["payloads"]]}

    async def request(self, order):
        inbox = self.broker.new_inbox()
        answers = await self.broker.subscribe(inbox)
        try:
            options = dict(order.get("options", {}), reply_to=inbox)
            sent = await self.publish(order["to"], parts_of(order["parts"]), **options)
            deadline = asyncio.get_running_loop().time() + 10
            while True:
                message = await answers.next_msg(timeout=max(0.01, deadline - asyncio.get_running_loop().time()))
                received, parts = await self.read(message)
                if received["reply_to_msg_id"] == sent["msg_id"]:
                    break
        except asyncio.TimeoutError:
            raise NATSBridgeError("timeout", "no answer within 10 s") from None
        finally:
            await answers.unsubscribe()
        answer = {"purpose": received["msg_purpose"], "parts": parts}
        answer.update({name: received[name] for name in ("reply_to_msg_id", "correlation_id")})
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
    import nats

    broker = await nats.connect(options.nats, name=options.name)
    program = Live(broker, options)
    await broker.subscribe(f"conform.{options.name}", cb=program.arrived)
    await broker.flush()
    say({"ready": True})
    loop = asyncio.get_running_loop()
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line or json.loads(line)["do"] == "quit":
            break
        await program.obey(json.loads(line))
    await broker.drain()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    modes = parser.add_subparsers(dest="mode", required=True)
    modes.add_parser("vectors")
    mode = modes.add_parser("live")
    for name in ("nats", "files", "name"):
        mode.add_argument(f"--{name}", required=True)
    mode.add_argument("--ws")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    sys.stdin.reconfigure(encoding="utf-8")
    sys.stdout.reconfigure(encoding="utf-8")
    asyncio.run(vectors() if options.mode == "vectors" else live(options))


if __name__ == "__main__":
    main()
