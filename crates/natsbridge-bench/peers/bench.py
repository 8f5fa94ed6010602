"""Times the Python implementation: seconds per smartsend and smartreceive of 10 KB binary, as JSON."""
import asyncio
import importlib.util
import json
import os
import sys
import time

spec = importlib.util.spec_from_file_location("natsbridge", sys.argv[1])
natsbridge = importlib.util.module_from_spec(spec)
sys.modules["natsbridge"] = natsbridge
spec.loader.exec_module(natsbridge)

CALLS = 400


async def per_call(call) -> float:
    samples = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(CALLS):
            await call()
        samples.append((time.perf_counter() - began) / CALLS)
    return sorted(samples)[2]


async def main() -> None:
    with open(sys.argv[2], "rb") as file:
        message = file.read()
    data = [("payload", os.urandom(10_000), "binary")]
    sending = await per_call(lambda: natsbridge.smartsend("chat.room", data))
    receiving = await per_call(lambda: natsbridge.smartreceive(message))
    print(json.dumps([sending, receiving]))


asyncio.run(main())
