"""Links: handlers sync and async, stores, progress, cancellation, and what is not followed."""

import asyncio
import gc
import hashlib
import http.server
import json
import pathlib
import threading
import weakref
from typing import Any, Dict, Iterator, List

import pytest
from conftest import PATIENCE, eventually_async

from natsbridge import Link, NATSBridgeError, PlikStore, Progress, S3Store, Upload, smartreceive, smartsend, sync, testing
from natsbridge.testing import MemoryStore

ID = "7a512910-bf40-4c64-a088-d2975d3d09ed"
LARGE = bytes(range(256)) * 4000


def linked(url: str, **fields: Any) -> str:
    return json.dumps({"payloads": [dict({"dataname": "x", "payload_type": "binary", "transport": "link", "data": url}, **fields)]})


def refused(call: Any, *codes: str) -> NATSBridgeError:
    with pytest.raises(NATSBridgeError) as caught:
        call()
    assert caught.value.code in codes, (caught.value.code, str(caught.value))
    return caught.value


async def test_handlers_may_be_async_or_not() -> None:
    held: Dict[str, bytes] = {}

    async def upload(given: Upload) -> str:
        await asyncio.sleep(0)
        held["mem:1"] = given.data
        assert (given.dataname, given.size, given.payload_type, given.one_shot, given.ttl) == ("x", len(LARGE), "binary", False, 86_400)
        return "mem:1"

    def upload_sync(given: Upload) -> Dict[str, Any]:
        held["mem:2"] = given.data
        return {"url": "mem:2", "expires_at": "2026-05-13T08:15:30Z", "one_shot": given.one_shot}

    async def download(link: Link) -> bytes:
        assert link.size == len(LARGE) and link.sha256 == hashlib.sha256(LARGE).hexdigest()
        return held[link.url]

    for uploader, downloader in ((upload, download), (upload_sync, lambda link: held[link.url])):
        envelope, text = await smartsend("lab.x", [("x", LARGE, "binary")], fileserver_upload_handler=uploader)
        assert envelope["payloads"][0]["transport"] == "link"
        received = await smartreceive(text, fileserver_download_handler=downloader)
        assert received["payloads"] == [("x", LARGE, "binary")]
    assert envelope["payloads"][0]["metadata"]["expires_at"].startswith("2026-05-13T08:15:30")


def test_handlers_of_the_sync_twin_may_be_async_too(tmp_path: pathlib.Path) -> None:
    async def upload(given: Upload) -> str:
        await asyncio.sleep(0)
        assert given.path is not None and given.data == LARGE
        return "mem:1"

    async def download(link: Link) -> bytes:
        return LARGE

    path = tmp_path / "f"
    path.write_bytes(LARGE)
    _, text = sync.smartsend("lab.x", [("x", path, "binary")], fileserver_upload_handler=upload)
    assert sync.smartreceive(text, fileserver_download_handler=download)["payloads"][0][1] == LARGE


def test_errors_of_handlers_keep_their_cause() -> None:
    def raises(error: BaseException) -> Any:
        def handler(_: Any) -> Any:
            raise error

        return handler

    for handler in (raises(ValueError("mine")), raises(KeyError("k")), lambda _: "text", lambda _: None, lambda _: 7):
        error = refused(lambda handler=handler: sync.smartreceive(linked("http://f/"), fileserver_download_handler=handler), "handler")
        assert error.dataname == "x" and error.__cause__ is not None
    for handler in (raises(OSError("mine")), lambda _: 7, lambda _: {}, lambda _: None, lambda _: {"url": 7}):
        error = refused(lambda handler=handler: sync.smartsend("a", [("x", "y", "text")], size_threshold=0, fileserver_upload_handler=handler), "handler")
        assert error.dataname == "x"
    own = refused(lambda: sync.smartreceive(linked("http://f/"), fileserver_download_handler=raises(NATSBridgeError("not_found", "gone"))), "not_found")
    assert own.dataname == "x"
    refused(lambda: sync.smartreceive(linked("http://f/"), fileserver_download_handler=lambda _: b"abc", max_payload_size=2), "too_large")
    refused(lambda: sync.smartreceive(linked("http://f/", size=4), fileserver_download_handler=lambda _: b"abc"), "size_mismatch", "handler")


