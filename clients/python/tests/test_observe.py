"""Logs with the seven fields, and metrics as a dictionary and as Prometheus text."""

import json
import logging
from typing import Any

import pytest

import natsbridge
from natsbridge import NATSBridgeError, sync
from natsbridge._logs import take
from natsbridge._natsbridge import flush

FIELDS = ("correlation_id", "msg_id", "timestamp", "sender_name", "receiver_name", "payload_type", "transport")


def test_records_have_the_seven_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="natsbridge"):
        flush()
        envelope, text = sync.smartsend("lab.x", [("a", "b", "text"), ("c", b"d", "binary")], receiver_name="you")
        sync.smartreceive(text)
    records: Any = [record for record in caplog.records if record.name == "natsbridge"]
    assert len(records) == 4
    for record in records:
        assert all(isinstance(getattr(record, name), str) for name in FIELDS)
    assert [(record.payload_type, record.transport) for record in records[:2]] == [("text", "direct"), ("binary", "direct")]
    assert records[0].msg_id == envelope["msg_id"] and records[0].receiver_name == "you"
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="natsbridge"):
        flush()
        sync.smartsend("lab.x", [("a", "b", "text")])
        assert [record for record in caplog.records if record.name == "natsbridge"] == []
        with pytest.raises(NATSBridgeError):
            sync.smartreceive("{")
    records = [record for record in caplog.records if record.name == "natsbridge"]
    assert [record.levelname for record in records] == ["WARNING"] and records[0].code == "not_json"


def test_metrics_are_counted() -> None:
    before = natsbridge.metrics()
    _, text = sync.smartsend("lab.x", [("a", "b", "text")])
    sync.smartreceive(text)
    with pytest.raises(NATSBridgeError):
        sync.smartreceive(json.dumps({"payloads": 7}))
    after = natsbridge.metrics()
    assert after["messages_sent_total"] == before["messages_sent_total"] + 1
    assert after["messages_received_total"] == before["messages_received_total"] + 1
    assert after["messages_unreadable_total"]["code=wrong_type"] >= 1
    text = natsbridge.metrics_text()
    assert "# TYPE messages_sent_total counter" in text and "retry_attempts_total" in text


def test_fields_that_records_have_already_get_another_name(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    class Record(logging.LogRecord):
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            super().__init__(*arguments, **keywords)
            self.tenant = "the program's own"

    factory = logging.getLogRecordFactory()
    logging.setLogRecordFactory(Record)
    try:
        taken = ("name", "message", "asctime", "module", "filename", "process", "thread", "created", "exc_info", "tenant")
        take(logging.WARNING, "natsbridge", "happened", {name: "x" for name in (*taken, "msg_id")})
    finally:
        logging.setLogRecordFactory(factory)
    record: Any = caplog.records[-1]
    assert record.msg_id == "x" and record.tenant == "the program's own"
    assert [getattr(record, f"{name}_") for name in taken] == ["x"] * len(taken)
