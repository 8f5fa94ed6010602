"""NATSBridge for Python: the API sheet, with every signature and what it does. stubs.py writes sync.pyi from it."""

import builtins
import datetime
import os
from typing import (
    Any,
    AsyncIterator,
    Awaitable,
    Callable,
    Dict,
    Generator,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Tuple,
    Union,
    overload,
)

from typing_extensions import Self, TypedDict, Unpack

from ._errors import (
    NATSBridgeError as NATSBridgeError,
    ConfigurationError as ConfigurationError,
    UnknownKeywordError as UnknownKeywordError,
    InvalidSubjectError as InvalidSubjectError,
    WrongTypeError as WrongTypeError,
    NoSuchPayloadError as NoSuchPayloadError,
    InvalidMessageError as InvalidMessageError,
    UndecodableError as UndecodableError,
    CorruptedError as CorruptedError,
    TooLargeError as TooLargeError,
    LinksNotAllowedError as LinksNotAllowedError,
    UnsupportedError as UnsupportedError,
    PermissionDeniedError as PermissionDeniedError,
    TlsError as TlsError,
    UnreachableError as UnreachableError,
    ConnectionLostError as ConnectionLostError,
    ClosedError as ClosedError,
    NoRespondersError as NoRespondersError,
    TimedOutError as TimedOutError,
    RefusedError as RefusedError,
    UnacknowledgedError as UnacknowledgedError,
    NoReplySubjectError as NoReplySubjectError,
    ReplyNotAllowedError as ReplyNotAllowedError,
    BlockedOriginError as BlockedOriginError,
    LinkGoneError as LinkGoneError,
    StorageFullError as StorageFullError,
    RejectedError as RejectedError,
    HandlerFailedError as HandlerFailedError,
    LocalFileError as LocalFileError,
    StoppedError as StoppedError,
    UnhandledError as UnhandledError,
    ForkedError as ForkedError,
    OtherError as OtherError,
    HandlerError as HandlerError,
)

Path = Union[str, os.PathLike[str]]
"""A path of the file system"""
Json = Any
"""Anything that JSON can hold, by README's rule for values"""
Data = Iterable[Tuple[str, Any, str]]
"""Payloads: ``(dataname, data, type)``, in order; names may repeat. README says what each type is given as"""


__version__: str

class WirePayload(TypedDict):
    """A payload as it is on the wire"""

    id: str
    dataname: str
    payload_type: str
    transport: str
    encoding: str
    size: int
    data: str
    metadata: Dict[str, Any]

class Header(TypedDict):
    """The envelope's fields but the payloads"""

    correlation_id: str
    msg_id: str
    timestamp: str
    send_to: str
    msg_purpose: str
    sender_name: str
    sender_id: str
    receiver_name: str
    receiver_id: str
    reply_to: str
    reply_to_msg_id: str
    broker_url: str
    metadata: Dict[str, Any]

class Envelope(Header):
    """A message as it is on the wire"""

    payloads: List[WirePayload]

class Received(Header):
    """What ``smartreceive`` returns: the envelope's fields, and ``(dataname, data, type)`` for each payload"""

    payloads: List[Tuple[str, Any, str]]

class Delivered(TypedDict):
    """A message that was acknowledged"""

    envelope: Envelope
    acks: List[Header]
    repeats: int

class Upload:
    """What an upload handler is given; it returns the URL, or a dict with ``url`` and, where known, ``expires_at``, ``one_shot`` and
    ``delete`` (a function, sync or async, that deletes the upload)"""

    fileserver_url: str
    token: str
    dataname: str
    payload_type: str
    size: int
    one_shot: bool
    ttl: int
    path: Optional[str]
    """Where the bytes are, if they are in a file"""
    @property
    def data(self) -> bytes:
        """The bytes; those of a file are read"""

class Link:
    """What a download handler is given; it returns the bytes, which are held to size and digest afterwards"""

    url: str
    dataname: str
    size: int
    """What the sender says, 0 if nothing"""
    limit: int
    """Most bytes to read"""
    one_shot: bool
    sha256: Optional[str]
    expires_at: Optional[datetime.datetime]

