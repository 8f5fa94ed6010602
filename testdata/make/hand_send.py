"""What a sender writes, byte for byte: identifiers, time and limits are given."""
from common import TIMESTAMP, b64, column, compact, dumps, envelope, sha256, table, uuid
from hand_valid import JSONS, NAMES, TEXTS, nested

UPLOADS = [f"http://files.test/file/u{n}/f{n}/payload.bin" for n in range(1, 5)]


def payload(number, name, kind, data, link=None, value=None, **metadata):
    """The payload expected of these bytes; `value` stands for them where they are many."""
    if link:
        return {"id": uuid(10 + number), "dataname": name, "payload_type": kind, "transport": "link", "encoding": "none", "size": len(data),
                "data": link, "metadata": {**metadata, "sha256": sha256(data)}}
    return {"id": uuid(10 + number), "dataname": name, "payload_type": kind, "transport": "direct", "encoding": "base64", "size": len(data),
            "data": {"base64_of": value} if value else b64(data), "metadata": metadata}


def given(parts, options=None, limits=None, uploads=0, ids=None):
    count = 3 + len(parts)
    drawn = [uuid(n) for n in (1, 2, 3)] + [uuid(10 + n) for n in range(len(parts))]
    return {"subject": "lab.results", "timestamp": TIMESTAMP, "ids": ids or drawn[:count], "uploads": UPLOADS[:uploads],
            "options": options or {}, "limits": limits or {}, "parts": parts}


def item(name, kind, value):
    return {"name": name, "type": kind, "value": value}


def write(p):
    def sends(name, comment, parts, payloads, flags=(), options=None, limits=None, ids=None, **fields):
        transports = [payload["transport"] for payload in payloads]
        links = transports.count("link")
        flags = [*flags, *(["Link"] if links else []), *(["NonAscii"] if not dumps([parts, options or {}]).isascii() else [])]
        p.write(f"send/{name}", comment, flags, "valid", {
            "given": given(parts, options, limits, links, ids), "expect": {"envelope": envelope(*payloads, **fields), "transports": transports}})

    def refuses(name, comment, parts, code, flags=(), options=None, limits=None, dataname=None):
        p.write(f"send/{name}", comment, flags, "invalid", {
            "given": given(parts, options, limits), "error": code, **({} if dataname is None else {"dataname": dataname})})

    hello, sent = item("value", "text", {"text": "hello"}), payload(0, "value", "text", b"hello")
    envelopes(sends, hello, sent)
    for name, (comment, text, flags) in TEXTS.items():
        sends(f"text_{name}", f"{comment}.", [item("value", "text", {"text": text})], [payload(0, "value", "text", text.encode())], flags)
    for name, (comment, value, flags) in JSONS.items():
        sends(f"dictionary_{name}", f"{comment}.", [item("value", "dictionary", {"json": value})], [payload(0, "value", "dictionary", compact(value))], flags)
    for name, rows in (("rows", [{"b": 1, "a": "x"}, {"b": 2, "a": None}]), ("empty", []), ("missing_columns", [{"a": 1}, {"b": 2**63 - 1}])):
        sends(f"jsontable_{name}", "Rows in order, keys as they came.", [item("value", "jsontable", {"json": rows})], [payload(0, "value", "jsontable", compact(rows))],
              ["Empty"] if not rows else [])
    every = bytes(range(256))
    for kind in ("image", "audio", "video", "binary"):
        sends(f"bytes_{kind}", f"Every byte value in a payload of type {kind}.", [item("value", kind, {"base64": b64(every)})], [payload(0, "value", kind, every)])
    sends("bytes_empty", "No bytes at all.", [item("value", "binary", {"base64": ""})], [payload(0, "value", "binary", b"")], ["Empty"])
    payloads(sends)
    tables(sends, refuses)
    limits(sends, refuses)
    metadata(sends, hello, sent)
    refuses("unknown_payload_type", "A payload type that is none of the eight.", [item("value", "parquet", {"text": "x"})], "unknown_payload_type", ["UnknownField"], dataname="value")
    refuses("wrong_value_binary", "Text where bytes are asked for.", [item("value", "binary", {"text": "hello"})], "wrong_value", dataname="value")
    refuses("wrong_value_text", "A JSON object where text is asked for.", [item("value", "text", {"json": {"a": 1}})], "wrong_value", dataname="value")
    refuses("dictionary_depth_128", "A dictionary that nests deeper than every receiver follows.", [item("value", "dictionary", {"base64": b64(compact(nested(128)))})], "too_deep", ["Limit"], dataname="value")
    deep = compact(nested(127))
    sends("dictionary_depth_127", "The deepest dictionary that every receiver follows.", [item("value", "dictionary", {"base64": b64(deep)})], [payload(0, "value", "dictionary", deep)], ["Limit"])


