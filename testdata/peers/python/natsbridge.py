"""NATSBridge for Python: `smartsend` makes the JSON of a message, `smartreceive` reads it, you publish and subscribe.

Python 3.8 or later. aiohttp is needed for links, pyarrow for arrowtable (pandas for DataFrames); the rest is the standard
library. The rules are those of docs/specification.md, and `NATSBridgeError.code` is a word of its section 9.
"""

import asyncio
import base64
import binascii
import hashlib
import ipaddress
import json
import logging
import math
import os
import random
import re
import socket
import struct
import unicodedata
import uuid
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Awaitable, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple, Union
from urllib.parse import quote, unquote_to_bytes

__all__ = [
    "smartsend", "smartreceive", "ack", "nack", "reply", "NATSBridgeError", "Envelope", "Upload", "Link", "plik_upload",
    "fetch_with_backoff", "parse_timestamp",
]  # fmt: skip

DEFAULT_BROKER_URL = "nats://localhost:4222"
DEFAULT_FILESERVER_URL = "http://localhost:8080"
DEFAULT_SIZE_THRESHOLD = 500_000
DEFAULT_MAX_MESSAGE_SIZE = 1_048_576
"""NATS's own default; pass `nc.max_payload` where a connection is at hand"""
LINK_ALLOWANCE = 2_048
"""Bytes that are planned for a link, whose URL is not known before the upload"""
MICROPYTHON_MAX_PAYLOAD = 50_000
MAX_DEPTH = 127
LINK_TTL = 24 * 60 * 60
MAX_RETRY_AFTER = 30
"""Seconds that a server may ask to wait; a transfer fails at once if it asks for more"""
LINK_TIME = 60
"""Seconds for all links of a message, and one more for each megabyte that they say they hold"""

HEADER_FIELDS = (
    "correlation_id", "msg_id", "timestamp", "send_to", "msg_purpose", "sender_name", "sender_id", "receiver_name",
    "receiver_id", "reply_to", "reply_to_msg_id", "broker_url",
)  # fmt: skip
PAYLOAD_FIELDS = ("id", "dataname", "payload_type", "transport", "encoding", "size", "data", "metadata")
BYTES_TYPES = ("image", "audio", "video", "binary")
PAYLOAD_TYPES = ("text", "dictionary", "arrowtable", "jsontable") + BYTES_TYPES
RECEIVERS = ("desktop", "browser", "micropython")
MAX_SUBJECT = 2_000
USER_AGENT = "plik_client/natsbridge-python"  # a Plik up to 1.3.8 redirects other agents to a web page when it fails

_log = logging.getLogger("natsbridge")


class NATSBridgeError(Exception):
    """What went wrong: `code` is a word of the specification's section 9, `dataname` the payload at fault or None;
    `msg_id` and `correlation_id` are the message's, None where it could not be read so far"""

    def __init__(self, code: str, message: str, dataname: Optional[str] = None):
        super().__init__(message if dataname is None else f"payload `{dataname}`: {message}")
        self.code = code
        self.dataname = dataname
        self.msg_id: Optional[str] = None
        self.correlation_id: Optional[str] = None


def _setting(variable: str, otherwise: str) -> str:
    """A default from the environment, read when a call is made"""
    return os.environ.get(variable) or otherwise


def _threshold() -> int:
    text = _setting("SIZE_THRESHOLD", str(DEFAULT_SIZE_THRESHOLD))
    if not re.fullmatch("[0-9]{1,18}", text.strip(), re.ASCII):
        raise NATSBridgeError("wrong_value", f"the variable SIZE_THRESHOLD is not a number of bytes: {_shown(text)}")
    return int(text)


@contextmanager
def _about(envelope: Dict[str, Any]) -> Iterator[None]:
    """Tells an error which message it is about"""
    try:
        yield
    except NATSBridgeError as error:
        error.msg_id, error.correlation_id = envelope.get("msg_id") or None, envelope.get("correlation_id") or None
        raise


@contextmanager
def _fence(code: str, what: str, dataname: Optional[str] = None) -> Iterator[None]:
    """Lets no error out but the library's own, and gives it the payload's name"""
    try:
        yield
    except NATSBridgeError as error:
        if dataname is None or error.dataname is not None:
            raise
        raise NATSBridgeError(error.code, str(error), dataname) from error
    except (MemoryError, RecursionError) as error:
        raise NATSBridgeError("too_large", f"{what}: it does not fit into memory", dataname) from error
    except Exception as error:
        raise NATSBridgeError(code, f"{what}: {type(error).__name__}: {error}", dataname) from error


class Envelope(dict):
    """A message as it goes into JSON; remembers what was uploaded for it"""

    _deletes: List[Callable[[], Awaitable[Any]]]

    async def discard(self) -> None:
        """Deletes the uploads, for a message that could not be published"""
        for delete in self._deletes:
            try:
                await delete()
            except Exception as error:  # the link expires by itself
                _log.warning("an upload could not be deleted: %s", error)
        self._deletes = []


@dataclass
class Upload:
    """What an upload handler is given; it returns the URL, or a dict with `url` and, where known, `expires_at` (text),
    `one_shot` and `delete` (an async function without arguments)"""

    fileserver_url: str
    dataname: str
    data: bytes
    one_shot: bool = False
    ttl: int = LINK_TTL
    token: str = ""
    max_retries: int = 5
    base_delay: int = 100
    max_delay: int = 5000


@dataclass
class Link:
    """What a download handler is given; it returns the bytes, which are checked afterwards"""

    url: str
    dataname: str
    size: int = 0
    """What the sender says, 0 if nothing"""
    limit: int = 10_000_000_000
    """Most bytes to read"""
    one_shot: bool = False
    expires_at: Optional[datetime] = None
    allowed_origins: Union[None, str, Tuple[str, ...]] = None
    """The only origins that are asked; None: `fileserver_url`'s alone"""
    fileserver_url: Optional[str] = None
    """None: FILESERVER_URL's; `""` where there is no file server: then, without `allowed_origins`, any address that is not on the list"""
    max_retries: int = 5
    base_delay: int = 100
    max_delay: int = 5000


Payload = Tuple[str, Any, str]
UploadHandler = Callable[[Upload], Awaitable[Union[str, dict]]]
DownloadHandler = Callable[[Link], Awaitable[bytes]]


# ---------------------------------------------------------------------------------------------------------- sending


