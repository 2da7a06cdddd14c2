"""What is learned of durations, and how long a look is put off."""

from __future__ import annotations

import math
import random

import pytest

from refold_async._waiting.cadence import Cadence, Durations, Pace, pause, price


def of(*seconds: float) -> Durations:
    """Give what is known after runs that took so long."""
    durations = Durations()
    for each in seconds:
        durations.observe(each)
    return durations


def lognormal(median: float, sigma: float, *, runs: int = 2_000) -> Durations:
    """Give what is known after many runs of a known distribution."""
    draw = random.Random(3)
    return of(*(draw.lognormvariate(math.log(median), sigma) for _ in range(runs)))


def test_quantiles_of_a_known_distribution_are_found() -> None:
    """A bin is 12 % wide and 35 runs make half of the picture: a tenth or so is what to expect."""
    known = lognormal(12, 0.5)
    for deviations, share in [(-1, 0.159), (0, 0.5), (1, 0.841)]:
        assert known.ended_by(12 * math.exp(0.5 * deviations)) == pytest.approx(share, abs=0.12)
    assert 10 < known.remaining(0) < 14.5


def test_one_length_is_known_after_few_runs() -> None:
    """What always takes 10 s is neither over at 5 s nor running at 20 s."""
    known = of(*[10.0] * 20)
    assert known.ended_by(5) == 0
    assert known.ended_by(20) == 1
    assert 9 < known.remaining(0) < 11.5
    assert 4 < known.remaining(5) < 6.5


def test_the_more_runs_the_sharper_the_picture() -> None:
    """One run may have been an exception, fifty were none."""

    def blur(runs: int) -> float:
        known = of(*[10.0] * runs)
        return known.ended_by(20) - known.ended_by(14)

    assert blur(1) > 10 * blur(60) > 0


def test_old_durations_fade() -> None:
    """After 35 runs of another length both count alike; after 300 the old ones hardly do."""
    known = of(*[10.0] * 300, *[100.0] * 35)
    assert known.ended_by(40) == pytest.approx(0.5, abs=0.01)
    for _ in range(265):
        known.observe(100.0)
    assert known.ended_by(40) < 0.005


def test_a_million_runs_fit_into_a_float() -> None:
    """The weight of a run grows without end; the picture is scaled down in time."""
    known = of(*[10.0] * 20_000)
    assert known.ended_by(20) == 1
    assert math.isfinite(known.remaining(0))
    assert max(known._weights) < 1e52


def test_older_than_all_runs_known_means_twice_as_old() -> None:
    """Where history is silent, a run is expected to go on for about as long as it did so far."""
    known = of(*[10.0] * 50)
    assert known.remaining(1_000) == 500
    assert known.ends_within(1_000, 100) == 0.1
    assert known.ends_within(1_000, 5_000) == 1


def test_a_workflow_is_known_after_five_runs() -> None:
    """The fifth says so, once; runs of other workflows and of none count for nothing."""
    cadence = Cadence()
    told = []
    for _ in range(7):
        told.append(cadence.observe("wf_1", 10.0))
        cadence.observe("wf_2" if len(told) < 3 else None, 10.0)
    assert told == [False, False, False, False, True, False, False]
    assert cadence.of("wf_1") is not None
    assert (cadence.of("wf_2"), cadence.of("wf_3"), cadence.of(None)) == (None, None, None)


def test_a_thousand_workflows_are_kept_those_used_last() -> None:
    """One more pushes out the one whose runs ended longest ago."""
    cadence = Cadence()
    for number in range(1_000):
        for _ in range(5):
            cadence.observe(f"wf_{number}", 10.0)
    cadence.observe("wf_0", 10.0)
    cadence.observe("new", 10.0)
    known = [number for number in range(1_000) if cadence.of(f"wf_{number}") is not None]
    assert known == [0, *range(2, 1_000)]


def test_pace_is_free_while_few_lists_are_read() -> None:
    """Two a second are no reason to read more rarely."""
    pace = Pace()
    for number in range(40):
        pace.count(1_000 + number / 2)
    assert (pace.pressure(1_020), pace.shortest(1_020)) == (1.0, 0.5)


def test_many_lists_make_the_next_ones_rarer_and_it_passes() -> None:
    """At 20 a second the price rises and pauses grow; a quarter of a minute later it is over."""
    pace = Pace()
    for number in range(400):
        pace.count(1_000 + number / 20)
    assert pace.pressure(1_020) > 10
    assert pace.shortest(1_020) > 2
    assert pace.pressure(1_020) > pace.pressure(1_025) > 1
    assert (pace.pressure(1_035), pace.shortest(1_035)) == (1.0, 0.5)


def waited_for(known: Durations, age: float, runs: int, seconds: float) -> float:
    """Give the seconds that ended runs have gone unnoticed, as expected, summed up finely."""
    steps = 2_000
    moments = [seconds * (step + 0.5) / steps for step in range(steps)]
    return sum(runs * known.ends_within(age, at) for at in moments) * seconds / steps


@pytest.mark.parametrize("age", [0.0, 8.0, 15.0, 300.0])
@pytest.mark.parametrize("runs", [1, 10, 100])
def test_a_look_is_made_when_the_expected_delay_adds_up_to_its_price(age: float, runs: int) -> None:
    """The pause is where a bisection finds it, but for the coarse steps it is computed in."""
    known = lognormal(12, 0.5)
    low, high = 0.0, 1e4
    for _ in range(50):
        middle = (low + high) / 2
        if waited_for(known, age, runs, middle) < price(runs):
            low = middle
        else:
            high = middle
    assert pause([(known, age, runs)], price(runs), 1e4) == pytest.approx(low, rel=0.06)


def test_the_likelier_an_end_the_sooner_the_look() -> None:
    """Just before most runs end it is soon, in the beginning far; with nobody it is the longest."""
    known = of(*[10.0] * 50)
    early, near, due = (pause([(known, age, 1)], price(1), 60) for age in (0.0, 8.0, 9.6))
    assert early > near > due > 0
    assert 8 < early < 10
    assert pause([], price(1), 60) == 60


def test_many_runs_are_looked_at_sooner_than_one() -> None:
    """A read for a hundred costs more than one for one, but far from a hundred times as much."""
    known = lognormal(12, 0.5)
    pauses = [pause([(known, 10.0, runs)], price(runs), 60) for runs in (1, 10, 100)]
    assert pauses == sorted(pauses, reverse=True)
    assert 2 < pauses[0] / pauses[2] < 10


def test_runs_nobody_has_looked_at_may_be_over_already() -> None:
    """Then the delay adds up from now on, but each run ends only once."""
    known = of(*[10.0] * 50)
    assert pause([(known, 30.0, 4)], 1.0, 60, looked=False) == pytest.approx(0.25, rel=0.01)
    looked, unlooked = (
        pause([(known, 10.0, 4)], 1.0, 60, looked=looked) for looked in (True, False)
    )
    assert unlooked < looked
    assert unlooked >= 0.25
