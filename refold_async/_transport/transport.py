"""From a request to its accepted answer: credential, slot, attempt, and again where right."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Any

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
from refold_async._protocol import Answer, Evidence, Reply, explained, judge
from refold_async._stats import Counters
from refold_async._transport import failures
from refold_async._transport.credentials import Authenticator
from refold_async._transport.relay import Relays
from refold_async._transport.retry import Call, prepare
from refold_async._transport.server_clock import ServerClock
from refold_async._transport.wire import Attempt, Wire

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from refold_async._config import Secret
    from refold_async._protocol import Request
    from refold_async._transport.retry import Care


_ELSEWHERE = (
    "the client belongs to the event loop (and process) of its first call; make one client per"
    " loop, thread and forked child"
)

_SHEDDING = frozenset({429, 503})


@attrs.define(eq=False, repr=False, kw_only=True)
class Transport:
    """Sends requests for one client, from its first call to its closing."""

    wire: Wire
    auth: Authenticator
    policy: RetryPolicy
    budget: Budget
    clock: Clock
    counters: Counters
    _loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False)
    _pid: int = attrs.field(default=0, init=False)
    _closing: asyncio.Future[None] | None = attrs.field(default=None, init=False)
    _attempts: Relays = attrs.field(factory=Relays, init=False)  # under way
    _rests: set[asyncio.Task[Any]] = attrs.field(factory=set, init=False)  # of callers that left
    server_clock: ServerClock = attrs.field(factory=ServerClock, init=False)

    @property
    def closed(self) -> bool:
        """Whether the client is closed."""
        return self.wire.closed

    async def send(
        self,
        request: Request,
        *,
        policy: RetryPolicy | None = None,
        deadline: float | None = None,
        care: Care | None = None,
        priority: Priority = Priority.RESULT,
    ) -> Answer:
        """Send a request, again where its failures allow it, and give the accepted answer.

        Args:
            request: what to send.
            policy: how to retry; the client's own if None.
            deadline: monotonic seconds at which to give up, or None.
            care: who looks after a start whose answer is lost or whose caller leaves.
            priority: who goes first.

        Raises:
            RefoldError: see the table in `docs/explanation/outcomes.md`.
        """
        try:
            return await self._send(request, policy or self.policy, deadline, care, priority)
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
        deadline: float | None,
        care: Care | None,
        priority: Priority,
    ) -> Answer:
        if policy.deadline is not None:
            latest = self.clock.monotonic() + policy.deadline
            deadline = latest if deadline is None else min(deadline, latest)
        answer = await self._try(request, priority, deadline, care)
        if answer.error is None:
            return answer
        call = Call(
            request=request,
            policy=policy,
            attempt=lambda: self._try(request, priority, deadline, care),
            clock=self.clock,
            counters=self.counters,
            deadline=deadline,
            care=care,
            closing=self._closing,
        )
        return await call.persist(answer)

    async def _try(
        self, request: Request, priority: Priority, deadline: float | None, care: Care | None
    ) -> Answer:
        """Make one attempt; a refused token is renewed, and the request sent once more."""
        try:
            secret = self.auth.current or await self._token(None, deadline)
            answer = await self._attempt(request, secret, priority, deadline, care)
            # Evidence first: a Response node may set 401 on a run that happened.
            if answer.status == 401 and answer.evidence is Evidence.REFUSED:  # noqa: PLR2004
                renewed = await self._token(secret, deadline)
                if renewed is not secret:
                    answer = await self._attempt(request, renewed, priority, deadline, care)
        except (ConnectionFailedError, RequestTimeoutError) as error:
            return Answer(evidence=Evidence.NOT_SENT, error=error)
        return answer

    async def _token(self, refused: Secret | None, deadline: float | None) -> Secret:
        """Give a token other than the refused one, unless the call or the client ends first."""
        self.check_usable()
        left = self.wire.timeouts.read
        if deadline is not None:
            left = min(left, deadline - self.clock.monotonic())
        fetching = asyncio.ensure_future(self.auth.renewed(refused))
        awaited: set[asyncio.Future[Any]] = {fetching}
        if self._closing is not None:
            awaited.add(self._closing)
        try:
            await asyncio.wait(awaited, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not fetching.done():
                fetching.cancel()
        if fetching.done():
            return fetching.result()
        self.check_usable()
        raise RequestTimeoutError(
            f"the session_token callable gave no token within {left:.1f} s", sent=False
        )

    async def _attempt(
        self,
        request: Request,
        secret: Secret,
        priority: Priority,
        deadline: float | None,
        care: Care | None,
    ) -> Answer:
        """Make one attempt in a slot of its own; its timeouts start with the slot."""
        self.check_usable()
        phase = self.budget.take(priority) if deadline is None else None
        if phase is None:
            phase = await self.budget.acquire(priority, deadline)
        if phase is None:
            return failures.no_slot()
        if care is not None and care.before is not None:
            try:
                await care.before()
            except BaseException:
                self.budget.release()
                raise
        timeouts = self.wire.timeouts
        ends_at = None
        if deadline is not None:
            ends_at = asyncio.get_running_loop().time() + deadline - self.clock.monotonic()
        attempt = Attempt(self._attempts, timeouts.sync if request.sync else timeouts.read, ends_at)
        self.counters.requests[request.operation.value] += 1
        # A caller that leaves does not take along what has left: the reply is read to its end,
        # within the timeouts, and what it says goes to `care`.
        left = None if care is None else partial(self._go_on_without_caller, request, phase, care)
        try:
            reply = await attempt.run(self.wire.exchange(request, secret, attempt), left=left)
        finally:
            if not attempt.handed_over:
                self.budget.release()
        return self._read(request, phase, reply)

    def _read(self, request: Request, phase: int, reply: Reply | Answer) -> Answer:
        if isinstance(reply, Answer):
            return reply
        self.server_clock.told(reply.headers.get("Date"), reply.received_at)
        answer = judge(request, reply)
        # Evidence first: a Response node may set 503 on a run that happened.
        if answer.error is None:
            self.budget.served(phase)
        elif reply.status in _SHEDDING:
            pause = min(answer.retry_after or 0.0, self.policy.max_retry_after)
            self.budget.refused(phase, pause)
        elif reply.status < 500:  # noqa: PLR2004
            self.budget.served(phase)
        return answer

    def _go_on_without_caller(
        self, request: Request, phase: int, care: Care, rest: Coroutine[Any, Any, Reply | Answer]
    ) -> None:
        care.expecting = True

        async def finish() -> None:
            try:
                reply = await rest
            finally:
                self.budget.release()
            care.orphaned(self._read(request, phase, reply))

        task = asyncio.get_running_loop().create_task(finish())
        self._rests.add(task)
        task.add_done_callback(self._rests.discard)

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

    async def aclose(self) -> None:
        """End what is under way; safe to call again."""
        self.budget.close(ClientClosedError("the client was closed"))
        if self._closing is not None and not self._closing.done():
            self._closing.set_result(None)
        self._attempts.abort()
        await asyncio.gather(*self._rests, return_exceptions=True)
        self._attempts.stop_timer()
