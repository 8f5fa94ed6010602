"""Messages that every receiver reads, from the specification's sections 1 to 6."""
from common import (
    URL, b64, body, compact, direct, dumps, envelope, link, part, sha256, uuid,
)

MIXED_TEXT = "Grüße, 世界"
NAMES = "e\u0301 \u00e9 \U0001F469\u200D\U0001F52C سلام שלום \u202E"
TEXTS = {
    "ascii": ("Plain text", "hello", []),
    "one_byte": ("One byte: two characters of padding", "a", []),
    "two_bytes": ("Two bytes: one character of padding", "ab", []),
    "three_bytes": ("Three bytes: no padding", "abc", []),
    "empty": ("Text of no bytes", "", ["Empty"]),
    "combining": ("Combining marks are not composed: both forms of é stay what they are", "e\u0301 and \u00e9", []),
    "emoji": ("Emoji beyond the basic plane, joined by zero-width joiners", "👩\u200d🔬 🏳️\u200d🌈", []),
    "right_to_left": ("Right-to-left text with marks", "سلام \u200fשלום\u200e", []),
    "nul": ("NUL is a character", "a\0b\0", []),
    "controls": ("Control characters", "".join(map(chr, range(1, 32))) + "\x7f", []),
    "line_ends": ("Line ends are not translated", "a\r\nb\nc\rd\u2028e\u2029", []),
    "byte_order_mark": ("A byte-order mark is a character of the text like any other", "\ufeffhello", []),
    "planes": ("The first and last character of each UTF-8 length", "\u0080\u07ff\u0800\uffff\U00010000\U0010ffff", []),
    "quotes": ("Quotes, backslashes and braces", "\"'\\`{}[]<>&%$\\n\\u0041", []),
    "like_base64": ("Text that looks like base64 is text", "aGVsbG8=", []),
    "like_json": ("Text that looks like JSON is text", '{"a": 1}', []),
}
JSONS = {
    "object": ("An object", {"gain": 0.5, "labels": ["α", ""], "limit": None, "on": True}, []),
    "list": ("A dictionary may be a list", [1, "two", None, [3.5]], []),
    "number": ("A dictionary may be a single number", 42, []),
    "string": ("A dictionary may be a single string", "four", []),
    "true": ("A dictionary may be true", True, []),
    "null": ("A dictionary may be null", None, []),
    "empty_object": ("An object without keys", {}, ["Empty"]),
    "empty_list": ("A list without items", [], ["Empty"]),
    "empty_key": ("The empty string is a key", {"": 1, "a": {"": {}}}, ["Empty"]),
    "int64": ("The ends of the signed 64-bit integers", [-(2**63), 2**63 - 1], ["Integer64"]),
    "uint64": ("The largest unsigned 64-bit integer", {"n": 2**64 - 1}, ["Integer64"]),
    "beyond_double": ("The first integers that a double can't hold", {"n": 2**53 + 1, "m": -(2**53) - 1}, ["Integer64"]),
    "floats": ("Floats at the ends of a double", [1.7976931348623157e308, 5e-324, 0.1, -2.5, 1e-7, 123456789.123], []),
    "nested": ("Objects and lists within each other", {"a": [{"b": [{"c": [[], {}]}]}]}, []),
    "unicode": ("Keys and strings beyond ASCII", {"ключ": "значение", "鍵": "値", "e\u0301": "👩\u200d🔬", "سلام": "\0"}, []),
    "key_like_prototype": ("Keys that name a language's own parts are keys", {"__proto__": {"x": 1}, "constructor": 2, "toString": 3, "__class__": 4}, ["Hostile"]),
}


def nested(depth, inner=1):
    for _ in range(depth):
        inner = [inner]
    return inner


def write(p):
    envelopes(p)
    payloads(p)
    for kind, cases in (("text", TEXTS), ("dictionary", JSONS)):
        for name, (comment, value, flags) in cases.items():
            data = value.encode() if kind == "text" else compact(value)
            tagged = {"text": value} if kind == "text" else {"json": value}
            p.valid(f"{kind}_{name}", f"{comment}.", envelope(direct("value", kind, data)), [part("value", kind, tagged)],
                    [*flags, *([] if data.isascii() else ["NonAscii"])])
    dictionaries(p)
    rows(p)
    raw_bytes(p)
    metadata(p)
    tolerance(p)


