"""A real Redis beside the emulator, where one is installed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import RetryPolicy, Shared, Timeouts
from refold_async._shared.memory import Memory
from refold_async.emulator import Emulator
from tests.support.redis import EXECUTABLE, MISSING, RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from refold_async import RefoldClient

WORKFLOW = "6a314c54d4616e99e7fa5a02"
SETTLE = 0.05
HOLD = 0.5
"""Seconds in which a request is over, by these timeouts; what Redis forgot is looked for then."""


@pytest.fixture(scope="session")
def redis_for_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A redis-server that stays as it is, and is old enough to be trusted."""
    yield from _running(tmp_path_factory.mktemp("redis"))


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server of the test's own, to be killed, frozen and emptied."""
    yield from _running(tmp_path)


def _running(folder: Path) -> Iterator[RedisServer]:
    if EXECUTABLE is None:
        pytest.skip(MISSING)
    server = RedisServer(folder)
    server.start()
    server.grow_old()
    yield server
    server.kill()


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """A local Refold with a workflow that answers its payload."""
    async with Emulator() as running:
        running.workflow(WORKFLOW, slug="s")(dict)
        yield running


@pytest.fixture
def sharing(
    connect: Callable[..., RefoldClient], emulator: Emulator, redis_for_all: RedisServer
) -> Callable[..., RefoldClient]:
    """Make clients that share the Redis and nothing else, as processes do; they don't wait long."""
    name = os.urandom(8).hex()

    def make(redis: RedisServer = redis_for_all, **settings: Any) -> RefoldClient:
        redis.remembers(name)
        defaults: dict[str, Any] = {
            "shared": Shared(redis.url, name),
            "timeouts": Timeouts(connect=HOLD / 2, read=HOLD / 2),
            "retry": RetryPolicy(wait=0, max_wait=0, settle=SETTLE),
        }
        return as_process(connect(emulator, **(defaults | settings)))

    return make


def as_process(refold: RefoldClient) -> RefoldClient:
    """Have a client know nothing of what others of this loop do."""
    refold._caller.parts.sharing.once.memory = Memory()
    return refold
