"""Throttles that tell each other what they learn, and what they count, are as one."""

from __future__ import annotations

import pytest

from refold_async._pacing.throttle import BACK, WINDOW, Throttle
from tests.unit.pacing.test_throttle import NOW, ask, slowed


def rates(throttle: Throttle, now: float) -> list[float | None]:
    """Give what it will do from then on."""
    return [throttle.rate(now + after) for after in (0, BACK / 2, BACK, 1.5 * BACK)]


def test_who_is_told_goes_on_like_who_has_learned_it() -> None:
    """By a clock of its own, and however much later it hears."""
    one, now = slowed()
    other, ahead = Throttle(20.0), 1_000.0
    other.learn(one.tell(now + 3), now + 3 + ahead)
    assert rates(other, now + 5 + ahead) == pytest.approx(rates(one, now + 5))


@pytest.mark.parametrize(
    "replies",
    [
        pytest.param("r" * WINDOW, id="an outage"),
        pytest.param("rsrs" * 8, id="trouble"),
        pytest.param("rsrs" * 8 + ("rsrs" * 12 + "s" * 64) * 3, id="chance"),
        pytest.param("rs", id="a window that is open"),
    ],
)
def test_all_that_is_known_is_told(replies: str) -> None:
    """Who hears it knows as much as who tells it, but for what is counted."""
    one, other = Throttle(None), Throttle(None)
    now = ask(one, replies)
    other.learn(one.tell(now), now)
    other.hear(now, *one.counted)
    assert other.tell(now) == one.tell(now)
    again = ask(one, "srss" * 16, now)
    ask(other, "srss" * 16, now)
    assert other.rate(again) == one.rate(again)


def test_what_left_before_a_lesson_says_nothing_about_it() -> None:
    """Its refusals are those that the lesson is about."""
    one, now = slowed()
    other = Throttle(20.0)
    phase = other.phase
    other.learn(one.tell(now), now)
    rate = other.rate(now)
    for _ in range(WINDOW):
        other.refuse(now, phase)
    assert other.rate(now) == rate


def test_replies_of_all_are_judged_together() -> None:
    """Each has too few to tell, and all together have enough."""
    one, other = Throttle(20.0), Throttle(20.0)
    now = ask(one, "r" + "s" * 3)
    other.learn(one.tell(now), now)
    now = ask(other, "srsrsrsr", now)
    assert not one.learned
    changes = one.changes
    one.hear(now, *other.counted)
    one.hear(now, *other.counted)  # told twice, counted once
    assert one.counted == (3, 1)
    ask(one, "srsr", now)
    assert one.changes > changes
    assert one.rate(now) == pytest.approx(20 * 9 / 16, rel=0.1)


def test_where_nothing_limits_the_rate_a_part_of_it_tells_of_all() -> None:
    """Who sends a quarter, and has half of it refused, knows of twice what it sent."""
    alone, quarter = Throttle(None), Throttle(None)
    quarter.part = 0.25
    for throttle in (alone, quarter):
        now = ask(throttle, "rs" * WINDOW, apart=0.005)
    assert quarter.rate(now) == pytest.approx(4 * (alone.rate(now) or 0.0))


@pytest.mark.parametrize(
    "told",
    ["", "null", "[]", "[1, 2]", '["x", 0, 0, null, null, null, 0]', "[8, 0, 0, 1, 0, 0, 0]"],
)
def test_what_nobody_tells_is_refused_and_changes_nothing(told: str) -> None:
    """Somebody else may have written to the Redis."""
    throttle, now = slowed()
    before = throttle.tell(now), throttle.phase
    with pytest.raises(ValueError):  # noqa: PT011 - of which kind is all the same
        throttle.learn(told, now)
    assert (throttle.tell(now), throttle.phase) == before


def test_numbers_that_are_told_are_kept_within_their_bounds() -> None:
    """Neither faster than the ceiling, nor silent for ever."""
    throttle = Throttle(20.0)
    throttle.learn("[1e9, NaN, -1e9, null, null, null, 1e9]", NOW)
    assert 0 < (throttle.rate(NOW) or 0.0) <= 20
    assert throttle.rate(NOW + 400) == 20
