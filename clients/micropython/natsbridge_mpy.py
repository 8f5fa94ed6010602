"""NATSBridge for MicroPython: smartsend and smartreceive, without dependencies and with one copy of a payload at a time.

The wire is docs/specification.md. A device has no links, no Arrow and 50,000 bytes for one payload.

`log`, where set, is called as log(event, fields) for each payload that was sent or received; `fields` has the seven
fields that every log of a message has, and is the same dictionary each time.
"""

import binascii
import gc
import hashlib
import os
import time
from collections import OrderedDict

log = None

MAX_PAYLOAD = 50000  # bytes in one payload, serialised
BROKER_URL = "nats://localhost:4222"
SIZE_THRESHOLD = 100000  # of the specification; without links it decides nothing
MAX_MESSAGE_SIZE = 1048576  # NATS's own default
MAX_SUBJECT = 2000  # bytes in a subject
MAX_DEPTH = 127  # arrays and objects of JSON within each other

TYPES = ("text", "dictionary", "arrowtable", "jsontable", "image", "audio", "video", "binary")
FIELDS = (
    "correlation_id", "msg_id", "timestamp", "send_to", "msg_purpose", "sender_name", "sender_id",
    "receiver_name", "receiver_id", "reply_to", "reply_to_msg_id", "broker_url",
)  # fmt: skip
_INFINITE = (float("inf"), float("-inf"))


class NATSBridgeError(Exception):
    """What went wrong: `code` is a word of the specification, `dataname` the payload's name or None.

    `msg_id` and `correlation_id` are the message's, None where they could not be read. `header` has the fields that were.
    """

    def __init__(self, code, text, dataname=None):
        super().__init__(text if dataname is None else "payload `%s`: %s" % (dataname, text))
        self.code = code
        self.dataname = dataname
        self.header = {}
        self.msg_id = self.correlation_id = None

    def about(self, header):
        """Says which message it is about; returns itself."""
        self.header = header
        self.msg_id = header.get("msg_id") or None
        self.correlation_id = header.get("correlation_id") or None
        return self


# --- sending


def smartsend(
    subject,
    data,
    broker_url=None,
    fileserver_url="",
    fileserver_upload_handler=None,
    size_threshold=SIZE_THRESHOLD,
    correlation_id=None,
    msg_purpose="chat",
    sender_name="NATSBridge",
    receiver_name="",
    receiver_id="",
    reply_to="",
    reply_to_msg_id="",
    msg_id=None,
    sender_id=None,
    metadata=None,
    max_message_size=MAX_MESSAGE_SIZE,
    digest_direct=False,
    new_id=None,
    now=None,
):
    """Makes the message of `data`, a list of (dataname, value, payload_type), and returns (envelope, json).

    The caller publishes `json`, a bytearray: text would be a second copy. The envelope's payloads hold their
    serialised bytes as `data`; base64 is only in `json`. The file server's keywords are those of every platform and
    are not used here. `new_id()` returns a new UUID as text, `now()` the time as text: for ports that have no random
    bytes or no calendar. Every error is a NATSBridgeError.
    """
    try:
        return _smartsend(
            subject, data, broker_url, correlation_id, msg_purpose, sender_name, receiver_name, receiver_id, reply_to,
            reply_to_msg_id, msg_id, sender_id, metadata, max_message_size, digest_direct, new_id or uuid4, now or utc_now,
        )  # fmt: skip
    except NATSBridgeError:
        raise
    except MemoryError:
        gc.collect()
        raise NATSBridgeError("too_large", "the message does not fit this device's memory; send less at once")
    except Exception as error:
        raise NATSBridgeError("wrong_value", "the message can't be sent: %s: %s" % (type(error).__name__, error))