def test_links_that_are_read_again_are_never_one_shot() -> None:
    seen: List[Upload] = []

    def upload(given: Upload) -> Dict[str, Any]:
        seen.append(given)
        return {"url": "http://f/x", "one_shot": given.one_shot}

    always: Any = {"fileserver_upload_handler": upload, "size_threshold": 0}
    asked: Any = (
        ({}, False), ({"receiver_id": ID}, True), ({"receiver_id": ID, "awaits_ack": True}, False),
        ({"receiver_id": ID, "reply_to": "r"}, False), ({"receiver_id": ID, "one_shot": False}, False),
        ({"receiver_id": ID, "one_shot": True, "ttl": 60}, True), ({"receiver_id": ID, "ttl": 60}, True),
    )  # fmt: skip
    for options, once in asked:
        envelope, _ = sync.smartsend("a", [("x", "y", "text")], **always, **options)
        assert envelope["payloads"][0]["metadata"].get("one_shot", False) == once, options
    seen.clear()
    asked = ({"one_shot": True}, {"one_shot": True, "receiver_id": ID, "awaits_ack": True}, {"one_shot": True, "receiver_id": ID, "reply_to": "r"})
    for options in asked:
        refused(lambda options=options: sync.smartsend("a", [("x", "y", "text")], **always, **options), "configuration", "wrong_value")
    assert seen == []


def test_links_are_followed_to_the_configured_origin_alone() -> None:
    other = linked("http://127.0.0.1:9/f")
    blocked: Any = ({}, {"allowed_origins": []}, {"allowed_origins": "http://127.0.0.1:10"}, {"fileserver_url": "http://files.test"})
    for options in blocked:
        refused(lambda options=options: sync.smartreceive(other, **options), "blocked_origin")
    wrong: Any = ("127.0.0.1:9", "*", ["x"], [1], 7, b"http://x")
    for odd in wrong:
        refused(lambda odd=odd: sync.smartreceive(other, allowed_origins=odd), "wrong_value")
    here = "http://127.0.0.1:9"
    tried: Any = ({"allowed_origins": here}, {"fileserver_url": here}, {"fileserver_url": ""}, {"allowed_origins": ["http://localhost:9"]})
    for options in tried:
        refused(lambda options=options: sync.smartreceive(other, max_retries=0, **options), "download_retry_exceeded", "unreachable")
    for url in ("http://a..b/x", "http://[::1/", "x", "", "http://169.254.169.254/", "http://[fd00:ec2::23]/", "http://\u0661/"):
        error = refused(lambda url=url: sync.smartreceive(linked(url), fileserver_url="", max_retries=0), "blocked_origin", "download_retry_exceeded", "unreachable")
        assert error.dataname == "x"


