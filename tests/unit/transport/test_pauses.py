"""The pauses between tries: backoff, Retry-After, deadline, cancelling."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs
import pytest

from refold_async import (
    ConnectionFailedError,
    ExecutionOutcomeUnknownError,
    RateLimitError,
    ServerError,
)
from refold_async._protocol import Answer, Evidence
from tests.support.clock import FakeClock, settle
from tests.support.persisting import BAD_GATEWAY, STARTED, UNREACHED, Script, throttled

pytestmark = pytest.mark.long

SAMPLES = 300
"""Enough that a full range is all but certain to show: 0.9 ** 300 is 2e-14."""


async def _pauses(*answers: Answer, **policy: Any) -> list[list[float]]:
    """Give the pauses of many like calls, by their place."""
    scripts = [Script(FakeClock(), *answers, **policy) for _ in range(SAMPLES)]
    for script in scripts:
        await script.end()
    return [list(place) for place in zip(*(script.pauses for script in scripts), strict=True)]


async def test_backoff_is_full_jitter_that_doubles_up_to_a_limit() -> None:
    """The pause after try n (from 0) is spread over 0 to `min(max_wait, wait * 2**n)`."""
    pauses = await _pauses(*[UNREACHED] * 5, STARTED, attempts=6, wait=0.5, max_wait=3)
    for pause, longest in zip(pauses, [0.5, 1, 2, 3, 3], strict=True):
        assert 0 <= min(pause) < 0.1 * longest
        assert 0.9 * longest < max(pause) <= longest


async def test_retry_after_is_a_lower_bound_with_jitter_on_top() -> None:
    """A pause that was asked for is kept, and callers told the same don't return as one."""
    ((*pauses,),) = await _pauses(throttled(10), STARTED, wait=2)
    assert 10 <= min(pauses) < 10.2
    assert 11.8 < max(pauses) <= 12


async def test_no_wait_means_no_pause(clock: FakeClock) -> None:
    """With `wait=0` the tries follow each other at once."""
    script = Script(clock, UNREACHED, UNREACHED, STARTED, wait=0)
    await script.end()
    assert script.pauses == [0, 0]


async def test_longest_accepted_retry_after_is_slept(clock: FakeClock) -> None:
    """A Retry-After of just `patience` is still waited for."""
    script = Script(clock, throttled(120), STARTED, wait=0)
    await script.end()
    assert script.pauses == [120]


async def test_longer_retry_after_fails_at_once(clock: FakeClock) -> None:
    """Past `patience` the caller is told how long to wait, instead of being made to."""
    script = Script(clock, throttled(120.5), STARTED)
    with pytest.raises(RateLimitError, match=r"retry after 120\.5 s") as caught:
        await script.end()
    assert caught.value.retry_after == 120.5
    assert clock.slept == []


async def test_overload_with_a_long_retry_after_fails_at_once(clock: FakeClock) -> None:
    """A 503 that asks for too long a pause ends the call as a 429 does."""
    error = ServerError("overload", status=503, retry_after=121)
    busy = Answer(evidence=Evidence.REJECTED, status=503, error=error, retry_after=121)
    with pytest.raises(ServerError) as caught:
        await Script(clock, busy, STARTED).end()
    assert caught.value.retry_after == 121


async def test_refusals_by_load_are_no_attempts(clock: FakeClock) -> None:
    """A service that sheds is asked for as long as patience lasts, whatever `attempts` says."""
    script = Script(clock, *[throttled(5)] * 20, STARTED, attempts=1, wait=0)
    answer = await script.end()
    assert (answer.attempts, script.made_at[-1]) == (21, 100)


async def test_patience_is_in_all(clock: FakeClock) -> None:
    """It counts from the first refusal, and what is asked for beyond it fails at once."""
    script = Script(clock, *[throttled(50)] * 3, wait=0)
    with pytest.raises(RateLimitError):
        await script.end()
    assert script.made_at == [0, 50, 100]


async def test_the_last_try_comes_as_patience_ends(clock: FakeClock) -> None:
    """Jitter does not outlast it; the refusal that is met then is raised."""
    script = Script(clock, *[throttled()] * 400, wait=9, max_wait=9, patience=30)
    with pytest.raises(RateLimitError):
        await script.end()
    assert script.made_at[-1] == pytest.approx(30)


