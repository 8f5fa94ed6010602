"""What the async classes and their sync twins share: messages, payloads and stores as they are read."""

import os
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

from . import _natsbridge as _native
from ._errors import WrongTypeError
from ._tables import Table

Path = Union[str, "os.PathLike[str]"]


class Saved(NamedTuple):
    """Where a payload was saved"""

    path: str
    size: int
    sha256: str


class Losses(NamedTuple):
    """What a subscription has missed, by the senders' own numbers"""

    missing: int
    duplicates: int
    reordered: int


class Event(NamedTuple):
    """Something that happened to the connection; ``fields`` says more"""

    kind: str
    """``connected``, ``disconnected``, ``reconnect_failed``, ``interrupted``, ``slow_consumer``, ``permission_denied``,
    ``lame_duck``, ``server_error`` or ``closed``"""
    fields: Dict[str, Any]


def value_of(value: Any) -> Any:
    """A value that the engine hands out: its tables as ``Table``"""
    return Table._of(value) if type(value) is _native.Table else value


def received(found: Dict[str, Any]) -> Dict[str, Any]:
    """What `smartreceive` returns, with its tables as ``Table``"""
    payloads = found["payloads"]
    for at, (name, value, kind) in enumerate(payloads):
        if type(value) is _native.Table:
            payloads[at] = (name, Table._of(value), kind)
    return found


def folder_of(path: Path) -> str:
    return os.fspath(path)


class PayloadBase:
    """What is known of a payload before it is read"""

    __slots__ = ("_payload",)

    def __init__(self, payload: Any) -> None:
        self._payload = payload

    @property
    def name(self) -> str:
        """The sender's name for it: any text, never a path"""
        return str(self._payload.name)

    @property
    def type(self) -> str:
        """Its payload type: ``text``, ``dictionary``, ``arrowtable``, ``jsontable``, ``image``, ``audio``, ``video``, ``binary``"""
        return str(self._payload.type)

    @property
    def transport(self) -> str:
        """``direct`` where it came inside the message, else ``link``"""
        return str(self._payload.transport)

    @property
    def size(self) -> Optional[int]:
        """Size of the serialised payload in bytes; ``None`` for a link whose sender did not say"""
        size: Optional[int] = self._payload.size
        return size

    @property
    def sha256(self) -> Optional[str]:
        """SHA-256 of the serialised payload, in hexadecimal"""
        digest: Optional[str] = self._payload.sha256
        return digest

    @property
    def metadata(self) -> Dict[str, Any]:
        """Metadata as the sender wrote it"""
        metadata: Dict[str, Any] = self._payload.metadata
        return metadata

    @property
    def ready(self) -> bool:
        """Whether it is in memory: a link is once it was downloaded"""
        return bool(self._payload.ready)

    def view(self) -> memoryview:
        """The serialised bytes in memory without a copy, read-only; fetch a link first

        The view keeps the payload alive.
        """
        place = self._payload.address()
        if place is None:
            raise WrongTypeError("wrong_value", f"payload `{self.name}` is a link that was not downloaded; fetch it first", self.name)
        address, length = place
        if length == 0:
            return memoryview(b"")
        import ctypes

        held = (ctypes.c_char * length).from_address(address)
        held._payload = self._payload  # the bytes live as long as it
        return memoryview(held).cast("B").toreadonly()

    def __repr__(self) -> str:
        size = "size unknown" if self.size is None else f"{self.size:,} bytes"
        return f"<Payload {self.name!r}: {self.type}, {self.transport}, {size}>"


class MessageBase:
    """What is known of a message before its links are downloaded"""

    __slots__ = ("_message",)

    def __init__(self, message: Any) -> None:
        self._message = message

    @property
    def header(self) -> Dict[str, Any]:
        """The envelope's fields but the payloads"""
        header: Dict[str, Any] = self._message.header
        return header

    @property
    def subject(self) -> str:
        """The subject that it arrived on"""
        return str(self._message.subject)

    @property
    def metadata(self) -> Dict[str, Any]:
        """Message-level metadata"""
        metadata: Dict[str, Any] = self._message.metadata
        return metadata

    def __getattr__(self, name: str) -> str:
        # The envelope's text fields, such as msg_id and sender_name
        if name.startswith("_"):
            raise AttributeError(name)
        found = self._message.field(name)
        if found is None:
            raise AttributeError(f"a message has no {name!r}")
        return str(found)

    def __getitem__(self, name: str) -> Any:
        """The value of the first payload of this name, which is in memory"""
        payload = self._message.payload(name)
        if not payload.ready:
            raise WrongTypeError("wrong_value", f"payload `{name}` is a link that was not downloaded; fetch it first", name)
        return value_of(payload.value())

    def __contains__(self, name: object) -> bool:
        return any(payload.name == name for payload in self._message.payloads)

    def __len__(self) -> int:
        return len(self._message.payloads)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> List[str]:
        """The payloads' names, in order; they may repeat"""
        return [payload.name for payload in self._message.payloads]

    def get(self, name: str, default: Any = None) -> Any:
        """The value of the first payload of this name, or ``default``"""
        return self[name] if name in self else default

    def items(self) -> List[Tuple[str, Any]]:
        """Names and values of all payloads, which are in memory"""
        return [(payload.name, value_of(payload.value())) for payload in self._message.payloads]

    def __repr__(self) -> str:
        payloads = ", ".join(f"{payload.name}: {payload.type}" for payload in self._message.payloads)
        return f"<Message on {self.subject} from {self.sender_name}: {payloads or 'no payloads'}>"


