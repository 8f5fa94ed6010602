"""Runs natsbridge.py for the conformance tests: `adapter.py vectors` and `adapter.py live` (docs/peers.md)."""

import asyncio
import hashlib
import json
import logging
import sys

sys.dont_write_bytecode = True  # the checkout stays as it is

from harness import Program, bytes_of, failed, links_of, main, message_of, parts_of, received_of, say, value_of  # noqa: E402

import natsbridge  # noqa: E402
from natsbridge import NATSBridgeError, smartreceive, smartsend  # noqa: E402

# ---------------------------------------------------------------------------------------------------------- vectors


async def damaged_vector(vector):
    """A message that may be anything: what is asked is that nothing but the library's error comes of it"""
    links = vector.get("links") or {}

    async def download(link):
        return bytes_of(links[link.url]) if link.url in links else await natsbridge.fetch_with_backoff(link)

    received = await smartreceive(message_of(vector), fileserver_download_handler=download, max_retries=0, **vector.get("given") or {})
    return {"read": len(received["payloads"])}


async def receive_vector(vector):
    message = message_of(vector)
    received = await smartreceive(message, fileserver_download_handler=links_of(vector), **vector.get("given", {}))
    return received_of(received, [payload["transport"] for payload in natsbridge._read_envelope(message)["payloads"]])


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


KINDS = {"receive": receive_vector, "send": send_vector, "damaged": damaged_vector}

# ------------------------------------------------------------------------------------------------------------- live


class Live(Program):
    """Obeys the runner's lines, and answers the other programs' messages"""

    def __init__(self, broker, options):
        self.broker, self.files = broker, options.files
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


async def live(options):
    import nats

    broker = await nats.connect(options.nats, name=options.name)
    program = Live(broker, options)
    await broker.subscribe(f"conform.{options.name}", cb=program.arrived)
    await broker.flush()
    await program.obey_all()
    await broker.drain()


if __name__ == "__main__":
    main(__doc__, KINDS, live, logging.WARNING)