def envelopes(sends, hello, sent):
    sends("envelope_defaults", "What is written when nothing is asked for.", [hello], [sent])
    sends("envelope_no_payloads", "A message without payloads.", [], [], ["Empty"])
    options = {
        "broker_url": "nats://nats.test:4222", "correlation_id": uuid(91), "msg_purpose": "updateStatus", "sender_name": "press 4", "receiver_name": "lab",
        "receiver_id": uuid(92), "reply_to": "lab.answers", "reply_to_msg_id": uuid(93), "msg_id": uuid(94), "sender_id": uuid(95),
    }
    sends("envelope_options", "Every option of the contract; identifiers that are given are not drawn.", [hello], [sent], options=options, ids=[uuid(10)], **options)
    ack = {"msg_purpose": "ACK", "reply_to_msg_id": uuid(9), "correlation_id": uuid(8)}
    sends("envelope_ack", "An ACK.", [], [], ["Empty"], options=ack, ids=[uuid(2), uuid(3)], **ack)
    names = {"sender_name": NAMES, "receiver_name": "\"\\\b\f\n\r\t\0\x1f\x7f/"}
    sends("envelope_escapes", "What JSON has to escape is escaped, nothing else.", [hello], [sent], options=names, **names)
    for name, url, shown in (
        ("password", "nats://user:secret@nats.test:4222", "nats://nats.test:4222"), ("token", "nats://secret@nats.test:4222", "nats://nats.test:4222"),
        ("query", "wss://nats.test/ws?token=secret", None), ("list", "nats://u:secret@a.test:4222,nats://b.test:4222", "nats://a.test:4222,nats://b.test:4222"),
    ):
        if shown:
            sends(f"envelope_broker_url_{name}", "The broker's URL is written without its secrets.", [hello], [sent], options={"broker_url": url}, broker_url=shown)


def payloads(sends):
    names = ["", "same", "same", NAMES, "../../etc/passwd", "a\0\"\\\n"]
    sends("payload_names", "Names of every kind, one of them twice, in order.", [item(name, "text", {"text": str(n)}) for n, name in enumerate(names)],
          [payload(n, name, "text", str(n).encode()) for n, name in enumerate(names)])
    rows = [{"a": 1}]
    sends("payload_mixed", "Seven types in one message.", [
        item("a", "text", {"text": "hello"}), item("b", "dictionary", {"json": {"n": 1}}), item("c", "jsontable", {"json": rows}), item("d", "image", {"base64": "iQ=="}),
        item("e", "audio", {"base64": "AAE="}), item("f", "video", {"base64": "AAEC"}), item("g", "binary", {"base64": ""})],
        [payload(0, "a", "text", b"hello"), payload(1, "b", "dictionary", compact({"n": 1})), payload(2, "c", "jsontable", compact(rows)), payload(3, "d", "image", b"\x89"),
         payload(4, "e", "audio", b"\0\1"), payload(5, "f", "video", b"\0\1\2"), payload(6, "g", "binary", b"")])