class SubscriptionBase:
    """What is known of a subscription"""

    _subject: str
    _subscription: Any = None

    def __repr__(self) -> str:
        return f"<Subscription to {self._subject}>"

    def drain(self, grace: Optional[float] = None) -> None:
        """Unsubscribes; what has arrived can still be read, for ``grace`` seconds where it is given, then the loop ends"""
        if self._subscription is not None:
            self._subscription.drain(grace)

    @property
    def losses(self) -> Losses:
        """What is missing, repeated or reordered by the senders' own numbers; nothing is known in a queue group"""
        return Losses(*self._counts()[:3])

    @property
    def dropped(self) -> int:
        """Messages that were dropped because they were read too slowly"""
        return self._counts()[3]

    @property
    def interruptions(self) -> int:
        """How often the connection was made again"""
        return self._counts()[4]

    @property
    def unhandled(self) -> int:
        """Messages that arrived and were not handed out when the grace was over"""
        return self._counts()[5]

    def _counts(self) -> Tuple[int, ...]:
        return self._subscription.counts() if self._subscription is not None else (0,) * 6


class BridgeBase:
    """What is known of a connection"""

    def __init__(self, bridge: Any) -> None:
        self._bridge = bridge
        self._services: List[Any] = []

    def __repr__(self) -> str:
        return f"<Bridge to {self.broker_url}>"

    @property
    def sender_id(self) -> str:
        """This program's identifier, which is in every message that it sends"""
        return str(self._bridge.sender_id)

    @property
    def broker_url(self) -> str:
        """The server's URL, without secrets"""
        return str(self._bridge.broker_url)

    @property
    def max_message_size(self) -> int:
        """The most bytes that the connected server takes in one message"""
        return int(self._bridge.max_message_size)


class Store:
    """A place for large payloads: :class:`PlikStore`, :class:`S3Store`, :class:`HttpStore`, or ``natsbridge.testing.MemoryStore``"""

    _store: Any

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._store.name}>"


class PlikStore(Store):
    """A Plik server, or ``natsbridge serve``"""

    def __init__(self, url: str, *, token: Optional[str] = None, login: Optional[str] = None, password: Optional[str] = None) -> None:
        self._store = _native.store("plik", {"url": url, "token": token, "login": login, "password": password})


class S3Store(Store):
    """A bucket on S3, or on a server with S3's protocol; links are presigned URLs

    Keys and region come from the environment (``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_REGION``,
    ``AWS_ENDPOINT_URL`` …) unless they are given.
    """

    def __init__(
        self,
        bucket: str,
        *,
        prefix: Optional[str] = None,
        endpoint: Optional[str] = None,
        region: Optional[str] = None,
        access_key_id: Optional[str] = None,
        secret_access_key: Optional[str] = None,
        instance_credentials: bool = False,
    ) -> None:
        self._store = _native.store(
            "s3",
            {
                "bucket": bucket,
                "prefix": prefix,
                "endpoint": endpoint,
                "region": region,
                "access_key_id": access_key_id,
                "secret_access_key": secret_access_key,
                "instance_credentials": instance_credentials,
            },
        )


class HttpStore(Store):
    """Any server that takes ``PUT``: the template's ``{id}`` is a new name for each upload"""

    def __init__(self, template: str, *, token: Optional[str] = None, login: Optional[str] = None, password: Optional[str] = None) -> None:
        self._store = _native.store("http", {"template": template, "token": token, "login": login, "password": password})


def parse_metrics(text: str) -> Dict[str, Any]:
    """Prometheus text as a dictionary: a number for each metric, or a dictionary by label where it has some"""
    found: Dict[str, Any] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        key, _, number = line.rpartition(" ")
        value: Union[int, float] = float(number)
        value = int(value) if value == int(value) else value
        name, _, labels = key.partition("{")
        if labels:
            found.setdefault(name, {})[labels.rstrip("}").replace('"', "")] = value
        else:
            found[name] = value
    return found
