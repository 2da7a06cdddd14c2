"""Time, injected: whatever sleeps or measures takes a `Clock`. Seconds everywhere."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import time
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

ROUNDING = 1e-6
"""Seconds by which a timer may ring early: loops and floats round. Who waits again waits as long: a
clock that has run for a month may not be moved by less."""


class Timer(Protocol):
    """A callback that is due later."""

    def cancel(self) -> None:
        """Take the callback back; harmless after it ran."""


class Clock(Protocol):
    """What the SDK knows of time."""

    def monotonic(self) -> float:
        """Seconds that only grow: for durations and deadlines."""

    def time(self) -> float:
        """Seconds since the epoch: to compare with the service's clock."""

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer:
        """Call back in `delay` seconds, on the running loop."""


class SystemClock:
    """The machine's own clocks and the running event loop."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer:
        """Call back in `delay` seconds, on the running loop."""
        return asyncio.get_running_loop().call_later(delay, callback)


class SkippingClock(Clock, Protocol):
    """A clock that skips the time in which nothing happens, and so has to be told what does."""

    def waiting(
        self,
        what: str,
        fail: Callable[[BaseException], object] | None = None,
        *,
        watches: bool = False,
    ) -> AbstractContextManager[None]:
        """Somebody waits, within the block."""

    def look_later(self, delay: float, callback: Callable[[], object], /) -> Timer:
        """As `call_later`, for a look that may be left out where it would see nothing new."""

    def limited(self, by: Callable[[], bool]) -> AbstractContextManager[None]:
        """Waits within the block end by themselves, for as long as `by` says so."""

    def outside(self) -> AbstractContextManager[None]:
        """A request is in flight, within the block."""

    def hold(self, what: str) -> AbstractContextManager[None]:
        """Somebody else's code runs, within the block."""


_NOBODY_ASKS = contextlib.nullcontext()
_announced: dict[str, SkippingClock] = {}


def announce(base_url: str, clock: SkippingClock | None) -> None:
    """Say which clock the service at a URL goes by; None for the system's again."""
    if clock is None:
        _announced.pop(_by_address(base_url), None)
    else:
        _announced[_by_address(base_url)] = clock


def clock_at(base_url: str) -> Clock:
    """Give the clock that a client of this service has to go by: the system's, but in tests."""
    return _announced.get(_by_address(base_url)) or SystemClock()


def _by_address(base_url: str) -> str:
    return base_url.replace("//localhost:", "//127.0.0.1:", 1)


def waiting(
    clock: Clock,
    what: str,
    fail: Callable[[BaseException], object] | None = None,
    *,
    watches: bool = False,
) -> AbstractContextManager[None]:
    """Say that somebody waits within the block, to a clock that wants to know.

    Args:
        clock: whose seconds count.
        what: what is waited for; the execution id if there is one.
        fail: for a wait without a limit: told, on the waiter's loop, that its end will never come.
        watches: whether what happens on the way is wanted too.
    """
    if not hasattr(clock, "waiting"):
        return _NOBODY_ASKS
    return cast("SkippingClock", clock).waiting(what, fail, watches=watches)


def limited(clock: Clock, by: Callable[[], bool]) -> AbstractContextManager[None]:
    """Say that something ends the waits within the block, while `by` says so, to who wants to know.

    They are not in vain then, though what they wait for never comes. No time passes for this alone.
    """
    return cast("SkippingClock", clock).limited(by) if hasattr(clock, "limited") else _NOBODY_ASKS


def outside(clock: Clock) -> AbstractContextManager[None]:
    """Say that something real is under way within the block, to a clock that wants to know.

    A request, a disk, another server: it may not need the clock to go on.
    """
    return cast("SkippingClock", clock).outside() if hasattr(clock, "outside") else _NOBODY_ASKS


def held(clock: Clock, what: str) -> AbstractContextManager[None]:
    """Say that a caller's own code runs within the block, to a clock that wants to know."""
    return cast("SkippingClock", clock).hold(what) if hasattr(clock, "hold") else _NOBODY_ASKS


def look_later(clock: Clock, delay: float, callback: Callable[[], object]) -> Timer:
    """Call back in `delay` seconds to look at what is pending, if there can be anything to see."""
    if not hasattr(clock, "look_later"):
        return clock.call_later(delay, callback)
    return cast("SkippingClock", clock).look_later(delay, callback)


async def sleep(clock: Clock, delay: float) -> None:
    """Sleep by the given clock, for somebody who waits."""
    with waiting(clock, "a pause"):
        await pause(clock, delay)