async def smartsend(
    subject: str,
    data: Iterable[Payload],
    *,
    broker_url: Optional[str] = None,
    fileserver_url: Optional[str] = None,
    fileserver_upload_handler: Optional[UploadHandler] = None,
    fileserver_token: Optional[str] = None,
    size_threshold: Optional[int] = None,
    max_message_size: int = DEFAULT_MAX_MESSAGE_SIZE,
    receiver: str = "desktop",
    links: bool = True,
    convert_tables: bool = False,
    digest_direct: bool = False,
    correlation_id: str = "",
    msg_purpose: str = "chat",
    sender_name: str = "NATSBridge",
    receiver_name: str = "",
    receiver_id: str = "",
    reply_to: str = "",
    reply_to_msg_id: str = "",
    msg_id: str = "",
    sender_id: str = "",
    metadata: Optional[Dict[str, Any]] = None,
    awaits_ack: bool = False,
    one_shot: Optional[bool] = None,
    ttl: int = LINK_TTL,
    new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> Tuple[Envelope, str]:
    """Serialises `(dataname, data, type)` payloads into one message and uploads what is too large for NATS.

    Returns the envelope and the JSON to publish on `subject`. `receiver` is `desktop`, `browser` or `micropython`. Say
    `awaits_ack` when you repeat the message until it is acknowledged. A link is one-shot when `receiver_id` names one
    receiver who is asked for no acknowledgement and no answer (`reply_to`); `one_shot=False` makes it expire instead, and
    `one_shot=True` in any other case is an error. Defaults of the two URLs, the token and the threshold are the variables
    NATS_URL, FILESERVER_URL, FILESERVER_TOKEN and SIZE_THRESHOLD. Every error is a `NATSBridgeError`.
    """
    with _fence("wrong_value", "the message can't be sent"):
        broker_url = _setting("NATS_URL", DEFAULT_BROKER_URL) if broker_url is None else broker_url
        fileserver_url = _setting("FILESERVER_URL", DEFAULT_FILESERVER_URL) if fileserver_url is None else fileserver_url
        fileserver_token = _setting("FILESERVER_TOKEN", "") if fileserver_token is None else fileserver_token
        size_threshold = _threshold() if size_threshold is None else size_threshold
        texts = dict(
            correlation_id=correlation_id, msg_id=msg_id, msg_purpose=msg_purpose, sender_name=sender_name,
            sender_id=sender_id, receiver_name=receiver_name, receiver_id=receiver_id, reply_to_msg_id=reply_to_msg_id,
            broker_url=broker_url, fileserver_url=fileserver_url, fileserver_token=fileserver_token,
        )  # fmt: skip
        for name, value in texts.items():
            _check_text(name, value)
        _check_subject("subject", subject)
        if reply_to != "":
            _check_subject("reply_to", reply_to)
        for name, number in (("size_threshold", size_threshold), ("max_message_size", max_message_size), ("ttl", ttl)):
            if isinstance(number, bool) or not isinstance(number, (int, float)) or number != number:
                raise _wrong(f"`{name}` is not a number")
        if receiver not in RECEIVERS:
            raise _wrong(f"`receiver` is not one of {', '.join(RECEIVERS)}")
        if metadata is not None and not isinstance(metadata, dict):
            raise _wrong("`metadata` is not a dict")
        answered = awaits_ack or reply_to != ""
        if one_shot and (not receiver_id or answered):
            why = "no receiver_id names the one who reads it" if not receiver_id else "it may be read again for an acknowledgement or an answer"
            raise _wrong(f"a link of this message can't be one-shot: {why}; leave `one_shot` out")
        once = bool(receiver_id and not answered) if one_shot is None else bool(one_shot)

        envelope = Envelope(
            correlation_id=correlation_id or new_id(),
            msg_id=msg_id or new_id(),
            timestamp=_timestamp(now()),
            send_to=subject,
            msg_purpose=msg_purpose,
            sender_name=sender_name,
            sender_id=sender_id or new_id(),
            receiver_name=receiver_name,
            receiver_id=receiver_id,
            reply_to=reply_to,
            reply_to_msg_id=reply_to_msg_id,
            broker_url=",".join(_redacted(url.strip()) for url in broker_url.split(",")),
            metadata=dict(metadata or {}),
            payloads=[],
        )
        envelope._deletes = []

    with _about(envelope):
        with _fence("wrong_value", "the message can't be sent"):
            with _fence("wrong_value", "`metadata` has no JSON form"):
                _check_json(envelope["metadata"], "too_deep")
                _dumps(envelope["metadata"]).encode("utf-8")
            if isinstance(data, (str, bytes)):
                raise _wrong("the payloads are not a list")
            drafts = [_draft(index, item, receiver, convert_tables, new_id) for index, item in enumerate(data)]
            may_link = bool(links) and receiver != "micropython"
            _plan(envelope, drafts, size_threshold if may_link else math.inf, max_message_size, may_link, bool(digest_direct))

        upload = fileserver_upload_handler or plik_upload
        try:
            for draft in drafts:
                payload = draft.payload
                payload["size"] = len(draft.body)
                if draft.direct:
                    payload["data"] = base64.b64encode(draft.body).decode("ascii")
                else:
                    request = Upload(fileserver_url, payload["dataname"], draft.body, once, ttl, fileserver_token)
                    with _fence("handler", "the upload handler failed", payload["dataname"]):
                        stored = await upload(request)
                        stored = {"url": stored} if isinstance(stored, str) else stored
                        if stored.get("delete"):
                            envelope._deletes.append(stored["delete"])
                        _check_text("url", stored["url"])
                        if stored.get("one_shot") and (not receiver_id or answered):
                            why = "the store made a link that can be read once, and this message may be read more than once"
                            raise NATSBridgeError("rejected", why, payload["dataname"])
                        payload.update(transport="link", encoding="none", data=stored["url"])
                        payload["metadata"] = {"sha256": hashlib.sha256(draft.body).hexdigest()}
                        payload["metadata"].update({key: stored[key] for key in ("expires_at", "one_shot") if stored.get(key)})
                envelope["payloads"].append(payload)
            with _fence("wrong_value", "the message can't be sent"):
                text = _dumps(envelope)
                text.encode("utf-8")
        except BaseException:
            await envelope.discard()
            raise
    _observe("sent", envelope)
    return envelope, text


async def reply(received: Dict[str, Any], data: Iterable[Payload], *, reply_subject: str = "", **options: Any) -> Tuple[str, Envelope, str]:
    """The subject, the envelope and the JSON of an answer to a message that `smartreceive` read; `options` are those of
    `smartsend`, and `reply_subject` is NATS' own, for a message without `reply_to`"""
    subject = _reply_subject(received, reply_subject)
    flow = dict(correlation_id=received["correlation_id"], reply_to_msg_id=received["msg_id"])
    flow.update(receiver_name=received["sender_name"], receiver_id=received["sender_id"])
    envelope, text = await smartsend(subject, data, **dict(flow, **options))
    return subject, envelope, text


async def ack(received: Dict[str, Any], *, reply_subject: str = "", **options: Any) -> Tuple[str, str]:
    """The subject and the JSON of an ACK, to be published once the message has been handled"""
    subject, _, text = await reply(received, [], reply_subject=reply_subject, msg_purpose="ACK", **options)
    return subject, text


async def nack(
    received: Dict[str, Any], reason: str, *, code: str = "handler", retryable: bool = False, reply_subject: str = "", **options: Any
) -> Tuple[str, str]:
    """The subject and the JSON of a NACK: the message could not be handled, and whether a repeat of it may be"""
    told = dict(code=code, reason=reason, retryable=bool(retryable))
    subject, _, text = await reply(received, [], reply_subject=reply_subject, msg_purpose="NACK", metadata=told, **options)
    return subject, text


def _reply_subject(received: Any, reply_subject: str) -> str:
    if not isinstance(received, dict) or not all(isinstance(received.get(name), str) for name in HEADER_FIELDS):
        raise _wrong("only a message that smartreceive read can be answered")
    subject = received["reply_to"] or reply_subject
    if received["msg_purpose"] in ("ACK", "NACK"):
        raise _wrong(f"no {received['msg_purpose']} is answered")
    if not subject:
        raise _wrong("the message asks for no answer: it has no reply_to")
    _check_subject("reply_to", subject)
    if subject.startswith("$"):
        raise _wrong(f"subjects with $ belong to the server: {_shown(subject)}")
    return subject


def _wrong(message: str, dataname: Optional[str] = None) -> NATSBridgeError:
    return NATSBridgeError("wrong_value", message, dataname)


def _check_text(name: str, value: Any, dataname: Optional[str] = None) -> None:
    """What every receiver reads as text"""
    if not isinstance(value, str):
        raise _wrong(f"`{name}` is not a string but {type(value).__name__}", dataname)
    if re.search("[\ud800-\udfff]", value):
        raise _wrong(f"`{name}` has a lone surrogate", dataname)


def _check_subject(name: str, value: Any) -> None:
    """A subject to publish to: tokens between dots, none of them empty or a wildcard"""
    _check_text(name, value)
    tokens = value.split(".")
    if not value or not all(tokens) or "*" in tokens or ">" in tokens or len(value.encode("utf-8")) > MAX_SUBJECT:
        raise _wrong(f"`{name}` is no subject to publish to: {_shown(value)}; use words with dots between them, such as lab.results")
    if any(char.isspace() or unicodedata.category(char) == "Cc" for char in value):
        raise _wrong(f"`{name}` has white space or control characters: {_shown(value)}")


def _shown(text: str) -> str:
    """Strangers' text for an error: at most 80 characters, escaped"""
    return ascii(text[:80]) + ("…" if len(text) > 80 else "")


@dataclass
class _Draft:
    """A payload on its way: all of it but the body, the body, and how it travels"""

    payload: Dict[str, Any]
    body: bytes
    direct: bool = True
    base_len: int = field(init=False)

    def __post_init__(self) -> None:
        self.measure()

    def measure(self) -> None:
        self.base_len = len(_dumps(self.payload).encode())

    @property
    def direct_len(self) -> int:
        return self.base_len + len(str(len(self.body))) - 1 + (len(self.body) + 2) // 3 * 4

    @property
    def link_len(self) -> int:
        return self.base_len + LINK_ALLOWANCE


def _draft(index: int, item: Payload, receiver: str, convert_tables: bool, new_id: Callable[[], str]) -> _Draft:
    if not isinstance(item, (tuple, list)) or len(item) != 3:
        raise _wrong("it is not (dataname, data, payload_type)", f"#{index}")
    dataname, value, payload_type = item
    _check_text("dataname", dataname, f"#{index}")
    if not isinstance(payload_type, str) or payload_type not in PAYLOAD_TYPES:
        raise NATSBridgeError("unknown_payload_type", f"unknown payload_type {_shown(str(payload_type))}", dataname)
    if payload_type == "arrowtable" and receiver != "desktop":
        if not convert_tables:
            raise NATSBridgeError("unsupported", f"a {receiver} receiver reads no arrowtable; send it as jsontable", dataname)
        payload_type = "jsontable"
    with _fence("wrong_value", f"it can't be sent as {payload_type}", dataname):
        body = _serialise(value, payload_type)
    if receiver == "micropython" and len(body) > MICROPYTHON_MAX_PAYLOAD:
        limit = MICROPYTHON_MAX_PAYLOAD
        raise NATSBridgeError("too_large", f"it has {len(body)} bytes, a MicroPython receiver takes {limit}", dataname)
    payload = dict(id=new_id(), dataname=dataname, payload_type=payload_type, transport="direct", encoding="base64")
    payload.update(size=0, data="", metadata={})
    return _Draft(payload, body)


def _plan(envelope: Envelope, drafts: List[_Draft], threshold: float, limit: int, may_link: bool, digest: bool) -> None:
    """Chooses by the threshold, then turns the largest direct payloads into links until the envelope fits"""
    for draft in drafts:
        draft.direct = len(draft.body) < threshold
        if draft.direct and digest:
            draft.payload["metadata"]["sha256"] = hashlib.sha256(draft.body).hexdigest()
            draft.measure()
    total = len(_dumps(envelope).encode()) + max(0, len(drafts) - 1)
    total += sum(draft.direct_len if draft.direct else draft.link_len for draft in drafts)
    for draft in sorted((draft for draft in drafts if draft.direct and may_link), key=lambda draft: -len(draft.body)):
        saved = draft.direct_len - draft.link_len
        if total <= limit or saved <= 0:
            break
        total -= saved
        draft.direct = False
    if total > limit:
        sizes = ", ".join(f"{draft.payload['dataname']}: {len(draft.body)}" for draft in drafts if draft.direct)
        raise NATSBridgeError("too_large", f"the message needs {total} bytes, the broker takes {limit} (direct: {sizes})")


async def plik_upload(upload: Upload) -> dict:
    """Stores the bytes on a Plik file server; what breaks is done again from the start, after pauses that double"""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=1800, sock_connect=5, sock_read=60)
    delay = upload.base_delay
    for attempt in range(upload.max_retries + 1):
        wait: Optional[float] = 0.0
        try:
            async with aiohttp.ClientSession(headers={"User-Agent": USER_AGENT}, timeout=timeout) as http:
                return await _Plik(upload, http, timeout).store()
        except _Refused as refused:
            error, wait = refused.error, refused.wait
            if not refused.temporary:
                raise error from None
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, LookupError, AttributeError, TypeError, ValueError) as cause:
            code = "timeout" if isinstance(cause, asyncio.TimeoutError) else "untrusted" if _is_certificate(cause) else "unreachable"
            error = NATSBridgeError(code, f"failed to upload: {type(cause).__name__}: {cause}", upload.dataname)
            error.__cause__ = cause
            if isinstance(cause, aiohttp.InvalidURL) or code == "untrusted":
                raise error
        if attempt == upload.max_retries or wait is None:
            raise error
        await asyncio.sleep(max(wait, delay * random.uniform(0.5, 1.0) / 1000))
        delay = min(delay * 2, upload.max_delay)
    raise AssertionError("the last attempt returns or raises")