async def test_tries_are_told_how_much_patience_is_left(clock: FakeClock) -> None:
    """So that a queue holds up a call that was refused no longer than its pauses would."""
    script = Script(clock, UNREACHED, throttled(10), throttled(15), STARTED, patience=60, wait=0)
    await script.end()
    assert script.patience_left == [60, 50, 35]


async def test_no_patience_means_no_second_try(clock: FakeClock) -> None:
    """`patience=0` raises the first refusal by load, and nothing is waited for."""
    script = Script(clock, throttled(), STARTED, patience=0)
    with pytest.raises(RateLimitError):
        await script.end()
    assert (script.made_at, clock.slept) == ([0], [])


@pytest.mark.parametrize("status", [408, 421, 425])
async def test_other_rejections_are_attempts(clock: FakeClock, status: int) -> None:
    """They tell of this request and its connection, not of a queue that ends."""
    turned_away = throttled()._replace(status=status)
    script = Script(clock, *[turned_away] * 9, attempts=3, wait=0)
    with pytest.raises(RateLimitError):
        await script.end()
    assert len(script.made_at) == 3


async def test_tries_between_refusals_are_counted(clock: FakeClock) -> None:
    """A failure is one, however many refusals by load come before and after it."""
    busy = [throttled()] * 3
    script = Script(clock, *busy, UNREACHED, *busy, UNREACHED, *busy, attempts=2, wait=0)
    with pytest.raises(ConnectionFailedError):
        await script.end()
    assert len(script.made_at) == 8


async def test_deadline_bounds_tries_and_pauses_together(clock: FakeClock) -> None:
    """A pause that would outlast the deadline is not begun."""
    answers = [throttled(4)] * 4
    script = Script(clock, *answers, deadline=10, wait=0)
    with pytest.raises(RateLimitError):
        await script.end()
    assert script.made_at == [0, 4, 8]


@pytest.mark.parametrize(("deadline", "tries"), [(5, 1), (5.001, 2)])
async def test_pause_must_end_before_the_deadline(
    clock: FakeClock, deadline: float, tries: int
) -> None:
    """A try that would begin with no time left is not made."""
    script = Script(clock, throttled(5), throttled(5), deadline=deadline, wait=0)
    with pytest.raises(RateLimitError):
        await script.end()
    assert len(script.made_at) == tries


async def test_time_spent_in_tries_counts_towards_the_deadline(clock: FakeClock) -> None:
    """A slow attempt leaves less time for pauses."""
    script = Script(clock, throttled(1), throttled(1), throttled(1), deadline=10, wait=0)
    quick = script.call.attempt

    async def slow(patience: float) -> Answer:
        clock.now += 8.5
        return await quick(patience)

    script.call = attrs.evolve(script.call, attempt=slow)
    with pytest.raises(RateLimitError):
        await script.end()
    assert script.made_at == [0, 9.5]


async def test_deadline_after_doubt_is_unknown(clock: FakeClock) -> None:
    """When time is up after an uncertain attempt, the outcome is unknown."""
    script = Script(clock, BAD_GATEWAY._replace(retry_after=5.0), deadline=5)
    with pytest.raises(ExecutionOutcomeUnknownError) as caught:
        await script.end()
    assert caught.value.attempts == 1


async def test_passed_deadline_ends_the_call(clock: FakeClock) -> None:
    """A call whose time is over already is not tried again."""
    with pytest.raises(ConnectionFailedError):
        await Script(clock, UNREACHED, STARTED, deadline=-1, wait=0).end()


async def test_cancelling_during_the_pause_ends_the_call_at_once(clock: FakeClock) -> None:
    """A cancelled caller makes no further try."""
    script = Script(clock, throttled(60), STARTED)
    task = script.start()
    await clock.advance(30)
    task.cancel()
    await settle()
    assert task.cancelled()
    await clock.advance(1000)
    assert script.made_at == [0]


async def test_cancelling_during_a_try_is_not_retried(clock: FakeClock) -> None:
    """Cancelling is no failure of the request."""
    script = Script(clock, UNREACHED, STARTED, wait=0)
    tries = 0

    async def hang(_: float) -> Answer:
        nonlocal tries
        tries += 1
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    script.call = attrs.evolve(script.call, attempt=hang)
    task = script.start()
    await clock.advance(1)
    task.cancel()
    await settle()
    assert task.cancelled()
    await clock.advance(1000)
    assert tries == 1
