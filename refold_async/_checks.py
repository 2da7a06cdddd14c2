"""Checks on what a caller gives: each names the field and the remedy, before any I/O.

Each gives back the plain value, and that is what is used: a subclass may say something else of
itself wherever it is printed (`str(Env.PROD)` of a `class Env(str, Enum)` is "Env.PROD").
"""

from __future__ import annotations

import math
import re
import sys
from datetime import timedelta
from types import CoroutineType
from typing import TypeVar

from refold_async._errors import ConfigError

_K = TypeVar("_K")

Seconds = float | timedelta
"""A duration, as every `timeout` takes it."""

_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]{0,1022}[!-~])?")
_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._~-]{1,128}")


def plain(text: str) -> str:
    """Give the text that a `str` or an instance of a subclass holds."""
    return text if type(text) is str else str.__str__(text)


def to_seconds(value: Seconds, field: str = "timeout") -> float:
    """Read a duration given as a number of seconds or a `timedelta`."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(
            f"give seconds as a number or a timedelta, not {type(value).__name__}", field=field
        )
    try:
        return float(value)
    except OverflowError:  # a whole number beyond every float
        return math.inf if value > 0 else -math.inf


def positive_seconds(value: Seconds | None, field: str = "timeout") -> float | None:
    """Read an optional duration that must be finite and above zero."""
    if value is None:
        return None
    seconds = to_seconds(value, field)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ConfigError(f"must be a finite number of seconds above 0, not {seconds}", field=field)
    return seconds


def seconds_from_zero(value: Seconds, field: str) -> float:
    """Read a duration that must be finite and may be zero."""
    seconds = to_seconds(value, field)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ConfigError(
            f"must be a finite number of seconds 0 or more, not {seconds}", field=field
        )
    return seconds


def check_flag(value: object, field: str) -> bool:
    """Accept True or False alone: of a text that says "false" Python would say that it is true."""
    if not isinstance(value, bool):
        raise ConfigError(f"must be True or False, not {value!r:.80}", field=field)
    return value


def check_count(value: object, field: str) -> int:
    """Accept a whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= sys.maxsize:
        raise ConfigError(f"must be a whole number from 1, not {value!r:.80}", field=field)
    return int.__int__(value)


def check_header(value: object, field: str) -> str:
    """Accept printable ASCII of 1 to 1,024 characters without a space at either end."""
    if not isinstance(value, str):
        raise ConfigError(f"must be a string, not {_named(value)}", field=field)
    if not _HEADER_VALUE.fullmatch(value):
        raise ConfigError(
            "must be 1 to 1,024 printable ASCII characters without a space at either end",
            field=field,
        )
    return plain(value)


def check_id(value: object, field: str) -> str:
    """Accept an id or alias that is one plain path segment, as it goes into a URL unquoted."""
    if not isinstance(value, str):
        raise ConfigError(f"must be a string, not {_named(value)}", field=field)
    if not _ID.fullmatch(value):
        raise ConfigError(
            "must be 1 to 128 of the characters A-Z a-z 0-9 . _ ~ -, and not . or .., to stand in"
            f" a URL; got {value[:40]!r}",
            field=field,
        )
    return plain(value)


def _named(value: object) -> str:
    """Name the type of a value; of a coroutine it is known how it came to be here."""
    hint = "; await it first" if isinstance(value, CoroutineType) else ""
    return f"{type(value).__name__}{hint}"


def check_kind(value: object, kind: type[_K], field: str) -> _K:
    """Accept an object of one class, as a policy."""
    if not isinstance(value, kind):
        raise ConfigError(f"must be a {kind.__name__}, not {value!r:.80}", field=field)
    return value


def name_after(module: str, *values: object) -> None:
    """Have classes name the place they are imported from, and not the room they live in.

    So do tracebacks, the documentation, and pickles, which so outlive a move between rooms. Modules
    of values are without `from __future__ import annotations`: the types of fields are objects, not
    names that would be looked up in the wrong place, or in vain.
    """
    for value in values:
        if isinstance(value, type):
            value.__module__ = module