class Progress(NamedTuple):
    """How far a transfer is; given to the function that ``on_progress`` sets"""

    dataname: str
    direction: str
    done: int
    total: int
    transfer: int
    ended: bool

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
    """Something that happened to the connection: ``connected``, ``disconnected``, ``reconnect_failed``, ``interrupted``,
    ``slow_consumer``, ``permission_denied``, ``lame_duck``, ``server_error`` or ``closed``; ``fields`` says more"""

    kind: str
    fields: Dict[str, Any]

UploadHandler = Callable[[Upload], Any]
"""Returns a URL or a dict; sync or async"""
DownloadHandler = Callable[[Link], Any]
"""Returns bytes; sync or async"""

class Table:
    """An Arrow table, without needing pyarrow

    Made of anything that has ``__arrow_c_stream__`` or ``__arrow_c_array__`` (pyarrow, polars, pandas, duckdb …), of a pandas
    DataFrame, of rows (a list of dictionaries), or of columns (a dictionary of sequences).
    """

    def __init__(self, data: Any) -> None: ...
    @classmethod
    def from_ipc(cls, data: bytes) -> Table:
        """Reads an Arrow IPC stream or file"""
    def to_ipc(self) -> bytes:
        """The table as an Arrow IPC stream"""
    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Arrow's PyCapsule interface: polars, pyarrow, duckdb and others take a table as it is"""
    def __arrow_c_schema__(self) -> Any:
        """The schema by Arrow's PyCapsule interface"""
    def __len__(self) -> int: ...
    def __getitem__(self, name: str) -> List[Any]: ...
    def __eq__(self, other: object) -> bool: ...
    @property
    def num_rows(self) -> int:
        """The number of rows"""
    @property
    def columns(self) -> List[str]:
        """The columns' names"""
    @property
    def types(self) -> Dict[str, str]:
        """The columns' types by name, in Arrow's words"""
    def column(self, name: str) -> List[Any]:
        """The values of one column; the first of this name"""
    def to_pylist(self) -> List[Dict[str, Any]]:
        """The rows as dictionaries of Python values"""
    def to_pydict(self) -> Dict[str, List[Any]]:
        """The columns as lists of Python values"""
    def to_pyarrow(self) -> Any:
        """A ``pyarrow.Table``; the columns are shared"""
    def to_polars(self) -> Any:
        """A ``polars.DataFrame``"""
    def _repr_html_(self) -> str: ...
    def to_pandas(self, **options: Any) -> Any:
        """A ``pandas.DataFrame``: by pyarrow where it is installed (``options`` are those of its ``to_pandas``), else by numpy, and then
        integers and booleans with nulls are pandas' nullable types"""

class Store:
    """A place for large payloads"""

class PlikStore(Store):
    """A Plik server, or ``natsbridge serve``"""

    def __init__(
        self, url: str, *, token: Optional[str] = None, login: Optional[str] = None, password: Optional[str] = None
    ) -> None: ...

class S3Store(Store):
    """A bucket on S3, or on a server with S3's protocol; links are presigned URLs. Keys and region come from the environment unless
    they are given"""

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
    ) -> None: ...

class HttpStore(Store):
    """Any server that takes ``PUT``: the template's ``{id}`` is a new name for each upload"""

    def __init__(
        self, template: str, *, token: Optional[str] = None, login: Optional[str] = None, password: Optional[str] = None
    ) -> None: ...

def metrics() -> Dict[str, Any]:
    """What was counted, by name; a metric with labels is a dictionary"""

def metrics_text() -> str:
    """What was counted, as Prometheus reads it"""