def _smartsend(
    subject, data, broker_url, correlation_id, msg_purpose, sender_name, receiver_name, receiver_id, reply_to,
    reply_to_msg_id, msg_id, sender_id, metadata, max_message_size, digest_direct, new_id, now,
):  # fmt: skip
    _check_subject("subject", subject)
    if reply_to != "":
        _check_subject("reply_to", reply_to)
    if metadata is not None and not isinstance(metadata, dict):
        raise NATSBridgeError("wrong_value", "`metadata` is not a dict")
    if not isinstance(data, (list, tuple)):
        raise NATSBridgeError("wrong_value", "the payloads are not a list of (dataname, value, payload_type)")
    envelope = OrderedDict()
    given = (
        correlation_id or new_id(), msg_id or new_id(), now(), subject, msg_purpose, sender_name, sender_id or new_id(),
        receiver_name, receiver_id, reply_to, reply_to_msg_id, without_secrets(variable("NATS_URL", BROKER_URL, broker_url)),
    )  # fmt: skip
    for field, value in zip(FIELDS, given):
        _check_text(field, value)
        envelope[field] = value
    envelope["metadata"] = metadata or {}
    try:
        envelope["payloads"] = [_payload(index, part, new_id, digest_direct) for index, part in enumerate(data)]
        json = _envelope_json(envelope, max_message_size)
    except NATSBridgeError as error:
        raise error.about(envelope)
    _observe("sent", envelope, envelope["payloads"])
    return envelope, json


def variable(name, otherwise, given=None):
    """What the caller gave, else an environment variable where the port has them, else the default."""
    if given is not None:
        return given
    getenv = getattr(os, "getenv", None)
    return (getenv and getenv(name)) or otherwise


def _observe(event, header, payloads):
    if log is None:
        return
    fields = {}
    for name in ("correlation_id", "msg_id", "timestamp", "sender_name", "receiver_name"):
        fields[name] = header[name]
    for payload in payloads or ({"payload_type": "", "transport": ""},):
        fields["payload_type"], fields["transport"] = payload["payload_type"], payload["transport"]
        try:
            log(event, fields)
        except Exception:  # a message does not depend on its log
            pass


# --- answers: each returns the subject to publish to, and the JSON


def reply(received, data, reply_subject="", **options):
    """An answer to a message that `smartreceive` read; `options` are those of smartsend.

    `reply_subject` is NATS' own, for a message without `reply_to`.
    """
    try:
        subject = received["reply_to"] or reply_subject
        if received["msg_purpose"] in ("ACK", "NACK"):
            raise NATSBridgeError("wrong_value", "no ACK and no NACK is answered")
        if not subject:
            raise NATSBridgeError("wrong_value", "the message asks for no answer: it has no reply_to")
        if subject[0] == "$":
            raise NATSBridgeError("wrong_value", "subjects with $ belong to the server")
        options["correlation_id"], options["reply_to_msg_id"] = received["correlation_id"], received["msg_id"]
        options["receiver_name"], options["receiver_id"] = received["sender_name"], received["sender_id"]
    except (TypeError, KeyError):
        raise NATSBridgeError("wrong_value", "only a message that smartreceive read can be answered")
    return subject, smartsend(subject, data, **options)[1]


def ack(received, reply_subject="", **options):
    """An ACK, to be published once the message has been handled."""
    return reply(received, (), reply_subject, msg_purpose="ACK", **options)


def nack(received, reason, code="handler", retryable=False, reply_subject="", **options):
    """A NACK: the message could not be handled; `retryable` says whether a repeat of it may be."""
    told = {"code": code, "reason": reason, "retryable": bool(retryable)}
    return reply(received, (), reply_subject, msg_purpose="NACK", metadata=told, **options)


def _check_text(name, value, dataname=None):
    """What every receiver reads as text."""
    if not isinstance(value, str):
        raise NATSBridgeError("wrong_value", "`%s` is not a string but %s" % (name, type(value).__name__), dataname)
    if not _is_sound(bytes(value, "utf8")):
        raise NATSBridgeError("wrong_value", "`%s` has a lone surrogate" % name, dataname)


def _check_subject(name, value):
    """A subject to publish to: tokens between dots, none of them empty or a wildcard."""
    _check_text(name, value)
    for token in value.split("."):
        if token in ("", "*", ">"):
            raise NATSBridgeError("wrong_value", "`%s` is no subject to publish to; use words with dots between them" % name)
    plain = bytes(value, "utf8")
    if len(plain) > MAX_SUBJECT or min(plain) <= 0x20 or plain.find(b"\x7f") >= 0:
        raise NATSBridgeError("wrong_value", "`%s` is too long, or has white space or control characters" % name)


def _is_sound(plain):
    """Whether what MicroPython made of a string is UTF-8: it keeps lone surrogates."""
    at = plain.find(b"\xed")
    while at >= 0:
        if plain[at + 1] >= 0xA0:
            return False
        at = plain.find(b"\xed", at + 1)
    return True


