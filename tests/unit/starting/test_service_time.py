"""Since when a run must be looked for: by the service's clock, whatever ours are set to."""

from __future__ import annotations

import pytest

from refold_async._starting.service_time import Moment, ServiceTime
from tests.support.clock import FakeClock

THEN = 1_781_615_700.0
RUN = "6a314c54d4616e99e7fa5a02"
CREATED = 0x6A314C54


def told(*seen: tuple[float | str, Moment]) -> ServiceTime:
    """The service's time by some runs of ours."""
    time = ServiceTime(FakeClock())
    for created, at in seen:
        time.seen(created, at)
    return time


def test_nothing_told_proves_nothing() -> None:
    """Neither does an id that carries no time, nor one that only looks as if it did."""
    moment = Moment(0.0, THEN)
    assert told().earliest(moment) is None
    assert told(("run-1", moment), (THEN - 100_000, moment)).earliest(moment) is None


def test_a_run_bounds_the_clock_from_below() -> None:
    """It was created before it was known; other moments are reckoned from there, either way."""
    time = told((THEN, Moment(100.0, THEN + 30)))
    assert time.earliest(Moment(100.0, THEN + 30)) == THEN
    assert time.earliest(Moment(110.0, THEN + 40)) == THEN + 10
    assert time.earliest(Moment(90.0, THEN + 20)) == THEN - 10


def test_an_id_tells_the_second_its_run_was_created() -> None:
    """As an ObjectId does."""
    at = Moment(5.0, CREATED + 7.0)
    assert told((RUN, at)).earliest(at) == CREATED


def test_the_smallest_of_the_latest_counts() -> None:
    """Hosts of the service differ by some seconds; what was seen twenty runs ago is forgotten."""
    at = Moment(0.0, THEN)
    time = told((THEN - 60, at), (THEN, at), (THEN + 30, at))
    assert time.earliest(at) == THEN - 60
    for _ in range(20):
        time.seen(THEN, at)
    assert time.earliest(at) == THEN


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
@pytest.mark.parametrize("elapsed", [10.0, -10.0])
def test_a_wall_clock_that_was_set_makes_it_no_later(step: float, elapsed: float) -> None:
    """Whether it was set after the run was known, or between the start and that."""
    time = told((THEN, Moment(100.0, THEN)))
    earliest = time.earliest(Moment(100.0 + elapsed, THEN + elapsed + step))
    assert earliest is not None
    assert earliest == THEN + elapsed + min(step, 0.0)


def test_a_machine_that_slept_makes_it_no_later() -> None:
    """The monotonic clock stood still between the start and the moment a run was known."""
    started, known = Moment(100.0, THEN), Moment(101.0, THEN + 28_800)
    assert told((THEN + 28_800, known)).earliest(started) == THEN


def test_the_newest_run_of_a_list_tells_until_one_of_ours_does() -> None:
    """What is started after it was read is younger."""
    now = Moment(50.0, THEN)
    time = ServiceTime(FakeClock())
    time.newest(THEN - 1000, now)
    assert time.earliest(Moment(60.0, THEN + 10)) == THEN - 990
    time.seen(THEN - 5, now)
    assert time.earliest(now) == THEN - 5


def test_a_newest_run_from_far_ahead_tells_nothing() -> None:
    """A date of the year 9999 would hide everything."""
    now = Moment(50.0, THEN)
    time = ServiceTime(FakeClock())
    time.newest(253_402_300_000.0, now)
    assert time.earliest(now) is None


def test_a_wall_clock_that_is_off_by_days_is_put_right_by_the_date() -> None:
    """What is absurd by it is not by the reply's `Date`; a run of the year 9999 still is."""
    off = Moment(50.0, THEN - 200_000)
    dates = [("Tue, 16 Jun 2026 13:15:00 GMT", THEN - 200_000)]
    time = ServiceTime(FakeClock(), date=lambda: dates[-1])
    time.seen(253_402_300_000.0, off)
    assert time.earliest(off) is None
    time.newest(THEN - 30, off)
    assert time.earliest(off) == THEN - 30
    time.seen(THEN - 1, off)
    dates.append(("Tue, 16 Jun 2026 13:15:07 GMT", THEN + 7))  # the clock was put right meanwhile
    assert time.earliest(off) == THEN - 1
    assert time.earliest(Moment(60.0, THEN + 10)) == THEN + 9
