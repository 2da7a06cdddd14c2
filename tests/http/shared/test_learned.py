"""What refusals teach one process, all know: by a real Redis, and the real time."""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import RateLimit, Shared, SystemClock
from refold_async._pacing import Budget
from refold_async._shared import Rate
from refold_async._shared import rate as rate_module
from refold_async._shared.link import Link
from refold_async._shared.rate import BEAT
from refold_async.emulator import Fault
from tests.http.shared.conftest import WORKFLOW
from tests.support.endings import until
from tests.support.shedding import Crowd, Shedding
from tests.support.timed_redis import TimedRedis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from refold_async import RefoldClient
    from refold_async.emulator import Emulator
    from tests.support.clock import FakeClock
    from tests.support.redis import RedisServer

    Member = tuple[Budget, Rate]
    Joined = Callable[..., Awaitable[list[Member]]]


class _Clock(SystemClock):
    """A clock of a member's own: it is another process, then."""


@pytest.fixture
async def joined() -> AsyncIterator[Joined]:
    """Let three beat at a Redis, and know of each other."""
    made: list[Member] = []

    async def join(redis: RedisServer, **more: Any) -> list[Member]:
        name = os.urandom(8).hex()
        redis.remembers(name)
        for _ in range(3):
            enter(made, redis, name, **more)
        await until(lambda: all(rate._members == 3 for _, rate in made))
        return made

    yield join
    for budget, rate in made:
        await rate.leave(budget)


@pytest.fixture
async def members(joined: Joined, redis_for_all: RedisServer) -> list[Member]:
    """Three, and a Redis that stays as it is."""
    return await joined(redis_for_all)


def enter(
    members: list[Member],
    redis: RedisServer,
    name: str,
    limit: RateLimit | None = RateLimit(),  # noqa: B008 - frozen
) -> None:
    """Let another one beat."""
    budget = Budget(limit, 100, _Clock())
    rate = Rate.enter(budget, Shared(redis.url, name), name, SystemClock())
    members.append((budget, rate))


def refuse(member: Member, count: int) -> None:
    """Have the service refuse so many of one process's requests, and take as many."""
    budget, _ = member
    for _ in range(count):
        budget.refused(budget.pace.throttle.phase)
        budget.served(budget.pace.throttle.phase)


def rates(members: list[Member]) -> list[float]:
    """What all may send, as each has learned."""
    clock = SystemClock()
    return [budget.pace.throttle.rate(clock.monotonic()) or 0.0 for budget, _ in members]


async def test_who_begins_takes_a_tenth_until_it_has_a_share(
    members: list[Member], redis_for_all: RedisServer
) -> None:
    """Many that begin at once are not many ceilings, and no call waits for Redis."""
    enter(members, redis_for_all, members[0][1]._keys[0].split(":")[1])
    budget, _ = members[3]
    assert budget.stats().ceiling == 2
    await until(lambda: budget.stats().ceiling == 5)


async def test_what_one_has_learned_all_know_within_a_beat(members: list[Member]) -> None:
    """The rate of all has fallen, to the same."""
    began = SystemClock().monotonic()
    refuse(members[0], 16)
    await until(lambda: max(rates(members)) < 15)
    assert max(rates(members)) == pytest.approx(min(rates(members)), rel=0.01)
    assert SystemClock().monotonic() - began < 20 * BEAT


async def test_refusals_that_several_have_at_once_are_one_decrease(members: list[Member]) -> None:
    """Who comes second takes what the first one has learned; the first refusals are of all."""
    for member in members:
        refuse(member, 16)
    own = rates(members)
    await until(lambda: members[0][1]._epoch == members[1][1]._epoch == members[2][1]._epoch != "")
    assert rates(members) == pytest.approx([own[0]] * 3, rel=0.01)


async def test_few_replies_of_each_are_enough_of_all(members: list[Member]) -> None:
    """Six of each are no reason to judge, but eighteen are."""
    refuse(members[0], 1)
    await until(lambda: members[1][1]._epoch == members[2][1]._epoch == members[0][1]._epoch != "")
    for member in members:
        refuse(member, 3)
    assert rates(members) == [20, 20, 20]
    await until(lambda: max(rates(members)) < 15)


