"""Messages with one fault each, and the code that every receiver answers."""
from common import URL, b64, direct, dumps, envelope, link, sha256

HELLO = direct("value", "text", b"hello")


def hello(**other):
    return envelope(direct("value", "text", b"hello", **other))


def pieces(before, byte, count, after):
    return [{"text": before}, {"repeat": {"byte": byte, "count": count}}, {"text": after}]


def write(p):
    not_json(p)
    fields(p)
    words(p)
    undecodable(p)
    links(p)
    hostile(p)


def not_json(p):
    text = dumps(hello())
    head = text[:-1]
    for name, comment, message in (
        ("empty", "No bytes at all.", b""),
        ("white_space", "White space only.", b" \n"),
        ("truncated", "The end is missing.", text[:-2].encode()),
        ("trailing_text", "Text after the object.", (text + "x").encode()),
        ("two_objects", "Two objects.", (text + text).encode()),
        ("single_quotes", "Single quotes.", text.replace('"', "'").encode()),
        ("trailing_comma", "A comma before the closing brace.", (head + ",}").encode()),
        ("comment", "JSON has no comments.", (head + "/* later */}").encode()),
        ("nan", "NaN is no JSON.", (head + ',"later":NaN}').encode()),
        ("infinity", "Infinity is no JSON.", (head + ',"later":-Infinity}').encode()),
        ("leading_zero", "A number does not begin with 0.", (head + ',"later":007}').encode()),
        ("control_character", "A line end within a string has to be escaped.", text.replace("NATSBridge", "NATS\nBridge").encode()),
        ("bad_escape", "An escape that JSON does not have.", text.replace("NATSBridge", "NATS\\xBridge").encode()),
        ("lone_surrogate", "Half of a character beyond the basic plane.", text.replace("NATSBridge", "\\ud83d").encode()),
        ("lone_surrogate_name", "Half of a character in a payload's name.", text.replace('"value"', '"\\ude00"').encode()),
        ("invalid_utf8", "Bytes that are no UTF-8 in a string.", text.encode().replace(b"NATSBridge", b"NATS\xff")),
        ("byte_order_mark", "A byte-order mark before the object.", b"\xef\xbb\xbf" + text.encode()),
        ("utf16", "JSON in UTF-16.", text.encode("utf-16-le")),
        ("binary", "Bytes that are nothing.", bytes(range(128, 256))),
        ("bare_word", "A word.", b"hello"),
        ("trailing_nul", "A zero byte after the object.", text.encode() + b"\0"),
        ("number_plus", "A number does not begin with a plus.", (head + ',"later":+5}').encode()),
        ("number_hexadecimal", "A number is decimal.", (head + ',"later":0x10}').encode()),
        ("number_dot_last", "A number does not end with its point.", (head + ',"later":5.}').encode()),
        ("number_sign_only", "A minus alone is no number.", (head + ',"later":-}').encode()),
        ("escape_short", "A Unicode escape that lacks a digit.", text.replace("NATSBridge", "\\u004").encode()),
        ("escape_signed", "A Unicode escape with a sign.", text.replace("NATSBridge", "\\u+041").encode()),
        ("surrogates_swapped", "Both halves of a character, the second first.", text.replace("NATSBridge", "\\ude00\\ud83d").encode()),
        ("surrogate_utf8", "A surrogate written as UTF-8.", text.encode().replace(b"NATSBridge", b"\xed\xa0\xbd\xed\xb8\x80")),
        ("overlong_utf8", "A quote in two bytes of UTF-8.", text.encode().replace(b"NATSBridge", b"\xc0\xa2")),
        ("lone_surrogate_data", "Half of a character in `data`.", text.replace('"data":"', '"data":"\\ud83d').encode()),
    ):
        p.invalid(f"not_json_{name}", comment, message, "not_json", ["Hostile"] if name in ("binary", "invalid_utf8", "surrogate_utf8", "overlong_utf8", "trailing_nul") else [])
    sha = sha256(b"hello")
    digest = dumps(hello(metadata={"sha256": sha}))
    for name, comment, message in (
        ("field", "A field of the envelope stands twice.", head + ',"send_to":"other"}'),
        ("payloads", "`payloads` stands twice.", head + ',"payloads":[]}'),
        ("data", "A payload's `data` stands twice.", text.replace('"size":5', '"size":5,"data":"eA=="')),
        ("metadata", "A key of the message's metadata stands twice.", text.replace('"metadata":{},"payloads"', '"metadata":{"seq":1,"seq":2},"payloads"')),
        ("digest", "A payload has two digests: which one would be checked?", digest.replace('"sha256"', f'"sha256":"{"0" * 64}","sha256"')),
        ("transport", "A payload is direct and a link: which one is checked?", text.replace('"size":5', '"size":5,"transport":"link"')),
        ("escaped", "A key that stands twice, once escaped.", text.replace('"size":5', '"size":5,"d\\u0061ta":"eA=="')),
    ):
        p.invalid(f"duplicate_{name}", comment, message.encode(), "not_json", ["Duplicate", "Hostile"])


