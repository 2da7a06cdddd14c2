"""Leases: a worker's right to start runs ends by itself, whatever sleeps or is late."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from refold_async.dask.leases import Lease

if TYPE_CHECKING:
    from tests.support.clock import FakeClock


@pytest.fixture
def lease(clock: FakeClock) -> Lease:
    """A lease of 15 seconds that was not given yet."""
    return Lease(15.0, clock)


def test_nobody_has_a_lease_that_was_not_given(lease: Lease) -> None:
    """A worker that was only invited starts nothing."""
    assert (lease.left <= 0, lease.epoch) == (True, 0)


async def test_it_counts_from_the_answer_and_not_from_the_beat(
    lease: Lease, clock: FakeClock
) -> None:
    """However long the beat was under way, it is over 15 seconds after the answer it gives back."""
    mark = lease.mark()
    await clock.advance(4)
    lease.renew(mark)
    assert (lease.left, lease.epoch) == (11, 1)
    await clock.advance(11)
    assert lease.left <= 0


async def test_a_beat_that_waited_for_a_frozen_worker_renews_nothing(
    lease: Lease, clock: FakeClock
) -> None:
    """A worker that wakes up finds old beats in its queue: they give no lease."""
    mark = lease.mark()
    lease.renew(mark)
    late = lease.mark()
    await clock.advance(60)
    lease.renew(late)
    assert (lease.left <= 0, lease.epoch) == (True, 1)


async def test_a_lease_given_anew_is_another_epoch(lease: Lease, clock: FakeClock) -> None:
    """What was allowed before it ran out is not any more: it may have been started elsewhere."""
    lease.renew(lease.mark())
    await clock.advance(5)
    lease.renew(lease.mark())
    assert lease.epoch == 1
    await clock.advance(15)
    lease.renew(lease.mark())
    assert (lease.left, lease.epoch) == (15, 2)


async def test_an_older_answer_does_not_shorten_it(lease: Lease, clock: FakeClock) -> None:
    """Beats may overtake each other."""
    older = lease.mark()
    await clock.advance(3)
    lease.renew(lease.mark())
    lease.renew(older)
    assert lease.left == 15


@pytest.mark.parametrize(
    ("step", "left"),
    [
        pytest.param(60.0, -45.0, id="the machine slept, or the clock was set forward"),
        pytest.param(-3600.0, 15.0, id="the clock was set back"),
    ],
)
def test_the_clock_that_says_more_counts(
    lease: Lease, clock: FakeClock, step: float, left: float
) -> None:
    """The monotonic clock stands still in sleep; the wall clock may lie in one direction only."""
    lease.renew(lease.mark())
    clock.offset += step
    assert lease.left == left
