"""Start once: however many callers ask for a key, there is one start; here, and elsewhere."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextvars import Context
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from refold_async._clock import done_within, waiting
from refold_async._errors import (
    ClientClosedError,
    ExecutionOutcomeUnknownError,
    RefoldError,
    RequestTimeoutError,
    clip,
)
from refold_async._handle import ExecutionHandle
from refold_async._logs import Log
from refold_async._shared.bringing import Bringing, Generations, attached
from refold_async._shared.keys import Keys
from refold_async._shared.link import Link
from refold_async._telemetry import callers_trace
from refold_async._transport import outcome_unknown

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from refold_async._clock import Clock
    from refold_async._config import RetryPolicy, Shared
    from refold_async._shared.asked import Asked
    from refold_async._starting import Starter

logger = Log("shared")

_REMEMBERED = 10_000
"""Keys whose runs this process remembers itself: so many outlive a Redis that forgot."""
_LONGEST_START = 600.0
"""Seconds before a start came to nobody knows what, in which it may have begun."""
_LAST_WORDS = 1.0
"""Seconds that Redis may still be told things when the client is closed."""


class _Known(NamedTuple):
    execution_id: str
    fingerprint: str
    at: float  # monotonic seconds


@attrs.define(eq=False)
class _Start:
    """A key that is being brought to its run, for all callers of this process that ask for it."""

    bringing: Bringing
    task: asyncio.Task[ExecutionHandle[Any]]
    callers: int = 0
    taken: bool = False  # somebody has the handle


class Once:
    """The keys of one client and its views.

    Args:
        shared: the Redis that keeps them; None for this process alone.
        name: under which they are kept there.
        clock: what tells the time.
    """

    def __init__(self, shared: Shared | None, name: str, clock: Clock) -> None:
        self._clock = clock
        self._keys: Keys | None = None
        if shared is not None:
            self._keys = Keys(Link(shared.url, clock, "nothing is started by `once`"), name, clock)
        self._generations = Generations()
        self._under_way: dict[tuple[str, bool], _Start] = {}
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._doubtful: OrderedDict[str, float] = OrderedDict()  # since when nobody knows
        self._leaving: dict[str, asyncio.Future[None]] = {}  # what goes on without its callers
        self._tasks: set[asyncio.Future[object]] = set()
        self._asked_about_memory = False

    async def start(
        self, asked: Asked, starter: Starter, policy: RetryPolicy | None, limit: float | None
    ) -> ExecutionHandle[Any]:
        """Start what is asked for, or attach to what was started under its key.

        Args:
            asked: the start and its key.
            starter: what starts it.
            policy: the retry policy of this call.
            limit: seconds for which this caller waits.
        """
        starter.services.api.transport.check_usable()
        deadline = starter.deadline(limit)
        with waiting(self._clock, "a start under a key"):
            return await self._start(asked, starter, policy, deadline)

    async def _start(
        self, asked: Asked, starter: Starter, policy: RetryPolicy | None, deadline: float | None
    ) -> ExecutionHandle[Any]:
        await self._without_callers(asked, deadline)
        known = self._recalled(asked)
        if known is not None:
            return attached(starter, asked, known)
        start, is_first = self._joined(asked, starter, policy)
        start.callers += 1
        left = None if deadline is None else deadline - self._clock.monotonic()
        try:
            await done_within(self._clock, start.task, left)
            if start.task.done():  # in the very moment at which time was up, too
                return self._handed_out(start, starter, is_first=is_first)
        finally:
            start.callers -= 1
            if not start.callers:
                self._left(start, starter)
        raise await self._out_of_time(start, starter)

    def _joined(
        self, asked: Asked, starter: Starter, policy: RetryPolicy | None
    ) -> tuple[_Start, bool]:
        key = asked.tag, asked.options.shared
        start = self._under_way.get(key)
        if start is not None:
            asked.check(start.bringing.asked.fingerprint)
            return start, False
        doubted = self._doubtful.get(asked.tag)
        bringing = Bringing(
            asked,
            starter,
            self._keys if asked.options.shared else None,
            self._generations,
            policy or starter.services.api.policy,
            later=self._later,
            told=lambda handle: self._told(asked, handle),
            doubt=None if doubted is None else self._clock.monotonic() - doubted,
        )
        if bringing.keys is not None and not self._asked_about_memory:
            self._asked_about_memory = True
            self._later(self._check_memory(bringing.keys))
        task = asyncio.get_running_loop().create_task(bringing.bring(), context=callers_trace())
        start = self._under_way[key] = _Start(bringing, task)
        task.add_done_callback(lambda task: self._ended(key, asked, task))
        return start, True

    def _ended(
        self, key: tuple[str, bool], asked: Asked, task: asyncio.Task[ExecutionHandle[Any]]
    ) -> None:
        start = self._under_way.get(key)
        if start is not None and start.task is task:
            del self._under_way[key]
        if task.cancelled():
            return
        if isinstance(task.exception(), ExecutionOutcomeUnknownError):
            self._doubt(asked)
        elif task.exception() is None:
            self._remember(asked, task.result())

    def _remember(self, asked: Asked, handle: ExecutionHandle[Any]) -> None:
        if handle.execution_id is not None:
            now = self._clock.monotonic()
            self._known[asked.tag] = _Known(handle.execution_id, asked.fingerprint, now)
            self._doubtful.pop(asked.tag, None)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)

    def _doubt(self, asked: Asked) -> None:
        """Remember that a run may have been started; the first such moment counts."""
        self._doubtful.setdefault(asked.tag, self._clock.monotonic() - _LONGEST_START)
        if len(self._doubtful) > _REMEMBERED:
            self._doubtful.popitem(last=False)

    def _recalled(self, asked: Asked) -> str | None:
        known = self._known.get(asked.tag)
        if known is None or self._clock.monotonic() - known.at >= asked.options.within:
            return None
        asked.check(known.fingerprint)
        return known.execution_id

    def _handed_out(
        self, start: _Start, starter: Starter, *, is_first: bool
    ) -> ExecutionHandle[Any]:
        if start.task.cancelled():
            closed = ClientClosedError("the client was closed before anything was sent")
            if not start.bringing.has_left:
                raise closed
            raise outcome_unknown(start.bringing.asked.request, 1, closed, None)
        error = start.task.exception()
        if error is not None:
            raise error.fresh() if isinstance(error, RefoldError) else error
        start.taken = True
        handle = start.task.result()
        if is_first or handle.execution_id is None:
            return handle
        return attached(starter, start.bringing.asked, handle.execution_id)

    # -- callers that leave ------------------------------------------------------------------

    def _left(self, start: _Start, starter: Starter) -> None:
        """The last caller has gone: what has not left yet does not leave any more."""
        asked = start.bringing.asked
        if not start.task.done():
            self._under_way.pop((asked.tag, asked.options.shared), None)
            self._leaving[asked.tag] = asyncio.get_running_loop().create_future()
            start.task.cancel()
            start.task.add_done_callback(lambda _: self._gone_unless_left(start.bringing))
        elif not (start.taken or start.task.cancelled() or start.task.exception()):
            starter.orphan(start.task.result(), "execute left as it started")

    def _told(self, asked: Asked, handle: ExecutionHandle[Any] | None) -> None:
        """Take note of what became of a start whose callers had left."""
        if handle is None:
            self._doubt(asked)
        else:
            self._remember(asked, handle)
        self._gone(asked)

    def _gone_unless_left(self, bringing: Bringing) -> None:
        if not bringing.left_here:
            self._gone(bringing.asked)

    def _gone(self, asked: Asked) -> None:
        leaving = self._leaving.pop(asked.tag, None)
        if leaving is not None and not leaving.done():
            leaving.set_result(None)

    async def _without_callers(self, asked: Asked, deadline: float | None) -> None:
        """Wait until it is known what became of a start whose callers have left."""
        while (leaving := self._leaving.get(asked.tag)) is not None:
            left = None if deadline is None else deadline - self._clock.monotonic()
            if not await done_within(self._clock, leaving, left):
                cause = RequestTimeoutError("an earlier start under this key is still under way")
                raise outcome_unknown(asked.request, 1, cause, None)

    async def _out_of_time(self, start: _Start, starter: Starter) -> RefoldError:
        """Say what is known of a start for which a caller waits no longer."""
        others = start.callers > 0
        if not others:
            await asyncio.wait([start.task])
        request = start.bringing.asked.request
        explained = starter.services.api.transport.explained
        if not others and not start.bringing.has_left:
            return explained(
                RequestTimeoutError("the call's timeout passed; nothing was sent", sent=False),
                request,
            )
        why = "others go on" if others else "a request had left"
        cause = RequestTimeoutError(f"the call's timeout passed, and {why}")
        return outcome_unknown(request, 1, cause, None)

    # -- behind the scenes -------------------------------------------------------------------

    def _later(self, work: Coroutine[Any, Any, object]) -> None:
        """Do something for which nobody waits, and that may fail."""
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Future[object]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.info("a key of `once` could not be tidied up: %s", clip(error, 200))

    async def _check_memory(self, keys: Keys) -> None:
        policy = await keys.eviction()
        if policy not in {"noeviction", ""}:
            logger.warning(
                "Redis throws keys away when its memory is full (maxmemory-policy %s): a key of"
                " `once` that is thrown away starts a second run. Set noeviction",
                policy,
            )

    async def aclose(self) -> None:
        """Start nothing more, and let Redis be told what it still should know."""
        for start in [*self._leaving.values()]:
            start.cancel()
        starting = [start.task for start in self._under_way.values()]
        for task in starting:
            task.cancel()
        await asyncio.gather(*starting, return_exceptions=True)
        if self._tasks:
            last = asyncio.gather(*self._tasks, return_exceptions=True)
            with waiting(self._clock, "what Redis is still told"):
                await done_within(self._clock, last, _LAST_WORDS)
            for left in [*self._tasks]:
                left.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._keys is not None:
            await self._keys.aclose()
