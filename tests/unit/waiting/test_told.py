"""What a push does for who waits, by a clock moved by hand: one read, at once, no outcome."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

import attrs
import pytest

from refold_async import (
    Execution,
    ExecutionFailedError,
    ExecutionResult,
    NotFoundError,
    ServerError,
)
from tests.support.clock import FakeClock, settle
from tests.support.service import POLLING, RUN, House


@pytest.fixture
def house(clock: FakeClock) -> House:
    """A tracker over a scripted service."""
    return House(clock)


def ends(house: House, *documents: object) -> None:
    """Let the next looks show these."""
    house.service.documents = deque(documents)  # type: ignore[arg-type]


# -- one read, at once ---------------------------------------------------------------------------


async def test_a_push_settles_a_waiting_handle_with_one_read(house: House) -> None:
    """No look is made before, and none after."""
    task = asyncio.create_task(house.handle(attempts=1).result())
    await house.clock.advance(0.2)
    ends(house, "COMPLETED")
    assert house.tracker.notify(RUN, "acct") is True
    await settle()
    assert task.result().output == "the output"
    assert (house.service.looks, len(house.service.fetched)) == ([RUN], 1)
    assert (house.counters.polls, house.counters.wasted) == (0, 0)
    told = house.tracker.stats()
    assert (told.told_by_push, told.told_by_looks) == (1, 0)


async def test_what_is_read_is_the_outcome_whatever_was_told(house: House) -> None:
    """The push said completed; the document, which is the truth, does not."""
    task = asyncio.create_task(house.handle(attempts=1).result())
    await settle()
    ends(house, "ERRORED")
    house.tracker.notify(RUN, "acct")
    await settle()
    with pytest.raises(ExecutionFailedError):
        task.result().raise_for_status()


async def test_a_push_that_comes_before_anybody_waits_settles_the_first_who_does(
    house: House,
) -> None:
    """A run of 50 ms is over before its handle is awaited."""
    ends(house, "COMPLETED")
    assert house.tracker.notify(RUN, "acct") is False, "nobody waits yet"
    await house.clock.advance(100)
    assert house.service.looks == []
    assert (await house.handle(attempts=1).result()).output == "the output"
    assert house.service.looks == [RUN]
    assert house.tracker.stats().told_by_push == 1


async def test_a_handle_nobody_awaits_yet_keeps_its_push(house: House) -> None:
    """It exists, and is awaited a moment later."""
    handle = house.handle(attempts=1)
    ends(house, "COMPLETED")
    assert house.tracker.notify(RUN, "acct") is False
    assert (await handle).output == "the output"
    assert house.service.looks == [RUN]


async def test_whoever_needs_no_output_is_settled_by_the_document(house: House) -> None:
    """One read, too."""
    task = asyncio.create_task(house.handle(attempts=1).wait(output=False))
    await settle()
    ends(house, "COMPLETED")
    house.tracker.notify(RUN, "acct")
    await settle()
    assert task.done()
    assert (house.service.looks, house.service.fetched) == ([RUN], [])


async def test_readers_of_snapshots_see_the_end_at_once(house: House) -> None:
    """Their own interval is no reason to wait."""
    handle = house.handle(attempts=1)
    seen = []

    async def read() -> None:
        async for snapshot in handle.snapshots(interval=10):
            seen.append(snapshot.status.value)  # noqa: PERF401 - they come one by one

    task = asyncio.create_task(read())
    await house.clock.advance(1.5)
    assert seen == ["RUNNING"]
    ends(house, "COMPLETED")
    house.tracker.notify(RUN, "acct")
    await settle()
    assert task.done()
    assert seen == ["RUNNING", "COMPLETED"]


# -- events that lag, repeat, or are none of ours ------------------------------------------------


async def test_a_document_that_lags_its_event_is_looked_at_again_soon(house: House) -> None:
    """After 0.25, 0.5, 1, 2 and 4 s; then as usual."""
    looks: list[float] = []
    show = house.service._next_document

    def record(execution_id: str) -> dict[str, Any]:
        looks.append(round(house.clock.now - began, 2))
        return show(execution_id)

    house.service._next_document = record  # type: ignore[method-assign]
    task = asyncio.create_task(house.handle(attempts=1).result())
    await house.clock.advance(0.1)
    began = house.clock.now
    house.tracker.notify(RUN, "acct")
    await house.clock.advance(12)
    assert looks[:2] == [0.0, 0.25]
    assert {0.75, 1.75, 3.75, 7.75} <= {*looks}
    assert len([look for look in looks if look > 7.75]) <= 4
    ends(house, "COMPLETED")
    await house.clock.advance(10)
    assert task.done()


async def test_repeated_pushes_of_a_run_that_goes_on_cost_a_read_in_five_seconds(
    clock: FakeClock,
) -> None:
    """Every captured body is valid for ever: replaying it at any rate is no way to make us busy."""
    house = House(clock, polling=attrs.evolve(POLLING, first=60.0, max_interval=60.0))
    task = asyncio.create_task(house.handle(attempts=1).result())
    await settle()
    for _ in range(300):
        house.tracker.notify(RUN, "acct")
        await clock.advance(0.1)
    assert 7 <= len(house.service.looks) <= 6 + 30 / 5
    task.cancel()
    await settle()


async def test_a_settled_run_ignores_every_push(house: House) -> None:
    """Whether its handle lives or not; nothing is kept of it."""
    ends(house, "COMPLETED")
    handle = house.handle()
    first = await handle.result()
    ends(house, "ERRORED")
    for _ in range(5):
        assert house.tracker.notify(RUN, "acct") is False
        await house.clock.advance(2)
    assert house.service.looks == [RUN]
    assert await handle.result() is first


@pytest.mark.parametrize(
    ("execution_id", "account"),
    [
        pytest.param("6a314c54d4616e99e7fa5a03", "acct", id="an unknown run"),
        pytest.param(RUN, "other", id="another account"),
    ],
)
async def test_a_push_that_is_none_of_ours_costs_no_request(
    house: House, execution_id: str, account: str
) -> None:
    """The waiting run is not even looked at."""
    task = asyncio.create_task(house.handle(attempts=1).result())
    await settle()
    assert house.tracker.notify(execution_id, account) is False
    await settle()
    assert house.service.looks == []
    task.cancel()
    await settle()


async def test_a_push_without_an_account_goes_by_the_run_alone(house: House) -> None:
    """A template of one's own may leave the account out."""
    task = asyncio.create_task(house.handle(attempts=1).result())
    await settle()
    ends(house, "COMPLETED")
    assert house.tracker.notify(RUN, None) is True
    await settle()
    assert task.done()


