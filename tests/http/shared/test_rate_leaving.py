"""Clients that leave the rate they share: while others of their key come, or cancelled."""

from __future__ import annotations

import asyncio
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
    from collections.abc import Iterator

    from tests.support.clock import FakeClock
    from tests.support.redis import RedisServer


class Clients:
    """Clients of one key on one event loop: they share a pace."""

    def __init__(self, redis: TimedRedis, clock: FakeClock) -> None:
        self.redis = redis
        self.clock = clock
        self.name = os.urandom(8).hex()

    def make(self) -> Budget:
        """Make one."""
        budget = Budget(RateLimit(per_second=20, burst=1), 100, self.clock)
        budget.join(self.name)
        return budget

    def share(self, budget: Budget) -> Rate:
        """Let one share its rate with other processes."""
        return Rate.enter(budget, Shared("redis://nowhere", self.name), self.name, self.clock)

    def kept(self) -> set[str]:
        """What Redis keeps of the rate."""
        return {*self.redis.client.hkeys(f"refold:{self.name}:rate")}


@pytest.fixture
def clients(
    clock: FakeClock, redis_for_all: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Clients]:
    """Clients to be made, and a Redis."""
    redis = TimedRedis(redis_for_all, clock)
    monkeypatch.setattr(rate_module, "Link", lambda *_: redis)
    yield Clients(redis, clock)
    redis.client.close()


@pytest.mark.parametrize("turns", range(4))
async def test_who_begins_while_another_client_leaves_takes_a_tenth(
    clients: Clients, turns: int
) -> None:
    """Whenever that is; and what it is told by the service is told to all at once."""
    one, other = clients.make(), clients.make()
    first = clients.share(one)
    await clients.clock.advance(5)
    leaving = asyncio.create_task(first.leave(one))
    await settle(turns)
    second = clients.share(other)
    if turns == 0:
        assert second is first  # the other one is still there
    else:
        for _ in range(20):
            assert (other.stats().ceiling or 20) <= 2
            await settle(1)
    await leaving
    other.refused(0, 60.0)
    await settle()
    assert "gate" in clients.kept()
    await second.leave(other)


@pytest.mark.parametrize("turns", range(6))
async def test_who_is_cancelled_as_it_leaves_has_left(clients: Clients, turns: int) -> None:
    """Its share is the others', its connection is closed, and who stays has all of the rate."""
    one, other = clients.make(), clients.make()
    rate = clients.share(one)
    await settle()
    leaving = asyncio.create_task(rate.leave(one))
    await settle(turns)
    leaving.cancel()
    await asyncio.wait([leaving])
    if turns == 0:  # it had not begun
        await rate.leave(one)
    assert clients.kept() == {"born"}
    assert clients.redis.left == 1
    assert other.stats().ceiling == 20
