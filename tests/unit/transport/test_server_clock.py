"""What the service's clock says."""

from __future__ import annotations

from refold_async._transport.server_clock import ServerClock

DATE = "Tue, 16 Jun 2026 13:15:00 GMT"
THEN = 1_781_615_700.0


def test_nothing_told_means_the_local_clock() -> None:
    """Before the first reply there is nothing to go by."""
    clock = ServerClock()
    assert (clock.offset, clock.at(5.0)) == (None, 5.0)


def test_date_tells_the_difference() -> None:
    """To the second."""
    clock = ServerClock()
    clock.told(DATE, THEN - 30)
    assert (clock.offset, clock.at(THEN)) == (30.0, THEN + 30)


def test_an_absurd_date_is_none() -> None:
    """A server that is more than a day off does not move the window of a look-up."""
    clock = ServerClock()
    clock.told(DATE, THEN - 90_000)
    assert (clock.offset, clock.at(5.0)) == (None, 5.0)


def test_an_unreadable_date_is_none() -> None:
    """A header that is no date changes nothing."""
    clock = ServerClock()
    clock.told("soon", THEN)
    assert (clock.offset, clock.at(5.0)) == (None, 5.0)


def test_the_tightest_of_the_latest_bounds_counts() -> None:
    """A run is known later than it is created; a clock that was set back is believed in time."""
    clock = ServerClock()
    clock.told(DATE, THEN - 1000)
    for slow in (5.0, 1.0, 300.0):
        clock.created(THEN, known_at=THEN + slow)
    assert clock.at(THEN) == THEN - 1
    for _ in range(20):
        clock.created(THEN - 60, known_at=THEN)
    assert clock.at(THEN) == THEN - 60


def test_the_ids_of_started_runs_tell_when_they_were_created() -> None:
    """An ObjectId begins with the second it was made in; other ids tell nothing."""
    clock = ServerClock()
    clock.started("run-1", known_at=THEN)
    assert clock.at(THEN) == THEN
    clock.started("6a314c54d4616e99e7fa5a02", known_at=THEN + 7)
    assert clock.at(THEN) == THEN - 7


def test_an_id_that_only_looks_like_a_time_is_ignored() -> None:
    """24 hex digits need not be an ObjectId."""
    clock = ServerClock()
    clock.created(THEN - 500_000_000, known_at=THEN)
    assert clock.at(THEN) == THEN