def _payload(index, part, new_id, digest_direct):
    if not isinstance(part, (tuple, list)) or len(part) != 3:
        raise NATSBridgeError("wrong_value", "it is not (dataname, value, payload_type); payloads stand in a list", "#%d" % index)
    dataname, value, payload_type = part
    _check_text("dataname", dataname, "#%d" % index)
    if not isinstance(payload_type, str) or payload_type not in TYPES:
        raise NATSBridgeError("unknown_payload_type", "unknown payload_type `%s`; the types are %s" % (payload_type, ", ".join(TYPES)), dataname)
    try:
        data = _serialised(value, payload_type, dataname)
    except MemoryError:
        gc.collect()
        raise NATSBridgeError("too_large", "it does not fit this device's memory", dataname)
    if len(data) > MAX_PAYLOAD:
        raise NATSBridgeError(
            "too_large",
            "%d bytes, and MicroPython sends at most %d in one payload; send it in parts" % (len(data), MAX_PAYLOAD),
            dataname,
        )
    payload = OrderedDict()
    payload["id"] = new_id()
    payload["dataname"] = dataname
    payload["payload_type"] = payload_type
    payload["transport"] = "direct"
    payload["encoding"] = "base64"
    payload["size"] = len(data)
    payload["data"] = data
    payload["metadata"] = {"sha256": _hex(data)} if digest_direct else {}
    return payload


def _serialised(value, payload_type, dataname):
    if payload_type == "arrowtable":
        raise NATSBridgeError("unsupported", "MicroPython has no Arrow; send it as jsontable", dataname)
    if payload_type == "text" and isinstance(value, str):
        _check_text("data", value, dataname)
        return bytes(value, "utf8")  # shares the string's memory
    if payload_type == "dictionary" or (payload_type == "jsontable" and _is_rows(value)):
        return to_json(value, dataname)
    if payload_type in TYPES[4:] and isinstance(value, (bytes, bytearray, memoryview)):
        return value
    wanted = {"text": "str", "jsontable": "a list of dicts"}.get(payload_type, "bytes")
    raise NATSBridgeError(
        "wrong_value", "%s can't be sent as %s; give %s" % (type(value).__name__, payload_type, wanted), dataname
    )


def _is_rows(value):
    return isinstance(value, (list, tuple)) and all(isinstance(row, dict) for row in value)


def _envelope_json(envelope, max_message_size):
    """The JSON in a buffer of exactly its size, base64 written straight into it."""
    heads = [_head(envelope)]
    total = len(heads[0]) + 2
    for index, payload in enumerate(envelope["payloads"]):
        heads.append(_payload_head(payload, index))
        tail = to_json(payload["metadata"])
        heads.append(b'","metadata":' + tail + b"}")
        total += len(heads[-2]) + len(heads[-1]) + (len(payload["data"]) + 2) // 3 * 4
    if total > max_message_size:
        raise NATSBridgeError(
            "too_large", "the message needs %d bytes and the broker takes %d; split it" % (total, max_message_size)
        )
    gc.collect()
    out = bytearray(total)
    end = len(heads[0])
    out[:end] = heads[0]
    for index, payload in enumerate(envelope["payloads"]):
        data = memoryview(payload["data"])
        head, tail = heads[2 * index + 1], heads[2 * index + 2]
        out[end : end + len(head)] = head
        end += len(head)
        for at in range(0, len(data), 768):
            piece = memoryview(binascii.b2a_base64(data[at : at + 768]))[:-1]  # without the line break
            out[end : end + len(piece)] = piece
            end += len(piece)
        out[end : end + len(tail)] = tail
        end += len(tail)
    out[end : end + 2] = b"]}"
    return out


def _head(envelope):
    head = OrderedDict()
    for field in FIELDS:
        head[field] = envelope[field]
    head["metadata"] = envelope["metadata"]
    return to_json(head)[:-1] + b',"payloads":['


def _payload_head(payload, index):
    head = OrderedDict()
    for field in ("id", "dataname", "payload_type", "transport", "encoding", "size"):
        head[field] = payload[field]
    return (b"," if index else b"") + to_json(head)[:-1] + b',"data":"'


