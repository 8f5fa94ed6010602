"""Processes: their end in the middle of everything, Ctrl-C, forks, threads, loops that close, and memory that does not grow."""

import os
import pathlib
import resource
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any

import pytest
from conftest import PATIENCE

from natsbridge import sync


def program(code: str, *arguments: str) -> Any:
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


ENDINGS = {
    "a subscription": """
        import asyncio, sys
        from natsbridge import testing
        async def main():
            bridge = await testing.bridge()
            messages = await bridge.subscribe("a")
            waiting = asyncio.ensure_future(messages.next())
            for n in range(50):
                await bridge.send("a", [("n", n, "dictionary")])
            await asyncio.sleep(0.001 * int(sys.argv[1]))
        asyncio.run(main())
        """,
    "a transfer": """
        import asyncio, sys, threading, time
        import natsbridge
        async def upload(given):
            await asyncio.sleep(5)
            return "x"
        async def main():
            for _ in range(4):
                asyncio.ensure_future(natsbridge.smartsend("a", [("x", bytes(600_000), "binary")], fileserver_upload_handler=upload))
            await asyncio.sleep(0.001 * int(sys.argv[1]))
        asyncio.run(main())
        """,
    "a service in threads": """
        import sys, threading, time
        from natsbridge import testing
        bridge = testing.sync_bridge()
        def handler(message):
            time.sleep(0.002)
            return [("n", 1, "dictionary")]
        bridge.serve("a", handler)
        def ask():
            while True:
                bridge.request("a", [("n", 1, "dictionary")], timeout=1)
        for _ in range(3):
            threading.Thread(target=ask, daemon=True).start()
        time.sleep(0.001 * int(sys.argv[1]))
        """,
    "a download": """
        import sys, threading, time, json
        from natsbridge import sync
        link = {"payloads": [{"dataname": "x", "payload_type": "text", "transport": "link", "data": "http://127.0.0.1:9/x"}]}
        def read():
            sync.smartreceive(json.dumps(link), fileserver_url="", max_retries=50)
        threading.Thread(target=read, daemon=True).start()
        time.sleep(0.001 * int(sys.argv[1]))
        """,
}


@pytest.mark.parametrize("what", ENDINGS)
def test_the_end_of_the_interpreter_is_no_crash(what: str) -> None:
    runs = int(os.environ.get("ENDINGS", "12"))
    for start in range(0, runs, 4):
        running = [program(ENDINGS[what], str(run * 3)) for run in range(start, min(start + 4, runs))]
        for process in running:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, (what, process.returncode, errors[-2000:])


BUSY = """
import atexit
def busy():
    "Seconds for which this thread ran, or waited for a processor, which other programs had"
    with open("/proc/thread-self/schedstat") as schedule:
        return sum(map(int, schedule.read().split()[:2])) / 1e9
atexit.register(lambda: print(busy(), flush=True))  # what is registered first runs last
from natsbridge import testing
"""


@pytest.mark.skipif(not os.path.exists("/proc/thread-self/schedstat"), reason="this system does not say how long a thread waited")
def test_ctrl_c_ends_what_waits() -> None:
    for code in (
        """
        bridge = testing.sync_bridge()
        messages = bridge.subscribe("a")
        try:
            print("waiting", flush=True)
            messages.next()
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """,
        """
        import asyncio
        async def main():
            bridge = await testing.bridge()
            messages = await bridge.subscribe("a")
            print("waiting", flush=True)
            await messages.next()
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """,
    ):
        process = program(BUSY + textwrap.dedent(code))
        assert process.stdout.readline() == "waiting\n"
        time.sleep(0.1)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=PATIENCE)
        assert out.startswith("interrupted\n") and process.returncode == 0, errors
        assert time.monotonic() - began - float(out.split()[1]) < 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forks_are_refused_clearly_once_there_are_threads() -> None:
    code = """
        import os, warnings
        warnings.simplefilter("ignore")
        import natsbridge
        from natsbridge import sync, testing
        def in_child(call):
            read, write = os.pipe()
            if os.fork() == 0:
                try:
                    text = str(call())
                except BaseException as error:
                    text = f"{type(error).__name__}: {error}"
                os.write(write, text.encode())
                os._exit(0)
            os.wait()
            return os.read(read, 1000).decode()
        direct = lambda: len(sync.smartsend("a", [("x", "y", "text")])[1]) > 100
        print(in_child(direct))
        print(in_child(lambda: testing.sync_bridge().broker_url))
        bridge = testing.sync_bridge()
        print(in_child(direct))
        print(in_child(lambda: bridge.send("a", [("x", "y", "text")])))
        """
    process = program(code)
    out, errors = process.communicate(timeout=60)
    lines = out.splitlines()
    assert process.returncode == 0, errors
    assert lines[0] == "True" and "Error" not in lines[1] and lines[2] == "True", lines
    assert lines[3].startswith("ForkedError:") and "spawn" in lines[3]


def test_ten_thousand_sends_leave_nothing_behind() -> None:
    payload = [("x", {"a": list(range(50)), "t": "x" * 500}, "dictionary"), ("b", b"x" * 10_000, "binary")]
    marker = payload[1][1]

    def turns(count: int) -> None:
        for _ in range(count):
            _, text = sync.smartsend("lab.x", payload)
            sync.smartreceive(text)

    turns(2_000)
    before, references = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, sys.getrefcount(marker)
    turns(10_000)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert sys.getrefcount(marker) == references
    assert grown < 4096, f"{grown} KB more"


def test_loops_come_and_go_while_one_bridge_lives(tmp_path: pathlib.Path) -> None:
    import asyncio

    from natsbridge import testing

    bridge = asyncio.run(testing.bridge())

    async def ask(number: int) -> Any:
        service = await bridge.serve(f"n{number}", lambda message: [("n", message["n"] + 1, "dictionary")])
        answer = await bridge.request(f"n{number}", [("n", number, "dictionary")], timeout=5)
        await service.stop()
        return answer["n"]

    assert [asyncio.run(ask(number)) for number in range(3)] == [1, 2, 3]
