"""Several tries of one call: the worst of them decides what may be said in the end."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    ApiError,
    ExecutionOutcomeUnknownError,
    RateLimitError,
    ServerError,
    Timeouts,
)
from tests.support.clock import HastyClock
from tests.support.endings import Ending, at_once, ending_of, unknown
from tests.support.wire import STARTS, Step, http, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient

LOST = Step(reply=http(502, "<html>bad gateway</html>"))
BUSY = Step(reply=http(429, {"message": "slow down"}))
SHED = {"status_code": 503, "http_error_type": "SERVICE_UNAVAILABLE", "message": "shed"}


def after(value: Any, status: int = 429, **headers: str) -> Step:
    """Turn a request away with a Retry-After."""
    return Step(reply=http(status, SHED, headers={"Retry-After": str(value), **headers}))


@pytest.mark.parametrize(
    ("second", "cause"),
    [
        pytest.param(Step(reply=http(400, {"error": "no slug"})), "BadRequestError", id="400"),
        pytest.param(Step(reply=http(401, {"error": "x"})), "AuthenticationError", id="401"),
        pytest.param(Step(reply=http(404, {"error": "x"})), "NotFoundError", id="404"),
        pytest.param(Step(reply=http(501, {"error": "x"})), "ServerError", id="501"),
        pytest.param(Step(reply=http(302, b"")), "UnexpectedReplyError", id="302"),
        pytest.param(Step(reply=http(200, "<html>")), "UnexpectedReplyError", id="200 HTML"),
        pytest.param(Step(end="rst"), "TransportError", id="RST"),
    ],
)
async def test_after_an_uncertain_try_no_later_error_is_the_answer(
    connect: Callable[..., RefoldClient],
    caplog: pytest.LogCaptureFixture,
    second: Step,
    cause: str,
) -> None:
    """A refusal of the second try says nothing about the first: the outcome is unknown."""
    async with wire(LOST, second) as server:
        refold = connect(server, retry=at_once("transient"))
        actual = await ending_of(refold.execute("wf_1", slug="s"), refold, server, caplog)
    assert ("ExecutionOutcomeUnknownError", cause, 2, 2, 1) == (
        actual.outcome,
        actual.cause,
        actual.attempts,
        actual.posts,
        actual.duplicates,
    )


@pytest.mark.parametrize("status", [408, 421, 425])
async def test_after_an_uncertain_try_rejections_end_unknown(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """Being turned away is tried again, and leaves the first try as uncertain as it was."""
    async with wire(LOST, Step(reply=http(status, {"message": "x"}))) as server:
        refold = connect(server, retry=at_once("transient"))
        actual = await ending_of(refold.execute("wf_1", slug="s"), refold, server, caplog)
    assert (
        actual.outcome,
        actual.attempts,
        actual.posts,
        actual.duplicates,
    ) == ("ExecutionOutcomeUnknownError", 4, 4, 3)


async def test_after_an_uncertain_try_a_service_that_is_gone_ends_unknown(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture
) -> None:
    """Tries that were never sent don't undo the one that was."""
    async with wire(Step(reply=LOST.reply, end="quit")) as server:
        refold = connect(server, retry=at_once("transient"))
        actual = await ending_of(refold.execute("wf_1", slug="s"), refold, server, caplog)
    assert (
        actual.outcome,
        actual.attempts,
        actual.posts,
    ) == ("ExecutionOutcomeUnknownError", 4, 1)


async def test_a_flag_stays_through_later_rejections(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture
) -> None:
    """A run that starts in the third try is flagged for the first."""
    async with wire(LOST, BUSY, STARTS) as server:
        refold = connect(server, retry=at_once("transient"))
        actual = await ending_of(refold.execute("wf_1", slug="s"), refold, server, caplog)
    assert Ending(attempts=3, posts=3, duplicates=2) == actual


