"""The keywords of each call with their defaults: one list for the async functions and their sync twins."""

import inspect
from typing import Any, Callable, Dict, Optional, Tuple

from ._errors import UnknownKeywordError

_REQUIRED = inspect.Parameter.empty

SEND: Dict[str, Any] = {
    "broker_url": "nats://localhost:4222",
    "fileserver_url": "http://localhost:8080",
    "fileserver_upload_handler": None,
    "size_threshold": 500_000,
    "correlation_id": "",
    "msg_purpose": "chat",
    "sender_name": "NATSBridge",
    "receiver_name": "",
    "receiver_id": "",
    "reply_to": "",
    "reply_to_msg_id": "",
    "msg_id": "",
    "sender_id": "",
    "fileserver_token": "",
    "max_message_size": 1_048_576,
    "receiver": "desktop",
    "links": True,
    "convert_tables": False,
    "digest_direct": False,
    "metadata": None,
    "awaits_ack": False,
    "one_shot": None,
    "ttl": None,
    "direct_fallback": False,
    "store": None,
    "on_progress": None,
}

RECEIVE: Dict[str, Any] = {
    "fileserver_download_handler": None,
    "max_retries": 5,
    "base_delay": 100,
    "max_delay": 5000,
    "allowed_origins": None,
    "fileserver_url": None,
    "strict": False,
    "max_payload_size": 10_000_000_000,
    "message_timeout": None,
    "store": None,
    "on_progress": None,
}

MESSAGE: Dict[str, Any] = {
    "receiver_name": "",
    "receiver_id": "",
    "reply_to": "",
    "reply_to_msg_id": "",
    "correlation_id": "",
    "msg_purpose": "chat",
    "metadata": None,
    "digest_direct": False,
    "receiver": None,
    "convert_tables": False,
    "one_shot": None,
    "ttl": None,
    "on_progress": None,
}

DELIVER: Dict[str, Any] = {"acks": 1, "timeout": 30.0, "first_pause": 0.5, "longest_pause": 5.0}
REQUEST: Dict[str, Any] = {"timeout": 10.0}

CONNECT: Dict[str, Any] = {
    "name": None,
    "token": None,
    "user": None,
    "password": None,
    "nkey": None,
    "nkey_file": None,
    "jwt": None,
    "credentials": None,
    "credentials_file": None,
    "ca": None,
    "client_cert": None,
    "client_key": None,
    "require_tls": False,
    "tls_first": False,
    "connect_timeout": 5.0,
    "confirm_timeout": 5.0,
    "drain_timeout": 10.0,
    "ping_interval": 3.0,
    "inbox_prefix": None,
    "fileserver_url": "",
    "fileserver_token": "",
    "fileserver_ca": None,
    "fileserver_upload_handler": None,
    "fileserver_download_handler": None,
    "store": None,
    "size_threshold": 500_000,
    "receiver": None,
    "convert_tables": False,
    "sender_name": "NATSBridge",
    "sender_id": None,
    "allowed_origins": None,
    "reply_subjects": None,
    "strict": False,
    "max_payload_size": 10_000_000_000,
    "max_retries": 5,
    "base_delay": 100,
    "max_delay": 5000,
    "transfers": 4,
    "links_ahead": 64_000_000,
    "message_timeout": 60.0,
    "order_timeout": 5.0,
    "direct_fallback": False,
    "on_progress": None,
    "broker": None,
}


def unexpected(function: str, name: str) -> UnknownKeywordError:
    """The error of a keyword that a call does not know, with one that may have been meant"""
    import difflib

    known = {"smartsend": SEND, "smartreceive": RECEIVE, "connect": CONNECT}.get(function, {**MESSAGE, **DELIVER, **REQUEST})
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean '{near[0]}'?" if near else f"; it knows {', '.join(known)}"
    return UnknownKeywordError("configuration", f"{function}() got an unexpected keyword argument '{name}'{hint}")


def keywords(*options: Dict[str, Any], first: Tuple[str, ...], rest: Optional[Dict[str, Any]] = None) -> Callable[[Any], Any]:
    """Gives a function that takes `**options` the signature that it has"""

    def sign(function: Any) -> Any:
        kinds = inspect.Parameter
        names = [kinds(name, kinds.POSITIONAL_OR_KEYWORD) for name in first]
        names += [kinds(name, kinds.POSITIONAL_OR_KEYWORD, default=value) for name, value in (rest or {}).items()]
        for known in options:
            names += [kinds(name, kinds.KEYWORD_ONLY, default=value) for name, value in known.items()]
        function.__signature__ = inspect.Signature(names)
        return function

    return sign
