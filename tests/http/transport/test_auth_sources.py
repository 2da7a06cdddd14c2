"""What becomes of a call whose `session_token` callable fails, hangs or gives nonsense."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    ClientClosedError,
    ConfigError,
    ConnectionFailedError,
    ExecutionOutcomeUnknownError,
    RequestTimeoutError,
)
from tests.support.endings import MODES, at_once
from tests.support.wire import STARTS, Step, http, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient

UNAUTHORISED = Step(reply=http(401, {"status_code": 401, "message": "Invalid Credentials"}))


async def hanging() -> str:
    """Be a source that never answers."""
    await asyncio.sleep(3600)
    raise AssertionError


@MODES
async def test_a_source_that_fails_means_not_sent(
    connect: Callable[..., RefoldClient], mode: str
) -> None:
    """Its error is the cause, and is no secret's: nothing reached the service."""

    async def failing() -> str:
        raise LookupError("vault is sealed")

    async with wire(STARTS) as server:
        refold = connect(server, session_token=failing, retry=at_once(mode))
        with pytest.raises(ConnectionFailedError, match="LookupError") as caught:
            await refold.execute("wf_1", slug="s")
    assert (caught.value.sent, server.connections) == (False, 0)
    assert isinstance(caught.value.__cause__, LookupError)


async def test_a_source_that_fails_once_is_asked_again(
    connect: Callable[..., RefoldClient],
) -> None:
    """Fetching a token is a part of the try, and is tried again with it."""
    answers: list[Any] = [OSError("down"), "jwt"]

    async def shaky() -> str:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return str(answer)

    async with wire(STARTS) as server:
        refold = connect(server, session_token=shaky, retry=at_once("safe"))
        handle = await refold.execute("wf_1", slug="s")
    assert (handle.attempts, len(server.seen)) == (2, 1)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="empty"),
        pytest.param("a\r\nx-evil: 1", id="line break"),
        pytest.param("jé", id="not ASCII"),
        pytest.param(None, id="none"),
        pytest.param(b"jwt", id="bytes"),
    ],
)
async def test_a_source_that_gives_no_token_is_a_config_error(
    connect: Callable[..., RefoldClient], token: Any
) -> None:
    """What can't stand in a header is refused before any connection."""

    async def source() -> Any:
        return token

    async with wire(STARTS) as server:
        with pytest.raises(ConfigError, match="session_token"):
            await connect(server, session_token=source).execute("wf_1", slug="s")
    assert server.connections == 0


@MODES
async def test_a_source_that_hangs_ends_with_the_calls_timeout(
    connect: Callable[..., RefoldClient], mode: str
) -> None:
    """Nothing was sent, and the calls queueing behind it keep their own timeouts."""
    async with wire(STARTS) as server:
        refold = connect(server, session_token=hanging, retry=at_once(mode))
        calls = [refold.execute("wf_1", slug="s", timeout=0.05 * n) for n in (1, 2)]
        async with asyncio.timeout(20):
            errors = await asyncio.gather(*calls, return_exceptions=True)
    assert [(type(e), getattr(e, "sent", None)) for e in errors] == [
        (RequestTimeoutError, False)
    ] * 2
    assert server.connections == 0


async def test_a_cancelled_renewal_does_not_hold_up_the_next(
    connect: Callable[..., RefoldClient],
) -> None:
    """A call that is cancelled while it asks for a token lets the next one ask."""

    async def source() -> str:
        await asyncio.sleep(0.01)
        return "jwt"

    async with wire(STARTS) as server:
        refold = connect(server, session_token=source)
        first = asyncio.create_task(refold.execute("wf_1", slug="s"))
        second = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first, second], timeout=20)
    assert (first.cancelled(), len(server.seen)) == (True, 1)


async def test_closing_ends_a_call_that_waits_for_its_token(
    connect: Callable[..., RefoldClient],
) -> None:
    """A source that hangs doesn't outlive the client."""
    async with wire(STARTS) as server:
        refold = connect(server, session_token=hanging)
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await asyncio.sleep(0.02)
        await refold.aclose()
        await asyncio.wait([call], timeout=10)
        ended = call.done()
        call.cancel()
        with pytest.raises(ClientClosedError):
            await call
    assert ended


@pytest.mark.parametrize(
    "renewed",
    [
        pytest.param(OSError("down"), id="failing"),
        pytest.param("a\nb", id="no token"),
        pytest.param("one", id="the same"),
    ],
)
async def test_after_an_uncertain_try_no_renewal_changes_the_outcome(
    connect: Callable[..., RefoldClient], renewed: Any
) -> None:
    """A 401 on the second try, and a source that doesn't help, leave the first one in doubt."""
    answers: list[Any] = ["one", *[renewed] * 9]

    async def source() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    async with wire(Step(reply=http(502, "<html>")), UNAUTHORISED) as server:
        refold = connect(server, session_token=source, retry=at_once("transient"))
        with pytest.raises(ExecutionOutcomeUnknownError):
            await refold.execute("wf_1", slug="s")
    assert len(server.seen) >= 2
