"""JSON as RFC 8259 has it: what Python takes beyond it is refused, coming in and going out."""

import json
import math
import re
from typing import Any

MAX_DEPTH = 250
"""Levels of nesting: what is read has to be written again, deeper inside another document."""

_HALF_A_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")
_LONGEST_PATH = 80


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"a number out of range: {text[:_LONGEST_PATH]}")
    return number


_decode = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite).decode
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def load(body: bytes) -> Any:
    """Read a document.

    Raises:
        ValueError: It is no UTF-8 or no JSON, carries half a character or a number out of range,
            or is nested too deeply.
    """
    text = body.decode()
    try:
        document = _decode(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if _is_doubtful(text) and (flaw := find_flaw(document)):
        raise ValueError(flaw)
    return document


def dump(document: Any) -> bytes:
    """Write a document."""
    # A query may hold what is no character, and a refusal quotes it.
    return _encode(document).encode(errors="replace")


def plain(value: Any) -> Any:
    """Give a value as it is once it has been JSON: a copy, of JSON's own types.

    Raises:
        ValueError: It can't be JSON; the message says what of it and where.
    """
    try:
        text = _encode(value)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(find_flaw(value) or str(error)) from None
    if _is_doubtful(text) and (flaw := find_flaw(value)):
        raise ValueError(flaw)
    return json.loads(text)


_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"


def _is_doubtful(text: str) -> bool:
    return text.count("{") + text.count("[") > MAX_DEPTH or bool(_HALF_A_CHARACTER.search(text))


def find_flaw(value: Any) -> str | None:
    """Say what keeps a value from being JSON, as `set at .rows[3]`; None if nothing does."""
    left = [("", value, 1)]
    while left:
        path, each, depth = left.pop()
        if depth > MAX_DEPTH:
            return _TOO_DEEP  # one that contains itself, too
        if complaint := _complaint(each):
            return f"{complaint}{path and ' at '}{path[:_LONGEST_PATH]}"
        if isinstance(each, dict):
            for key, inner in each.items():
                if complaint := _complaint(key) or _no_key(key):
                    return (
                        f"{complaint} as a key at {path[:_LONGEST_PATH]}."
                        if path
                        else f"{complaint} as a key"
                    )
                left.append((f"{path}.{key}", inner, depth + 1))
        elif isinstance(each, list | tuple):
            left += ((f"{path}[{at}]", inner, depth + 1) for at, inner in enumerate(each))
    return None


def _complaint(value: Any) -> str | None:
    if isinstance(value, str):
        return None if _is_text(value) else "half a character (a lone surrogate)"
    if isinstance(value, float):
        return None if math.isfinite(value) else repr(value)
    known = value is None or isinstance(value, bool | int | dict | list | tuple)
    return None if known else type(value).__name__


def _no_key(value: Any) -> str | None:
    return type(value).__name__ if isinstance(value, dict | list | tuple) else None


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