def fields(p):
    p.invalid("missing_payloads", "A message without `payloads`.", envelope(payloads=...), "missing_field")
    p.invalid("missing_payloads_null", "`payloads` is null.", envelope(payloads=None), "missing_field")
    p.invalid("missing_everything", "An object without fields.", {}, "missing_field", ["Empty"])
    for field in ("payload_type", "transport", "data"):
        p.invalid(f"missing_{field}", f"A payload without `{field}`.", hello(**{field: ...}), "missing_field", dataname="value")
        p.invalid(f"missing_{field}_null", f"A payload whose `{field}` is null.", hello(**{field: None}), "missing_field", dataname="value")
    p.invalid("missing_url", "A link without `data`.", envelope(link("value", "text", b"hello", data=...)), "missing_field",
              links={URL: {"base64": b64(b"hello")}}, dataname="value")
    for field, value in (("msg_id", 7), ("timestamp", 1778660130), ("send_to", ["a"]), ("sender_name", True), ("metadata", []), ("metadata", "x"),
                         ("payloads", {}), ("payloads", "x"), ("payloads", 1)):
        kind = {list: "list", dict: "object", str: "string", int: "number", bool: "true"}[type(value)]
        p.invalid(f"wrong_type_{field}_{kind}", f"`{field}` of the envelope is of another JSON type.", envelope(HELLO, **{field: value}), "wrong_type")
    for name, item in (("number", 1), ("string", "x"), ("null", None), ("list", [])):
        p.invalid(f"wrong_type_payload_{name}", "An item of `payloads` is no object.", envelope(item), "wrong_type")
    for field, value in (("id", 1), ("payload_type", 1), ("transport", True), ("encoding", 1), ("data", 7), ("data", ["aGVsbG8="]), ("metadata", []),
                         ("size", "5"), ("size", -5), ("size", 1.5), ("size", [])):
        kind = {list: "list", str: "string", int: "number", float: "fraction", bool: "true"}[type(value)]
        kind = "negative" if value == -5 else kind
        p.invalid(f"wrong_type_payload_{field}_{kind}", f"`{field}` of a payload is of another JSON type.", hello(**{field: value}), "wrong_type", dataname="value")
    p.invalid("wrong_type_payload_dataname", "A payload's name is no string.", hello(dataname=3), "wrong_type")
    p.invalid("wrong_type_url", "A link whose `data` is an object.", envelope(link("value", "text", b"hello", data={"url": URL})),
              "wrong_type", links={URL: {"base64": b64(b"hello")}}, dataname="value")


