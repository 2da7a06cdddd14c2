"""A service that sheds is used close to its capacity, and hardly above."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from refold_async import RateLimit
from refold_async._pacing import Priority
from tests.support.clock import settle
from tests.support.shedding import LATENCY, Crowd, Shedding

if TYPE_CHECKING:
    from tests.support.clock import FakeClock

pytestmark = pytest.mark.long

CAPACITY = 8.0


@pytest.mark.parametrize(
    ("burst", "retry_after", "used"),
    [
        pytest.param(None, 0.0, 0.97, id="saves up a second"),
        pytest.param(2, 0.0, 0.97, id="saves up little"),
        pytest.param(1, 0.0, 0.95, id="saves up nothing"),
        pytest.param(None, 1.0, 0.97, id="saves up a second, Retry-After"),
        pytest.param(5, 1.0, 0.97, id="saves up five, Retry-After"),
        pytest.param(None, 0.2, 0.97, id="short Retry-After"),
    ],
)
async def test_a_thousand_starts_use_the_capacity_and_no_more(
    clock: FakeClock, burst: float | None, retry_after: float, used: float
) -> None:
    """After 10 s 97 % of the capacity is used, 2 % of all are refused, every start ends well."""
    service = Shedding(clock, CAPACITY, burst=burst, retry_after=retry_after)
    crowd = Crowd.of(service)
    await crowd.make(1_000, seconds=200)
    assert (len(crowd.attempts), crowd.lost) == (1_000, 0)
    assert service.goodput(10) >= used * CAPACITY
    assert service.share_refused <= 0.02
    assert max(crowd.attempts) <= 3


@pytest.mark.parametrize("retry_after", [0.0, 1.0])
@pytest.mark.parametrize("ceiling", [None, 1_000.0, 1e9])
async def test_without_a_ceiling_the_rate_is_learned_from_what_is_served(
    clock: FakeClock, ceiling: float | None, retry_after: float
) -> None:
    """The first refusals come at once and many; then the capacity is kept to all the same."""
    service = Shedding(clock, CAPACITY, retry_after=retry_after)
    limit = None if ceiling is None else RateLimit(per_second=ceiling, burst=1_000)
    crowd = Crowd.of(service, limit)
    await crowd.make(1_000, seconds=200)
    assert (len(crowd.attempts), crowd.lost) == (1_000, 0)
    assert service.goodput(10) >= 0.97 * CAPACITY
    assert len([at for at in service.refused if at > 10]) <= 20


@pytest.mark.parametrize(
    ("capacity", "burst", "ceiling", "used"),
    [
        pytest.param(16.0, None, 20.0, 0.97, id="a little below the ceiling"),
        pytest.param(60.0, 10, 100.0, 0.9, id="many requests, and little saved up"),
    ],
)
async def test_single_refusals_with_a_pause_cost_hardly_more_than_the_pause(
    clock: FakeClock, capacity: float, burst: float | None, ceiling: float, used: float
) -> None:
    """A second of Retry-After at each probe is no reason to leave the capacity unused."""
    service = Shedding(clock, capacity, burst=burst, retry_after=1.0)
    crowd = Crowd.of(service, RateLimit(per_second=ceiling))
    await crowd.make(int(60 * capacity), seconds=58)
    assert service.goodput(10, 57) >= used * capacity
    assert service.share_refused <= 0.01
    assert crowd.lost == 0


async def test_capacity_that_rises_is_used_within_a_minute(clock: FakeClock) -> None:
    """The rate goes beyond what was learned, gently at first."""
    service = Shedding(clock, lambda at: 8.0 if at < 60 else 16.0)
    crowd = Crowd.of(service)
    await crowd.make(2_000, seconds=160)
    assert service.goodput(20, 60) >= 0.97 * 8
    assert service.goodput(120, 150) >= 0.95 * 16
    assert service.share_refused <= 0.02


async def test_capacity_that_falls_is_noticed_at_once(clock: FakeClock) -> None:
    """Within seconds no more than before is refused."""
    service = Shedding(clock, lambda at: 16.0 if at < 40 else 6.0)
    crowd = Crowd.of(service)
    await crowd.make(1_600, seconds=160)
    assert service.goodput(60, 160) >= 0.97 * 6
    assert len([at for at in service.refused if 40 <= at < 60]) <= 40
    assert len([at for at in service.refused if at >= 60]) <= 0.02 * 600
    assert crowd.lost == 0


async def test_long_calm_brings_the_ceiling_back(clock: FakeClock) -> None:
    """Two minutes after the service has recovered nothing of the trouble is left."""
    service = Shedding(clock, lambda at: 8.0 if at < 30 else 1_000.0)
    crowd = Crowd.of(service)
    await crowd.make(300, seconds=150)
    assert crowd.budget.stats().rate == 20.0
    assert service.goodput(10, 30) >= 0.9 * 8


async def test_service_that_is_down_is_hardly_asked_and_soon_used_again(clock: FakeClock) -> None:
    """Half a minute of refusing everything costs some dozens of requests, not hundreds."""
    service = Shedding(clock, lambda at: 0.0 if 10 <= at < 40 else 30.0)
    crowd = Crowd.of(service)
    await crowd.make(1_000, seconds=200)
    assert len(service.refused) <= 90
    assert service.goodput(50, 60) >= 0.8 * 20
    assert crowd.lost == 0


@pytest.mark.parametrize("share", [0.1, 0.2])
async def test_refusals_at_random_do_not_bring_the_rate_down_for_good(
    clock: FakeClock, share: float
) -> None:
    """So many are refused whatever the rate: slowing down does not help, so it is not done."""
    service = Shedding(clock, 1e6)
    crowd = Crowd.of(service, RateLimit(per_second=60))
    accepted = service.take
    service.take = lambda: crowd.draw.random() > share and accepted()  # type: ignore[method-assign]
    await crowd.make(6_000, seconds=300)
    assert service.goodput(30, 100) >= 0.5 * 60


async def test_retry_after_stops_everybody(clock: FakeClock) -> None:
    """Until it is over nothing leaves; then one after another, not all at once."""
    service = Shedding(clock, 8.0, burst=3, retry_after=2.0)
    crowd = Crowd.of(service)
    tasks = [asyncio.create_task(crowd.call()) for _ in range(20)]
    await clock.advance(0.5)
    assert (len(service.taken), len(service.refused)) == (3, 2)  # the burst
    assert crowd.budget.stats().stopped_for == pytest.approx(LATENCY + 2 - 0.5)
    await clock.advance(20)
    await asyncio.gather(*tasks)
    after = service.taken[3:]
    assert after[0] == pytest.approx(2 + 2 * LATENCY)
    assert all(later - sooner > 0.04 for sooner, later in itertools.pairwise(after))
    assert crowd.budget.stats().stopped_for == 0


async def test_gate_and_pause_of_the_refused_call_do_not_add_up(clock: FakeClock) -> None:
    """Who was refused is back soon after Retry-After: its own pause runs while the gate is shut."""
    service = Shedding(clock, 8.0, burst=1, retry_after=5.0)
    crowd = Crowd.of(service)
    await crowd.make(2, seconds=30)
    assert sorted(crowd.attempts) == [1, 2]
    assert 5.0 <= service.taken[-1] <= 5.0 + 0.5 + 0.2


async def test_two_clients_share_what_the_service_takes(clock: FakeClock) -> None:
    """What one of them is refused slows both; together they use the capacity."""
    service = Shedding(clock, CAPACITY)
    one, two = Crowd.of(service), Crowd.of(service)
    for crowd in (one, two):
        crowd.budget.join("same")
    tasks = [asyncio.create_task(crowd.call()) for crowd in (one, two) for _ in range(500)]
    await clock.advance(200)
    await asyncio.gather(*tasks)
    assert (len(one.attempts), len(two.attempts)) == (500, 500)
    assert service.goodput(10) >= 0.97 * CAPACITY
    assert service.share_refused <= 0.02
    first, second = (crowd.budget.stats() for crowd in (one, two))
    assert (first.rate, first.stopped_for) == (second.rate, second.stopped_for)
    assert first.refused + second.refused == len(service.refused)


@pytest.mark.parametrize(
    ("burst", "retry_after"),
    [
        pytest.param(None, 0.0, id="saves up a second"),
        pytest.param(5, 1.0, id="saves up five, Retry-After"),
    ],
)
async def test_four_processes_use_the_capacity_and_none_of_their_calls_fails(
    clock: FakeClock, burst: float | None, retry_after: float
) -> None:
    """They know nothing of each other; each is refused what the others took."""
    service = Shedding(clock, CAPACITY, burst=burst, retry_after=retry_after)
    crowds = [Crowd.of(service) for _ in range(4)]
    for number, crowd in enumerate(crowds):
        crowd.draw.seed(number)
    tasks = [asyncio.create_task(crowd.call()) for crowd in crowds for _ in range(250)]
    busy_until = 0.0
    while not all(task.done() for task in tasks):
        await clock.advance(1)
        if min(sum(crowd.budget.stats().waiting.values()) for crowd in crowds) > 0:
            busy_until = clock.now - service.begun
    await asyncio.gather(*tasks)
    assert [(len(crowd.attempts), crowd.lost) for crowd in crowds] == [(250, 0)] * 4
    assert busy_until > 60
    assert service.goodput(10, busy_until) >= 0.95 * CAPACITY
    assert service.goodput(10) >= 0.7 * CAPACITY  # the last one has to grow into it
    assert service.share_refused <= 0.25


async def test_finished_runs_are_read_while_starts_queue(clock: FakeClock) -> None:
    """Every second slot goes to what waits below; the starts have the others."""
    service = Shedding(clock, 1_000.0)
    crowd = Crowd.of(service, RateLimit(per_second=10, burst=1))
    tasks = [asyncio.create_task(crowd.call(Priority.START)) for _ in range(500)]
    await settle()
    for priority in (Priority.STATUS, Priority.RESULT):
        tasks += [asyncio.create_task(crowd.call(priority)) for _ in range(10)]
    await clock.advance(20)
    granted = crowd.budget.stats().granted
    assert granted["status"] == 10
    assert granted["result"] in {9, 10}
    assert granted["start"] in {180, 181}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