def envelopes(p):
    hello = direct("value", "text", b"hello")
    parts = [part("value", "text", {"text": "hello"})]
    full = envelope(
        hello, msg_purpose="updateStatus", sender_name="press 4", receiver_name="lab", receiver_id=uuid(4),
        reply_to="lab.answers", reply_to_msg_id=uuid(5), metadata={"seq": 7, "epoch": uuid(6)})
    seen = {key: value for key, value in full.items() if key != "payloads"}
    p.valid("envelope_full", "Every field of the envelope has a value.", full, parts, fields=dict(seen))
    p.valid("envelope_defaults", "What a sender writes when nothing was asked for.", envelope(hello), parts,
            fields={"msg_purpose": "chat", "receiver_name": "", "reply_to": "", "metadata": {}})
    p.valid("envelope_no_payloads", "A message may have no payloads.", envelope(), [], ["Empty"])
    ack = envelope(msg_purpose="ACK", reply_to_msg_id=uuid(9))
    p.valid("envelope_ack", "An ACK: purpose, answered message, no payloads.", ack, [], ["Empty"],
            fields={"msg_purpose": "ACK", "reply_to_msg_id": uuid(9)})
    why = {"code": "digest", "reason": "payload `photo` has another digest", "retryable": True}
    nack = envelope(msg_purpose="NACK", reply_to_msg_id=uuid(9), metadata=why)
    p.valid("envelope_nack", "A NACK says why in its metadata.", nack, [], ["Empty"],
            fields={"msg_purpose": "NACK", "metadata": why})
    answer = envelope(hello, reply_to_msg_id=uuid(9))
    p.valid("envelope_reply", "A reply is a chat that names the message it answers.", answer, parts,
            fields={"msg_purpose": "chat", "reply_to_msg_id": uuid(9)})
    p.valid("envelope_shutdown", "The purpose `shutdown` is handed on like any other.", envelope(msg_purpose="shutdown"),
            [], ["Empty"], fields={"msg_purpose": "shutdown"})
    backwards = dict(reversed(list(envelope(dict(reversed(list(hello.items()))), ).items())))
    p.valid("envelope_other_order", "Fields may come in any order.", backwards, parts, ["Tolerance"])
    p.valid("envelope_indented", "White space between tokens means nothing.",
            ("\r\n\t" + dumps(envelope(hello), 2) + " \n").encode(), parts, ["Tolerance"])
    named = envelope(direct(NAMES, "text", b"hello"), sender_name=NAMES)
    escaped = "".join(c if ord(c) < 128 else "".join(f"\\u{u:04x}" for u in utf16(c)) for c in dumps(named))
    p.valid("envelope_escaped", "Every character beyond ASCII is escaped, those beyond the basic plane as two halves.",
            escaped.encode(), [part(NAMES, "text", {"text": "hello"})], ["NonAscii", "Tolerance"], fields={"sender_name": NAMES})
    p.valid("envelope_unicode", "Names and subjects beyond ASCII, not escaped.",
            envelope(hello, send_to="labor.meßwerte", sender_name=NAMES, receiver_name="研究所"), parts,
            fields={"send_to": "labor.meßwerte", "sender_name": NAMES, "receiver_name": "研究所"})


def utf16(character):
    data = character.encode("utf-16-be")
    return [int.from_bytes(data[at:at + 2], "big") for at in range(0, len(data), 2)]


