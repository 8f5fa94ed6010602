"""NATSBridge for Python: send anything between programs in different languages over NATS.

A message is a list of named payloads: text, dictionaries, tables, images, audio, video, files. Small ones travel inside the
message, large ones by link to a file server. ``smartsend`` and ``smartreceive`` make and read the JSON for a NATS connection of
your own; ``connect`` gives a :class:`Bridge` that does the whole job. ``natsbridge.sync`` has the same without ``async``,
``natsbridge.testing`` a broker and a store in memory.
"""

import atexit
import builtins
from typing import Any, AsyncIterator, Callable, Dict, List, Optional, Tuple

from . import _inputs, _logs  # noqa: F401  (the engine asks it: an import from there could meet the interpreter's end)
from . import _natsbridge as _native
from ._common import (
    BridgeBase,
    Event,
    HttpStore,
    Losses,
    MessageBase,
    Path,
    PayloadBase,
    PlikStore,
    S3Store,
    Saved,
    Store,
    SubscriptionBase,
    folder_of,
    parse_metrics,
    received,
    value_of,
)
from ._errors import *  # noqa: F403
from ._errors import HandlerError, NATSBridgeError, WrongTypeError
from ._handlers import Link, Progress, Upload, Wrapped
from ._options import CONNECT, DELIVER, MESSAGE, RECEIVE, REQUEST, SEND, keywords
from ._tables import Table

__version__: str = _native.__version__

_native.start()
atexit.register(_native.close)

_HANDLERS = ("fileserver_upload_handler", "fileserver_download_handler", "on_progress")


# ------------------------------------------------------------------------------------------------- waiting for the engine


def _settle(future: Any, good: bool, value: Any) -> None:
    if future.done():
        return  # who waited was cancelled
    if good:
        future.set_result(value)
    else:
        future.set_exception(value)


async def _run(job: Any) -> Any:
    """Waits for a job, if it is one and no result yet; when this is cancelled, the job is"""
    if type(job) is not _native.Job:
        return job
    import asyncio

    loop = asyncio.get_running_loop()
    future = loop.create_future()
    job.start(loop, _settle, future)
    try:
        return await future
    except asyncio.CancelledError:
        job.cancel()
        raise


async def _in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    import asyncio

    return await asyncio.get_running_loop().run_in_executor(None, lambda: function(*arguments))


def _loop(options: Dict[str, Any]) -> Any:
    """The loop of async handlers, where there is any handler"""
    if not any(name in options for name in _HANDLERS):
        return None
    import asyncio

    return asyncio.get_running_loop()


# ---------------------------------------------------------------------------------------------------------- the contract


@keywords(SEND, first=("subject", "data"))
async def smartsend(subject: str, data: Any, **options: Any) -> Tuple[Dict[str, Any], str]:
    """Makes the JSON of a message out of ``(dataname, data, type)`` payloads; uploads what is too large for NATS.

    Returns the envelope and the JSON to publish on ``subject``; publishing is yours. Without links nothing is waited for.
    """
    spools = None
    if _inputs.has_streams(data):
        data, spools = await _inputs.read_async(data, _in_thread)
    try:
        job = _native.smartsend(subject, data, options, _loop(options))
        return await _run(job)  # type: ignore[no-any-return]
    finally:
        _inputs.close(spools)


@keywords(RECEIVE, first=("msg_json_str",))
async def smartreceive(msg_json_str: Any, **options: Any) -> Dict[str, Any]:
    """Reads a message and downloads what came as a link.

    Returns the envelope's fields, with ``payloads`` as a list of ``(dataname, data, type)``.
    """
    job = _native.smartreceive(msg_json_str, options, _loop(options))
    return received(await _run(job))


# ------------------------------------------------------------------------------------------------------------ the bridge