def uuid4():
    """A random UUID as text."""
    if not hasattr(os, "urandom"):
        raise NATSBridgeError("unsupported", "this port has no os.urandom: pass new_id=, a function that returns a new UUID as text")
    drawn = bytearray(os.urandom(16))
    drawn[6] = (drawn[6] & 0x0F) | 0x40
    drawn[8] = (drawn[8] & 0x3F) | 0x80
    text = binascii.hexlify(drawn).decode()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def utc_now():
    """The time in UTC with milliseconds, as the device's clock has it."""
    if not hasattr(time, "gmtime"):
        raise NATSBridgeError(
            "unsupported",
            "this port has no time.gmtime: pass now=, a function that returns the time as text, such as 2026-05-13T08:15:30.123Z",
        )
    millis = time.time_ns() // 1000000 % 1000 if hasattr(time, "time_ns") else 0
    return "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ" % (tuple(time.gmtime()[:6]) + (millis,))


def without_secrets(urls):
    """NATS URLs without user name, password, token and query."""
    plain = []
    for url in urls.split(","):
        url = url.strip().split("?")[0].split("#")[0]
        scheme, mark, rest = url.rpartition("://")
        plain.append(scheme + mark + rest[rest.rfind("@") + 1 :])
    return ",".join(plain)


# --- receiving


def smartreceive(
    msg_json_str,
    fileserver_download_handler=None,
    max_retries=5,
    base_delay=100,
    max_delay=5000,
    strict=False,
    max_payload_size=MAX_PAYLOAD,
    on_payload=None,
):
    """Reads a message (str, bytes or bytearray) and returns its fields, with `payloads` as a list of (dataname, value, payload_type).

    `on_payload(payload, data)`, where given, sees each payload's fields and its serialised bytes before it is decoded.
    The download's keywords are those of every platform and are not used here: a link is `links_not_allowed`. Every
    error is a NATSBridgeError.
    """
    try:
        return _smartreceive(msg_json_str, strict, max_payload_size, on_payload)
    except NATSBridgeError:
        raise
    except MemoryError:
        gc.collect()
        raise NATSBridgeError("too_large", "the message does not fit this device's memory")
    except Exception as error:
        raise NATSBridgeError("not_json", "the message can't be read: %s: %s" % (type(error).__name__, error))


def _smartreceive(msg_json_str, strict, max_payload_size, on_payload):
    if not isinstance(msg_json_str, (str, bytes, bytearray)):
        raise NATSBridgeError("wrong_value", "a message is str, bytes or bytearray, not %s" % type(msg_json_str).__name__)
    buf = msg_json_str
    if isinstance(buf, str):
        buf = bytes(buf, "utf8")  # shares the string's memory
    envelope = from_json(buf, 3, "data")
    if not isinstance(envelope, dict):
        raise NATSBridgeError("wrong_type", "the message is not an envelope: it is JSON, but not an object")
    out = OrderedDict()
    try:
        for field in FIELDS:
            out[field] = _text_of(envelope, field)
        out["metadata"] = _metadata_of(envelope)
        if envelope.get("payloads") is None:
            raise NATSBridgeError("missing_field", "the message is not an envelope: `payloads` is missing")
        if not isinstance(envelope["payloads"], list):
            raise NATSBridgeError("wrong_type", "the envelope's `payloads` is not an array")
        for index, payload in enumerate(envelope["payloads"]):
            _check_payload(payload, index)
        _observe("received", out, envelope["payloads"])
        out["payloads"] = []
        for payload in envelope["payloads"]:
            raw = payload.pop("data")
            out["payloads"].append(_open(payload, raw, strict, min(max_payload_size, MAX_PAYLOAD), on_payload))
    except NATSBridgeError as error:
        raise error.about(out)
    return out


def _text_of(fields, name, dataname=None):
    value = fields.get(name)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise NATSBridgeError("wrong_type", "`%s` is not a string" % name, dataname)


def _metadata_of(fields, dataname=None):
    value = fields.get("metadata")
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise NATSBridgeError("wrong_type", "`metadata` is not an object", dataname)


