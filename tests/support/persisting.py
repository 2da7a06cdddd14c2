"""A scripted call: what each attempt comes to, and when it was made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from refold_async import RateLimitError, RetryPolicy, ServerError, TransportError
from refold_async._errors import ApiError, ConnectionFailedError
from refold_async._protocol import Answer, Evidence, Request
from refold_async._stats import Counters
from refold_async._transport.retry import Call, Care
from tests.support.making import EXECUTE, RUN, accepted

if TYPE_CHECKING:
    from tests.support.clock import FakeClock

STARTED = accepted({"execution_id": RUN})
BAD_GATEWAY = Answer(
    evidence=Evidence.UNCERTAIN, status=502, error=ServerError("bad gateway", status=502)
)
LOST = Answer(evidence=Evidence.UNCERTAIN, error=TransportError("connection lost"))
UNREACHED = Answer(evidence=Evidence.NOT_SENT, error=ConnectionFailedError("no route"))
REFUSED = Answer(evidence=Evidence.REFUSED, status=403, error=ApiError("forbidden", status=403))


def throttled(retry_after: float | None = None) -> Answer:
    """Give a 429, with or without advice."""
    error = RateLimitError("slow down", status=429, retry_after=retry_after)
    return Answer(evidence=Evidence.REJECTED, status=429, error=error, retry_after=retry_after)


class Script:
    """One call whose attempts are scripted; the first has been made already."""

    def __init__(
        self,
        clock: FakeClock,
        *answers: Answer,
        request: Request = EXECUTE,
        deadline: float | None = None,
        care: Care | None = None,
        closing: asyncio.Future[None] | None = None,
        **policy: Any,
    ) -> None:
        self.clock = clock
        self.begun = clock.now
        self.first, *self.left = answers
        self.made_at = [0.0]  # seconds from the first attempt
        self.counters = Counters()
        self.call = Call(
            request=request,
            policy=RetryPolicy(**policy),
            attempt=self._attempt,
            clock=clock,
            counters=self.counters,
            deadline=None if deadline is None else clock.now + deadline,
            care=care,
            closing=closing,
        )

    async def _attempt(self) -> Answer:
        self.made_at.append(self.clock.now - self.begun)
        await asyncio.sleep(0)
        return self.left.pop(0)

    @property
    def pauses(self) -> list[float]:
        """Seconds between the attempts."""
        return [b - a for a, b in zip(self.made_at, self.made_at[1:], strict=False)]

    def start(self) -> asyncio.Task[Answer]:
        """Follow the first attempt up, in a task."""
        return asyncio.create_task(self.call.persist(self.first))

    async def end(self) -> Answer:
        """Follow the first attempt up, and let as much time pass as that takes."""
        task = self.start()
        await self.clock.advance(100_000)
        assert task.done(), "the call has not ended"
        return await task
