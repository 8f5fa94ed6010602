"""`smartsend` and `smartreceive`: names, defaults, direct payloads, and what no task has to wait for."""

import asyncio
import base64
import inspect
import json
import threading
from typing import Any

import pytest

import natsbridge
from natsbridge import NATSBridgeError, smartreceive, smartsend, sync


def test_keywords_and_defaults_are_those_of_the_requirements() -> None:
    expected = {
        "broker_url": "nats://localhost:4222", "fileserver_url": "http://localhost:8080", "fileserver_upload_handler": None,
        "size_threshold": 500_000, "correlation_id": "", "msg_purpose": "chat", "sender_name": "NATSBridge",
        "receiver_name": "", "receiver_id": "", "reply_to": "", "reply_to_msg_id": "", "msg_id": "", "sender_id": "",
    }  # fmt: skip
    for function in (smartsend, sync.smartsend):
        known = inspect.signature(function).parameters
        assert list(known)[:2] == ["subject", "data"]
        assert {name: known[name].default for name in expected} == expected
    received = {"fileserver_download_handler": None, "max_retries": 5, "base_delay": 100, "max_delay": 5000}
    for reader in (smartreceive, sync.smartreceive):
        known = inspect.signature(reader).parameters
        assert list(known)[0] == "msg_json_str"
        assert {name: known[name].default for name in received} == received
    with pytest.raises(TypeError, match="unexpected keyword"):
        sync.smartsend("a", [], **{"colour": "red"})  # type: ignore[arg-type]


def test_every_type_goes_there_and_back() -> None:
    data = [
        ("text", "grüße\n\u2028\U0001f600", "text"),
        ("dict", {"a": [1, 2.5, None, True, "x"], "big": 2**64 - 1, "low": -(2**63)}, "dictionary"),
        ("number", 7, "dictionary"),
        ("rows", [{"a": 1}, {"b": "x"}], "jsontable"),
        ("bytes", bytes(range(256)), "binary"),
        ("again", b"", "image"),
        ("again", b"\0" * 9000, "video"),
        ("sound", bytearray(b"abc"), "audio"),
    ]
    envelope, text = sync.smartsend("lab.x", data)
    assert json.loads(text) == envelope
    received = sync.smartreceive(text)
    assert received["payloads"] == [(name, bytes(value) if isinstance(value, bytearray) else value, kind) for name, value, kind in data]
    for form in (text.encode(), bytearray(text.encode()), memoryview(text.encode())):
        assert sync.smartreceive(form)["payloads"] == received["payloads"]
    assert received["msg_purpose"] == "chat" and received["sender_name"] == "NATSBridge" and received["metadata"] == {}


def test_direct_payloads_need_no_thread_and_no_task_switch() -> None:
    before = threading.active_count()
    sending = smartsend("lab.x", [("a", {"n": 1}, "dictionary")])
    with pytest.raises(StopIteration) as sent:
        sending.send(None)
    reading = smartreceive(sent.value.value[1])
    with pytest.raises(StopIteration) as read:
        reading.send(None)
    assert read.value.value["payloads"] == [("a", {"n": 1}, "dictionary")]
    assert threading.active_count() == before


async def test_options_reach_the_envelope() -> None:
    options: Any = {
        "correlation_id": "c-1", "msg_id": "m-1", "sender_id": "s-1", "sender_name": "me", "receiver_name": "you",
        "receiver_id": "r-1", "reply_to": "lab.reply", "reply_to_msg_id": "m-0", "msg_purpose": "updateStatus",
        "broker_url": "nats://ann:secret@host:4222", "metadata": {"run": 7},
    }  # fmt: skip
    envelope, _ = await smartsend("lab.x", [], **options)
    expected = dict(options, broker_url="nats://host:4222")
    found: Any = envelope
    assert {name: found[name] for name in expected} == expected
    envelope, _ = await smartsend("lab.x", [("a", "b", "text")], digest_direct=True)
    assert len(envelope["payloads"][0]["metadata"]["sha256"]) == 64


def refused(call: Any, *codes: str) -> NATSBridgeError:
    with pytest.raises(NATSBridgeError) as caught:
        result = call()
        if inspect.isawaitable(result):
            asyncio.run(result)  # type: ignore[arg-type]
    assert caught.value.code in codes, (caught.value.code, str(caught.value))
    return caught.value


def send(value: Any, kind: str = "dictionary", **options: Any) -> Any:
    return sync.smartsend("lab.x", [("x", value, kind)], **options)