async def test_a_push_that_comes_while_the_run_is_read_is_a_reason_to_read_it_again(
    house: House,
) -> None:
    """The read under way may have been answered before the end."""
    release, show = asyncio.Event(), house.service.get_execution

    async def slowly(*args: Any, **options: Any) -> Execution:
        run = await show(*args, **options)
        await release.wait()
        return run

    house.service.get_execution = slowly  # type: ignore[method-assign]
    task = asyncio.create_task(house.handle("run1").result())
    await settle()
    assert house.service.looks == ["run1"]
    await house.clock.advance(0.1)
    ends(house, "COMPLETED")
    assert house.tracker.notify("run1", "acct") is True
    release.set()
    await settle(60)
    assert task.done()
    assert house.service.looks == ["run1", "run1"]


async def test_a_read_for_a_push_that_fails_is_repeated_as_any_other(house: House) -> None:
    """With the usual pauses; the hint is not used up by it."""
    task = asyncio.create_task(house.handle(attempts=1).result())
    await settle()
    ends(house, ServerError("down", status=503), "COMPLETED")
    house.tracker.notify(RUN, "acct")
    await settle()
    assert len(house.service.looks) == 1
    await house.clock.advance(1.1)
    assert task.done()
    assert len(house.service.looks) == 2


async def test_a_run_that_is_told_of_and_not_found_yet_is_asked_for_again(house: House) -> None:
    """A verified event says that it is there; a replica may be behind. In the end 404 is final."""
    task = asyncio.create_task(house.handle("run1").result())
    house.tracker.notify("run1", "acct")
    missing = NotFoundError("no such run", status=404)
    ends(house, missing, missing, "COMPLETED")
    await house.clock.advance(5)
    assert task.done()
    assert not task.exception()
    ends(house, missing)
    house.tracker.notify("run2", "acct")
    lost = asyncio.create_task(house.handle("run2").result())
    await house.clock.advance(120)
    assert isinstance(lost.exception(), NotFoundError)


async def test_a_closed_tracker_ignores_pushes(house: House) -> None:
    """Deliveries may come while a service shuts down."""
    await house.tracker.aclose()
    assert house.tracker.notify(RUN, "acct") is False


# -- what they are worth -------------------------------------------------------------------------


async def start(house: House, execution_id: str) -> ExecutionResult[Any]:
    """Start a run of a workflow, and wait for it."""
    return await house.handle(execution_id, attempts=1, workflow="wf").result()


async def know(house: House, *, told: bool, times: int = 60, name: str = "early") -> None:
    """Let runs of 4 s end one after the other, told by pushes or not."""
    for number in range(times):
        task = asyncio.create_task(start(house, f"{name}{number}"))
        ends(house, "RUNNING")
        await house.clock.advance(4.0)
        ends(house, "COMPLETED")
        if told:
            house.tracker.notify(f"{name}{number}", "acct")
        while not task.done():
            await house.clock.advance(0.5)


async def test_the_share_that_is_lost_is_in_the_stats(house: House) -> None:
    """By what ends have shown: nothing is expected at first."""
    assert house.tracker.stats().pushes_lost == 1.0
    await know(house, told=True)
    stats = house.tracker.stats()
    assert stats.pushes_lost < 0.06
    assert stats.told_by_push + stats.told_by_looks == 60


