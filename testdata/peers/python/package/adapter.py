"""Runs the package natsbridge for the conformance tests: `adapter.py vectors` and `adapter.py live` (docs/peers.md)."""

import asyncio
import datetime
import json
import logging
import os
import sys
import uuid

import natsbridge
from natsbridge import NATSBridgeError, smartreceive, smartsend

sys.dont_write_bytecode = True  # the checkout stays as it is
sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))  # last: the pure implementation has the package's name

import harness  # noqa: E402
from harness import Program, failed, links_of, message_of, parts_of, received_of, say, value_of  # noqa: E402

# ---------------------------------------------------------------------------------------------------------- vectors


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
    return received_of(received, [payload["transport"] for payload in raw])


async def send_vector(vector):
    given = vector["given"]
    urls, links = iter(given.get("uploads", [])), {}

    async def upload(payload):
        links[payload.dataname] = next(urls)
        return links[payload.dataname]

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
    # Several are uploaded at once, and begin in any order: each has its own link, and the vector's come in the payloads' order.
    linked = [payload for payload in envelope["payloads"] if payload["transport"] == "link"]
    for payload, url in zip(linked, given.get("uploads", [])):
        if payload["data"] != links[payload["dataname"]]:
            raise ValueError(f"{payload['dataname']} has another upload's link")
        payload["data"] = url
    age = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(envelope["timestamp"].replace("Z", "+00:00"))
    if abs(age.total_seconds()) > 60:
        raise ValueError(f"the timestamp is {age} old")
    envelope["timestamp"] = given["timestamp"]
    return {"expect": {"envelope": envelope, "transports": [payload["transport"] for payload in envelope["payloads"]]}}


KINDS = {"receive": receive_vector, "send": send_vector, "damaged": damaged_vector}


async def answered(vector):
    return await harness.answered(KINDS, vector)


# ------------------------------------------------------------------------------------------------------------- live


class Live(Program):
    """Obeys the runner's lines, and answers the other programs' messages"""

    def __init__(self, bridge):
        self.bridge = bridge
        self.publish = bridge.send_confirmed

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

    async def request(self, order):
        """Asks with a reply subject of its own, as programs do whose NATS client has no requests"""
        inbox = f"_INBOX.{uuid.uuid4()}"
        answers = await self.bridge.subscribe(inbox)
        sent = await self.publish(order["to"], parts_of(order["parts"]), reply_to=inbox, **order.get("options", {}))
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


async def live(options):
    bridge = await natsbridge.connect(options.nats, fileserver_url=options.files, sender_name=options.name, name=options.name)
    program = Live(bridge)
    messages = await bridge.subscribe(f"conform.{options.name}")
    listening = asyncio.ensure_future(program.listen(messages))
    await program.obey_all()
    await bridge.drain()
    await listening


if __name__ == "__main__":
    harness.main(__doc__, KINDS, live, logging.ERROR)
