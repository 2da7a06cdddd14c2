"""Skipped time moves while anybody waits in the SDK, and stands while something real goes on."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    ExecutionOutcomeUnknownError,
    ExecutionRequest,
    RateLimit,
    RefoldClient,
    RetryPolicy,
    WaitTimeoutError,
)
from refold_async.emulator import Emulator, Fault, NodeFailed, NothingIsDueError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

WORKFLOW = "6a106ba44480b80424a65289"
DAY = 86_400.0
LIMIT = 5.0
"""Real seconds after which a wait of virtual ones counts as one without an end."""


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator that skips time, with a workflow of one second."""
    async with Emulator(skip_time=True) as emulator:
        emulator.workflow(WORKFLOW, slug="s", duration=1)(lambda given: given)
        yield emulator


@pytest.fixture
async def refold(emulator: Emulator) -> AsyncIterator[RefoldClient]:
    """A client of it."""
    async with emulator.client() as refold:
        yield refold


def requests(count: int) -> list[ExecutionRequest]:
    """Give so many, each with a key."""
    return [ExecutionRequest(WORKFLOW, slug="s", key=f"k{n}") for n in range(count)]


async def leave_a_start(emulator: Emulator, refold: RefoldClient, **options: Any) -> None:
    """Cancel a caller whose request has left, and whose answer will be lost."""
    emulator.faults.script("execute", Fault(drop="after", delay=0.2))
    start = asyncio.create_task(refold.execute(WORKFLOW, slug="s", **options))
    while not emulator.counts["execute"]:  # noqa: ASYNC110 - the emulator tells nobody
        await asyncio.sleep(0)
    start.cancel()
    await asyncio.wait([start])


@pytest.mark.parametrize("days", [30, 99 * 365])
async def test_time_moves_however_much_of_it_has_passed(
    emulator: Emulator, refold: RefoldClient, days: int
) -> None:
    """Starts go at the client's pace after a month or a century, whose seconds round coarsely."""
    await emulator.advance(days * DAY + 0.123)
    async with asyncio.timeout(LIMIT):
        report = await refold.run_batch(requests(40))
    assert report.succeeded == 40
    assert 35 / RateLimit().per_second < report.duration < 60


@pytest.mark.parametrize("delay", [1e-10, 5e-324])
async def test_the_shortest_sleep_moves_every_clock(emulator: Emulator, delay: float) -> None:
    """What would be lost in rounding is a microsecond: who asks again and again gets on."""
    await emulator.advance(99 * 365 * DAY)
    time = emulator.time
    before = time.monotonic(), time.time()
    await time.sleep(delay)
    assert (time.monotonic() > before[0], time.time() > before[1]) == (True, True)
    assert time.monotonic() - before[0] < 1e-5


async def test_a_call_behind_one_that_was_cancelled_moves_the_time(
    emulator: Emulator, refold: RefoldClient
) -> None:
    """Who asks for the same key waits until the lost answer was looked up, and has that run."""
    once: Any = {"once": "k", "once_scope": "process"}
    await leave_a_start(emulator, refold, **once)
    async with asyncio.timeout(LIMIT):
        handle = await refold.execute(WORKFLOW, slug="s", **once)
    assert (handle.attached, len(emulator.runs)) == (True, 1)


async def test_a_batch_that_drains_moves_the_time(emulator: Emulator, refold: RefoldClient) -> None:
    """A start that is not answered ends its batch once `timeout` and `drain` have passed."""
    emulator.faults.script("execute", Fault(delay=300))
    async with asyncio.timeout(LIMIT):
        report = await refold.run_batch(requests(1), timeout=5, drain=5)
    assert report.unknown == 1
    assert report.duration == pytest.approx(10)


