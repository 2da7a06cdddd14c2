"""Time, injected: whatever sleeps or measures takes a `Clock`. Seconds everywhere."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


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
