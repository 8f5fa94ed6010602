"""Answers each table with its means, the pandas way; table_exchange.rs asks.

Needs nats-py, pandas and pyarrow, and natsbridge.py from testdata/peers/python beside this file or on PYTHONPATH.
"""

import asyncio
import os

import nats
from natsbridge import smartreceive, smartsend


async def main():
    nc = await nats.connect(os.environ.get("NATS_URL", "nats://localhost:4222"))
    files = os.environ.get("FILESERVER_URL", "http://localhost:8080")
    asked = await nc.subscribe("tables.means")
    await nc.flush()
    print("waiting for tables", flush=True)

    async for message in asked.messages:
        received = await smartreceive(message.data, allowed_origins=[files])
        [(name, table, _)] = received["payloads"]
        readings = table.to_pandas()
        print(f"{name}: {len(readings)} rows, {list(readings.columns)}", flush=True)

        means = readings.groupby("sensor", as_index=False)["celsius"].mean()
        _, answer = await smartsend(
            message.reply,
            [("means", means, "arrowtable")],
            correlation_id=received["correlation_id"],
            reply_to_msg_id=received["msg_id"],
        )
        await message.respond(answer.encode())


asyncio.run(main())