def payloads(p):
    def named(name, shown, comment, flags=()):
        p.valid(name, comment, envelope(direct(shown, "text", b"hello")), [part(shown, "text", {"text": "hello"})], flags)

    named("payload_name_empty", "", "A payload may have an empty name.", ["Empty"])
    named("payload_name_unicode", NAMES, "A name is any Unicode: combining marks, emoji, right-to-left.")
    named("payload_name_nul", "a\0b", "NUL in a name is a character.")
    named("payload_name_path", "../../etc/passwd", "A name that looks like a path is a name.", ["Hostile"])
    named("payload_name_windows", "C:\\CON.txt", "A name that a file system would not take is a name.", ["Hostile"])
    named("payload_name_quotes", "\"';--\n", "Quotes and line ends in a name.")
    named("payload_name_long", "n" * 1000, "A name of 1,000 characters.")
    twice = [direct("same", "text", b"first"), direct("same", "text", b"second", id=uuid(102))]
    p.valid("payload_names_repeat", "Names may repeat; the order is kept.", envelope(*twice),
            [part("same", "text", {"text": "first"}), part("same", "text", {"text": "second"})])
    many = [direct(f"p{n}", "text", str(n).encode(), id=uuid(100 + n)) for n in range(100)]
    p.valid("payload_many", "A hundred payloads keep their order.", envelope(*many),
            [part(f"p{n}", "text", {"text": str(n)}) for n in range(100)])
    table = [{"sensor": "a", "value": 1.5}, {"sensor": "b", "value": None}]
    photo, sound, clip = bytes([0x89, 80, 78, 71]), b"RIFF", bytes(range(64))
    urls = ["http://files.test/file/u1/f1/payload.bin", "http://files.test/file/u2/f2/payload.bin"]
    mixed = envelope(
        direct("note", "text", MIXED_TEXT.encode()), direct("settings", "dictionary", compact({"n": 2**53 + 1}), id=uuid(102)),
        direct("rows", "jsontable", compact(table), id=uuid(103)), direct("photo", "image", photo, id=uuid(104)),
        link("sound", "audio", sound, urls[0], id=uuid(105)), link("clip", "video", clip, urls[1], id=uuid(106)),
        direct("rest", "binary", b"", id=uuid(107)))
    p.valid("payload_mixed_link", "Seven types in one message, two of them by link.", mixed, [
        part("note", "text", {"text": MIXED_TEXT}), part("settings", "dictionary", {"json": {"n": 2**53 + 1}}),
        part("rows", "jsontable", {"json": table}), part("photo", "image", {"base64": b64(photo)}),
        part("sound", "audio", {"base64": b64(sound)}, "link"), part("clip", "video", {"base64": b64(clip)}, "link"),
        part("rest", "binary", {"base64": ""})],
        links={urls[0]: {"base64": b64(sound)}, urls[1]: {"base64": b64(clip)}})


def by_link(p, name, comment, kind, data, value, flags=(), given=None, **other):
    held = body(data)
    flags = [*flags, *(["Large"] if "blob" in held else [])]
    p.valid(name, comment, envelope(link("value", kind, data, **other)), [part("value", kind, value, "link")], flags,
            links={other.get("data", URL): held}, given=given)


def dictionaries(p):
    text = "Grüße 👩\u200d🔬 \0"
    by_link(p, "text_link", "Text that a link holds.", "text", text.encode(), {"text": text}, ["NonAscii"])
    by_link(p, "text_link_empty", "A link to no bytes; a size of 0 says that it is not known.", "text", b"", {"text": ""}, ["Empty"])
    long = "".join(chr(0x4e00 + n % 5000) for n in range(2000))
    by_link(p, "text_link_large", "6,000 bytes of text by link.", "text", long.encode(), {"text": long}, ["NonAscii"])
    value = {"a": [2**63 - 1, {"b": None}]}
    by_link(p, "dictionary_link", "A dictionary that a link holds.", "dictionary", compact(value), {"json": value}, ["Integer64"])
    for depth in (100, 127):
        deep = nested(depth)
        p.valid(f"dictionary_depth_{depth}", f"Lists nested {depth} levels deep.", envelope(direct("value", "dictionary", compact(deep))),
                [part("value", "dictionary", {"json": deep})] if depth < 100 else
                [part("value", "dictionary", {"base64": b64(compact(deep))})], ["Limit"] if depth == 127 else [])
    large = {f"key {n}": {"n": n, "s": "x" * (n % 7)} for n in range(5000)}
    data = compact(large)
    by_link(p, "dictionary_link_large", "5,000 keys by link.", "dictionary", data, body(data))
    spaced = b' \n{ "a" :\t[ 1 , 2 ] }\r\n'
    p.valid("dictionary_white_space", "White space around and between the dictionary's tokens.",
            envelope(direct("value", "dictionary", spaced)), [part("value", "dictionary", {"json": {"a": [1, 2]}})], ["Tolerance"])
    escaped = rb'{"\u00e9\ud83d\ude00":"\u0000\/\b"}'
    p.valid("dictionary_escapes", "Every way to escape a character.", envelope(direct("value", "dictionary", escaped)),
            [part("value", "dictionary", {"json": {"é😀": "\0/\b"}})], ["NonAscii"])
    p.valid("dictionary_exponents", "Numbers in every form that JSON has.",
            envelope(direct("value", "dictionary", b"[1e2,1E+2,1.5e-3,-0.25,100.0]")),
            [part("value", "dictionary", {"json": [100.0, 100.0, 0.0015, -0.25, 100.0]})])


