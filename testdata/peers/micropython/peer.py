"""What the MicroPython adapter does: the vectors, and the orders of a live run.

JSON lines in and out, written as they arise: no line is ever built in memory.
"""

import binascii
import gc
import os
import sys
import time

import natsbridge_mpy as nb

BLOBS = os.getenv("NATSBRIDGE_BLOBS") or "testdata/blobs"


# What surrounds a payload nests too, and some vectors are too deep on purpose.
DEPTH = 1000


def say(answer):
    out = sys.stdout.buffer
    nb.write_json(answer, out.write, depth=DEPTH)
    out.write(b"\n")


def heard():
    """The next line, None where there is no room for it.

    Its pieces fill what is free in between, so that the whole finds room in one place.
    """
    pieces = []
    size = 0
    piece = b""
    while piece[-1:] != b"\n":
        try:
            piece = sys.stdin.buffer.readline(1024)
            if not piece:
                break
            size += len(piece)
            if pieces is not None:
                pieces.append(piece)
        except MemoryError:
            pieces = None
    try:
        gc.collect()
        line = bytearray(size) if pieces is not None else None
    except MemoryError:
        line = None
    if line is None:
        return None
    for index, piece in enumerate(pieces):
        line[index * 1024 : index * 1024 + len(piece)] = piece
    return line


def log(text):
    sys.stderr.write(text + "\n")


def part_of(part):
    """The (dataname, value, payload_type) of a part."""
    try:
        return part["name"], value_of(part["value"], part["type"]), part["type"]
    except nb.NATSBridgeError as error:
        error.dataname = part["name"]
        raise


def value_of(tagged, payload_type):
    """The value that a tagged one stands for."""
    kind, value = list(tagged.items())[0] if "size" not in tagged else ("blob", tagged.get("blob"))
    if kind == "text" or kind == "json":
        return value
    if kind == "table":
        raise nb.NATSBridgeError("unsupported", "MicroPython has no Arrow")
    if kind == "base64":
        view = memoryview(value.buf)[value.start : value.end] if isinstance(value, nb._Raw) else value
        data = binascii.a2b_base64(view)
    elif kind == "repeat":
        data = bytes((value["byte"],)) * value["count"]
    else:
        with open(BLOBS + "/" + value, "rb") as blob:
            data = blob.read()
    if payload_type == "text":
        return str(data, "utf8")
    return nb.from_json(data, depth=DEPTH) if payload_type in ("dictionary", "jsontable") else data


def tagged(value, payload_type):
    if payload_type == "text":
        return {"text": value}
    if payload_type in ("dictionary", "jsontable"):
        return {"json": value}
    if len(value) > 4096:
        return {"sha256": nb._hex(value), "size": len(value)}
    return {"base64": str(binascii.b2a_base64(value).rstrip(), "utf8")}


class Seen:
    """Notes of each payload what its value does not show."""

    def __init__(self):
        self.payloads = []

    def __call__(self, payload, data):
        self.payloads.append((payload["transport"], len(data), nb._hex(data)))

    def parts(self, received, whole):
        parts = []
        for (transport, size, sha256), (name, value, kind) in zip(self.payloads, received["payloads"]):
            part = nb.OrderedDict((("name", name), ("type", kind), ("transport", transport)))
            if whole:
                part["size"], part["sha256"] = size, sha256
            part["value"] = tagged(value, kind)
            parts.append(part)
        return parts


# --- vectors


def vectors():
    while True:
        line = heard()
        if len(line) < 2:
            return
        vector = nb.from_json(line, 1, "envelope", DEPTH)
        answer = nb.OrderedDict((("name", vector["name"]),))
        try:
            if vector["kind"] == "damaged":
                answer["read"] = damaged(vector)
                say(answer)
                continue
            answer["expect"] = sent(vector["given"]) if vector["kind"] == "send" else received(vector)
        except nb.NATSBridgeError as error:
            named = vector.get("given", {}).get("limits", {}).get("receiver") == "micropython"
            if vector["kind"] == "send" and "MicroPython" in str(error) and not named:
                answer["skip"] = str(error)
            else:
                answer["error"], answer["dataname"] = error.code, error.dataname
        say(answer)


def damaged(vector):
    """A message that may be anything: what is asked is that nothing but the library's error comes of it."""
    given = vector.get("given") or {}
    return len(nb.smartreceive(message_of(vector), **given)["payloads"])


def sent(given):
    if given.get("uploads") and given["limits"].get("receiver") != "micropython":
        raise nb.NATSBridgeError("links_not_allowed", "MicroPython uploads nothing")
    ids = given.get("ids", [])
    options = dict(given.get("options", {}))
    limits = given.get("limits", {})
    if "max_message_size" in limits:
        options["max_message_size"] = limits["max_message_size"]
    parts = [part_of(part) for part in given["parts"]]
    draw = lambda: ids.pop(0) if ids else nb.uuid4()  # noqa: E731
    envelope, text = nb.smartsend(given["subject"], parts, now=lambda: given["timestamp"], new_id=draw, **options)
    return {"envelope": nb.from_json(text, depth=DEPTH), "transports": [payload["transport"] for payload in envelope["payloads"]]}


