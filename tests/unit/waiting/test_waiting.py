"""Waiting, by a clock moved by hand: who is woken, when the service is asked, what ends a wait."""

from __future__ import annotations

import asyncio
import gc
from typing import Any, cast

import pytest

from refold_async import (
    AuthenticationError,
    ClientClosedError,
    ConfigError,
    ExecutionStatus,
    ExecutionStoppedError,
    WaitTimeoutError,
)
from tests.support.clock import FakeClock, settle
from tests.support.service import RUN, House, ScriptedService


@pytest.fixture
def house(clock: FakeClock) -> House:
    """A tracker over a scripted service."""
    return House(clock)


async def test_a_fresh_run_is_first_looked_at_after_the_first_interval(house: House) -> None:
    """Looking earlier would be a wasted request."""
    task = asyncio.create_task(house.handle(attempts=1).result())
    await house.clock.advance(0.99)
    assert house.service.looks == []
    await house.clock.advance(0.02)
    assert house.service.looks == [RUN]
    task.cancel()


async def test_a_reattached_run_is_looked_at_at_once(house: House) -> None:
    """It may have ended long ago."""
    house.service.documents[0] = "COMPLETED"
    assert (await house.handle().result()).output == "the output"


async def test_pauses_grow_like_the_root_of_the_age_up_to_the_longest(house: House) -> None:
    """What runs for a minute is not over in a second; from some age on the policy bounds them."""
    task = asyncio.create_task(house.handle(attempts=1).result())
    await house.clock.advance(30)
    early = len(house.service.looks)
    await house.clock.advance(100)
    middle = len(house.service.looks) - early
    await house.clock.advance(1_000)
    late = len(house.service.looks) - early - middle
    assert 10 <= early <= 18, "pauses of 1 to 3 s"
    assert 17 <= middle <= 27, "of 3 to 7 s"
    assert 70 <= late <= 1_000 / 9 + 1, "of 7 to 10 s"
    task.cancel()


async def test_all_awaiters_get_the_one_result(house: House) -> None:
    """Three tasks and another handle: one look, one read of the output, the same object."""
    handle = house.handle()
    house.service.documents[0] = "COMPLETED"
    results = await asyncio.gather(handle, handle.result(), house.handle(), handle.wait())
    assert 1 == len(house.service.looks) == len(house.service.fetched) == house.counters.settled
    assert all(result is results[0] for result in results)
    assert handle.done()


async def test_cancelling_one_awaiter_disturbs_nobody(house: House) -> None:
    """Neither the other awaiters nor the stream of looks notice."""
    handle = house.handle()
    tasks = [asyncio.create_task(handle.result()) for _ in range(3)]
    await house.clock.advance(2)
    tasks[0].cancel()
    await settle()
    assert [task.cancelled() for task in tasks] == [True, False, False]
    house.service.documents = type(house.service.documents)(["COMPLETED"])
    await house.clock.advance(10)
    assert [task.result().output for task in tasks[1:]] == ["the output"] * 2


async def test_a_handle_works_with_asyncios_own_tools(house: House) -> None:
    """`wait_for`, `shield`, `as_completed`, `gather` and a TaskGroup take it as it is."""
    house.service.documents[0] = "COMPLETED"
    one, two, three = (house.handle(f"run{n}") for n in range(3))
    assert (await asyncio.wait_for(one, 5)).output == "the output"
    assert (await asyncio.shield(two)).output == "the output"
    assert [(await done).output for done in asyncio.as_completed([three])] == ["the output"]
    async with asyncio.TaskGroup() as group:
        task = group.create_task(one.result())
    assert task.result().output == "the output"


async def test_a_run_nobody_waits_for_is_not_looked_at(house: House) -> None:
    """Looks stop with the last waiter and go on with the next."""
    handle = house.handle()
    task = asyncio.create_task(handle.result())
    await house.clock.advance(2)
    task.cancel()
    await house.clock.advance(1)
    looks = len(house.service.looks)
    await house.clock.advance(300)
    assert looks == len(house.service.looks)
    house.service.documents = type(house.service.documents)(["COMPLETED"])
    assert (await handle.result()).output == "the output"


async def test_a_handle_nobody_keeps_leaves_nothing_behind(house: House) -> None:
    """A service that starts millions of runs must not remember them."""
    house.service.documents[0] = "COMPLETED"
    for number in range(20):
        await house.handle(f"run{number}")
    gc.collect()
    assert len(house.tracker._watches) == 0


async def test_a_wait_that_times_out_says_what_is_known(house: House) -> None:
    """The error names run, last status and how to go on; the handle stays usable."""
    handle = house.handle()
    task = asyncio.create_task(handle.result(timeout=5))
    await house.clock.advance(5)
    with pytest.raises(WaitTimeoutError, match=r"last seen RUNNING.*refold\.handle\('6a31") as info:
        await task
    assert (
        info.value.execution_id,
        info.value.last_status,
        info.value.waited,
    ) == (RUN, ExecutionStatus.RUNNING, 5.0)
    assert info.value.snapshot is not None
    house.service.documents = type(house.service.documents)(["COMPLETED"])
    await house.clock.advance(10)
    assert (await handle).output == "the output"


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "5", True])
async def test_a_bad_timeout_is_refused_before_any_look(house: House, timeout: Any) -> None:
    """The error names the argument."""
    with pytest.raises(ConfigError, match="timeout"):
        await house.handle().result(timeout=timeout)
    assert house.service.looks == []


