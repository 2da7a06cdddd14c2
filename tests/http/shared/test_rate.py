"""One rate for all processes: shares by demand, one gate, and no call that waits for Redis."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from typing import TYPE_CHECKING

import pytest

from refold_async import (
    ConfigError,
    RateLimit,
    RateLimitError,
    RetryPolicy,
    Shared,
    SystemClock,
    Timeouts,
)
from refold_async._config import Secret
from refold_async._shared.dividing import DIVIDE
from refold_async._shared.link import Link
from refold_async.emulator import Fault
from tests.http.shared.conftest import WORKFLOW
from tests.support.clock import HastyClock
from tests.support.endings import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient
    from refold_async.emulator import Emulator
    from tests.support.redis import RedisServer

    Sharing = Callable[..., RefoldClient]

LONG = Timeouts(connect=600, read=600)
"""By a hasty clock, too."""
FORTY = RateLimit(per_second=40, burst=4)


@pytest.fixture
def members(sharing: Sharing) -> Callable[..., list[RefoldClient]]:
    """Make clients that share as processes do: each has a clock of its own, and so a pace."""

    def make(count: int, *redis: RedisServer, hasty: float = 1.0) -> list[RefoldClient]:
        policy = RetryPolicy(wait=0, max_wait=0)
        return [
            sharing(*redis, rate_limit=FORTY, retry=policy, timeouts=LONG, clock=HastyClock(hasty))
            for _ in range(count)
        ]

    return make


def shares(clients: list[RefoldClient]) -> list[float]:
    """What each may send per second."""
    return [refold.stats.budget.ceiling or 0.0 for refold in clients]


def _has(refold: RefoldClient, share: float) -> bool:
    return shares([refold]) == [share]


async def begin(clients: list[RefoldClient]) -> None:
    """Make the first call of each, and wait until they know of each other."""
    for refold in clients:
        await refold.ping()
    await until(lambda: min(shares(clients)) > 0.9 and sum(shares(clients)) <= 40.5)


class Hungry:
    """Clients whose callers queue for as long as this lasts."""

    def __init__(self, clients: list[RefoldClient]) -> None:
        self.clients = clients

    async def __aenter__(self) -> None:
        self.tasks = [
            asyncio.create_task(self._ask(refold)) for refold in self.clients for _ in range(8)
        ]

    async def _ask(self, refold: RefoldClient) -> None:
        while True:
            await refold.ping()

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_processes_that_queue_have_equal_shares(
    members: Callable[..., list[RefoldClient]],
) -> None:
    """Of the ceiling, all together; bursts are divided too."""
    clients = members(4)
    async with Hungry(clients):
        await until(lambda: all(9.9 < share <= 10 for share in shares(clients)))
    assert sum(shares(clients)) <= 40


async def test_who_wants_little_leaves_the_rest_to_the_others(
    members: Callable[..., list[RefoldClient]],
) -> None:
    """And has a share to begin with when it wants more."""
    clients = members(4)
    await begin(clients)
    async with Hungry(clients[:1]):
        await until(lambda: shares(clients)[0] > 30)
        assert all(share >= 0.9 for share in shares(clients))
    async with Hungry(clients):
        await until(lambda: all(9.9 < share <= 10 for share in shares(clients)))


async def test_who_leaves_gives_its_share_back(
    members: Callable[..., list[RefoldClient]],
) -> None:
    """At once, when it is closed."""
    clients = members(2)
    async with Hungry(clients[:1]):
        await begin(clients)
        await until(lambda: shares(clients)[0] < 40)
        await clients[1].aclose()
        await until(lambda: shares(clients)[0] == 40)


async def test_clients_of_one_process_with_one_credential_are_one_member(
    sharing: Sharing,
) -> None:
    """They share a pace already; the second counts for nothing more."""
    clients = [sharing(rate_limit=FORTY, timeouts=LONG) for _ in range(2)]
    async with Hungry(clients):
        await until(lambda: shares(clients) == [40, 40])
    await clients[0].aclose()
    await clients[1].ping()


async def test_a_pause_is_told_to_all(
    members: Callable[..., list[RefoldClient]], emulator: Emulator
) -> None:
    """At once, and as a duration; who can't outlast it fails."""
    clients = members(3)
    await begin(clients)
    emulator.faults.script("execute", Fault(status=429, headers={"Retry-After": "60"}))
    with pytest.raises(RateLimitError):
        await clients[0].execute(WORKFLOW, slug="s", timeout=1)
    await until(lambda: all(refold.stats.budget.stopped_for > 50 for refold in clients))
    assert all(refold.stats.budget.stopped_for <= 60 for refold in clients)
    with pytest.raises(RateLimitError, match="not sent"):
        await clients[2].execute(WORKFLOW, slug="s", timeout=1)


