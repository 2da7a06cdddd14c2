"""Pacing over real HTTP: what the service sheds slows the client, and what stats show of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from refold_async import (
    AuthenticationError,
    ClientClosedError,
    PollPolicy,
    RateLimit,
    RateLimitError,
    RefoldClient,
    RefoldError,
    RetryPolicy,
    ServerError,
    Timeouts,
)
from refold_async.emulator import Behaviour, Emulator, Fault, Respond
from tests.support.endings import at_once, in_time_of
from tests.support.wire import STARTS, Step, http, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.clock import FakeClock

OWN = {"message": "shed", "error_code": "OVERLOADED"}


async def test_starts_are_paced_by_what_a_shedding_service_takes(
    connect: Callable[..., RefoldClient], clock: FakeClock
) -> None:
    """A gather of starts ends well in about the time the capacity allows."""
    async with Emulator(behaviour=Behaviour(capacity=40.0), now=clock.time) as emulator:
        emulator.workflow("wf_1", slug="s")(lambda payload: payload)
        refold = connect(
            emulator,
            clock=clock,
            rate_limit=RateLimit(per_second=100),
            retry=RetryPolicy(wait=0.2, attempts=8),
        )
        starts = asyncio.gather(*(refold.execute("wf_1", slug="s") for _ in range(160)))
        began = clock.time()
        handles = await in_time_of(clock, refold, starts)
        assert clock.time() - began < 2 * 160 / 40
        budget = refold.stats.budget
        assert len({handle.execution_id for handle in handles}) == len(emulator.runs) == 160
        assert budget.rate is not None
        assert budget.rate < 60
        assert 0 < budget.refused < 40


async def test_each_request_is_of_its_class(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """Starts, stops, looks, and everything somebody waits for are told apart."""
    emulator.workflow("wf_1", slug="s", duration=0.05)(lambda payload: payload)
    # The first look reads the document and finds the end, so the output is a request of its own.
    refold = connect(emulator, polling=PollPolicy(first=0.5))
    handle = await refold.execute("wf_1", slug="s")
    await handle
    granted = refold.stats.budget.granted
    assert granted["start"] == 1
    assert granted["status"] == refold.stats.polls
    assert granted["result"] == 1  # its output
    await handle.rerun()
    await refold.executions.get(handle.execution_id or "")
    await refold.find("a tag", workflow_id="wf_1")  # as a start's look-up
    emulator.workflow("wf_2", slug="s", duration=60.0)(lambda payload: payload)
    await (await refold.execute("wf_2", slug="s")).stop()
    granted = refold.stats.budget.granted
    assert (granted["start"], granted["stop"], granted["result"]) == (4, 1, 2)
    assert refold.stats.budget.in_flight == 0


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("body", [OWN, "<h1>busy</h1>"], ids=["own", "html"])
async def test_refusal_stops_all_calls_of_the_client(
    connect: Callable[..., RefoldClient], status: int, body: object
) -> None:
    """Whoever wrote the 429 or 503, its Retry-After holds for everybody."""
    refusal = Step(reply=http(status, body, headers={"Retry-After": "60"}))
    async with wire(refusal, STARTS) as server:
        refold = connect(server, retry=at_once("never", patience=120))
        with pytest.raises(RefoldError):
            await refold.execute("wf_1", slug="s")
        assert 59 < refold.stats.budget.stopped_for <= 60
        with pytest.raises(RateLimitError if status == 429 else ServerError) as caught:
            await refold.execute("wf_1", slug="s", timeout=0.05)
        assert 59 < (caught.value.retry_after or 0.0) <= 60
        assert len(server.seen) == 1


async def test_calls_of_all_accounts_fail_at_once_when_they_cannot_outlast_a_retry_after(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture
) -> None:
    """An hour is told to everybody, reads too, and not waited for in silence."""
    refusal = Step(reply=http(429, OWN, headers={"Retry-After": "3600"}))
    async with wire(refusal, STARTS) as server:
        refold = connect(server)
        with pytest.raises(RateLimitError):
            await refold.execute("wf_1", slug="s")
        other = refold.for_account("acct_2")
        for call in (other.execute("wf_1", slug="s"), other.executions.get("run_1")):
            with pytest.raises(RateLimitError) as caught:
                await call
            assert 3590 < (caught.value.retry_after or 0.0) <= 3600
        assert refold.stats.budget.stopped_for <= 120
        assert len(server.seen) == 1
        assert caplog.text.count("none leaves") == 1


async def test_run_whose_response_node_sets_503_is_no_refusal(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """The body proves that the service took it."""
    emulator.workflow("wf_1", slug="s")(lambda payload: Respond(status=503, data={}))
    refold = connect(emulator)
    result = await refold.run("wf_1", slug="s", sync=True)
    assert result.status_code == 503
    assert refold.stats.budget.refused == 0


async def test_clients_with_one_key_share_a_budget_and_others_do_not(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """From their first call on; views share it anyway."""
    emulator.workflow("wf_1", slug="s")(lambda payload: payload)
    strict, loose = connect(emulator, rate_limit=RateLimit(per_second=30)), connect(emulator)
    other = connect(emulator, api_key="tk_other")
    await strict.execute("wf_1", slug="s")
    await loose.execute("wf_1", slug="s")
    with pytest.raises(AuthenticationError):
        await other.execute("wf_1", slug="s")
    assert loose.stats.budget.ceiling == strict.stats.budget.ceiling == 30
    assert loose.for_account("acct_2").stats.budget.ceiling == 30
    assert other.stats.budget.ceiling is None
    await strict.aclose()
    assert loose.stats.budget.ceiling is None


async def test_waiting_for_a_slot_eats_no_timeout(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """A request that waited longer than its read timeout is sent with all of it."""
    emulator.workflow("wf_1", slug="s")(lambda payload: payload)
    refold = connect(
        emulator, rate_limit=RateLimit(per_second=4, burst=1), timeouts=Timeouts(read=0.7)
    )
    handles = await asyncio.gather(*(refold.execute("wf_1", slug="s") for _ in range(4)))
    assert [handle.attempts for handle in handles] == [1, 1, 1, 1]


async def test_closing_one_client_leaves_the_other_with_the_same_key_at_work(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """Queued calls of the closed client end; the other's are served."""
    emulator.workflow("wf_1", slug="s")(lambda payload: payload)
    slow = RateLimit(per_second=1, burst=1)
    one, two = connect(emulator, rate_limit=slow), connect(emulator, rate_limit=slow)
    await one.execute("wf_1", slug="s")
    queued = [asyncio.create_task(each.execute("wf_1", slug="s")) for each in (one, two)]
    await asyncio.sleep(0)
    await one.aclose()
    ended = await asyncio.gather(*queued, return_exceptions=True)
    assert isinstance(ended[0], ClientClosedError)
    assert not isinstance(ended[1], BaseException)


@pytest.mark.parametrize("retry_after", [None, "5"], ids=["no pause asked for", "pauses of 5 s"])
async def test_a_service_that_serves_nothing_holds_a_call_for_its_patience_in_all(
    retry_after: str | None,
) -> None:
    """In the queue, while gates are shut, and after its own refusals: it counts once."""
    headers = {"Retry-After": retry_after} if retry_after else {}
    took: list[float] = []
    async with Emulator(skip_time=True) as emulator:
        emulator.faults.always("execute", Fault(status=503, headers=headers, body=OWN))
        async with emulator.client(retry=RetryPolicy(patience=30)) as refold:
            now = emulator.time.monotonic

            async def call(after: int) -> None:
                await emulator.time.sleep(after)
                began = now()
                with pytest.raises(ServerError):
                    await refold.execute("wf_1", slug="s")
                took.append(now() - began)

            await asyncio.gather(*map(call, range(0, 60, 3)))
    assert len(took) == 20
    assert max(took) <= 30.1
