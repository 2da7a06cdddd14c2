"""A batch stopped from outside, by its journal alone."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from refold_async import BadRequestError, JournalError, RefoldClient, read_journal
from refold_async.emulator import Emulator
from tests.http.batch.test_batch import numbered, outcomes
from tests.support.clock import HastyClock
from tests.support.crashing import forget_the_run
from tests.support.endings import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Connect = Callable[..., RefoldClient]

ROOT = Path(__file__).parents[3]


def stop_file(journal: str) -> Path:
    """The file by which a batch is told."""
    return Path(f"{journal}.stop")


@pytest.fixture
async def service() -> AsyncIterator[Emulator]:
    """A workflow whose runs never end by themselves."""
    async with Emulator() as emulator:
        emulator.workflow("wf_1", slug="s", duration=None)(dict)
        yield emulator


async def test_a_batch_of_another_process_sends_nothing_more_and_its_runs_stop(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """It ends by itself when they have; the file that told it is gone."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.crashing"),
        *(service.base_url, journal, "never", "safe"),
        cwd=ROOT,
    )
    await until(lambda: len(service.runs) == 1)
    stopped = await connect(service).stop_batch(journal)
    code = await asyncio.wait_for(child.wait(), 60)
    (run,) = service.runs

    assert (stopped.heard, stopped.asked, stopped.uncertain) == (True, (run.execution_id,), ())
    assert (code, run.ending) == (0, "STOPPED")
    assert dict(read_journal(journal).counts) == {"failed": 1}
    assert not stop_file(journal).exists()


async def test_what_a_dead_batch_has_left_is_stopped(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """Runs whose ids are known, and those that only their tags tell; the rest is named."""
    running = asyncio.ensure_future(connect(service).run_batch(numbered(4), journal=journal))
    await until(lambda: len(service.runs) == 4 and _count(journal) == 4)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    forget_the_run(journal, key="#1")
    forget_the_run(journal, key="#2", tag="rfa-nobody")
    service.finish(service.runs[3].execution_id)
    stopped = await connect(service).stop_batch(journal)
    ((over, refusal),) = stopped.refused.items()

    assert stopped.heard is None
    assert {*stopped.asked} == {service.runs[0].execution_id, service.runs[1].execution_id}
    assert (over, type(refusal)) == (service.runs[3].execution_id, BadRequestError)
    assert stopped.uncertain == ("2",)
    assert read_journal(journal).counts["running"] == 2  # nothing was written


async def test_a_batch_that_does_not_hear_is_said_so(
    service: Emulator, connect: Connect, journal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process may be frozen: what runs is stopped all the same, and the file taken away."""
    running = asyncio.ensure_future(connect(service).run_batch(numbered(1), journal=journal))
    await until(lambda: len(service.runs) == 1 and _count(journal) == 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    monkeypatch.setattr("refold_async._batch.reading.is_in_use", lambda _: True)
    stopped = await connect(service, clock=HastyClock()).stop_batch(journal)

    assert (stopped.heard, len(stopped.asked)) == (False, 1)
    assert not stop_file(journal).exists()


async def test_a_file_that_was_left_stops_no_batch(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """Whoever starts a batch means it."""
    stop_file(journal).touch()
    service.workflow("wf_2", slug="s", duration=0.02)(dict)
    report = await connect(service).run_batch(numbered(2, "wf_2"), journal=journal)

    assert outcomes(report) == ["succeeded"] * 2
    assert not stop_file(journal).exists()


async def test_the_journal_of_another_account_is_refused(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """Before anything is asked."""
    service.workflow("wf_2", slug="s", duration=0.02)(dict)
    await connect(service).run_batch(numbered(1, "wf_2"), journal=journal)
    with pytest.raises(JournalError, match="linked_account_id"):
        await connect(service, linked_account_id="acct_2").stop_batch(journal)

    assert service.counts["stop_execution"] == 0


def _count(journal: str) -> int:
    """Count runs that are written down, by a copy: the batch is in this process."""
    copy = Path(f"{journal}.copy")
    copy.write_bytes(Path(journal).read_bytes())
    try:
        return read_journal(copy).counts.get("running", 0)
    except JournalError:
        return 0
