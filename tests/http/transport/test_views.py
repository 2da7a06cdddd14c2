"""Views of a client: other options, the same session, tracker, budget and counters."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    ConfigError,
    ExecutionOutcomeUnknownError,
    ExecutionRequest,
    RefoldClient,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    Timeouts,
)
from tests.support.endings import at_once
from tests.support.wire import STARTS, Step, http, wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from refold_async.emulator import Emulator

DOWN = Step(reply=http(500, {"message": "down"}))
RUN = "6a314c54d4616e99e7fa5a02"
HASTY = Timeouts(read=0.5, sync=0.5)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda r: r.executions.get(RUN), id="get"),
        pytest.param(lambda r: r.handle(RUN).fetch(), id="fetch"),
        pytest.param(lambda r: r.handle(RUN).stop(), id="stop"),
        pytest.param(lambda r: r.workflows.enabled(), id="workflows"),
        pytest.param(lambda r: r.session_tokens.create("a"), id="tokens"),
    ],
)
async def test_retry_of_a_view_is_that_of_its_calls(
    connect: Callable[..., RefoldClient], call: Callable[[RefoldClient], Awaitable[Any]]
) -> None:
    """Reads and handles of the view try as often as it says; the client as often as before."""
    async with wire(DOWN) as server:
        refold = connect(server, retry=at_once(attempts=3))
        with pytest.raises(ServerError):
            await call(refold.with_options(retry=RetryPolicy(mode="never")))
        assert len(server.seen) == 1
        with pytest.raises(ServerError):
            await call(refold)
    assert len(server.seen) == 1 + 3


async def test_retry_of_a_view_is_that_of_its_starts(connect: Callable[..., RefoldClient]) -> None:
    """A start through the view, and one of its batch, are never sent twice in `safe` mode."""
    async with wire(DOWN) as server:
        view = connect(server, retry=at_once(attempts=3)).with_options(retry=at_once("safe"))
        with pytest.raises(ExecutionOutcomeUnknownError):
            await view.execute("wf_1", slug="s")
        report = await view.run_batch([ExecutionRequest("wf_1", slug="s")])
    assert (report.unknown, len(server.seen)) == (1, 2)


async def test_retry_of_a_call_wins_over_its_views(connect: Callable[..., RefoldClient]) -> None:
    """What stands nearest to the call counts."""
    async with wire(DOWN) as server:
        view = connect(server).with_options(retry=RetryPolicy(mode="never"))
        with pytest.raises(ExecutionOutcomeUnknownError) as caught:
            await view.execute("wf_1", slug="s", retry=at_once("transient", attempts=2))
    assert (caught.value.attempts, len(server.seen)) == (2, 2)


async def test_timeouts_of_a_view_are_those_of_its_attempts(
    connect: Callable[..., RefoldClient],
) -> None:
    """A slow reply ends a read and a start of the hasty view, and not those of the client."""
    async with wire(Step(reply=STARTS.reply, delay=1.5)) as server:
        refold = connect(server, retry=at_once("never"))
        view = refold.with_options(timeouts=HASTY)
        with pytest.raises(RequestTimeoutError):
            await view.executions.get(RUN)
        with pytest.raises(ExecutionOutcomeUnknownError):
            await view.execute("wf_1", slug="s")
        assert (await refold.execute("wf_1", slug="s")).execution_id == RUN


async def test_call_timeout_of_a_view_bounds_its_starts(
    connect: Callable[..., RefoldClient],
) -> None:
    """`Timeouts.call` is the view's, where a call names no timeout."""
    async with wire(Step(end="stall")) as server:
        view = connect(server, retry=at_once("never")).with_options(timeouts=Timeouts(call=0.5))
        with pytest.raises(ExecutionOutcomeUnknownError):
            await view.execute("wf_1", slug="s")


async def test_views_of_views_add_up(connect: Callable[..., RefoldClient]) -> None:
    """An option that is not given stays that of the view it was taken from."""
    async with wire(DOWN) as server:
        once = connect(server).with_options(retry=RetryPolicy(mode="never"))
        other = once.for_account("acct_2").with_options(timeouts=Timeouts(read=5.0))
        with pytest.raises(ServerError) as caught:
            await other.executions.get(RUN)
        third = other.with_options(linked_account_id="acct_3")
        with pytest.raises(ServerError):
            await third.executions.get(RUN)
    assert caught.value.linked_account_id == "acct_2"
    assert [seen.headers["linked_account_id"] for seen in server.seen] == ["acct_2", "acct_3"]


async def test_views_share_counters_orphans_and_waits(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """One client is behind all of them: closing it closes them, closing one closes nothing."""
    emulator.workflow("wf_1", slug="hubspot", duration=0.05)(lambda payload: payload)
    refold = connect(emulator)
    async with refold.with_options(retry=RetryPolicy(mode="safe")) as view:
        handle = await view.execute("wf_1", slug="hubspot", payload={"n": 1})
        other = refold.handle(handle.ref)
        first, second = await asyncio.gather(handle, other)
    assert first is second
    assert refold.stats == view.stats
    assert refold.stats.requests["execute"] == 1
    assert refold.orphans is view.orphans
    assert (await refold.executions.get(first.execution_id or "")).status == "COMPLETED"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"retry": "safe"}, "retry"),
        ({"timeouts": 5}, "timeouts"),
        ({"linked_account_id": "a\n"}, "linked_account_id"),
    ],
)
async def test_wrong_options_are_refused(options: dict[str, Any], field: str) -> None:
    """A wrong option is named, and makes no view."""
    refold = RefoldClient(api_key="tk", linked_account_id="a")
    with pytest.raises(ConfigError) as caught:
        refold.with_options(**options)
    assert caught.value.field == field


async def test_token_is_bound_to_its_account() -> None:
    """A view for another account needs a key, by whichever name it is asked for."""
    refold = RefoldClient(session_token="jwt")
    with pytest.raises(ConfigError, match="bound to one linked account"):
        refold.with_options(linked_account_id="b")
    assert refold.with_options(retry=RetryPolicy(mode="never")).linked_account_id is None


async def test_rate_limit_must_be_one() -> None:
    """None is no ceiling; zero is a mistake."""
    with pytest.raises(ConfigError, match="rate_limit: must be a RateLimit"):
        RefoldClient(api_key="tk", rate_limit=0)  # type: ignore[arg-type]
