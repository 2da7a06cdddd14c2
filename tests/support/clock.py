"""A clock that only moves when a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class _Timer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Forget the callback."""
        self.callback = None

    def fire(self) -> None:
        """Call back, once."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()


class FakeClock:
    """A `refold_async.Clock`: `advance` runs what falls due, in order, letting tasks react."""

    def __init__(self, now: float = 1_000.0, epoch: float = 1_781_615_700.0) -> None:
        self.now = now
        self.offset = epoch - now
        self.slept: list[float] = []
        self._queue: list[tuple[float, int, _Timer]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        """Seconds since the test began, and then some."""
        return self.now

    def time(self) -> float:
        """Seconds since the epoch, by the same hand."""
        return self.now + self.offset

    def call_later(self, delay: float, callback: Callable[[], object], /) -> _Timer:
        """Remember the callback until the clock is moved past it; what is due now runs soon."""
        timer = _Timer(callback)
        self.slept.append(delay)
        if delay <= 0:
            asyncio.get_running_loop().call_soon(timer.fire)
            return timer
        heapq.heappush(self._queue, (self.now + delay, next(self._order), timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Move on, stopping at each timer so that what it wakes can run and set others."""
        await settle()
        until = self.now + seconds
        while self._queue and self._queue[0][0] <= until:
            due, _, timer = heapq.heappop(self._queue)
            self.now = max(self.now, due)
            timer.fire()
            await settle()
        self.now = until
        await settle()

    async def leap(self, least: float = 0.01) -> None:
        """Move on to the next timer, or for a moment."""
        while self._queue and self._queue[0][2].callback is None:
            heapq.heappop(self._queue)
        due = self._queue[0][0] - self.now if self._queue else 0.0
        await self.advance(max(due, least))


async def settle(rounds: int = 20) -> None:
    """Let every task that can run do so."""
    for _ in range(rounds):
        await asyncio.sleep(0)


class HastyClock:
    """Real timers, but pauses pass `factor` times as fast: for waiting over real sockets."""

    def __init__(self, factor: float = 50.0) -> None:
        self.factor = factor
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Scaled seconds."""
        return asyncio.get_running_loop().time() * self.factor if _running() else 0.0

    def time(self) -> float:
        """Scaled seconds since an arbitrary epoch."""
        return 1_781_615_700.0 + self.monotonic()

    def call_later(self, delay: float, callback: Callable[[], object], /) -> asyncio.TimerHandle:
        """Call back after the scaled delay."""
        self.slept.append(delay)
        return asyncio.get_running_loop().call_later(delay / self.factor, callback)


def _running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
