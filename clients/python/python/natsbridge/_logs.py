"""The engine's events for `logging`: the seven fields of every message are attributes of the record."""

import logging
from typing import Any, Dict

_log = logging.getLogger("natsbridge")
_log.addHandler(logging.NullHandler())


def wanted() -> int:
    """The least level that somebody listens to"""
    return _log.getEffectiveLevel()


def take(level: int, target: str, text: str, fields: Dict[str, Any]) -> None:
    """Logs one event"""
    if not _log.isEnabledFor(level):
        return
    shown = " ".join(f"{name}={value}" for name, value in fields.items() if value != "")
    # `logging` refuses names that its records have already, be it by a factory of the program's own.
    taken = {"message", "asctime", *vars(logging.makeLogRecord({}))}
    extra = {f"{name}_" if name in taken else name: value for name, value in fields.items()}
    _log.log(level, "%s %s", text, shown, extra=extra)