async def test_an_end_that_a_look_sees_first_is_judged_five_seconds_later(house: House) -> None:
    """A push that comes by then was not lost, only late; it may come twice."""
    await know(house, told=True)
    trusted = house.tracker.stats().pushes_lost
    await know(house, told=False, times=1, name="late")
    await house.clock.advance(3)
    for _ in range(2):
        assert house.tracker.notify("late0", "acct") is False
    await house.clock.advance(10)
    assert house.tracker.stats().pushes_lost <= trusted
    await know(house, told=False, times=1, name="lost")
    await house.clock.advance(4)
    assert house.tracker.stats().pushes_lost <= trusted
    await house.clock.advance(2)
    assert house.tracker.stats().pushes_lost > trusted


@pytest.mark.parametrize("push", [True, False])
async def test_trust_can_be_settled_beforehand(clock: FakeClock, push: bool) -> None:
    """From the start, or never: whatever comes, hints are read all the same."""
    house = House(clock, polling=attrs.evolve(POLLING, push=push))
    assert house.tracker.stats().pushes_lost == (0.01 if push else 1.0)
    await know(house, told=not push, times=10)
    assert house.tracker.stats().pushes_lost == (0.01 if push else 1.0)
    await house.tracker.aclose()


async def test_pushes_that_stop_are_noticed_once_and_looks_come_back(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Eight runs overdue: all that waits is looked at, with one line in the log; a push ends it."""
    house = House(clock, polling=attrs.evolve(POLLING, push=True, max_interval=600.0))
    await know(house, told=True, times=6)
    house.service.looks.clear()
    caplog.set_level(logging.WARNING, "refold_async")
    ends(house, "RUNNING")
    tasks = [asyncio.create_task(start(house, f"run{number}")) for number in range(8)]
    await house.clock.advance(8.5)
    ends(house, "COMPLETED")
    assert not caplog.records
    assert house.tracker.stats().pushes_lost == 0.01
    await house.clock.advance(1.5)
    assert all(task.done() for task in tasks)
    assert house.tracker.stats().pushes_lost == 1.0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "webhook" in caplog.text
    house.tracker.notify("another", "acct")
    assert house.tracker.stats().pushes_lost == 0.01
    await house.tracker.aclose()


async def test_nothing_is_expected_where_no_push_was_ever_told(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """A service without webhooks hears nothing of them: no warning, no timer, no other look."""
    await know(house, told=False, times=8)
    timers = len(house.clock._queue)
    task = asyncio.create_task(house.handle(attempts=1).result())
    await settle()
    assert len(house.clock._queue) <= timers + 1
    ends(house, "RUNNING")
    await house.clock.advance(600)
    assert not caplog.records
    task.cancel()
    await settle()


# -- what others are told ------------------------------------------------------------------------

RELYING = attrs.evolve(POLLING, push=True, push_sweep=600)


async def test_who_is_deaf_looks_as_without_pushes(clock: FakeClock) -> None:
    """From that moment on; and no more once it hears again, since nothing was missed."""
    house = House(clock, polling=RELYING)
    task = asyncio.create_task(house.handle(attempts=1).result())
    await clock.advance(30)
    relying = len(house.service.looks)
    house.tracker.deafen()
    assert house.tracker.stats().pushes_lost == 1
    await clock.advance(30)
    deaf = len(house.service.looks)
    house.tracker.hear_again(missed=False)
    await clock.advance(30)
    assert house.tracker.stats().pushes_lost == 0.01
    assert (relying, len(house.service.looks) - deaf <= 1, deaf > 3) == (0, True, True)
    ends(house, "COMPLETED")
    house.tracker.notify(RUN, "acct")
    await settle()
    assert task.done()


async def test_what_was_missed_is_looked_for_once(clock: FakeClock) -> None:
    """Each run that may have ended meanwhile is looked at as without pushes, then no more."""
    house = House(clock, polling=RELYING)
    task = asyncio.create_task(house.handle(attempts=1).result())
    await clock.advance(30)
    house.tracker.hear_again(missed=True)
    await clock.advance(30)
    assert len(house.service.looks) == 1
    assert house.tracker.stats().pushes_lost == 0.01
    task.cancel()


async def test_ends_that_were_not_heard_of_say_nothing_against_pushes(clock: FakeClock) -> None:
    """While nobody could hear them."""
    house = House(clock)
    first = asyncio.create_task(house.handle(attempts=1).result())
    await settle()
    ends(house, "COMPLETED")
    house.tracker.notify(RUN, "acct")
    await first
    before = house.tracker.stats().pushes_lost
    assert before < 1
    house.tracker.deafen()
    ends(house, "RUNNING", "COMPLETED")
    second = asyncio.create_task(house.handle("another", attempts=1).result())
    await clock.advance(30)
    assert second.done()
    house.tracker.hear_again(missed=False)
    await clock.advance(30)
    assert house.tracker.stats().pushes_lost == before