class _Refused(Exception):
    """An answer of the file server that is no success, and whether another attempt may have one"""

    def __init__(self, error: NATSBridgeError, temporary: bool, wait: Optional[float] = 0.0):
        super().__init__(str(error))
        self.error, self.temporary, self.wait = error, temporary, wait


class _Plik:
    """One attempt to store the bytes"""

    def __init__(self, upload: Upload, http: Any, timeout: Any):
        self.upload, self.http, self.timeout = upload, http, timeout
        self.base = upload.fileserver_url.rstrip("/")
        self.token = {"X-PlikToken": upload.token} if upload.token else {}

    async def ask(self, http: Any, method: str, path: str, headers: Optional[dict] = None, **arguments: Any) -> Any:
        headers = dict(self.token, **(headers or {}))
        async with http.request(method, self.base + path, allow_redirects=False, headers=headers, **arguments) as response:
            text = (await response.content.read(1 << 16)).decode("utf-8", "replace")
            if response.status == 200:
                return json.loads(text) if method != "DELETE" else None
            code = {401: "refused", 403: "refused", 407: "refused", 413: "too_large"}.get(response.status, "rejected")
            if "too big" in text:
                code = "too_large"
            if "anonymous uploads are disabled" in text:
                code = "refused"
            error = NATSBridgeError(code, f"failed to upload: {response.status} {_shown(text.strip())}", self.upload.dataname)
            waits = response.headers.get("Retry-After")
            # An upload that vanished between two requests is made again.
            temporary = _is_temporary(response.status, waits) or (response.status == 404 and path.startswith("/file/"))
            raise _Refused(error, temporary, _seconds(waits))

    def refuse(self, code: str, message: str, temporary: bool = False) -> _Refused:
        return _Refused(NATSBridgeError(code, f"failed to upload: {message}", self.upload.dataname), temporary)

    async def wish(self) -> dict:
        """What is asked for: the nearest to the caller's wish that the server's configuration offers"""
        upload, wish = self.upload, {"oneShot": self.upload.one_shot, "ttl": max(1, math.ceil(self.upload.ttl))}
        try:
            config = await self.ask(self.http, "GET", "/config")
        except _Refused as refused:
            if refused.temporary:
                raise
            return wish
        except ValueError:
            return wish
        if not isinstance(config, dict):
            return wish
        number = lambda name: config[name] if isinstance(config.get(name), int) and config[name] > 0 else 0  # noqa: E731
        if 0 < number("maxFileSize") < len(upload.data):
            raise self.refuse("too_large", f"the payload has {len(upload.data)} bytes, the server takes {number('maxFileSize')}")
        if config.get("feature_stream") == "forced":
            raise self.refuse("rejected", "the server forces streaming, which keeps nothing for a receiver that reads later")
        if number("maxTTL"):
            wish["ttl"] = min(wish["ttl"], number("maxTTL"))
        if config.get("feature_one_shot") == "disabled":
            wish["oneShot"] = False
        return wish

    async def store(self) -> dict:
        import aiohttp

        upload = self.upload
        wish = await self.wish()
        created = await self.ask(self.http, "POST", "/upload", json=wish)
        secret = {"X-UploadToken": created["uploadToken"]}

        async def delete() -> None:
            async with aiohttp.ClientSession(headers={"User-Agent": USER_AGENT}, timeout=self.timeout) as http:
                await self.ask(http, "DELETE", f"/upload/{quote(created['id'], safe='')}", headers=secret)

        form = aiohttp.FormData()
        form.add_field("file", upload.data, filename="payload.bin", content_type="application/octet-stream")
        try:
            kept = await self.ask(self.http, "POST", f"/file/{quote(created['id'], safe='')}", data=form, headers=secret)
            md5 = kept.get("fileMd5")
            right = kept.get("status") == "uploaded" and kept.get("fileSize") == len(upload.data)
            if not right or (md5 and md5.lower() != hashlib.md5(upload.data).hexdigest()):
                raise self.refuse("rejected", "the server stored other bytes", temporary=True)
        except BaseException:
            # A broken upload can't be continued; if it can't be deleted either, it expires.
            await asyncio.gather(asyncio.wait_for(delete(), 2), return_exceptions=True)
            raise
        if bool(created.get("oneShot")) != wish["oneShot"] or wish["oneShot"] != upload.one_shot:
            _log.warning("the file server made links %s", "that can be read once" if created.get("oneShot") else "that can be read more than once")
        expires_at = parse_timestamp(created["expireAt"]) if created.get("expireAt") else None
        if expires_at is None and (created.get("ttl") or 0) > 0:
            expires_at = datetime.now(timezone.utc) + timedelta(seconds=created["ttl"])
        path = "/".join(quote(part, safe="") for part in (created["id"], kept["id"], kept["fileName"]))
        return {
            "url": f"{_link_base(created, self.base)}/file/{path}",
            "expires_at": _timestamp(expires_at) if expires_at else None,
            "one_shot": bool(created.get("oneShot")),
            "delete": delete,
        }


