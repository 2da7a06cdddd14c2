"""The rate that refusals teach, step by step; how it serves is in `test_shedding.py`."""

from __future__ import annotations

import random

import pytest

from refold_async._pacing.throttle import BACK, FALL, MEMORY, SLOWEST, WINDOW, Throttle

NOW = 100.0


def ask(throttle: Throttle, requests: str, now: float = NOW, apart: float = 0.05) -> float:
    """Let the service answer, `s` for served and `r` for refused; give the moment of the last."""
    for answer in requests:
        now += apart
        if answer == "s":
            throttle.serve(now, throttle.phase)
        else:
            throttle.refuse(now, throttle.phase)
    return now


def slowed(ceiling: float | None = 20.0, replies: str = "s" * 15) -> tuple[Throttle, float]:
    """Give a throttle that was refused once, and the moment at which that lowered its rate."""
    throttle = Throttle(ceiling)
    return throttle, ask(throttle, "r" + replies)


def test_nothing_is_learned_without_a_refusal() -> None:
    """What is served says nothing of what could be."""
    throttle = Throttle(20.0)
    ask(throttle, "s" * 100)
    assert (throttle.rate(110.0), throttle.learned, throttle.phase) == (20.0, False, 0)


def test_single_refusal_lowers_the_rate_a_little_and_for_seconds() -> None:
    """A dip, back just below what was refused, a rest, then growth up to the ceiling."""
    throttle, now = slowed()
    rates = [throttle.rate(now + after) or 0.0 for after in (0, BACK / 2, BACK, BACK + 3, 60)]
    peak = 20 * (1 - FALL / 2)
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(peak * (1 - FALL))
    assert rates[2] == pytest.approx(peak)
    assert rates[3] == pytest.approx(peak, rel=0.01)
    assert rates[4] == 20.0
    assert not throttle.learned


@pytest.mark.parametrize("ceiling", [20.0, 100.0])
@pytest.mark.parametrize("pause", [1.0, 3.0, 60.0])
def test_single_refusal_with_a_pause_lowers_the_rate_no_further(
    ceiling: float, pause: float
) -> None:
    """However long the pause, and however fast requests come: it is one refusal."""
    throttle, now = Throttle(ceiling), NOW
    throttle.refuse(now, throttle.phase)
    throttle.shut(now, now + pause)
    now = ask(throttle, "s" * 50, now + pause, apart=1 / ceiling)
    peak = ceiling * (1 - FALL / 2)
    assert throttle.phase == 1
    assert peak * (1 - FALL) <= (throttle.rate(now) or 0.0) < peak
    assert throttle.rate(now + BACK) == pytest.approx(peak, rel=0.01)


def test_refusals_of_one_round_trip_are_one_decrease() -> None:
    """What left before the rate fell says nothing about the new one."""
    throttle, now = slowed()
    rate = throttle.rate(now)
    for _ in range(WINDOW):
        throttle.refuse(now, throttle.phase - 1)
    assert (throttle.phase, throttle.rate(now)) == (1, rate)


@pytest.mark.parametrize(
    ("replies", "part"),
    [
        pytest.param("rs" * 8, 0.5, id="half is served"),
        pytest.param("rsss" * 4, 0.75, id="three quarters"),
        pytest.param("rrrr" * 3 + "srss", 1 / 3, id="next to nothing"),
    ],
)
def test_clear_share_of_refusals_lowers_the_rate_to_what_is_served(
    replies: str, part: float
) -> None:
    """At most to a third at a time."""
    throttle = Throttle(20.0)
    now = ask(throttle, replies)
    assert throttle.rate(now) == pytest.approx(20 * part)
    assert throttle.phase == 1


def test_without_a_ceiling_the_rate_is_what_was_sent() -> None:
    """Replies in the order of their coming tell how much was asked."""
    throttle = Throttle(None)
    now = ask(throttle, "rs" * 16, apart=0.001)
    assert throttle.rate(now) == pytest.approx(500, rel=0.05)