def _check_payload(payload, index):
    """Fills in what is absent, and refuses what is no payload."""
    if not isinstance(payload, dict):
        raise NATSBridgeError("wrong_type", "item %d of `payloads` is not an object" % index)
    name = _text_of(payload, "dataname", "#%d" % index)
    payload["dataname"] = name
    payload["id"] = _text_of(payload, "id", name)
    for field, known in (("payload_type", TYPES), ("transport", ("direct", "link"))):
        word = _text_of(payload, field, name)
        if payload.get(field) is None:
            raise NATSBridgeError("missing_field", "`%s` is missing" % field, name)
        if word not in known:
            raise NATSBridgeError("unknown_" + field, "unknown %s `%s`" % (field, word), name)
    encoding = payload["encoding"] = _text_of(payload, "encoding", name)
    size = payload.get("size")
    if size is None:
        size = 0
    if isinstance(size, bool) or not isinstance(size, (int, float)) or size < 0 or size != int(size):
        raise NATSBridgeError("wrong_type", "`size` is not a number of bytes", name)
    payload["size"] = int(size)
    payload["metadata"] = _metadata_of(payload, name)
    if "data" not in payload:
        raise NATSBridgeError("missing_field", "`data` is missing", name)
    direct = payload["transport"] == "direct"
    if direct and encoding not in ("", "base64", "json", "arrow-ipc", "none"):
        raise NATSBridgeError("unknown_encoding", "unknown encoding `%s`" % encoding, name)
    raw = payload["data"]
    if not raw.is_text and not (direct and encoding == "json"):
        if raw.length() == 4 and raw.bytes() == b"null":
            raise NATSBridgeError("missing_field", "`data` is missing", name)
        raise NATSBridgeError("wrong_type", "`data` is not a string", name)


def _open(payload, raw, strict, limit, on_payload):
    name, kind = payload["dataname"], payload["payload_type"]
    if kind == "arrowtable":
        raise NATSBridgeError("unsupported", "MicroPython has no Arrow; ask for jsontable", name)
    if payload["transport"] == "link":
        raise NATSBridgeError("links_not_allowed", "MicroPython follows no links; ask for it in parts", name)
    try:
        gc.collect()
        data = _direct(raw, payload["encoding"], name, kind in TYPES[4:], limit)
        _check_bytes(data, payload, strict, limit)
        if on_payload:
            on_payload(payload, data)
        return name, _value(data, kind, name), kind
    except MemoryError:
        gc.collect()
        raise NATSBridgeError("too_large", "it does not fit this device's memory", name)


