"""The request budget all calls of a client share: a token bucket, and places for what is in flight.

Both are granted at once, in order of arrival, before a request's timeouts start. Handing out a
token first and a place later would let a queue of stale tokens leave as one burst.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from refold_async._clock import done_within

if TYPE_CHECKING:
    from refold_async._clock import Clock, Timer
    from refold_async._config import RateLimit
    from refold_async._errors import RefoldError

_ROUNDING = 1e-9


class Budget:
    """Grants slots: the right to have one request in flight, starting now."""

    def __init__(self, rate: RateLimit | None, places: int, clock: Clock) -> None:
        self._clock = clock
        self._places = places  # free places in flight
        self._rate = rate
        self._tokens = float(rate.burst) if rate else 0.0
        self._filled_at = clock.monotonic()  # when _tokens was true
        self._waiters: deque[asyncio.Future[None]] = deque()  # done ones are skipped
        self._timer: Timer | None = None  # set while the first waiter lacks a token

    async def acquire(self, deadline: float | None = None) -> bool:
        """Take a slot when one comes.

        Args:
            deadline: monotonic seconds until which to wait, or None.

        Returns:
            Whether a slot was taken; False once the deadline has passed.
        """
        if deadline is not None and deadline <= self._clock.monotonic():
            return False
        if not self._waiters and self._take():
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._grant()
        try:
            if deadline is None:
                await waiter
            else:
                await done_within(self._clock, waiter, deadline - self._clock.monotonic())
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_back()
            raise
        finally:
            waiter.cancel()
            self._grant()
        if waiter.cancelled():
            return False
        waiter.result()
        return True

    def release(self) -> None:
        """Free the place of a request that is over; its token is spent."""
        self._places += 1
        if self._waiters:
            self._grant()

    def close(self, error: RefoldError) -> None:
        """End every wait for a slot with an error."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error.fresh())
        self._waiters.clear()

    def _give_back(self) -> None:
        """Return a slot that was granted and not used."""
        self._tokens += 1
        self._places += 1

    def _take(self) -> bool:
        if self._places <= 0:
            return False
        if self._rate is not None:
            now = self._clock.monotonic()
            gained = (now - self._filled_at) * self._rate.per_second
            self._tokens = min(self._tokens + gained, float(self._rate.burst))
            self._filled_at = now
            if self._tokens < 1 - _ROUNDING:
                return False
            self._tokens -= 1
        self._places -= 1
        return True

    def _grant(self) -> None:
        """Serve waiters in order for as long as there is a slot; else come back with the token."""
        waiters = self._waiters
        while waiters:
            if waiters[0].done():
                waiters.popleft()
            elif self._take():
                waiters.popleft().set_result(None)
            else:
                break
        if waiters and self._rate is not None and self._places > 0 and self._timer is None:
            missing = (1 - self._tokens) / self._rate.per_second
            self._timer = self._clock.call_later(max(missing, 0.0), self._on_token)

    def _on_token(self) -> None:
        self._timer = None
        self._grant()
