"""Tests of natsbridge_mpy.py that need its own language: refusals of the sender, what may leave the library."""

import sys

import natsbridge_mpy as nb

wrong = []


def same(found, wanted, what):
    if found != wanted:
        wrong.append("%r: %r, not %r" % (what, found, wanted))


def code_of(work, *given, **options):
    """The code of the error, which has to be the library's own."""
    try:
        work(*given, **options)
    except nb.NATSBridgeError as error:
        return error.code
    except Exception as error:
        return "crashed: %r" % error
    return "taken"


def send(value, kind="dictionary", name="x", subject="lab.x", **options):
    return nb.smartsend(subject, [(name, value, kind)], **options)


for subject in ("lab.*", "lab..x", "", "a b", 7, None, "lab\0", ".a", "a.>", "a" * 2001, b"lab", "lab.\ud800"):
    same(code_of(send, 1, subject=subject), "wrong_value", subject)
for name in (7, None, b"x", "\ud800", ("x",)):
    same(code_of(send, 1, name=name), "wrong_value", name)
for kind in (7, None, "Text", []):
    same(code_of(send, "x", kind), "unknown_payload_type", kind)
for data in (None, 7, [7], [("x",)], [("x", "y")], "xyz"):
    same(code_of(nb.smartsend, "lab.x", data), "wrong_value", data)
for value in ({1: "a", "1": "b"}, {1: 2}, [{"d": {None: 1}}], float("nan"), {1, 2}, b"x", "\ud800", {"\ud800": 1}, object()):
    same(code_of(send, value), "wrong_value", value)
for options in (
    {"reply_to": "a.*"}, {"reply_to": 5}, {"receiver_id": 5}, {"receiver_id": None}, {"metadata": [1]}, {"metadata": {1: 2}},
    {"msg_purpose": 1}, {"sender_name": "\ud800"}, {"broker_url": 7}, {"new_id": lambda: 1 / 0}, {"correlation_id": {1: 2}},
):  # fmt: skip
    same(code_of(send, 1, **options), "wrong_value", options)
same(code_of(send, "\ud800", "text"), "wrong_value", "text")
same(code_of(send, 1, reply_to="lab.answers", receiver_id="r"), "taken", "options")
for message in (None, 7, [], {}):
    same(code_of(nb.smartreceive, message), "wrong_value", message)
for message in ("", "[]", "1", '{"payloads":[7]}', "[" * 1000, '{"payloads":[{"dataname":"x","payload_type":"text","transport":"link","data":"http://a..b/"}]}'):
    same(code_of(nb.smartreceive, message) in ("taken",) or code_of(nb.smartreceive, message).startswith("crashed"), False, message)

for line in wrong:
    print(line, file=sys.stderr)
sys.exit(1 if wrong else 0)
