"""Time, injected: whatever sleeps or measures takes a `Clock`. Seconds everywhere."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

_ROUNDING = 1e-6
"""Seconds by which a timer may ring early: loops and floats round."""


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


async def sleep(clock: Clock, delay: float) -> None:
    """Sleep by the given clock."""
    await done_within(clock, asyncio.get_running_loop().create_future(), delay)


async def done_within(clock: Clock, future: asyncio.Future[Any], timeout: float | None) -> bool:
    """Wait until a shared future is done, or the time is over; the future itself is not touched.

    Cancelling the caller ends this wait alone, which is what lets many tasks share one future.

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
        if self._clock.monotonic() < self.when - _ROUNDING:
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
