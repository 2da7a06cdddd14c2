"""One scheduler per client that settles every run somebody waits for.

However many handles and tasks speak of a run, there is one `Watch`, one future and one stream of
looks. A run is looked at only while somebody waits; nothing here is a task while all are idle,
just one timer for the next look that is due.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
import logging
import random
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import attrs

from refold_async._clock import done_within
from refold_async._errors import ClientClosedError, RefoldError
from refold_async._looking import Look, Progress
from refold_async._models import ExecutionResult
from refold_async._report import wait_timeout

if TYPE_CHECKING:
    from refold_async._api import Api
    from refold_async._clock import Clock, Timer
    from refold_async._config import PollPolicy
    from refold_async._models import Execution
    from refold_async._stats import Counters

logger = logging.getLogger("refold_async")

_GROWTH = 1.5
_JITTER = 0.15


@attrs.define(eq=False, repr=False)
class Watch:
    """A run that is, was or will be waited for: what is known of it, and when to look next."""

    execution_id: str
    account: str | None
    due: float  # monotonic seconds of the next look
    progress: Progress
    interval: float  # seconds to the look after that
    settled: asyncio.Future[ExecutionResult[Any] | RefoldError] | None = None
    changed: asyncio.Future[None] | None = None  # done with the next change of the snapshot
    version: int = 0  # counts the changes
    waiters: int = 0  # who wait for the end, and so for the output
    watchers: list[float] = attrs.field(factory=list)  # longest intervals of snapshot readers
    queued_for: float | None = None  # `due` of its entry in the queue
    looking: bool = False

    @property
    def result(self) -> ExecutionResult[Any] | None:
        """How the run ended, if that is known."""
        if self.settled is None or not self.settled.done():
            return None
        outcome = self.settled.result()
        return None if isinstance(outcome, RefoldError) else outcome

    @property
    def wanted(self) -> bool:
        """Whether anybody waits."""
        return self.waiters > 0 or bool(self.watchers)

    def wake_readers(self) -> None:
        """Let the readers of snapshots see what is new."""
        if self.changed is not None:
            self.changed.set_result(None)
            self.changed = None


class Tracker:
    """Looks at pending runs, each at growing intervals, and wakes who waits for them."""

    def __init__(
        self, api: Api, policy: PollPolicy, clock: Clock, counters: Counters, *, at_once: int
    ) -> None:
        self._look = Look(api, policy, clock, counters)
        self._policy = policy
        self._clock = clock
        self._counters = counters
        self._at_once = at_once  # looks in flight; the rest of the connections is for starts
        self._watches: WeakValueDictionary[tuple[str | None, str], Watch] = WeakValueDictionary()
        self._queue: list[tuple[float, int, Watch]] = []  # due looks; outdated entries are skipped
        self._order = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: Timer | None = None
        self._timer_due = 0.0
        self._closed = False

    def watch(self, execution_id: str, account: str | None, *, first_look: float) -> Watch:
        """Give the one `Watch` of a run; nothing is looked at before somebody waits.

        Args:
            execution_id: the run.
            account: the linked account it belongs to.
            first_look: monotonic seconds before which a look is wasted.
        """
        key = (account, execution_id)
        watch = self._watches.get(key)
        if watch is None:
            watch = Watch(execution_id, account, first_look, Progress(), self._policy.first)
            self._watches[key] = watch
        return watch

    async def wait(self, watch: Watch, timeout: float | None) -> ExecutionResult[Any]:
        """Wait for the end of a run, whatever it is.

        Raises:
            WaitTimeoutError: `timeout` seconds have passed; the run goes on.
            RefoldError: the run can't be read.
        """
        settled = self._settlement(watch)
        began = self._clock.monotonic()
        watch.waiters += 1
        try:
            if not settled.done():
                self._enqueue(watch)
            done = await done_within(self._clock, settled, timeout)
        finally:
            watch.waiters -= 1
        if not done:
            now = self._clock.monotonic()
            raise wait_timeout(
                execution_id=watch.execution_id,
                account=watch.account,
                progress=watch.progress,
                waited=now - began,
                now=now,
            )
        outcome = settled.result()
        if isinstance(outcome, RefoldError):
            raise _unreadable(outcome, watch.execution_id) from outcome.__cause__
        return outcome

    async def next_change(
        self, watch: Watch, seen: int, interval: float | None
    ) -> tuple[int, Execution]:
        """Wait for a snapshot newer than version `seen`.

        Raises:
            RefoldError: the run can't be read.
        """
        longest = self._policy.max_interval if interval is None else interval
        while watch.version <= seen:
            settled = self._settlement(watch)
            if watch.changed is None:
                watch.changed = asyncio.get_running_loop().create_future()
            watch.watchers.append(longest)
            try:
                watch.due = min(watch.due, self._clock.monotonic() + longest)
                self._enqueue(watch)
                await done_within(self._clock, watch.changed, None)
            finally:
                watch.watchers.remove(longest)
            if settled.done() and watch.version <= seen:
                outcome = settled.result()
                if isinstance(outcome, RefoldError):
                    raise _unreadable(outcome, watch.execution_id) from outcome.__cause__
        assert watch.progress.snapshot is not None  # noqa: S101 - versions count snapshots
        return watch.version, watch.progress.snapshot

    def _settlement(self, watch: Watch) -> asyncio.Future[ExecutionResult[Any] | RefoldError]:
        """Give the future everybody shares; one that failed is replaced, to try afresh."""
        if self._closed:
            raise ClientClosedError(
                "the client is closed; the run goes on", execution_id=watch.execution_id
            )
        future = watch.settled
        if future is None or (future.done() and isinstance(future.result(), RefoldError)):
            future = watch.settled = asyncio.get_running_loop().create_future()
            watch.progress.forget_failures()
        return future

    def _enqueue(self, watch: Watch) -> None:
        """Have a watch looked at when it is due, if that is not arranged yet."""
        if watch.looking or (watch.queued_for is not None and watch.queued_for <= watch.due):
            return
        watch.queued_for = watch.due
        heapq.heappush(self._queue, (watch.due, next(self._order), watch))
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
            self._fail(error)

    def _start_due_looks(self) -> None:
        now = self._clock.monotonic()
        while self._queue and self._queue[0][0] <= now and len(self._tasks) < self._at_once:
            due, _, watch = heapq.heappop(self._queue)
            if watch.queued_for != due:
                continue
            watch.queued_for = None
            if watch.wanted and not watch.looking:
                self._start_look(watch)
        self._arm()

    def _start_look(self, watch: Watch) -> None:
        watch.looking = True
        task = asyncio.get_running_loop().create_task(self._look_at(watch))
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._look_ended, watch))

    def _look_ended(self, watch: Watch, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() and not self._closed:
            # By whoever cancels all tasks of a loop: those who still wait are still served.
            watch.looking = False
            self._postpone(watch, at_once=False)
        self._arm()

    async def _look_at(self, watch: Watch) -> None:
        """Look once; settle the watch, or arrange the next look."""
        before = watch.progress.snapshot
        with_output = watch.waiters > 0
        try:
            outcome = await self._look(
                watch.progress, watch.execution_id, watch.account, with_output=with_output
            )
        except Exception as error:  # noqa: BLE001 - a fault in here must not leave anybody waiting
            outcome = _broken(watch.execution_id, error)
        watch.looking = False
        if changed := watch.progress.snapshot is not before:
            watch.version += 1
        if outcome is not None:
            self._end(watch, outcome)
            return
        self._postpone(watch, at_once=not with_output and watch.progress.ended)
        if changed:
            watch.wake_readers()

    def _end(self, watch: Watch, outcome: ExecutionResult[Any] | RefoldError) -> None:
        if watch.settled is not None and not watch.settled.done():
            watch.settled.set_result(outcome)
            self._counters.settled += not isinstance(outcome, RefoldError)
        watch.due = self._clock.monotonic()
        watch.wake_readers()

    def _postpone(self, watch: Watch, *, at_once: bool) -> None:
        """Arrange the next look: at once if just the output of an ended run is missing."""
        longest = min([self._policy.max_interval, *watch.watchers])
        spread = random.uniform(1 - _JITTER, 1 + _JITTER)
        pause = 0.0 if at_once else min(watch.interval, longest) * spread
        watch.due = max(self._clock.monotonic() + pause, watch.progress.not_before)
        watch.interval = min(watch.interval * _GROWTH, self._policy.max_interval)
        if watch.wanted:
            self._enqueue(watch)

    def _fail(self, error: Exception) -> None:
        """End every wait with an error."""
        self._queue.clear()
        for watch in list(self._watches.values()):
            watch.queued_for = None
            if not watch.looking:
                self._end(watch, _broken(watch.execution_id, error))

    async def aclose(self) -> None:
        """End every wait with `ClientClosedError`; the runs themselves go on."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._queue.clear()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for watch in list(self._watches.values()):
            error = ClientClosedError(
                "the client was closed while this run was waited for; it goes on:"
                f" refold.handle({watch.execution_id!r}) finds it again",
                execution_id=watch.execution_id,
            )
            self._end(watch, error)


def _broken(execution_id: str, error: Exception) -> RefoldError:
    failure = RefoldError(f"tracking {execution_id} failed: {type(error).__name__}")
    failure.__cause__ = error
    return failure


def _unreadable(error: RefoldError, execution_id: str) -> RefoldError:
    """Give an awaiter an error of its own, which says that the run exists."""
    own = error.fresh()
    own.execution_id = execution_id
    own.add_note(f"while waiting for execution {execution_id}, which goes on")
    return own
