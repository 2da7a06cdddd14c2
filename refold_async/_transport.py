"""The one door to the network: a session, one attempt, and what its failures mean.

Nothing of aiohttp gets past this module: a reply becomes a `Reply`, a failure an `Answer` with a
`RefoldError` that holds no secret.
"""

from __future__ import annotations

import asyncio
import os
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs

from refold_async import _failures as failures
from refold_async._clock import Clock
from refold_async._config import RetryPolicy, Timeouts
from refold_async._credentials import Authenticator
from refold_async._errors import (
    ClientClosedError,
    ConnectionFailedError,
    RequestTimeoutError,
    UnexpectedReplyError,
)
from refold_async._pacing import Budget
from refold_async._protocol import Answer, Evidence, Reply, judge, read_http_date
from refold_async._relay import Relay
from refold_async._retry import Call
from refold_async._stats import Counters
from refold_async._version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from refold_async._config import Secret
    from refold_async._protocol import Request
    from refold_async._retry import Care

_COMMON_HEADERS = {"Accept": "application/json", "User-Agent": f"refold-async/{__version__}"}
_KEEPALIVE = 4.0
"""Below any server's own: a POST on a connection that is just being closed is a lost answer."""
_UPLOAD_CHUNK = 64 * 1024
_NO_OPTIONS: dict[str, Any] = {}


class Attempt:
    """How far one attempt has come; doubles as aiohttp's trace context.

    Without our trace hooks (a caller's own session) nothing is known: it counts as sent.
    """

    __slots__ = ("_allowed", "_deadline", "begun", "relay", "sent", "traced")

    def __init__(self, allowed: float, deadline: float | None) -> None:
        self.begun = False  # aiohttp has it
        self.traced = False  # our connector is watching
        self.sent = False  # a connection was there to write to
        self.relay: Relay[Answer] = Relay()
        self.relay.reschedule(deadline)
        self._allowed = allowed  # seconds for the reply
        self._deadline = deadline  # loop time

    @property
    def may_have_left(self) -> bool:
        """Whether bytes may have reached the service."""
        return self.sent or (self.begun and not self.traced)

    @property
    def expired(self) -> bool:
        """Whether the call's own deadline has passed."""
        now = asyncio.get_running_loop().time()
        return self._deadline is not None and now >= self._deadline

    def answer_is_due(self) -> None:
        """Start the clock of the reply (again)."""
        when = asyncio.get_running_loop().time() + self._allowed
        self.relay.reschedule(when if self._deadline is None else min(when, self._deadline))


_under_way: ContextVar[Attempt] = ContextVar("refold_async_attempt")


class _Door(aiohttp.TCPConnector):
    """Marks an attempt as sent when it gets its connection: nothing is awaited before the write.

    A trace hook on `on_request_headers_sent` would tell the same for 6 % more CPU per call.
    """

    async def connect(self, *args: Any, **options: Any) -> Any:
        attempt = _under_way.get(None)
        if attempt is None:
            return await super().connect(*args, **options)
        attempt.traced = True
        connection = await super().connect(*args, **options)
        attempt.sent = True
        attempt.answer_is_due()
        return connection


