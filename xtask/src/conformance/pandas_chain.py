"""Sends a data frame, and compares what comes back with it: the first and the last of the chain in chains.rs"""
import argparse
import asyncio
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "testdata/peers/python"))

import nats
import pandas as pd
from natsbridge import smartreceive, smartsend


def say(line):
    print(json.dumps(line), flush=True)


def frame(rows):
    n = range(rows)
    return pd.DataFrame({
        "n": pd.array([i * 92233720368547 for i in n], "int64"),
        "f": [i / 7 for i in n],
        "s": [f"sensor {i % 97} ü" for i in n],
        "on": [i % 3 == 0 for i in n],
        "when": pd.date_range("2026-05-13T08:15:30.123456Z", periods=rows, freq="1001us", unit="us"),
        "maybe": pd.array([None if i % 5 == 0 else i for i in n], "Int64"),
    })


async def main():
    parser = argparse.ArgumentParser()
    for name in ("nats", "files", "rows"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    sent = frame(int(options.rows))
    broker = await nats.connect(options.nats)
    back = await broker.subscribe("conform.pandas")
    await broker.flush()
    say({"ready": True})
    order = json.loads(await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline))
    envelope, text = await smartsend(order["to"], [("frame", sent, "arrowtable")], broker_url=options.nats,
                                     fileserver_url=options.files, max_message_size=broker.max_payload)
    await broker.publish(order["to"], text.encode())
    await broker.flush()
    say({"msg_id": envelope["msg_id"]})
    message = await back.next_msg(timeout=120)
    received = await smartreceive(message.data, allowed_origins=[options.files])
    # The table's columns say their types; that "Int64" is nullable is pandas' own word for them.
    name, table, kind = received["payloads"][0]
    found = table.to_pandas(types_mapper={}.get).astype({"maybe": "Int64"})
    try:
        assert (name, kind) == ("frame", "arrowtable"), (name, kind)
        pd.testing.assert_frame_equal(found, sent)
        say({"equal": True})
    except AssertionError as error:
        say({"equal": str(error)})
    await broker.drain()


asyncio.run(main())
