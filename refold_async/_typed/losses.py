"""What would go out otherwise than it stands in a value, and nobody would be told."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any

import attrs

from refold_async._typed.faults import MisfitError

_MINUTE = timedelta(minutes=1)

PRIVATE = (
    "would not be sent: an attrs field that begins with _ is private; rename keys with"
    " msgspec.Struct or pydantic"
)
_OF_THE_CLASS = (
    "would not be sent: field(init=False) with a plain default leaves it to the class; give it a"
    " default_factory, or assign it in __post_init__"
)


def moved(part: Any, said: Any) -> MisfitError | None:
    """Find a time that was written as another one: its offset is not of whole minutes.

    What a serializer of the user's has written otherwise is right.
    """
    if not isinstance(part, datetime | time) or not isinstance(said, str):
        return None
    offset = part.utcoffset()
    if offset is None or not offset % _MINUTE:
        return None
    whole = isinstance(part, datetime)
    try:
        sent: datetime | time = datetime.fromisoformat(said) if whole else time.fromisoformat(said)
    except ValueError:
        return None
    if sent.utcoffset() is None or sent == part:
        return None
    remedy = "send .astimezone(UTC)" if whole else "give it an offset of whole minutes"
    return MisfitError(
        f"has an offset with seconds, which JSON text of a {type(part).__name__} has none of, so"
        f" that another moment would be sent; {remedy}"
    )


def missing(part: Any, said: Any) -> MisfitError | None:
    """Find a field of a dataclass or of an attrs class that was not written."""
    if not isinstance(said, dict):
        return None
    for name in names_of(part):
        if name not in said and _is_given(part, name):
            words = PRIVATE if attrs.has(type(part)) else _OF_THE_CLASS
            return MisfitError(words, f"$.{name}")
    return None


def names_of(part: Any) -> tuple[str, ...]:
    """Name the fields of an object of a dataclass or an attrs class."""
    kind = type(part)
    if attrs.has(kind):
        return tuple(each.name for each in attrs.fields(kind))
    if not hasattr(kind, "__dataclass_fields__"):
        return ()
    from dataclasses import fields  # noqa: PLC0415 - whoever has such an object has imported it

    return tuple(each.name for each in fields(part))


def _is_given(part: Any, name: str) -> bool:
    """Tell whether a field has a value, and not the one that says that it has none."""
    from msgspec import UNSET  # noqa: PLC0415 - it has just written the value

    return getattr(part, name, UNSET) is not UNSET