class Slow(http.server.BaseHTTPRequestHandler):
    """A Plik that takes uploads slowly, and remembers what it was asked"""

    protocol_version = "HTTP/1.1"
    asked: List[str] = []
    uploads = 0
    hurry = threading.Event()

    def answer(self, body: Dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        Slow.asked.append(f"POST {self.path}")
        if self.path == "/upload":
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            Slow.uploads += 1
            self.answer({"id": f"u{Slow.uploads}", "uploadToken": "t", "oneShot": False, "ttl": 86400})
            return
        try:
            while self.rfile.read(1 << 10):
                Slow.hurry.wait(0.02)
        except OSError:
            pass
        Slow.asked.append("the end")
        self.close_connection = True

    def do_DELETE(self) -> None:
        Slow.asked.append(f"DELETE {self.path}")
        self.answer({})

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def slow() -> Iterator[str]:
    Slow.asked.clear()
    Slow.hurry.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


async def test_cancelling_deletes_what_was_uploaded() -> None:
    deleted: List[str] = []
    stored, hangs = asyncio.Event(), asyncio.Event()

    async def upload(given: Upload) -> Dict[str, Any]:
        if given.dataname == "second":
            hangs.set()
            await asyncio.sleep(60)

        async def delete() -> None:
            deleted.append(given.dataname)

        stored.set()
        return {"url": f"http://f/{given.dataname}", "delete": delete}

    data = [("first", "x", "text"), ("second", "y", "text")]
    sending = asyncio.ensure_future(smartsend("a", data, size_threshold=0, fileserver_upload_handler=upload))
    await hangs.wait()
    await stored.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await eventually_async(lambda: deleted)
    assert deleted == ["first"]


async def test_cancelling_ends_async_handlers_and_undoes_what_others_finish() -> None:
    begun, ended, finish = threading.Event(), asyncio.Event(), threading.Event()
    deleted: List[str] = []

    async def asynchronous(given: Upload) -> str:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return "http://f/1"

    def synchronous(given: Upload) -> Dict[str, Any]:
        begun.set()
        assert finish.wait(PATIENCE)
        return {"url": "http://f/2", "delete": lambda: deleted.append("http://f/2")}

    for handler in (asynchronous, synchronous):
        begun.clear()
        handlers: Any = {"fileserver_upload_handler": handler}
        sending = asyncio.ensure_future(smartsend("a", [("x", "y", "text")], size_threshold=0, **handlers))
        await asyncio.get_running_loop().run_in_executor(None, begun.wait, PATIENCE)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    await asyncio.wait_for(ended.wait(), PATIENCE)
    finish.set()
    await eventually_async(lambda: deleted)
    assert deleted == ["http://f/2"]


def test_what_deletes_the_uploads_of_sent_messages_is_forgotten_in_time() -> None:
    alive: "weakref.WeakSet[Any]" = weakref.WeakSet()

    class Delete:
        def __call__(self) -> None:
            raise AssertionError("the message was sent")

    def upload(given: Upload) -> Dict[str, Any]:
        delete = Delete()
        alive.add(delete)
        return {"url": f"http://f/{len(alive)}", "delete": delete}

    with testing.sync_bridge(fileserver_upload_handler=upload, size_threshold=0) as bridge:
        for _ in range(50):
            bridge.send("a", [(f"x{n}", b"y", "binary") for n in range(100)])
        gc.collect()
        assert len(alive) <= 4096


async def test_cancelling_an_upload_to_a_server_ends_it(slow: str) -> None:
    sending = asyncio.ensure_future(smartsend("a", [("x", bytes(3_000_000), "binary")], fileserver_url=slow))

    async def asked(word: str) -> None:
        await eventually_async(lambda: any(word in line for line in Slow.asked))

    await asked("/file/")
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    # Without its end the server would wait for more, or for another request.
    Slow.hurry.set()
    await asked("the end")
    await asked("DELETE /upload/u")


async def test_links_by_the_embedded_server(files_url: str, tmp_path: pathlib.Path) -> None:
    seen: List[Progress] = []
    path = tmp_path / "film"
    path.write_bytes(LARGE)
    values: Any = (LARGE, path, path.open("rb"), iter([LARGE[:600_000], LARGE[600_000:]]))
    for value in values:
        envelope, text = await smartsend("lab.x", [("x", value, "binary")], fileserver_url=files_url, on_progress=seen.append)
        if hasattr(value, "close"):
            value.close()
        assert envelope["payloads"][0]["data"].startswith("http")
        received = await smartreceive(text, fileserver_url=files_url, on_progress=seen.append)
        assert received["payloads"][0][1] == LARGE
    await eventually_async(lambda: sum(progress.ended for progress in seen) == 2 * len(values))
    ended = [progress for progress in seen if progress.ended]
    assert {progress.direction for progress in ended} == {"upload", "download"}
    assert all(progress.done == progress.total == len(LARGE) for progress in ended)
    store = PlikStore(files_url)
    _, text = sync.smartsend("lab.x", [("x", LARGE, "binary")], store=store)
    assert sync.smartreceive(text, allowed_origins=files_url)["payloads"][0][1] == LARGE
    assert files_url.split("//")[1] in repr(store)


def test_links_by_a_bucket(bucket: Any) -> None:
    url, name = bucket
    store = S3Store(name, endpoint=url, region="us-east-1")
    _, text = sync.smartsend("lab.x", [("x", LARGE, "binary")], store=store)
    assert sync.smartreceive(text, allowed_origins=url)["payloads"][0][1] == LARGE
    assert name in repr(store)


def test_store_in_memory() -> None:
    store = MemoryStore()
    _, text = sync.smartsend("lab.x", [("x", LARGE, "binary")], store=store)
    assert len(store) == 1 and sync.smartreceive(text, store=store)["payloads"][0][1] == LARGE


def test_half_of_a_login_is_refused() -> None:
    halves: Any = ({"login": "ann"}, {"password": "secret"})
    for half in halves:
        with pytest.raises(NATSBridgeError, match="go together") as refused:
            PlikStore("http://127.0.0.1:9", **half)
        assert refused.value.code == "configuration"
