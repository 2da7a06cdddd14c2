"""A reply as it came, before anything is made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Reply(NamedTuple):
    """A reply as it came off the wire.

    Attributes:
        status: HTTP status.
        headers: case-insensitive.
        body: decompressed bytes.
        received_at: the local clock when it came, in seconds since the epoch.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: float
