"""The bridge, async and sync: in memory, and with a real server where there is one."""

import asyncio
import hashlib
import pathlib
import threading
import time
from typing import Any, Dict, List

import pytest
from conftest import PATIENCE

import natsbridge
from natsbridge import HandlerError, NATSBridgeError, sync, testing

LARGE = bytes(range(256)) * 4000


async def test_messages_arrive_with_their_values() -> None:
    async with await testing.bridge(sender_name="me") as bridge:
        messages = await bridge.subscribe("lab.>")
        await bridge.send("lab.a", [("n", {"x": 1}, "dictionary"), ("t", [{"a": 1}], "arrowtable"), ("n", "again", "text")], metadata={"run": 7})
        message = await messages.next(PATIENCE)
        assert message is not None
        assert message["n"] == {"x": 1} and message["t"].to_pylist() == [{"a": 1}]
        assert (message.subject, message.sender_name, message.metadata["run"], message.keys()) == ("lab.a", "me", 7, ["n", "t", "n"])
        assert [payload.name for payload in message.payloads] == ["n", "t", "n"] and "t" in message and "z" not in message
        assert await message.payloads[2].value() == "again" and message.get("z", 5) == 5
        with pytest.raises(natsbridge.NoSuchPayloadError, match="`z`") as caught:
            message["z"]
        assert isinstance(caught.value, KeyError)
        with pytest.raises(AttributeError):
            message.nothing  # type: ignore[attr-defined]
        assert "lab.a" in repr(message) and "dictionary" in repr(message.payloads[0])
        assert bytes(message.payloads[0].view()) == b'{"x":1}'
        with pytest.raises(asyncio.TimeoutError):
            await messages.next(0.05)


async def test_timeouts_lose_no_message() -> None:
    async with await testing.bridge() as bridge:
        messages = await bridge.subscribe("a")

        async def send() -> None:
            for number in range(200):
                await bridge.send("a", [("n", number, "dictionary")])
                await asyncio.sleep(0.0005)

        sending = asyncio.ensure_future(send())
        seen: List[int] = []
        while len(seen) < 200:
            try:
                message = await messages.next(0.0007)
            except asyncio.TimeoutError:
                continue
            assert message is not None
            seen.append(message["n"])
        await sending
        assert seen == list(range(200))
        assert messages.losses == (0, 0, 0)


async def test_requests_replies_and_refusals() -> None:
    async with await testing.bridge() as bridge:

        @bridge.serve("lab.square")
        async def square(message: natsbridge.Message) -> Any:
            if message["n"] == 0:
                raise HandlerError("no zero", code="zero", retryable=False)
            if message["n"] == 1:
                raise ValueError("one")
            await asyncio.sleep(0)
            return [("n", message["n"] ** 2, "dictionary")]

        service = await bridge.serve("lab.plain", lambda message: [("t", message["t"].upper(), "text")])
        await square.service
        assert (await bridge.request("lab.square", [("n", 7, "dictionary")], timeout=PATIENCE))["n"] == 49
        assert (await bridge.request("lab.plain", [("t", "abc", "text")], timeout=PATIENCE))["t"] == "ABC"
        for number, text in ((0, "zero"), (1, "ValueError: one")):
            with pytest.raises(natsbridge.RefusedError, match=text):
                await bridge.request("lab.square", [("n", number, "dictionary")], timeout=PATIENCE)
        with pytest.raises(natsbridge.NoRespondersError):
            await bridge.request("nobody", [("n", 1, "dictionary")], timeout=1)
        await service.stop()


async def test_delivery_repeats_until_it_is_acknowledged() -> None:
    broker = testing.MemoryBroker(drop=0.5, seed=7)
    async with await testing.bridge(broker) as bridge:
        messages = await bridge.subscribe("orders")

        async def receive() -> List[int]:
            seen = []
            async for message in messages:
                seen.append(message["order"])
                await message.ack()
                if len(seen) == 20:
                    break
            return seen

        receiving = asyncio.ensure_future(receive())
        for number in range(20):
            done = await bridge.deliver("orders", [("order", number, "dictionary")], timeout=20, first_pause=0.005, longest_pause=0.05)
            assert len(done["acks"]) == 1 and done["envelope"]["send_to"] == "orders"
        assert await asyncio.wait_for(receiving, PATIENCE) == list(range(20)) and broker.dropped > 0
        with pytest.raises(natsbridge.UnacknowledgedError):
            await bridge.deliver("nobody", [("order", 1, "dictionary")], timeout=0.1)


