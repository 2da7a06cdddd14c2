"""Start once: however many callers ask for a key, there is one start; here, and elsewhere."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Hashable
from contextvars import Context
from typing import TYPE_CHECKING, Any

import attrs

from refold_async._clock import SystemClock, done_within, waiting
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
from refold_async._shared.memory import Doubt, Known, Memory, memory_here
from refold_async._telemetry import callers_trace
from refold_async._transport import outcome_unknown

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from refold_async._clock import Clock
    from refold_async._config import RetryPolicy, Shared
    from refold_async._shared.asked import Asked
    from refold_async._starting import Starter

logger = Log("shared")

_LONGEST_START = 600.0
"""Seconds before a start came to nobody knows what, in which it may have begun."""
_LAST_WORDS = 1.0
"""Seconds that Redis may still be told things when the client is closed."""


@attrs.define(eq=False)
class _Start:
    """A key that is being brought to its run, for all callers of a client that ask for it."""

    key: Hashable
    busy: asyncio.Future[None]
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
        self._under_way: dict[Hashable, _Start] = {}
        self._leaving: set[_Start] = set()  # what goes on without its callers
        self._turns: set[asyncio.Future[None]] = set()  # who waits for a key that others have
        self._tasks: set[asyncio.Future[object]] = set()
        self._asked_about_memory = False

    @functools.cached_property
    def memory(self) -> Memory:
        """What is known of keys here; all clients of the loop know it."""
        return memory_here()

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
        key = self._key(asked, starter)
        start = None
        while start is None:
            known = self._recalled(key, asked)
            if known is not None:
                return attached(starter, asked, known)
            start, is_first = self._under_way.get(key), False
            if start is not None and start.bringing.asked.options.shared == asked.options.shared:
                asked.check(start.bringing.asked.fingerprint)
            elif (busy := self.memory.busy(key)) is not None:
                start = None
                await self._turn(busy, asked, deadline)
                starter.services.api.transport.check_usable()
            else:
                start, is_first = self._begun(key, asked, starter, policy), True
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

    def _key(self, asked: Asked, starter: Starter) -> Hashable:
        """Name a key among those of all clients of this loop."""
        # A clock of its own (in tests) tells another time.
        clock = None if isinstance(self._clock, SystemClock) else id(self._clock)
        return starter.services.api.transport.auth.identity, clock, asked.tag

    def _begun(
        self, key: Hashable, asked: Asked, starter: Starter, policy: RetryPolicy | None
    ) -> _Start:
        bringing = Bringing(
            asked,
            starter,
            self._keys if asked.options.shared else None,
            self._generations,
            policy or starter.services.api.policy,
            later=self._later,
            told=lambda handle: self._told(start, handle),
            doubt=self.memory.doubt(key),
        )
        if bringing.keys is not None and not self._asked_about_memory:
            self._asked_about_memory = True
            self._later(self._check_memory(bringing.keys))
        task = asyncio.get_running_loop().create_task(bringing.bring(), context=callers_trace())
        start = self._under_way[key] = _Start(key, self.memory.begin(key), bringing, task)
        task.add_done_callback(lambda _: self._ended(start))
        return start

    def _ended(self, start: _Start) -> None:
        """Take note of what a start came to, and let the next one have the key."""
        task, goes_on = start.task, start.bringing.left_here
        if self._under_way.get(start.key) is start:
            del self._under_way[start.key]
        if not task.cancelled() and task.exception() is None:
            self._remember(start, task.result())
        elif goes_on and start in self._leaving and task.cancelled():
            return  # we are told
        elif goes_on or (
            not task.cancelled() and isinstance(task.exception(), ExecutionOutcomeUnknownError)
        ):
            self._doubt(start)
        self._over(start)

    def _over(self, start: _Start) -> None:
        self._leaving.discard(start)
        self.memory.end(start.key, start.busy)

    def _remember(self, start: _Start, handle: ExecutionHandle[Any]) -> None:
        if handle.execution_id is not None:
            bringing = start.bringing
            at = self._clock.monotonic() - bringing.age
            known = Known(handle.execution_id, bringing.asked.fingerprint, at)
            self.memory.remember(start.key, known)

    def _doubt(self, start: _Start) -> None:
        """Remember that a run may have begun: since the first such moment, until the last."""
        now = self._clock.monotonic()
        doubt = self.memory.doubt(start.key) or Doubt(now - _LONGEST_START, now)
        if start.bringing.left_here:
            doubt = doubt._replace(over_at=now + start.bringing.hold)
        self.memory.suspect(start.key, doubt)

    def _recalled(self, key: Hashable, asked: Asked) -> str | None:
        known = self.memory.known(key)
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
        if not start.task.done():
            self._leaving.add(start)
            del self._under_way[start.key]
            start.task.cancel()
        elif not (start.taken or start.task.cancelled() or start.task.exception()):
            starter.orphan(start.task.result(), "execute left as it started")

    def _told(self, start: _Start, handle: ExecutionHandle[Any] | None) -> None:
        """Take note of what became of a start whose callers had left."""
        if handle is not None:
            self._remember(start, handle)
        elif start.bringing.left_here:
            self._doubt(start)
        self._over(start)

    async def _turn(self, busy: asyncio.Future[None], asked: Asked, deadline: float | None) -> None:
        """Wait until it is known what became of a start that isn't ours to join.

        Its callers have left, or another client makes it, or it has another scope.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake(_: object) -> None:
            if not turn.done():
                turn.set_result(None)

        busy.add_done_callback(wake)
        self._turns.add(turn)
        left = None if deadline is None else deadline - self._clock.monotonic()
        try:
            await done_within(self._clock, turn, left)
        finally:
            self._turns.discard(turn)
            busy.remove_done_callback(wake)
        if not busy.done():
            why = "an earlier start under this key is still under way"
            cause = RequestTimeoutError(why) if not turn.done() else ClientClosedError(why)
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
        for turn in self._turns:
            if not turn.done():
                turn.set_result(None)
        starting = [start.task for start in self._under_way.values()]
        for task in starting:
            task.cancel()
        await asyncio.gather(*starting, return_exceptions=True)
        for start in [*self._leaving]:
            self._told(start, None)
        if self._tasks:
            last = asyncio.gather(*self._tasks, return_exceptions=True)
            with waiting(self._clock, "what Redis is still told"):
                await done_within(self._clock, last, _LAST_WORDS)
            for left in [*self._tasks]:
                left.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._keys is not None:
            await self._keys.aclose()
