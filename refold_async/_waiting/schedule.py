"""Has pages looked at when they are due: one timer, so many looks in flight, accounts by turns."""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
import math
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING

from refold_async._clock import look_later
from refold_async._logs import Log
from refold_async._telemetry import shared_context

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from refold_async._clock import Clock, Timer
    from refold_async._waiting.pool import Account, Page

logger = Log("waiting")

_SHARE = 2 / 3
"""Of the places that other accounts leave, an account takes no more: somebody else always finds
one, however many slow looks an account has."""


_CALLED_UP = float("-inf")
"""`queued_for` of a page that is due and waits for a turn."""


class Schedule:
    """The looks to come. Nothing here is a task while all are idle.

    Looks and timers run in an empty context: they serve all who wait, so what the first of them
    keeps in its contextvars is nobody else's business.

    Args:
        clock: what tells the time.
        at_once: looks in flight at most.
        pick: gives what the next look at a page is at: the page, or one of its runs.
        look: makes one look.
        looked: called with a page after a look at it, and what that was at, to arrange the next;
            also if it was cancelled, by whoever cancels all tasks of a loop: those who still wait
            are still to be served.
        broken: called with a fault of our own, at which all waits have to end.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        at_once: int,
        pick: Callable[[Page], Page],
        look: Callable[[Page], Coroutine[None, None, None]],
        looked: Callable[[Page, Page], None],
        broken: Callable[[Exception], None],
    ) -> None:
        self._clock = clock
        self._at_once = at_once
        self._pick = pick
        self._look = look
        self._looked = looked
        self._broken = broken
        self._queue: list[tuple[float, int, Page]] = []  # outdated entries are skipped
        self._order = itertools.count()
        self._turns: deque[Account] = deque()  # that have a backlog
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: Timer | None = None
        self._timer_due = 0.0
        self._closed = False

    def arrange(self, page: Page) -> None:
        """Have a page looked at when it is due, if that is not arranged yet."""
        if page.looking or page.queued_for in {page.due, _CALLED_UP} or not page.runs:
            return
        if page.due == math.inf:  # all of its runs are being read
            return
        page.queued_for = page.due
        heapq.heappush(self._queue, (page.due, next(self._order), page))
        self._arm()

    def overdue(self, accounts: Iterable[Account]) -> float:
        """Give for how many seconds the oldest look that is due has been waiting for its turn."""
        dues = (page.due for account in accounts for page in account.backlog if page.runs)
        return max(self._clock.monotonic() - min(dues, default=float("inf")), 0.0)

    def _arm(self) -> None:
        """Set the one timer to the earliest look."""
        if not self._queue or self._closed:
            return
        due = self._queue[0][0]
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        delay = max(due - self._clock.monotonic(), 0.0)
        self._timer = Context().run(look_later, self._clock, delay, self._wake)

    def _wake(self) -> None:
        """Start the looks that are due; should that break, nobody is left waiting for ever."""
        self._timer = None
        try:
            self._call_up()
            self._start_looks()
        except Exception as error:
            logger.exception("the tracker broke; waits fail, and the next one starts it afresh")
            for account in self._turns:
                account.backlog.clear()
            self._turns.clear()
            self._queue.clear()
            self._broken(error)

    def _call_up(self) -> None:
        """Give what is due to its account, to wait there for a turn."""
        now = self._clock.monotonic()
        while self._queue and self._queue[0][0] <= now:
            due, _, page = heapq.heappop(self._queue)
            if page.queued_for == due:
                if not page.account.backlog:
                    self._turns.append(page.account)
                page.account.backlog.append(page)
                page.queued_for = _CALLED_UP
        self._arm()

    def _start_looks(self) -> None:
        """Fill the places for looks, with one from each account in turn."""
        passed_over = 0
        while passed_over < len(self._turns) and len(self._tasks) < self._at_once:
            account = self._turns[0]
            self._turns.rotate(-1)
            if account.in_flight >= self._places(account):
                passed_over += 1
                continue
            passed_over = 0
            page = account.backlog.popleft()
            if not account.backlog:
                self._turns.pop()
            page.queued_for = None
            if page.runs and not page.looking:
                self._start_look(page)

    def _places(self, account: Account) -> int:
        """Give how many looks an account may have in flight: one while they fail."""
        left = self._at_once - (len(self._tasks) - account.in_flight)
        return 1 if account.failing else max(1, int(left * _SHARE))

    def _start_look(self, page: Page) -> None:
        part = self._pick(page)
        part.looking = True
        page.account.in_flight += 1
        task = asyncio.get_running_loop().create_task(self._look(part), context=shared_context())
        self._tasks.add(task)
        ended = functools.partial(self._look_ended, page, part)
        task.add_done_callback(ended, context=Context())
        if part.runs and part is not page:
            self._looked(page, page)  # the next of its runs

    def _look_ended(self, page: Page, part: Page, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        part.looking = False
        page.account.in_flight -= 1
        if not self._closed:
            self._looked(page, part)
            self._start_looks()

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
