"""The counters of a client."""

from __future__ import annotations

from refold_async._stats import Counters


def test_snapshot_does_not_move_with_the_counters() -> None:
    """Stats are the counters at one moment."""
    counters = Counters()
    counters.requests["execute"] += 3
    counters.retries, counters.polls, counters.possible_duplicates = 2, 5, 1
    stats = counters.snapshot()
    counters.requests["execute"] += 1
    counters.retries += 1
    assert dict(stats.requests) == {"execute": 3}
    assert (stats.retries, stats.polls, stats.possible_duplicates) == (2, 5, 1)


def test_counting_begins_at_nothing() -> None:
    """A new client has done nothing."""
    stats = Counters().snapshot()
    counted = (stats.retries, stats.polls, stats.settled, stats.possible_duplicates)
    assert (dict(stats.requests), counted) == ({}, (0, 0, 0, 0))


def test_requests_per_settled_run() -> None:
    """Requests of all kinds are spread over the settled runs; before the first there is no rate."""
    counters = Counters()
    counters.requests.update(execute=2, list_executions=3)
    assert counters.snapshot().requests_per_settled is None
    counters.settled = 2
    assert counters.snapshot().requests_per_settled == 2.5