def _direct(raw, encoding, name, writable, limit):
    """The serialised bytes, in whichever encoding the peer chose."""
    if not raw.is_text:
        return raw.bytes()
    if encoding == "none":
        return bytes(raw.text(), "utf8")
    if raw.length() // 4 * 3 > MAX_PAYLOAD * 2:  # before anything is allocated
        raise _too_large(raw.length() // 4 * 3, limit, name)
    data = _strict_base64(raw, writable)
    if data is None:
        data = _tolerant_base64(raw, name)
    return data


def _too_large(size, limit, name):
    who = "MicroPython" if limit == MAX_PAYLOAD else "the receiver"
    return NATSBridgeError(
        "too_large", "%d bytes, and %s takes at most %d in one payload" % (size, who, limit), name
    )


def _strict_base64(raw, writable):
    """Decodes the standard, padded form; None for any other.

    MicroPython's decoder skips what it does not know, so each piece is written again and compared.
    """
    text = memoryview(raw.buf)[raw.start : raw.end]
    length = len(text)
    if length % 4:
        return None
    size = length // 4 * 3
    if length:
        size -= (text[length - 1] == 0x3D) + (text[length - 2] == 0x3D)
    try:
        out = bytearray(size) if writable else binascii.a2b_base64(text)
        if len(out) != size:
            return None
        view = memoryview(out)
        for at in range(0, length, 1024):
            piece = text[at : at + 1024]
            start = at // 4 * 3
            end = min(start + 768, size)
            if writable:
                decoded = binascii.a2b_base64(piece)
                if len(decoded) != end - start:
                    return None
                out[start:end] = decoded
            if memoryview(binascii.b2a_base64(view[start:end]))[:-1] != piece:
                return None
    except ValueError:
        return None
    return out


def _tolerant_base64(raw, name):
    """Decodes without padding, in the URL-safe alphabet, with white space, with JSON escapes."""
    buf, at, end = raw.buf, raw.start, raw.end
    clean = bytearray(end - at + 3)
    count = 0
    while at < end:
        byte = buf[at]
        at += 1
        if byte < 0x20:
            raise _not_json(buf, at - 1, "a control character in a string")
        if byte == 0x5C:
            text, at = _escape(buf, at)
            byte = ord(text)
        if byte in b" \t\r\n":
            continue
        clean[count] = 0x2B if byte == 0x2D else 0x2F if byte == 0x5F else byte if byte < 0x80 else 0x21
        count += 1
    padding = 0
    while padding < 2 and count and clean[count - 1] == 0x3D:
        count -= 1
        padding += 1
    missing = -count % 4
    if missing < 3 and padding <= missing:
        for extra in range(missing):
            clean[count + extra] = 0x3D
        data = _strict_base64(_Raw(clean, 0, count + missing, True), False)
        if data is not None:
            return data
    raise NATSBridgeError("base64", "not base64", name)


def _check_bytes(data, payload, strict, limit):
    name, size = payload["dataname"], payload["size"]
    if len(data) > limit:
        raise _too_large(len(data), limit, name)
    if strict and size and size != len(data):
        raise NATSBridgeError("size_mismatch", "%d bytes, the envelope says %d" % (len(data), size), name)
    stated = payload["metadata"].get("sha256")
    if stated is not None and (not isinstance(stated, str) or stated.lower() != _hex(data)):
        raise NATSBridgeError("digest", "the bytes are not those that the sender digested", name)


def _value(data, kind, name):
    if kind == "text":
        try:
            text = str(data, "utf8")
            if not _is_utf8(data, text):
                raise UnicodeError
            return text
        except UnicodeError:
            raise NATSBridgeError("undecodable", "not UTF-8", name)
    if kind in TYPES[4:]:
        return data
    try:
        value = from_json(data)
    except NATSBridgeError as error:
        raise NATSBridgeError("undecodable", str(error), name)
    if kind == "jsontable" and not _is_rows(value):
        raise NATSBridgeError("undecodable", "a jsontable is an array of objects", name)
    return value


def _hex(data):
    return binascii.hexlify(hashlib.sha256(data).digest()).decode()


# --- JSON, read strictly and without a call for each level, so that depth costs no stack


class _Raw:
    """A JSON value that stays where it is in the message; a string without its quotes."""

    def __init__(self, buf, start, end, is_text):
        self.buf, self.start, self.end, self.is_text = buf, start, end, is_text

    def length(self):
        return self.end - self.start

    def bytes(self):
        return self.buf[self.start : self.end]

    def text(self):
        return _text(self.buf, self.start, self.end)


def _not_json(buf, at, why):
    line, last = 1, buf.find(b"\n", 0, at)
    start = 0
    while last >= 0:
        line, start = line + 1, last + 1
        last = buf.find(b"\n", start, at)
    return NATSBridgeError("not_json", "not JSON at line %d, column %d: %s" % (line, at - start + 1, why))


def _skip(buf, at):
    end = len(buf)
    while at < end and buf[at] in b" \t\n\r":
        at += 1
    return at


def _byte(buf, at):
    return buf[at] if at < len(buf) else -1


def from_json(buf, raw_depth=-1, raw_key=None, depth=MAX_DEPTH):
    """The JSON value in these bytes; the values of `raw_key` in objects `raw_depth` deep are left as they are."""
    at = _skip(buf, 0)
    open_boxes = []  # (box, key, start) around the one being filled
    box = key = None
    begun = 0
    while True:
        byte = _byte(buf, at)
        closed = False
        if byte == 0x7B or byte == 0x5B:
            if len(open_boxes) == depth:
                raise _not_json(buf, at, "nested deeper than %d levels" % depth)
            open_boxes.append((box, key, begun))
            box, begun = (OrderedDict() if byte == 0x7B else []), at
            at = _skip(buf, at + 1)
            if _byte(buf, at) == byte + 2:
                closed = True
            elif byte == 0x7B:
                key, at = _key(buf, at)
                continue
            else:
                continue
        else:
            raw = len(open_boxes) == raw_depth and key == raw_key and isinstance(box, dict)
            value, at = _scalar(buf, at, raw)
        while True:
            if closed:
                value = box
                at += 1
                raw = len(open_boxes) - 1 == raw_depth and open_boxes[-1][1] == raw_key
                if raw and isinstance(open_boxes[-1][0], dict):
                    value = _Raw(buf, begun, at, False)
                box, key, begun = open_boxes.pop()
            if box is None:
                at = _skip(buf, at)
                if at < len(buf):
                    raise _not_json(buf, at, "text after the value")
                return value
            if isinstance(box, list):
                box.append(value)
                closing = 0x5D
            else:
                if key in box and raw_key and _is_wire(open_boxes):
                    raise _not_json(buf, at, "duplicate key `%s`" % key)
                box[key] = value
                closing = 0x7D
            at = _skip(buf, at)
            byte = _byte(buf, at)
            closed = byte == closing
            if not closed:
                break
        if byte != 0x2C:
            raise _not_json(buf, at, "expected , or %s" % chr(closing))
        at = _skip(buf, at + 1)
        if closing == 0x7D:
            key, at = _key(buf, at)


def _is_wire(open_boxes):
    """Whether the innermost object is the envelope, a payload or a metadata."""
    keys = [key for _, key, _ in open_boxes]  # None, then the key that each box stands under
    depth = len(keys)
    if depth == 2:
        return keys[1] == "metadata"
    if depth in (3, 4):
        return keys[1] == "payloads" and (depth == 3 or keys[3] == "metadata")
    return depth == 1


def _key(buf, at):
    if _byte(buf, at) != 0x22:
        raise _not_json(buf, at, "expected a key")
    end = _string_end(buf, at + 1)
    key = _text(buf, at + 1, end)
    at = _skip(buf, end + 1)
    if _byte(buf, at) != 0x3A:
        raise _not_json(buf, at, "expected :")
    return key, _skip(buf, at + 1)


def _scalar(buf, at, raw):
    byte = _byte(buf, at)
    if byte == 0x22:
        end = _string_end(buf, at + 1)
        return (_Raw(buf, at + 1, end, True) if raw else _text(buf, at + 1, end)), end + 1
    for word, value in ((b"null", None), (b"true", True), (b"false", False)):
        if byte == word[0] and buf[at : at + len(word)] == word:
            end = at + len(word)
            return (_Raw(buf, at, end, False) if raw else value), end
    value, end = _number(buf, at)
    return (_Raw(buf, at, end, False) if raw else value), end


def _digits(buf, at):
    start = at
    while 0x30 <= _byte(buf, at) <= 0x39:
        at += 1
    if at == start:
        raise _not_json(buf, at, "expected a value" if at < len(buf) else "the text ends too early")
    return at


def _number(buf, at):
    start = at
    if _byte(buf, at) == 0x2D:
        at += 1
    first = at
    at = _digits(buf, at)
    if at - first > 1 and buf[first] == 0x30:
        raise _not_json(buf, first, "a number that begins with 0")
    whole = True
    if _byte(buf, at) == 0x2E:
        whole, at = False, _digits(buf, at + 1)
    if _byte(buf, at) in (0x65, 0x45):
        at += 2 if _byte(buf, at + 1) in (0x2B, 0x2D) else 1
        whole, at = False, _digits(buf, at)
    text = str(buf[start:at], "utf8")
    if whole and text != "-0":
        return int(text), at
    value = float(text)
    if value in _INFINITE or (value == 0 and any(digit in text.lower().split("e")[0] for digit in "123456789")):
        raise _not_json(buf, start, "a number out of range")
    return value, at


def _string_end(buf, at):
    """Where the quote is that ends the string beginning at `at`."""
    while True:
        quote = buf.find(b'"', at)
        if quote < 0:
            raise _not_json(buf, len(buf), "a string without end")
        back = buf.find(b"\\", at, quote)
        if back < 0:
            return quote
        at = back + 2


def _text(buf, start, end):
    pieces = []
    while True:
        back = buf.find(b"\\", start, end)
        piece = buf[start : back if back >= 0 else end]
        if piece and min(piece) < 0x20:
            raise _not_json(buf, start, "a control character in a string")
        try:
            text = str(piece, "utf8")
        except UnicodeError:
            text = None
        if text is None or not _is_utf8(piece, text):
            raise _not_json(buf, start, "not UTF-8")
        if back < 0 and not pieces:
            return text
        pieces.append(text)
        if back < 0:
            return "".join(pieces)
        text, start = _escape(buf, back + 1)
        pieces.append(text)


def _is_utf8(data, text):
    """Whether these bytes, which MicroPython took, are UTF-8 in its shortest form without surrogates."""
    if len(data) == len(text):
        return True
    total = 0
    for char in text:
        code = ord(char)
        if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF:
            return False
        total += 1 if code < 0x80 else 2 if code < 0x800 else 3 if code < 0x10000 else 4
    return total == len(data)


def _escape(buf, at):
    """The character that an escape stands for, and where the text goes on."""
    found = b'"\\/bfnrt'.find(buf[at : at + 1]) if at < len(buf) else -1
    if found >= 0:
        return '"\\/\b\f\n\r\t'[found], at + 1
    code = _unit(buf, at)
    at += 5
    if 0xD800 <= code < 0xDC00 and buf[at : at + 1] == b"\\":
        low = _unit(buf, at + 1)
        if 0xDC00 <= low < 0xE000:
            return chr(0x10000 + ((code - 0xD800) << 10) + low - 0xDC00), at + 6
    if 0xD800 <= code < 0xE000:
        raise _not_json(buf, at, "a lone surrogate")
    return chr(code), at


def _unit(buf, at):
    digits = buf[at + 1 : at + 5]
    if buf[at : at + 1] != b"u" or len(digits) != 4 or not all(digit in b"0123456789abcdefABCDEF" for digit in digits):
        raise _not_json(buf, at, "an unknown escape")
    return int(str(digits, "utf8"), 16)


# --- JSON, written


def to_json(value, dataname=None):
    """The JSON of a value as bytes: measured first, so that its buffer never grows."""
    size = 0

    def count(piece):
        nonlocal size
        size += len(piece)

    write_json(value, count, dataname)
    out = bytearray(size)
    size = 0

    def fill(piece):
        nonlocal size
        out[size : size + len(piece)] = piece
        size += len(piece)

    write_json(value, fill, dataname)
    return out


def write_json(value, put, dataname=None, depth=MAX_DEPTH):
    """Gives a value's JSON to `put` in pieces of bytes."""
    open_boxes = []  # (iterator, closing)
    while True:
        if isinstance(value, dict):
            open_boxes.append((iter(value.items()), b"}"))
            put(b"{")
        elif isinstance(value, (list, tuple)):
            open_boxes.append((iter(value), b"]"))
            put(b"[")
        elif isinstance(value, str):
            _put_string(value, put)
        else:
            # An adapter, which may go deeper, reports what it was given.
            if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64 and depth == MAX_DEPTH:
                raise NATSBridgeError("wrong_value", "an integer beyond 64 bits; send it as text", dataname)
            put(_scalar_json(value, dataname))
        if len(open_boxes) > depth:
            raise NATSBridgeError("too_deep", "nested deeper than %d levels" % depth, dataname)
        first = isinstance(value, (dict, list, tuple))
        while True:
            if not open_boxes:
                return
            items, closing = open_boxes[-1]
            try:
                value = next(items)
                break
            except StopIteration:
                put(closing)
                open_boxes.pop()
                first = False
        if not first:
            put(b",")
        if closing == b"}":
            key, value = value
            if not isinstance(key, str):
                raise NATSBridgeError("wrong_value", "the key %r is not a string" % (key,), dataname)
            _put_string(key, put)
            put(b":")


def _scalar_json(value, dataname):
    if value is None or isinstance(value, bool):
        return b"null" if value is None else b"true" if value else b"false"
    if isinstance(value, float) and (value != value or value in _INFINITE):
        raise NATSBridgeError("wrong_value", "JSON has no %s" % value, dataname)
    if isinstance(value, (int, float)):
        return bytes(repr(value), "utf8")
    raise NATSBridgeError("wrong_value", "JSON has no %s" % type(value).__name__, dataname)


def _put_string(text, put):
    """Quoted and escaped, in pieces: a long string is not held twice."""
    plain = bytes(text, "utf8")  # shares the string's memory
    if not _is_sound(plain):
        raise NATSBridgeError("wrong_value", "a string with a lone surrogate")
    put(b'"')
    for at in range(0, len(plain), 512):
        piece = plain[at : at + 512]
        if min(piece) < 0x20 or piece.find(b'"') >= 0 or piece.find(b"\\") >= 0:
            piece = _escaped(piece)
        put(piece)
    put(b'"')


def _escaped(plain):
    out = bytearray()
    for byte in plain:
        found = b'"\\\b\f\n\r\t'.find(bytes((byte,)))
        if found >= 0:
            out.append(0x5C)
            out.append(b'"\\bfnrt'[found])
        elif byte < 0x20:
            out.extend(b"\\u%04x" % byte)
        else:
            out.append(byte)
    return out
