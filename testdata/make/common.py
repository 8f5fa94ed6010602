"""What the generators share: the vector file, canonical JSON, blobs, the envelope of every case."""
import base64
import hashlib
import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIMESTAMP = "2026-05-13T08:15:30.123Z"
LARGEST_INLINE = 1024


def number(value):
    """A float as the shortest text that reads back, without the plus and zeros that Python puts into exponents."""
    text = repr(value)
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return f"{mantissa}e{int(exponent)}"


def dumps(value, indent=None, level=0):
    """JSON with two spaces of indentation, or compact."""
    if isinstance(value, float):
        return number(value)
    if not isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    if not value:
        return opening + closing
    if isinstance(value, dict):
        colon = ":" if indent is None else ": "
        items = [json.dumps(key, ensure_ascii=False) + colon + dumps(item, indent, level + 1) for key, item in value.items()]
    else:
        items = [dumps(item, indent, level + 1) for item in value]
    if indent is None:
        return opening + ",".join(items) + closing
    space = "\n" + " " * (indent * (level + 1))
    return opening + space + ("," + space).join(items) + "\n" + " " * (indent * level) + closing


def compact(value):
    return dumps(value).encode()


def b64(data):
    return base64.b64encode(data).decode()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def uuid(number):
    return f"00000000-0000-4000-8000-{number:012d}"


def body(data):
    """The tagged value of these bytes: here when short, a blob when long."""
    if len(data) <= LARGEST_INLINE:
        return {"base64": b64(data)}
    name = sha256(data)
    (ROOT / "blobs" / name).write_bytes(data)
    return {"blob": name, "size": len(data)}


def direct(name, kind, content, **other):
    """A payload as the specification writes it; `other` replaces fields, `...` removes them."""
    payload = {
        "id": uuid(101), "dataname": name, "payload_type": kind, "transport": "direct", "encoding": "base64",
        "size": len(content), "data": b64(content), "metadata": {},
    }
    return changed(payload, other)


def link(name, kind, content, url=None, **other):
    payload = {
        "id": uuid(101), "dataname": name, "payload_type": kind, "transport": "link", "encoding": "none",
        "size": len(content), "data": url or URL, "metadata": {"sha256": sha256(content)},
    }
    return changed(payload, other)


URL = "http://files.test/file/u1/f1/payload.bin"


def envelope(*payloads, **other):
    fields = {
        "correlation_id": uuid(1), "msg_id": uuid(2), "timestamp": TIMESTAMP, "send_to": "lab.results",
        "msg_purpose": "chat", "sender_name": "NATSBridge", "sender_id": uuid(3), "receiver_name": "",
        "receiver_id": "", "reply_to": "", "reply_to_msg_id": "", "broker_url": "nats://localhost:4222",
        "metadata": {}, "payloads": list(payloads),
    }
    return changed(fields, other)


def changed(fields, other):
    for key, value in other.items():
        if value is ...:
            del fields[key]
        else:
            fields[key] = value
    return fields


class Producer:
    """Writes the vectors of one producer, in place of those that it wrote before."""

    def __init__(self, name, how):
        self.name = name
        self.version = json.loads((ROOT / "producers.json").read_text())[name]["version"]
        self.how = how
        self.written = set()
        for path in [*ROOT.glob("receive/*/*.json"), *ROOT.glob("send/*.json")]:
            if json.loads(path.read_text())["producer"]["name"] == name:
                path.unlink()

    def write(self, name, comment, flags, result, fields, how=None):
        path = ROOT / f"{name}.json"
        assert name not in self.written, f"{name} is there twice"
        assert not path.exists(), f"{name} is another producer's"
        self.written.add(name)
        vector = {
            "schema": "vector-v1", "comment": comment,
            "producer": {"name": self.name, "version": self.version, "how": how or self.how},
            "result": result, "flags": sorted(set(flags)), **fields,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dumps(vector, 2) + "\n")

    def valid(self, name, comment, message, parts, flags=(), links=None, given=None, fields=None, **kind):
        """A message that must be read: `message` is an object, bytes, or pieces."""
        expect = {"subject": "lab.results"}
        if fields:
            expect = {"subject": fields.pop("send_to", "lab.results"), "fields": fields}
        expect["parts"] = parts
        self.write(f"receive/valid/{name}", comment, self.flags(flags, message, links), "valid",
                   {**came(message), **some("links", links), **some("given", given), "expect": expect}, **kind)

    def invalid(self, name, comment, message, code, flags=(), links=None, given=None, dataname=None, **kind):
        """A message that must be refused with `code`; with `None`, one of which the specification says nothing."""
        result = "acceptable" if code is None else "invalid"
        self.write(f"receive/invalid/{name}", comment, self.flags(flags, message, links), result,
                   {**came(message), **some("links", links), **some("given", given), **some("error", code),
                    **({} if dataname is None else {"dataname": dataname})}, **kind)

    @staticmethod
    def flags(flags, message, links):
        flags = list(flags)
        if links is not None:
            flags.append("Link")
        text = message if isinstance(message, bytes) else dumps(message).encode()
        if any(byte > 127 for byte in text):
            flags.append("NonAscii")
        return flags


def came(message):
    if isinstance(message, bytes):
        return {"envelope_base64": b64(message)}
    if isinstance(message, list):
        return {"envelope_pieces": message}
    return {"envelope": message}


def some(key, value):
    return {} if value is None else {key: value}


def part(name, kind, value, transport="direct"):
    return {"name": name, "type": kind, "transport": transport, "value": value}


def column(name, kind, values):
    return {"name": name, "type": kind, "values": values}


def table(*columns):
    return {"table": {"columns": list(columns)}}
