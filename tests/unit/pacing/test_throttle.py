"""The rate that refusals teach, step by step; how it serves is in `test_shedding.py`."""

from __future__ import annotations

import pytest

from refold_async._pacing.throttle import RECOVERY, Throttle


def refused_steadily(throttle: Throttle, times: int, *, apart: float) -> float:
    """Let every request be refused, and give the moment after the last."""
    now = 100.0
    for _ in range(times):
        now = max(now + apart, throttle.gate)
        throttle.refuse(now, throttle.phase, 0.0)
    return now


def test_nothing_is_learned_without_a_refusal() -> None:
    """What is served says nothing of what could be."""
    throttle = Throttle(20.0)
    for number in range(100):
        throttle.serve(number / 10, throttle.phase)
    assert (throttle.rate(10.0), throttle.learned, throttle.phase) == (20.0, False, 0)


def test_refusals_of_one_phase_are_one_decrease() -> None:
    """What left before the rate fell says nothing about the new one."""
    throttle = Throttle(20.0)
    for number in range(20):
        throttle.serve(number / 20, 0)
    for _ in range(5):
        throttle.refuse(1.0, 0, 0.0)
    assert (throttle.phase, throttle.refused) == (1, 5)
    rate = throttle.rate(1.0)
    assert rate is not None
    assert 18 < rate < 20


def test_late_refusal_still_shuts_the_gate() -> None:
    """A Retry-After holds whenever its request left; the way back begins when it is over."""
    throttle = Throttle(20.0)
    throttle.refuse(1.0, 0, 0.0)
    rate = throttle.rate(1.0)
    throttle.refuse(1.5, 0, 4.0)
    assert (throttle.gate, throttle.phase) == (5.5, 1)
    assert throttle.rate(5.0) == rate


def test_rate_is_back_below_what_was_refused_and_goes_beyond_later() -> None:
    """A dip, a recovery of seconds, a plateau, then growth up to the ceiling."""
    throttle = Throttle(20.0)
    for number in range(20):
        throttle.serve(number / 20, 0)
    throttle.refuse(1.0, 0, 0.0)
    rates = [throttle.rate(1.0 + after) or 0.0 for after in (0, RECOVERY, 4.5, 7, 60)]
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(0.95 * rates[1])
    assert rates[1] == rates[2] == pytest.approx(0.99 * 20)
    assert rates[-1] == 20.0
    assert not throttle.learned


@pytest.mark.parametrize("apart", [0.01, 0.5, 4.0, 7.0])
def test_service_that_refuses_everything_is_asked_again_within_seconds(apart: float) -> None:
    """However long it lasts, the rate never falls so low that nobody would notice the end."""
    throttle = Throttle(20.0)
    now = refused_steadily(throttle, 300, apart=apart)
    rates = [throttle.rate(now + after) or 0.0 for after in range(60)]
    assert max(rates[:30]) >= 0.1
    assert max(rates) > 1


def test_ceiling_below_the_slowest_rate_is_kept_to() -> None:
    """A client that wants to ask once a minute does."""
    throttle = Throttle(1 / 60)
    now = refused_steadily(throttle, 10, apart=60.0)
    assert all((throttle.rate(now + after) or 1.0) <= 1 / 60 for after in range(300))


def test_without_a_ceiling_a_long_calm_lifts_the_limit() -> None:
    """What was learned is forgotten when the rate has grown a hundredfold."""
    throttle = Throttle(None)
    for number in range(40):
        throttle.refuse(1 + number / 1000, throttle.phase, 0.0)
    assert throttle.learned
    assert throttle.rate(600.0) is None
