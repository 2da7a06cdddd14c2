"""Following a failed attempt up: what a call ends with, and what it leaves behind."""

from __future__ import annotations

import asyncio
import logging
import pickle

import pytest

from refold_async import (
    ConnectionFailedError,
    ExecutionOutcomeUnknownError,
    RateLimitError,
    RefoldError,
    ServerError,
)
from refold_async._errors import ApiError
from refold_async._protocol import Answer, Evidence
from tests.support.clock import FakeClock, settle
from tests.support.making import LOOK, RERUN, RUN, accepted, execute
from tests.support.persisting import (
    BAD_GATEWAY,
    LOST,
    REFUSED,
    STARTED,
    UNREACHED,
    Script,
    throttled,
)


async def test_outcome_counts_all_tries(clock: FakeClock) -> None:
    """The answer says how many tries it took, the first one included."""
    script = Script(clock, UNREACHED, throttled(), STARTED)
    answer = await script.end()
    assert (answer.document, answer.attempts) == ({"execution_id": RUN}, 3)
    assert answer.possible_duplicate is False
    assert script.counters.retries == 2


async def test_an_accepted_first_attempt_is_returned(clock: FakeClock) -> None:
    """Nothing is retried where there is an outcome."""
    script = Script(clock, STARTED)
    assert (await script.end()).attempts == 1
    assert clock.slept == []


@pytest.mark.parametrize("attempts", [1, 2, 4, 7])
async def test_attempts_bound_all_tries(clock: FakeClock, attempts: int) -> None:
    """The last try's error is raised once all are used up."""
    script = Script(clock, *[UNREACHED] * attempts, attempts=attempts)
    with pytest.raises(ConnectionFailedError, match="no route"):
        await script.end()
    assert len(script.made_at) == attempts


@pytest.mark.parametrize(
    ("first", "error"),
    [
        pytest.param(UNREACHED, ConnectionFailedError, id="not-sent"),
        pytest.param(throttled(), RateLimitError, id="rejected"),
        pytest.param(LOST, ExecutionOutcomeUnknownError, id="lost"),
        pytest.param(BAD_GATEWAY, ExecutionOutcomeUnknownError, id="bad-gateway"),
        pytest.param(REFUSED, ApiError, id="refused"),
    ],
)
async def test_mode_never_tries_once(
    clock: FakeClock, first: Answer, error: type[Exception]
) -> None:
    """Without retries the first attempt's failure is the call's, and nothing is waited for."""
    script = Script(clock, first, mode="never")
    with pytest.raises(error):
        await script.end()
    assert (script.made_at, clock.slept) == ([0.0], [])


async def test_mode_never_fails_a_repeatable_request_with_its_own_error(clock: FakeClock) -> None:
    """A GET is never of unknown outcome."""
    with pytest.raises(ServerError):
        await Script(clock, BAD_GATEWAY, request=LOOK, mode="never").end()


@pytest.mark.parametrize("mode", ["safe", "transient"])
async def test_lost_answer_is_unknown_at_once(clock: FakeClock, mode: str) -> None:
    """After a lost answer the request is not sent again, and the cause is attached."""
    script = Script(clock, LOST, mode=mode)
    with pytest.raises(ExecutionOutcomeUnknownError) as caught:
        await script.end()
    assert caught.value.__cause__ is LOST.error
    assert (caught.value.attempts, caught.value.workflow_id) == (1, "wf_1")
    assert caught.value.instance_tag == "rfa-1"
    assert script.counters.retries == 0


async def test_safe_mode_does_not_repeat_a_server_error(clock: FakeClock) -> None:
    """In `safe` mode a 502 on execute is unknown: the app may have seen the request."""
    with pytest.raises(ExecutionOutcomeUnknownError, match="bad gateway"):
        await Script(clock, BAD_GATEWAY, mode="safe").end()


async def test_safe_mode_repeats_what_never_started(clock: FakeClock) -> None:
    """In `safe` mode failures that prove no start are retried."""
    answer = await Script(clock, UNREACHED, throttled(), STARTED, mode="safe").end()
    assert (answer.attempts, answer.possible_duplicate) == (3, False)


