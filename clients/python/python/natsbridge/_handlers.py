"""What the engine calls: the program's own handlers, sync and async, and what they are given."""

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, NamedTuple, Optional, Tuple

from ._errors import HandlerError, NATSBridgeError, TooLargeError, WrongTypeError

if TYPE_CHECKING:
    import asyncio
    import datetime


@dataclass
class Upload:
    """What an upload handler is given; it returns the URL, or a dict with ``url`` and, where known, ``expires_at``,
    ``one_shot`` and ``delete`` (a function, sync or async, that deletes the upload)"""

    fileserver_url: str
    token: str
    dataname: str
    payload_type: str
    size: int
    one_shot: bool
    ttl: int
    path: Optional[str]
    """Where the bytes are, if they are in a file"""
    _bytes: Optional[bytes] = None

    @property
    def data(self) -> bytes:
        """The bytes; those of a file are read"""
        if self._bytes is not None:
            return self._bytes
        with open(str(self.path), "rb") as file:
            return file.read()


@dataclass
class Link:
    """What a download handler is given; it returns the bytes, which are held to size and digest afterwards"""

    url: str
    dataname: str
    size: int = 0
    """What the sender says, 0 if nothing"""
    limit: int = 10_000_000_000
    """Most bytes to read"""
    one_shot: bool = False
    sha256: Optional[str] = None
    expires_at: "Optional[datetime.datetime]" = None


class Progress(NamedTuple):
    """How far a transfer is; given to the function that ``on_progress`` sets"""

    dataname: str
    direction: str
    """``upload`` or ``download``"""
    done: int
    total: int
    transfer: int
    """Number of the transfer: several may run at once"""
    ended: bool


def _upload(words: Tuple[str, str, str, str], data: Any, size: int, one_shot: bool, ttl: int) -> Upload:
    url, token, dataname, payload_type = words
    path, content = (None, data) if isinstance(data, bytes) else (str(data), None)
    return Upload(url, token, dataname, payload_type, size, one_shot, ttl, path, content)


def _link(words: Tuple[str, str, Optional[str], Optional[str]], size: int, limit: int, one_shot: bool) -> Link:
    url, dataname, sha256, expires_at = words
    moment = None
    if expires_at is not None:
        import datetime

        text = expires_at.replace("Z", "+00:00")
        if "." in text:
            head, rest = text.split(".", 1)
            text = f"{head}.{rest[:-6][:6].ljust(6, '0')}{rest[-6:]}"
        moment = datetime.datetime.fromisoformat(text)
    return Link(url, dataname, size, limit, one_shot, sha256, moment)


def _stored(answer: Tuple[Any, Upload]) -> Tuple[str, str, Optional[str], bool, Any]:
    result, upload = answer
    known: Dict[str, Any] = {"url": result} if isinstance(result, str) else result
    if not isinstance(known, dict) or not isinstance(known.get("url"), str):
        raise TypeError(f"an upload handler returns a URL, or a dict with `url`, not {type(result).__name__}")
    import datetime
    import hashlib

    expires_at = known.get("expires_at")
    if isinstance(expires_at, datetime.datetime):
        if expires_at.tzinfo is None:
            expires_at = expires_at.replace(tzinfo=datetime.timezone.utc)
        expires_at = expires_at.isoformat()
    digest = hashlib.sha256()
    if upload._bytes is not None:
        digest.update(upload._bytes)
    else:
        with open(str(upload.path), "rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                digest.update(piece)
    delete = known.get("delete")
    return known["url"], digest.hexdigest(), expires_at or None, bool(known.get("one_shot")), delete and (lambda _: delete())


def _loaded(answer: Tuple[Any, Link], limit: int) -> bytes:
    result, link = answer
    if not isinstance(result, (bytes, bytearray, memoryview)):
        raise TypeError(f"a download handler returns bytes, not {type(result).__name__}")
    found = bytes(result)
    if len(found) > limit:
        raise TooLargeError("too_large", f"it is larger than this receiver takes, {limit} bytes", link.dataname)
    return found


def _refusal(error: BaseException) -> Tuple[str, str, bool]:
    """Code, reason and whether another try may help, for the NACK of a handler that raised

    The sender may be a stranger: he gets the error's own text, without its causes and without this machine's paths.
    """
    if isinstance(error, HandlerError):
        return error.code, str(error), error.retryable
    if isinstance(error, NATSBridgeError):
        return error.code, error._nack_reason or str(error), error.retryable
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return "handler", f"{type(error).__name__}: {text}" if text else type(error).__name__, True


class Wrapped:
    """A function that wants something else than the engine's own object"""

    def __init__(self, function: Callable[..., Any], wrap: Callable[[Any], Any]) -> None:
        if not callable(function):
            raise WrongTypeError("wrong_value", f"a handler is a function, and not {type(function).__name__}")
        self.function = function
        self.wrap = wrap


def dispatch(function: Any, argument: Any, loop: "Optional[asyncio.AbstractEventLoop]", answer: Any) -> None:
    """Calls a handler: an async one on its loop, a sync one here, on a thread that may block"""
    try:
        given = argument
        if isinstance(function, Wrapped):
            given = function.wrap(argument)
            function = function.function
        if loop is not None and _is_async(function):
            _run_on(loop, _called(function, given), answer, argument)
            return
        result = function(given)
        if inspect.isawaitable(result):
            if loop is not None:
                _run_on(loop, _awaited(result), answer, argument)
                return
            import asyncio

            result = asyncio.run(_awaited(result))
        answer.done(_with(result, argument))
    except BaseException as error:
        answer.failed(error)


def _run_on(loop: "asyncio.AbstractEventLoop", coroutine: Any, answer: Any, argument: Any) -> None:
    import asyncio

    task = asyncio.run_coroutine_threadsafe(coroutine, loop)
    answer.runs(task)
    task.add_done_callback(_answered(answer, argument))


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))


def _with(result: Any, argument: Any) -> Any:
    return (result, argument) if isinstance(argument, (Upload, Link)) else result


async def _called(function: Any, argument: Any) -> Any:
    return await function(argument)


async def _awaited(result: Any) -> Any:
    return await result


def _answered(answer: Any, argument: Any) -> Callable[[Any], None]:
    def done(future: Any) -> None:
        if future.cancelled():
            import asyncio

            answer.failed(asyncio.CancelledError())
            return
        error = future.exception()
        if error is None:
            answer.done(_with(future.result(), argument))
        else:
            answer.failed(error)

    return done


def tell(function: Callable[[Progress], Any], loop: "Optional[asyncio.AbstractEventLoop]", words: Tuple[Any, ...]) -> None:
    """Tells a function of a transfer's progress; it is not waited for"""
    progress = Progress(*words)
    if loop is None:
        function(progress)
    elif not loop.is_closed():
        loop.call_soon_threadsafe(function, progress)

