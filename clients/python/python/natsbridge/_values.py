"""The rule for values that JSON does not have, and Arrow's values as Python's own."""

import datetime
import decimal
import enum
import sys
import uuid
from typing import Any, Optional

from ._errors import WrongTypeError

_EPOCH = datetime.datetime(1970, 1, 1)
_DAY = datetime.date(1970, 1, 1)


def _fraction(micros: int) -> str:
    if micros == 0:
        return ""
    return f".{micros // 1000:03d}" if micros % 1000 == 0 else f".{micros:06d}"


def _clock(time: Any) -> str:
    return f"{time.hour:02d}:{time.minute:02d}:{time.second:02d}{_fraction(time.microsecond)}"


def _moment(moment: datetime.datetime) -> str:
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.timezone.utc)
    zone = "Z" if moment.tzinfo is not None else ""
    nanos = getattr(moment, "nanosecond", 0)  # pandas
    fraction = f".{moment.microsecond:06d}{nanos:03d}" if nanos else _fraction(moment.microsecond)
    return f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}T{moment.hour:02d}:{moment.minute:02d}:{moment.second:02d}{fraction}{zone}"


def _duration(delta: datetime.timedelta) -> str:
    micros = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    nanos = micros * 1000 + int(getattr(delta, "nanoseconds", 0))
    whole, rest = divmod(abs(nanos), 1_000_000_000)
    digits = f".{rest:09d}".rstrip("0") if rest else ""
    return f"PT{'-' if nanos < 0 else ''}{whole}{digits}S"


def plain(value: Any) -> Any:
    """A value one step closer to JSON, or the value itself where there is no rule"""
    if isinstance(value, enum.Enum):
        return value.value
    module = type(value).__module__.split(".", 1)[0]
    if module == "pandas":
        pandas = sys.modules["pandas"]
        if value is pandas.NaT or value is pandas.NA:
            return None
    if isinstance(value, datetime.datetime):
        return _moment(value)
    if isinstance(value, datetime.date):
        return f"{value.year:04d}-{value.month:02d}-{value.day:02d}"
    if isinstance(value, datetime.time):
        if value.tzinfo is not None:
            raise WrongTypeError("wrong_value", "a time of day with a zone has no JSON form; send text")
        return _clock(value)
    if isinstance(value, datetime.timedelta):
        return _duration(value)
    if isinstance(value, decimal.Decimal):
        if not value.is_finite():
            raise WrongTypeError("wrong_value", f"the decimal {value} has no JSON form; send None, or text")
        return format(value, "f")
    if isinstance(value, uuid.UUID):
        return str(value)
    if module == "numpy":
        return _numpy(value)
    return value


def _numpy(value: Any) -> Any:
    numpy = sys.modules["numpy"]
    if isinstance(value, (numpy.datetime64, numpy.timedelta64)):
        if numpy.isnat(value):
            return None
        # Nanoseconds have no type of Python's own.
        nanos = value.astype("datetime64[ns]" if isinstance(value, numpy.datetime64) else "timedelta64[ns]").astype("int64")
        whole, rest = divmod(int(nanos), 1_000_000_000)
        if isinstance(value, numpy.timedelta64):
            whole, rest = divmod(abs(int(nanos)), 1_000_000_000)
            digits = f".{rest:09d}".rstrip("0") if rest else ""
            return f"PT{'-' if nanos < 0 else ''}{whole}{digits}S"
        second = _EPOCH + datetime.timedelta(seconds=whole)
        for kept in (0, 3, 6, 9):
            text = f"{rest:09d}"
            if not text[kept:].strip("0"):
                return second.strftime("%Y-%m-%dT%H:%M:%S") + (f".{text[:kept]}" if kept else "")
    if isinstance(value, numpy.void) and value.dtype.names:
        return {name: value[name] for name in value.dtype.names}
    if isinstance(value, numpy.ndarray) and value.dtype.kind in "Mm":
        return list(value)
    if isinstance(value, (numpy.generic, numpy.ndarray)):
        if isinstance(value, (str, bytes, float)) and not isinstance(value, numpy.bool_):
            return str(value) if isinstance(value, str) else bytes(value) if isinstance(value, bytes) else float(value)
        array: Any = value
        found = array.tolist()
        return found if type(found) is not type(value) else value
    return value


# ------------------------------------------------------------------------------------------------- Arrow's to Python


def _zone(name: str) -> datetime.tzinfo:
    if name in ("UTC", "utc", "Z", "+00:00", "Etc/UTC"):
        return datetime.timezone.utc
    if name[:1] in "+-" and len(name) == 6:
        sign = -1 if name[0] == "-" else 1
        return datetime.timezone(sign * datetime.timedelta(hours=int(name[1:3]), minutes=int(name[4:6])))
    try:
        from zoneinfo import ZoneInfo

        return ZoneInfo(name)
    except Exception:  # Python 3.8, or a zone that this machine does not know
        return datetime.timezone.utc


def _beyond(text: str) -> WrongTypeError:
    return WrongTypeError("unconvertible", f"{text} is beyond Python's own type; use to_pyarrow or to_polars")


def timestamp(count: int, scale: int, zone: Optional[str]) -> Any:
    """A timestamp; one with nanoseconds is pandas' where pandas is loaded"""
    if scale == 1_000_000_000 and count % 1000:
        pandas = sys.modules.get("pandas")
        if pandas is None:
            raise _beyond("a timestamp with nanoseconds")
        return pandas.Timestamp(count, unit="ns", tz=zone)
    try:
        moment = _EPOCH + datetime.timedelta(microseconds=count * 1_000_000 // scale)
    except OverflowError:
        raise _beyond("a timestamp") from None
    if zone is None:
        return moment
    return moment.replace(tzinfo=datetime.timezone.utc).astimezone(_zone(zone))


def duration(count: int, scale: int, _: Optional[str]) -> Any:
    """A duration; one with nanoseconds is pandas' where pandas is loaded"""
    if scale == 1_000_000_000 and count % 1000:
        pandas = sys.modules.get("pandas")
        if pandas is None:
            raise _beyond("a duration with nanoseconds")
        return pandas.Timedelta(count, unit="ns")
    try:
        return datetime.timedelta(microseconds=count * 1_000_000 // scale)
    except OverflowError:
        raise _beyond("a duration") from None


def time(count: int, scale: int, _: Optional[str]) -> Any:
    """A time of day"""
    micros, rest = divmod(count * 1_000_000, scale)
    if rest or not 0 <= micros < 86_400_000_000:
        raise _beyond("a time of day")
    return (datetime.datetime.min + datetime.timedelta(microseconds=micros)).time()


def date(days: int, _: Optional[int], __: Optional[str]) -> Any:
    """A day"""
    try:
        return _DAY + datetime.timedelta(days=days)
    except OverflowError:
        raise _beyond("a date") from None


def date_ms(millis: int, _: Optional[int], __: Optional[str]) -> Any:
    """A day in milliseconds"""
    return date(millis // 86_400_000, None, None)
