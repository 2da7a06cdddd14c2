"""Has things looked at when they are due: one heap, one timer, and so many looks in flight."""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
import logging
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from refold_async._clock import Clock, Timer

logger = logging.getLogger("refold_async")


class Item(Protocol):
    """Something to look at."""

    due: float
    """Monotonic seconds of the next look."""
    queued_for: float | None
    """`due` of its entry in the queue."""
    looking: bool
    """Whether a look is under way."""

    @property
    def wanted(self) -> bool:
        """Whether anybody waits."""


T = TypeVar("T", bound=Item)


class Agenda(Generic[T]):
    """The looks to come. Nothing here is a task while all are idle.

    Args:
        clock: what tells the time.
        at_once: looks in flight at most.
        look: makes one look.
        looked: called after a look, to arrange the next; also if it was cancelled, by whoever
            cancels all tasks of a loop: those who still wait are still to be served.
        broken: called with a fault of our own, at which all waits have to end.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        at_once: int,
        look: Callable[[T], Coroutine[None, None, None]],
        looked: Callable[[T], None],
        broken: Callable[[Exception], None],
    ) -> None:
        self._clock = clock
        self._at_once = at_once
        self._look = look
        self._looked = looked
        self._broken = broken
        self._queue: list[tuple[float, int, T]] = []  # outdated entries are skipped
        self._order = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: Timer | None = None
        self._timer_due = 0.0
        self._closed = False

    def arrange(self, item: T) -> None:
        """Have an item looked at when it is due, if that is not arranged yet."""
        if item.looking or item.queued_for == item.due:
            return
        item.queued_for = item.due
        heapq.heappush(self._queue, (item.due, next(self._order), item))
        self._arm()

    def _arm(self) -> None:
        """Set the one timer to the earliest look, unless all places for looks are taken."""
        if not self._queue or len(self._tasks) >= self._at_once or self._closed:
            return
        due = self._queue[0][0]
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._clock.call_later(max(due - self._clock.monotonic(), 0.0), self._wake)

    def _wake(self) -> None:
        """Start the looks that are due; should that break, nobody is left waiting for ever."""
        self._timer = None
        try:
            self._start_due_looks()
        except Exception as error:
            logger.exception("the tracker broke; waits fail, and the next one starts it afresh")
            for _, _, item in self._queue:
                item.queued_for = None
            self._queue.clear()
            self._broken(error)

    def _start_due_looks(self) -> None:
        now = self._clock.monotonic()
        while self._queue and self._queue[0][0] <= now and len(self._tasks) < self._at_once:
            due, _, item = heapq.heappop(self._queue)
            if item.queued_for != due:
                continue
            item.queued_for = None
            if item.wanted and not item.looking:
                self._start_look(item)
        self._arm()

    def _start_look(self, item: T) -> None:
        task = asyncio.get_running_loop().create_task(self._look(item))
        item.looking = True
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._look_ended, item))

    def _look_ended(self, item: T, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        item.looking = False
        if not self._closed:
            self._looked(item)
        self._arm()

    async def aclose(self) -> None:
        """Cancel the looks in flight, and start no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._queue.clear()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
