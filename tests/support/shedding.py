"""A service that sheds what is too much, and many who want something of it: all on a fake clock."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import attrs

from refold_async import RateLimit
from refold_async._clock import sleep
from refold_async._pacing import Budget, Priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.clock import FakeClock

LATENCY = 0.01
PATIENCE = 120.0
_DEFAULT = RateLimit()


class Shedding:
    """Takes `per_second` requests, `burst` of them at once, and refuses the others."""

    def __init__(
        self,
        clock: FakeClock,
        per_second: float | Callable[[float], float],
        *,
        burst: float | None = None,
        retry_after: float = 0.0,
    ) -> None:
        self.clock = clock
        self.begun = self._filled_at = clock.now
        self.retry_after = retry_after
        self.per_second = per_second
        self.burst = burst
        self._tokens = burst or self.capacity
        self.taken: list[float] = []  # seconds from the beginning
        self.refused: list[float] = []

    @property
    def capacity(self) -> float:
        """Requests it takes per second at this moment."""
        given = self.per_second
        return given(self.clock.now - self.begun) if callable(given) else given

    def take(self) -> bool:
        """Take a request, or refuse it."""
        now, capacity = self.clock.now, self.capacity
        most = self.burst or max(capacity, 1.0)
        self._tokens = min(most, self._tokens + (now - self._filled_at) * capacity)
        self._filled_at = now
        taken = self._tokens >= 1 - 1e-9
        self._tokens -= taken
        (self.taken if taken else self.refused).append(now - self.begun)
        return taken

    def goodput(self, since: float, until: float | None = None) -> float:
        """Requests taken per second in a span of time, up to the last one by default."""
        until = self.taken[-1] if until is None else until
        return sum(since <= at < until for at in self.taken) / (until - since)

    @property
    def share_refused(self) -> float:
        """How much of all it was asked it refused."""
        return len(self.refused) / (len(self.refused) + len(self.taken))


@attrs.define(eq=False)
class Crowd:
    """Callers of one client, who try again when they are refused, as `_transport/retry.py` does."""

    service: Shedding
    budget: Budget
    attempts: list[int] = attrs.field(factory=list)  # of each who ended well
    lost: int = 0
    draw: random.Random = attrs.field(factory=lambda: random.Random(1))

    @classmethod
    def of(cls, service: Shedding, limit: RateLimit | None = _DEFAULT) -> Crowd:
        """Let the callers of a client of its own in."""
        return cls(service, Budget(limit, 100, service.clock))

    async def call(self, priority: Priority = Priority.START) -> None:
        """Make one call: refusals by load are waited out for two minutes from the first one on."""
        clock, tried, refused_at = self.service.clock, 0, 0.0
        while not tried or clock.now < refused_at + PATIENCE:
            phase = await self.budget.acquire(priority, again=tried > 0)
            assert phase is not None
            await sleep(clock, LATENCY)
            taken = self.service.take()
            if taken:
                self.budget.served(phase)
            else:
                self.budget.refused(phase, self.service.retry_after)
            self.budget.release()
            tried += 1
            if taken:
                self.attempts.append(tried)
                return
            refused_at = clock.now if tried == 1 else refused_at
            jitter = self.draw.uniform(0, min(0.5 * 2**tried, 8.0))
            await sleep(clock, self.service.retry_after + jitter)
        self.lost += 1

    async def make(self, calls: int, *, seconds: float) -> None:
        """Make so many calls at once, and see them all to their end."""
        tasks = [asyncio.create_task(self.call()) for _ in range(calls)]
        await self.service.clock.advance(seconds)
        left = [task for task in tasks if not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