def test_senders_refuse_what_receivers_refuse() -> None:
    subjects: Any = ("lab.*", "lab..x", "", "a b", 7, None, "lab\0", "lab.\ud800", ".a", "a.>", b"lab")
    for subject in subjects:
        refused(lambda subject=subject: sync.smartsend(subject, [("x", "y", "text")]), "wrong_value")
    names: Any = (7, None, b"x", "\ud800", ("x",), object())
    for name in names:
        error = refused(lambda name=name: sync.smartsend("lab.x", [("a", "b", "text"), (name, "x", "text")]), "wrong_value")
        assert error.dataname == "#1"
    odd: Any = (
        {"reply_to": "a.*"}, {"reply_to": 5}, {"reply_to": None}, {"receiver_id": 5}, {"receiver_id": None}, {"metadata": [1]},
        {"metadata": "x"}, {"metadata": {1: "a", "1": "b"}}, {"metadata": {"a": float("nan")}}, {"metadata": {"a": {1}}},
        {"msg_purpose": 1}, {"receiver": "toaster"}, {"size_threshold": "500kB"}, {"correlation_id": {}},
        {"sender_name": "\udc00"}, {"max_message_size": None}, {"broker_url": 7}, {"ttl": float("nan")}, {"ttl": -1},
        {"metadata": {"a": "\ud800"}}, {"digest_direct": "yes"}, {"size_threshold": True},
    )  # fmt: skip
    for options in odd:
        refused(lambda options=options: send(1, **options), "wrong_value")
    kinds: Any = (7, None, "Text", [], {})
    for kind in kinds:
        error = refused(lambda kind=kind: send("x", kind), "unknown_payload_type")
        assert error.dataname == "x"
    odd = (None, 7, [7], [("x",)], [("x", "y")], "xyz", ["xyz"], b"abc")
    for data in odd:
        refused(lambda data=data: sync.smartsend("lab.x", data), "wrong_value")
    pairs: Any = (("text", 7), ("text", b"x"), ("binary", "text"), ("binary", 7), ("image", None), ("jsontable", [1]), ("jsontable", "x"))
    for kind, value in pairs:
        error = refused(lambda kind=kind, value=value: send(value, kind), "wrong_value")
        assert error.dataname == "x" and "`x`" in str(error)


def test_messages_that_are_none_are_the_library_error() -> None:
    for message in ("", "[]", "1", "null", "[" * 100_000, '{"a":' * 100_000, b"\xff", '{"payloads":[7]}', '{"a":"\\ud800"}', "\ud800"):
        refused(lambda message=message: sync.smartreceive(message), "not_json", "wrong_type", "missing_field")
    others: Any = (None, 7, [], {}, object(), 10**12)
    for other in others:
        refused(lambda other=other: sync.smartreceive(other), "wrong_value")


def test_errors_have_a_class_for_each_kind_and_say_what_they_are_about() -> None:
    broken = json.dumps({"msg_id": "m-7", "correlation_id": "c-7", "payloads": [
        {"dataname": "clip", "payload_type": "dictionary", "transport": "direct", "data": base64.b64encode(b"{").decode()}]})  # fmt: skip
    with pytest.raises(natsbridge.UndecodableError) as caught:
        sync.smartreceive(broken)
    error = caught.value
    assert (error.code, error.dataname, error.msg_id, error.correlation_id) == ("undecodable", "clip", "m-7", "c-7")
    assert isinstance(error, NATSBridgeError) and "clip" in str(error)
    import copy
    import pickle

    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(again), str(again), again.code, again.msg_id) == (type(error), str(error), error.code, error.msg_id)


def test_variables_are_read_when_a_call_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "nats://elsewhere:4222")
    assert send("x", "text")[0]["broker_url"] == "nats://elsewhere:4222"
    monkeypatch.setenv("SIZE_THRESHOLD", "500kB")
    error = refused(lambda: send("x", "text"), "configuration")
    assert "SIZE_THRESHOLD" in str(error) and isinstance(error, natsbridge.ConfigurationError)
    monkeypatch.delenv("SIZE_THRESHOLD")
    monkeypatch.setenv("FILESERVER_URL", "ftp://x")
    assert "FILESERVER_URL" in str(refused(lambda: sync.smartreceive("{}"), "configuration"))


def test_several_threads_and_loops_at_once() -> None:
    failures = []

    def work(number: int) -> None:
        async def each() -> None:
            for turn in range(50):
                _, text = await smartsend("lab.x", [("n", [number, turn], "dictionary")])
                received = await smartreceive(text)
                assert received["payloads"][0][1] == [number, turn]

        try:
            asyncio.run(each())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