async def test_resending_after_a_server_error_is_flagged(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A start sent again after a 502 says so: on the answer, in the log, in the counters."""
    caplog.set_level(logging.WARNING, "refold_async")
    script = Script(clock, BAD_GATEWAY, STARTED)
    answer = await script.end()
    assert (answer.attempts, answer.possible_duplicate) == (2, True)
    assert script.counters.possible_duplicates == 1
    (record,) = caplog.records
    assert "possible duplicate" in record.getMessage()
    assert "workflow_id=wf_1, instance_tag=rfa-1" in record.getMessage()


async def test_every_resending_after_doubt_is_counted(clock: FakeClock) -> None:
    """Once in doubt, each further try may be one start too many."""
    script = Script(clock, UNREACHED, BAD_GATEWAY, throttled(), STARTED)
    assert (await script.end()).possible_duplicate is True
    assert (script.counters.retries, script.counters.possible_duplicates) == (3, 2)


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(REFUSED, id="refused"),
        pytest.param(LOST, id="lost"),
        pytest.param(throttled(600), id="told-to-wait-too-long"),
        pytest.param(Answer(evidence=Evidence.MISCONFIGURED, error=RefoldError("tls")), id="tls"),
    ],
)
async def test_doubt_outlasts_later_failures(clock: FakeClock, last: Answer) -> None:
    """After an uncertain attempt the call ends *unknown*, never with a later attempt's error."""
    with pytest.raises(ExecutionOutcomeUnknownError) as caught:
        await Script(clock, BAD_GATEWAY, last).end()
    assert caught.value.attempts == 2
    assert caught.value.__cause__ is last.error


@pytest.mark.parametrize("later", [UNREACHED, BAD_GATEWAY])
async def test_doubt_outlasts_the_last_try(clock: FakeClock, later: Answer) -> None:
    """When the tries are used up after an uncertain one, the outcome is unknown."""
    with pytest.raises(ExecutionOutcomeUnknownError) as caught:
        await Script(clock, BAD_GATEWAY, *[later] * 3).end()
    assert caught.value.attempts == 4


async def test_sync_run_is_not_resent_after_a_gateway_timeout(clock: FakeClock) -> None:
    """A proxy that stopped waiting says nothing of the run, which very likely goes on."""
    cut = Answer(evidence=Evidence.UNCERTAIN, status=504, error=ServerError("late", status=504))
    with pytest.raises(ExecutionOutcomeUnknownError):
        await Script(clock, cut, request=execute(sync=True)).end()
    assert (await Script(clock, cut, STARTED).end()).attempts == 2


@pytest.mark.parametrize("failure", [LOST, BAD_GATEWAY])
@pytest.mark.parametrize("mode", ["safe", "transient"])
async def test_repeatable_request_is_repeated_without_doubt(
    clock: FakeClock, failure: Answer, mode: str
) -> None:
    """A GET is tried again after any lost answer, and no duplicate is feared."""
    script = Script(clock, failure, failure, accepted({}), request=LOOK, mode=mode)
    answer = await script.end()
    assert (answer.attempts, answer.possible_duplicate) == (3, False)
    assert script.counters.possible_duplicates == 0


async def test_repeatable_request_ends_with_its_own_error(clock: FakeClock) -> None:
    """A GET is never of unknown outcome."""
    with pytest.raises(ServerError):
        await Script(clock, LOST, *[BAD_GATEWAY] * 3, request=LOOK).end()


async def test_refusal_is_not_retried(clock: FakeClock) -> None:
    """A 4xx is raised as it came."""
    with pytest.raises(ApiError) as caught:
        await Script(clock, REFUSED).end()
    assert caught.value is REFUSED.error


async def test_unknown_outcome_says_how_to_look_the_run_up(clock: FakeClock) -> None:
    """The message names workflow and tag, and what to do; no list, as none was looked at."""
    with pytest.raises(ExecutionOutcomeUnknownError) as caught:
        await Script(clock, LOST).end()
    assert str(caught.value) == (
        "execute: after 1 try nobody knows whether a run started (connection lost)"
        " (workflow_id=wf_1, slug=hubspot). Before sending it again, await"
        " refold.find('rfa-1', workflow_id='wf_1') looks for it."
    )
    assert pickle.loads(pickle.dumps(caught.value)).instance_tag == "rfa-1"  # noqa: S301


async def test_callers_label_is_not_called_an_identity(clock: FakeClock) -> None:
    """A tag that other runs may carry too is told as a label, to be looked through by hand."""
    with pytest.raises(ExecutionOutcomeUnknownError, match="a label that other runs may carry"):
        await Script(clock, LOST, request=execute(unique_tag=False)).end()


async def test_unknown_rerun_names_the_execution(clock: FakeClock) -> None:
    """A rerun has no tag: the message names the run that was to be repeated."""
    with pytest.raises(ExecutionOutcomeUnknownError) as caught:
        await Script(clock, BAD_GATEWAY, LOST, request=RERUN).end()
    assert (caught.value.execution_id, caught.value.workflow_id) == (RUN, None)
    assert str(caught.value).startswith("rerun: after 2 tries nobody knows")
    assert f"(execution_id={RUN}, linked_account_id=acct_1)" in str(caught.value)


async def test_failure_without_an_error_still_raises_ours(clock: FakeClock) -> None:
    """An answer that brings no error of its own ends the call with the base class."""
    with pytest.raises(RefoldError, match="no answer"):
        await Script(clock, Answer(evidence=Evidence.REFUSED)).end()


async def test_foreign_error_of_an_attempt_passes_through(clock: FakeClock) -> None:
    """What is no answer at all is not retried."""
    script = Script(clock, UNREACHED)  # the script is empty: the next attempt is an IndexError
    with pytest.raises(IndexError):
        await script.end()


async def test_retries_are_logged(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """Each retry is told once, with the reason and the pause."""
    caplog.set_level(logging.INFO, "refold_async")
    await Script(clock, throttled(7), STARTED, wait=0).end()
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.getMessage() == (
        "execute failed (HTTP 429, slow down, retry after 7 s), try 2 follows in 7.0 s"
    )


async def test_concurrent_calls_do_not_disturb_each_other(clock: FakeClock) -> None:
    """Two hundred calls that fail side by side are each retried as often as they need."""
    scripts = [
        Script(clock, *[UNREACHED] * (1 + n % 3), *[BAD_GATEWAY] * (n % 2), STARTED, attempts=9)
        for n in range(200)
    ]
    tasks = [script.start() for script in scripts]
    await settle()
    await clock.advance(1000)
    answers = await asyncio.gather(*tasks)
    assert [a.attempts for a in answers] == [2 + n % 3 + n % 2 for n in range(200)]
    assert [a.possible_duplicate for a in answers] == [n % 2 == 1 for n in range(200)]