def rows(p):
    def table(name, comment, value, flags=()):
        data = compact(value)
        p.valid(f"jsontable_{name}", comment, envelope(direct("value", "jsontable", data)),
                [part("value", "jsontable", {"json": value})], [*flags, *([] if data.isascii() else ["NonAscii"])])

    table("rows", "Rows in order, columns in the order in which rows first name them.", [{"b": 1, "a": "x"}, {"b": 2, "a": "y"}])
    table("empty", "A table without rows.", [], ["Empty"])
    table("empty_rows", "Rows without columns.", [{}, {}], ["Empty"])
    table("missing_columns", "Rows may lack columns that others have.", [{"a": 1}, {"b": 2}, {"a": None, "c": 3}])
    table("nested", "Cells may be lists and objects.", [{"a": [1, [2]], "b": {"c": None}}])
    table("integers", "64-bit integers in cells.", [{"n": 2**63 - 1}, {"n": -(2**63)}, {"n": 2**64 - 1}], ["Integer64"])
    table("mixed_column", "One column may hold different kinds.", [{"a": 1}, {"a": "x"}, {"a": None}, {"a": True}])
    table("unicode", "Column names beyond ASCII.", [{"größe": "ß", "名": "値", "e\u0301": 1, "\u00e9": 2}])
    table("column_named_empty", "A column may be named by the empty string.", [{"": 1}], ["Empty"])
    small = [{"a": 1}, {"a": 2}]
    by_link(p, "jsontable_link", "A table that a link holds.", "jsontable", compact(small), {"json": small})
    large = [{"n": n, "sensor": f"s{n % 13}", "value": n / 8} for n in range(10000)]
    by_link(p, "jsontable_link_large", "10,000 rows by link.", "jsontable", compact(large), body(compact(large)))


def raw_bytes(p):
    every = bytes(range(256))
    for kind in ("image", "audio", "video", "binary"):
        p.valid(f"bytes_{kind}", f"Every byte value in a payload of type {kind}.", envelope(direct("value", kind, every)),
                [part("value", kind, {"base64": b64(every)})])
        by_link(p, f"bytes_{kind}_link", f"Every byte value in a payload of type {kind}, by link.", kind, every, {"base64": b64(every)})
    p.valid("bytes_empty", "No bytes at all.", envelope(direct("value", "binary", b"")), [part("value", "binary", {"base64": ""})], ["Empty"])
    by_link(p, "bytes_link_empty", "A link to no bytes.", "binary", b"", {"base64": ""}, ["Empty"])
    nul = bytes(16)
    p.valid("bytes_nul", "NUL bytes only.", envelope(direct("value", "binary", nul)), [part("value", "binary", {"base64": b64(nul)})])
    # What text has in UTF-8 is not looked at in bytes.
    p.valid("bytes_not_utf8", "Bytes that are no UTF-8.", envelope(direct("value", "binary", b"\xff\xfe\xc0\x80")),
            [part("value", "binary", {"base64": b64(b"\xff\xfe\xc0\x80")})])
    for size in (499_999, 500_000, 500_001, 1_048_577, 5_000_000):
        data = bytes([65]) * size
        held = {"repeat": {"byte": 65, "count": size}}
        p.valid(f"bytes_link_{size}", f"{size:,} bytes by link.", envelope(link("value", "binary", data)),
                [part("value", "binary", held, "link")], ["Large", "Limit"], links={URL: held})
    # In base64 a NUL is a run of the letter A, and two of them at the end are AAA=.
    before, after = dumps(envelope(direct("value", "binary", b"", data="@", size=50_000))).split("@")
    p.valid("bytes_direct_50000", "As much as the smallest receiver takes in one payload.",
            [{"text": before}, {"repeat": {"byte": 65, "count": 66_667}}, {"text": "=" + after}],
            [part("value", "binary", {"repeat": {"byte": 0, "count": 50_000}})], ["Large", "Limit"])