def _link_base(created: dict, base: str) -> str:
    """Where links begin; administrators forget the scheme, and such links lead nowhere"""
    found = [str(created.get(name) or "").strip().rstrip("/") for name in ("downloadURL", "downloadDomain")]
    host = next(filter(None, found), base)
    return host if "://" in host else f"{base.split('://')[0]}://{host}"


def _is_temporary(status: int, retry_after: Optional[str]) -> bool:
    """Whether the same request may succeed later; 501, 505, 507 and similar are about the request or the disk"""
    if status == 409:
        return retry_after is not None
    return status in (408, 425, 429) or (status >= 500 and status not in (501, 505, 506, 507, 508, 510, 511))


def _is_certificate(error: BaseException) -> bool:
    import ssl

    return isinstance(error, ssl.SSLError) or isinstance(getattr(error, "certificate_error", None), ssl.SSLError)


# -------------------------------------------------------------------------------------------------------- receiving


async def smartreceive(
    msg_json_str: Union[str, bytes],
    *,
    fileserver_download_handler: Optional[DownloadHandler] = None,
    max_retries: int = 5,
    base_delay: int = 100,
    max_delay: int = 5000,
    allowed_origins: Union[None, str, Iterable[str]] = None,
    fileserver_url: Optional[str] = None,
    strict: bool = False,
    max_payload_size: int = 10_000_000_000,
) -> Envelope:
    """Reads a message and downloads what came as a link.

    Returns the envelope with `payloads` as a list of `(dataname, data, type)`; delays are milliseconds. Links are followed
    to the origin of `fileserver_url`, or only to `allowed_origins` where it is given: one origin or several, such as
    `https://files.example.com`; an empty list allows nothing. Without a file server (`fileserver_url=""`) and without
    `allowed_origins`, links are followed to any address that the specification (section 8) does not forbid. Every error is a
    `NATSBridgeError`.
    """
    allowed = _origins(allowed_origins, fileserver_url)
    envelope = Envelope()
    with _about(envelope), _fence("not_json", "the message is not an envelope"):
        _read_envelope(msg_json_str, envelope)
    _observe("received", envelope)
    with _about(envelope):
        options = (allowed, fileserver_url, max_retries, base_delay, max_delay, strict, max_payload_size)
        envelope["payloads"] = await _open(envelope["payloads"], fileserver_download_handler or fetch_with_backoff, *options)
    return envelope


async def _open(
    payloads: List[dict], download: DownloadHandler, allowed: Optional[Tuple[str, ...]], fileserver_url: Optional[str], max_retries: int,
    base_delay: int, max_delay: int, strict: bool, max_payload_size: int,
) -> List[Payload]:  # fmt: skip
    """The payloads, downloaded where they are links, checked, decoded"""
    received = []
    seconds = LINK_TIME + sum(payload["size"] for payload in payloads if payload["body"] is None) / 1_000_000
    deadline = asyncio.get_running_loop().time() + min(seconds, 86_400)
    for payload in payloads:
        name, body, metadata = payload["dataname"], payload["body"], payload["metadata"]
        stated = metadata.get("sha256")
        if stated is not None and not (isinstance(stated, str) and re.fullmatch("[0-9a-fA-F]{64}", stated)):
            raise NATSBridgeError("digest", "its sha256 is no digest", name)
        too_large = f"it is larger than this receiver takes, {max_payload_size} bytes"
        if (payload["size"] if body is None else len(body)) > max_payload_size:
            raise NATSBridgeError("too_large", too_large, name)
        if body is None:
            if strict and stated is None:
                raise NATSBridgeError("digest_missing", "it is a link without sha256", name)
            expires_at = metadata.get("expires_at")
            link = Link(
                payload["data"], name, payload["size"], payload["size"] or max_payload_size, metadata.get("one_shot") is True,
                parse_timestamp(expires_at) if isinstance(expires_at, str) else None,
                allowed, "" if allowed is None else fileserver_url, max_retries, base_delay, max_delay,
            )  # fmt: skip
            with _fence("handler", "the download failed", name):
                left = deadline - asyncio.get_running_loop().time()
                try:
                    body = await asyncio.wait_for(download(link), max(left, 0.001))
                except asyncio.TimeoutError as error:
                    raise NATSBridgeError("timeout", "its message's links took too long") from error
                if not isinstance(body, (bytes, bytearray, memoryview)):
                    raise TypeError(f"a download handler returns bytes, not {type(body).__name__}")
                body = bytes(body)
            if link.size and len(body) != link.size:
                raise NATSBridgeError("size_mismatch", f"the link holds {len(body)} bytes instead of {link.size}", name)
            if len(body) > max_payload_size:
                raise NATSBridgeError("too_large", too_large, name)
        elif payload["size"] not in (0, len(body)):
            if strict:
                raise NATSBridgeError("size_mismatch", f"it has {len(body)} bytes instead of {payload['size']}", name)
            _log.warning("payload %s has %d bytes instead of %d", _shown(name), len(body), payload["size"])
        if stated is not None and hashlib.sha256(body).hexdigest() != stated.lower():
            raise NATSBridgeError("digest", "it holds other bytes than were sent", name)
        with _fence("undecodable", f"it is not a readable {payload['payload_type']}", name):
            received.append((name, _deserialise(body, payload["payload_type"]), payload["payload_type"]))
    return received


def _read_envelope(message: Union[str, bytes], into: Optional[Envelope] = None) -> Envelope:
    """The envelope with every field; a payload's `body` is its bytes, or None for a link"""
    envelope = Envelope() if into is None else into
    if not isinstance(message, (str, bytes, bytearray, memoryview)):
        raise _wrong(f"a message is str or bytes, not {type(message).__name__}")
    try:
        text = message if isinstance(message, str) else bytes(message).decode("utf-8")
        raw = _loads(text)
        if re.search(r"\\u[dD][89a-fA-F]", text):
            _dumps(raw).encode("utf-8")  # lone surrogates can't be encoded
    except UnicodeError as error:
        raise NATSBridgeError("not_json", f"not JSON at line 1, column {error.start + 1}: not Unicode") from error
    except (ValueError, RecursionError) as error:
        raise NATSBridgeError("not_json", f"the message is not an envelope: {error}") from error
    if not isinstance(raw, dict):
        found = {list: "a JSON array", str: "a JSON string", bool: "a JSON boolean", type(None): "JSON null"}.get(type(raw), "a JSON number")
        raise NATSBridgeError("wrong_type", f"the message is not an envelope: it is {found}, not an object")
    _once(raw, text, HEADER_FIELDS + ("metadata", "payloads"))
    for name in HEADER_FIELDS:
        envelope[name] = _text(raw, name) or ""
    envelope["metadata"] = _metadata(raw, text)
    envelope._deletes = []
    payloads = raw.get("payloads")
    if payloads is None:
        raise NATSBridgeError("missing_field", "the message is not an envelope: `payloads` is missing")
    if not isinstance(payloads, list):
        raise NATSBridgeError("wrong_type", "the envelope's `payloads` is not an array")
    for payload in payloads:
        if isinstance(payload, dict):
            _once(payload, text, PAYLOAD_FIELDS)
    envelope["payloads"] = [_read_payload(index, payload, text) for index, payload in enumerate(payloads)]
    return envelope