class Payload(PayloadBase):
    """One payload of a message; a link is downloaded when it is first asked for"""

    __slots__ = ()

    async def value(self) -> Any:
        """The value; a link is downloaded first"""
        return value_of(await _run(self._payload.value()))

    async def bytes(self) -> bytes:
        """The serialised bytes; a link is downloaded first"""
        found: bytes = await _run(self._payload.bytes())
        return found

    async def fetch(self) -> None:
        """Downloads a link into memory"""
        await _run(self._payload.fetch())

    async def save(self, folder: Path) -> Saved:
        """Saves it under a safe form of its name in ``folder``; a link is streamed, verified, then renamed"""
        return Saved(*await _run(self._payload.save(folder_of(folder))))

    async def save_as(self, path: Path) -> Saved:
        """Saves it as the file ``path``, which must not exist yet"""
        return Saved(*await _run(self._payload.save_as(folder_of(path))))

    async def open(self, piece: int = 1 << 18) -> AsyncIterator[builtins.bytes]:
        """The serialised bytes piece by piece; a link is downloaded into a temporary file and verified first"""
        reader = await _run(self._payload.open())
        while True:
            read = await _run(reader.read(piece))
            if not read:
                return
            yield read


class Message(MessageBase):
    """A message that arrived: its fields, its payloads, and the means to reply

    ``message["name"]`` is the value of the first payload of this name. The envelope's fields are attributes: ``msg_id``,
    ``correlation_id``, ``sender_name``, ``reply_to`` and so on.
    """

    __slots__ = ()

    @property
    def payloads(self) -> List[Payload]:
        """The payloads, in order"""
        return [Payload(payload) for payload in self._message.payloads]

    def payload(self, name: str) -> Payload:
        """The first payload of this name"""
        return Payload(self._message.payload(name))

    async def fetch(self) -> None:
        """Downloads every link into memory"""
        await _run(self._message.fetch())

    async def save(self, folder: Path) -> List[Saved]:
        """Saves every payload under a safe form of its name in ``folder``"""
        return [Saved(*saved) for saved in await _run(self._message.save(folder_of(folder)))]

    async def ack(self) -> None:
        """Tells the sender that the message was handled"""
        await _run(self._message.ack())

    async def nack(self, reason: str, *, code: str = "handler", retryable: bool = True) -> None:
        """Tells the sender that the message could not be handled, and why"""
        await _run(self._message.nack(reason, code, retryable))

    async def reply(self, data: Any, *, metadata: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Replies to the message with payloads"""
        spools = None
        if _inputs.has_streams(data):
            data, spools = await _inputs.read_async(data, _in_thread)
        try:
            sent: Dict[str, Any] = await _run(self._message.reply(data, {"metadata": metadata}))
            return sent
        finally:
            _inputs.close(spools)


class Subscription(SubscriptionBase):
    """The messages of a subject, in their order: ``async for message in bridge.subscribe("lab.>")``

    ``await`` it to be sure that the server knows it before anything is sent. A message that can't be read raises its error,
    and the next one follows.
    """

    def __init__(self, bridge: "Bridge", subject: str, options: Dict[str, Any]) -> None:
        self._bridge = bridge
        self._subject = subject
        self._options = options
        self._opening: Any = None
        self._pending: Any = None
        self._job: Any = None

    async def _open(self) -> "Subscription":
        if self._subscription is None:
            import asyncio

            loop = asyncio.get_running_loop()
            if self._opening is None or self._opening.cancelled() or self._opening.get_loop() is not loop:
                self._opening = asyncio.ensure_future(_run(self._bridge._bridge.subscribe(self._subject, self._options)))
            try:
                self._subscription = await asyncio.shield(self._opening)
            except Exception:
                self._opening = None
                raise
        return self

    def __await__(self) -> Any:
        return self._open().__await__()

    async def __aenter__(self) -> "Subscription":
        return await self._open()

    async def __aexit__(self, *_: Any) -> None:
        self.drain()

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Message:
        message = await self.next()
        if message is None:
            raise StopAsyncIteration
        return message

    async def next(self, timeout: Optional[float] = None) -> Optional[Message]:
        """The next message; ``None`` at the end. After ``timeout`` seconds without one: ``asyncio.TimeoutError``"""
        import asyncio

        if timeout is not None:
            return await asyncio.wait_for(self.next(), timeout)
        if self._subscription is None:
            await self._open()
        if self._pending is not None and not self._pending.done() and self._pending.get_loop().is_closed():
            # The loop of an earlier `asyncio.run`: nobody is told there any more.
            self._job.cancel()
            self._job = self._pending = None
        if self._pending is None:
            opened: Any = self._subscription
            job = opened.next()
            if type(job) is not _native.Job:
                return None if job is None else Message(job)
            # It goes on when this call is cancelled: what comes then is the next call's.
            loop = asyncio.get_running_loop()
            self._job, self._pending = job, loop.create_future()
            job.start(loop, _settle, self._pending)
        pending = self._pending
        await asyncio.wait([pending])
        if self._pending is pending:
            self._job = self._pending = None
        found = pending.result()
        return None if found is None else Message(found)

    def __del__(self) -> None:
        if getattr(self, "_job", None) is not None:
            self._job.cancel()


class Service:
    """A running service; ``async with`` or :meth:`stop` ends it"""

    def __init__(self, service: Any) -> None:
        self._service = service

    async def stop(self) -> None:
        """Unsubscribes, handles what has arrived, and ends"""
        await _run(self._service.stop())

    async def ended(self) -> None:
        """Waits until the service ends by itself: the bridge was drained, or a message asked it to stop"""
        await _run(self._service.ended())

    async def __aenter__(self) -> "Service":
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.stop()


class Serving:
    """What ``bridge.serve(subject)`` returns: a decorator for the handler; ``await`` it, or the decorated function's ``service``"""

    def __init__(self, bridge: "Bridge", subject: str, options: Dict[str, Any], handler: Any = None) -> None:
        self._bridge = bridge
        self._subject = subject
        self._options = options
        self._handler = handler

    def __call__(self, handler: Callable[[Message], Any]) -> Callable[[Message], Any]:
        import asyncio

        loop = asyncio.get_running_loop()
        handler.service = loop.create_task(self._begin(handler))  # type: ignore[attr-defined]
        self._bridge._serving.append(handler.service)  # type: ignore[attr-defined]
        return handler

    async def _begin(self, handler: Any) -> Service:
        import asyncio

        wrapped = Wrapped(handler, Message)
        serve = self._bridge._bridge.serve
        service = Service(await _run(serve(self._subject, wrapped, self._options, asyncio.get_running_loop())))
        self._bridge._services.append(service)
        return service

    def __await__(self) -> Any:
        if self._handler is None:
            raise WrongTypeError("wrong_value", "bridge.serve needs a handler: bridge.serve(subject, handler), or use it as a decorator")
        return self._begin(self._handler).__await__()


class Bridge(BridgeBase):
    """A connection to NATS and a file server: sends, receives, requests, replies and serves"""

    def __init__(self, bridge: Any) -> None:
        super().__init__(bridge)
        self._serving: List[Any] = []

    async def _send(self, way: str, subject: str, data: Any, options: Dict[str, Any]) -> Any:
        spools = None
        if _inputs.has_streams(data):
            data, spools = await _inputs.read_async(data, _in_thread)
        try:
            job = self._bridge.send(way, subject, data, options, _loop(options))
            return await _run(job)
        finally:
            _inputs.close(spools)

    @keywords(MESSAGE, first=("self", "subject", "data"))
    async def send(self, subject: str, data: Any, **options: Any) -> Dict[str, Any]:
        """Publishes a message; core NATS may still lose it"""
        return await self._send("send", subject, data, options)  # type: ignore[no-any-return]

    @keywords(MESSAGE, first=("self", "subject", "data"))
    async def send_confirmed(self, subject: str, data: Any, **options: Any) -> Dict[str, Any]:
        """Publishes a message and waits until the server has processed it"""
        return await self._send("confirmed", subject, data, options)  # type: ignore[no-any-return]

    @keywords(MESSAGE, DELIVER, first=("self", "subject", "data"))
    async def deliver(self, subject: str, data: Any, **options: Any) -> Dict[str, Any]:
        """Publishes a message until it is acknowledged as often as asked; at least once"""
        return await self._send("deliver", subject, data, options)  # type: ignore[no-any-return]

    @keywords(MESSAGE, REQUEST, first=("self", "subject", "data"))
    async def request(self, subject: str, data: Any, **options: Any) -> Message:
        """Publishes a message and waits for one reply"""
        return Message(await self._send("request", subject, data, options))

    def subscribe(
        self, subject: str, *, queue: Optional[str] = None, lazy: bool = False, ordered: Optional[bool] = None
    ) -> Subscription:
        """Subscribes to a subject: ``*`` matches one token, ``>`` one or more trailing tokens"""
        return Subscription(self, subject, {"queue": queue, "lazy": lazy, "ordered": ordered})

    def serve(
        self,
        subject: str,
        handler: Optional[Callable[[Message], Any]] = None,
        *,
        queue: Optional[str] = None,
        concurrency: int = 16,
        lazy: bool = False,
        stop_when_asked: bool = False,
        grace: float = 10.0,
    ) -> Any:
        """Replies to each message of a subject with what a function returns: payloads, or ``None`` for an ACK

        A decorator, or ``service = await bridge.serve(subject, handler)``. The function may be async. An exception refuses the
        message: raise :class:`HandlerError` to choose code and reason.
        """
        options = {"queue": queue, "concurrency": concurrency, "lazy": lazy, "stop_when_asked": stop_when_asked, "grace": grace}
        return Serving(self, subject, options, handler)

    async def confirm(self) -> None:
        """Waits until the server has processed everything published before"""
        await _run(self._bridge.confirm())

    def events(self) -> "Events":
        """What happens to the connection from now on: an async iterator"""
        return Events(self._bridge.events())

    async def drain(self) -> None:
        """Stops services, unsubscribes, lets what has arrived be read, publishes what was sent, closes"""
        import asyncio

        serving, self._serving = self._serving, []
        for task in serving:
            await asyncio.wait([task])
        services, self._services = self._services, []
        failure = None
        for service in services:
            try:
                await service.stop()
            except NATSBridgeError as error:
                failure = failure or error
        await _run(self._bridge.drain())
        if failure is not None:
            raise failure

    async def __aenter__(self) -> "Bridge":
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.drain()


class Events:
    """What happens to a connection: ``async for event in bridge.events()``"""

    def __init__(self, events: Any) -> None:
        self._events = events

    def __aiter__(self) -> "Events":
        return self

    async def __anext__(self) -> Event:
        found = await _run(self._events.next())
        if found is None:
            raise StopAsyncIteration
        return Event(*found)

    @property
    def missed(self) -> int:
        """Events that were dropped because they were not read"""
        return int(self._events.missed)


@keywords(CONNECT, first=(), rest={"url": None})
async def connect(url: Optional[str] = None, **options: Any) -> Bridge:
    """Connects to NATS: ``async with await natsbridge.connect() as bridge``

    What is not given is read from the environment, now: ``NATS_URL``, ``FILESERVER_URL``, ``FILESERVER_TOKEN``,
    ``SIZE_THRESHOLD`` and the variables for login and TLS.
    """
    if url is not None:
        options["url"] = url
    return Bridge(await _run(_native.connect(options, _loop(options))))


# ------------------------------------------------------------------------------------------------------------- observing


def metrics() -> Dict[str, Any]:
    """What was counted, by name: messages, uploads, downloads, retries, losses"""
    return parse_metrics(_native.metrics_text())


def metrics_text() -> str:
    """What was counted, as Prometheus reads it"""
    return str(_native.metrics_text())


__all__ = [  # noqa: F405
    "smartsend", "smartreceive", "connect", "Bridge", "Subscription", "Message", "Payload", "Service", "Events", "Table",
    "Store", "PlikStore", "S3Store", "HttpStore", "Upload", "Link", "Progress", "Saved", "Losses", "Event", "HandlerError",
    "metrics", "metrics_text", "NATSBridgeError", "ConfigurationError", "UnknownKeywordError", "InvalidSubjectError",
    "WrongTypeError", "NoSuchPayloadError", "InvalidMessageError", "UndecodableError", "CorruptedError", "TooLargeError",
    "LinksNotAllowedError", "UnsupportedError", "PermissionDeniedError", "TlsError", "UnreachableError",
    "ConnectionLostError", "ClosedError", "NoRespondersError", "TimedOutError", "RefusedError", "UnacknowledgedError",
    "NoReplySubjectError", "ReplyNotAllowedError", "BlockedOriginError", "LinkGoneError", "StorageFullError",
    "RejectedError", "HandlerFailedError", "LocalFileError", "StoppedError", "UnhandledError", "ForkedError", "OtherError",
    "__version__",
]  # fmt: skip
