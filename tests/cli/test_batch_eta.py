"""What is left of a batch is told well from the first ends on: the whole batch in virtual time."""

from __future__ import annotations

import heapq
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from refold_async import BatchItem, BatchOutcome, BatchProgress, BudgetStats, ExecutionRequest
from refold_async._batch.running import Tally
from refold_async.cli.batch.view import Standing
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator

ITEM = BatchItem(
    index=0,
    key="0",
    request=ExecutionRequest("wf_1", slug="s"),
    outcome=BatchOutcome.SUCCEEDED,
    handle=cast("Any", SimpleNamespace(execution_id="run")),
)


def told(
    total: int, takes: float, per_second: float, places: int, *, wait: bool = True
) -> tuple[list[tuple[float, float | None]], float]:
    """Run a batch by a model: a request each tick, starts and results in turns.

    Returns:
        What was told each second, with its time, and when the batch ended.
    """
    clock, last = FakeClock(now=0.0), [BatchProgress()]
    tally = Tally(clock, last.append)
    budget = cast("BudgetStats", SimpleNamespace(rate=per_second, ceiling=per_second))
    said: list[tuple[float, float | None]] = []
    running: list[float] = []
    started = done = 0
    is_result = False
    for tick in _ticks(per_second):
        clock.now = tick
        due = bool(running) and running[0] <= tick
        can_start = started < total and started - done < places
        if due and wait and (is_result or not can_start):
            heapq.heappop(running)
            done += 1
            tally.settled(ITEM)
        elif can_start:
            heapq.heappush(running, tick + takes)
            started += 1
            tally.started()
            if not wait:
                done += 1
                tally.settled(ITEM)
        is_result = not is_result
        if int(tick) > len(said):
            now = Standing(
                name="x", total=total, progress=last[-1], budget=budget, seconds=tick, wait=wait
            )
            said.append((tick, now.eta))
        if done == total:
            return said, tick
    raise AssertionError


def _ticks(per_second: float) -> Iterator[float]:
    tick = 0.0
    while True:
        tick += 1 / per_second
        yield tick


@pytest.mark.parametrize(
    ("total", "takes", "per_second", "places", "within"),
    [
        pytest.param(200, 2.0, 20.0, 10_000, 5.0, id="200 items"),
        pytest.param(200, 0.1, 20.0, 10_000, 5.0, id="short runs"),
        pytest.param(200, 60.0, 20.0, 10_000, 5.0, id="long runs"),
        pytest.param(50, 10.0, 20.0, 5, 10.0, id="few places"),
        pytest.param(2_000, 5.0, 20.0, 10_000, 5.0, id="many items"),
    ],
)
def test_what_is_left_is_told_well(
    total: int, takes: float, per_second: float, places: int, within: float
) -> None:
    """Within a third of it, or some seconds; not before anything has ended."""
    said, end = told(total, takes, per_second, places)
    known = [(at, eta) for at, eta in said if eta is not None]
    assert known[0][0] <= takes + 3
    for at, eta in known:
        assert abs(at + eta - end) <= max(0.34 * (end - at), within), (at, eta, end)


def test_what_is_only_started_is_told_by_the_starts() -> None:
    """With `--no-wait`."""
    said, end = told(200, 0.0, 20.0, 10_000, wait=False)
    assert all(eta is not None and abs(at + eta - end) < 1.5 for at, eta in said[1:])