@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_no_call_waits_for_redis(
    members: Callable[..., list[RefoldClient]],
    redis_server: RedisServer,
    how: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While it is away each keeps its share, and later takes an equal one; one warning tells."""
    clients = members(2, redis_server, hasty=20)  # the outage of many seconds takes one
    clock = HastyClock(20)
    await begin(clients)
    async with Hungry(clients):
        await until(lambda: all(19.9 < share <= 20 for share in shares(clients)))
        getattr(redis_server, how)()
        with caplog.at_level(logging.WARNING, "refold_async"):
            before = clock.monotonic()
            await until(lambda: clock.monotonic() > before + 20)
        assert all(19.9 < share <= 20 for share in shares(clients))
    told = [r for r in caplog.records if "Redis does not answer" in r.getMessage()]
    assert len(told) == len(clients)
    redis_server.thaw() if how == "freeze" else redis_server.start()


async def test_who_was_idle_takes_an_equal_share_while_redis_is_away(
    members: Callable[..., list[RefoldClient]], redis_server: RedisServer
) -> None:
    """Three seconds later: it is not left with next to nothing."""
    clients = members(2, redis_server, hasty=20)
    await begin(clients)
    async with Hungry(clients[:1]):
        await until(lambda: shares(clients)[0] > 35)
        redis_server.kill()
        await until(lambda: shares(clients) == [20, 20])


async def test_an_emptied_redis_learns_its_members_anew(
    members: Callable[..., list[RefoldClient]], redis_server: RedisServer
) -> None:
    """Nobody's share grows meanwhile."""
    clients = members(4, redis_server)
    async with Hungry(clients):
        await until(lambda: all(9.9 < share <= 10 for share in shares(clients)))
        redis_server.empty()
        for _ in range(60):
            await asyncio.sleep(0.01)
            assert sum(shares(clients)) <= 40.5
        await until(lambda: all(9.9 < share <= 10 for share in shares(clients)))


async def test_who_never_reached_redis_takes_its_part_of_the_rate(
    sharing: Sharing, redis_server: RedisServer
) -> None:
    """If it was said how many share; else all of it."""
    redis_server.kill()
    for said, share in ((4, 10.0), (None, 40.0)):
        shared = Shared(redis_server.url, "n", members=said)
        clock = HastyClock(20)  # three seconds without an answer are to pass
        refold = sharing(shared=shared, rate_limit=FORTY, timeouts=LONG, clock=clock)
        await refold.ping()
        await until(functools.partial(_has, refold, share))
        await refold.aclose()


async def test_session_tokens_need_a_name(sharing: Sharing, redis_server: RedisServer) -> None:
    """A token changes, so nobody would find the others by it."""
    with pytest.raises(ConfigError, match="name"):
        sharing(shared=redis_server.url, session_token="token 1")


# -- the script, by itself ------------------------------------------------------------------------


@pytest.fixture
def link(redis_for_all: RedisServer) -> Link:
    """A connection to Redis."""
    return Link(Secret(redis_for_all.url), SystemClock(), "nothing")


async def beat(
    link: Link, name: str, me: str, *, wants: int = -1, had: int = 0, gone: int = 3_000
) -> tuple[int, int]:
    """Beat as a member with a ceiling of 40; give the share, in thousandths, and the members."""
    nothing_learned = "", "", "", "0:0"
    share, count, *_ = await link.run(
        *(DIVIDE, [name, f"{name}:lesson"], me, wants, 40_000, 0, had, gone, 120_000, 0),
        *nothing_learned,
    )
    return share, count


async def test_shares_never_add_up_to_more_than_the_ceiling(link: Link) -> None:
    """Whatever is wanted, in whatever order members beat."""
    draw, total = random.Random(1), 40_000
    held = dict.fromkeys("abcdef", 0)
    for _ in range(400):
        me = draw.choice([*held])
        wanted = draw.choice([-1, 0, 2_000, 10_000, 50_000])
        held[me], count = await beat(link, "sums", me, wants=wanted, had=held[me])
        assert sum(held.values()) <= total * 1.06  # each has a hundredth to begin with
        assert count <= len(held)
    for me in [*held] * 3:
        held[me], _ = await beat(link, "sums", me)
    assert {*held.values()} == {total // 6}
    await link.aclose()


async def test_a_member_without_a_beat_is_gone_after_three_seconds(link: Link) -> None:
    """By Redis' own clock; its share is the others'."""
    await beat(link, "lapses", "a")
    assert await beat(link, "lapses", "b") == (400, 2)
    assert await beat(link, "lapses", "b", gone=-1) == (40_000, 1)
    await link.aclose()


async def test_who_is_cancelled_leaves_redis_at_once(link: Link) -> None:
    """At whatever moment; the connection serves the next one."""
    draw = random.Random(1)

    async def ask() -> None:
        while True:
            assert await link.run("return ARGV[1]", [], "a") == "a"

    for _ in range(60):
        asking = asyncio.create_task(ask())
        for _ in range(draw.randrange(40)):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking], timeout=5)
        assert asking.cancelled()
    assert await link.run("return ARGV[1]", [], "b") == "b"
    await link.aclose()
