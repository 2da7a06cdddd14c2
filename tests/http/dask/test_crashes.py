"""Workers killed and frozen, and a batch's own process killed: no item runs twice, none is lost.

The processes are real, and so are the signals; the emulator keeps the truth.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from refold_async.dask import run_batch
from refold_async.dask.crew import Crew
from refold_async.dask.members import BEATS
from refold_async.emulator import Fault
from tests.http.dask.conftest import times_run
from tests.support import dasking
from tests.support.dasking import KEY, LEASE, connect_narrow, requests
from tests.support.endings import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from refold_async.dask.orders import Order
    from refold_async.emulator import Emulator

    Cluster = Callable[[], AbstractAsyncContextManager[Any]]

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]
ITEMS = 100
SLOW = Fault(delay=0.05)


async def test_workers_that_are_killed_or_frozen_double_nothing(
    service: Emulator, cluster: Cluster, tmp_path: Path
) -> None:
    """What they had is found or proven absent; a worker that wakes up sends nothing of it any more.

    Both are hit in the middle of their chunks. The nanny puts another worker into the place of the
    one that was killed; the frozen one comes back after others have taken what it had.
    """
    service.faults.always("execute", SLOW)
    async with cluster() as client:
        pids: dict[str, int] = await client.run(os.getpid)
        killed, frozen = pids.values()
        batch = asyncio.create_task(
            run_batch(
                requests(ITEMS),
                cluster=client,
                connect=connect_narrow,
                journal=tmp_path / "batch.sqlite",
                chunk=10,
                lease=LEASE,
            )
        )
        try:
            await until(lambda: len(service.runs) >= 20)
            os.kill(frozen, signal.SIGSTOP)
            await until(lambda: len(service.runs) >= 40)
            os.kill(killed, signal.SIGKILL)
            await until(lambda: len(service.runs) >= ITEMS)  # by others
        finally:
            os.kill(frozen, signal.SIGCONT)
        report = await batch
    assert (report.succeeded, report.total) == (ITEMS, ITEMS)
    assert times_run(service) == dict.fromkeys(range(ITEMS), 1)
    assert not any(item.handle.possible_duplicate for item in report.items() if item.handle)


async def kill_in(
    scheduler: str, journal: str, service: Emulator, *, items: int, runs: int, out: str = ""
) -> int:
    """Run the batch in a process of its own, and kill it once so many runs have begun."""
    arguments = [scheduler, journal, str(items), *filter(None, [out])]
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.dasking", *arguments),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    await until(lambda: len(service.runs) >= runs)
    child.kill()
    await child.communicate()
    return len(service.runs)


def outcomes_in(out: Path) -> dict[int, str]:
    """Read a file of results: the outcome of each item; only of an unknown one it may say more."""
    outcomes: dict[int, str] = {}
    for line in map(json.loads, out.read_text(encoding="utf-8").splitlines()):
        assert outcomes.get(line["index"], "unknown") == "unknown"
        outcomes[line["index"]] = line["outcome"]
    return outcomes


async def test_a_batch_whose_process_is_killed_goes_on_from_its_journal(
    service: Emulator, scheduler: str, tmp_path: Path
) -> None:
    """Its chunks go on without it, and a fifth of the starts are lost, late, or answered with 502.

    What nobody knew of is found by its tag after the leases of the killed process are over. The
    file of results has a line for each item, and a further one only for what was unknown at first.
    """
    faults = (
        Fault(drop="after"),
        Fault(drop="before"),
        Fault(delay=2 * dasking.READ),
        Fault(status=502, html=True, perform=True),
    )
    for number, fault in enumerate(faults):
        service.faults.share("execute", fault, share=0.05, seed=number)
    service.faults.share("execute", SLOW, share=1.0)
    journal, out = str(tmp_path / "batch.sqlite"), tmp_path / "out.jsonl"
    begun = await kill_in(scheduler, journal, service, items=ITEMS, runs=ITEMS // 3, out=str(out))
    first = await dasking.run(scheduler, journal, ITEMS, out)
    assert max(times_run(service).values()) == 1
    assert first.succeeded + first.unknown == ITEMS
    assert Counter(outcomes_in(out).values()) == Counter(
        succeeded=first.succeeded, unknown=first.unknown
    )
    service.faults.clear()
    last = await dasking.run(scheduler, journal, ITEMS, out)
    assert (last.succeeded, last.total, begun < ITEMS) == (ITEMS, ITEMS, True)
    assert outcomes_in(out) == dict.fromkeys(range(ITEMS), "succeeded")
    assert times_run(service) == dict.fromkeys(range(ITEMS), 1)


async def test_chunks_that_go_on_without_their_batch_are_waited_for(
    service: Emulator, scheduler: str, tmp_path: Path
) -> None:
    """All that is left is under way at workers: what has not begun yet is no proof of absence."""
    service.faults.always("execute", Fault(delay=0.4))
    journal, items = str(tmp_path / "batch.sqlite"), 41
    begun = await kill_in(scheduler, journal, service, items=items, runs=6)
    report = await dasking.run(scheduler, journal, items)
    assert (report.succeeded, begun < items) == (items, True)
    assert times_run(service) == dict.fromkeys(range(items), 1)


async def test_chunks_that_are_known_before_their_result_leave_dask_as_it_is(
    service: Emulator, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask gathers the results of all chunks in one task: nobody's wait for one ends the others'.

    Beats tell of each start sooner than Dask brings the results here.
    """
    from distributed import Client

    gather = Client._gather_remote

    async def slowly(client: Any, *arguments: Any) -> Any:
        await asyncio.sleep(2 * LEASE / BEATS)
        return await gather(client, *arguments)

    monkeypatch.setattr(Client, "_gather_remote", slowly)
    async with cluster() as client, asyncio.timeout(60):
        report = await run_batch(
            requests(ITEMS), cluster=client, connect=connect_narrow, chunk=10, lease=LEASE
        )
        assert (report.succeeded, report.total) == (ITEMS, ITEMS)
        assert await client.submit(int, "7", pure=False) == 7
    assert times_run(service) == dict.fromkeys(range(ITEMS), 1)


