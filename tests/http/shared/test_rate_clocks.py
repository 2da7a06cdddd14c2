"""The rate that processes share while Redis' clock is set: a real Redis, told what time it is."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from typing import TYPE_CHECKING

import pytest

from refold_async import RateLimit, Shared
from refold_async._pacing import Budget
from refold_async._shared import Rate
from refold_async._shared import rate as rate_module
from tests.support.clock import settle
from tests.support.timed_redis import TimedRedis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.clock import FakeClock
    from tests.support.redis import RedisServer

TOTAL = 20.0
FAR = pytest.mark.parametrize("step", [-3_600, 3_600], ids="{:+d} s".format)
NEAR_OR_FAR = pytest.mark.parametrize("step", [-3_600, -20, 3_600], ids="{:+d} s".format)
"""An hour back, less than a pause of a minute, and an hour ahead."""


class Processes:
    """What processes share, each with a rate of its own; none of them stops asking."""

    def __init__(self, redis: TimedRedis, name: str, clock: FakeClock) -> None:
        self.redis = redis
        self._name = name
        self.clock = clock
        self.all: list[tuple[Budget, Rate]] = []
        self._callers: list[asyncio.Task[None]] = []

    def enter(self) -> Budget:
        """Let another one join."""
        budget = Budget(RateLimit(per_second=TOTAL, burst=1), 100, self.clock)
        shared = Shared("redis://nowhere", self._name)
        rate = Rate.enter(budget, shared, self._name, self.clock)
        self._callers += [asyncio.create_task(_ask(budget)) for _ in range(2)]
        self.all.append((budget, rate))
        return budget

    @property
    def shares(self) -> list[float]:
        """What each may send per second."""
        return [budget.pace.rate(self.clock.now) or 0.0 for budget, _ in self.all]

    @property
    def stops(self) -> list[float]:
        """For how many seconds the gate of each is shut."""
        return [budget.stats().stopped_for for budget, _ in self.all]

    async def kill(self) -> None:
        """End the first one at once."""
        _, rate = self.all.pop(0)
        assert rate._task is not None
        rate._task.cancel()
        await settle()

    async def close(self) -> None:
        """Let all leave."""
        for caller in self._callers:
            caller.cancel()
        await asyncio.wait(self._callers)
        for budget, rate in self.all:
            await rate.leave(budget)


async def _ask(budget: Budget) -> None:
    while True:
        await budget.acquire(patience=math.inf)
        budget.release()


@pytest.fixture
async def processes(
    clock: FakeClock, redis_for_all: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Processes]:
    """Three that share the rate in equal parts."""
    redis = TimedRedis(redis_for_all, clock)
    monkeypatch.setattr(rate_module, "Link", lambda *_: redis)
    made = Processes(redis, os.urandom(8).hex(), clock)
    for _ in range(3):
        made.enter()
    await clock.advance(5)
    assert made.shares == pytest.approx([TOTAL / 3] * 3, rel=0.01)
    yield made
    await made.close()


@NEAR_OR_FAR
async def test_a_pause_that_is_known_is_neither_longer_nor_told_again(
    processes: Processes, step: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever Redis' clock is set to meanwhile, and to who joins it is no longer than it was."""
    caplog.set_level(logging.WARNING, "refold_async")
    clock = processes.clock
    processes.all[0][0].refused(0, 60.0)
    await clock.advance(25)
    assert processes.stops == pytest.approx([35] * 3, abs=0.1)
    processes.redis.ahead = step
    await clock.advance(5)
    assert processes.stops == pytest.approx([30] * 3, abs=0.1)
    assert len(caplog.records) == 3
    newcomer = processes.enter()
    await clock.advance(1)
    assert newcomer.stats().stopped_for < 60
    await clock.advance(29.2)
    assert processes.stops[:3] == [0] * 3


@NEAR_OR_FAR
async def test_a_pause_that_is_over_stays_so(processes: Processes, step: int) -> None:
    """For those who knew it, and for who joins."""
    processes.all[0][0].refused(0, 1.0)
    await processes.clock.advance(6)
    processes.redis.ahead = step
    processes.enter()
    for _ in range(5):
        await processes.clock.advance(1)
        assert processes.stops == [0] * 4


@FAR
async def test_who_is_killed_is_forgotten_in_seconds(processes: Processes, step: int) -> None:
    """As without a step of the clock just before it, or after."""
    for after in (0.0, 0.5):
        processes.redis.ahead += step if after == 0.0 else 0.0
        await processes.kill()
        await processes.clock.advance(after)
        processes.redis.ahead += step if after else 0.0
        await processes.clock.advance(4.5)
        left = len(processes.all)
        assert processes.shares == pytest.approx([TOTAL / left] * left, rel=0.01)


@FAR
async def test_shares_are_the_same_after_a_step(processes: Processes, step: int) -> None:
    """Nobody takes what the others have, not for a moment."""
    processes.redis.ahead = step
    for _ in range(100):
        await processes.clock.advance(0.02)
        assert processes.shares == pytest.approx([TOTAL / 3] * 3, rel=0.01)


@FAR
async def test_who_joins_has_its_share_at_once(processes: Processes, step: int) -> None:
    """With the second beat or so; and together they use all of it, and no more."""
    processes.redis.ahead = step
    processes.enter()
    await processes.clock.advance(2)
    assert processes.shares == pytest.approx([TOTAL / 4] * 4, rel=0.01)


@FAR
async def test_what_was_learned_is_no_younger_than_it_is(processes: Processes, step: int) -> None:
    """Who joins after a step comes back to the ceiling with the others, or soon after."""
    for _ in range(32):
        processes.all[0][0].refused(processes.all[0][0].pace.throttle.phase)
    await processes.clock.advance(5)
    (lowered, *_) = (budget.pace.throttle.rate(processes.clock.now) for budget, _ in processes.all)
    assert lowered is not None
    assert lowered < TOTAL
    processes.redis.ahead = step
    for _ in range(2):
        processes.enter()  # the second one, half a minute later
        await processes.clock.advance(30)
    known = [budget.pace.throttle.rate(processes.clock.now) for budget, _ in processes.all]
    assert known == [TOTAL] * 5


@pytest.mark.parametrize("gate", ["soon", "1:2", "9" * 20 + ":5000"])
async def test_a_pause_that_nobody_told_holds_nobody(processes: Processes, gate: str) -> None:
    """Others may write there: what is not understood, or can't be, is dropped."""
    key = processes.all[0][1]._keys[0]
    processes.redis.client.hset(key, mapping={"gate": gate, "born": gate})
    await processes.clock.advance(2)
    assert processes.stops == [0] * 3
    assert not processes.redis.client.hexists(key, "gate")