def metadata(p):
    hello = [part("value", "text", {"text": "hello"})]
    good = sha256(b"hello")
    for name, comment, more, flags in (
        ("digest", "A direct payload may carry a digest, which is checked.", {"sha256": good}, ["Digest"]),
        ("digest_upper_case", "A digest in upper case is read too.", {"sha256": good.upper()}, ["Digest", "Tolerance"]),
        ("unknown", "Metadata of the sender's own is kept out of the way.", {"colour": "red", "deep": {"a": [1]}}, ["UnknownField"]),
    ):
        p.valid(f"metadata_{name}", comment, envelope(direct("value", "text", b"hello", metadata=more)), hello, flags)
    by_link(p, "metadata_link_digest", "A link's digest is checked.", "text", b"hello", {"text": "hello"}, ["Digest"])
    by_link(p, "metadata_link_no_digest", "A link without a digest is read, except in strict mode.", "text", b"hello",
            {"text": "hello"}, ["Digest"], metadata={})
    by_link(p, "metadata_link_digest_strict", "In strict mode a link with a digest is read.", "text", b"hello",
            {"text": "hello"}, ["Digest", "Strict"], given={"strict": True})
    by_link(p, "metadata_link_one_shot", "A link that can be read once, and until when.", "text", b"hello", {"text": "hello"},
            metadata={"sha256": good, "one_shot": True, "expires_at": "2999-01-01T00:00:00.000Z"})
    trace = {"seq": 1, "epoch": uuid(8), "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    p.valid("metadata_message", "Counter, start and trace context of the message.", envelope(direct("value", "text", b"hello"), metadata=trace),
            hello, fields={"metadata": trace})
    p.valid("metadata_unknown_message", "Unknown keys of the message's metadata are kept.",
            envelope(direct("value", "text", b"hello"), metadata={"later": [2**53 + 1]}), hello, ["Integer64", "UnknownField"],
            fields={"metadata": {"later": [2**53 + 1]}})