async def test_a_redis_that_forgot_is_told_anew(joined: Joined, redis_server: RedisServer) -> None:
    """By whoever knows; nobody's rate rises."""
    members = await joined(redis_server)
    refuse(members[0], 16)
    await until(lambda: max(rates(members)) < 15)
    redis_server.empty()
    key = members[0][1]._keys[1]
    await until(lambda: redis_server.ask(f"HEXISTS {key} lesson") == ":1")
    assert max(rates(members)) < 15


async def test_while_redis_is_away_each_goes_on_learning(
    joined: Joined, redis_server: RedisServer
) -> None:
    """With its part of the rate; afterwards all know what the first one tells."""
    members = await joined(redis_server)
    redis_server.kill()
    refuse(members[0], 16)
    assert rates(members)[1:] == [20, 20]
    assert rates(members)[0] < 15
    redis_server.start()
    await until(lambda: max(rates(members)) < 15)


async def test_who_joins_knows_what_the_others_have_learned(
    members: list[Member], redis_for_all: RedisServer
) -> None:
    """With its first beat."""
    refuse(members[0], 16)
    await until(lambda: max(rates(members)) < 15)
    enter(members, redis_for_all, members[0][1]._keys[0].split(":")[1])
    await until(lambda: rates(members)[3] < 15)
    assert max(rates(members)) == pytest.approx(min(rates(members)), rel=0.01)


async def test_without_a_rate_limit_what_is_learned_is_shared_all_the_same(
    joined: Joined, redis_for_all: RedisServer
) -> None:
    """Each has a part of it, as soon as there is something to divide."""
    members = await joined(redis_for_all, limit=None)
    assert [budget.stats().rate for budget, _ in members] == [None] * 3
    refuse(members[0], 32)
    await until(lambda: all(budget.stats().rate is not None for budget, _ in members))
    await until(lambda: [round(budget.pace.part, 1) for budget, _ in members] == [0.3] * 3)
    assert max(rates(members)) == pytest.approx(min(rates(members)), rel=0.01)


# -- many starts, by a clock moved by hand ---------------------------------------------------------


@pytest.mark.long
async def test_processes_that_share_use_the_capacity_as_one_does(
    clock: FakeClock, redis_for_all: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 10 s 97 % of it, 3 % of all are refused, and every start ends well."""
    processes = 8
    random.seed(processes)
    service, name = Shedding(clock, 8.0), os.urandom(8).hex()
    crowds = [Crowd.of(service) for _ in range(processes)]
    redis = TimedRedis(redis_for_all, clock)
    monkeypatch.setattr(rate_module, "Link", lambda *_: redis)
    rates = [
        Rate.enter(crowd.budget, Shared(redis_for_all.url, name), name, clock) for crowd in crowds
    ]
    tasks = [
        asyncio.create_task(crowd.call()) for crowd in crowds for _ in range(1_000 // processes)
    ]
    await clock.advance(180)
    await asyncio.gather(*tasks)
    for crowd, rate in zip(crowds, rates, strict=True):
        await rate.leave(crowd.budget)
    assert [crowd.lost for crowd in crowds] == [0] * processes
    assert service.goodput(10, service.taken[950]) >= 0.97 * 8
    assert service.share_refused <= 0.03


async def test_a_rate_that_is_learned_while_redis_is_asked_has_a_share(
    sharing: Callable[..., RefoldClient], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis answers by what it was told: then there was no rate to be divided."""
    budgets: list[Budget] = []
    run = Link.run

    async def late(link: Link, *args: Any) -> Any:
        answer = await run(link, *args)
        await until(lambda: budgets[0].pace.throttle.learned)
        return answer

    monkeypatch.setattr(Link, "run", late)
    emulator.faults.share("execute", Fault(status=429), share=0.7, seed=1)
    async with sharing(rate_limit=None) as refold:
        budgets.append(refold._caller.parts.transport.budget)
        starts = (refold.execute(WORKFLOW, slug="s") for _ in range(40))
        handles = await asyncio.gather(*starts)
        assert budgets[0].pace.part > 0.99
    assert len({handle.execution_id for handle in handles}) == 40
