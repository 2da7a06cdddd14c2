"""The one door to the network: one request and its reply over an aiohttp session.

Nothing of aiohttp gets past this module: what comes back is a `Reply`, or an `Answer` that says
what the failure proves, with a `RefoldError` that holds no secret.
"""

from __future__ import annotations

import asyncio
import math
import warnings
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
from multidict import CIMultiDict

from refold_async._clock import Clock, is_cancelled
from refold_async._config import Timeouts
from refold_async._errors import UnexpectedReplyError
from refold_async._protocol import Answer, Reply
from refold_async._transport import failures
from refold_async._transport.attempt import Attempt, under_way
from refold_async._transport.connections import Connections
from refold_async._transport.credentials import Authenticator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from refold_async._config import Secret
    from refold_async._protocol import Request

_UPLOAD_CHUNK = 64 * 1024
_NUMBERS = frozenset({"Retry-After", "Date"})
"""Headers of which no more than a number is shown."""


@attrs.define(eq=False, repr=False, kw_only=True)
class Wire:
    """Exchanges a request for a reply."""

    base_url: str
    auth: Authenticator
    timeouts: Timeouts
    clock: Clock
    connections: Connections
    max_reply_bytes: int
    closed: bool = attrs.field(default=False, init=False)
    _session: aiohttp.ClientSession | None = attrs.field(default=None, init=False)
    _under_way: set[Attempt] = attrs.field(factory=set, init=False)

    def open(self) -> None:
        """Make the session; needs the running loop it is to live on."""
        self._session = self.connections.open(self.clock)

    def __del__(self) -> None:
        # Not `_session.closed`: collected in one go, its connector may have closed itself before.
        if getattr(self, "_session", None) is not None and not self.closed:
            warnings.warn(
                f"unclosed RefoldClient of {self.base_url}: use `async with RefoldClient(...)`, or"
                " `await refold.aclose()` when the service stops",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

    def shut(self) -> None:
        """Refuse further attempts, and end those under way."""
        self.closed = True
        for attempt in [*self._under_way]:
            attempt.deadline.strike()

    async def aclose(self) -> None:
        """Close the session and, if they are ours, its connections."""
        self.closed = True
        if self._session is not None:
            try:
                await self._session.close()
            finally:
                await self.connections.aclose()

    def attempt(
        self, request: Request, timeouts: Timeouts, deadline: float | None = None
    ) -> Attempt:
        """Begin an attempt: its timeouts start now. `deadline` is in monotonic seconds."""
        allowed = timeouts.sync if request.sync else timeouts.read
        latest = math.inf if deadline is None else deadline
        return Attempt(self.clock, connect=timeouts.connect, allowed=allowed, latest=latest)

    async def exchange(self, request: Request, secret: Secret, attempt: Attempt) -> Reply | Answer:
        """Send one request and read the whole reply."""
        if self.closed:
            return failures.closed(request, sent=False)
        if self.connections.lost:
            return failures.lost_connector()
        before = under_way.set(attempt)
        self._under_way.add(attempt)
        try:
            async with attempt.deadline:
                response = await self._request(request, secret, attempt)
                body = await self._read(response)
        except asyncio.CancelledError as error:
            if not is_cancelled():  # but what we wait for is: a pool that was closed
                return self._failed(ConnectionAbortedError(), request, secret, attempt)
            cancelled = error.args
        except Exception as error:  # noqa: BLE001 - no foreign exception gets past this door
            return self._failed(error, request, secret, attempt)
        else:
            announced = response.headers.get("Keep-Alive")
            self.connections.keep(attempt, self.clock.monotonic(), announced)
            return Reply(response.status, response.headers, body, self.clock.time())
        finally:
            self._under_way.discard(attempt)
            under_way.reset(before)
        # A new one: the frames of the old one show the headers, and so the key.
        raise asyncio.CancelledError(*cancelled)

    def hidden(self, reply: Reply, secret: Secret) -> Reply:
        """Give a reply without what must show nowhere: debug pages show what they were sent."""
        pairs = (
            (name, value if name.title() in _NUMBERS else self._hide(value, secret))
            for name, value in reply.headers.items()
        )
        body = reply.body
        for one in (secret, *self.connections.secrets):
            body = one.hidden_in(body)
        return reply._replace(headers=CIMultiDict(pairs), body=body)

    def _hide(self, text: str, secret: Secret) -> str:
        for one in (secret, *self.connections.secrets):
            text = one.hidden_in(text.encode(errors="replace")).decode()
        return text

    def _failed(
        self, error: Exception, request: Request, secret: Secret, attempt: Attempt
    ) -> Answer:
        if self.closed:
            return failures.closed(request, sent=attempt.sent)
        if attempt.deadline.expired:
            error = TimeoutError()
        return failures.translate(
            error,
            text=self._hide(str(error), secret),
            sent=attempt.sent,
            expired=attempt.out_of_time,
        )

    def _request(
        self, request: Request, secret: Secret, attempt: Attempt
    ) -> Awaitable[aiohttp.ClientResponse]:
        options, headers = self.connections.options(secure=self.base_url.startswith("https:"))
        headers |= {**request.headers, **self.auth.headers(secret, request.account)}
        body: Any = request.body
        if body is not None and (len(body) > _UPLOAD_CHUNK or attempt.leaves_by < math.inf):
            headers["Content-Length"] = str(len(body))
            body = _upload(body, attempt)
        assert self._session is not None  # noqa: S101 - `open` made it
        url = self.base_url + request.target
        return self._session.request(request.method, url, data=body, headers=headers, **options)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """Read the body in chunks, up to the limit after decompression.

        A body read to its end has given its connection back; any other takes it along.
        """
        content = response.content
        chunks, size = [], 0
        try:
            while not content.at_eof():
                chunks.append(await content.readany())
                size += len(chunks[-1])
                self._check_size(size, response.status)
        except BaseException:
            response.close()
            raise
        return b"".join(chunks)

    def _check_size(self, size: int, status: int) -> None:
        if size > self.max_reply_bytes:
            raise UnexpectedReplyError(
                f"the reply is longer than max_reply_bytes={self.max_reply_bytes:,}", status=status
            )


async def _upload(body: bytes, attempt: Attempt) -> AsyncIterator[memoryview]:
    """Hand a large body over in pieces: each restarts the clock, which so runs from the last."""
    attempt.check_may_leave()  # aiohttp may have gone round the loop since it had its connection
    view = memoryview(body)
    for begin in range(0, len(view), _UPLOAD_CHUNK):
        yield view[begin : begin + _UPLOAD_CHUNK]
        attempt.answer_is_due()
