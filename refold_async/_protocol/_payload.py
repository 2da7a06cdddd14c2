"""Payload → bytes: once, strictly, with the place of whatever can't be sent."""

from __future__ import annotations

import json
import math
from typing import Any

from refold_async._errors import PayloadError

MAX_DEPTH = 200
"""Nesting the SDK sends; checked here, not left to the interpreter's recursion limit."""

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

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


def dump_payload(payload: Any, *, limit: int) -> bytes:
    """Serialise the body of an execute request.

    Args:
        payload: a JSON object (a `dict` with string keys), or None for an empty one.
        limit: bytes the serialised payload may have.

    Raises:
        PayloadError: it is no object, too deep, too large, or holds what JSON can't say.
    """
    payload = {} if payload is None else payload
    if not isinstance(payload, dict):
        kind = type(payload).__name__
        raise PayloadError(f"must be a JSON object (a dict), not {kind}")
    if not _is_plain(payload, limit):
        raise _diagnose(payload, limit)
    try:
        text = _encode(payload).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _diagnose(payload, limit, error) from None
    if len(text) > limit:
        raise PayloadError(
            f"is {len(text):,} bytes as JSON, more than the {limit:,} allowed; send a reference to"
            " the data, or raise max_payload_bytes if your deployment takes more"
        )
    return b'{"payload":' + text + b"}"


def _is_plain(payload: dict[Any, Any], limit: int) -> bool:
    """Tell fast whether keys are strings and the nesting is bounded; the encoder sees the rest."""
    level: list[Any] = [payload]
    values = 0
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for container in level:
            values += len(container)
            if isinstance(container, dict):
                for key, value in container.items():
                    if not isinstance(key, str):
                        return False
                    if isinstance(value, (dict, list, tuple)):
                        below.append(value)
            else:
                below.extend(value for value in container if isinstance(value, (dict, list, tuple)))
        if not below:
            return True
        # Each value takes a byte or more: past the limit, shared or cyclic containers explode.
        if values > limit or len(below) > limit:
            return False
        level = below
    return False


def _diagnose(payload: Any, limit: int, error: Exception | None = None) -> PayloadError:
    """Find the first thing that can't be sent, depth first, and say where it stands."""
    stack: list[tuple[Any, str, tuple[int, ...]]] = [(payload, "$", ())]
    seen = 0
    while stack:
        value, path, above = stack.pop()
        seen += 1
        if seen > limit:
            return PayloadError(f"holds more than {limit:,} values")
        complaint = _complaint(value, above)
        if complaint:
            return PayloadError(complaint, path=_shorten(path))
        if isinstance(value, dict):
            within = (*above, id(value))
            for key, below in reversed(value.items()):
                if not isinstance(key, str):
                    return PayloadError(
                        f"has the {type(key).__name__} key {key!r:.40}; JSON keys are strings",
                        path=_shorten(path),
                    )
                stack.append((below, f"{path}.{key}", within))
                if not _is_unicode(key):
                    return PayloadError("has a key with a lone surrogate", path=_shorten(path))
        elif isinstance(value, (list, tuple)):
            within = (*above, id(value))
            stack.extend(
                (below, f"{path}[{at}]", within) for at, below in reversed([*enumerate(value)])
            )
    return PayloadError(f"can't be sent as JSON: {error}")


def _complaint(value: Any, above: tuple[int, ...]) -> str | None:
    """Say what is wrong with one value, apart from its keys."""
    if id(value) in above:
        return "contains itself"
    if len(above) >= MAX_DEPTH and isinstance(value, (dict, list, tuple)):
        return f"is nested deeper than {MAX_DEPTH}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"is {value}, which JSON can't say; send null or a string"
    if isinstance(value, str) and not _is_unicode(value):
        return "has a lone surrogate, which is no text; decode with errors='replace'"
    if value is None or isinstance(value, (str, int, float, dict, list, tuple)):
        return None
    kind = type(value).__name__
    return f"is a {kind}, which JSON can't say; {_REMEDIES.get(kind, 'send plain values')}"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shorten(path: str) -> str:
    """Keep both ends of a path that would fill a screen; it may hold a lone surrogate."""
    path = path.encode("ascii", "backslashreplace").decode()
    return path if len(path) <= 200 else f"{path[:100]}...{path[-90:]}"  # noqa: PLR2004
