"""One ear for all: what a webhook tells one client wakes the handles of the others."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from refold_async import ClientClosedError, PollPolicy, RefoldClient, Shared, SystemClock
from refold_async._protocol import read_event
from refold_async._shared import Ear
from refold_async.webhooks import aiohttp_handler
from tests.bench.ear import measure
from tests.http.shared.conftest import WORKFLOW
from tests.support.deliveries import encoded, sign, workflow_event
from tests.support.endings import until
from tests.support.receiving import PATH, request, serving_aiohttp, status_of, talk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from refold_async import ExecutionHandle
    from refold_async.emulator import Emulator
    from tests.support.redis import RedisServer

    Sharing = Callable[..., RefoldClient]
    Clients = Callable[..., list[RefoldClient]]
    Look = Callable[[RedisServer, RefoldClient], "Stream"]

NEVER = PollPolicy(first=600.0, max_interval=600.0, push_sweep=600.0, not_found_grace=60.0)
"""No look would be in time: what settles was told by a push."""
RELYING = PollPolicy(first=0.3, max_interval=0.5, push_sweep=600.0, push=True)
"""Looks would be in time, and are not made while pushes are relied on."""
SLACK = 10
"""Real seconds for each that is promised: the machine may be busy."""
READS = ("get_execution", "get_response", "list_executions")


def reads(emulator: Emulator) -> int:
    """How often the service was asked how a run is."""
    return sum(emulator.counts[name] for name in READS)


def reads_of(emulator: Emulator, run: str | None) -> int:
    """How often the service was asked for a run by its id."""
    return sum(str(run) in asked.path for asked in emulator.requests)


@pytest.fixture
def clients(sharing: Sharing, emulator: Emulator) -> Callable[..., list[RefoldClient]]:
    """Make clients that share a Redis as processes do, and that look as they are told to."""
    emulator.workflow(WORKFLOW, slug="s", duration=lambda payload: payload["seconds"])(dict)

    def make(count: int, *redis: RedisServer, polling: PollPolicy = NEVER) -> list[RefoldClient]:
        return [sharing(*redis, polling=polling) for _ in range(count)]

    return make


@asynccontextmanager
async def told(refold: RefoldClient) -> AsyncIterator[int]:
    """Let the service deliver to this client alone; give the port."""
    async with serving_aiohttp(aiohttp_handler(refold)) as port:
        await refold.webhooks.create(f"http://127.0.0.1:{port}{PATH}")
        yield port


async def start(refold: RefoldClient, seconds: float = 0.4) -> ExecutionHandle[Any]:
    """Start a run."""
    return await refold.execute(WORKFLOW, slug="s", payload={"seconds": seconds})


def wait(refold: RefoldClient, handle: ExecutionHandle[Any]) -> asyncio.Task[Any]:
    """Wait for a run with a client."""
    return asyncio.create_task(refold.handle(handle.ref).result())


def hears(refold: RefoldClient) -> bool:
    """Whether a client hears what others are told."""
    ear = refold._caller.parts.sharing.ear
    return ear is not None and ear.hears


async def listening(*clients: RefoldClient) -> None:
    """Wait until they hear."""
    await until(lambda: all(map(hears, clients)))


def lost(*clients: RefoldClient) -> list[float]:
    """Give the share of pushes that each takes to be lost."""
    return [refold.stats.waiting.pushes_lost for refold in clients]


async def settled(first: RefoldClient, *others: RefoldClient) -> None:
    """Have others wait for a run whose end the first one is told."""
    handle = await start(first)
    waits = [wait(refold, handle) for refold in others]
    await listening(*others)
    for each in waits:
        assert (await each).status.value == "COMPLETED"


class Stream:
    """What stands in the stream of some clients."""

    def __init__(self, server: RedisServer, refold: RefoldClient) -> None:
        self.redis = Redis.from_url(server.url, decode_responses=True)
        self.key = f"refold:{refold._caller.parts.sharing.name}:ear"

    def runs(self) -> list[dict[str, str]]:
        """Give its entries, without the one that began it."""
        entries: Any = self.redis.xrange(self.key)
        return [told for _, told in entries if "run" in told]


@pytest.fixture
def stream() -> Iterator[Callable[[RedisServer, RefoldClient], Stream]]:
    """Look into streams."""
    made: list[Stream] = []

    def look(server: RedisServer, refold: RefoldClient) -> Stream:
        made.append(Stream(server, refold))
        return made[-1]

    yield look
    for each in made:
        each.redis.close()


async def test_what_one_is_told_settles_the_handles_of_all(
    clients: Clients, emulator: Emulator
) -> None:
    """With the first look of each, and the read that the push is the reason for."""
    first, *others = clients(4)
    async with told(first):
        await settled(first, *others)
    assert [refold.stats.waiting.told_by_push for refold in others] == [1, 1, 1]
    assert reads(emulator) <= 2 * len(others)


async def test_what_is_told_before_others_wait_is_known_to_them(clients: Clients) -> None:
    """They have heard it, and kept it."""
    first, other = clients(2)
    async with told(first):
        await settled(first, other)
        handle = await start(first, seconds=0.05)
        parts = other._caller.parts
        await until(lambda: len(parts.services.tracker._pushes._early) == 1)
        assert (await asyncio.wait_for(wait(other, handle), 5)).ok


async def test_runs_nobody_waits_for_cost_no_request(
    clients: Clients, emulator: Emulator, redis_for_all: RedisServer, stream: Look
) -> None:
    """They pass by; a repeated event is passed on once in 5 s."""
    first, other = clients(2)
    async with told(first) as port:
        await settled(first, other)
        unknown, key = "f" * 24, emulator.api_key
        body = encoded(workflow_event(instance_id=unknown))
        for _ in range(3):
            reply = await talk(port, request(body, signature=sign(body, key)))
            assert status_of(reply) == 200
        look = stream(redis_for_all, first)
        await until(lambda: len(look.runs()) == 2)
        await settled(first, other)
        assert len(look.runs()) == 3
    assert reads_of(emulator, unknown) == 0


async def test_what_is_not_verified_is_not_passed_on(
    clients: Clients, emulator: Emulator, redis_for_all: RedisServer, stream: Look
) -> None:
    """Neither a forged event nor one signed with another key; another account's wakes nobody."""
    first, other = clients(2)
    async with told(first) as port:
        handle = await start(first, seconds=600)
        waits = wait(other, handle)
        await listening(other)
        await until(lambda: reads(emulator) == 1)
        before = reads_of(emulator, handle.execution_id)
        body = encoded(workflow_event(instance_id=handle.execution_id))
        for signature in (None, "0" * 64, sign(body, "tk_other")):
            assert status_of(await talk(port, request(body, signature=signature))) == 401
        look = stream(redis_for_all, first)
        assert look.runs() == []
        theirs = encoded(
            workflow_event(instance_id=handle.execution_id, linked_account_id="acct_2")
        )
        reply = await talk(port, request(theirs, signature=sign(theirs, emulator.api_key)))
        assert status_of(reply) == 200
        await until(lambda: len(look.runs()) == 1)
        await settled(first, other)
    assert reads_of(emulator, handle.execution_id) == before
    waits.cancel()


