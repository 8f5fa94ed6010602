"""Both sides of what check.py tries with real servers: `live.py login|group|asks|through …`, with NATS_URL."""

import os
import sys

import natsbridge_mpy as nb
from nats_mpy import Nats, Refused

URL = os.getenv("NATS_URL")


def tell(word, error):
    print(word, "" if error is None else error)


def login(how, *given):
    options = {}
    url = URL
    if how == "url":
        url = URL.replace("nats://", "nats://%s@" % given[0])
    elif how == "user":
        options["user"], options["password"] = given
    elif how == "token":
        options["token"] = given[0]
    try:
        nats = Nats(url, **options)
        nats.flush()
        print("in", nats.url)
    except Refused as error:
        print("Refused", error)
    except OSError as error:
        print("away:", error)


def group(name):
    """Answers squares and acknowledges orders, as one of a group."""
    nats = Nats(on_event=tell)
    for subject in ("live.square", "live.order", "live.refused"):
        nats.subscribe(subject, "workers")
    nats.flush()
    print("ready")

    def handle(got):
        subject = got["send_to"]
        if subject == "live.refused":
            raise ValueError("no")
        value = got["payloads"][0][1]
        if subject == "live.square":
            print("handled square", value["n"])
            nats.publish(*nb.reply(got, [("n", {"n": value["n"] * value["n"]}, "dictionary")]))
        else:
            print("handled order", value if isinstance(value, dict) else len(value))

    while True:
        message = nats.next()
        try:
            if message.subject == "live.square":
                handle(nb.smartreceive(message.data))
            else:
                nats.handle(message, handle)
        except ValueError as error:
            print("refused", error)


def asks():
    nats = Nats(on_event=tell)
    try:
        nats.request("live.nobody", [("n", 1, "dictionary")], timeout=5)
    except nb.NATSBridgeError as error:
        print("no listener:", error.code)
    answer = nats.request("live.square", [("n", {"n": 7}, "dictionary")], timeout=10)
    print("answer", answer["payloads"][0][1]["n"])
    found = [nats.request("live.square", [("n", {"n": n}, "dictionary")])["payloads"][0][1]["n"] for n in range(10)]
    print("ten answered" if found == [n * n for n in range(10)] else found)
    print("acknowledged by", len(nats.deliver("live.order", [("n", {"n": 1}, "dictionary")], timeout=10)))
    try:
        nats.deliver("live.refused", [("n", {"n": 1}, "dictionary")], timeout=10)
    except nb.NATSBridgeError as error:
        print("refused:", error.code, "no" if "no" in str(error) else error)
    try:
        nats.deliver("live.nobody", [("n", 1, "dictionary")], timeout=1)
    except nb.NATSBridgeError as error:
        print("not acknowledged:", error.code, error.msg_id is not None)
    nats.deliver("live.order", [("frame", bytes(30000), "binary")], timeout=10)
    print("large arrives")


def through():
    """An order before the server is killed, one while it is away, and the same one again."""
    nats = Nats(on_event=tell)
    nats.deliver("live.order", [("n", {"n": 2}, "dictionary")], timeout=10)
    print("first acknowledged")
    sys.stdin.readline()
    same = {"msg_id": nb.uuid4(), "sender_id": nb.uuid4()}
    nats.deliver("live.order", [("n", {"n": 3}, "dictionary")], timeout=60, **same)
    print("second acknowledged")
    counted = []
    mine = Nats()
    mine.subscribe("live.mine")
    mine.flush()
    text = nb.smartsend("live.mine", [("n", 1, "dictionary")], reply_to=nats.inbox())[1]
    nats.flush()
    for _ in range(3):
        mine.publish("live.mine", text)
        mine.handle(mine.next(5), counted.append)
    acks = [nb.smartreceive(nats.next(5).data)["msg_purpose"] for _ in range(3)]
    print("repeat handled once" if (len(counted), acks) == (1, ["ACK"] * 3) else (len(counted), acks))


dict(login=login, group=group, asks=asks, through=through)[sys.argv[1]](*sys.argv[2:])
