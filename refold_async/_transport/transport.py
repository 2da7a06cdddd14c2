"""From a request to its accepted answer: credential, slot, attempt, and again where right."""

from __future__ import annotations

import asyncio
import logging
import os
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING

import attrs

from refold_async._clock import Clock, done_within
from refold_async._config import RetryPolicy
from refold_async._errors import (
    ClientClosedError,
    ConnectionFailedError,
    RefoldError,
    RequestTimeoutError,
)
from refold_async._pacing import Budget, Priority
from refold_async._protocol import Answer, Evidence, explained, judge
from refold_async._stats import Counters
from refold_async._transport import failures
from refold_async._transport.credentials import Authenticator
from refold_async._transport.retry import Call, prepare
from refold_async._transport.server_clock import ServerClock
from refold_async._transport.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from refold_async._config import Secret, Timeouts
    from refold_async._protocol import Request
    from refold_async._transport.attempt import Attempt
    from refold_async._transport.retry import Care

logger = logging.getLogger("refold_async")

_ELSEWHERE = (
    "the client belongs to the event loop (and process) of its first call; make one client per"
    " loop, thread and forked child"
)

_SHEDDING = frozenset({429, 503})
_NOBODY_KNOWS = "nobody knows whether a run started"


@attrs.define(eq=False, repr=False, kw_only=True)
class Transport:
    """Sends requests for one client, from its first call to its closing."""

    wire: Wire
    auth: Authenticator
    policy: RetryPolicy
    budget: Budget
    clock: Clock
    counters: Counters
    server_clock: ServerClock = attrs.field(factory=ServerClock, init=False)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False)
    _pid: int = attrs.field(default=0, init=False)
    _closing: asyncio.Future[None] | None = attrs.field(default=None, init=False)
    _starts: set[asyncio.Task[Answer]] = attrs.field(factory=set, init=False)  # attempts at them
    _calls: int = attrs.field(default=0, init=False)  # under way
    _idle: asyncio.Future[None] | None = attrs.field(default=None, init=False)  # see `drain`

    @property
    def closed(self) -> bool:
        """Whether the client is closed."""
        return self.wire.closed

    async def send(
        self,
        request: Request,
        *,
        policy: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        deadline: float | None = None,
        care: Care | None = None,
        priority: Priority = Priority.RESULT,
    ) -> Answer:
        """Send a request, again where its failures allow it, and give the accepted answer.

        Args:
            request: what to send.
            policy: how to retry; the client's own if None.
            timeouts: of each attempt; the client's own if None.
            deadline: monotonic seconds at which to give up, or None.
            care: who looks after a start whose answer is lost or whose caller leaves.
            priority: who goes first.

        Raises:
            RefoldError: see the table in `docs/explanation/outcomes.md`.
        """
        try:
            attempt = partial(
                self._try, request, priority, timeouts or self.wire.timeouts, deadline, care
            )
            return await self._send(request, policy or self.policy, attempt, deadline, care)
        except RefoldError as error:
            failure = self.explained(error, request)
        raise failure  # out here: as its context the old one would bring all its frames along

    def explained(self, error: RefoldError, request: Request) -> RefoldError:
        """Give a copy of an error that says whose call it ended, and what to do about it."""
        return explained(error, request, credential=self.auth.origin)

    async def _send(
        self,
        request: Request,
        policy: RetryPolicy,
        attempt: Callable[[], Awaitable[Answer]],
        deadline: float | None,
        care: Care | None,
    ) -> Answer:
        if self._idle is not None and care is not None:
            raise ClientClosedError("the client is being closed, and starts nothing more")
        self._calls += 1
        try:
            answer = await attempt()
            if answer.error is None:
                return answer
            call = Call(
                request=request,
                policy=policy,
                attempt=attempt,
                clock=self.clock,
                counters=self.counters,
                deadline=deadline,
                care=care,
                closing=self._closing,
            )
            return await call.persist(answer)
        finally:
            self._calls -= 1
            self._check_idle()

    async def _try(
        self,
        request: Request,
        priority: Priority,
        timeouts: Timeouts,
        deadline: float | None,
        care: Care | None,
    ) -> Answer:
        """Make one attempt; a refused token is renewed, and the request sent once more."""
        self.check_usable()
        try:
            secret = self.auth.current or await self.auth.renewed(None, deadline)
            answer = await self._attempt(request, secret, priority, timeouts, deadline, care)
            # Evidence first: a Response node may set 401 on a run that happened.
            if answer.status == 401 and answer.evidence is Evidence.REFUSED:  # noqa: PLR2004
                renewed = await self.auth.renewed(secret, deadline)
                if renewed is not secret:
                    answer = await self._attempt(
                        request, renewed, priority, timeouts, deadline, care
                    )
        except (ConnectionFailedError, RequestTimeoutError) as error:
            return Answer(evidence=Evidence.NOT_SENT, error=error)
        return answer

    async def _attempt(
        self,
        request: Request,
        secret: Secret,
        priority: Priority,
        timeouts: Timeouts,
        deadline: float | None,
        care: Care | None,
    ) -> Answer:
        """Make one attempt in a slot of its own; its timeouts start with the slot."""
        phase = self.budget.take(priority) if deadline is None else None
        if phase is None:
            phase = await self.budget.acquire(priority, deadline)
        if phase is None:
            return failures.no_slot()
        if care is not None:
            return await self._start(request, secret, phase, timeouts, deadline, care)
        try:
            return await self._exchange(
                request, secret, phase, self.wire.attempt(request, timeouts, deadline)
            )
        finally:
            self.budget.release()

    async def _start(
        self,
        request: Request,
        secret: Secret,
        phase: int,
        timeouts: Timeouts,
        deadline: float | None,
        care: Care,
    ) -> Answer:
        """Make an attempt that its caller may leave: it is a task of the client's own."""
        if care.before is not None:
            try:
                await care.before()
            except BaseException:
                self.budget.release()
                raise
        attempt = self.wire.attempt(request, timeouts)
        task = asyncio.get_running_loop().create_task(
            self._exchange(request, secret, phase, attempt),
            context=Context(),  # nothing of the caller's, who may be gone when it ends
        )
        self._starts.add(task)
        task.add_done_callback(self._ended)
        left = None if deadline is None else deadline - self.clock.monotonic()
        try:
            ended = await done_within(self.clock, task, left)
        except asyncio.CancelledError:
            self._leave(task, attempt, request, timeouts, care)
            raise
        if not ended:
            self._leave(task, attempt, request, timeouts, care)
            return failures.out_of_time(sent=attempt.sent)
        return failures.cut_short(sent=attempt.sent) if task.cancelled() else task.result()

    def _ended(self, task: asyncio.Task[Answer]) -> None:
        self._starts.discard(task)
        self.budget.release()
        self._check_idle()

    def _leave(
        self,
        task: asyncio.Task[Answer],
        attempt: Attempt,
        request: Request,
        timeouts: Timeouts,
        care: Care,
    ) -> None:
        """Call an attempt off whose caller is gone; what has left is read to its end for a while.

        What its reply says goes to `care`.
        """
        if not attempt.sent:
            task.cancel()
            return
        care.expecting = True
        self.counters.abandoned += 1
        attempt.abandon(timeouts.abandoned)
        task.add_done_callback(partial(self._hand_over, request, care), context=Context())

    def _hand_over(self, request: Request, care: Care, task: asyncio.Task[Answer]) -> None:
        self.counters.abandoned -= 1
        if not task.cancelled():
            care.orphaned(task.result())
            return
        logger.warning(
            "the event loop ended with %s under way: %s (workflow_id=%s, instance_tag=%s)",
            request.operation,
            _NOBODY_KNOWS,
            request.workflow_id,
            request.instance_tag,
        )

    async def _exchange(
        self, request: Request, secret: Secret, phase: int, attempt: Attempt
    ) -> Answer:
        """Send, read, and tell the clock and the budget what the reply says."""
        self.counters.requests[request.operation.value] += 1
        reply = await self.wire.exchange(request, secret, attempt)
        if isinstance(reply, Answer):
            return reply
        self.server_clock.told(reply.headers.get("Date"), reply.received_at)
        answer = judge(request, reply)
        # Evidence first: a Response node may set 503 on a run that happened.
        if answer.error is None:
            self.budget.served(phase)
            return answer
        answer = judge(request, self.wire.hidden(reply, secret))
        if reply.status in _SHEDDING:
            self.budget.refused(phase, min(answer.retry_after or 0.0, self.policy.patience))
        elif reply.status < 500:  # noqa: PLR2004
            self.budget.served(phase)
        return answer

    async def is_closed_within(self, seconds: float) -> bool:
        """Sleep, but not past the closing of the client."""
        assert self._closing is not None  # noqa: S101 - made with the first call
        return await done_within(self.clock, self._closing, seconds)

    def check_usable(self) -> None:
        """Open the session with the first call; refuse calls it can't serve.

        Raises:
            ClientClosedError: closed, or on another event loop, in another thread or forked child.
        """
        if self.wire.closed:
            raise ClientClosedError("the client is closed; make a new one")
        loop, pid = asyncio.get_running_loop(), os.getpid()
        if loop is self._loop and pid == self._pid:
            return
        if self._loop is not None:
            raise ClientClosedError(_ELSEWHERE)
        self._loop, self._pid, self._closing = loop, pid, loop.create_future()
        prepare()
        self.wire.open()
        self.budget.join((loop, self.wire.base_url, self.auth.identity))

    def loop_has_ended(self) -> bool:
        """Tell whether the client's loop is closed, and with it whatever was under way.

        Raises:
            ClientClosedError: the client lives on another loop, or in the process this one was
                forked from: its sockets are not ours to close.
        """
        if self._loop is None:
            return False
        if self._pid == os.getpid():
            if self._loop.is_closed():
                return True
            if self._loop is asyncio.get_running_loop():
                return False
        raise ClientClosedError(_ELSEWHERE)

    # -- closing -----------------------------------------------------------------------------

    async def drain(self, seconds: float) -> None:
        """Start nothing more, and let what is under way end for so long."""
        self._idle = self._idle or asyncio.get_running_loop().create_future()
        self._check_idle()
        await done_within(self.clock, self._idle, seconds)

    def _check_idle(self) -> None:
        if self._idle is not None and not (self._calls or self._starts or self._idle.done()):
            self._idle.set_result(None)

    def shut(self) -> None:
        """End at once what queues, pauses, connects, waits for a token or is under way."""
        if self._loop is not None and self._loop.is_closed():
            self.wire.closed = True
            for _ in self._starts:
                logger.warning("the event loop ended with a start under way: %s", _NOBODY_KNOWS)
            return
        self.wire.shut()
        self.auth.close()
        self.budget.close(ClientClosedError("the client was closed"))
        if self._closing is not None and not self._closing.done():
            self._closing.set_result(None)

    async def aclose(self) -> None:
        """Wait until all attempts at starts have ended; safe to call again."""
        if self._starts:
            await asyncio.wait(self._starts)