def message_of(vector):
    if "envelope" in vector:
        message = vector["envelope"].bytes()
    elif "envelope_base64" in vector:
        message = binascii.a2b_base64(vector["envelope_base64"])
    else:
        message = b""
        for piece in vector["envelope_pieces"]:
            repeat = piece.get("repeat")
            message += bytes((repeat["byte"],)) * repeat["count"] if repeat else bytes(piece["text"], "utf8")
    return message


def received(vector):
    message = message_of(vector)
    seen = Seen()
    got = nb.smartreceive(message, on_payload=seen, **vector.get("given", {}))
    fields = nb.OrderedDict((field, got[field]) for field in nb.FIELDS + ("metadata",))
    return nb.OrderedDict((("subject", got["send_to"]), ("fields", fields), ("parts", seen.parts(got, False))))


# --- live


def understood():
    """The next order and its parts.

    On its own, so that its line is gone when it returns: MicroPython's collector keeps what lies in a frame still in use.
    """
    order = {"do": None}
    parts = []
    try:
        line = heard()
        if line is None:
            raise MemoryError
        if len(line) < 2:
            return None, parts
        order = nb.from_json(line, 4, "base64", DEPTH)
        for part in order.pop("parts", ()):
            parts.append(part_of(part))
    except nb.NATSBridgeError as error:
        order["error"] = error
    except MemoryError:
        order["error"] = nb.NATSBridgeError("too_large", "the order does not fit this device's memory")
    return order, parts


class Live:
    def __init__(self, url, name):
        from nats_mpy import Nats

        self.nats = Nats(url)
        self.url = url
        self.subject = "conform." + name
        self.inbox = self.nats.inbox()
        self.nats.subscribe(self.subject)
        self.nats.flush()
        # (msg_id, number, when to give up) of each request. A list: a dictionary would grow its table between the large
        # buffers of the moment, and leave it standing there in the room for the next.
        self.waiting = []

    def run(self):
        import select

        poll = select.poll()
        poll.register(sys.stdin, select.POLLIN)
        poll.register(self.nats.socket, select.POLLIN)
        say({"ready": True})
        while True:
            while self.nats.has_waiting():
                self.take()
            for source, _ in poll.poll(200):
                if source is self.nats.socket:
                    self.take()
                elif not self.obey():
                    return
            self.give_up()

    def obey(self):
        order, parts = understood()
        if order is None or order["do"] == "quit":
            return False
        gc.collect()
        number = order.get("id")
        try:
            if "error" in order:
                raise order["error"]
            options = order.get("options") or {}
            if order["do"] == "request":
                options["reply_to"] = self.inbox
            msg_id, transports = self.send(order["to"], parts, options)
            if order["do"] == "request":
                self.waiting.append((msg_id, number, time.ticks_add(time.ticks_ms(), 10000)))
            else:
                say({"done": number, "msg_id": msg_id, "transports": transports})
        except nb.NATSBridgeError as error:
            say({"done": number, "error": error.code, "dataname": error.dataname})
        return True

    def send(self, to, parts, options):
        envelope, text = nb.smartsend(
            to, parts, broker_url=self.url, sender_name="micropython", max_message_size=self.nats.max_payload, **options
        )
        transports = [payload["transport"] for payload in envelope["payloads"]]
        self.nats.publish(to, text)
        self.nats.flush()
        return envelope["msg_id"], transports

    def take(self):
        gc.collect()
        message = self.nats.next(0)
        if message is None:
            return
        subject, size, data = message[:3]
        message = None  # nobody else holds its bytes
        seen = Seen()
        try:
            if data is None:
                raise nb.NATSBridgeError("too_large", "a message of %d bytes does not fit this device" % size)
            got = nb.smartreceive(data, on_payload=seen)
            data = None
            if subject == self.inbox:
                self.answered(got, seen)
                return
            if got["reply_to"]:
                self.answer(got)
            report = {"msg_id": got["msg_id"], "subject": got["send_to"], "parts": seen.parts(got, True)}
        except nb.NATSBridgeError as error:
            report = {"msg_id": error.msg_id, "error": error.code, "dataname": error.dataname}
            log(str(error))
        except MemoryError:
            report = {"msg_id": None, "error": "too_large"}
        say({"received": report})

    def answer(self, got):
        options = {"correlation_id": got["correlation_id"], "reply_to_msg_id": got["msg_id"]}
        parts = got["payloads"]
        if got["msg_purpose"] == "chat" and parts and parts[0][0] == "ask-ack":
            options["msg_purpose"], parts = "ACK", []
        try:
            self.send(got["reply_to"], parts, options)
        except (nb.NATSBridgeError, ValueError) as error:
            log("no answer: %s" % error)

    def answered(self, got, seen):
        for request in self.waiting:
            if request[0] == got["reply_to_msg_id"]:
                self.waiting.remove(request)
                answer = {field: got[field] for field in ("reply_to_msg_id", "correlation_id")}
                answer["purpose"], answer["parts"] = got["msg_purpose"], seen.parts(got, True)
                say({"done": request[1], "answer": answer})
                return

    def give_up(self):
        for request in self.waiting:
            if time.ticks_diff(request[2], time.ticks_ms()) < 0:
                self.waiting.remove(request)
                say({"done": request[1], "error": "timeout"})
                return


def main():
    if sys.argv[1] == "vectors":
        vectors()
    else:
        given = dict(zip(sys.argv[2::2], sys.argv[3::2]))
        Live(given["--nats"], given["--name"]).run()