def tolerance(p):
    hello = [part("value", "text", {"text": "hello"})]

    def accepts(name, comment, message=None, flags=(), parts=hello, **other):
        p.valid(f"tolerance_{name}", comment, message if message is not None else envelope(direct("value", "text", b"hello", **other)),
                parts, ["Tolerance", *flags])

    accepts("unknown_fields", "Fields that no specification names are ignored, whatever they hold.",
            envelope(direct("value", "text", b"hello", later=[None, {"x": 1.5}], Data="x"), version=2, later={"payloads": []}),
            ["UnknownField"])
    accepts("minimal", "Only what a message can't do without.", {"send_to": "lab.results", "payloads": [
        {"payload_type": "text", "transport": "direct", "data": b64(b"hello")}]}, parts=[part("", "text", {"text": "hello"})])
    nulls = {key: None for key in envelope() if key not in ("payloads", "send_to")}
    p.valid("tolerance_null_fields", "A string field that is null reads as empty, null metadata as none.",
            envelope(direct("value", "text", b"hello", id=None, encoding=None, size=None, metadata=None), **nulls), hello, ["Tolerance"],
            fields={"msg_id": "", "sender_name": "", "broker_url": "", "metadata": {}})
    p.valid("tolerance_missing_fields", "String fields that are missing read as empty.",
            {"send_to": "lab.results", "payloads": []}, [], ["Tolerance", "Empty"],
            fields={"msg_id": "", "correlation_id": "", "timestamp": "", "metadata": {}})
    for name, text in (("no_zone", "2026-05-13T08:15:30.123"), ("offset", "2026-05-13T10:15:30+02:00"),
                       ("nanoseconds", "2026-05-13T08:15:30.123456789Z"), ("no_fraction", "2026-05-13T08:15:30Z"), ("words", "yesterday")):
        p.valid(f"tolerance_timestamp_{name}", "The timestamp is kept as the text it is.",
                envelope(direct("value", "text", b"hello"), timestamp=text), hello, ["Tolerance"], fields={"timestamp": text})
    for name, word in (("unknown", "ping"), ("other_case", "ack"), ("empty", "")):
        p.valid(f"tolerance_purpose_{name}", "An unknown purpose is kept as text.",
                envelope(direct("value", "text", b"hello"), msg_purpose=word), hello, ["Tolerance", "UnknownField"],
                fields={"msg_purpose": word})
    accepts("no_uuids", "Identifiers that are no UUIDs are kept.", envelope(direct("value", "text", b"hello", id="1"), msg_id="m1", correlation_id="order 7"))

    awkward = bytes([0xfb, 0xff, 0xbf, 0x00])
    standard, same = "+/+/AA==", [part("value", "binary", {"base64": "+/+/AA=="})]
    for name, comment, data in (
        ("unpadded", "Base64 without padding.", "+/+/AA"), ("url_safe", "Base64 in the URL-safe alphabet.", "-_-_AA=="),
        ("url_safe_unpadded", "Base64 in the URL-safe alphabet without padding.", "-_-_AA"),
        ("line_breaks", "Base64 broken into lines.", "+/+/\r\nAA==\n"), ("spaces", "Base64 with spaces.", " +/ +/ AA== "),
    ):
        accepts(f"base64_{name}", comment, envelope(direct("value", "binary", awkward, data=data)), parts=same)
    lines = "\n".join(b64(bytes(range(256)))[at:at + 76] for at in range(0, 344, 76))
    accepts("base64_mime", "Base64 in lines of 76 characters, as mail has it.", envelope(direct("value", "binary", bytes(range(256)), data=lines)),
            parts=[part("value", "binary", {"base64": b64(bytes(range(256)))})])
    slashed = dumps(envelope(direct("value", "binary", awkward, data=standard))).replace("+/+/AA", "+\\/+\\/AA")
    accepts("base64_escaped_slash", "A slash that the sender's JSON writer escapes.", slashed.encode(), parts=same)
    for word in ("json", "arrow-ipc", ""):
        accepts(f"encoding_{word.replace('-', '_') or 'empty'}", f"Encoding `{word}` with a string: base64.", encoding=word)
    accepts("encoding_missing", "No encoding with a string: base64.", encoding=...)
    accepts("encoding_none", "Encoding `none` with direct: the text itself.", encoding="none", data="hello")
    accepts("encoding_none_unicode", "Encoding `none` with direct: the text itself, in UTF-8.",
            envelope(direct("value", "text", "é\n".encode(), encoding="none", data="é\n")), parts=[part("value", "text", {"text": "é\n"})])
    accepts("encoding_none_dictionary", "Encoding `none` with a dictionary: its JSON as text.",
            envelope(direct("value", "dictionary", b'{"a":1}', encoding="none", data='{"a":1}')),
            parts=[part("value", "dictionary", {"json": {"a": 1}})])
    for name, value in (("object", {"a": [1, None]}), ("list", [1, "x"]), ("number", 2**53 + 1), ("true", True)):
        accepts(f"encoding_json_{name}", "Encoding `json` with anything but a string: that value itself.",
                envelope(direct("value", "dictionary", compact(value), encoding="json", data=value)),
                ["Integer64"] if name == "number" else [], parts=[part("value", "dictionary", {"json": value})])
    table = [{"a": 2**63 - 1}, {"a": None}]
    accepts("encoding_json_rows", "Encoding `json` with rows.", envelope(direct("value", "jsontable", compact(table), encoding="json", data=table)),
            ["Integer64"], parts=[part("value", "jsontable", {"json": table})])
    for name, word in (("base64", "base64"), ("unknown", "gzip"), ("empty", "")):
        by_link(p, f"tolerance_link_encoding_{name}", "The encoding of a link is not looked at.", "text", b"hello",
                {"text": "hello"}, ["Tolerance"], encoding=word)
    for name, size in (("missing", ...), ("null", None), ("zero", 0)):
        by_link(p, f"tolerance_link_size_{name}", "A link whose size the sender did not know.", "text", b"hello",
                {"text": "hello"}, ["Tolerance"], size=size)
    by_link(p, "tolerance_link_base64_body", "What a link holds is the payload itself, even when it looks like base64.", "binary",
            b64(b"hello").encode(), {"base64": b64(b64(b"hello").encode())}, ["Tolerance"])
    for name, size in (("missing", ...), ("null", None), ("zero", 0), ("too_small", 3), ("too_large", 2**40)):
        accepts(f"size_{name}", "A wrong size of a direct payload is worth a warning, not an error.",
                flags=["Hostile"] if name.startswith("too") else [], size=size)
    accepts("size_as_float", "A size may be written as 5.0.", dumps(envelope(direct("value", "text", b"hello"))).replace('"size":5', '"size":5.0').encode())