async def test_lazy_links_are_saved_opened_and_viewed(tmp_path: pathlib.Path) -> None:
    async with await testing.bridge() as bridge:
        messages = await bridge.subscribe("films", lazy=True)
        await bridge.send("films", [("../film.mp4", LARGE, "video"), ("table", [{"a": 1}], "arrowtable")])
        message = await messages.next(PATIENCE)
        assert message is not None
        film = message.payloads[0]
        assert (film.transport, film.size, film.ready) == ("link", len(LARGE), False)
        with pytest.raises(natsbridge.WrongTypeError):
            message["../film.mp4"]
        with pytest.raises(natsbridge.WrongTypeError):
            film.view()
        saved = await film.save(tmp_path / "films")
        assert pathlib.Path(saved.path) == tmp_path / "films" / "film.mp4"
        assert saved.sha256 == hashlib.sha256(LARGE).hexdigest() == film.sha256
        whole = b"".join([piece async for piece in film.open(100_000)])
        assert whole == LARGE
        await film.fetch()
        view = film.view()
        del film, message, messages
        assert view == LARGE and view.readonly


def test_sync_bridge_does_the_same(tmp_path: pathlib.Path) -> None:
    with testing.sync_bridge() as bridge:
        with bridge.subscribe("lab.*") as messages:
            bridge.send("lab.x", [("big", LARGE, "binary"), ("n", 1, "dictionary")])
            message = messages.next(PATIENCE)
            assert message is not None and message["big"] == LARGE and len(message.save(tmp_path)) == 2
            with pytest.raises(TimeoutError):
                messages.next(0.05)
        assert list(messages) == []

        @bridge.serve("lab.twice", concurrency=2)
        def twice(message: sync.Message) -> Any:
            time.sleep(0.01)
            return [("n", message["n"] * 2, "dictionary")]

        assert [bridge.request("lab.twice", [("n", n, "dictionary")], timeout=PATIENCE)["n"] for n in range(5)] == [0, 2, 4, 6, 8]
        acked = bridge.serve("lab.ack", lambda message: None)
        assert bridge.deliver("lab.ack", [("n", 1, "dictionary")], timeout=PATIENCE)["acks"]
        acked.stop()
    with pytest.raises(NATSBridgeError):
        bridge.send("lab.x", [("n", 1, "dictionary")])


async def test_queue_groups_share_and_bridges_at_one_broker_meet() -> None:
    broker = testing.MemoryBroker()
    one = await testing.bridge(broker)
    two = await testing.bridge(broker)
    members = [await two.subscribe("work", queue="g") for _ in range(2)]
    for number in range(40):
        await one.send("work", [("n", number, "dictionary")])
    seen: List[int] = []
    for member in members:
        member.drain()
        async for message in member:
            seen.append(message["n"])
    assert sorted(seen) == list(range(40))
    await one.drain()


async def test_unreadable_messages_are_errors_and_the_next_one_follows() -> None:
    async with await testing.bridge(max_payload_size=1000) as bridge:
        messages = await bridge.subscribe("a")
        await bridge.send("a", [("clip", b"x" * 2000, "binary")])
        await bridge.send("a", [("n", 1, "dictionary")])
        with pytest.raises(natsbridge.TooLargeError) as caught:
            await messages.next(PATIENCE)
        assert caught.value.dataname == "clip" and caught.value.subject == "a" and caught.value.msg_id
        second = await messages.next(PATIENCE)
        assert second is not None and second["n"] == 1


async def test_real_server(nats_url: str, files_url: str, tmp_path: pathlib.Path) -> None:
    async with await natsbridge.connect(nats_url, fileserver_url=files_url, name="tests") as bridge:
        events = bridge.events()
        messages = await bridge.subscribe("py.real")
        await bridge.send_confirmed("py.real", [("big", LARGE, "binary"), ("n", 1, "dictionary")])
        message = await messages.next(10)
        assert message is not None and message["big"] == LARGE
        assert message.payload("big").transport == "link"

        @bridge.serve("py.real.square")
        async def square(message: natsbridge.Message) -> Any:
            return [("n", message["n"] ** 2, "dictionary")]

        await square.service
        answers = await asyncio.gather(*(bridge.request("py.real.square", [("n", n, "dictionary")]) for n in range(20)))
        assert [answer["n"] for answer in answers] == [n**2 for n in range(20)]
        await bridge.confirm()
    assert [event.kind async for event in events][-1] == "closed"