def _read_payload(index: int, raw: Any, text: str) -> Dict[str, Any]:
    if not isinstance(raw, dict):
        raise NATSBridgeError("wrong_type", f"item {index} of `payloads` is not an object")
    name = _text(raw, "dataname", f"#{index}") or ""
    payload: Dict[str, Any] = {"dataname": name, "id": _text(raw, "id", name) or ""}
    for word, known in (("payload_type", PAYLOAD_TYPES), ("transport", ("direct", "link"))):
        payload[word] = _text(raw, word, name)
        if payload[word] is None:
            raise NATSBridgeError("missing_field", f"`{word}` is missing", name)
        if payload[word] not in known:
            raise NATSBridgeError(f"unknown_{word}", f"unknown {word} `{payload[word]}`", name)
    encoding = _text(raw, "encoding", name) or "base64"
    size = 0 if raw.get("size") is None else raw["size"]
    if isinstance(size, bool) or not isinstance(size, (int, float)) or size < 0 or size != int(size):
        raise NATSBridgeError("wrong_type", "`size` is not a number of bytes", name)
    payload.update(size=int(size), metadata=_metadata(raw, text, name), body=None)
    if payload["transport"] == "direct":
        if encoding not in ("none", "json", "base64", "arrow-ipc"):
            raise NATSBridgeError("unknown_encoding", f"unknown encoding `{encoding}`", name)
        if encoding == "json" and "data" in raw and not isinstance(raw["data"], str):
            payload["body"] = _dumps(raw["data"]).encode("utf-8")
            return payload
    data = payload["data"] = _text(raw, "data", name)
    if data is None:
        raise NATSBridgeError("missing_field", "`data` is missing", name)
    if payload["transport"] == "direct":
        payload["body"] = data.encode("utf-8") if encoding == "none" else _unbase64(data, name)
    return payload


def _text(raw: dict, name: str, dataname: Optional[str] = None) -> Optional[str]:
    value = raw.get(name)
    if value is not None and not isinstance(value, str):
        raise NATSBridgeError("wrong_type", f"`{name}` is not a string", dataname)
    return value


def _metadata(raw: dict, text: str, dataname: Optional[str] = None) -> dict:
    value = raw.get("metadata")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise NATSBridgeError("wrong_type", "`metadata` is not an object", dataname)
    _once(value, text, value)
    return value


def _unbase64(text: str, dataname: str) -> bytes:
    """Strictly, then without padding, in the URL-safe alphabet, with white space"""
    plain = re.sub("[ \t\r\n]", "", text).replace("-", "+").replace("_", "/")
    core = plain.rstrip("=")
    try:
        body = binascii.a2b_base64(core + "=" * (-len(core) % 4))
        # a2b skips what is not base64, and the way back shows it
        if base64.b64encode(body).decode("ascii").rstrip("=") == core and len(plain) - len(core) <= -len(core) % 4:
            return body
    except ValueError:
        pass
    raise NATSBridgeError("base64", "its data is not base64", dataname)


async def fetch_with_backoff(link: Link) -> bytes:
    """Reads a link: no redirects, a byte limit, `max_retries` retries after pauses that double up to `max_delay`"""
    import aiohttp
    from yarl import URL

    def failed(code: str, message: str) -> NATSBridgeError:
        return NATSBridgeError(code, f"failed to fetch {_redacted(link.url)}: {message}", link.dataname)

    try:
        at = _read_url(link.url)
    except ValueError as error:
        raise failed("blocked_origin", f"it is no http or https URL without user info: {error}") from error
    allowed = _origins(link.allowed_origins, link.fileserver_url)
    if allowed is not None and at.origin not in {_read_url(origin).origin for origin in allowed}:
        places = ", ".join(allowed) or "nothing is"
        raise failed("blocked_origin", f"its origin is not allowed (allowed: {places}); pass allowed_origins if you trust it")

    class Guard(aiohttp.resolver.ThreadedResolver):
        """Resolves once and hands out only addresses that may be connected to"""

        async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_UNSPEC) -> List[Any]:
            found = await super().resolve(host, port, family)
            safe = [entry for entry in found if not _is_forbidden(entry["host"])]
            if found and not safe:
                raise failed("blocked_origin", "it leads to an address that no link may lead to")
            return safe

    if allowed is None and _is_forbidden(at.host):
        raise failed("blocked_origin", "it leads to an address that no link may lead to")
    connector = aiohttp.TCPConnector() if allowed is not None else aiohttp.TCPConnector(resolver=Guard())
    url = URL(at.url, encoded=True)
    refused = (aiohttp.ClientConnectorError, getattr(aiohttp, "ConnectionTimeoutError", aiohttp.ServerTimeoutError))
    timeout = aiohttp.ClientTimeout(total=1800, sock_connect=5, sock_read=30)
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    delay, reason = link.base_delay, ""
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers, auto_decompress=False) as http:
        for attempt in range(link.max_retries + 1):
            pause = 0.0
            try:
                async with http.get(url, allow_redirects=False) as response:
                    status = response.status
                    coding = response.headers.get("Content-Encoding", "identity")
                    if status == 200 and coding.lower() != "identity":
                        raise failed("rejected", f"it is encoded as {_shown(coding)}, which nobody asked for")
                    if status == 200:
                        body = await _read_limited(response, link.limit)
                        if body is None:
                            code = "size_mismatch" if link.size else "too_large"
                            raise failed(code, f"it holds more than {link.limit} bytes")
                        if response.content_length is None or len(body) == response.content_length:
                            return body
                        status, text = 500, "the body ended early"
                    else:
                        text = (await response.content.read(4096)).decode("utf-8", "replace").strip()[:200]
                        location = response.headers.get("Location", "")
                        if 300 <= status < 400:  # a Plik up to 1.3.8 hides its errors in a redirect
                            status = _hidden_status(location)
                            text = location if status else "a redirect is not followed"
                    waits = response.headers.get("Retry-After")
                    code = _refusal(status, text, link, waits)
                    if code:
                        raise failed(code, f"{status} {_shown(text)}")
                    reason = f"{status} {_shown(text)}"
                    asked = _seconds(waits)
                    if asked is None:
                        raise failed("download_retry_exceeded", f"the server asks to wait longer than {MAX_RETRY_AFTER} s: {reason}")
                    pause = asked
            except aiohttp.InvalidURL as error:
                raise failed("blocked_origin", "it is no URL") from error
            except UnicodeError as error:
                raise failed("unreachable", f"no resolver takes its host: {error}") from error
            except refused as error:
                if _is_certificate(error):
                    raise failed("untrusted", f"its certificate is not trusted: {error}") from error
                reason = str(error)
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
                reason = f"{type(error).__name__}: {error}"
                if link.one_shot:
                    raise failed("consumed", f"a link that can be read once broke ({reason})") from error
            if attempt < link.max_retries:
                await asyncio.sleep(max(pause, delay * random.uniform(0.5, 1.0) / 1000))
                delay = min(delay * 2, link.max_delay)
    raise failed("download_retry_exceeded", f"gave up after {link.max_retries} retries: {reason}")


def _hidden_status(location: str) -> int:
    found = re.search("[?&]errcode=([45][0-9]{2})(?![0-9])", location)
    return int(found[1]) if found else 0


async def _read_limited(response: Any, limit: int) -> Optional[bytes]:
    body = bytearray()
    clock = asyncio.get_running_loop().time
    since, before = clock(), 0
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > limit:
            return None
        if clock() - since > 30:
            if len(body) - before < 30_000:
                raise NATSBridgeError("timeout", "it comes with less than 1,000 bytes a second")
            since, before = clock(), len(body)
    return bytes(body)


def _refusal(status: int, text: str, link: Link, retry_after: Optional[str] = None) -> Optional[str]:
    """The code of an answer that another try would not change"""
    if _is_temporary(status, retry_after):
        return "consumed" if link.one_shot and status >= 500 else None
    if status in (400, 401, 403, 404, 410):
        ends = [moment for moment in (link.expires_at, _presigned_until(link.url)) if moment]
        if "expired" in text.lower() or any(moment < datetime.now(timezone.utc) for moment in ends):
            return "expired"
    if status in (404, 410):
        return "consumed" if link.one_shot else "not_found"
    return {0: "blocked_origin", 401: "refused", 403: "refused", 407: "refused"}.get(status, "rejected")