async def test_the_stream_tells_which_run_and_nothing_else(
    clients: Clients, emulator: Emulator, redis_for_all: RedisServer, stream: Look
) -> None:
    """No outcome, no payload and no key, neither in it nor in its name."""
    first, other = clients(2)
    async with told(first):
        handle = await start(first, seconds=0.01)
        await settled(first, other)
    look = stream(redis_for_all, first)
    told_first, _ = look.runs()
    assert told_first.pop("by") != first.linked_account_id
    assert told_first == {"run": handle.execution_id, "account": "acct_1"}
    assert emulator.api_key not in look.key
    assert 0 < look.redis.pttl(look.key) <= 86_400_000


@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_who_can_not_hear_looks_as_without_webhooks(
    clients: Clients, redis_server: RedisServer, how: str
) -> None:
    """It is noticed within 2 s; and when Redis is back, pushes are relied on again."""
    first, other = clients(2, redis_server, polling=RELYING)
    async with told(first):
        await settled(first, other)
        await until(lambda: lost(other) == [0.01])
        long = wait(other, await start(first, seconds=600))
        getattr(redis_server, how)()
        began = time.monotonic()
        await until(lambda: lost(other) == [1.0])
        assert time.monotonic() - began < 2 * SLACK
        handle = await start(first)
        assert (await asyncio.wait_for(wait(other, handle), 10)).ok
        redis_server.thaw() if how == "freeze" else redis_server.start()
        await until(lambda: lost(other) == [0.01])
        await settled(first, other)
    long.cancel()


async def test_a_connection_that_breaks_misses_nothing(
    clients: Clients, redis_for_all: RedisServer, stream: Look
) -> None:
    """It is read on from where it was."""
    first, other = clients(2)
    async with told(first):
        await settled(first, other)
        handle = await start(first)
        waits = wait(other, handle)
        look = stream(redis_for_all, first)
        for each in look.redis.client_list():
            if each["cmd"] == "xread":
                look.redis.client_kill_filter(_id=each["id"])
        assert (await asyncio.wait_for(waits, 10)).ok
        await until(lambda: hears(other))


