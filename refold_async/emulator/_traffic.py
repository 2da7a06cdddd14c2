"""The latest requests with what became of each: for the page, which shows them as they go."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
from aiohttp import web

_KEPT = 100
"""Requests that are kept: as many as the page shows."""
_LONGEST = 300
"""Characters of a path or an account that are kept."""


@attrs.define(eq=False)
class Exchange:
    """One request, and its answer once there is one.

    Attributes:
        number: Counts the requests.
        operation: What was asked for.
        method: The HTTP method.
        path: The path.
        account: The linked account that it named, if any.
        at: When it arrived, epoch seconds.
        status: The HTTP status of the answer; None while there is none, or if there never was.
        ended: When it was over, or None.
        fault: What went wrong, or None.
    """

    number: int
    operation: str
    method: str
    path: str
    account: str
    at: float
    status: int | None = None
    ended: float | None = None
    fault: str | None = None


class Traffic:
    """The latest exchanges, in order of arrival.

    Args:
        now: The server's clock in epoch seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.latest: deque[Exchange] = deque(maxlen=_KEPT)
        self._count = 0

    @contextmanager
    def noted(self, operation: str, request: web.BaseRequest, *, kept: bool) -> Iterator[Exchange]:
        """Note an exchange, which lasts as long as the block; without `kept` nobody will see it."""
        if not kept:
            yield Exchange(0, operation, "", "", "", 0.0)
            return
        self._count += 1
        exchange = Exchange(
            self._count,
            operation,
            request.method,
            request.path[:_LONGEST],
            request.headers.get("linked_account_id", "")[:_LONGEST],
            self._now(),
        )
        self.latest.append(exchange)
        try:
            yield exchange
        finally:
            exchange.ended = self._now()