async def smartsend(
    subject: str,
    data: Data,
    *,
    broker_url: str = "nats://localhost:4222",
    fileserver_url: str = "http://localhost:8080",
    fileserver_upload_handler: Optional[UploadHandler] = None,
    size_threshold: int = 500_000,
    correlation_id: str = "",
    msg_purpose: str = "chat",
    sender_name: str = "NATSBridge",
    receiver_name: str = "",
    receiver_id: str = "",
    reply_to: str = "",
    reply_to_msg_id: str = "",
    msg_id: str = "",
    sender_id: str = "",
    fileserver_token: str = "",
    max_message_size: int = 1_048_576,
    receiver: str = "desktop",
    links: bool = True,
    convert_tables: bool = False,
    digest_direct: bool = False,
    metadata: Optional[Dict[str, Any]] = None,
    awaits_ack: bool = False,
    one_shot: Optional[bool] = None,
    ttl: Optional[float] = None,
    direct_fallback: bool = False,
    store: Optional[Store] = None,
    on_progress: Optional[Callable[[Progress], Any]] = None,
) -> Tuple[Envelope, str]:
    """Makes the JSON of a message out of ``(dataname, data, type)`` payloads; uploads what is too large for NATS

    Returns the envelope and the JSON to publish on ``subject``; publishing is yours. Where ``broker_url``, ``fileserver_url``,
    ``fileserver_token`` and ``size_threshold`` are not given, the variables ``NATS_URL``, ``FILESERVER_URL``, ``FILESERVER_TOKEN`` and
    ``SIZE_THRESHOLD`` are read, now. ``receiver`` is ``desktop``, ``browser`` or ``micropython``. ``ttl`` is in seconds. Say
    ``awaits_ack`` when you repeat the message until it is acknowledged.
    """

async def smartreceive(
    msg_json_str: Union[str, bytes, bytearray, memoryview],
    *,
    fileserver_download_handler: Optional[DownloadHandler] = None,
    max_retries: int = 5,
    base_delay: int = 100,
    max_delay: int = 5000,
    allowed_origins: Union[None, str, Iterable[str]] = None,
    fileserver_url: Optional[str] = None,
    strict: bool = False,
    max_payload_size: int = 10_000_000_000,
    message_timeout: Optional[float] = None,
    store: Optional[Store] = None,
    on_progress: Optional[Callable[[Progress], Any]] = None,
) -> Received:
    """Reads a message and downloads what came as a link

    Delays are milliseconds. Links are followed to the file server's origin (``fileserver_url``, else ``FILESERVER_URL``), or only to
    ``allowed_origins`` where it is given; an empty list allows nothing; with ``fileserver_url=""`` any address is followed that the
    specification (section 8) does not forbid.
    """

class Payload:
    """One payload of a message; a link is downloaded when it is first asked for"""

    @property
    def name(self) -> str:
        """The sender's name for it: any text, never a path"""
    @property
    def type(self) -> str:
        """Its payload type"""
    @property
    def transport(self) -> str:
        """``direct`` where it came inside the message, else ``link``"""
    @property
    def size(self) -> Optional[int]:
        """Size of the serialised payload in bytes; ``None`` for a link whose sender did not say"""
    @property
    def sha256(self) -> Optional[str]:
        """SHA-256 of the serialised payload, in hexadecimal"""
    @property
    def metadata(self) -> Dict[str, Any]:
        """Metadata as the sender wrote it"""
    @property
    def ready(self) -> bool:
        """Whether it is in memory: a link is once it was downloaded"""
    def view(self) -> memoryview:
        """The serialised bytes in memory without a copy, read-only; fetch a link first"""
    async def value(self) -> Any:
        """The value; a link is downloaded first"""
    async def bytes(self) -> builtins.bytes:
        """The serialised bytes; a link is downloaded first"""
    async def fetch(self) -> None:
        """Downloads a link into memory"""
    async def save(self, folder: Path) -> Saved:
        """Saves it under a safe form of its name in ``folder``; a link is streamed, verified, then renamed"""
    async def save_as(self, path: Path) -> Saved:
        """Saves it as the file ``path``, which must not exist yet"""
    def open(self, piece: int = ...) -> AsyncIterator[builtins.bytes]:
        """The serialised bytes piece by piece; a link is downloaded into a temporary file and verified first"""

