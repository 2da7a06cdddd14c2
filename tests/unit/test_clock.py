"""Time: waiting for a shared future, by a clock that is given."""

from __future__ import annotations

import asyncio
import time

import pytest

from refold_async import SystemClock
from refold_async._clock import done_within, sleep, to_the_end
from tests.support.clock import FakeClock, settle


async def test_done_future_is_not_waited_for(clock: FakeClock) -> None:
    """What is done is done, without a timer."""
    future = asyncio.get_running_loop().create_future()
    future.set_result(1)
    assert await done_within(clock, future, 5) is True
    assert clock.slept == []


async def test_future_that_gets_done_ends_the_wait(clock: FakeClock) -> None:
    """The waiter wakes with the future."""
    future = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(done_within(clock, future, None))
    await settle()
    future.set_result(1)
    assert await task is True


async def test_time_ends_the_wait_and_leaves_the_future(clock: FakeClock) -> None:
    """A timeout says that the future is not done, and does not touch it."""
    future = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(done_within(clock, future, 5))
    await clock.advance(4.9)
    assert not task.done()
    await clock.advance(0.1)
    assert await task is False
    assert not future.done()


async def test_time_already_over_ends_the_wait_at_once(clock: FakeClock) -> None:
    """A negative timeout is one of zero."""
    future = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(done_within(clock, future, -3))
    await clock.advance(0)
    assert await task is False
    assert clock.slept == [0.0]


async def test_result_in_the_same_turn_as_the_timer_counts(clock: FakeClock) -> None:
    """A result that comes while the timer is already waking the waiter is not lost."""
    future = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(done_within(clock, future, 5))
    await settle()
    ((_, _, timer),) = clock._queue
    timer.fire()
    future.set_result(1)
    assert await task is True


async def test_cancelled_waiter_harms_nobody(clock: FakeClock) -> None:
    """Cancelling one waiter ends its wait alone and takes its timer back."""
    future = asyncio.get_running_loop().create_future()
    first, second = (asyncio.create_task(done_within(clock, future, 5)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    future.set_result(1)
    assert await second is True
    with pytest.raises(asyncio.CancelledError):
        await first
    await clock.advance(10)


async def test_sleep_takes_the_clocks_time(clock: FakeClock) -> None:
    """A sleep ends when the given clock says so."""
    task = asyncio.create_task(sleep(clock, 3.0))
    await clock.advance(2.9)
    assert not task.done()
    await clock.advance(0.1)
    assert task.done()
    await task


async def test_system_clock_is_the_machines() -> None:
    """Outside of tests time is the machine's, and timers are the loop's."""
    clock = SystemClock()
    assert abs(clock.time() - time.time()) < 5
    assert abs(clock.monotonic() - time.monotonic()) < 5
    called: list[int] = []
    clock.call_later(60.0, lambda: called.append(1)).cancel()
    await sleep(clock, 0)
    assert called == []


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("turns", range(4))
async def test_a_cancellation_in_the_moment_of_the_end_is_not_lost(turns: int, fails: bool) -> None:
    """However the turns fall, what must be finished is, and who was cancelled hears of it."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def finishing() -> None:
        await ended

    task = asyncio.create_task(to_the_end(finishing()))
    await settle()
    if fails:
        ended.set_exception(OSError("no"))
    else:
        ended.set_result(None)
    await settle(turns)
    was_asked = task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() is was_asked


async def test_what_must_be_finished_is_finished_however_often_its_caller_is_cancelled() -> None:
    """Each cancellation waits; the last is raised in the end."""
    ended = asyncio.Event()
    task = asyncio.create_task(to_the_end(ended.wait()))
    for _ in range(3):
        await settle()
        task.cancel()
    await settle()
    assert not task.done()
    ended.set()
    await asyncio.wait([task])
    assert task.cancelled()
