"""Large things in the Python package: large.py send|receive NATS FILES PATH takes a file by link from path to path, large.py table sends
and receives a DataFrame; each prints figures as JSON."""
import asyncio
import gc
import json
import pathlib
import re
import sys
import time

import natsbridge as nb
from natsbridge import sync


def memory(name: str) -> float:
    """`VmRSS` or `VmHWM` in MB"""
    kib = re.search(rf"^{name}:\s*(\d+) kB", pathlib.Path("/proc/self/status").read_text(), re.M)
    return int(kib[1]) * 1024 / 1e6


class Watch:
    """How long the event loop was held at most, and what the peak of memory was above that at the beginning"""

    async def __aenter__(self):
        self.held, self.before = 0.0, memory("VmHWM")
        self.task = asyncio.ensure_future(self.look())
        return self

    async def look(self):
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            self.held = max(self.held, time.perf_counter() - before - 0.001)

    async def __aexit__(self, *_):
        self.task.cancel()
        print(json.dumps({"held": self.held, "memory": memory("VmHWM") - self.before}), flush=True)


async def send(nats, files, path):
    async with await nb.connect(nats, store=nb.PlikStore(files)) as bridge, Watch():
        await bridge.send("bench.film", [("film", pathlib.Path(path), "video")])


async def receive(nats, files, path):
    async with await nb.connect(nats, store=nb.PlikStore(files)) as bridge:
        messages = await bridge.subscribe("bench.film", lazy=True)
        print("subscribed", flush=True)
        async with Watch():
            message = await messages.next(60)
            await message.payload("film").save(path)


def table():
    """Seconds and peak memory of both ways, the latter by the size of the columns"""
    import numpy
    import pandas

    rows = 1_000_000
    counting = numpy.arange(rows)
    frame = pandas.DataFrame({"time": counting, "a": counting / 3, "b": counting / 7, "c": counting * 2.5, "n": counting % 11})
    columns = frame.memory_usage(index=False).sum() / 1e6
    figures = {}

    def measured(name, call):
        gc.collect()
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, began = memory("VmRSS"), time.perf_counter()
        result = call()
        figures[name] = [time.perf_counter() - began, (memory("VmHWM") - before) / columns]
        return result

    options = {"size_threshold": 10**9, "max_message_size": 10**9}
    # A first call, so that what is loaded once is not counted.
    sync.smartreceive(sync.smartsend("a", [("t", frame[:10], "arrowtable")])[1])["payloads"][0][1].to_pandas()
    envelope, message = measured("send", lambda: sync.smartsend("a", [("t", frame, "arrowtable")], **options))
    assert len(envelope["payloads"][0]["data"]) > 0  # it holds the base64 too, as the message does
    received = message.encode()  # as clients of NATS hand it out
    payloads = measured("receive", lambda: sync.smartreceive(received)["payloads"])
    again = measured("to_pandas", lambda: payloads[0][1].to_pandas())
    assert again.equals(frame)
    measured("receive_text", lambda: sync.smartreceive(message))
    print(json.dumps(figures))


if sys.argv[1] == "table":
    table()
else:
    asyncio.run({"send": send, "receive": receive}[sys.argv[1]](*sys.argv[2:]))