class Message:
    """A message that arrived: its fields, its payloads, and the means to reply

    ``message["name"]`` is the value of the first payload of this name, which is in memory unless the subscription is lazy.
    """

    correlation_id: str
    msg_id: str
    timestamp: str
    send_to: str
    msg_purpose: str
    sender_name: str
    sender_id: str
    receiver_name: str
    receiver_id: str
    reply_to: str
    reply_to_msg_id: str
    broker_url: str
    @property
    def header(self) -> Header:
        """The envelope's fields but the payloads"""
    @property
    def subject(self) -> str:
        """The subject that it arrived on"""
    @property
    def metadata(self) -> Dict[str, Any]:
        """Message-level metadata"""
    @property
    def payloads(self) -> List[Payload]:
        """The payloads, in order"""
    def payload(self, name: str) -> Payload:
        """The first payload of this name"""
    def __getitem__(self, name: str) -> Any: ...
    def __contains__(self, name: object) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[str]: ...
    def keys(self) -> List[str]:
        """The payloads' names, in order; they may repeat"""
    def get(self, name: str, default: Any = None) -> Any:
        """The value of the first payload of this name, or ``default``"""
    def items(self) -> List[Tuple[str, Any]]:
        """Names and values of all payloads, which are in memory"""
    async def fetch(self) -> None:
        """Downloads every link into memory"""
    async def save(self, folder: Path) -> List[Saved]:
        """Saves every payload under a safe form of its name in ``folder``"""
    async def ack(self) -> None:
        """Tells the sender that the message was handled"""
    async def nack(self, reason: str, *, code: str = "handler", retryable: bool = True) -> None:
        """Tells the sender that the message could not be handled, and why"""
    async def reply(self, data: Data, *, metadata: Optional[Dict[str, Any]] = None) -> Envelope:
        """Replies to the message with payloads"""

class Subscription:
    """The messages of a subject, in their order: ``async for message in bridge.subscribe("lab.>")``

    A message that can't be read raises its error, and the next one follows.
    """
    def __await__(self) -> Generator[Any, None, Self]:
        """Waits until the server knows the subscription"""
    def __aiter__(self) -> Self: ...
    async def __anext__(self) -> Message: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...
    async def next(self, timeout: Optional[float] = None) -> Optional[Message]:
        """The next message; ``None`` at the end. After ``timeout`` seconds without one: ``asyncio.TimeoutError``; no message is lost by that"""
    def drain(self, grace: Optional[float] = None) -> None:
        """Unsubscribes; what has arrived can still be read, for ``grace`` seconds where it is given, then the loop ends"""
    @property
    def losses(self) -> Losses:
        """What is missing, repeated or reordered by the senders' own numbers; nothing is known in a queue group"""
    @property
    def dropped(self) -> int:
        """Messages that were dropped because they were read too slowly"""
    @property
    def interruptions(self) -> int:
        """How often the connection was made again"""
    @property
    def unhandled(self) -> int:
        """Messages that arrived and were not handed out when the grace was over"""

class Service:
    """A running service"""

    async def stop(self) -> None:
        """Unsubscribes, handles what has arrived, and ends"""
    async def ended(self) -> None:
        """Waits until the service ends by itself: the bridge was drained, or a message asked it to stop"""
    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...

class Events:
    """What happens to a connection: ``async for event in bridge.events()``"""

    def __aiter__(self) -> Self: ...
    async def __anext__(self) -> Event: ...
    @property
    def missed(self) -> int:
        """Events that were dropped because they were not read"""


class SendOptions(TypedDict, total=False):
    """Keywords of ``send`` and ``send_confirmed``"""

    receiver_name: str
    receiver_id: str
    reply_to: str
    reply_to_msg_id: str
    correlation_id: str
    msg_purpose: str
    metadata: Optional[Dict[str, Any]]
    digest_direct: bool
    receiver: Optional[str]
    convert_tables: bool
    one_shot: Optional[bool]
    ttl: Optional[float]
    on_progress: Optional[Callable[[Progress], Any]]

class DeliverOptions(SendOptions, total=False):
    """Keywords of ``deliver``: acknowledgements to wait for, when to give up, pauses between repeats"""

    acks: int
    timeout: float
    first_pause: float
    longest_pause: float

class RequestOptions(SendOptions, total=False):
    """Keywords of ``request``"""

    timeout: float