def words(p):
    for name, word in (("other", "parquet"), ("case", "Text"), ("empty", ""), ("space", "text "), ("alias", "string")):
        p.invalid(f"unknown_payload_type_{name}", "A payload type that is none of the eight.", hello(payload_type=word), "unknown_payload_type",
                  ["UnknownField"], dataname="value")
    for name, word in (("other", "pigeon"), ("case", "Direct"), ("empty", "")):
        p.invalid(f"unknown_transport_{name}", "A transport that is neither of the two.", hello(transport=word), "unknown_transport",
                  ["UnknownField"], dataname="value")
    for name, word in (("other", "gzip"), ("case", "BASE64")):
        p.invalid(f"unknown_encoding_{name}", "An encoding that a direct payload can't have.", hello(encoding=word), "unknown_encoding",
                  ["UnknownField"], dataname="value")
    for name, comment, data in (
        ("character", "A character of no alphabet.", "aGVs*G8="), ("length", "One character too many: five can't be.", "aGVsb"),
        ("single", "One character.", "a"), ("padding_inside", "Padding before the end.", "aG=sbG8="), ("non_ascii", "A letter beyond ASCII.", "aGVsbGé="),
        ("only_padding", "Padding and nothing else.", "===="), ("url", "A URL in a direct payload.", "http://files.test/x"),
    ):
        p.invalid(f"base64_{name}", comment, hello(data=data), "base64", dataname="value")
    p.invalid("base64_encoding_json", "Encoding `json` with a string that is JSON, not base64.",
              envelope(direct("value", "dictionary", b'{"a":1}', encoding="json", data='{"a":1}')), "base64", dataname="value")
    p.invalid("base64_trailing_bits", "The last character has bits that belong to no byte.", hello(data="aGVsbG9="), "base64", dataname="value")
    p.invalid("base64_trailing_bits_unpadded", "The same without padding.", hello(data="aGVsbG9"), "base64", dataname="value")


def refused(p, name, comment, kind, data, code="undecodable", flags=()):
    p.invalid(name, comment, envelope(direct("value", kind, data)), code, flags, dataname="value")


def undecodable(p):
    for name, comment, data in (
        ("continuation", "A continuation byte on its own.", b"a\x80"), ("overlong", "NUL in two bytes.", b"\xc0\x80"), ("cut", "A character cut in the middle.", "€".encode()[:2]),
        ("surrogate", "A surrogate in UTF-8.", b"\xed\xa0\x80"), ("beyond", "A character beyond the last one.", b"\xf5\x80\x80\x80"), ("utf16", "Text in UTF-16.", "\ufeffé".encode("utf-16-le")),
        ("latin1", "Text in Latin-1.", "Grüße".encode("latin-1")),
    ):
        refused(p, f"text_{name}", comment, "text", data)
    for name, comment, data in (
        ("empty", "No bytes are no JSON.", b""), ("word", "A word.", b"hello"), ("truncated", "The end is missing.", b'{"a":1'), ("trailing", "Text after the value.", b'{"a":1}x'),
        ("nan", "NaN is no JSON.", b'{"a":NaN}'), ("infinity", "Infinity is no JSON.", b"[Infinity]"), ("trailing_comma", "A comma before the end.", b"[1,]"), ("single_quotes", "Single quotes.", b"{'a':1}"),
        ("invalid_utf8", "Bytes that are no UTF-8 in a string.", b'["\xff"]'), ("lone_surrogate", "Half of a character beyond the basic plane.", b'["\\ud800"]'), ("depth_128", "Nested one level deeper than anybody has to follow.", b"[" * 128 + b"]" * 128),
    ):
        refused(p, f"dictionary_{name}", comment, "dictionary", data, flags=["Limit"] if name == "depth_128" else [])
    for name, comment, data in (
        ("empty", "No bytes are no table.", b""), ("object", "An object is no list of rows.", b'{"a":[1]}'), ("number", "A number is no table.", b"1"), ("null", "null is no table.", b"null"),
        ("row_number", "A row is no object.", b'[{"a":1},2]'), ("row_list", "Rows as lists.", b"[[1,2],[3,4]]"), ("row_null", "A row is null.", b"[null]"), ("truncated", "The end is missing.", b'[{"a":1}'),
    ):
        refused(p, f"jsontable_{name}", comment, "jsontable", data)
    for name, comment, data in (
        ("empty", "No bytes are no Arrow.", b""), ("text", "Text is no Arrow.", b"hello, world"), ("json", "Rows as JSON are no Arrow.", b'[{"a":1}]'), ("zeros", "NUL bytes: an end before a beginning.", bytes(64)),
        ("magic_only", "The beginning of a file and nothing more.", b"ARROW1\0\0"), ("mark_only", "A continuation mark and nothing more.", b"\xff\xff\xff\xff"),
        ("huge_message", "A message of 2 GB that is not there.", b"\xff\xff\xff\xff\xff\xff\xff\x7f"), ("negative_message", "A message of negative length.", b"\xff\xff\xff\xff\x00\x00\x00\x80"),
    ):
        refused(p, f"arrowtable_{name}", comment, "arrowtable", data, flags=["Arrow", *(["Hostile"] if "message" in name else [])])