def _presigned_until(url: str) -> Optional[datetime]:
    """When a presigned link of S3 ends, as the link says"""
    begin, seconds = (re.search(f"[?&]X-Amz-{name}=([0-9TZ]+)", url) for name in ("Date", "Expires"))
    try:
        moment = datetime.strptime(begin[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc) if begin else None
        return moment + timedelta(seconds=int(seconds[1])) if moment and seconds else None
    except (ValueError, OverflowError):
        return None


def _seconds(header: Optional[str]) -> Optional[float]:
    """How long `Retry-After` asks to wait, as seconds or as a date; None where that is too long"""
    if not header:
        return 0.0
    if re.fullmatch("[0-9]+", header.strip(), re.ASCII):
        wait = float(header.strip()[:18])
    else:
        try:
            moment = parsedate_to_datetime(header)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
            wait = (moment - datetime.now(timezone.utc)).total_seconds()
        except (TypeError, ValueError, IndexError, OverflowError):
            return 0.0
    return None if wait > MAX_RETRY_AFTER else max(0.0, wait)


class _Address(NamedTuple):
    """A URL as it will be asked for; `origin` is scheme, host and port, and the same for every spelling of loopback"""

    url: str
    host: str
    origin: Tuple[str, str, int]


def _read_url(text: Any) -> _Address:
    """Reads an http or https URL as the URL standard does; ValueError for what is none, or has user info"""
    if not isinstance(text, str):
        raise ValueError("not a string")
    match = re.fullmatch(r"(https?)://([^/?#\\]+)([^#]*)(?:#.*)?", text.strip(" \t\r\n\f"), re.IGNORECASE | re.DOTALL)
    if not match:
        raise ValueError("not a URL")
    scheme, authority, target = match[1].lower(), match[2], match[3]
    if "@" in authority:
        raise ValueError("it has user info")
    place = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::([0-9]{0,5}))?", authority, re.ASCII)
    port = int((place and place[2]) or {"http": 80, "https": 443}[scheme])
    if not place or port > 65535:
        raise ValueError("its port is none")
    host = _read_host(place[1])
    if not target.startswith("/"):
        target = "/" + target
    shown = f"[{host}]" if ":" in host else host
    url = f"{scheme}://{shown}:{port}" + quote(target.replace("\\", "/"), safe="!$%&'()*+,/:;=?@[]~")
    plain = host[:-1] if host.endswith(".") else host
    return _Address(url, host, (scheme, "localhost" if plain in ("localhost", "127.0.0.1", "::1") else plain, port))


_IGNORED = re.compile("[\u00ad\u034f\u180b-\u180f\u200b-\u200d\u2060\u2064\ufe00-\ufe0f\ufeff]")


def _read_host(text: str) -> str:
    """The host as it is connected to: an address without brackets and in its plain form, or a name in ASCII"""
    if text.startswith("["):
        if "%" in text:
            raise ValueError("an address with a zone is no host")
        return str(ipaddress.IPv6Address(text[1:-1]))
    name = unquote_to_bytes(text).decode("utf-8")
    if not name.isascii():
        name = unicodedata.normalize("NFKC", _IGNORED.sub("", unicodedata.normalize("NFKC", name)).lower())
        name = ".".join(label if label.isascii() else label.encode("idna").decode("ascii") for label in re.split("[.\u3002]", name))
    name = name.lower()
    if not name or re.search(r"[\x00-\x20\x7f#%/:<>?@\[\\\]^|]", name):
        raise ValueError("its host is no host")
    labels = (name[:-1] if name.endswith(".") else name).split(".")
    if re.fullmatch("[0-9]+|0x[0-9a-f]*", labels[-1]):
        return _ipv4(labels)
    if len(name) > 254 or not all(0 < len(label) < 64 for label in labels):
        raise ValueError("its host is no host")
    return name


def _ipv4(labels: List[str]) -> str:
    """One to four numbers, each decimal, octal or hexadecimal, of which the last fills what is left"""
    numbers = []
    for label in labels:
        match = re.fullmatch("0x([0-9a-f]*)|(0[0-7]*)|([1-9][0-9]*)", label)
        if not match or len(label) > 40:
            raise ValueError("its host is no address")
        numbers.append(int(match[1] or "0", 16) if match[1] is not None else int(match[2], 8) if match[2] else int(match[3]))
    if len(numbers) > 4 or max(numbers[:-1], default=0) > 255 or numbers[-1] >= 256 ** (5 - len(numbers)):
        raise ValueError("its host is no address")
    return str(ipaddress.IPv4Address(sum(number << 8 * (3 - place) for place, number in enumerate(numbers[:-1])) + numbers[-1]))


def _origins(allowed: Any, fileserver_url: Any) -> Optional[Tuple[str, ...]]:
    """The origins that links may lead to; None where only the list of forbidden addresses decides"""
    if allowed is None:
        if fileserver_url is None:
            fileserver_url = _setting("FILESERVER_URL", DEFAULT_FILESERVER_URL)
        if fileserver_url == "":
            return None
        allowed = (fileserver_url,)
    try:
        allowed = (allowed,) if isinstance(allowed, (str, bytes)) else tuple(allowed)
        for origin in allowed:
            _read_url(origin)
    except (TypeError, ValueError) as error:
        raise _wrong(f"`allowed_origins` and `fileserver_url` are origins such as https://files.example.com: {error}") from error
    return allowed


_FORBIDDEN = tuple(map(ipaddress.ip_network, (
    "0.0.0.0/8", "100.100.100.200/32", "168.63.129.16/32", "169.254.0.0/16", "192.0.0.192/32", "224.0.0.0/4", "240.0.0.0/4",
    "::/128", "64:ff9b:1::/48", "fd00:42::42/128", "fd00:a9fe:a9fe::1/128", "fd00:c1::a9fe:a9fe/128", "fd00:ec2::/32",
    "fd20:ce::254/128", "fe80::/10", "fec0::/10", "ff00::/8",
)))  # fmt: skip
"""The specification's list (section 8); testdata/addresses.json has the same"""
_EMBEDDING = tuple((ipaddress.IPv6Network(network), bit, flip) for network, bit, flip in (
    ("::/96", 96, 0), ("::ffff:0:0/96", 96, 0), ("::ffff:0:0:0/96", 96, 0), ("64:ff9b::/96", 96, 0), ("2002::/16", 16, 0),
    ("2001::/32", 96, 0xFFFFFFFF),
))  # fmt: skip
"""Where an IPv6 address holds one of version 4"""


def _is_forbidden(host: str) -> bool:
    """Whether no link may lead to this address; a name is none until it is resolved"""
    try:
        at: Any = ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return False
    if any(at.version == network.version and at in network for network in _FORBIDDEN):
        return True
    if at.version == 4 or at.is_loopback:
        return False
    inner = [(int(at) >> (96 - bit) & 0xFFFFFFFF) ^ flip for network, bit, flip in _EMBEDDING if at in network]
    return any(_is_forbidden(str(ipaddress.IPv4Address(address))) for address in inner)


# ------------------------------------------------------------------------------------------------------ serialising


def _serialise(value: Any, payload_type: str) -> bytes:
    wrong = NATSBridgeError("wrong_value", f"a payload of type {payload_type} was given {type(value).__name__}")
    if payload_type in BYTES_TYPES:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise wrong
        return bytes(value)
    if payload_type == "arrowtable":
        return _arrow_bytes(value, wrong)
    if payload_type == "text" and not isinstance(value, str):
        raise wrong
    if payload_type == "jsontable":
        if not isinstance(value, (list, tuple)):
            value = _rows_of_table(value, wrong)
        if not all(isinstance(row, dict) for row in value):
            raise wrong
    try:
        if payload_type == "text":
            return value.encode("utf-8")
        _check_json(value, "too_deep")
        return _dumps(value).encode("utf-8")
    except NATSBridgeError:
        raise
    except (TypeError, ValueError) as error:  # NaN, a set, a lone surrogate
        raise NATSBridgeError("wrong_value", str(error)) from error


