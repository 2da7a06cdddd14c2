"""Starts that wait for a worker, and what becomes of each."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from refold_async._errors import RequestTimeoutError
from refold_async._logs import Log
from refold_async._protocol import Started
from refold_async._transport import outcome_unknown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from refold_async._clock import Clock
    from refold_async._config import RetryPolicy
    from refold_async._errors import RefoldError
    from refold_async._handle import ExecutionHandle
    from refold_async._protocol import Request
    from refold_async._starting import Submission
    from refold_async._transport import Finding
    from refold_async.dask.messages import Outcome

logger = Log("dask")

_BYTES = 4 * 2**20
"""Of payloads in a chunk at most, unless one alone is larger."""


class Order:
    """A start that workers send: a `Submission`, as batches want it.

    Attributes:
        flight: the chunk it was sent out with last; None before.
        since: the service's time before it was first sent out, or earlier; None if nobody knew.
        intended_at: the local epoch seconds then.
    """

    def __init__(self, base: Submission, limit: float | None, desk: Desk) -> None:
        self.flight: int | None = None
        self.since: float | None = None
        self.intended_at = 0.0
        self._base = base
        self._limit = limit
        self._desk = desk
        self._before: Callable[[], Awaitable[None]] | None = None
        self._attempts = 0
        self._duplicate = False
        self._done: asyncio.Future[ExecutionHandle[Any] | None] | None = None
        self.deadline: float | None = None
        self.unwanted = False

    # -- what a batch sees -------------------------------------------------------------------

    @property
    def request(self) -> Request:
        """What is sent."""
        return self._base.request

    @property
    def policy(self) -> RetryPolicy:
        """How it is tried again."""
        return self._base.policy

    @property
    def fingerprint(self) -> str:
        """A hash of all that is sent."""
        return self._base.fingerprint

    def retag(self, tag: str) -> None:
        """Send the tag that was made for an earlier try of the same start."""
        self._base.retag(tag)

    async def handle(
        self, before: Callable[[], Awaitable[None]] | None = None
    ) -> ExecutionHandle[Any]:
        """Have a worker send it, once, and give the handle of the run."""
        self._before = before
        self._done = asyncio.get_running_loop().create_future()
        self._done.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.deadline = self._desk.deadline(self._limit)
        self._desk.add(self)
        left, timer = self.left(self._desk.clock.monotonic()), None
        if left is not None:
            timer = self._desk.clock.call_later(left, self._expire)
        try:
            handle = await asyncio.shield(self._done)
        except asyncio.CancelledError:
            self.unwanted = True
            if not self.has_left:
                self._settle(None)
            self._desk.call_off(self)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        assert handle is not None  # noqa: S101 - only of one that is unwanted there is none
        return handle

    @property
    def has_left(self) -> bool:
        """Whether, after `handle` was cancelled, a run may have begun."""
        return self.flight is not None

    async def rest(self) -> ExecutionHandle[Any] | None:
        """Tell what became of it after `handle` was cancelled; None if nothing was sent."""
        return None if self._done is None else await asyncio.shield(self._done)

    def later(self, told: Callable[[ExecutionHandle[Any] | None], object]) -> None:
        """Have something told what became of it after `handle` was cancelled."""

        def tell(done: asyncio.Future[ExecutionHandle[Any] | None]) -> None:
            known = not done.cancelled() and done.exception() is None
            told(done.result() if known else None)

        if self._done is not None:
            self._done.add_done_callback(tell)

    # -- what happens to it ------------------------------------------------------------------

    @property
    def tag(self) -> str:
        """By which it is known here, at the workers, and in the list of runs."""
        return self.request.instance_tag or ""

    @property
    def done(self) -> bool:
        """Whether it is known what it came to."""
        return self._done is None or self._done.done()

    @property
    def execution_id(self) -> str | None:
        """Its run, if one is known."""
        done = self._done
        if done is None or not done.done() or done.cancelled() or done.exception() is not None:
            return None
        handle = done.result()
        return None if handle is None else handle.execution_id

    async def intend(self) -> None:
        """Have the intent written down, before it is sent out for the first time."""
        before, self._before = self._before, None
        if before is not None:
            await before()

    def left(self, now: float) -> float | None:
        """Give the seconds that are left for it; None if nothing bounds them."""
        return None if self.deadline is None else self.deadline - now

    def started(self, outcome: Outcome) -> None:
        """Note its run."""
        duplicate = outcome.possible_duplicate or self._duplicate
        started = Started(
            execution_id=outcome.execution_id,
            attempts=self._attempts + outcome.attempts,
            possible_duplicate=duplicate,
        )
        handle = self._base.started_elsewhere(started)
        handle.possible_duplicate = duplicate
        self._settle(handle)

    def adopt(self, execution_id: str) -> None:
        """Take the run that was found by its tag."""
        logger.info("a run was found by its tag %s: execution %s", self.tag, execution_id)
        started = Started(execution_id=execution_id, attempts=max(self._attempts, 1))
        self._settle(self._base.started_elsewhere(started))

    def fail(self, error: Exception) -> None:
        """End without a run that is known."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    def unknown(self, cause: RefoldError, finding: Finding | None) -> None:
        """End, and say that a run may have begun."""
        self.fail(outcome_unknown(self.request, max(self._attempts, 1), cause, finding))

    def again(self, *, absent: bool) -> None:
        """Wait for a worker once more: nothing was sent, or it is proven that no run began."""
        self.flight = None
        if absent:
            self._attempts += 1
            self._duplicate = self.policy.mode != "safe"
            logger.warning(
                "%s is sent again: its run is proven not to be in the list"
                " (workflow_id=%s, instance_tag=%s)%s",
                self.request.operation,
                self.request.workflow_id,
                self.tag,
                ": possible duplicate" if self._duplicate else "",
            )
        if self.unwanted:
            self._settle(None)
        else:
            self._desk.add(self, first=True)

    def _expire(self) -> None:
        """End it, if nobody has it: what a worker has ends there, by the same time."""
        if self.flight is None:
            late = "no worker could take it within the item's timeout; nothing was sent"
            self.fail(RequestTimeoutError(late, sent=False))

    def _settle(self, handle: ExecutionHandle[Any] | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(handle)


class Desk:
    """Orders that wait for a worker, in their turn.

    Args:
        clock: what tells the time.
        deadline: gives the monotonic second by which a start of so many seconds ends.
        news: told of an order that waits.
        called_off: told of one that nobody wants any more.
    """

    def __init__(
        self,
        clock: Clock,
        deadline: Callable[[float | None], float | None],
        news: Callable[[], object],
        called_off: Callable[[Order], object],
    ) -> None:
        self.clock = clock
        self.deadline = deadline
        self.call_off = called_off
        self._news = news
        self._waiting: deque[Order] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, order: Order, *, first: bool = False) -> None:
        """Let one wait; what was on its way already goes first."""
        if first:
            self._waiting.appendleft(order)
        else:
            self._waiting.append(order)
        self._news()

    def take(self, count: int) -> list[Order]:
        """Take so many that are still wanted."""
        taken: list[Order] = []
        size = 0
        while self._waiting and len(taken) < count:
            order = self._waiting[0]
            length = len(order.request.body or b"")
            if taken and size + length > _BYTES:
                break
            self._waiting.popleft()
            if not order.done:
                taken.append(order)
                size += length
        return taken

    def fail_all(self, error: RefoldError) -> None:
        """End all that wait: nobody will take them."""
        while self._waiting:
            self._waiting.popleft().fail(error)
