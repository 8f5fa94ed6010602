"""What the tests share: servers from the environment, or none; a memory broker; a loop for each async test."""

import asyncio
import inspect
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time
from typing import Any, Callable, Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
TESTDATA = ROOT / "testdata"

PATIENCE = 30
"""Seconds for what surely comes, on the busiest machine"""


def pytest_pyfunc_call(pyfuncitem: Any) -> Any:
    """Runs async tests, each in a loop of its own"""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**arguments), 60))
    return True


SERVERS = {name: os.environ.get(name, "") for name in ("NATS_URL", "FILESERVER_URL", "S3_URL", "S3_BUCKET")}


def _needed(name: str) -> str:
    value = SERVERS[name]
    if not value:
        pytest.skip(f"{name} is not set: `cargo xtask clients python` starts the servers")
    return value


@pytest.fixture
def nats_url() -> str:
    """A real nats-server"""
    return _needed("NATS_URL")


@pytest.fixture
def files_url() -> str:
    """The embedded file server"""
    return _needed("FILESERVER_URL")


@pytest.fixture
def bucket() -> Any:
    """An S3 server and its bucket"""
    return _needed("S3_URL"), SERVERS["S3_BUCKET"] or "natsbridge"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test says itself which servers it means"""
    for name in ("NATS_URL", "NATS_TOKEN", "NATS_USER", "NATS_PASSWORD", "FILESERVER_URL", "FILESERVER_TOKEN", "SIZE_THRESHOLD"):
        monkeypatch.delenv(name, raising=False)


def eventually(happened: Callable[[], Any]) -> None:
    """Waits until something has happened"""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "it never happens"
        time.sleep(0.02)


async def eventually_async(happened: Callable[[], Any]) -> None:
    """As `eventually`, while the loop goes on"""
    await asyncio.get_running_loop().run_in_executor(None, eventually, happened)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def nats_server(tmp_path: pathlib.Path) -> Iterator[Any]:
    """Starts a nats-server of the test's own with a configuration"""
    binary = os.environ.get("NATS_SERVER") or shutil.which("nats-server")
    if not binary:
        pytest.skip("NATS_SERVER is not set and nats-server is not on PATH")
    running = []

    def start(config: str = "", port: int = 0) -> str:
        port = port or free_port()
        path = tmp_path / f"nats-{port}.conf"
        path.write_text(f'host: "127.0.0.1"\nport: {port}\n{config}\n')
        process = subprocess.Popen([str(binary), "-c", str(path)], stderr=subprocess.DEVNULL)
        running.append(process)

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        eventually(listens)
        return f"127.0.0.1:{port}"

    yield start
    for process in running:
        process.terminate()
        process.wait(10)


def vectors(kind: str) -> Any:
    """The vectors of testdata, each with its file's name"""
    for path in sorted((TESTDATA / kind).rglob("*.json")):
        yield path, json.loads(path.read_text(encoding="utf-8"))
