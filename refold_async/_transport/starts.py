"""Attempts at starts: tasks of the client's own, which their callers wait for and may leave."""

from __future__ import annotations

import asyncio
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING

from refold_async._clock import done_within
from refold_async._logs import Log, about
from refold_async._transport import failures

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from refold_async._clock import Clock
    from refold_async._protocol import Answer, Request
    from refold_async._stats import Counters
    from refold_async._transport.attempt import Attempt
    from refold_async._transport.retry import Care

logger = Log("transport")


class Starts:
    """The attempts at starts that are under way, with their callers or without."""

    def __init__(self, clock: Clock, counters: Counters) -> None:
        self._clock = clock
        self._counters = counters
        self._tasks: dict[asyncio.Task[Answer], Request] = {}

    def __bool__(self) -> bool:
        return bool(self._tasks)

    async def make(
        self,
        exchange: Coroutine[object, object, Answer],
        attempt: Attempt,
        *,
        request: Request,
        care: Care,
        deadline: float | None,
        abandoned: float,
        ended: Callable[[], None],
    ) -> Answer:
        """Make one, and give what it came to.

        A caller that leaves, cancelled or out of time, takes along what has not left yet. The rest
        is read to its end, for a while; what it comes to goes to `care`.

        Args:
            exchange: sends and reads.
            attempt: how far that has come.
            request: what is sent.
            care: who takes over from a caller that has left.
            deadline: monotonic seconds until which the caller waits, or None.
            abandoned: seconds for which the reply is read without the caller.
            ended: called once the attempt is over.
        """
        # Nothing of the caller's is known to it, who may be gone when it ends.
        task = asyncio.get_running_loop().create_task(exchange, context=Context())
        self._tasks[task] = request
        task.add_done_callback(partial(self._over, ended))
        left = None if deadline is None else deadline - self._clock.monotonic()
        try:
            if await done_within(self._clock, task, left):
                cut = task.cancelled()
                return failures.cut_short(sent=attempt.sent) if cut else task.result()
        except asyncio.CancelledError:
            self._leave(task, attempt, request, care, abandoned)
            raise
        self._leave(task, attempt, request, care, abandoned)
        return failures.out_of_time(sent=attempt.sent)

    def _over(self, ended: Callable[[], None], task: asyncio.Task[Answer]) -> None:
        del self._tasks[task]
        ended()

    def _leave(
        self,
        task: asyncio.Task[Answer],
        attempt: Attempt,
        request: Request,
        care: Care,
        abandoned: float,
    ) -> None:
        if not attempt.sent:
            task.cancel()
            return
        care.expecting = True
        self._counters.abandoned += 1
        attempt.abandon(abandoned)
        task.add_done_callback(partial(self._hand_over, request, care), context=Context())

    def _hand_over(self, request: Request, care: Care, task: asyncio.Task[Answer]) -> None:
        self._counters.abandoned -= 1
        if not task.cancelled():
            care.orphaned(task.result())
            return
        _tell_lost(request)

    def lost(self) -> None:
        """Say what was under way when the loop was closed."""
        for request in self._tasks.values():
            _tell_lost(request)

    async def aclose(self) -> None:
        """Wait until all have ended."""
        if self._tasks:
            await asyncio.wait(self._tasks)


def _tell_lost(request: Request) -> None:
    logger.warning(
        "the event loop ended with %s under way: nobody knows whether a run started"
        " (workflow_id=%s, instance_tag=%s)",
        request.operation,
        request.workflow_id,
        request.instance_tag,
        extra=about(**request.ids),
    )