@pytest.mark.parametrize(
    ("limits", "other", "ends"),
    [
        pytest.param({"timeout": 10, "drain": 5}, [], 15, id="timeout"),
        pytest.param({"timeout": 40 * DAY, "drain": 0}, [35 * DAY], 40 * DAY, id="long"),
        pytest.param({"stop_after_failures": 1, "drain": 60}, [1], 61, id="stopped"),
    ],
)
async def test_a_batch_with_a_limit_ends_by_it_though_a_run_never_does(
    emulator: Emulator, refold: RefoldClient, limits: Any, other: list[float], ends: float
) -> None:
    """A run without an end is left running when the time of its batch is over, as in production."""
    emulator.workflow("endless", slug="s", duration=None)(dict)

    def fail(_: Any) -> None:
        raise NodeFailed(node="Start", message="as it should")

    for duration in other:
        emulator.workflow("other", slug="s", duration=duration)(fail)
    wanted = [
        ExecutionRequest("endless", slug="s"),
        *(ExecutionRequest("other", slug="s") for _ in other),
    ]
    async with asyncio.timeout(LIMIT):
        report = await refold.run_batch(wanted, **limits)
    [left] = [item for item in report.items() if item.outcome == "unknown"]
    assert isinstance(left.error, WaitTimeoutError)
    assert left.handle is not None
    assert report.duration == pytest.approx(ends, abs=5)


async def test_a_batch_without_drain_hears_that_a_run_never_ends(
    emulator: Emulator, refold: RefoldClient
) -> None:
    """Its `timeout` ends no wait: what has started would be waited for, for ever."""
    emulator.workflow("endless", slug="s", duration=None)(dict)
    report = await refold.run_batch([ExecutionRequest("endless", slug="s")], timeout=10)
    assert isinstance(report.items()[0].error, NothingIsDueError)


async def test_a_client_that_is_closed_with_grace_moves_the_time(
    emulator: Emulator, refold: RefoldClient
) -> None:
    """The lost answer of a caller that has left is looked up before it is closed."""
    await leave_a_start(emulator, refold)
    async with asyncio.timeout(LIMIT):
        await refold.aclose(grace=20)
    assert [orphan.execution_id for orphan in refold.orphans] == [emulator.runs[0].execution_id]


async def test_a_journal_that_looks_for_lost_starts_moves_the_time(
    emulator: Emulator, tmp_path: Path
) -> None:
    """What is not in the list at first is looked for again, some seconds later, and sent then."""
    journal = tmp_path / "journal"
    never = RetryPolicy(mode="never")
    async with emulator.client(retry=never) as refold:
        await refold.run_batch(requests(1), journal=journal)
        emulator.faults.script("execute", Fault(drop="before"))
        report = await refold.run_batch(requests(2), journal=journal)
        error = report.items()[1].error
        assert isinstance(error, ExecutionOutcomeUnknownError)
    async with emulator.client() as refold, asyncio.timeout(LIMIT):
        report = await refold.run_batch(requests(2), journal=journal)
    assert (report.succeeded, len(emulator.runs)) == (2, 2)


@pytest.mark.parametrize("held", [False, True])
async def test_time_stands_while_a_journal_is_written(
    emulator: Emulator, refold: RefoldClient, tmp_path: Path, *, held: bool
) -> None:
    """Twenty runs of a second each are done in a few, however long the disk takes."""
    with emulator.time.hold() if held else nullcontext():
        report = await refold.run_batch(requests(20), journal=tmp_path / "journal", timeout=60)
    assert report.succeeded == 20
    assert report.duration < 10


async def test_time_stands_while_the_input_of_a_batch_is_awaited(
    emulator: Emulator, refold: RefoldClient
) -> None:
    """What comes slowly, as from a database, takes nothing of the batch's timeout."""

    async def slowly() -> AsyncGenerator[ExecutionRequest]:
        for request in requests(3):
            yield request
            await asyncio.sleep(0.03)

    report = await refold.run_batch(slowly(), timeout=60)
    assert report.succeeded == 3
    assert report.duration < 5
