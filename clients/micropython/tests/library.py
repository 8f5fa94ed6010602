"""Tests of natsbridge_mpy.py that need its own language: refusals of the sender, what may leave the library."""

import sys

import natsbridge_mpy as nb

wrong = []


checks = 0


def same(found, wanted, what):
    global checks
    checks += 1
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

# --- what beginners get wrong: the error names the payload, and what to do

for data, words in (
    ([("note", "hi", "string")], ("`note`", "`string`", "text, dictionary")),
    ([("note", "hi")], ("`#0`", "(dataname, value, payload_type)")),
    (("note", "hi", "text"), ("`#0`", "in a list")),
    ({"note": "hi"}, ("not a list of (dataname",)),
    (None, ("not a list of (dataname",)),
    ([("t", {"a": [1], "b": [1, 2]}, "jsontable")], ("`t`", "a list of dicts")),
    ([("pic", "x.png", "image")], ("`pic`", "bytes")),
    ([("n", 7, "text")], ("`n`", "give str")),
):
    try:
        nb.smartsend("lab.x", data)
        wrong.append("%r: taken" % (data,))
    except nb.NATSBridgeError as error:
        for word in words:
            same((word in str(error), error), (True, error), word)


# --- ports that lack something: the error names the keyword that mends it


class Bare:
    """A module of a port that has nothing of what is asked for."""


os, time = nb.os, nb.time
nb.os = Bare()
try:
    send(1)
    wrong.append("no os.urandom: taken")
except nb.NATSBridgeError as error:
    same((error.code, "new_id=" in str(error)), ("unsupported", True), error)
same(code_of(send, 1, new_id=lambda: "an-id"), "taken", "new_id")
nb.os, nb.time = os, Bare()
try:
    send(1)
    wrong.append("no time.gmtime: taken")
except nb.NATSBridgeError as error:
    same((error.code, "now=" in str(error)), ("unsupported", True), error)
same(send(1, now=lambda: "2026-05-13T08:15:30.123Z")[0]["timestamp"], "2026-05-13T08:15:30.123Z", "now")
same(code_of(send, 1, now=lambda: 7), "wrong_value", "now")
nb.time = time

# --- errors name their message, answers what they answer

for work in (
    lambda: send({1}, msg_id="m", correlation_id="c"),
    lambda: nb.smartreceive('{"msg_id":"m","correlation_id":"c","payloads":[{"dataname":"x"}]}'),
    lambda: nb.smartreceive('{"msg_id":"m","correlation_id":"c","payloads":[{"dataname":"x","payload_type":"text","transport":"direct","data":"_w=="}]}'),
):
    try:
        work()
        wrong.append("taken")
    except nb.NATSBridgeError as error:
        same((error.dataname, error.msg_id, error.correlation_id), ("x", "m", "c"), error)

asked = nb.smartreceive(send(1, reply_to="lab.answers", sender_name="s")[1])
for made, purpose, told in (
    (nb.ack(asked), "ACK", {}),
    (nb.nack(asked, "disk full", retryable=True), "NACK", {"code": "handler", "reason": "disk full", "retryable": True}),
    (nb.reply(asked, [("n", 7, "dictionary")]), "chat", {}),
):
    answer = nb.smartreceive(made[1])
    same((made[0], answer["send_to"], answer["msg_purpose"]), ("lab.answers", "lab.answers", purpose), "answer")
    same((answer["reply_to_msg_id"], answer["correlation_id"]), (asked["msg_id"], asked["correlation_id"]), "answer")
    same((answer["receiver_id"], answer["receiver_name"]), (asked["sender_id"], "s"), "answer")
    same(dict(answer["metadata"]), told, "answer")
    same(code_of(nb.ack, answer), "wrong_value", "an answer that asks for none")
silent = nb.smartreceive(send(1)[1])
same(nb.ack(silent, reply_subject="_INBOX.x")[0], "_INBOX.x", "NATS' own reply subject")
for odd in (silent, None, {}, 7):
    same(code_of(nb.ack, odd), "wrong_value", odd)
for subject in ("$SYS.x", "a b", "a.>", 7):
    odd = nb.smartreceive(send(1)[1])
    odd["reply_to"] = subject
    same(code_of(nb.ack, odd), "wrong_value", subject)

# --- the log, and secrets

seen = []
nb.log = lambda event, fields: seen.append((event, sorted(fields), fields["payload_type"], fields["transport"]))
nb.smartreceive(nb.smartsend("lab.x", [("a", "b", "text"), ("c", 1, "dictionary")])[1])
seven = sorted(("correlation_id", "msg_id", "timestamp", "sender_name", "receiver_name", "payload_type", "transport"))
same(seen, [(event, seven, kind, "direct") for event in ("sent", "received") for kind in ("text", "dictionary")], "log")
nb.log = lambda event, fields: 1 / 0
same(code_of(send, 1), "taken", "a log that fails")
nb.log = None
for url in ("nats://u:p@h:1", "nats://token@h:1/?x=secret", "u:p@h:1,nats://v:q@i:2"):
    same("p@" in send(1, broker_url=url)[0]["broker_url"] or "secret" in send(1, broker_url=url)[0]["broker_url"], False, url)

for line in wrong:
    print(line, file=sys.stderr)
print("%d checks" % checks)
sys.exit(1 if wrong else 0)