async def pause(clock: Clock, delay: float) -> None:
    """Sleep by the given clock in the background, where nobody waits for it."""
    await done_within(clock, asyncio.get_running_loop().create_future(), delay)


async def done_within(clock: Clock, future: asyncio.Future[Any], timeout: float | None) -> bool:
    """Wait until a shared future is done, or the time is over; the future itself is not touched.

    Cancelling the caller ends this wait alone, which is what lets many tasks share one future.
    Who waits for somebody, and is not within a call that does, says so by `waiting`.

    Args:
        clock: whose seconds count.
        future: what is waited for; its result stays where it is.
        timeout: seconds, or None for no limit.

    Returns:
        Whether the future is done.
    """
    if future.done():
        return True
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(_: object = None) -> None:
        if not waiter.done():
            waiter.set_result(None)

    future.add_done_callback(wake)
    timer = None if timeout is None else clock.call_later(max(timeout, 0.0), wake)
    try:
        await waiter
    finally:
        future.remove_done_callback(wake)
        if timer is not None:
            timer.cancel()
    return future.done()


async def watched(clock: Clock, future: asyncio.Future[Any], execution_id: str) -> None:
    """Wait for news of a run, however long; the future, which others share, is not touched."""
    if future.done():
        return
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    wake = functools.partial(_wake, waiter)
    future.add_done_callback(wake)
    try:
        with waiting(clock, execution_id, functools.partial(give_up, waiter), watches=True):
            await waiter
    finally:
        future.remove_done_callback(wake)


def _wake(waiter: asyncio.Future[None], _: object) -> None:
    if not waiter.done():
        waiter.set_result(None)


def give_up(waiter: asyncio.Future[None], error: BaseException) -> None:
    """End a wait for what never comes."""
    if not waiter.done():
        waiter.set_exception(error)


async def to_the_end(awaitable: Awaitable[object]) -> None:
    """Await something that must be finished even if its caller is cancelled, who hears of it then.

    What it raises is raised, unless the caller was cancelled.
    """
    task = asyncio.ensure_future(awaitable)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])  # which raises nothing of the task's own
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        _ = task.cancelled() or task.exception()  # somebody has looked
        raise cancelled
    task.result()


def is_cancelled() -> bool:
    """Tell whether somebody cancelled the running task: else a `CancelledError` is another's."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


class Deadline:
    """`asyncio.timeout_at`, by an injected clock: `async with Deadline(clock, when): ...`.

    Raises `TimeoutError` if the time passes within the block. A cancellation that is not its own,
    even one of the same moment, is passed on. Moving a deadline to a later time costs nothing: its
    timer finds that out when it rings.
    """

    __slots__ = ("_cancelling", "_clock", "_expired", "_rings_at", "_task", "_timer", "when")

    def __init__(self, clock: Clock, when: float = math.inf) -> None:
        self.when = when  # monotonic seconds
        self._clock = clock
        self._task: asyncio.Task[Any] | None = None  # set while within the block
        self._cancelling = 0  # what it had been asked before
        self._timer: Timer | None = None
        self._rings_at = math.inf
        self._expired = False

    @property
    def expired(self) -> bool:
        """Whether it has struck."""
        return self._expired

    def move(self, when: float) -> None:
        """Set another time; without effect once the deadline has struck or the block is left."""
        self.when = when
        if when < self._rings_at and self._task is not None and not self._expired:
            self._set_timer()

    def strike(self) -> None:
        """End the block now, as if the time had passed; harmless if it has, or outside of it."""
        if self._task is not None and not self._expired:
            self._expired = True
            self._stop_timer()
            self._task.cancel()

    def _set_timer(self) -> None:
        self._stop_timer()
        if self.when < math.inf:
            delay = max(self.when - self._clock.monotonic(), 0.0)
            self._timer, self._rings_at = self._clock.call_later(delay, self._ring), self.when

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings_at = None, math.inf

    def _ring(self) -> None:
        if self._clock.monotonic() < self.when - ROUNDING:
            self._set_timer()
        else:
            self.strike()

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._task, self._cancelling = task, task.cancelling()
        self._set_timer()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        self._stop_timer()
        assert task is not None  # noqa: S101 - it was entered
        # As `asyncio.Timeout`: one request to cancel is ours, any other is somebody else's.
        if (
            self._expired
            and task.uncancel() <= self._cancelling
            and isinstance(error, asyncio.CancelledError)
        ):
            raise TimeoutError from error
