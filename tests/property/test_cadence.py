"""Durations and pauses, whatever was learned: shares are shares, and no pause is too long."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from refold_async._waiting.cadence import Durations, Group, pause


def of(lengths: list[float]) -> Durations:
    """Give what is known after runs that took so long."""
    durations = Durations()
    for each in lengths:
        durations.observe(each)
    return durations


ANY_SECONDS = st.floats(0, 1e7) | st.sampled_from([0.0, 0.05, 1e300, 5e-324, -1.0])
KNOWN = st.builds(of, st.lists(ANY_SECONDS, max_size=60))
AGES = st.floats(0, 1e6)
GROUPS = st.lists(st.builds(Group, KNOWN, AGES, AGES, st.integers(1, 200)), max_size=4)


@given(KNOWN, AGES, st.lists(AGES, min_size=2))
def test_chances_are_chances_and_grow_with_time(
    known: Durations, age: float, spans: list[float]
) -> None:
    """A run is not less likely to have ended later, nor has it been over for less long."""
    told = [(known.after(age, span), span) for span in sorted(spans)]
    for (ended, over_for), span in told:
        assert 0 <= ended <= 1
        assert -1e-9 <= over_for <= span + 1e-6 * (1 + age)  # floats round
    for ((earlier, less), _), ((later, more), _) in pairwise(told):
        assert earlier <= later + 1e-9
        assert less <= more + 1e-6 * (1 + age)


@given(KNOWN, AGES)
def test_what_remains_is_a_time(known: Durations, age: float) -> None:
    """Never negative, never infinite."""
    assert -1e-6 <= known.remaining(age) < math.inf


@given(GROUPS, st.floats(1, 1e6), st.floats(0, 1e8), st.booleans())
def test_no_pause_is_longer_than_the_longest(
    groups: list[Group], pressure: float, longest: float, single: bool
) -> None:
    """Nor negative, whatever is known of whom."""
    groups = groups[:1] if single else groups
    assert 0 <= pause(groups, longest, pressure=pressure, single=single) <= longest


@given(GROUPS.filter(bool), st.floats(1, 10), st.floats(1, 20))
def test_a_dearer_look_is_made_no_sooner(
    groups: list[Group], pressure: float, factor: float
) -> None:
    """The price is what makes looks rare."""
    cheap, dear = (pause(groups, 1e6, pressure=each) for each in (pressure, pressure * factor))
    assert cheap <= dear + 1e-6 * 1e6
