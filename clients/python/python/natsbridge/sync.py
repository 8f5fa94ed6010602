"""The same without ``async``: each function waits, and Ctrl-C ends it. Handlers may be sync or async."""

import builtins
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from . import _inputs
from . import _natsbridge as _native
from ._common import BridgeBase, Event, MessageBase, Path, PayloadBase, Saved, SubscriptionBase, folder_of, received, value_of
from ._errors import NATSBridgeError
from ._handlers import Wrapped
from ._options import CONNECT, DELIVER, MESSAGE, RECEIVE, REQUEST, SEND, keywords


def _run(job: Any) -> Any:
    return job.wait() if type(job) is _native.Job else job


@keywords(SEND, first=("subject", "data"))
def smartsend(subject: str, data: Any, **options: Any) -> Tuple[Dict[str, Any], str]:
    """Makes the JSON of a message out of ``(dataname, data, type)`` payloads; uploads what is too large for NATS"""
    spools = None
    if _inputs.has_streams(data):
        data, spools = _inputs.read(data)
    try:
        job = _native.smartsend(subject, data, options)
        return _run(job)  # type: ignore[no-any-return]
    finally:
        _inputs.close(spools)


@keywords(RECEIVE, first=("msg_json_str",))
def smartreceive(msg_json_str: Any, **options: Any) -> Dict[str, Any]:
    """Reads a message and downloads what came as a link"""
    job = _native.smartreceive(msg_json_str, options)
    return received(_run(job))


class Payload(PayloadBase):
    """One payload of a message; a link is downloaded when it is first asked for"""

    __slots__ = ()

    def value(self) -> Any:
        """The value; a link is downloaded first"""
        return value_of(_run(self._payload.value()))

    def bytes(self) -> bytes:
        """The serialised bytes; a link is downloaded first"""
        found: bytes = _run(self._payload.bytes())
        return found

    def fetch(self) -> None:
        """Downloads a link into memory"""
        _run(self._payload.fetch())

    def save(self, folder: Path) -> Saved:
        """Saves it under a safe form of its name in ``folder``; a link is streamed, verified, then renamed"""
        return Saved(*_run(self._payload.save(folder_of(folder))))

    def save_as(self, path: Path) -> Saved:
        """Saves it as the file ``path``, which must not exist yet"""
        return Saved(*_run(self._payload.save_as(folder_of(path))))

    def open(self, piece: int = 1 << 18) -> Iterator[builtins.bytes]:
        """The serialised bytes piece by piece; a link is downloaded into a temporary file and verified first"""
        reader = _run(self._payload.open())
        while True:
            read = _run(reader.read(piece))
            if not read:
                return
            yield read


