"""Whoever had a key may be killed or frozen between any two steps: there is one run."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from refold_async.emulator import Emulator, Fault
from tests.support.keyed import WORKFLOW, Worker, client

if TYPE_CHECKING:
    from tests.support.redis import RedisServer


@pytest.fixture
def name() -> str:
    """A name that nobody else shares by."""
    return os.urandom(8).hex()


@pytest.mark.parametrize("how", ["killed", "frozen"])
@pytest.mark.parametrize("instant", ["claimed", "sent", "answered"])
async def test_an_owner_that_fails_between_two_steps_is_taken_over(
    emulator: Emulator, redis_for_all: RedisServer, name: str, instant: str, how: str
) -> None:
    """By who asks next; and one that wakes again sends nothing, and is told of the run."""
    redis_for_all.remembers(name)
    async with client(emulator.base_url, redis_for_all.url, name) as refold:
        await refold.execute(WORKFLOW, slug="s", once="earlier")  # shows that tags are visible
        owner = await Worker.start(
            emulator.base_url, redis_for_all.url, name, keys=["k"], instant=instant, how=how
        )
        assert await owner.line() == instant
        async with asyncio.timeout(20):
            handle = await refold.execute(WORKFLOW, slug="s", payload={"key": "k"}, once="k")
        if how == "frozen":
            owner.wake()
            assert await owner.end() == [["k", handle.execution_id]]
        else:
            await owner.process.wait()
    assert Counter(run.payload.get("key") for run in emulator.runs)["k"] == 1
    assert handle.execution_id == emulator.runs[1].execution_id


@pytest.mark.long
async def test_many_processes_many_keys_and_all_that_goes_wrong(
    redis_server: RedisServer, name: str
) -> None:
    """Every key asked for by all of eight processes at once, and what goes wrong.

    Answers are lost, owners killed and frozen, Redis is emptied. `python -m tests.soak.keys` has
    more keys, and more goes wrong.
    """
    keys = [f"key {number}" for number in range(30)]
    async with Emulator() as emulator:
        emulator.workflow(WORKFLOW, slug="s")(dict)
        redis_server.remembers(name)
        async with client(emulator.base_url, redis_server.url, name) as refold:
            await refold.execute(WORKFLOW, slug="s", once="earlier")
        emulator.faults.share("execute", Fault(drop="after"), share=0.2, seed=1)
        workers, struck = [], []
        for instant, how in (("claimed", "killed"), ("sent", "killed"), ("sent", "frozen")):
            workers.append(
                await Worker.start(
                    emulator.base_url, redis_server.url, name, keys=keys, instant=instant, how=how
                )
            )
            struck.append(await workers[-1].line())
        workers += [
            await Worker.start(emulator.base_url, redis_server.url, name, keys=keys)
            for _ in range(5)
        ]
        # A process that begins after the loss can't know of it: that limit is stated.
        first = [await worker.line() for worker in workers[3:]]
        redis_server.empty()
        told = [
            [line, *await worker.end()] for line, worker in zip(first, workers[3:], strict=True)
        ]
        workers[2].wake()
        told.append(await workers[2].end())
        runs = Counter(run.payload.get("key") for run in emulator.runs)
    assert struck == ["claimed", "sent", "sent"]
    assert {key: runs[key] for key in keys} == dict.fromkeys(keys, 1)
    ids = {run.payload.get("key"): run.execution_id for run in emulator.runs}
    assert [sorted(each) for each in told] == [sorted([key, ids[key]] for key in keys)] * 6
