"""A Retry-After holds everybody: who can't outlast it is told at once, and it is logged."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING

import pytest

from refold_async import ClientClosedError, RateLimit, RateLimitError, ServerError
from refold_async._pacing import Budget, Priority
from tests.support.clock import settle

if TYPE_CHECKING:
    from refold_async._errors import ApiError
    from tests.support.clock import FakeClock


@pytest.fixture
def budget(clock: FakeClock) -> Budget:
    """Give a budget that is fast enough not to matter."""
    return Budget(RateLimit(per_second=100, burst=1), 100, clock)


async def ask(
    budget: Budget, *, within: float | None = None, patience: float = 120.0
) -> asyncio.Task[int | None]:
    """Let a caller ask for a slot."""
    deadline = None if within is None else budget._clock.monotonic() + within
    asking = budget.acquire(Priority.RESULT, deadline, account="acct_1", patience=patience)
    task = asyncio.create_task(asking)
    await settle()
    return task


async def full(budget: Budget) -> None:
    """Let somebody take the token that is there."""
    assert budget.take(Priority.START) is not None


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimitError), (503, ServerError)])
async def test_queued_call_that_cannot_outlast_the_gate_fails_at_once(
    clock: FakeClock, budget: Budget, status: int, kind: type[ApiError]
) -> None:
    """With the status of the refusal that shut it, and what is left of its Retry-After."""
    await full(budget)
    waiting = await ask(budget)
    budget.refused(0, 3_600.0, status)
    await settle()
    later = await ask(budget)
    await clock.advance(5)
    latest = await ask(budget)
    for task, left in ((waiting, 3_600), (later, 3_600), (latest, 3_595)):
        error = task.exception()
        assert type(error) is kind
        assert error.status == status
        assert error.retry_after == pytest.approx(left)
        assert "not sent" in str(error)


async def test_each_of_them_has_an_error_of_its_own(clock: FakeClock, budget: Budget) -> None:
    """Tracebacks don't mix."""
    await full(budget)
    waiting = [await ask(budget) for _ in range(3)]
    budget.refused(0, 3_600.0)
    await settle()
    assert len({id(task.exception()) for task in waiting}) == 3


async def test_who_is_patient_waits(clock: FakeClock, budget: Budget) -> None:
    """Patience and deadline are held against what is left of the gate."""
    budget.refused(0, 60.0)
    calls = {
        "patient": await ask(budget),
        "impatient": await ask(budget, patience=59.0),
        "in time": await ask(budget, within=61.0),
        "late": await ask(budget, within=59.0),
        "not at all": await ask(budget, patience=0.0),
    }
    failed = {name for name, task in calls.items() if task.done()}
    assert failed == {"impatient", "late", "not at all"}
    await clock.advance(59.9)
    assert not calls["patient"].done()
    await clock.advance(0.2)
    assert calls["patient"].result() is not None
    assert calls["in time"].result() is not None


async def test_gate_is_shut_for_two_minutes_at_most(clock: FakeClock, budget: Budget) -> None:
    """Then somebody asks again, whatever the service said."""
    budget.refused(0, 86_400.0)
    assert budget.stats().stopped_for == 120
    patient = await ask(budget, patience=math.inf)
    await clock.advance(119)
    assert not patient.done()
    await clock.advance(1.1)
    assert patient.result() is not None
    assert (await ask(budget)).done()


async def test_refusal_after_a_long_pause_counts_for_itself(
    clock: FakeClock, budget: Budget
) -> None:
    """What an earlier one said of an hour is over when the service was asked again."""
    budget.refused(0, 3_600.0)
    await clock.advance(121)
    budget.refused(0, 2.0)
    waiting = await ask(budget)
    assert not waiting.done()
    await clock.advance(2.1)
    assert waiting.result() is not None


async def test_caller_cancelled_as_the_gate_shuts_is_cancelled(
    clock: FakeClock, budget: Budget
) -> None:
    """Its error is not reported as unseen, and its slot is not lost."""
    await full(budget)
    waiting = await ask(budget)
    budget.refused(0, 3_600.0)
    waiting.cancel()
    await settle()
    assert waiting.cancelled()
    budget.close(ClientClosedError("closed"))