def links(p):
    held = {URL: {"base64": b64(b"hello")}}

    def at(name, comment, code, flags=(), given=None, links=held, **other):
        p.invalid(name, comment, envelope(link("value", "text", b"hello", **other)), code, flags, links=links, given=given, dataname="value")

    other = sha256(b"other")
    at("digest_link", "A link that holds other bytes than were sent.", "digest", ["Digest"], metadata={"sha256": other})
    at("digest_link_strict", "The same in strict mode.", "digest", ["Digest", "Strict"], given={"strict": True}, metadata={"sha256": other})
    at("digest_missing_link", "In strict mode a link has a digest.", "digest_missing", ["Digest", "Strict"], given={"strict": True}, metadata={})
    for name, comment, value in (
        ("direct", "A direct payload whose digest is another's.", other), ("short", "A digest that lacks a digit.", sha256(b"hello")[:-1]), ("not_hex", "A digest with a letter that is no digit.", "g" * 64),
        ("empty", "An empty digest switches no check off.", ""), ("number", "A digest that is a number.", 7), ("list", "A digest in a list.", [sha256(b"hello")]), ("prefix", "A digest with the name of its function.", "sha256:" + sha256(b"hello")),
        ("long", "A digest with a digit too many.", sha256(b"hello") + "0"), ("space", "A digest with a space behind it.", sha256(b"hello") + " "),
        ("full_width", "A digest whose first digit is a full-width one.", "\uff12" + sha256(b"hello")[1:]), ("object", "A digest in an object.", {"sha256": sha256(b"hello")}),
    ):
        p.invalid(f"digest_{name}", comment, hello(metadata={"sha256": value}), "digest", ["Digest", *(["Hostile"] if name != "direct" else [])], dataname="value")
    at("size_link_longer", "The link holds a byte more than the size says.", "size_mismatch", ["Hostile"], size=4, metadata={})
    at("size_link_shorter", "The link holds a byte less than the size says.", "size_mismatch", size=6, metadata={})
    at("size_link_much_longer", "The link holds five million bytes where five were promised.", "size_mismatch", ["Hostile", "Large"],
       links={URL: {"repeat": {"byte": 65, "count": 5_000_000}}}, metadata={})
    at("size_link_nothing", "The link holds nothing.", "size_mismatch", ["Empty"], links={URL: {"base64": ""}}, metadata={})
    for size in (4, 6):
        p.invalid(f"size_direct_strict_{size}", "In strict mode the size of a direct payload is right.", hello(size=size), "size_mismatch", ["Strict"], given={"strict": True}, dataname="value")
    at("not_found_link", "A link to nothing.", "not_found", links={})
    p.invalid("limit_direct", "A byte more than the receiver takes.", hello(), "too_large", ["Limit"], given={"max_payload_size": 4}, dataname="value")
    at("limit_link", "A link to a byte more than the receiver takes.", "too_large", ["Limit"], given={"max_payload_size": 4})
    at("limit_link_lying", "A link whose size says nothing and that holds more than the receiver takes.", "too_large", ["Hostile", "Limit"], given={"max_payload_size": 4}, size=0, metadata={})
    at("limit_link_exabytes", "A link to 16 exabytes.", "too_large", ["Hostile", "Limit"], given={"max_payload_size": 1_000_000}, size=2**64 - 1)