def test_logins_and_tls_options_are_checked_before_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    cases: List[Dict[str, Any]] = [
        {"user": "a"}, {"password": "hunter2"}, {"jwt": "x"}, {"client_cert": "a.pem"}, {"fileserver_ca": "missing.pem"},
        {"reply_subjects": "a b"}, {"sender_id": "\n"}, {"connect_timeout": "soon"}, {"allowed_origins": "files"},
    ]  # fmt: skip
    for options in cases:
        with pytest.raises(NATSBridgeError) as caught:
            sync.connect("nats://127.0.0.1:1", connect_timeout=options.pop("connect_timeout", 1), **options)
        assert "hunter2" not in str(caught.value)
    with pytest.raises(natsbridge.UnreachableError) as unreachable:
        sync.connect("nats://ann:hunter2@127.0.0.1:1", connect_timeout=1)
    assert "hunter2" not in str(unreachable.value) and unreachable.value.retryable
    monkeypatch.setenv("NATS_USER", "ann")
    with pytest.raises(natsbridge.ConfigurationError, match="NATS_PASSWORD"):
        sync.connect()


def test_logins_at_a_real_server(nats_server: Any) -> None:
    address = nats_server('authorization { user: "ann", password: "hunter2" }')
    with sync.connect(f"nats://{address}", user="ann", password="hunter2") as bridge:
        bridge.send_confirmed("a", [("n", 1, "dictionary")])
    with pytest.raises(natsbridge.PermissionDeniedError):
        sync.connect(f"nats://{address}", user="ann", password="wrong")
    token = nats_server('authorization { token: "s3cret" }')
    with sync.connect(f"nats://{token}", token="s3cret") as bridge:
        bridge.confirm()


async def test_nacks_tell_strangers_the_errors_own_text_and_no_path(tmp_path: pathlib.Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")

    async def opened(message: natsbridge.Message) -> None:
        (tmp_path / "missing").read_bytes()

    async def saved(message: natsbridge.Message) -> None:
        await message.payloads[0].save_as(secret)

    async def caused(message: natsbridge.Message) -> None:
        try:
            raise KeyError(str(tmp_path))
        except KeyError as error:
            raise ValueError("no such sensor") from error

    async def chosen(message: natsbridge.Message) -> None:
        raise HandlerError("n is missing", code="missing_field", retryable=False)

    async def silent(message: natsbridge.Message) -> None:
        raise RuntimeError

    expected = {
        opened: ("handler", "FileNotFoundError: No such file or directory"), saved: ("local_file", "payload `n`: the receiver cannot"),
        caused: ("handler", "ValueError: no such sensor"), chosen: ("missing_field", "n is missing"), silent: ("handler", "RuntimeError"),
    }  # fmt: skip
    async with await testing.bridge() as bridge:
        for handler, (code, reason) in expected.items():
            service = await bridge.serve(f"lab.{handler.__name__}", handler)
            with pytest.raises(natsbridge.RefusedError) as refused:
                await bridge.request(f"lab.{handler.__name__}", [("n", 1, "dictionary")], timeout=PATIENCE)
            assert f": {code}: {reason}" in str(refused.value)
            assert str(tmp_path) not in str(refused.value)
            await service.stop()


def test_threads_that_share_a_subscription_all_get_messages() -> None:
    with testing.sync_bridge() as bridge:
        messages = bridge.subscribe("work")
        events = bridge.events()
        found: List[Any] = []

        def read() -> None:
            for message in messages:
                found.append(message["n"])

        threads = [threading.Thread(target=read, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(200):
            bridge.send("work", [("n", number, "dictionary")])
            time.sleep(0.001)
        messages.drain()  # what has arrived is read
        for thread in threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in threads) and sorted(found) == list(range(200))
    assert [event.kind for event in events][-1] == "closed"


def test_subscription_whose_opening_was_cancelled_can_be_opened_again() -> None:
    bridge = asyncio.run(testing.bridge())
    messages = bridge.subscribe("a")

    async def stopped() -> None:
        asyncio.ensure_future(messages.next())
        await asyncio.sleep(0)
        getattr(messages, "_opening").cancel()  # as the end of a loop does

    async def used() -> None:
        await messages
        await bridge.send("a", [("n", 1, "dictionary")])
        message = await messages.next(PATIENCE)
        assert message is not None and message["n"] == 1
        await bridge.drain()

    asyncio.run(stopped())
    asyncio.run(used())