def tables(sends, refuses):
    rows = [{"n": 2**63 - 1, "s": "x", "on": True, "f": 1.5}, {"n": None, "s": None, "on": None, "f": None}]
    arrow = table(column("n", "int64", [str(2**63 - 1), None]), column("s", "utf8", ["x", None]), column("on", "bool", ["true", None]), column("f", "float64", ["1.5", None]))
    sends("jsontable_from_arrow", "A table given as Arrow and sent as JSON.", [item("value", "jsontable", arrow)], [payload(0, "value", "jsontable", compact(rows))], ["Arrow", "Integer64"])
    odd = table(column("d", "decimal128(10,2)", ["12.50"]), column("date", "date32", ["20586"]), column("nan", "float64", ["NaN"]), column("inf", "float32", ["-inf"]))
    as_rows = [{"d": "12.50", "date": "2026-05-13", "nan": None, "inf": None}]
    sends("jsontable_from_arrow_kinds", "Decimals and dates become strings, NaN and infinities null.", [item("value", "jsontable", odd)],
          [payload(0, "value", "jsontable", compact(as_rows))], ["Arrow"])
    raw = table(column("b", "binary", ["00ff", None]))
    sends("jsontable_from_arrow_binary", "Binary becomes hexadecimal text.", [item("value", "jsontable", raw)],
          [payload(0, "value", "jsontable", compact([{"b": "00ff"}, {"b": None}]))], ["Arrow"])
    for name, comment, kind, stored, shown in (
        ("list", "Lists become arrays.", "list<int64>", ["[1,null]", None, "[]"], [[1, None], None, []]),
        ("struct", "Structs become objects.", "struct<x: int64, y: utf8>", ['{"x":1,"y":null}', None], [{"x": 1, "y": None}, None]),
        ("map", "Maps whose keys are text become objects.", "map<utf8, int64>", ['[["k",1],["l",null]]', None], [{"k": 1, "l": None}, None]),
        ("timestamp", "A moment becomes ISO 8601 text.", "timestamp[s, UTC]", ["1778660130", None], ["2026-05-13T08:15:30Z", None]),
        ("uint64", "Unsigned integers keep 64 bits.", "uint64", [str(2**64 - 1), None], [2**64 - 1, None]),
        ("dictionary", "A dictionary's words become the words they stand for.", "dictionary<int32, utf8>", ["r", None, "r"], ["r", None, "r"]),
    ):
        sends(f"jsontable_from_arrow_{name}", comment, [item("value", "jsontable", table(column("c", kind, stored)))],
              [payload(0, "value", "jsontable", compact([{"c": cell} for cell in shown]))], ["Arrow", *(["Integer64"] if name == "uint64" else [])])
    far = ["-719529", "-719528", "2932896", "2932897", str(2**31 - 1), str(-(2**31))]
    far_shown = ["-000001-12-31", "0000-01-01", "9999-12-31", "+010000-01-01", "+5881580-07-11", "-5877641-06-23"]
    for name, comment, kinds in (
        ("far_dates", "Years outside 0 to 9999 have a sign and at least six digits.",
         {"date32": (far, far_shown), "date64": ([str(int(day) * 86_400_000) for day in far], far_shown)}),
        ("far_moments", "So do those of moments, up to the ends of 64 bits.", {
            "timestamp[s]": (["253402300800", "-62167219201", str(2**63 - 1), str(-(2**63))],
                             ["+010000-01-01T00:00:00", "-000001-12-31T23:59:59", "+292277026596-12-04T15:30:07", "-292277022657-01-27T08:29:52"]),
            "timestamp[us, UTC]": (["253402300800000001", "-1", str(2**63 - 1), str(-(2**63))],
                                   ["+010000-01-01T00:00:00.000001Z", "1969-12-31T23:59:59.999999Z", "+294247-01-10T04:00:54.775807Z", "-290308-12-21T19:59:05.224192Z"]),
        }),
        ("fractions", "A moment has 0, 3, 6 or 9 digits behind the point, as few as hold it.", {
            "timestamp[ns]": (["1778660130000000000", "1778660130120000000", "1778660130123400000", "1778660130123456789"],
                              ["2026-05-13T08:15:30", "2026-05-13T08:15:30.120", "2026-05-13T08:15:30.123400", "2026-05-13T08:15:30.123456789"]),
            "time64[us]": (["0", "29730500000", "29730500001", "86399999999"], ["00:00:00", "08:15:30.500", "08:15:30.500001", "23:59:59.999999"]),
        }),
        ("midnight", "The end of a day is a time of it.", {"time32[s]": (["0", "86400"], ["00:00:00", "24:00:00"]), "time64[ns]": (["1", "86400000000000"], ["00:00:00.000000001", "24:00:00"])}),
        ("duration", "Durations are seconds, with the digits that they need.", {
            "duration[s]": (["0", "90"], ["PT0S", "PT90S"]), "duration[ms]": (["1500", "-1"], ["PT1.5S", "PT-0.001S"]),
            "duration[ns]": (["1", str(2**63 - 1)], ["PT0.000000001S", "PT9223372036.854775807S"]),
        }),
    ):
        columns = [column(kind, kind, stored) for kind, (stored, _) in kinds.items()]
        rows = [dict(zip(kinds, cells)) for cells in zip(*(shown for _, shown in kinds.values()))]
        sends(f"jsontable_from_arrow_{name}", comment, [item("value", "jsontable", table(*columns))], [payload(0, "value", "jsontable", compact(rows))], ["Arrow"])
    for name, comment, columns in (
        ("no_time", "A time beyond the end of its day has no text.", [column("t", "time32[s]", ["86401"])]),
        ("names_repeat", "Of two columns of one name an object would hold one.", [column("a", "int64", ["1"]), column("a", "int64", ["2"])]),
        ("keys_repeat", "Of two values of one key in a map an object would hold one.", [column("m", "map<utf8, int64>", ['[["k",1],["k",2]]'])]),
    ):
        refuses(f"jsontable_from_arrow_{name}", comment, [item("value", "jsontable", table(*columns))], "unconvertible", ["Arrow"], dataname="value")
    small = table(column("a", "int64", ["1"]))
    sends("limit_browser_converted", "A table for a browser, converted because that was asked for.", [item("value", "arrowtable", small)], [payload(0, "value", "jsontable", b'[{"a":1}]')],
          ["Arrow", "Limit"], limits={"receiver": "browser", "convert_tables": True})
    refuses("limit_browser_arrowtable", "A browser reads no Arrow; the error names jsontable.", [item("value", "arrowtable", small)], "unsupported", ["Arrow", "Limit"], limits={"receiver": "browser"}, dataname="value")
    refuses("limit_micropython_arrowtable", "MicroPython reads no Arrow.", [item("value", "arrowtable", small)], "unsupported", ["Arrow", "Limit"], limits={"receiver": "micropython"}, dataname="value")
    refuses("arrowtable_from_mixed_rows", "A column of different kinds has no Arrow type.", [item("value", "arrowtable", {"json": [{"a": 1}, {"a": "x"}]})], "unconvertible", ["Arrow"])


