"""The errors: one base, and a class for each kind of failure."""

from typing import Any, Dict, Optional, Tuple, Type


class NATSBridgeError(Exception):
    """What went wrong; every error of this library is one.

    ``code`` is the stable word that every language uses (docs/specification.md, section 9), ``dataname`` the payload that the
    error is about, ``msg_id`` and ``correlation_id`` the message, ``subject`` where it arrived; each is ``None`` where it is
    unknown. ``retryable`` says whether the same call may succeed later. An exception that your own handler raised is the
    ``__cause__``.
    """

    code: str
    dataname: Optional[str]
    msg_id: Optional[str]
    correlation_id: Optional[str]
    subject: Optional[str]
    retryable: bool
    _nack_reason: Optional[str] = None

    def __init__(
        self,
        code: str,
        message: str = "",
        dataname: Optional[str] = None,
        *,
        msg_id: Optional[str] = None,
        correlation_id: Optional[str] = None,
        subject: Optional[str] = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message or code)
        self.code = code
        self.dataname = dataname
        self.msg_id = msg_id
        self.correlation_id = correlation_id
        self.subject = subject
        self.retryable = retryable

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> Tuple[Any, ...]:
        return _again, (type(self), str(self.args[0]), self.__dict__)


def _again(kind: Type[NATSBridgeError], text: str, known: Dict[str, Any]) -> NATSBridgeError:
    """An error that travelled between processes"""
    error = kind(known["code"], text)
    error.__dict__.update(known)
    return error


class ConfigurationError(NATSBridgeError):
    """A setting, keyword, environment variable or credentials file can't be used"""


class UnknownKeywordError(ConfigurationError, TypeError):
    """A call does not know a keyword that it was given; a ``TypeError`` too"""


class InvalidSubjectError(NATSBridgeError):
    """NATS does not accept the name of a subject or queue group"""


class WrongTypeError(NATSBridgeError):
    """A value is not what the payload type holds, or an argument has the wrong type"""


class NoSuchPayloadError(NATSBridgeError, KeyError):
    """The message has no payload of the name asked for; a ``KeyError`` too"""


class InvalidMessageError(NATSBridgeError):
    """A message is no envelope"""


class UndecodableError(NATSBridgeError):
    """The bytes of a payload are not what its type says"""


class CorruptedError(NATSBridgeError):
    """The bytes of a payload are not those that were sent: another size or digest"""


class TooLargeError(NATSBridgeError):
    """A payload or message is larger than its receiver, the broker or the file server takes"""


class LinksNotAllowedError(NATSBridgeError):
    """A payload can only travel as a link, and links are not allowed"""


class UnsupportedError(NATSBridgeError):
    """The receiver can't read a payload of this type"""


class PermissionDeniedError(NATSBridgeError):
    """The broker or the file server does not accept the credentials, or does not permit the operation"""


class TlsError(NATSBridgeError):
    """TLS failed: a certificate is missing, not trusted or not valid"""


class UnreachableError(NATSBridgeError):
    """The broker or the file server can't be reached"""


class ConnectionLostError(NATSBridgeError):
    """The connection was lost before the broker confirmed; a message may or may not have arrived"""


class ClosedError(NATSBridgeError):
    """The connection was closed by this program"""


class NoRespondersError(NATSBridgeError):
    """Nobody subscribes to the subject of a request"""


class TimedOutError(NATSBridgeError):
    """No reply, transfer or confirmation came in time"""


class RefusedError(NATSBridgeError):
    """A receiver refused the message with a NACK"""


class UnacknowledgedError(NATSBridgeError):
    """Too few receivers acknowledged before the deadline"""


class NoReplySubjectError(NATSBridgeError):
    """The message names no subject for replies"""


class ReplyNotAllowedError(NATSBridgeError):
    """This program does not send to the subject that a message names for replies"""


class BlockedOriginError(NATSBridgeError):
    """This program does not download from the address that a link names"""


class LinkGoneError(NATSBridgeError):
    """A link holds nothing any more: unknown to the server, expired, or read already"""


class StorageFullError(NATSBridgeError):
    """The file server has no space left"""


