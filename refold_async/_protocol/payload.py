"""Payload → bytes: once, strictly, with the place of whatever can't be sent."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any

from refold_async._checks import plain
from refold_async._errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

MAX_DEPTH = 200
"""Nesting the SDK sends; checked here, not left to the interpreter's recursion limit."""

_PATIENCE = 100_000
"""Values looked at for the fault of a payload that is too large anyway."""

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

_SCALARS = frozenset({str, int, float, bool, type(None)})
"""The types of nearly all values: told apart from containers by one lookup."""

_REMEDIES = {
    "datetime": "send .isoformat()",
    "date": "send .isoformat()",
    "time": "send .isoformat()",
    "Decimal": "send str(...) or float(...)",
    "UUID": "send str(...)",
    "bytes": "send base64 text",
    "bytearray": "send base64 text",
    "set": "send a list",
    "frozenset": "send a list",
}


_BEFORE, _AFTER = b'{"payload":', b"}"


def unwrapped(body: bytes, *, bare: bool) -> bytes:
    """Give the payload in the body of an execute request, as it was serialised."""
    return body if bare else body[len(_BEFORE) : -len(_AFTER)]


def dump_payload(payload: Any, *, limit: int, bare: bool = False) -> bytes:
    """Serialise the body of an execute request.

    Args:
        payload: a JSON object (a `dict` with string keys), or None for an empty one.
        limit: bytes the serialised payload may have.
        bare: whether it is the body, or stands in the body's `payload`.

    Raises:
        PayloadError: it is no object, too deep, too large, or holds what JSON can't say.
    """
    payload = {} if payload is None else payload
    if not isinstance(payload, dict):
        raise PayloadError(_no_object(payload))
    if not _is_plain(payload, limit):
        raise _diagnose(payload)
    text, flaw = _written(payload)
    if flaw is not None:
        raise flaw
    if len(text) > limit:
        raise PayloadError(
            f"is {len(text):,} bytes as JSON, more than the {limit:,} allowed; send a reference to"
            " the data, or raise max_payload_bytes if your deployment takes more"
        )
    return text if bare else _BEFORE + text + _AFTER


def _written(payload: dict[str, Any]) -> tuple[bytes, PayloadError | None]:
    """Encode a payload, or say what is wrong with it.

    It is raised elsewhere: here it would keep the other error, which may hold all of the text.
    """
    try:
        return _encode(payload).encode(), None
    except (TypeError, ValueError, RecursionError) as error:
        return b"", _diagnose(payload, otherwise=f"can't be sent as JSON: {error}")


def _no_object(payload: object) -> str:
    """Say that a payload is no JSON object, and how it becomes one."""
    kind, remedy = type(payload).__name__, "send a dict"
    if isinstance(payload, list | tuple):
        remedy = 'wrap it, as in {"items": [...]}'
    elif isinstance(payload, str | bytes):
        remedy = "json.loads(...) makes one of JSON text"
    return f"must be a JSON object (a dict), not {kind}; {remedy}"


def _is_plain(payload: dict[Any, Any], limit: int) -> bool:
    """Tell fast whether keys are strings and the nesting is bounded; the encoder sees the rest."""
    level: list[Any] = [payload]
    values = 0
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for container in level:
            values += len(container)
            # Each value takes two bytes or more: so shared and cyclic containers end here.
            if 2 * values > limit:
                raise _diagnose(payload, otherwise=_too_many(limit), patience=_PATIENCE)
            if isinstance(container, dict):
                for key, value in container.items():
                    if type(key) is not str and not isinstance(key, str):
                        return False
                    if type(value) not in _SCALARS and isinstance(value, (dict, list, tuple)):
                        below.append(value)
            else:
                below.extend(value for value in container if isinstance(value, (dict, list, tuple)))
        if not below:
            return True
        level = below
    return False


def _too_many(limit: int) -> str:
    return (
        f"holds more than {limit // 2:,} values, which can't fit into {limit:,} bytes; send a"
        " reference to the data, or raise max_payload_bytes if your deployment takes more"
    )


def _diagnose(
    payload: Any, *, otherwise: str = "can't be sent as JSON", patience: float = math.inf
) -> PayloadError:
    """Find the first thing that can't be sent, depth first, and say where it stands.

    Args:
        payload: where to look.
        otherwise: what to say if nothing is found.
        patience: values to look at before giving up.
    """
    above: dict[int, str] = {}  # containers we are in, by id: the step that led into each
    seen_at: dict[int, int] = {}  # containers we have been in, by id: how deep they stood
    parts: list[Iterator[tuple[str, Any]]] = [iter([("$", payload)])]
    while parts:
        for step, value in parts[-1]:
            patience -= 1
            if patience < 0:
                return PayloadError(otherwise)
            complaint = _complaint(value, above)
            if complaint:
                return PayloadError(complaint, path=_shorten("".join(above.values()) + step))
            # A shared container is looked into again only where it stands deeper.
            if isinstance(value, (dict, list, tuple)) and seen_at.get(id(value), -1) < len(above):
                seen_at[id(value)] = len(above)
                above[id(value)] = step
                parts.append(_parts(value))
                break
        else:
            parts.pop()
            if above:
                above.popitem()
    return PayloadError(otherwise)


def _parts(container: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(container, dict):
        return (
            (f".{plain(key) if isinstance(key, str) else key}", value)
            for key, value in container.items()
        )
    return ((f"[{at}]", value) for at, value in enumerate(container))


def _complaint(value: Any, above: Collection[int]) -> str | None:
    """Say what is wrong with one value, apart from what it contains."""
    if id(value) in above:
        return "contains itself; send a copy without the loop"
    if len(above) >= MAX_DEPTH and isinstance(value, (dict, list, tuple)):
        return f"is nested deeper than {MAX_DEPTH}; send it flatter"
    if isinstance(value, dict):
        return next(filter(None, map(_key_complaint, value)), None)
    if isinstance(value, float) and not math.isfinite(value):
        return f"is {value}, which JSON can't say; send null or a string"
    if isinstance(value, str) and not _is_unicode(value):
        return "has a lone surrogate, which is no text; decode with errors='replace'"
    if isinstance(value, int) and not _is_printable(value):
        return f"has more than {sys.get_int_max_str_digits():,} digits; send a string"
    if value is None or isinstance(value, (str, int, float, list, tuple)):
        return None
    kind = type(value).__name__
    return f"is a {kind}, which JSON can't say; {_REMEDIES.get(kind, 'send plain values')}"


def _key_complaint(key: Any) -> str | None:
    if not isinstance(key, str):
        kind, number = type(key).__name__, type(key) in _SCALARS
        which = f"the {kind} key {key!r:.40}" if number else f"a {kind} key"  # may hold anything
        return f"has {which}; JSON keys are strings, send str(...)"
    if not _is_unicode(key):
        return "has a key with a lone surrogate, which is no text; decode with errors='replace'"
    return None


def _is_printable(number: int) -> bool:
    try:
        int.__repr__(number)
    except ValueError:  # the interpreter bounds the digits, against denial of service
        return False
    return True


def _is_unicode(text: str) -> bool:
    try:
        plain(text).encode()
    except UnicodeEncodeError:
        return False
    return True


def _shorten(path: str) -> str:
    """Keep both ends of a path that would fill a screen; it may hold a lone surrogate."""
    path = path.encode("ascii", "backslashreplace").decode()
    return path if len(path) <= 200 else f"{path[:100]}...{path[-90:]}"  # noqa: PLR2004