async def test_a_rejection_before_an_uncertain_try_does_not_soften_it(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture
) -> None:
    """`safe` goes on after a rejection, and stops at what may have started a run."""
    async with wire(BUSY, LOST, STARTS) as server:
        refold = connect(server, retry=at_once("safe"))
        actual = await ending_of(refold.execute("wf_1", slug="s"), refold, server, caplog)
    assert unknown("ServerError", attempts=2) == actual


async def test_all_tries_of_a_call_bear_one_tag(connect: Callable[..., RefoldClient]) -> None:
    """The tag is kept, so that whatever the tries started can be found under it."""
    async with wire(LOST, BUSY, LOST, STARTS) as server:
        handle = await connect(server, retry=at_once("transient")).execute("wf_1", slug="s")
    assert [handle.instance_tag] * 4 == [request.headers["instance_tag"] for request in server.seen]


@pytest.mark.parametrize("attempts", [1, 2, 6])
async def test_attempts_count_all_tries(
    connect: Callable[..., RefoldClient], attempts: int
) -> None:
    """A call is given up after as many tries as the policy allows."""
    async with wire(Step(reply=http(425, {"message": "too early"}))) as server:
        refold = connect(server, retry=at_once("safe", attempts=attempts))
        with pytest.raises(ApiError):
            await refold.execute("wf_1", slug="s")
    assert attempts == len(server.seen)


async def test_a_calls_own_policy_wins(connect: Callable[..., RefoldClient]) -> None:
    """`execute(retry=)` replaces the client's policy for that call."""
    async with wire(BUSY) as server:
        refold = connect(server, retry=at_once("transient"))
        with pytest.raises(RateLimitError):
            await refold.execute("wf_1", slug="s", retry=at_once("never"))
    assert len(server.seen) == 1


SECURE = Timeouts(connect=7_000, read=8_000)
"""Far above all pauses of these tests, and told from them by it."""


def pauses(clock: HastyClock) -> list[float]:
    """Give what was slept, without the deadlines of attempts and calls."""
    return [seconds for seconds in clock.slept if not 40 < seconds <= 50 and seconds < 6_000]


@pytest.mark.parametrize(
    ("step", "pause"),
    [
        pytest.param(after(3), 3.0, id="seconds"),
        pytest.param(after(3, 503), 3.0, id="seconds of a 503"),
        pytest.param(after(120), 120.0, id="the longest taken"),
        pytest.param(
            after(formatdate(1_700_000_005, usegmt=True), Date=formatdate(1.7e9, usegmt=True)),
            5.0,
            id="date",
        ),
        pytest.param(
            after(formatdate(1_600_000_000, usegmt=True), Date=formatdate(1.7e9, usegmt=True)),
            0.0,
            id="date in the past",
        ),
        pytest.param(after(-5), 0.0, id="negative"),
        pytest.param(after("NaN"), 0.0, id="NaN"),
        pytest.param(after("inf"), 0.0, id="infinite"),
        pytest.param(after(10**9), 0.0, id="absurd"),
        pytest.param(after("soon"), 0.0, id="no number"),
    ],
)
async def test_retry_after_is_the_least_pause(
    connect: Callable[..., RefoldClient], step: Step, pause: float
) -> None:
    """The next try waits for as long as the service asked, if that makes sense."""
    clock = HastyClock(2000)
    patient = at_once(patience=120)
    async with wire(step, STARTS) as server:
        refold = connect(server, clock=clock, retry=patient, timeouts=SECURE)
        handle = await refold.execute("wf_1", slug="s")
    assert ([pause], 2) == (pauses(clock), handle.attempts)