class RejectedError(NATSBridgeError):
    """The file server replied with something unexpected"""


class HandlerFailedError(NATSBridgeError):
    """An upload or download handler of the program's own failed; its exception is the ``__cause__``"""


class LocalFileError(NATSBridgeError):
    """A local file can't be read or written"""


class StoppedError(NATSBridgeError):
    """The interpreter is shutting down"""


class UnhandledError(NATSBridgeError):
    """A service was stopped before all messages that had arrived were handled"""


class ForkedError(NATSBridgeError):
    """The process was forked from one that uses this library; start processes by ``spawn``"""


class OtherError(NATSBridgeError):
    """Another failure, of which ``code`` has the word"""


class HandlerError(Exception):
    """Raise it in a ``serve`` handler to refuse a message: the sender gets ``code`` and the reason in a NACK.

    With ``retryable=False`` the sender does not try again.
    """

    def __init__(self, reason: str, *, code: str = "handler", retryable: bool = True) -> None:
        super().__init__(reason)
        self.code = code
        self.retryable = retryable


_KINDS: Dict[str, Type[NATSBridgeError]] = {
    "Configuration": ConfigurationError,
    "InvalidSubject": InvalidSubjectError,
    "WrongType": WrongTypeError,
    "NoSuchPayload": NoSuchPayloadError,
    "InvalidMessage": InvalidMessageError,
    "Undecodable": UndecodableError,
    "Corrupted": CorruptedError,
    "TooLarge": TooLargeError,
    "LinksNotAllowed": LinksNotAllowedError,
    "Unsupported": UnsupportedError,
    "PermissionDenied": PermissionDeniedError,
    "Tls": TlsError,
    "Unreachable": UnreachableError,
    "ConnectionLost": ConnectionLostError,
    "Closed": ClosedError,
    "NoResponders": NoRespondersError,
    "TimedOut": TimedOutError,
    "Refused": RefusedError,
    "Unacknowledged": UnacknowledgedError,
    "NoReplySubject": NoReplySubjectError,
    "ReplyNotAllowed": ReplyNotAllowedError,
    "BlockedOrigin": BlockedOriginError,
    "LinkGone": LinkGoneError,
    "StorageFull": StorageFullError,
    "Rejected": RejectedError,
    "Handler": HandlerFailedError,
    "LocalFile": LocalFileError,
    "Stopped": StoppedError,
    "Unhandled": UnhandledError,
    "Forked": ForkedError,
}


def _at(error: BaseException, place: str) -> None:
    """Says where in a value it is"""
    if isinstance(error, NATSBridgeError):
        error.args = (f"at {place}: {error}",)


def _about(error: BaseException, dataname: str) -> BaseException:
    """The exception with the payload that it is about; one of another library becomes the cause of ours"""
    if not isinstance(error, Exception):
        return error
    if not isinstance(error, NATSBridgeError):
        failure = WrongTypeError("wrong_value", f"payload `{dataname}`: {type(error).__name__}: {error}", dataname)
        failure.__cause__ = error
        return failure
    if error.dataname is None:
        error.dataname = dataname
        error.args = (f"payload `{dataname}`: {error}",)
    return error


def _make(
    kind: str,
    code: str,
    text: str,
    dataname: Optional[str],
    known: Tuple[Optional[str], Optional[str], Optional[str]],
    retryable: bool,
    cause: Optional[BaseException],
    nack_reason: Optional[str],
) -> BaseException:
    """The exception of a failure that the engine reports"""
    if cause is not None and not isinstance(cause, Exception):
        return cause  # such as a cancellation: it is no failure
    msg_id, correlation_id, subject = known
    if isinstance(cause, NATSBridgeError):
        # A handler that raises one says itself what it is.
        cause.dataname = cause.dataname if cause.dataname is not None else dataname
        cause.msg_id = cause.msg_id or msg_id
        cause.correlation_id = cause.correlation_id or correlation_id
        return cause
    error = _KINDS.get(kind, OtherError)(
        code, text, dataname, msg_id=msg_id, correlation_id=correlation_id, subject=subject, retryable=retryable
    )
    error.__cause__ = cause
    error._nack_reason = nack_reason
    return error