def _deserialise(body: bytes, payload_type: str) -> Any:
    if payload_type in BYTES_TYPES:
        return body
    if payload_type == "arrowtable":
        return _arrow_table(body)
    try:
        text = body.decode("utf-8")
        if payload_type == "text":
            return text
        value = _loads(text)
        if re.search(r"\\u[dD][89a-fA-F]", text):
            _dumps(value).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise NATSBridgeError("undecodable", f"it is not {'UTF-8' if payload_type == 'text' else 'JSON'}: {error}") from error
    if payload_type == "jsontable" and not (isinstance(value, list) and all(isinstance(row, dict) for row in value)):
        raise NATSBridgeError("undecodable", "a jsontable is an array of objects, one for each row")
    _check_json(value, "undecodable")
    return value


class _Object(dict):
    """A JSON object that knows which of its keys stood twice"""

    twice: Tuple[str, ...] = ()


def _object(pairs: List[Tuple[str, Any]]) -> dict:
    known = dict(pairs)
    if len(known) == len(pairs):
        return known
    known = _Object(known)
    known.twice = tuple(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
    return known


def _once(value: Any, text: str, names: Iterable[str]) -> None:
    for name in getattr(value, "twice", ()):
        if name in names:
            places = [match.start() for match in re.finditer(re.escape(json.dumps(name, ensure_ascii=False)) + r"\s*:", text)]
            raise NATSBridgeError("not_json", str(json.JSONDecodeError(f"duplicate key `{name}`", text, places[-1] if places else 0)))


def _loads(text: str) -> Any:
    """Strict JSON: no NaN, no infinity, no number beyond a double"""

    def refuse(word: str) -> Any:
        tokens = re.finditer(r'"(?:[^"\\]|\\.)*"|[-+.\w]+', text)
        place = next((token.start() for token in tokens if token.group() == word), 0)
        raise json.JSONDecodeError(f"`{word[:40]}` is no JSON number", text, place)

    def real(digits: str) -> float:
        number = float(digits)
        lost = number == 0 and re.search("[1-9]", re.split("[eE]", digits)[0])
        return refuse(digits) if math.isinf(number) or lost else number

    def whole(digits: str) -> int:
        return int(digits) if len(digits) < 309 or not math.isinf(float(digits)) else refuse(digits)

    return json.loads(text, object_pairs_hook=_object, parse_constant=refuse, parse_float=real, parse_int=whole)


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _check_json(value: Any, code: str) -> None:
    """Refuses what nests deeper than every reader follows, and keys of which JSON would lose one"""
    if isinstance(value, int) and code == "too_deep" and not -(1 << 63) <= value < 1 << 64:
        raise _wrong("an integer beyond 64 bits; send it as text")
    level, depth = [value], 0
    while True:
        level = [item for item in level if isinstance(item, (dict, list, tuple))]
        if not level:
            return
        depth += 1
        if depth > MAX_DEPTH:
            raise NATSBridgeError(code, f"JSON nests deeper than {MAX_DEPTH} levels")
        for item in level:
            if isinstance(item, dict) and not all(type(key) is str for key in item):
                _check_keys(item)
            for child in item.values() if isinstance(item, dict) else item:
                if isinstance(child, int) and code == "too_deep" and not -(1 << 63) <= child < 1 << 64:
                    raise _wrong(f"an integer beyond 64 bits: {_shown(str(child))}; send it as text")
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]


def _check_keys(item: dict) -> None:
    """Python's keys become text in JSON: `1` and `"1"` would be one"""
    known: Set[str] = set()
    for key in item:
        if not isinstance(key, (str, int, float, type(None))):
            raise _wrong(f"the key {_shown(repr(key))} is not a string")
        text = str(key) if isinstance(key, str) else next(iter(json.loads(_dumps({key: 0}))))
        if text in known:
            raise _wrong(f"two keys of a dictionary are `{text[:80]}` in JSON, of which one would be lost: {_shown(repr(key))} is one")
        known.add(text)