@pytest.mark.parametrize(
    ("step", "error"),
    [
        pytest.param(after(121), RateLimitError, id="429"),
        pytest.param(after(121, 503), ServerError, id="503"),
        pytest.param(
            after(formatdate(1_700_000_121, usegmt=True), Date=formatdate(1.7e9, usegmt=True)),
            RateLimitError,
            id="date",
        ),
    ],
)
async def test_too_long_a_retry_after_fails_at_once(
    connect: Callable[..., RefoldClient], step: Step, error: type[RateLimitError]
) -> None:
    """Past `patience` the caller is told instead of kept waiting."""
    clock = HastyClock()
    async with wire(step, STARTS) as server:
        refold = connect(server, clock=clock, retry=at_once(patience=120), timeouts=SECURE)
        with pytest.raises(error) as caught:
            await refold.execute("wf_1", slug="s")
    assert (caught.value.retry_after, pauses(clock), len(server.seen)) == (121.0, [], 1)


async def test_too_long_a_retry_after_of_an_uncertain_try_is_unknown(
    connect: Callable[..., RefoldClient],
) -> None:
    """A 502 that asks for an hour is not sent again, and stays uncertain."""
    async with wire(after(3600, 502), STARTS) as server:
        with pytest.raises(ExecutionOutcomeUnknownError):
            await connect(server, retry=at_once("transient")).execute("wf_1", slug="s")
    assert len(server.seen) == 1


async def test_a_pause_that_would_outlast_the_timeout_is_not_begun(
    connect: Callable[..., RefoldClient],
) -> None:
    """The call fails at once with what the service said."""
    clock = HastyClock()
    async with wire(after(60), STARTS) as server:
        refold = connect(server, clock=clock, retry=at_once(patience=120), timeouts=SECURE)
        with pytest.raises(RateLimitError):
            await refold.execute("wf_1", slug="s", timeout=50)
    assert (pauses(clock), len(server.seen)) == ([], 1)


REPEATED = pytest.mark.parametrize(
    "step",
    [
        pytest.param(Step(end="fin"), id="FIN"),
        pytest.param(Step(end="rst"), id="RST"),
        pytest.param(Step(reply=http(body={"a": 1}, length=99), end="fin"), id="truncated"),
        pytest.param(Step(reply=http(200, "<html>")), id="200 HTML"),
        pytest.param(Step(reply=http(500, {"message": "x"})), id="500"),
        pytest.param(LOST, id="502"),
        pytest.param(Step(reply=http(503, "<html>")), id="503 HTML"),
        pytest.param(Step(reply=http(504, "<html>")), id="504"),
        pytest.param(BUSY, id="429"),
    ],
)


@REPEATED
@pytest.mark.parametrize("mode", ["safe", "transient"])
async def test_a_read_is_repeated(
    connect: Callable[..., RefoldClient], step: Step, mode: str
) -> None:
    """Reading twice does no harm: whatever went wrong, it is asked again, without a flag."""
    document = http(200, {"_id": "e1", "status": "RUNNING"})
    async with wire(step, Step(reply=document)) as server:
        refold = connect(server, retry=at_once(mode))
        execution = await refold.executions.get("e1")
    assert (
        execution.status,
        len(server.seen),
        refold.stats.possible_duplicates,
    ) == ("RUNNING", 2, 0)


@REPEATED
@pytest.mark.parametrize("mode", ["safe", "transient"])
async def test_a_stop_is_repeated(
    connect: Callable[..., RefoldClient], step: Step, mode: str
) -> None:
    """Stopping twice stops once: whatever went wrong, it is asked again, without a flag."""
    stopping = Step(reply=http(200, {"message": "Stopping instance"}))
    async with wire(step, stopping) as server:
        refold = connect(server, retry=at_once(mode))
        await refold.handle("e1").stop()
    assert (len(server.seen), refold.stats.possible_duplicates) == (2, 0)


@pytest.mark.parametrize("verb", ["fetch", "stop"])
async def test_never_means_never_for_reads_as_well(
    connect: Callable[..., RefoldClient], verb: str
) -> None:
    """In mode `never` the first failure is raised as it is."""
    async with wire(LOST) as server:
        with pytest.raises(ServerError):
            await getattr(connect(server, retry=at_once("never")).handle("e1"), verb)()
    assert len(server.seen) == 1
