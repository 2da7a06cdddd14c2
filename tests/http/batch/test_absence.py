"""Proof by absence: each thing that could hide a run, taken away, keeps `safe` from sending again.

The victim's run exists in each of these, and the journal has lost its id. Nothing shows it to the
next process, and still it must not be started once more. (A list that hides tags, and one that
lags: `test_crashes.py`.)
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from typing import Any

import pytest

from refold_async import ExecutionRequest
from refold_async.emulator import Behaviour, Emulator, Fault
from tests.support.crashing import ITEMS, VICTIM, forget_the_run, mend_the_sum, run

DAY = 86_400.0
LOST, DROPPED = Fault(drop="after"), Fault(drop="before")
ONCE_EACH = dict.fromkeys(range(ITEMS), 1)


def playing(**behaviour: Any) -> Emulator:
    """Give an emulator with a workflow that answers its payload."""
    emulator = Emulator(behaviour=Behaviour(**behaviour))
    emulator.workflow("wf_1", slug="s")(dict)
    return emulator


def change(journal: str, since: float | None) -> None:
    """Write another time of the intent for the victim."""
    connection = sqlite3.connect(journal)
    connection.execute("UPDATE items SET since = ? WHERE key = ?", (since, VICTIM))
    mend_the_sum(connection)
    connection.close()


async def resume(service: Emulator, journal: str) -> tuple[str, dict[int, int]]:
    """Run the batch again; give the victim's outcome, and how often each item ran."""
    report = await run(service.base_url, journal)
    ran = Counter(run.payload["n"] for run in service.runs)
    return str(report.items()[1].outcome), dict(sorted(ran.items()))


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "wrong"])
async def test_without_the_services_time_absence_proves_nothing(journal: str, known: bool) -> None:
    """Nobody knew it when the intent was written; a wrong one does harm, so the test can tell."""
    async with playing() as service:
        await run(service.base_url, journal)
        forget_the_run(journal)
        service.runs[1].created_at -= 7200.0  # out of the window that is guessed
        change(journal, time.time() - 60.0 if known else None)
        outcome, ran = await resume(service, journal)
    assert (outcome, ran[1]) == (("succeeded", 2) if known else ("unknown", 1))


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(status=502, html=True), id="unread"),
        pytest.param(Fault(body={"docs": [], "hasNextPage": False, "page": 1}), id="empty"),
        pytest.param(
            Fault(body={"docs": [{"_id": "e1"}], "hasNextPage": True, "page": 1}), id="in a circle"
        ),
        pytest.param(
            Fault(body={"docs": [{"_id": "e1"}, {"_id": "e2"}], "hasNextPage": True}), id="no end"
        ),
    ],
)
async def test_without_all_pages_absence_proves_nothing(journal: str, fault: Fault) -> None:
    """The list can't be read, or not to its end, or shows nothing of ours."""
    async with playing() as service:
        await run(service.base_url, journal)
        forget_the_run(journal)
        service.faults.always("list_executions", fault)
        assert await resume(service, journal) == ("unknown", ONCE_EACH)


async def test_what_belongs_to_another_is_not_adopted(journal: str) -> None:
    """A tag the caller called unique, and gave to two items: whose run is it?"""
    async with playing() as service:
        tag: dict[str, Any] = {"instance_tag": "invoice-7", "unique_tag": True}
        report = await run(service.base_url, journal, **tag)
        assert report.succeeded >= 1
        forget_the_run(journal)
        before = len(service.runs)
        report = await run(service.base_url, journal, **tag)
        assert len(service.runs) == before
        assert str(report.items()[1].outcome) == "unknown"


@pytest.mark.parametrize(
    ("fault", "days", "outcome", "starts"),
    [
        pytest.param(LOST, 31, "unknown", 1, id="forgotten"),
        pytest.param(LOST, 20, "succeeded", 1, id="kept"),
        pytest.param(DROPPED, 20, "succeeded", 2, id="not begun"),
    ],
)
async def test_what_the_service_may_have_forgotten_is_not_proven_absent(
    journal: str, fault: Fault, days: int, outcome: str, starts: int
) -> None:
    """An older run that is still listed shows that it would be listed, too."""
    kept = Behaviour(retention=30 * DAY)
    item = [ExecutionRequest("wf_1", slug="s", key="k")]
    async with Emulator(behaviour=kept, skip_time=True) as service:
        service.workflow("wf_1", slug="s")(dict)
        async with service.client() as refold:
            await refold.run("wf_1", slug="s")
            service.faults.script("execute", *[fault] * 9)
            service.faults.always("list_executions", Fault(status=500))
            first = await refold.run_batch(item, journal=journal)
            assert str(first.items()[0].outcome) == "unknown"
        service.faults.clear()
        before = service.counts["execute"]
        await service.advance(days * DAY)
        async with service.client() as refold:
            await refold.run("wf_1", slug="s")  # shows that tags are visible
            second = await refold.run_batch(item, journal=journal)
    assert str(second.items()[0].outcome) == outcome
    assert service.counts["execute"] - before == starts
