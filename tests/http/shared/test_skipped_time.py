"""Time that is skipped, with a Redis beside it, which has a real one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from refold_async import RetryPolicy, Shared, Timeouts
from refold_async.emulator import Emulator
from tests.http.shared.conftest import HOLD, SETTLE, WORKFLOW

if TYPE_CHECKING:
    from tests.support.redis import RedisServer

NAME = "skipped-time"


async def test_time_stands_while_redis_is_asked_for_a_key(redis_for_all: RedisServer) -> None:
    """What Redis takes to answer is none of a call's timeout, and no run ends meanwhile."""
    redis_for_all.remembers(NAME)
    async with Emulator(skip_time=True) as emulator:
        emulator.workflow(WORKFLOW, slug="s", duration=3600)(dict)
        client = emulator.client(
            shared=Shared(redis_for_all.url, name=NAME),
            timeouts=Timeouts(connect=HOLD / 2, read=HOLD / 2),
            retry=RetryPolicy(settle=SETTLE),
            rate_limit=None,
        )
        async with client as refold, asyncio.timeout(30):
            began = emulator.time.monotonic()
            for number in range(30):
                await refold.execute(WORKFLOW, slug="s", once=f"k{number}", timeout=300)
            assert emulator.time.monotonic() - began < 1


async def test_what_is_tried_in_the_background_moves_no_time() -> None:
    """A Redis that is away is asked again and again, and nobody waits for it: time stands."""
    async with Emulator(skip_time=True) as emulator:
        emulator.workflow(WORKFLOW, slug="s")(dict)
        shared = Shared("redis://127.0.0.1:1", name=NAME)
        async with emulator.client(shared=shared) as refold:
            await refold.run(WORKFLOW, slug="s")
            for _ in range(6):
                before = emulator.time.monotonic()
                await emulator.advance(10)
                await asyncio.sleep(0.02)
                assert emulator.time.monotonic() - before == pytest.approx(10)
