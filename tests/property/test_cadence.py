"""Durations and pauses, whatever was learned: shares are shares, and no pause is too long."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from refold_async._waiting.cadence import Durations, pause


def of(lengths: list[float]) -> Durations:
    """Give what is known after runs that took so long."""
    durations = Durations()
    for each in lengths:
        durations.observe(each)
    return durations


ANY_SECONDS = st.floats(0, 1e7) | st.sampled_from([0.0, 0.05, 1e300, 5e-324])
KNOWN = st.builds(of, st.lists(ANY_SECONDS, min_size=1, max_size=60))
AGES = st.floats(0, 1e6)
GROUPS = st.lists(st.tuples(KNOWN, AGES, st.integers(1, 200)), max_size=4)


@given(KNOWN, AGES, AGES)
def test_shares_are_shares_and_grow_with_age(known: Durations, one: float, two: float) -> None:
    """Whatever was learned, of a nanosecond or of years."""
    young, old = sorted([one, two])
    assert 0 <= known.ended_by(young) <= known.ended_by(old) <= 1


@given(KNOWN, AGES, st.lists(AGES, min_size=2))
def test_chances_are_chances_and_grow_with_time(
    known: Durations, age: float, spans: list[float]
) -> None:
    """A run is not less likely to have ended later."""
    chances = [known.ends_within(age, span) for span in sorted(spans)]
    assert all(0 <= chance <= 1 for chance in chances)
    assert all(earlier <= later + 1e-9 for earlier, later in pairwise(chances))


@given(KNOWN, AGES)
def test_what_remains_is_a_time(known: Durations, age: float) -> None:
    """Never negative, never infinite."""
    assert 0 <= known.remaining(age) < math.inf


@given(GROUPS, st.floats(0.01, 1e6), st.floats(0, 1e8), st.booleans())
def test_no_pause_is_longer_than_the_longest(
    groups: list[tuple[Durations, float, int]], worth: float, longest: float, looked: bool
) -> None:
    """Nor negative, whatever is known of whom."""
    assert 0 <= pause(groups, worth, longest, looked=looked) <= longest


@given(GROUPS.filter(bool), st.floats(0.01, 10), st.floats(1, 20))
def test_a_dearer_look_is_made_no_sooner(
    groups: list[tuple[Durations, float, int]], worth: float, factor: float
) -> None:
    """The price is what makes looks rare."""
    cheap, dear = (pause(groups, each, 1e6) for each in (worth, worth * factor))
    assert cheap <= dear * (1 + 1e-9)
