"""Clocks that are set while a batch runs, and after: no run is missed, none is started twice."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import ExecutionRequest
from refold_async._clock import SystemClock
from refold_async.emulator import Emulator
from tests.support.crashing import client, forget_the_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ITEMS = 4
HOUR, DAYS = 3600.0, 200_000.0


class SetClock(SystemClock):
    """A machine's clock, which somebody sets."""

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift

    def time(self) -> float:
        """Give the epoch seconds, as they have been set."""
        return time.time() + self.shift


def requests(clock: SetClock, steps: dict[int, float]) -> Iterator[ExecutionRequest]:
    """Give the items; the clock is set as some of them are pulled."""
    for number in range(ITEMS):
        clock.shift += steps.get(number, 0.0)
        yield ExecutionRequest("wf_1", slug="s", payload={"n": number})


async def batch(
    service: Emulator, journal: str, clock: SetClock, steps: dict[int, float] | None = None
) -> Any:
    """Run the batch, one item at a time."""
    async with client(service.base_url, clock=clock) as refold:
        return await refold.run_batch(requests(clock, steps or {}), journal=journal, concurrency=1)


@pytest.mark.parametrize("victim", range(ITEMS))
@pytest.mark.parametrize(
    "steps",
    [
        pytest.param({1: -HOUR}, id="back early"),
        pytest.param({3: -HOUR}, id="back late"),
        pytest.param({1: HOUR, 2: -HOUR}, id="there and back"),
        pytest.param({1: -HOUR, 3: HOUR}, id="back and there"),
        pytest.param({2: -DAYS}, id="back by days"),
        pytest.param({2: DAYS}, id="ahead by days"),
    ],
)
@pytest.mark.parametrize("later", [0.0, -HOUR, HOUR], ids=["right", "behind", "ahead"])
async def test_a_clock_that_is_set_hides_no_run(
    tmp_path: Path, steps: dict[int, float], victim: int, later: float
) -> None:
    """Wherever it was set before the crash, and whatever the next process's clock says."""
    journal = str(tmp_path / "batch.sqlite")
    async with Emulator() as service:
        service.workflow("wf_1", slug="s")(dict)
        await batch(service, journal, SetClock(), steps)
        forget_the_run(journal, key=f"#{victim}")
        report = await batch(service, journal, SetClock(later))
        ran = Counter(run.payload["n"] for run in service.runs)
    assert ran == dict.fromkeys(range(ITEMS), 1)
    assert {str(item.outcome) for item in report.items()} <= {"succeeded", "unknown"}
    if max(map(abs, steps.values())) < DAYS:
        assert (report.succeeded, report.resumed) == (ITEMS, ITEMS)
