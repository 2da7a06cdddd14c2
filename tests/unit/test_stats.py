"""The counters of a client."""

from __future__ import annotations

import attrs

from refold_async import BudgetStats, WaitingStats
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
    counted = attrs.asdict(stats)
    assert counted.pop("requests") == {}
    assert stats.budget == BudgetStats()
    assert stats.waiting == WaitingStats()
    del counted["budget"], counted["waiting"]
    assert {*counted.values()} == {0}


def test_counters_of_two_clients_add_up() -> None:
    """Every counter is summed, requests by operation."""
    one, two = Counters(), Counters()
    one.requests.update(execute=1, stop=1)
    two.requests.update(execute=2)
    for counters in (one, two):
        counters.retries = counters.polls = counters.settled = counters.possible_duplicates = 1
        counters.adopted = counters.orphaned = counters.unknown = 2
        counters.abandoned = 1
        counters.sweeps, counters.wasted, counters.noticed, counters.unnoticed_for = 3, 2, 1, 0.5
    both = attrs.asdict(one.snapshot() + two.snapshot())
    assert both.pop("requests") == {"execute": 3, "stop": 1}
    assert both.pop("budget") == attrs.asdict(BudgetStats())
    assert both.pop("waiting") == attrs.asdict(WaitingStats())
    assert both == {
        "retries": 2,
        "polls": 2,
        "settled": 2,
        "possible_duplicates": 2,
        "adopted": 4,
        "orphaned": 4,
        "abandoned": 2,
        "unknown": 4,
        "sweeps": 6,
        "wasted": 4,
        "noticed": 2,
        "unnoticed_for": 1.0,
    }
    total = one.snapshot() + two.snapshot()
    assert (total.reads_per_settled, total.detection_delay) == (4.0, 0.5)


def test_requests_per_settled_run() -> None:
    """Requests of all kinds are spread over the settled runs; before the first there is no rate."""
    counters = Counters()
    counters.requests.update(execute=2, list_executions=3)
    assert counters.snapshot().requests_per_settled is None
    counters.settled = 2
    assert counters.snapshot().requests_per_settled == 2.5


def test_budgets_of_two_clients_add_up() -> None:
    """Counts are summed; of the rates the lower holds, of the pauses the longer."""
    one = BudgetStats(
        rate=8.0,
        ceiling=20.0,
        waiting={"start": 1},
        in_flight=2,
        granted={"start": 3},
        refused=1,
        stopped_for=1.5,
    )
    two = BudgetStats(
        waiting={"start": 1, "status": 4}, in_flight=1, granted={"start": 2}, refused=2
    )
    assert one + two == BudgetStats(
        rate=8.0,
        ceiling=20.0,
        waiting={"start": 2, "status": 4},
        in_flight=3,
        granted={"start": 5},
        refused=3,
        stopped_for=1.5,
    )


def test_what_waits_where_adds_up() -> None:
    """Counts are summed; the oldest look of either is the oldest of both."""
    one = WaitingStats(lists_of_no_use=1, read_singly=20, overdue=3.0)
    two = WaitingStats(lists_of_no_use=2, read_singly=5, overdue=0.5)
    assert one + two == WaitingStats(lists_of_no_use=3, read_singly=25, overdue=3.0)
