"""Keys of `once` while Redis' clock steps, or somebody else writes what it keeps.

A step of that clock is played by moving the times that Redis keeps the other way.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis as redis_py

from refold_async import ExecutionOutcomeUnknownError, SharedStateError
from refold_async._shared import bringing
from refold_async.emulator import Behaviour, Emulator, Fault
from tests.http.shared.conftest import WORKFLOW
from tests.support.endings import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from refold_async import ExecutionHandle, RefoldClient
    from tests.support.redis import RedisServer

    Sharing = Callable[..., RefoldClient]

HOUR = 3_600_000


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Any]:
    """What the SDK's Redis holds."""
    url = redis_server.url
    with redis_py.Redis.from_url(url, decode_responses=True, socket_timeout=20) as client:
        yield client


async def ask(refold: RefoldClient) -> ExecutionHandle[Any]:
    """Start a run under a key; it does not take long, or hangs."""
    return await asyncio.wait_for(refold.execute(WORKFLOW, slug="s", once="k"), 8)


def key_of(redis: Any) -> str:
    """Give the one key there is."""
    (key,) = redis.keys("refold:*:once:*")
    return str(key)


async def sent_by_somebody_gone(sharing: Sharing, server: RedisServer, emulator: Emulator) -> None:
    """Leave a key behind that is `sent`, and whose run nobody knows."""
    emulator.faults.script("execute", Fault(drop="after"))
    emulator.faults.always("list_executions", Fault(status=401))
    with pytest.raises(ExecutionOutcomeUnknownError):
        await ask(sharing(server))
    emulator.faults.clear()


@pytest.fixture(autouse=True)
def _trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bringing, "_FORGETFUL", 0.0)


@pytest.mark.parametrize("hours", [1, 48], ids=["an hour", "longer than keys count"])
async def test_a_step_ahead_starts_nothing_twice(
    sharing: Sharing,
    redis_server: RedisServer,
    redis: Any,
    emulator: Emulator,
    hours: int,
) -> None:
    """What is under way is over when our own clock says so."""
    emulator.behaviour = Behaviour(list_lag=0.3)
    emulator.faults.script("execute", Fault(delay=0.35))
    first, other = sharing(redis_server), sharing(redis_server)
    call = asyncio.create_task(ask(first))
    await until(lambda: emulator.counts["execute"] == 1)
    redis.hincrby(key_of(redis), "at", -hours * HOUR)
    again = await ask(other)
    assert again.execution_id == (await call).execution_id == emulator.runs[0].execution_id
    assert len(emulator.runs) == 1


async def test_a_step_back_holds_nobody(
    sharing: Sharing, redis_server: RedisServer, redis: Any, emulator: Emulator
) -> None:
    """A key that was sent is looked for, and a new one is started."""
    await sent_by_somebody_gone(sharing, redis_server, emulator)
    redis.hincrby(key_of(redis), "at", HOUR)
    assert (await ask(sharing(redis_server))).execution_id == emulator.runs[0].execution_id
    redis.delete(key_of(redis))
    (born,) = redis.keys("refold:*:born")
    redis.set(born, int(time.time() * 1000) + HOUR)
    await ask(sharing(redis_server))
    assert len(emulator.runs) == 1


@pytest.mark.parametrize(
    "written",
    [
        {"state": "v2"},
        {"state": ""},
        {"state": "started", "id": ""},
        {"state": "started", "id": "../x?y=1"},
        {"state": "started", "id": "x y\r\nz"},
    ],
    ids=str,
)
async def test_a_key_that_nobody_understands_is_said(
    sharing: Sharing,
    redis_server: RedisServer,
    redis: Any,
    emulator: Emulator,
    written: dict[str, str],
) -> None:
    """Another version may have written it: nothing is sent, and nobody hangs."""
    await ask(sharing(redis_server))
    key = key_of(redis)
    await until(lambda: bool(redis.hget(key, "state") == "started"))
    redis.hset(key, mapping=written)
    with pytest.raises(SharedStateError, match="what is kept of this key is not understood"):
        await ask(sharing(redis_server))
    assert len(emulator.runs) == 1


@pytest.mark.parametrize("bound", [9_000_000_000_000_000, 99_999_999_999])
@pytest.mark.parametrize("state", ["sent", "claimed"])
async def test_no_bound_is_longer_than_ours(
    sharing: Sharing,
    redis_server: RedisServer,
    redis: Any,
    emulator: Emulator,
    state: str,
    bound: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever somebody else has written."""
    monkeypatch.setattr(bringing, "LONGEST_BOUND", 0.5)
    await sent_by_somebody_gone(sharing, redis_server, emulator)
    redis.hset(key_of(redis), mapping={"state": state, "bound": bound})
    if state == "sent":
        assert (await ask(sharing(redis_server))).execution_id == emulator.runs[0].execution_id
    else:
        await ask(sharing(redis_server))


async def test_long_garbage_does_not_hold_redis(
    sharing: Sharing, redis_server: RedisServer, redis: Any, emulator: Emulator
) -> None:
    """Nobody has to look through it."""
    await ask(sharing(redis_server))
    (rate,) = redis.keys("refold:*:rate")
    lesson = rate.removesuffix("rate") + "lesson"
    redis.hset(rate, mapping={"somebody": "a" * 1_000_000, "another": ":" * 1_000_000})
    redis.hset(lesson, mapping={"epoch": "x", "lesson": "a" * 1_000_000, "of:x": "1" * 1_000_000})
    refold = sharing(redis_server)
    await refold.execute(WORKFLOW, slug="s")
    await until(lambda: redis.hget(rate, "somebody") is None)  # or it does not answer for minutes
