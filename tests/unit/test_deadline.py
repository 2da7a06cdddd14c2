"""A deadline on the injected clock: what `asyncio.timeout` does, and that it loses nothing."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import SystemClock
from refold_async._clock import Deadline, is_cancelled
from tests.support.clock import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.support.clock import FakeClock


async def never() -> None:
    """Wait for what does not come."""
    await asyncio.get_running_loop().create_future()


async def kind_of_end(coroutine: Coroutine[Any, Any, Any]) -> str:
    """Tell how a coroutine ended."""
    try:
        await coroutine
    except asyncio.CancelledError:
        return "cancelled"
    except TimeoutError:
        return "timeout"
    return "done"


async def under(deadline: Deadline, work: Coroutine[Any, Any, Any]) -> None:
    """Do work under a deadline."""
    async with deadline:
        await work


async def test_it_strikes_when_its_time_comes(clock: FakeClock) -> None:
    """Not before, and what it ends is told by a `TimeoutError`."""
    deadline = Deadline(clock, clock.now + 5)
    task = asyncio.create_task(kind_of_end(under(deadline, never())))
    await clock.advance(4.99)
    assert not task.done()
    await clock.advance(0.01)
    assert (task.result(), deadline.expired) == ("timeout", True)


async def test_what_ends_in_time_is_left_alone(clock: FakeClock) -> None:
    """Its timer is taken back, and strikes nobody later."""
    deadline = Deadline(clock, clock.now + 5)
    await under(deadline, asyncio.sleep(0))
    await clock.advance(10)
    assert (deadline.expired, is_cancelled()) == (False, False)


@pytest.mark.parametrize("when", [-1.0, 0.0])
async def test_one_that_is_past_strikes_at_the_first_wait(clock: FakeClock, when: float) -> None:
    """What needs no wait is done all the same, as with `asyncio.timeout`."""
    assert await kind_of_end(under(Deadline(clock, clock.now + when), never())) == "timeout"
    async with Deadline(clock, clock.now + when) as deadline:
        pass
    assert not deadline.expired


async def test_one_without_a_time_never_strikes(clock: FakeClock) -> None:
    """It can be given one later."""
    deadline = Deadline(clock)
    task = asyncio.create_task(kind_of_end(under(deadline, never())))
    await clock.advance(1e9)
    assert not task.done()
    deadline.move(clock.now + 1)
    await clock.advance(1)
    assert task.result() == "timeout"


async def test_it_can_be_moved_either_way(clock: FakeClock) -> None:
    """The last word counts, however often it was moved."""
    deadline = Deadline(clock, clock.now + 5)
    task = asyncio.create_task(kind_of_end(under(deadline, never())))
    await clock.advance(4)
    for seconds in (10.0, 1.0, math.inf, 8.0):
        deadline.move(clock.now + seconds)
    await clock.advance(7.9)
    assert not task.done()
    await clock.advance(0.1)
    assert task.result() == "timeout"


async def test_moving_it_later_sets_no_timer(clock: FakeClock) -> None:
    """One timer for a reply of a thousand chunks."""
    async with Deadline(clock, clock.now + 5) as deadline:
        for number in range(1000):
            deadline.move(clock.now + 5 + number)
    assert len(clock.slept) == 1


async def test_one_that_has_struck_can_not_be_moved_away(clock: FakeClock) -> None:
    """Between striking and the end of the block nothing brings it back."""
    deadline = Deadline(clock, clock.now + 5)
    task = asyncio.create_task(kind_of_end(under(deadline, never())))
    await settle()
    deadline.strike()
    deadline.move(clock.now + 100)
    deadline.strike()
    await settle()
    assert task.result() == "timeout"
    deadline.move(clock.now + 1)
    deadline.strike()
    await clock.advance(10)


async def test_data_that_comes_in_the_same_turn_does_not_lose_it(clock: FakeClock) -> None:
    """What waits is done, but not yet woken: `cancel()` of it is no use, the deadline holds."""
    deadline = Deadline(clock, clock.now + 5)
    data: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def read() -> None:
        await data
        await never()

    task = asyncio.create_task(kind_of_end(under(deadline, read())))
    await settle()
    data.set_result(None)
    deadline.strike()
    await settle()
    assert task.result() == "timeout"


@pytest.mark.parametrize("cancel_first", [True, False])
async def test_a_cancellation_of_the_same_turn_is_the_callers(
    clock: FakeClock, cancel_first: bool
) -> None:
    """It is never turned into a timeout, whichever came first."""
    deadline = Deadline(clock, clock.now + 5)
    task = asyncio.create_task(kind_of_end(under(deadline, never())))
    await settle()
    steps: list[Callable[[], object]] = [task.cancel, deadline.strike]
    for step in steps if cancel_first else reversed(steps):
        step()
    await settle()
    assert task.result() == "cancelled"


@pytest.mark.parametrize("inner_first", [True, False])
async def test_an_outer_timeout_of_the_same_instant_is_the_outer_ones(
    clock: FakeClock, inner_first: bool
) -> None:
    """Both strike, and the outer one is told; nothing is left cancelled."""
    inner, outer = Deadline(clock, clock.now + 5), Deadline(clock, clock.now + 5)
    within = []

    async def call() -> None:
        async with outer:
            try:
                await under(inner, never())
            except BaseException as error:
                within.append(type(error))
                raise

    async def caller() -> tuple[str, bool]:
        end = await kind_of_end(call())
        await asyncio.sleep(0)
        return end, is_cancelled()

    task = asyncio.create_task(caller())
    await settle()
    for deadline in (inner, outer) if inner_first else (outer, inner):
        deadline.strike()
    await settle()
    assert (task.result(), within) == (("timeout", False), [asyncio.CancelledError])


async def test_within_asyncio_timeout_of_the_same_delay() -> None:
    """On the loop's own clock: whichever is told, it is a timeout, and nothing stays cancelled."""
    for _ in range(50):
        clock = SystemClock()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await under(Deadline(clock, clock.monotonic() + 0.001), never())
        await asyncio.sleep(0)
        assert not is_cancelled()


async def test_a_task_that_was_cancelled_before_still_has_deadlines(clock: FakeClock) -> None:
    """One that caught its cancellation, and tidies up, is under them like any other."""
    ends = []

    async def stubborn() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            ends.append(await kind_of_end(under(Deadline(clock, clock.now + 5), never())))

    task = asyncio.create_task(stubborn())
    await settle()
    task.cancel()
    await clock.advance(5)
    await task
    assert ends == ["timeout"]


async def test_what_the_block_raises_is_passed_on(clock: FakeClock) -> None:
    """An error is the block's own, even of one that was struck."""

    async def fail() -> None:
        try:
            await never()
        finally:
            raise LookupError

    deadline = Deadline(clock, clock.now + 5)
    task = asyncio.create_task(under(deadline, fail()))
    await clock.advance(5)
    assert isinstance(task.exception(), LookupError)


async def test_a_cancellation_of_what_is_awaited_is_not_the_tasks() -> None:
    """A future that somebody cancelled ends as such, and the task knows that it was not meant."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await future
    assert not is_cancelled()