async def test_gate_is_logged_once_and_when_it_opens(
    clock: FakeClock, budget: Budget, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning with its length, however many refusals say the same."""
    caplog.set_level(logging.INFO, "refold_async")
    await full(budget)
    waiting = [await ask(budget), await ask(budget, within=3.0)]
    for _ in range(20):
        budget.refused(0, 30.0)
        await clock.advance(0.01)
    (shut,) = caplog.records
    assert shut.levelname == "WARNING"
    assert shut.getMessage() == (
        "the service refused a request (HTTP 429): for 30 s none leaves; 1 queued calls wait,"
        " 1 that would not wait so long fail"
    )
    await clock.advance(31)
    assert waiting[0].result() is not None
    assert [record.getMessage() for record in caplog.records[1:]] == [
        "the pause is over: requests leave again"
    ]


async def test_service_that_serves_nothing_shuts_the_gate_too(
    clock: FakeClock, budget: Budget, caplog: pytest.LogCaptureFixture
) -> None:
    """A row of refusals without Retry-After is a reason as good."""
    caplog.set_level(logging.INFO, "refold_async")
    for _ in range(16):
        budget.refused(0, status=503)
    assert budget.stats().stopped_for == 0.5
    assert isinstance((await ask(budget, within=0.4)).exception(), ServerError)
    waiting = await ask(budget, within=5.0)
    await clock.advance(2)
    assert waiting.result() is not None
    assert "HTTP 503" in caplog.text


async def test_short_stop_is_no_news_unless_calls_fail(
    clock: FakeClock, budget: Budget, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that asks for a second's pause every now and then does not fill the log."""
    caplog.set_level(logging.INFO, "refold_async")
    await full(budget)
    budget.refused(0, 1.0)
    await clock.advance(1.1)
    waiting = await ask(budget, patience=0.5)
    assert waiting.result() is not None
    waiting = await ask(budget, patience=0.5)
    budget.refused(0, 1.0)
    await settle()
    assert isinstance(waiting.exception(), RateLimitError)
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO", "WARNING"]


async def test_gate_may_be_set_from_outside(clock: FakeClock, budget: Budget) -> None:
    """Whoever learns elsewhere that the service wants a pause says so."""
    budget.pace.throttle.gate = clock.now + 10
    waiting = await ask(budget)
    await clock.advance(9)
    assert not waiting.done()
    await clock.advance(1.1)
    assert waiting.result() is not None


async def test_gates_that_follow_each_other_are_one_to_who_waits(clock: FakeClock) -> None:
    """However short each is: who is held up beyond its patience, with nothing served, is told."""
    budget = Budget(RateLimit(per_second=1, burst=1), 100, clock)
    budget.refused(0, 5.0)
    waiting = [await ask(budget, patience=20.0) for _ in range(10)]
    for _ in range(3):
        assert [task for task in waiting if task.done() and task.exception()] == []
        await clock.advance(5.5)
        budget.refused(0, 5.0)  # whoever asks again when it opens
        await settle()
    assert len([task for task in waiting if task.done() and task.exception()]) == 7
    assert all(task.done() for task in waiting)


async def test_what_is_served_in_between_begins_patience_anew(clock: FakeClock) -> None:
    """A service that takes requests now and then holds nobody up for long."""
    budget = Budget(RateLimit(per_second=100, burst=1), 1, clock)
    for _ in range(10):
        phase = await budget.acquire()
        budget.served(phase or 0)
        budget.refused(phase or 0, 5.0)
        budget.release()
        task = await ask(budget, patience=8.0)
        assert not task.done()
        await clock.advance(6)
        assert task.result() is not None
        budget.release("acct_1")


async def test_gates_far_apart_are_two_though_nothing_was_answered_in_between(
    clock: FakeClock,
) -> None:
    """While long sync runs hold all places, who queues is not held up by the service's refusals."""
    budget = Budget(RateLimit(per_second=100, burst=1), 1, clock)
    assert await budget.acquire() is not None
    budget.refused(0, 5.0)
    waiting = await ask(budget)
    await clock.advance(150)
    budget.refused(0, 30.0)
    await settle()
    assert not waiting.done()
    budget.release()
    await clock.advance(31)
    assert waiting.result() is not None


async def test_who_was_refused_first_is_sent_again_first(clock: FakeClock) -> None:
    """Ahead of the account's others, and in the order in which they come back."""
    budget, served = Budget(RateLimit(per_second=10, burst=1), 100, clock), ""

    async def call(name: str, *, again: bool) -> None:
        nonlocal served
        await budget.acquire(again=again)
        served += name

    await full(budget)
    calls = []
    for name in "abcABC":
        calls.append(asyncio.create_task(call(name, again=name.isupper())))
        await settle()
    await clock.advance(1)
    assert served == "ABCabc"
    await asyncio.gather(*calls)