@attrs.define(eq=False, repr=False, kw_only=True)
class Transport:
    """Sends requests on one aiohttp session, made with the first of them."""

    base_url: str
    auth: Authenticator
    timeouts: Timeouts
    policy: RetryPolicy
    budget: Budget
    clock: Clock
    counters: Counters
    max_connections: int
    max_reply_bytes: int
    own_session: aiohttp.ClientSession | None = None  # ours, made lazily
    their_session: aiohttp.ClientSession | None = None  # the caller's, never closed here
    closed: bool = False
    _loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False)
    _pid: int = attrs.field(default=0, init=False)
    _closing: asyncio.Future[None] | None = attrs.field(default=None, init=False)
    _tasks: set[asyncio.Task[Answer]] = attrs.field(factory=set, init=False)  # attempts of starts
    _date: tuple[str | None, float] = attrs.field(default=(None, 0.0), init=False)

    async def send(
        self,
        request: Request,
        *,
        policy: RetryPolicy | None = None,
        deadline: float | None = None,
        care: Care | None = None,
    ) -> Answer:
        """Send a request, again where its failures allow it, and give the accepted answer.

        Args:
            request: what to send.
            policy: how to retry; the client's own if None.
            deadline: monotonic seconds at which to give up, or None.
            care: who looks after a start whose answer is lost or whose caller leaves.

        Raises:
            RefoldError: see the table in `docs/explanation/outcomes.md`.
        """
        self.check_usable()
        policy = policy or self.policy
        if policy.deadline is not None:
            latest = self.clock.monotonic() + policy.deadline
            deadline = latest if deadline is None else min(deadline, latest)
        answer = await self._try(request, deadline, care)
        if answer.evidence is Evidence.ACCEPTED:
            return answer
        call = Call(
            request=request,
            policy=policy,
            attempt=lambda: self._try(request, deadline, care),
            clock=self.clock,
            counters=self.counters,
            deadline=deadline,
            care=care,
            closing=self._closing,
        )
        return await call.persist(answer)

    async def _try(self, request: Request, deadline: float | None, care: Care | None) -> Answer:
        """Make one attempt; a refused token is renewed, and the request sent once more."""
        try:
            secret = self.auth.current or await self._token(None, deadline)
            answer = await self._attempt(request, secret, deadline, care)
            # Evidence first: a Response node may set 401 on a run that happened.
            if answer.status == 401 and answer.evidence is Evidence.REFUSED:  # noqa: PLR2004
                renewed = await self._token(secret, deadline)
                if renewed is not secret:
                    answer = await self._attempt(request, renewed, deadline, care)
        except (ConnectionFailedError, RequestTimeoutError) as error:
            return Answer(evidence=Evidence.NOT_SENT, error=error)
        return answer

    async def _token(self, refused: Secret | None, deadline: float | None) -> Secret:
        """Give a token other than the refused one, unless the call or the client ends first."""
        left = None if deadline is None else deadline - self.clock.monotonic()
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
            "the session_token callable took longer than the call's timeout", sent=False
        )

    async def _attempt(
        self, request: Request, secret: Secret, deadline: float | None, care: Care | None
    ) -> Answer:
        if not await self.budget.acquire(deadline):
            return failures.no_slot(request)
        now = asyncio.get_running_loop().time()
        ends_at = None if deadline is None else now + deadline - self.clock.monotonic()
        allowed = self.timeouts.sync if request.sync else self.timeouts.read
        attempt = Attempt(allowed, ends_at)
        exchange = self._in_slot(request, secret, attempt)
        if care is None:
            return await attempt.relay.run(exchange)
        # A caller that leaves does not take along what has left: the reply is read to its end,
        # within the timeouts, and what it says goes to `care`.
        return await attempt.relay.run(
            exchange,
            outlives=lambda: attempt.may_have_left,
            left=lambda rest: self._finish(rest, care),
        )

    def _finish(self, rest: Coroutine[Any, Any, Answer], care: Care) -> None:
        task = asyncio.get_running_loop().create_task(rest)
        self._tasks.add(task)

        def deliver(task: asyncio.Task[Answer]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and task.exception() is None:
                care.orphaned(task.result())

        task.add_done_callback(deliver)

    async def _in_slot(self, request: Request, secret: Secret, attempt: Attempt) -> Answer:
        """Make the attempt and free its slot."""
        try:
            self.check_usable()
            self.counters.requests[request.operation.value] += 1
            reply = await self._exchange(request, secret, attempt)
        finally:
            self.budget.release()
        if isinstance(reply, Answer):
            return reply
        self._date = reply.headers.get("Date"), reply.received_at
        return judge(request, reply)

    def server_offset(self) -> float | None:
        """Give what to add to the local clock to get the service's; None before the first reply."""
        text, received_at = self._date
        told = read_http_date(text or "")
        return None if told is None else told - received_at

    async def _exchange(self, request: Request, secret: Secret, attempt: Attempt) -> Reply | Answer:
        """Put one request on the wire and read the whole reply; a failure becomes an `Answer`."""
        _under_way.set(attempt)
        if self.their_session is not None:
            attempt.answer_is_due()
        try:
            attempt.begun = True
            response = await self._request(request, secret, attempt)
            try:
                body = await self._read(response)
            finally:
                response.close()
        except asyncio.CancelledError:
            if attempt.relay.expired:
                return failures.translate(
                    TimeoutError(), request, sent=attempt.may_have_left, expired=attempt.expired
                )
            task = asyncio.current_task()
            if self.closed and not (task and task.cancelling()):
                return failures.closed(request, sent=attempt.may_have_left)
            raise
        except Exception as error:  # noqa: BLE001 - no foreign exception gets past this door
            if self.closed:
                return failures.closed(request, sent=attempt.may_have_left)
            return failures.translate(
                error, request, sent=attempt.may_have_left, expired=attempt.expired
            )
        return Reply(
            status=response.status,
            headers=response.headers,
            body=body,
            received_at=self.clock.time(),
        )

    async def _request(
        self, request: Request, secret: Secret, attempt: Attempt
    ) -> aiohttp.ClientResponse:
        name, value = self.auth.header(secret)
        headers = {**request.headers, name: value}
        if request.account is not None and not self.auth.bound_to_account:
            headers["linked_account_id"] = request.account
        body: Any = request.body
        if body is not None and len(body) > _UPLOAD_CHUNK:
            headers["Content-Length"] = str(len(body))
            body = _upload(body, attempt)
        session, options = self.own_session, _NO_OPTIONS
        if self.their_session is not None:
            headers.update(_COMMON_HEADERS)
            session, options = self.their_session, _isolated(headers, self.timeouts)
            # The length decides how the body is framed, before any middleware sees the request.
            headers = {k: v for k, v in headers.items() if k == "Content-Length"}
        assert session is not None  # noqa: S101 - check_usable made it
        return await session.request(
            request.method,
            self.base_url + request.target,
            data=body,
            headers=headers,
            allow_redirects=False,
            **options,
        )

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """Read the body in chunks, up to the limit after decompression."""
        content = response.content
        body = await content.readany()
        if content.at_eof() and len(body) <= self.max_reply_bytes:
            return body
        chunks, size = [body], len(body)
        while not content.at_eof() and size <= self.max_reply_bytes:
            chunks.append(await content.readany())
            size += len(chunks[-1])
        if size > self.max_reply_bytes:
            raise UnexpectedReplyError(
                f"the reply is longer than max_reply_bytes={self.max_reply_bytes:,}",
                status=response.status,
            )
        return b"".join(chunks)

    def check_usable(self) -> None:
        """Make the session with the first call; refuse calls it can't serve.

        Raises:
            ClientClosedError: closed, or on another event loop, in another thread or forked child.
        """
        loop = asyncio.get_running_loop()
        if loop is self._loop and not self.closed and os.getpid() == self._pid:
            return
        if self.closed:
            raise ClientClosedError("the client is closed; make a new one")
        if self._loop is not None:
            raise ClientClosedError(
                "the client belongs to the event loop (and process) of its first call; make one"
                " client per loop, thread and forked child"
            )
        self._loop, self._pid, self._closing = loop, os.getpid(), loop.create_future()
        if self.their_session is None:
            self.own_session = aiohttp.ClientSession(
                connector=_Door(limit=self.max_connections, keepalive_timeout=_KEEPALIVE),
                # One jar would hand account A's cookies to account B.
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_COMMON_HEADERS,
                timeout=aiohttp.ClientTimeout(total=None, connect=self.timeouts.connect),
            )

    async def aclose(self) -> None:
        """Close the session if it is ours; safe to call again."""
        self.closed = True
        self.budget.close(ClientClosedError("the client was closed"))
        if self._closing is not None and not self._closing.done():
            self._closing.set_result(None)
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.own_session is not None:
            await self.own_session.close()


async def _upload(body: bytes, attempt: Attempt) -> AsyncIterator[memoryview]:
    """Hand a large body over in pieces: each restarts the clock, which so runs from the last."""
    view = memoryview(body)
    for begin in range(0, len(view), _UPLOAD_CHUNK):
        yield view[begin : begin + _UPLOAD_CHUNK]
        attempt.answer_is_due()


_AIOHTTPS_OWN = frozenset(
    {"host", "accept-encoding", "connection", "content-length", "transfer-encoding"}
)


def _isolated(headers: dict[str, str], timeouts: Timeouts) -> dict[str, Any]:
    """Give the options under which a caller's session does what ours would.

    Its own middlewares are left out (one that retries would start runs twice), and its default
    headers, credentials and cookies are taken off the request.
    """

    async def only_ours(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        for name in {*request.headers} - {n for n in request.headers if n.lower() in _AIOHTTPS_OWN}:
            request.headers.popall(name, None)
        request.headers.update(headers)
        return await handler(request)

    return {
        "middlewares": (only_ours,),
        "raise_for_status": False,
        "auto_decompress": True,
        # Not `connect`, which would count the wait for the caller's own pool.
        "timeout": aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect),
    }
