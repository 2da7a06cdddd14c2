"""Outputs that come with pushes, by a clock moved by hand, beside reads and lists under way."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from refold_async import ExecutionStatus
from refold_async._models import Execution
from refold_async._waiting import claims
from tests.support.clock import FakeClock, settle
from tests.support.service import POLLING, House

if TYPE_CHECKING:
    from refold_async._protocol import Output

OUTPUT = {"n": 1}


@pytest.fixture
async def house(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> House:
    """A tracker over a scripted service, where outputs of a workflow are proven."""
    monkeypatch.setattr(claims, "_SAMPLED", 0.0)
    house = House(clock, polling=attrs.evolve(POLLING, first=60.0, max_interval=60.0))
    house.tracker.expect_outputs()
    house.service.outputs = deque([OUTPUT])
    house.service.documents = deque(["COMPLETED"])
    for number in range(20):
        task = asyncio.create_task(result(house, f"early{number}"))
        await settle()
        tell(house, f"early{number}")
        await settle()
        assert task.done()
    house.service.looks.clear()
    return house


async def result(house: House, run: str, *, output: bool = True) -> Any:
    """Wait for a run of the workflow that was just started."""
    return await house.handle(run, attempts=1, workflow="wf").wait(output=output)


def tell(house: House, run: str, output: Any = OUTPUT) -> None:
    """Tell of a run's end as a receiver does, its output first."""
    house.tracker.take_output(run, "acct", "wf", output, {})
    house.tracker.notify(run, "acct")


async def test_a_run_that_is_told_with_its_output_is_not_read(house: House) -> None:
    """Who needs the end alone knows it thereby; told again, it changes nothing."""
    tasks = [asyncio.create_task(result(house, "run", output=each)) for each in (True, False)]
    await settle()
    tell(house, "run", {"n": 2})
    tell(house, "run", {"n": 3})
    await settle()
    assert [task.result().output for task in tasks] == [{"n": 2}] * 2
    assert (house.service.looks, house.counters.settled) == ([], 21)
    stats = house.tracker.stats()
    assert (stats.settled_by_push, stats.told_by_push, stats.told_by_looks) == (1, 21, 0)


async def test_a_run_that_is_being_read_settles_by_the_read(house: House) -> None:
    """Once, and the output that came meanwhile is compared: here it differs, which ends it."""
    release, show = asyncio.Event(), house.service.get_response

    async def slowly(*args: Any, **options: Any) -> Output:
        shown = await show(*args, **options)
        await release.wait()
        return shown

    house.service.get_response = slowly  # type: ignore[method-assign]
    task = asyncio.create_task(result(house, "run"))
    await settle()
    house.tracker.notify("run", "acct")
    await settle()
    assert house.service.looks == ["run"]
    tell(house, "run", {"n": 2})
    await settle()
    assert not task.done()
    release.set()
    await settle()
    assert (task.result().output, house.counters.settled) == (OUTPUT, 21)
    other = asyncio.create_task(result(house, "other"))
    await settle()
    tell(house, "other")
    await settle()
    assert house.service.looks == ["run", "other"]
    assert other.done()
    assert house.tracker.stats().settled_by_push == 0


async def test_an_end_that_a_list_told_otherwise_is_read(house: House) -> None:
    """Whichever is right."""
    task = asyncio.create_task(result(house, "run"))
    await settle()
    saw(house, ExecutionStatus.ERRORED)
    house.tracker.take_output("run", "acct", "wf", OUTPUT, {})
    await settle()
    assert house.service.looks == ["run"]
    assert task.result().status is ExecutionStatus.COMPLETED
    assert house.tracker.stats().settled_by_push == 0


async def test_an_end_without_output_is_not_what_a_claim_is_held_against(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list ends the wait of those who need no more; the output is compared once it is read."""
    monkeypatch.setattr(claims, "_SAMPLED", 1.0)
    tasks = [asyncio.create_task(result(house, "run", output=each)) for each in (True, False)]
    await settle()
    house.tracker.take_output("run", "acct", "wf", OUTPUT, {})
    saw(house, ExecutionStatus.COMPLETED)
    await settle()
    read, ended = (task.result() for task in tasks)
    assert (read.output, ended.output_is_read) == (OUTPUT, False)
    monkeypatch.setattr(claims, "_SAMPLED", 0.0)
    other = asyncio.create_task(result(house, "other"))
    await settle()
    tell(house, "other")
    await settle()
    assert other.done()
    assert house.tracker.stats().settled_by_push == 1, "no difference was seen"


def saw(house: House, status: ExecutionStatus) -> None:
    """Let a list show the run so."""
    watch = house.tracker.find("run", "acct")
    assert watch is not None
    entry = Execution(execution_id="run", status=status, workflow_id="wf")
    house.tracker.rounds.saw(entry, watch.page.account, house.clock.monotonic())