@pytest.mark.parametrize(
    ("status", "error"),
    [
        pytest.param("ERRORED", "ExecutionFailedError", id="errored"),
        pytest.param("STOPPED", "ExecutionStoppedError", id="stopped"),
        pytest.param("Timed Out", "ExecutionTimedOutError", id="timed out, spelt otherwise"),
        pytest.param("terminated", "ExecutionTerminatedError", id="terminated, lower case"),
    ],
)
async def test_a_bad_ending_raises_and_names_the_node(
    house: House, status: str, error: str
) -> None:
    """`result` raises the ending's error; `wait` gives it as a value; no output is read."""
    node = {"node_name": "Create\ninvoice", "node_status": "Errored", "latest_output": "no funds"}
    house.service.documents[0] = {"status": status, "nodes": [node]}
    handle = house.handle()
    ended = await handle.wait()
    assert not ended.ok
    with pytest.raises(Exception, match=r"at node 'Create\\\\ninvoice': no funds") as info:
        await handle
    assert error == type(info.value).__name__
    assert house.service.fetched == []


async def test_each_awaiter_gets_an_error_of_its_own(house: House) -> None:
    """A shared exception object would collect the tracebacks of all who raise it."""
    house.service.documents[0] = AuthenticationError("Invalid Credentials", status=401)
    handle = house.handle()
    errors = await asyncio.gather(handle, handle.result(), return_exceptions=True)
    assert [AuthenticationError] * 2 == [type(error) for error in errors]
    assert errors[0] is not errors[1]
    assert len(house.service.looks) == 1


async def test_snapshots_come_once_per_change(house: House) -> None:
    """The same document twice is one snapshot; the terminal one is the last; no output is read."""
    house.service.documents.clear()
    half = {"status": "RUNNING", "completion_percentage": 50}
    house.service.documents.extend(["QUEUED", "RUNNING", "RUNNING", half, half, "COMPLETED"])
    seen: list[Any] = []

    async def read() -> None:
        snapshots = house.handle().snapshots()
        seen.extend([(s.status, s.completion_percentage) async for s in snapshots])

    task = asyncio.create_task(read())
    await house.clock.advance(60)
    await task
    wanted = [("QUEUED", None), ("RUNNING", None), ("RUNNING", 50.0), ("COMPLETED", None)]
    assert wanted == seen
    assert house.service.fetched == []


async def test_an_interval_shortens_the_shared_stream(house: House) -> None:
    """Three readers and an awaiter: still one stream, at the shortest interval asked for."""
    house.service.documents[0] = "RUNNING"
    handle = house.handle()

    async def read(interval: float | None) -> None:
        async for _ in handle.snapshots(interval=interval):
            pass

    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(read(i)) for i in (None, 2, 5)]
    tasks.append(asyncio.create_task(handle.wait()))
    await house.clock.advance(100)
    before = len(house.service.looks)
    await house.clock.advance(100)
    assert 100 / 2.4 <= len(house.service.looks) - before <= 100 / 1.6
    for task in tasks:
        task.cancel()


async def test_the_output_of_an_ended_run_is_read_when_somebody_asks(house: House) -> None:
    """Snapshots saw the end; awaiting then needs the output alone."""
    house.service.documents[0] = "COMPLETED"
    handle = house.handle()
    assert [s.status async for s in handle.snapshots()] == ["COMPLETED"]
    assert not handle.done()
    assert (await handle).output == "the output"
    assert len(house.service.looks) == 1


async def test_snapshots_raise_what_a_wait_would(house: House) -> None:
    """A run that can't be read ends the iteration with the error."""
    house.service.documents[0] = AuthenticationError("Invalid Credentials", status=401)
    with pytest.raises(AuthenticationError):
        await anext(house.handle().snapshots())


async def test_looks_at_once_are_bounded(clock: FakeClock) -> None:
    """The rest of the connections is for starts."""
    house = House(clock, at_once=3)
    going, most = 0, 0

    async def slow(execution_id: str, **_: Any) -> Any:
        nonlocal going, most
        going += 1
        most = max(most, going)
        await asyncio.sleep(0)
        going -= 1
        return await ScriptedService.get_execution(house.service, execution_id, account=None)

    house.service.get_execution = slow  # type: ignore[method-assign]
    house.service.documents[0] = "STOPPED"
    endings = await asyncio.gather(*(house.handle(f"run{n}").wait() for n in range(50)))
    assert len(endings) == 50
    assert most == 2, "and an account leaves one to others"


async def test_closing_ends_every_wait_with_a_clear_error(house: House) -> None:
    """`ClientClosedError` with the execution id, never a `CancelledError`."""
    handle = house.handle()
    snapshots = handle.snapshots()
    await anext(snapshots)
    tasks = [asyncio.ensure_future(awaitable) for awaitable in (handle, anext(snapshots))]
    await house.clock.advance(0)
    await house.tracker.aclose()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [ClientClosedError] * 2 == [type(error) for error in errors]
    with pytest.raises(ClientClosedError, match="it goes on") as info:
        await tasks[0]
    assert info.value.execution_id == RUN
    with pytest.raises(ClientClosedError):
        await handle


async def test_a_fault_inside_the_tracker_leaves_nobody_waiting(house: House) -> None:
    """Whatever breaks in a look fails its waiters, and the next wait starts afresh."""
    broken = cast("Any", object())
    house.service.documents[0] = broken
    handle = house.handle()
    with pytest.raises(Exception, match="tracking 6a31"):
        await handle
    house.service.documents[0] = "STOPPED"
    with pytest.raises(ExecutionStoppedError):
        await handle


async def test_a_failed_run_nobody_awaits_prints_nothing(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """A future that failed and was never asked must not complain at garbage collection."""
    house.service.documents[0] = AuthenticationError("Invalid Credentials", status=401)
    task = asyncio.create_task(house.handle().result())
    await asyncio.sleep(0)
    task.cancel()
    await settle()
    del task
    gc.collect()
    assert caplog.records == []