class Bridge:
    """A connection to NATS and a file server: sends, receives, requests, replies and serves"""

    @property
    def sender_id(self) -> str:
        """This program's identifier, which is in every message that it sends"""
    @property
    def broker_url(self) -> str:
        """The server's URL, without secrets"""
    @property
    def max_message_size(self) -> int:
        """The most bytes that the connected server takes in one message"""
    async def send(self, subject: str, data: Data, **options: Unpack[SendOptions]) -> Envelope:
        """Publishes a message; core NATS may still lose it"""
    async def send_confirmed(self, subject: str, data: Data, **options: Unpack[SendOptions]) -> Envelope:
        """Publishes a message and waits until the server has processed it"""
    async def deliver(self, subject: str, data: Data, **options: Unpack[DeliverOptions]) -> Delivered:
        """Publishes a message until it is acknowledged as often as asked (``acks``, default 1) or ``timeout`` seconds (default 30) are
        over; at least once"""
    async def request(self, subject: str, data: Data, **options: Unpack[RequestOptions]) -> Message:
        """Publishes a message and waits for one reply, by default 10 seconds"""
    def subscribe(
        self, subject: str, *, queue: Optional[str] = None, lazy: bool = False, ordered: Optional[bool] = None
    ) -> Subscription:
        """Subscribes to a subject: ``*`` matches one token, ``>`` one or more trailing tokens

        ``queue`` names a queue group. A ``lazy`` subscription leaves links where they are until they are asked for. ``ordered`` says
        whether a message may overtake one whose links still load: never, at once, or (``None``) after 5 seconds.
        """
    @overload
    def serve(
        self,
        subject: str,
        handler: Callable[[Message], Any],
        *,
        queue: Optional[str] = None,
        concurrency: int = 16,
        lazy: bool = False,
        stop_when_asked: bool = False,
        grace: float = 10.0,
    ) -> Awaitable[Service]:
        """Replies to each message of a subject with what a function returns: payloads, or ``None`` for an ACK"""
    @overload
    def serve(
        self,
        subject: str,
        handler: None = None,
        *,
        queue: Optional[str] = None,
        concurrency: int = 16,
        lazy: bool = False,
        stop_when_asked: bool = False,
        grace: float = 10.0,
    ) -> Callable[[Callable[[Message], Any]], Any]:
        """The same as a decorator; the decorated function has the service as ``service``, a task"""
    async def confirm(self) -> None:
        """Waits until the server has processed everything published before"""
    def events(self) -> Events:
        """What happens to the connection from now on"""
    async def drain(self) -> None:
        """Stops services, unsubscribes, lets what has arrived be read, publishes what was sent, closes"""
    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...

async def connect(
    url: Optional[str] = None,
    *,
    name: Optional[str] = None,
    token: Optional[str] = None,
    user: Optional[str] = None,
    password: Optional[str] = None,
    nkey: Optional[str] = None,
    nkey_file: Optional[Path] = None,
    jwt: Optional[str] = None,
    credentials: Optional[str] = None,
    credentials_file: Optional[Path] = None,
    ca: Optional[Path] = None,
    client_cert: Optional[Path] = None,
    client_key: Optional[Path] = None,
    require_tls: bool = False,
    tls_first: bool = False,
    connect_timeout: float = 5.0,
    confirm_timeout: float = 5.0,
    drain_timeout: float = 10.0,
    ping_interval: float = 3.0,
    inbox_prefix: Optional[str] = None,
    fileserver_url: str = "",
    fileserver_token: str = "",
    fileserver_ca: Optional[Path] = None,
    fileserver_upload_handler: Optional[UploadHandler] = None,
    fileserver_download_handler: Optional[DownloadHandler] = None,
    store: Optional[Store] = None,
    size_threshold: int = 500_000,
    receiver: Optional[str] = None,
    convert_tables: bool = False,
    sender_name: str = "NATSBridge",
    sender_id: Optional[str] = None,
    allowed_origins: Union[None, str, Iterable[str]] = None,
    reply_subjects: Union[None, str, Iterable[str]] = None,
    strict: bool = False,
    max_payload_size: int = 10_000_000_000,
    max_retries: int = 5,
    base_delay: int = 100,
    max_delay: int = 5000,
    transfers: int = 4,
    links_ahead: int = 64_000_000,
    message_timeout: float = 60.0,
    order_timeout: float = 5.0,
    direct_fallback: bool = False,
    on_progress: Optional[Callable[[Progress], Any]] = None,
    broker: Any = None,
) -> Bridge:
    """Connects to NATS: ``async with await natsbridge.connect() as bridge``

    What is not given is read from the environment, now: ``NATS_URL``, ``FILESERVER_URL``, ``FILESERVER_TOKEN``, ``SIZE_THRESHOLD`` and
    the variables for login and TLS. ``allowed_origins`` are followed beside the file server's. ``reply_subjects`` are filters of
    subjects that replies may go to; none means any.
    """
