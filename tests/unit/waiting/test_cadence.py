"""What is learned of durations, and how long a look is put off."""

from __future__ import annotations

import math
import random

import pytest

from refold_async._waiting.cadence import (
    UNKNOWN,
    Cadence,
    Durations,
    Group,
    Pace,
    pause,
    pressure,
)

PRICE = 0.15


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


def share(known: Durations, age: float) -> float:
    """Give the share of runs that are over at an age."""
    return known.after(0.0, age)[0]


def test_quantiles_of_a_known_distribution_are_found() -> None:
    """From the latest three hundred: a few hundredths is what to expect."""
    known = lognormal(12, 0.5)
    for deviations, expected in [(-1, 0.159), (0, 0.5), (1, 0.841)]:
        assert share(known, 12 * math.exp(0.5 * deviations)) == pytest.approx(expected, abs=0.06)
    assert 10.5 < known.remaining(0) < 13.5


def test_one_length_is_known_after_few_runs() -> None:
    """What always takes 10 s is not over at 5 s, and hardly running at 20 s."""
    known = of(*[10.0] * 20)
    assert share(known, 5) == 0
    assert share(known, 20) > 0.97
    assert known.remaining(0) == 10
    assert known.remaining(5) == 5


def test_the_more_runs_the_surer_the_picture() -> None:
    """After five, one in six may be longer than all of them; after fifty, one in fifty."""
    assert share(of(*[10.0] * 5), 10.001) == pytest.approx(5 / 6, abs=0.01)
    assert share(of(*[10.0] * 50), 10.001) == pytest.approx(50 / 51, abs=0.01)


def test_old_durations_are_forgotten() -> None:
    """After 150 runs of another length both count alike; after 300 the old ones do not."""
    known = of(*[10.0] * 1_000, *[100.0] * 150)
    assert share(known, 40) == pytest.approx(0.5, abs=0.01)
    for _ in range(150):
        known.observe(100.0)
    assert share(known, 40) == 0
    assert (known.count, known.longest) == (1_300, 100)


def test_broken_durations_are_bounded() -> None:
    """A run that ended before it began, or in the year 9999, is no reason for nonsense."""
    known = of(-5.0, 0.0, 2.5e11, *[10.0] * 20)
    assert known.longest == 30 * 86_400
    assert known.remaining(0) == 10


def test_older_than_all_runs_known_means_twice_as_old() -> None:
    """Where history is silent, a run is expected to go on for about as long as it did so far."""
    for known in (of(*[10.0] * 50), UNKNOWN):
        assert known.remaining(1_000) == 1_000
        assert known.after(1_000, 100)[0] == pytest.approx(1 / 11)
        assert known.after(1_000, 1_000)[0] == 0.5


def test_a_workflow_is_known_after_five_runs() -> None:
    """Runs of other workflows and of none count for nothing."""
    cadence = Cadence()
    told = []
    for _ in range(7):
        cadence.observe("wf_1", 10.0)
        told.append(cadence.of("wf_1") is not UNKNOWN)
        cadence.observe("wf_2" if len(told) < 3 else None, 10.0)
    assert told == [False, False, False, False, True, True, True]
    assert {cadence.of("wf_2"), cadence.of("wf_3"), cadence.of(None)} == {UNKNOWN}


def test_a_thousand_workflows_are_kept_those_used_last() -> None:
    """One more pushes out the one whose runs ended longest ago."""
    cadence = Cadence()
    for number in range(1_000):
        for _ in range(5):
            cadence.observe(f"wf_{number}", 10.0)
    cadence.observe("wf_0", 10.0)
    cadence.observe("new", 10.0)
    known = [number for number in range(1_000) if cadence.of(f"wf_{number}") is not UNKNOWN]
    assert known == [0, *range(2, 1_000)]


def test_reads_get_dearer_with_their_number_and_it_passes() -> None:
    """A read every 4 s costs what one costs alone; at 20 a second, 67 times as much."""
    pace = Pace()
    for number in range(100):
        pace.count(1_000 + 4 * number)
    assert pressure(pace.rate(1_399)) == pytest.approx(1, abs=0.15)
    for number in range(2_000):
        pace.count(2_000 + number / 20)
    assert pressure(pace.rate(2_100)) == pytest.approx(67, rel=0.05)
    assert pressure(pace.rate(2_150)) == 1


def waited_for(known: Durations, age: float, runs: int, seconds: float) -> float:
    """Give the seconds that ended runs have gone unnoticed, as expected, summed up finely."""
    steps = 2_000
    moments = [seconds * (step + 0.5) / steps for step in range(steps)]
    return sum(runs * known.after(age, at)[0] for at in moments) * seconds / steps


@pytest.mark.parametrize("age", [0.0, 8.0, 15.0, 300.0])
@pytest.mark.parametrize("runs", [1, 10, 100])
def test_a_look_is_made_when_the_expected_delay_adds_up_to_its_price(age: float, runs: int) -> None:
    """Whatever the age and the number."""
    known = lognormal(12, 0.5)
    wait = pause([Group(known, age, 0.0, runs)], 60)
    assert waited_for(known, age, runs, wait) == pytest.approx(PRICE, rel=0.02)


@pytest.mark.parametrize("age", [10.0, 3_600.0])
def test_of_an_unknown_workflow_the_pause_is_the_root_of_the_age(age: float) -> None:
    """The chance that it ends falls with its age: 33 s after an hour."""
    wait = pause([Group(UNKNOWN, age, 0.0, 1)], 1e4, single=True)
    assert wait == pytest.approx(math.sqrt(2 * PRICE * age), rel=0.15)


def test_the_likelier_an_end_the_sooner_the_look() -> None:
    """Just before most runs end it is soon, in the beginning far; with nobody it is the longest."""
    known = of(*[10.0] * 50)
    early, near, due = (pause([Group(known, age, 0.0, 1)], 60) for age in (0.0, 8.0, 9.6))
    assert early > near > due > 0
    assert 8 < early < 10.5
    assert pause([], 60) == 60


def test_many_runs_are_looked_at_sooner_than_one() -> None:
    """A read costs the same however many runs it shows."""
    known = lognormal(12, 0.5)
    pauses = [pause([Group(known, 10.0, 0.0, runs)], 60) for runs in (1, 10, 100)]
    assert pauses == sorted(pauses, reverse=True)
    assert 5 < pauses[0] / pauses[2] < 20


def test_pressure_is_no_reason_to_know_of_many_ends_very_late() -> None:
    """Once a third of the runs are expected to be over, a look costs what it costs alone."""
    known = lognormal(12, 0.5)
    wait = pause([Group(known, 20.0, 0.0, 4)], 60, pressure=1e6)
    assert known.after(20.0, wait)[0] == pytest.approx(0.3, abs=0.02)


def test_what_has_passed_since_the_last_look_counts() -> None:
    """Runs nobody has looked at for long may be over already."""
    known = of(*[10.0] * 50)
    assert pause([Group(known, 5.0, 6.0, 4)], 60) == 0
    assert pause([Group(known, 5.0, 3.0, 4)], 60) == pytest.approx(
        pause([Group(known, 5.0, 0.0, 4)], 60) - 3, abs=0.02
    )
