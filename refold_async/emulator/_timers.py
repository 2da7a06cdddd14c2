"""Callbacks that are due by a clock that is skipped, in order."""

import asyncio
import heapq
import math
from collections.abc import Callable, Iterator
from contextvars import copy_context
from itertools import count
from typing import Any

When = tuple[float, bool]
"""Seconds, and whether it comes after all that is due in the same moment."""

NEVER: When = (math.inf, False)


class Timer:
    """A callback on the loop that runs, in the context of who set it.

    Args:
        due: When, in seconds.
        callback: What is called.
        forget: What `cancel` calls with it.
        about: What it is about, if anything.
        holds: Whether somebody's answer is held until then.
    """

    __slots__ = ("about", "callback", "context", "due", "forget", "holds", "loop")

    def __init__(
        self,
        due: float,
        callback: Callable[[], object],
        forget: "Callable[[Timer], None]",
        *,
        about: Any = None,
        holds: bool = False,
    ) -> None:
        self.due, self.forget, self.about, self.holds = due, forget, about, holds
        self.callback: Callable[[], object] | None = callback
        self.context = copy_context()
        self.loop = asyncio.get_running_loop()

    def cancel(self) -> None:
        """Take the callback back; harmless after it ran."""
        self.forget(self)


class TimerQueue:
    """Timers by when they are due; those without a callback any more are skipped."""

    def __init__(self) -> None:
        self._heap: list[tuple[When, int, Timer]] = []
        self._order = count()

    def add(self, timer: Timer, *, last: bool = False) -> None:
        """Add one; one that is never due is not kept."""
        if timer.due < math.inf:
            heapq.heappush(self._heap, ((timer.due, last), next(self._order), timer))

    def first(self) -> When:
        """When the first is due."""
        while self._heap and self._heap[0][-1].callback is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else NEVER

    def take(self, until: When) -> Iterator[Timer]:
        """Take out all that are due by then."""
        while self._heap and self._heap[0][0] <= until:
            yield heapq.heappop(self._heap)[-1]