def hostile(p):
    text = dumps(hello())
    head = text[:-1]
    deep = 100_000
    p.invalid("hostile_deep_field", "An unknown field nested 100,000 levels deep.", pieces(head + ',"later":', 91, deep, "]" * 10 + "}"), "not_json", ["Hostile"])
    p.invalid("hostile_deep_closed", "An unknown field nested 100,000 levels deep, and closed.",
              [{"text": head + ',"later":'}, {"repeat": {"byte": 91, "count": deep}}, {"repeat": {"byte": 93, "count": deep}}, {"text": "}"}], None, ["Hostile"])
    p.invalid("hostile_deep_message", "Nothing but 100,000 opening brackets.", pieces("", 91, deep, ""), "not_json", ["Hostile"])
    p.invalid("hostile_deep_metadata", "Metadata nested 1,000 levels deep.", [
        {"text": text.split('"metadata":{}')[0] + '"metadata":{"a":'}, {"repeat": {"byte": 91, "count": 1000}}, {"repeat": {"byte": 93, "count": 1000}},
        {"text": "}" + text.split('"metadata":{}', 1)[1]}], None, ["Hostile"])
    before, after = dumps(envelope(direct("value", "dictionary", b"", encoding="none", data="@", size=deep))).split("@")
    p.invalid("dictionary_depth_100000", "A dictionary of nothing but opening brackets.", pieces(before, 91, deep, after), "undecodable",
              ["Hostile"], dataname="value")
    p.invalid("hostile_huge_number", "A number that no program holds.", (head + ',"later":1' + "0" * 5000 + "}").encode(), None, ["Hostile"])
    p.invalid("hostile_huge_exponent", "A number beyond every double.", (head + ',"later":1e999999}').encode(), None, ["Hostile"])
    p.invalid("hostile_size_huge", "A size beyond 64 bits.", text.replace('"size":5', '"size":' + "9" * 30).encode(), None, ["Hostile"])
    for name, comment, message in (("list", "a list", "[" + text + "]"), ("number", "a number", "7"), ("string", "a string", '"hello"'), ("boolean", "true", "true"), ("null", "null", "null")):
        p.invalid(f"wrong_type_message_{name}", f"The message is {comment}: JSON, but no object.", message.encode(), "wrong_type")
    p.invalid("hostile_same_key_in_dictionary", "A key stands twice within a dictionary.", envelope(direct("value", "dictionary", b'{"a":1,"a":2}')), None, ["Duplicate", "Hostile"])
    p.invalid("hostile_integer_beyond_64_bits", "An integer beyond 64 bits within a dictionary.", envelope(direct("value", "dictionary", b"[18446744073709551616]")), None, ["Hostile", "Integer64"])
    p.invalid("hostile_float_overflow", "A float beyond every double within a dictionary.", envelope(direct("value", "dictionary", b"[1e400]")), None, ["Hostile"])
    p.invalid("hostile_null_json", "Encoding `json` with null: a dictionary, or a payload without data?", hello(payload_type="dictionary", encoding="json", data=None), None, ["Hostile"])
    p.invalid("hostile_metadata_null_digest", "A digest that is null: none, or none that can be checked?", hello(metadata={"sha256": None}), None, ["Digest", "Hostile"])
    p.invalid("hostile_same_key_nested", "A key stands twice within an object of the metadata.",
              text.replace('"metadata":{},"payloads"', '"metadata":{"a":{"b":1,"b":2}},"payloads"').encode(), None, ["Duplicate", "Hostile"])
    p.invalid("hostile_size_exponent", "A size in scientific notation.", text.replace('"size":5', '"size":5e0').encode(), None, ["Hostile"])
    p.invalid("hostile_size_beyond_double", "A size beyond every double.", text.replace('"size":5', '"size":1e400').encode(), None, ["Hostile"])
    p.invalid("hostile_link_metadata_types", "What the metadata say of a link is of another JSON type.",
              envelope(link("value", "text", b"hello", metadata={"expires_at": 7, "one_shot": "yes"})), None, ["Hostile", "Link"],
              links={URL: {"base64": b64(b"hello")}})
    p.invalid("hostile_white_space", "A million spaces between two tokens.", pieces(head + ",", 32, 1_000_000, '"later":1}'), None, ["Hostile", "Large"])
    p.invalid("hostile_empty_payloads", "A million characters of nothing where payloads stand: `[[[[…`.", pieces('{"payloads":', 91, 1_000_000, ""), "not_json", ["Hostile", "Large"])
