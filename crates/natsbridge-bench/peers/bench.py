"""Times an implementation in Python: bench.py MODULE FOLDER reads FOLDER/*.json, and prints the seconds of a smartsend and of a
smartreceive of each message; MODULE is the file of an implementation, or `package` for the package natsbridge and its sync twin."""
import asyncio
import importlib.util
import json
import pathlib
import sys
import time

ROUNDS, SECONDS = 5, 0.04


def implementation(module):
    if module == "package":
        from natsbridge import sync

        return sync.smartsend, sync.smartreceive
    spec = importlib.util.spec_from_file_location("natsbridge", module)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules["natsbridge"] = loaded
    spec.loader.exec_module(loaded)
    return loaded.smartsend, loaded.smartreceive


async def per_call(call) -> float:
    async def timed(calls):
        began = time.perf_counter()
        for _ in range(calls):
            result = call()
            if asyncio.iscoroutine(result):
                await result
        return time.perf_counter() - began

    calls = max(1, int(SECONDS / await timed(1)))
    samples = [await timed(calls) / calls for _ in range(ROUNDS)]
    return sorted(samples)[ROUNDS // 2]


async def main() -> None:
    smartsend, smartreceive = implementation(sys.argv[1])
    times = {}
    for path in sorted(pathlib.Path(sys.argv[2]).glob("*.json")):
        message = path.read_bytes()
        received = smartreceive(message)
        if asyncio.iscoroutine(received):
            received = await received
        data = received["payloads"]
        # Calls of the sync twin need no event loop, and pay for none.
        sending = await per_call(lambda: smartsend("chat.room", data))
        receiving = await per_call(lambda: smartreceive(message))
        times[path.stem] = [sending, receiving]
    print(json.dumps(times))


asyncio.run(main())
