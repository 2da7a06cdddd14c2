"""What a call came to, as a value: what its caller got, and what the server saw."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import pytest

from refold_async import (
    ExecutionHandle,
    ExecutionOutcomeUnknownError,
    RefoldError,
    RetryPolicy,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from refold_async import RefoldClient
    from tests.support.clock import FakeClock
    from tests.support.wire import Wire

T = TypeVar("T")

MODES = pytest.mark.parametrize("mode", ["never", "safe", "transient"])
POSTS = ("execute", "rerun", "stop")


def at_once(mode: Any = "transient", **settings: Any) -> RetryPolicy:
    """Give a policy whose pauses take no time, and that bears refusals by load for hardly any."""
    settings = {"patience": 0.05, **settings}
    return RetryPolicy(mode=mode, wait=0.0, max_wait=0.0, settle=0.0, **settings)


@attrs.frozen(kw_only=True)
class Ending:
    """How a call ended.

    Attributes:
        outcome: `handle`, or the name of the error's class.
        cause: class of the error an *unknown* was made from.
        sent: `.sent` of the error, or of an *unknown*'s cause; None where there is no such thing.
        attempts: tries, as the handle or the *unknown* says, else as the counters say.
        posts: requests that reached the server, lists apart.
        duplicates: `possible_duplicate` on the handle, its warnings in the log, and the counter,
            which must agree.
    """

    outcome: str = "handle"
    cause: str | None = None
    sent: bool | None = None
    attempts: int = 1
    posts: int = 1
    duplicates: int = 0


def unknown(cause: str, *, attempts: int = 1, posts: int | None = None) -> Ending:
    """Give the ending of a call of which nobody knows whether it started a run."""
    return Ending(
        outcome="ExecutionOutcomeUnknownError",
        cause=cause,
        sent=None if cause in API_ERRORS else True,
        attempts=attempts,
        posts=attempts if posts is None else posts,
    )


API_ERRORS = {"ServerError", "ApiError", "BadRequestError", "RateLimitError", "NotFoundError"}


async def ending_of(
    call: Awaitable[ExecutionHandle[Any] | None],
    refold: RefoldClient,
    server: Wire,
    caplog: pytest.LogCaptureFixture,
) -> Ending:
    """Await a call and say how it ended."""
    caplog.set_level("WARNING", "refold_async")
    error: RefoldError | None = None
    handle: ExecutionHandle[Any] | None = None
    try:
        handle = await call
    except RefoldError as raised:
        error = raised
    duplicates = refold.stats.possible_duplicates
    warnings = [r for r in caplog.records if "possible duplicate" in r.getMessage()]
    assert duplicates == len(warnings)
    if handle is not None:
        assert handle.possible_duplicate is (duplicates > 0)
    lost = isinstance(error, ExecutionOutcomeUnknownError)
    told = error.__cause__ if lost and error is not None else error
    if isinstance(error, ExecutionOutcomeUnknownError):
        attempts = error.attempts
    elif handle is not None:
        attempts = handle.attempts
    else:
        attempts = sum(refold.stats.requests.get(operation, 0) for operation in POSTS)
    return Ending(
        outcome="handle" if error is None else type(error).__name__,
        cause=type(told).__name__ if lost else None,
        sent=told.sent if isinstance(told, TransportError) else None,
        attempts=attempts,
        posts=len(server.seen),
        duplicates=duplicates,
    )


async def until(fact: Callable[[], bool]) -> None:
    """Wait for something nobody announces."""
    async with asyncio.timeout(60):
        while not fact():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def in_time_of(clock: FakeClock, refold: RefoldClient, work: asyncio.Future[T]) -> T:
    """Move the clock on whenever no reply is awaited, until this is done over real sockets."""
    while not work.done():
        await clock.leap()
        await until(lambda: refold.stats.budget.in_flight == 0)
    return await work