def test_service_that_serves_nothing_is_left_alone_for_longer_and_longer() -> None:
    """Pauses double, and the rate is what it was when it serves again."""
    throttle = Throttle(20.0)
    now = ask(throttle, "r" * WINDOW)
    gates = [throttle.gate - now]
    for _ in range(6):
        now = throttle.gate
        throttle.refuse(now, throttle.phase)
        gates.append(throttle.gate - now)
    assert gates == pytest.approx([0.5, 1, 2, 4, *[BACK / 3] * 3])
    now = throttle.gate
    throttle.serve(now, throttle.phase)
    assert throttle.rate(now) == SLOWEST
    assert throttle.rate(now + BACK) == 20.0


@pytest.mark.parametrize(
    ("rate", "share"),
    [(60.0, 0.15), (60.0, 0.2), (60.0, 0.3), (1_000.0, 0.02), (1_000.0, 0.2), (1_000.0, 0.3)],
)
def test_refusals_by_chance_do_not_bring_the_rate_down(rate: float, share: float) -> None:
    """Where less is refused no more rarely, the rate comes back to what it was."""
    throttle, draw = Throttle(rate), random.Random(1)
    now, sent = NOW, 0
    while now < NOW + 60:
        now += 1 / (throttle.rate(now) or rate)
        sent += 1
        if draw.random() < share:
            throttle.refuse(now, throttle.phase)
        else:
            throttle.serve(now, throttle.phase)
    assert sent >= 0.7 * 60 * rate


def test_chance_ends_when_the_share_doubles_or_in_two_minutes() -> None:
    """A fifth refused by chance excuses no four fifths, and nothing for ever."""
    for after, replies in ((0.0, "rrrrs" * 10), (MEMORY, "rsss" * 10)):
        throttle, now = Throttle(60.0), NOW
        while throttle.rate(now) != 60.0 or throttle.phase == 0:
            now = ask(throttle, "rssss", now)
        phase = throttle.phase
        ask(throttle, "rssss" * 20, now)
        assert throttle.phase == phase
        ask(throttle, replies, now + 10 + after)
        assert throttle.phase > phase


def test_late_refusal_still_shuts_the_gate() -> None:
    """A Retry-After holds whenever its request left; the way back begins when it is over."""
    throttle, now = slowed()
    rate = throttle.rate(now)
    throttle.shut(now, now + 4.0)
    throttle.shut(now + 1, now + 3.0)
    assert throttle.gate == now + 4.0
    assert throttle.rate(now + 4.0) == rate


@pytest.mark.parametrize("apart", [0.01, 0.5, 4.0, 7.0])
def test_service_that_refuses_everything_is_asked_again_within_seconds(apart: float) -> None:
    """However long it lasts, the end is noticed."""
    throttle, now = Throttle(20.0), NOW
    for _ in range(300):
        now = max(now + apart, throttle.gate)
        throttle.refuse(now, throttle.phase)
    assert throttle.gate - now <= BACK
    rates = [throttle.rate(throttle.gate + after) or 0.0 for after in range(30)]
    assert rates[0] >= SLOWEST
    assert max(rates) == 20.0


def test_ceiling_below_the_slowest_rate_is_kept_to() -> None:
    """A client that wants to ask once a minute does."""
    throttle = Throttle(1 / 60)
    now = ask(throttle, "r" * 30, apart=60.0)
    assert all((throttle.rate(now + after) or 1.0) <= 1 / 60 for after in range(300))


def test_without_a_ceiling_a_long_calm_lifts_the_limit() -> None:
    """Two minutes after the last refusal nothing of it is left."""
    throttle, now = slowed(None, "r" * 40)
    assert throttle.learned
    assert throttle.rate(now + MEMORY + BACK + 1) is None


def test_ceiling_and_gate_are_values_that_others_may_set() -> None:
    """Who shares the service with others says how much is ours, and when it must rest."""
    throttle = Throttle(20.0)
    throttle.ceiling = 5.0
    throttle.gate = 130.0
    assert (throttle.rate(NOW), throttle.gate) == (5.0, 130.0)