def limits(sends, refuses):
    def bulk(number, name, size, link=None, byte=65):
        value = {"repeat": {"byte": byte, "count": size}}
        return item(name, "binary", value), payload(number, name, "binary", bytes([byte]) * size, link, value)

    def case(name, comment, bulks, **other):
        sends(f"limit_{name}", comment, [part for part, _ in bulks], [sent for _, sent in bulks], ["Limit", *other.pop("flags", [])], **other)

    case("threshold_below", "A byte below the threshold goes direct.", [bulk(0, "value", 499_999)], flags=["Large"])
    case("threshold_at", "At the threshold it is a link.", [bulk(0, "value", 500_000, UPLOADS[0])], flags=["Large"])
    case("threshold_above", "Above the threshold it is a link.", [bulk(0, "value", 500_001, UPLOADS[0])], flags=["Large"])
    for size, url in ((9, None), (10, UPLOADS[0]), (11, UPLOADS[0])):
        case(f"threshold_10_size_{size}", "The threshold is what the caller sets.", [bulk(0, "value", size, url)], limits={"size_threshold": 10})
    case("threshold_0", "With a threshold of 0 everything is a link, also what is empty.", [bulk(0, "a", 0, UPLOADS[0]), bulk(1, "b", 1, UPLOADS[1])], limits={"size_threshold": 0}, flags=["Empty"])
    case("two_just_below", "Two payloads just below the threshold don't fit one message: the first becomes a link.",
         [bulk(0, "a", 499_999, UPLOADS[0]), bulk(1, "b", 499_999)], flags=["Budget", "Large"])
    case("largest_first", "The largest becomes a link, wherever it stands.",
         [bulk(0, "a", 300_000), bulk(1, "b", 400_000, UPLOADS[0]), bulk(2, "c", 200_000)], flags=["Budget", "Large"])
    case("two_of_three", "One link is not enough: the next largest becomes one too.",
         [bulk(0, "a", 490_000, UPLOADS[0]), bulk(1, "b", 480_000, UPLOADS[1]), bulk(2, "c", 470_000), bulk(3, "d", 1)], flags=["Budget", "Large"])
    exact = bulk(0, "value", 6000)
    size = len(compact(envelope({**exact[1], "data": b64(b"A" * 6000)})))
    case("envelope_exact", "The whole envelope has exactly the broker's limit.", [exact], limits={"max_message_size": size}, flags=["Budget", "Large"])
    case("envelope_one_over", "The broker takes one byte less: the payload becomes a link.", [bulk(0, "value", 6000, UPLOADS[0])], limits={"max_message_size": size - 1}, flags=["Budget", "Large"])
    small = {"max_message_size": 4096}
    refuses("limit_too_small_payloads", "Payloads too small for links to help don't fit.", [item(f"p{n}", "text", {"text": "x" * 60}) for n in range(30)], "too_large", ["Budget", "Limit"], limits=small)
    refuses("limit_no_room_at_all", "Not even the empty envelope fits.", [], "too_large", ["Budget", "Empty", "Limit"], limits={"max_message_size": 100})
    refuses("limit_metadata", "What does not fit is not a payload.", [item("value", "text", {"text": "x"})], "too_large", ["Budget", "Limit"], options={"metadata": {"note": "x" * 5000}}, limits=small)
    refuses("limit_links_off", "Without links what is too large for the broker can't be sent.", [bulk(0, "value", 1_000_000)[0]], "too_large", ["Budget", "Large", "Limit"], limits={"links": False})
    case("links_off_fits", "Without links what fits the broker goes direct, whatever the threshold.", [bulk(0, "value", 600_000)], limits={"links": False}, flags=["Large"])
    device = {"receiver": "micropython"}
    case("micropython_50000", "As much as MicroPython takes in one payload.", [bulk(0, "value", 50_000)], limits=device, flags=["Large"])
    refuses("limit_micropython_50001", "A byte more than MicroPython takes in one payload.", [bulk(0, "value", 50_001)[0]], "too_large", ["Large", "Limit"], limits=device, dataname="value")
    case("micropython_threshold", "For MicroPython nothing becomes a link, also above a smaller threshold.", [bulk(0, "value", 200)], limits={**device, "size_threshold": 100})


def metadata(sends, hello, sent):
    own = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "n": 2**53 + 1, "ü": [None, {"x": 0.5}]}
    sends("metadata_message", "Metadata of the message is written as given.", [hello], [sent], ["Integer64"], options={"metadata": own}, metadata=own)
    with_digest = payload(0, "value", "text", b"hello", sha256=sha256(b"hello"))
    sends("metadata_digest_direct", "A direct payload gets a digest on request.", [hello], [with_digest], ["Digest"], options={"digest_direct": True})
    link = payload(0, "value", "text", b"hello", UPLOADS[0])
    sends("metadata_digest_link", "A link always gets a digest.", [hello], [link], ["Digest"], limits={"size_threshold": 5})
    sends("text_link", "Text by link.", [item("value", "text", {"text": "Grüße"})], [payload(0, "value", "text", "Grüße".encode(), UPLOADS[0])], limits={"size_threshold": 1})
    value = {"a": [1, 2**63 - 1]}
    sends("dictionary_link", "A dictionary by link.", [item("value", "dictionary", {"json": value})], [payload(0, "value", "dictionary", compact(value), UPLOADS[0])],
          ["Integer64"], limits={"size_threshold": 1})