async def test_what_a_closed_client_could_not_send_is_unsent(
    service: Emulator, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its intents are in the journal already: nothing has left, and the next run starts it all."""
    journal = tmp_path / "batch.sqlite"
    intend = Crew._intend
    async with cluster() as client:

        async def closing(crew: Crew, orders: list[Order]) -> None:
            await intend(crew, orders)
            await client.close()

        monkeypatch.setattr(Crew, "_intend", closing)
        report = await run_batch(
            requests(ITEMS), cluster=client, connect=connect_narrow, journal=journal, lease=LEASE
        )
    assert (report.unsent, report.unknown, len(service.runs)) == (ITEMS, 0, 0)
    monkeypatch.undo()
    monkeypatch.setenv("REFOLD_API_KEY", KEY)
    async with cluster() as client:
        report = await run_batch(
            requests(ITEMS), cluster=client, connect=connect_narrow, journal=journal, lease=LEASE
        )
    assert (report.succeeded, report.total) == (ITEMS, ITEMS)
    assert times_run(service) == dict.fromkeys(range(ITEMS), 1)


@pytest.mark.parametrize("part", ["_intend", "_out"])
async def test_a_part_that_breaks_ends_its_items(
    service: Emulator, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Nobody waits for ever for what a mistake has let fall; the log has the mistake."""

    async def broken(*_: object) -> None:
        raise OSError("a mistake")

    monkeypatch.setattr(Crew, part, broken)
    async with cluster() as client, asyncio.timeout(60):
        report = await run_batch(requests(20), cluster=client, connect=connect_narrow, lease=LEASE)
    assert (report.unsent, report.total, len(service.runs)) == (20, 20, 0)
    assert "a part of the batch broke: OSError" in str(report.failures[0].example.error)
