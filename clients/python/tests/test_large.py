"""Large payloads, path to path: memory stays flat, and the event loop goes on."""

import pathlib
import subprocess
import sys
import textwrap

MEGABYTES = 200


def test_path_to_path_by_link_takes_little_memory(files_url: str, tmp_path: pathlib.Path) -> None:
    """In a process of its own, whose peak is compared with that after the import"""
    code = textwrap.dedent(
        """
        import asyncio, pathlib, resource, sys, threading, time
        from natsbridge import testing, PlikStore
        url, folder, size = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
        source = folder / "source"
        with open(source, "wb") as file:
            file.truncate(size)
        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        schedule = open(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        def queued():
            "Seconds that this thread has waited for a processor, which other programs had"
            schedule.seek(0)
            return int(schedule.read().split()[1]) / 1e9
        async def main():
            longest = held = 0.0
            async def watch():
                nonlocal longest, held
                while True:
                    before, waited = time.perf_counter(), queued()
                    await asyncio.sleep(0.001)
                    late = time.perf_counter() - before - 0.001
                    longest, held = max(longest, late), max(held, late - (queued() - waited))
            bridge = await testing.bridge(store=PlikStore(url))
            messages = await bridge.subscribe("a", lazy=True)
            watching = asyncio.ensure_future(watch())
            began, before = time.perf_counter(), peak()
            await bridge.send("a", [("film", source, "video")])
            message = await messages.next(30)
            saved = await message.payload("film").save(folder / "saved")
            took = time.perf_counter() - began
            watching.cancel()
            assert saved.size == size
            print(peak() - before, f"{longest * 1000:.1f}", f"{held * 1000:.1f}", f"{took:.2f}")
        asyncio.run(main())
        """
    )
    size = MEGABYTES * 1_000_000
    done = subprocess.run([sys.executable, "-c", code, files_url, str(tmp_path), str(size)], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-2000:]
    grown, longest, held, took = done.stdout.split()
    print(f"{MEGABYTES} MB: {grown} MB more memory, the loop was late by {longest} ms, {held} ms without the wait for a processor, {took} s")
    assert int(grown) < 60
    # A lock whose holder waits for a processor counts too: on a quiet machine this is below 10 ms.
    assert float(held) < 50
