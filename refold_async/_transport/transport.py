"""From a request to its accepted answer: credential, slot, attempt, and again where right."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import attrs

from refold_async import _telemetry as seam
from refold_async._clock import Clock, done_within, outside, waiting
from refold_async._config import RetryPolicy
from refold_async._errors import (
    ClientClosedError,
    ConnectionFailedError,
    RefoldError,
    RequestTimeoutError,
)
from refold_async._logs import Log
from refold_async._pacing import Budget, Priority
from refold_async._protocol import Answer, Evidence, explained, judge
from refold_async._stats import Counters
from refold_async._transport import failures
from refold_async._transport.credentials import Authenticator
from refold_async._transport.retry import Call, prepare
from refold_async._transport.server_clock import ServerClock
from refold_async._transport.starts import Starts
from refold_async._transport.wire import Wire

if TYPE_CHECKING:
    from refold_async._config import Secret, Timeouts
    from refold_async._protocol import Request
    from refold_async._transport.attempt import Attempt
    from refold_async._transport.observed import Exchange
    from refold_async._transport.retry import Care

logger = Log("transport")

_ELSEWHERE = (
    "the client belongs to the event loop (and process) of its first call; make one client per"
    " loop, thread and forked child"
)

_SHEDDING = frozenset({429, 503})


class Sending(NamedTuple):
    """One call: what is sent, and how; see `Transport.send`."""

    request: Request
    policy: RetryPolicy
    timeouts: Timeouts
    deadline: float | None
    care: Care | None
    priority: Priority
    observed: bool


@attrs.define(eq=False, repr=False, kw_only=True)
class Transport:
    """Sends requests for one client, from its first call to its closing."""

    wire: Wire
    auth: Authenticator
    policy: RetryPolicy
    budget: Budget
    clock: Clock
    counters: Counters
    opened: Callable[[], None] | None = attrs.field(default=None, init=False)  # by the first call
    server_clock: ServerClock = attrs.field(factory=ServerClock, init=False)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False)
    _pid: int = attrs.field(default=0, init=False)
    _closing: asyncio.Future[None] | None = attrs.field(default=None, init=False)
    _starts: Starts = attrs.field(init=False)
    _calls: int = attrs.field(default=0, init=False)  # under way
    _idle: asyncio.Future[None] | None = attrs.field(default=None, init=False)  # see `drain`

    def __attrs_post_init__(self) -> None:
        self._starts = Starts(self.clock, self.counters)

    @property
    def closed(self) -> bool:
        """Whether the client is closed."""
        return self.wire.closed

    async def send(
        self,
        request: Request,
        *,
        policy: RetryPolicy,
        timeouts: Timeouts,
        deadline: float | None = None,
        care: Care | None = None,
        priority: Priority = Priority.RESULT,
    ) -> Answer:
        """Send a request, again where its failures allow it, and give the accepted answer.

        Args:
            request: what to send.
            policy: how to retry.
            timeouts: of each attempt.
            deadline: monotonic seconds at which to give up, or None.
            care: who looks after a start whose answer is lost or whose caller leaves.
            priority: who goes first.

        Raises:
            RefoldError: see the table in `docs/explanation/outcomes.md`.
        """
        observed = seam.telemetry is not None or logger.is_enabled_for(logging.DEBUG)
        sending = Sending(request, policy, timeouts, deadline, care, priority, observed)
        try:
            return await (self._send_seen(sending) if observed else self._send(sending))
        except RefoldError as error:
            failure = self.explained(error, request)
        raise failure  # out here: as its context the old one would bring all its frames along

    def explained(self, error: RefoldError, request: Request) -> RefoldError:
        """Give a copy of an error that says whose call it ended, and what to do about it."""
        return explained(error, request, credential=self.auth.origin)

    async def _send_seen(self, sending: Sending) -> Answer:
        from refold_async._transport.observed import (  # noqa: PLC0415 - only who looks needs it
            call_of,
            tell_started,
        )

        request, care = sending.request, sending.care
        with call_of(request, self.clock) as scope:
            if care is not None and scope is not None:
                care.traceparent = scope.traceparent
            answer = await self._send(sending)
            if care is not None:
                tell_started(request, answer, scope)
            return answer

    async def _send(self, sending: Sending) -> Answer:
        if self._idle is not None and sending.care is not None:
            raise ClientClosedError("the client is being closed, and starts nothing more")
        self._calls += 1
        try:
            with waiting(self.clock, sending.request.operation):
                return await self._persist(sending)
        finally:
            self._calls -= 1
            self._check_idle()

    async def _persist(self, sending: Sending) -> Answer:
        asked_at = self.clock.monotonic()
        answer = await self._try(sending)
        if answer.error is None:
            return answer
        resends = count(1)
        call = Call(
            request=sending.request,
            policy=sending.policy,
            attempt=lambda patience: self._try(sending, next(resends), patience),
            clock=self.clock,
            counters=self.counters,
            deadline=sending.deadline,
            care=sending.care,
            closing=self._closing,
            asked_at=asked_at,
            shut_since=self.budget.shut_since,
        )
        return await call.persist(answer)

    async def _try(
        self, sending: Sending, resends: int = 0, patience: float | None = None
    ) -> Answer:
        """Make one attempt; a refused token is renewed, and the request sent once more.

        Args:
            sending: the call.
            resends: how many attempts of it there were before.
            patience: seconds that are left of it, if it was refused before.
        """
        if patience is None:
            patience = sending.policy.patience
        self.check_usable()
        auth, deadline = self.auth, sending.deadline
        try:
            secret = auth.current or await auth.renewed(None, deadline)
            answer = await self._attempt(sending, secret, resends, patience)
            # Evidence first: a Response node may set 401 on a run that happened.
            if answer.status == 401 and answer.evidence is Evidence.REFUSED:  # noqa: PLR2004
                renewed = await auth.renewed(secret, deadline)
                if renewed is not secret:
                    answer = await self._attempt(sending, renewed, resends + 1, patience)
        except (ConnectionFailedError, RequestTimeoutError) as error:
            return Answer(evidence=Evidence.NOT_SENT, error=error)
        return answer

    async def _attempt(
        self, sending: Sending, secret: Secret, resends: int, patience: float
    ) -> Answer:
        """Make one attempt in a slot of its own; its timeouts start with the slot."""
        request, deadline, care = sending.request, sending.deadline, sending.care
        priority, account = sending.priority, request.account
        phase = self.budget.take(priority, account) if deadline is None else None
        if phase is None:
            phase = await self.budget.acquire(
                priority, deadline, account=account, patience=patience, again=resends > 0
            )
        if phase is None:
            return failures.no_slot()
        exchange: Exchange = self._exchange
        if sending.observed:
            from refold_async._transport.observed import observed  # noqa: PLC0415 - the same

            exchange = observed(exchange, request, self.clock, self.wire.base_url, resends)
        if care is None:
            attempt = self.wire.attempt(request, sending.timeouts, deadline)
            try:
                return await exchange(request, secret, phase, attempt)
            finally:
                self.budget.release(account)
        if care.before is not None:
            try:
                await care.before()
            except BaseException:
                self.budget.release(account)
                raise
        attempt = self.wire.attempt(request, sending.timeouts)
        attempt.leaves_by = care.leaves_by
        return await self._starts.make(
            exchange(request, secret, phase, attempt),
            attempt,
            request=request,
            care=care,
            deadline=deadline,
            abandoned=sending.timeouts.abandoned,
            ended=partial(self._start_ended, account),
        )

    def _start_ended(self, account: str | None) -> None:
        self.budget.release(account)
        self._check_idle()

    async def _exchange(
        self, request: Request, secret: Secret, phase: int, attempt: Attempt
    ) -> Answer:
        """Send, read, and tell the clock and the budget what the reply says."""
        self.counters.requests[request.operation.value] += 1
        with outside(self.clock):
            reply = await self.wire.exchange(request, secret, attempt)
        if isinstance(reply, Answer):
            return reply
        self.server_clock.told(reply.headers.get("Date"), reply.received_at)
        answer = judge(request, reply)
        # Evidence first: a Response node may set 503 on a run that happened.
        if answer.error is None:
            self.budget.served(phase)
            return answer
        # Only words are hidden: a short secret would hide what is read of the reply as well.
        words = judge(request, self.wire.hidden(reply, secret))
        answer = answer._replace(document=words.document, error=words.error)
        if reply.status in _SHEDDING:
            self.budget.refused(phase, answer.retry_after or 0.0, reply.status)
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
        if self.opened is not None:
            self.opened()

    def lives_elsewhere(self) -> bool:
        """Tell whether whoever asks is on another event loop, in another thread or process."""
        if self._loop is None:
            return False
        try:
            return self._loop is not asyncio.get_running_loop() or self._pid != os.getpid()
        except RuntimeError:  # no loop runs here
            return True

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
        with waiting(self.clock, "what is under way, before the client is closed"):
            await done_within(self.clock, self._idle, seconds)

    def _check_idle(self) -> None:
        if self._idle is not None and not (self._calls or self._starts or self._idle.done()):
            self._idle.set_result(None)

    def shut(self) -> None:
        """End at once what queues, pauses, connects, waits for a token or is under way."""
        if self._loop is not None and self._loop.is_closed():
            self.wire.closed = True
            self._starts.lost()
            return
        self.wire.shut()
        self.auth.close()
        self.budget.close(ClientClosedError("the client was closed"))
        if self._closing is not None and not self._closing.done():
            self._closing.set_result(None)

    async def aclose(self) -> None:
        """Wait until all attempts at starts have ended; safe to call again."""
        await self._starts.aclose()