class Message(MessageBase):
    """A message that arrived: its fields, its payloads, and the means to reply"""

    __slots__ = ()

    @property
    def payloads(self) -> List[Payload]:
        """The payloads, in order"""
        return [Payload(payload) for payload in self._message.payloads]

    def payload(self, name: str) -> Payload:
        """The first payload of this name"""
        return Payload(self._message.payload(name))

    def fetch(self) -> None:
        """Downloads every link into memory"""
        _run(self._message.fetch())

    def save(self, folder: Path) -> List[Saved]:
        """Saves every payload under a safe form of its name in ``folder``"""
        return [Saved(*saved) for saved in _run(self._message.save(folder_of(folder)))]

    def ack(self) -> None:
        """Tells the sender that the message was handled"""
        _run(self._message.ack())

    def nack(self, reason: str, *, code: str = "handler", retryable: bool = True) -> None:
        """Tells the sender that the message could not be handled, and why"""
        _run(self._message.nack(reason, code, retryable))

    def reply(self, data: Any, *, metadata: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Replies to the message with payloads"""
        spools = None
        if _inputs.has_streams(data):
            data, spools = _inputs.read(data)
        try:
            sent: Dict[str, Any] = _run(self._message.reply(data, {"metadata": metadata}))
            return sent
        finally:
            _inputs.close(spools)


class Subscription(SubscriptionBase):
    """The messages of a subject, in their order: ``for message in bridge.subscribe("lab.>")``"""

    def __init__(self, subscription: Any, subject: str) -> None:
        self._subscription = subscription
        self._subject = subject

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(self, *_: Any) -> None:
        self.drain()

    def __iter__(self) -> "Subscription":
        return self

    def __next__(self) -> Message:
        message = self.next()
        if message is None:
            raise StopIteration
        return message

    def next(self, timeout: Optional[float] = None) -> Optional[Message]:
        """The next message; ``None`` at the end. After ``timeout`` seconds without one: ``TimeoutError``"""
        job = self._subscription.next()
        if type(job) is _native.Job:
            job = job.wait() if timeout is None else job.wait_for(timeout)
        return None if job is None else Message(job)


class Service:
    """A running service; its handler is called in threads of the engine"""

    def __init__(self, service: Any) -> None:
        self._service = service

    def stop(self) -> None:
        """Unsubscribes, handles what has arrived, and ends"""
        _run(self._service.stop())

    def ended(self) -> None:
        """Waits until the service ends by itself: the bridge was drained, or a message asked it to stop"""
        _run(self._service.ended())

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()


class Bridge(BridgeBase):
    """A connection to NATS and a file server: sends, receives, requests, replies and serves"""

    def _send(self, way: str, subject: str, data: Any, options: Dict[str, Any]) -> Any:
        spools = None
        if _inputs.has_streams(data):
            data, spools = _inputs.read(data)
        try:
            return _run(self._bridge.send(way, subject, data, options))
        finally:
            _inputs.close(spools)

    @keywords(MESSAGE, first=("self", "subject", "data"))
    def send(self, subject: str, data: Any, **options: Any) -> Dict[str, Any]:
        """Publishes a message; core NATS may still lose it"""
        return self._send("send", subject, data, options)  # type: ignore[no-any-return]

    @keywords(MESSAGE, first=("self", "subject", "data"))
    def send_confirmed(self, subject: str, data: Any, **options: Any) -> Dict[str, Any]:
        """Publishes a message and waits until the server has processed it"""
        return self._send("confirmed", subject, data, options)  # type: ignore[no-any-return]

    @keywords(MESSAGE, DELIVER, first=("self", "subject", "data"))
    def deliver(self, subject: str, data: Any, **options: Any) -> Dict[str, Any]:
        """Publishes a message until it is acknowledged as often as asked; at least once"""
        return self._send("deliver", subject, data, options)  # type: ignore[no-any-return]

    @keywords(MESSAGE, REQUEST, first=("self", "subject", "data"))
    def request(self, subject: str, data: Any, **options: Any) -> Message:
        """Publishes a message and waits for one reply"""
        return Message(self._send("request", subject, data, options))

    def subscribe(
        self, subject: str, *, queue: Optional[str] = None, lazy: bool = False, ordered: Optional[bool] = None
    ) -> Subscription:
        """Subscribes to a subject: ``*`` matches one token, ``>`` one or more trailing tokens"""
        options = {"queue": queue, "lazy": lazy, "ordered": ordered}
        return Subscription(_run(self._bridge.subscribe(subject, options)), subject)

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

        ``service = bridge.serve(subject, handler)``, or a decorator, whose function then has the service as ``service``.
        """
        options = {"queue": queue, "concurrency": concurrency, "lazy": lazy, "stop_when_asked": stop_when_asked, "grace": grace}

        def begin(handler: Callable[[Message], Any]) -> Service:
            service = Service(_run(self._bridge.serve(subject, Wrapped(handler, Message), options, None)))
            self._services.append(service)
            return service

        if handler is not None:
            return begin(handler)

        def decorate(handler: Callable[[Message], Any]) -> Callable[[Message], Any]:
            handler.service = begin(handler)  # type: ignore[attr-defined]
            return handler

        return decorate

    def confirm(self) -> None:
        """Waits until the server has processed everything published before"""
        _run(self._bridge.confirm())

    def events(self) -> Iterator[Event]:
        """What happens to the connection from now on"""
        events = self._bridge.events()

        def each() -> Iterator[Event]:
            while True:
                found = _run(events.next())
                if found is None:
                    return
                yield Event(*found)

        return each()

    def drain(self) -> None:
        """Stops services, unsubscribes, lets what has arrived be read, publishes what was sent, closes"""
        services, self._services = self._services, []
        failure = None
        for service in services:
            try:
                service.stop()
            except NATSBridgeError as error:
                failure = failure or error
        _run(self._bridge.drain())
        if failure is not None:
            raise failure

    def __enter__(self) -> "Bridge":
        return self

    def __exit__(self, *_: Any) -> None:
        self.drain()


@keywords(CONNECT, first=(), rest={"url": None})
def connect(url: Optional[str] = None, **options: Any) -> Bridge:
    """Connects to NATS: ``with natsbridge.sync.connect() as bridge``"""
    if url is not None:
        options["url"] = url
    return Bridge(_run(_native.connect(options, None)))


__all__ = ["smartsend", "smartreceive", "connect", "Bridge", "Subscription", "Message", "Payload", "Service"]