def parse_timestamp(text: str) -> Optional[datetime]:
    """An ISO 8601 time with any offset, `Z` or none (then it is UTC); None for anything else"""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d{0,9}))?(?:[Zz]|([+-])(\d\d):?(\d\d)?)?", text.strip())
    if not match:
        return None
    date, time, fraction, sign, hours, minutes = match.groups()
    try:
        moment = datetime.strptime(f"{date} {time}", "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        return moment + timedelta(microseconds=int((fraction or "").ljust(6, "0")[:6])) - (-offset if sign == "-" else offset)
    except (ValueError, OverflowError):
        return None


def _timestamp(moment: datetime) -> str:
    moment = moment.astimezone(timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _redacted(url: str) -> str:
    """Without user name, password, token and query"""
    url = re.split("[?#]", url, maxsplit=1)[0]
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)?.*@", r"\1", url)


def _observe(event: str, envelope: Envelope) -> None:
    """One record for each payload, with the seven fields that every log of a message has as attributes"""
    if not _log.isEnabledFor(logging.INFO):
        return
    names = ("correlation_id", "msg_id", "timestamp", "sender_name", "receiver_name")
    fields = {name: _plain_text(envelope[name]) for name in names}
    for payload in envelope["payloads"] or [{"payload_type": "", "transport": ""}]:
        fields.update(payload_type=payload["payload_type"], transport=payload["transport"])
        _log.info("%s %s", event, " ".join(f"{name}={value}" for name, value in fields.items()), extra=dict(fields))


def _plain_text(text: str) -> str:
    """Strangers' text for a log: cut, and without what a terminal would obey"""
    return "".join(char if char.isprintable() else "\ufffd" for char in text[:200])


# ------------------------------------------------------------------------------------------------------------ Arrow


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise NATSBridgeError("unsupported", "arrowtable needs pyarrow; install it, or use jsontable") from error
    return pyarrow


def _as_table(value: Any, wrong: NATSBridgeError) -> Any:
    """A pyarrow.Table of a table, a record batch, a pandas DataFrame, or rows"""
    pa = _pyarrow()
    try:
        if isinstance(value, pa.Table):
            return value
        if isinstance(value, pa.RecordBatch):
            return pa.Table.from_batches([value])
        if type(value).__module__.split(".")[0] == "pandas" and hasattr(value, "columns"):
            # An index with a name is a column, also where pandas could do without its values.
            return pa.Table.from_pandas(value, preserve_index=True if any(name is not None for name in value.index.names) else None)
        if isinstance(value, (list, tuple)) and all(isinstance(row, dict) for row in value):
            names = list(dict.fromkeys(name for row in value for name in row))
            columns = [pa.array([row.get(name) for row in value]) for name in names]
            return pa.Table.from_arrays(columns, names=names)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise NATSBridgeError("unconvertible", f"it has no Arrow form: {error}") from error
    raise wrong


def _arrow_bytes(value: Any, wrong: NATSBridgeError) -> bytes:
    pa, table = _pyarrow(), _as_table(value, wrong)
    try:
        table = table.unify_dictionaries()  # readers that take the first dictionary for all get the right values too
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        pass  # of nested values: they are replaced within the stream
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _arrow_table(body: bytes) -> Any:
    pa = _pyarrow()
    buffer = pa.py_buffer(body)
    with _fence("undecodable", "it is not a readable Arrow table"):
        is_file = body[:6] == b"ARROW1"
        reader = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(buffer)
        limit = min(1 << 30, max(16 << 20, 1000 * len(body)))
        needed = 0
        if is_file:
            footer = _footer(body)
            _check_byte_order(footer, _follow(footer, _place(footer, _follow(footer, 0), 1)))
        for message in _file_messages(pa, body, buffer) if is_file else pa.ipc.MessageReader.open_stream(buffer):
            if message.type == "schema":
                meta = memoryview(message.metadata)
                _check_byte_order(meta, _follow(meta, _place(meta, _follow(meta, 0), 2)))
            if message.type in ("record batch", "dictionary"):
                needed += _expansion(message, len(body))
            if needed > limit:
                raise NATSBridgeError("too_large", f"the Arrow table needs {needed} bytes when read, the limit is {limit}")
        table = reader.read_all()
        for column in table.columns:
            if pa.types.is_time(column.type):  # the end of the day, 24:00, is a time of the format, and none of pyarrow's
                whole = pa.int32() if column.type.bit_width == 32 else pa.int64()
                column = pa.chunked_array([chunk.view(whole) for chunk in column.chunks], whole)
            column.validate(full=True)
        table.validate()
        return table


def _check_byte_order(meta: Any, schema: int) -> None:
    place = _place(meta, schema, 0)
    if place and struct.unpack_from("<h", meta, place)[0] != 0:
        raise ValueError("its numbers are big-endian, which no receiver has to read")


def _place(meta: Any, table: int, index: int) -> int:
    """Where a flatbuffer table has a field, 0 if it has none; pyarrow has verified the buffer"""
    vtable = table - struct.unpack_from("<i", meta, table)[0]
    if 4 + 2 * index >= struct.unpack_from("<H", meta, vtable)[0]:
        return 0
    offset = struct.unpack_from("<H", meta, vtable + 4 + 2 * index)[0]
    return table + offset if offset else 0


def _follow(meta: Any, place: int) -> int:
    return place + struct.unpack_from("<I", meta, place)[0]


def _structs(meta: Any, table: int, index: int, form: str) -> List[tuple]:
    """A field that is a list of structs"""
    place = _place(meta, table, index)
    if not place:
        return []
    start = _follow(meta, place)
    count = struct.unpack_from("<I", meta, start)[0]
    return list(struct.iter_unpack(form, meta[start + 4 : start + 4 + count * struct.calcsize(form)]))


def _footer(body: bytes) -> Any:
    end = len(body) - 10
    return memoryview(body)[end - struct.unpack_from("<i", body, end)[0] : end]


def _file_messages(pa: Any, body: bytes, buffer: Any) -> Iterable[Any]:
    """The dictionaries and batches that a file's footer names"""
    end, footer = len(body) - 10, _footer(body)
    for index in (2, 3):
        for offset, metadata_length, body_length in _structs(footer, _follow(footer, 0), index, "<qi4xq"):
            if min(offset, metadata_length, body_length) < 0 or offset + metadata_length + body_length > end:
                raise ValueError("a block outside the file")
            yield pa.ipc.read_message(buffer.slice(offset, metadata_length + body_length))


def _expansion(message: Any, input_length: int) -> int:
    """What the compressed buffers of a message say they become, before anything of them is allocated"""
    meta, body = memoryview(message.metadata), memoryview(message.body)
    batch = _follow(meta, _place(meta, _follow(meta, 0), 2))
    if message.type == "dictionary":
        batch = _follow(meta, _place(meta, batch, 1))
    rows = _place(meta, batch, 0)
    if rows and struct.unpack_from("<q", meta, rows)[0] > max(1 << 24, 8 * input_length):
        raise NATSBridgeError("too_large", "the Arrow table has more rows than bytes")
    if not _place(meta, batch, 3):
        return 0
    buffers = _structs(meta, batch, 2, "<qq")
    return sum(max(0, struct.unpack_from("<q", body, offset)[0]) for offset, length in buffers if length >= 8)


def _rows_of_table(value: Any, wrong: NATSBridgeError) -> List[dict]:
    table = _as_table(value, wrong)
    if type(value).__module__.split(".")[0] == "pandas":
        # The index of a frame that was filtered has no name and is no column.
        table = table.select([name for name in table.column_names if not re.fullmatch("__index_level_[0-9]+__", str(name))])
    if len(set(table.column_names)) < table.num_columns:
        raise NATSBridgeError("unconvertible", "two columns have the same name")
    columns = []
    for name, column in zip(table.column_names, table.columns):
        try:
            columns.append(_plain_column(column))
        except NATSBridgeError as error:
            raise NATSBridgeError(error.code, f"column {_shown(name)}: {error}") from error
    return [dict(zip(table.column_names, row)) for row in zip(*columns)] if columns else [{}] * table.num_rows


def _plain_column(column: Any) -> list:
    pa = _pyarrow()
    is_ = pa.types
    if is_.is_dictionary(column.type):
        chunks = [chunk.dictionary.take(chunk.indices) for chunk in column.chunks]
        column = pa.chunked_array(chunks, column.type.value_type)
        return _plain_column(column)
    if is_.is_integer(column.type) or is_.is_boolean(column.type) or is_.is_string(column.type) or is_.is_large_string(column.type):
        return column.to_pylist()
    return [_plain(pa, scalar) for scalar in column]


def _seconds_text(count: int, scale: int) -> str:
    """The time part of an ISO 8601 duration"""
    whole, rest = divmod(abs(count), scale)
    digits = f".{rest:0{len(str(scale)) - 1}d}".rstrip("0") if rest else ""
    return f"T{'-' if count < 0 else ''}{whole}{digits}S"


def _day_text(days: int) -> str:
    """A day as ISO 8601, with sign and six digits for years that four digits can't say"""
    era, day = divmod(days + 719_468, 146_097)
    year = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    rest = day - (365 * year + year // 4 - year // 100)
    month = (5 * rest + 2) // 153
    year += era * 400 + (month >= 10)
    shown = f"{year:04d}" if 0 <= year <= 9_999 else f"{year:+07d}"
    return f"{shown}-{month + 3 if month < 10 else month - 9:02d}-{rest - (153 * month + 2) // 5 + 1:02d}"


def _plain(pa: Any, scalar: Any) -> Any:
    """An Arrow value as JSON: decimals and times as text, NaN and infinities as null, bytes as hexadecimal"""
    kind, is_ = scalar.type, pa.types
    if not scalar.is_valid:
        return None
    if isinstance(kind, pa.BaseExtensionType):
        value = _plain(pa, scalar.value)
        return str(uuid.UUID(value)) if kind.extension_name == "arrow.uuid" else value
    if is_.is_floating(kind):
        number = scalar.as_py() if is_.is_float64(kind) else float(scalar.cast(pa.float32()).cast(pa.string()).as_py())
        return number if math.isfinite(number) else None
    if is_.is_decimal(kind):
        return format(scalar.as_py(), "f")
    if is_.is_date32(kind) or is_.is_date64(kind):
        return _day_text(scalar.value if is_.is_date32(kind) else scalar.value // 86_400_000)
    if is_.is_timestamp(kind) or is_.is_time(kind) or is_.is_duration(kind):
        scale = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}[kind.unit]
        count = scalar.value
        if is_.is_duration(kind):
            return "P" + _seconds_text(count, scale)
        whole, rest = divmod(count, scale)
        nanos = f"{rest * (10**9 // scale):09d}"
        fraction = next(("." + nanos[:n] if n else "" for n in (0, 3, 6, 9) if not nanos[n:].strip("0")), "")
        day, second = divmod(whole, 86_400)
        clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}{fraction}"
        if is_.is_time(kind):
            if not 0 <= count <= 86_400 * scale:
                raise NATSBridgeError("unconvertible", "a time outside the day")
            return clock if day == 0 else "24:00:00"
        return f"{_day_text(day)}T{clock}{'Z' if kind.tz else ''}"
    if is_.is_interval(kind):
        months, days, nanoseconds = scalar.as_py()
        return f"P{months}M{days}D{_seconds_text(nanoseconds, 10**9)}"
    if is_.is_dictionary(kind) or is_.is_run_end_encoded(kind) or is_.is_union(kind):
        return _plain(pa, scalar.value) if isinstance(scalar.value, pa.Scalar) else scalar.as_py()
    if is_.is_struct(kind):
        names = [kind.field(i).name for i in range(kind.num_fields)]
        if len(set(names)) < len(names):
            raise NATSBridgeError("unconvertible", "two fields of a struct have the same name")
        return {name: _plain(pa, scalar[name]) for name in names}
    if is_.is_map(kind):
        pairs = [(_plain(pa, item["key"]), _plain(pa, item["value"])) for item in scalar.values]
        texts = str(kind.key_type) in ("string", "large_string", "string_view")
        if texts and len(dict(pairs)) < len(pairs):
            raise NATSBridgeError("unconvertible", "a key of a map stands twice")
        return dict(pairs) if texts else [{"key": key, "value": value} for key, value in pairs]
    if is_.is_nested(kind):
        return [_plain(pa, item) for item in scalar.values]
    value = scalar.as_py()
    if isinstance(value, bytes):
        return value.hex()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise NATSBridgeError("unconvertible", f"a column of type {kind} has no JSON form")
