"""One attempt at a request: how far it has come, and when it is over."""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import TYPE_CHECKING

from refold_async._clock import Clock, Deadline

if TYPE_CHECKING:
    import asyncio


class Attempt:
    """How far one attempt has come, and the deadline it is under."""

    __slots__ = ("_allowed", "_clock", "_latest", "connection", "deadline", "leaves_by", "sent")

    def __init__(self, clock: Clock, *, connect: float, allowed: float, latest: float) -> None:
        self.sent = False  # a connection stood, and was about to be written to
        self.leaves_by = math.inf  # monotonic seconds: if nothing left before, nothing leaves
        self.connection: asyncio.Protocol | None = None
        self._clock = clock
        self._allowed = allowed  # seconds for the reply
        self._latest = latest  # monotonic seconds
        self.deadline = Deadline(clock, min(clock.monotonic() + connect, latest))

    @property
    def out_of_time(self) -> bool:
        """Whether the call's own deadline has passed."""
        return self._clock.monotonic() >= self._latest

    def check_may_leave(self) -> None:
        """Refuse to let it leave too late.

        Raises:
            TimeoutError: it is too late.
        """
        if self._clock.monotonic() > self.leaves_by:
            raise TimeoutError("it took too long to leave")

    def depart(self, connection: asyncio.Protocol | None = None) -> None:
        """Note that the first bytes are about to leave."""
        self.sent, self.connection = True, connection
        self.answer_is_due()

    def answer_is_due(self) -> None:
        """Start the clock of the reply (again)."""
        self.deadline.move(min(self._clock.monotonic() + self._allowed, self._latest))

    def abandon(self, seconds: float) -> None:
        """Leave it so many seconds, now that its caller is gone."""
        self._latest = min(self._latest, self._clock.monotonic() + seconds)
        self.deadline.move(min(self.deadline.when, self._latest))


under_way: ContextVar[Attempt] = ContextVar("refold_async_attempt")
"""Whose connection the running task asks aiohttp for."""