@pytest.mark.parametrize("how", ["emptied", "cut short"])
async def test_what_may_have_been_missed_is_looked_for(
    clients: Clients,
    redis_server: RedisServer,
    stream: Look,
    how: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The run had ended, and its push was gone before it was heard."""
    first, other = clients(2, redis_server, polling=RELYING)
    async with told(first):
        await settled(first, other)
    look = stream(redis_server, first)
    handle = await start(first)  # nobody is told any more
    waits = wait(other, handle)
    await asyncio.sleep(1)
    assert not waits.done()
    await until(lambda: lost(other) == [0.01])
    caplog.set_level(logging.INFO, "refold_async")
    by_looks = other.stats.waiting.told_by_looks
    if how == "emptied":
        look.redis.flushall()
    else:
        look.redis.eval(_MISSED, 1, look.key)
    await until(lambda: "may have been missed" in caplog.text)
    assert (await asyncio.wait_for(waits, 10)).ok
    assert other.stats.waiting.told_by_looks == by_looks + 1
    await until(lambda: lost(other) == [0.01])


_MISSED = """
redis.call('XADD', KEYS[1], '*', 'by', 'another', 'run', 'x', 'account', '')
return redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)
"""


async def test_nobody_listens_before_there_is_a_reason(clients: Clients) -> None:
    """Starting and listing need no ear; closing one takes no time to speak of."""
    first, other = clients(2)
    handle = await start(first, seconds=600)
    assert first._caller.parts.sharing.ear is None
    waits = wait(other, handle)
    await listening(other)
    began = time.monotonic()
    await other.aclose()
    assert time.monotonic() - began < 0.4 * SLACK
    assert isinstance(waits.exception(), ClientClosedError)


async def test_garbage_in_the_stream_is_passed_over(
    clients: Clients, redis_for_all: RedisServer, stream: Look
) -> None:
    """Others may write to the Redis, too."""
    first, other = clients(2)
    async with told(first):
        await settled(first, other)
        look = stream(redis_for_all, first)
        for name, value in (("x", "y"), ("run", b"\xff\xfe"), ("run", "r" * 100_000), ("run", "")):
            look.redis.xadd(look.key, {name: value})
        await settled(first, other)


@pytest.mark.long
async def test_processes_hear_what_one_of_them_is_told(redis_for_all: RedisServer) -> None:
    """Real ones: nobody would look in time, and all have the results."""
    delays = await asyncio.wait_for(measure(redis_for_all.url, 3, 4, lasts=2.0), 60)
    assert [len(each) for each in delays] == [4, 4]


# -- the ear, by itself ---------------------------------------------------------------------------


class Heard:
    """A listener that notes what it hears, and makes mistakes."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.deaf = 0
        self.mistakes = 0

    def notify(self, execution_id: str, account: str | None) -> bool:
        """Note it."""
        if self.mistakes:
            self.mistakes -= 1
            raise ZeroDivisionError
        self.runs.append(execution_id)
        return True

    def deafen(self) -> None:
        """Count it."""
        self.deaf += 1

    def hear_again(self, *, missed: bool) -> None:
        """Do nothing more."""


@asynccontextmanager
async def ears(redis: RedisServer) -> AsyncIterator[tuple[Ear, Ear, Heard]]:
    """Let one tell what the other hears."""
    heard, shared, clock = Heard(), Shared(redis.url), SystemClock()
    name = os.urandom(8).hex()
    one, other = Ear(shared, name, clock, Heard()), Ear(shared, name, clock, heard)
    other.listen()
    await until(lambda: other.hears)
    try:
        yield one, other, heard
    finally:
        await one.aclose()
        await other.aclose()


async def test_what_is_told_while_redis_is_away_is_passed_on_later(
    redis_server: RedisServer,
) -> None:
    """The newest 1,000."""
    newest = {str(number) for number in range(200, 1_200)}
    async with ears(redis_server) as (one, _, heard):
        redis_server.freeze()
        for number in range(1_200):
            one.tell(str(number), None)
        await asyncio.sleep(0.1)
        redis_server.thaw()
        await until(lambda: newest <= {*heard.runs})
    assert len(heard.runs) <= 1_200  # a batch may have come through, though nothing said so


async def test_a_mistake_ends_no_hearing(redis_for_all: RedisServer) -> None:
    """It is logged, and looks are made until all is well."""
    async with ears(redis_for_all) as (one, other, heard):
        heard.mistakes = 1
        one.tell("first", "acct_1")
        await until(lambda: heard.deaf == 2)  # once before it had begun
        one.tell("second", "acct_1")
        await until(lambda: heard.runs == ["second"])
        await until(lambda: other.hears)


def test_who_is_told_before_a_loop_runs_keeps_it(redis_for_all: RedisServer) -> None:
    """It can be passed on to nobody."""
    refold = RefoldClient(api_key="tk_1", shared=redis_for_all.url)
    assert refold.notify(read_event(encoded(workflow_event()))) is False
    assert len(refold._caller.parts.services.tracker._pushes._early) == 1
