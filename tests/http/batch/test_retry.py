"""A batch that is retried: what failed is started anew, and nothing that may have gone well."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    ConfigError,
    ExecutionFailedError,
    ExecutionRequest,
    JournalError,
    RefoldClient,
    RetryPolicy,
    read_journal,
)
from refold_async._batch.journal import Journal
from refold_async.emulator import Emulator, Fault, NodeFailed
from tests.http.batch.test_batch import numbered, outcomes
from tests.support.crashing import forget_the_run
from tests.support.endings import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    Connect = Callable[..., RefoldClient]

SAFE = RetryPolicy(mode="safe", settle=0.02, wait=0, max_wait=0)


@pytest.fixture
async def service() -> AsyncIterator[Emulator]:
    """A workflow that fails for odd numbers until it is mended, and one that never ends."""
    async with Emulator() as emulator:
        emulator.workflow("wf_endless", slug="s", duration=None)(dict)

        @emulator.workflow("wf_1", slug="s", duration=0.02)
        def fail(payload: dict[str, Any]) -> Any:
            if payload["n"] % 2 and "bad" in broken:
                raise NodeFailed(node="Work", message="the CRM said no")
            return payload

        broken = emulator.broken = {"bad"}  # type: ignore[attr-defined]
        yield emulator


def mend(service: Emulator) -> None:
    """Have odd numbers go well, too."""
    service.broken.clear()  # type: ignore[attr-defined]


def runs_of(service: Emulator) -> list[int]:
    """The numbers that ran, in order of their starts."""
    return [run.payload["n"] for run in service.runs]


@pytest.mark.parametrize("keeps", [False, True])
async def test_only_what_failed_runs_again(
    service: Emulator, connect: Connect, journal: str, keeps: bool
) -> None:
    """With the input, or with a journal that keeps it; each with a tag of its own."""
    requests = [*numbered(3), ExecutionRequest("wf_1", slug="s", payload={"n": 7}, key="#k")]
    refold = connect(service, retry=SAFE)
    await refold.run_batch(requests, journal=journal, keep_payloads=keeps)
    mend(service)
    report = await refold.retry_batch(journal, None if keeps else requests)
    again = await refold.retry_batch(journal, None if keeps else requests)

    assert sorted(runs_of(service)) == [0, 1, 1, 2, 7, 7]
    assert len({run.instance_tag for run in service.runs}) == 6
    assert [(item.index, item.key) for item in report.items()] == (
        [(0, "#k"), (1, "1")] if keeps else [(0, "0"), (1, "1"), (2, "2"), (3, "#k")]
    )
    assert {*outcomes(report)} == {"succeeded"}
    assert outcomes(again) == ([] if keeps else ["succeeded"] * 4)
    assert dict(read_journal(journal).counts) == {"succeeded": 4}


async def test_what_runs_or_has_not_begun_is_left(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """A run that goes on is waited for; an item the batch has not begun stays unsent."""
    requests = [*numbered(2), *numbered(1, "wf_endless"), *numbered(2)]
    refold = connect(service)
    await refold.run_batch(requests[:3], journal=journal, timeout=0.3, drain=0)
    mend(service)
    retrying = asyncio.ensure_future(refold.retry_batch(journal, requests))
    await until(lambda: len(service.runs) == 4)
    service.finish(service.runs[2].execution_id)
    report = await retrying

    assert outcomes(report) == ["succeeded"] * 3 + ["unsent"] * 2
    assert "does not begin" in str(report.items()[3].error)
    assert runs_of(service) == [0, 1, 0, 1]


async def test_what_was_rejected_is_sent(service: Emulator, connect: Connect, journal: str) -> None:
    """The service refused it by load, say: nothing ran."""
    mend(service)
    service.faults.script("execute", None, *[Fault(status=429)] * 50)
    refold = connect(service, retry=RetryPolicy(mode="never"))
    first = await refold.run_batch(numbered(4), journal=journal, keep_payloads=True)
    service.faults.clear()
    report = await refold.retry_batch(journal)

    assert first.rejected == report.succeeded == 3
    assert sorted(runs_of(service)) == [0, 1, 2, 3]


@pytest.mark.parametrize("found", [True, False])
async def test_what_may_have_run_is_looked_for_first(
    service: Emulator, connect: Connect, journal: str, found: bool
) -> None:
    """Found, it is adopted; started only where it is proven that it was not."""
    mend(service)
    await connect(service).run_batch(numbered(3), journal=journal, keep_payloads=True)
    forget_the_run(journal, key="#1", tag=None if found else f"rfa-{'0' * 32}")
    report = await connect(service, retry=SAFE).retry_batch(journal)

    assert (outcomes(report), len(service.runs)) == (["succeeded"], 3 if found else 4)


async def test_a_retry_that_loses_an_answer_doubles_nothing(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """The run that failed is not taken for the new one, which is found by its own tag."""
    refold = connect(service, retry=SAFE)
    await refold.run_batch(numbered(2), journal=journal, keep_payloads=True)
    mend(service)
    service.faults.script("execute", Fault(drop="after"))
    report = await refold.retry_batch(journal)

    assert (outcomes(report), runs_of(service)) == (["succeeded"], [0, 1, 1])
    assert report.items()[0].execution_id == service.runs[2].execution_id


async def test_a_retry_that_was_killed_is_gone_on_with(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """Between the start and its id: the new run is found by its own tag, and not the old one."""
    refold = connect(service, retry=SAFE)
    await refold.run_batch(numbered(2), journal=journal)
    mend(service)
    await refold.retry_batch(journal, numbered(2))
    forget_the_run(journal, key="#1")
    report = await connect(service, retry=SAFE).run_batch(numbered(2), journal=journal)

    assert (outcomes(report), len(service.runs)) == (["succeeded"] * 2, 3)
    assert report.items()[1].execution_id == service.runs[2].execution_id


async def test_what_cannot_be_retried_is_said_before_anything_is_sent(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """No journal, or one that keeps nothing; and nothing to keep payloads in."""
    refold = connect(service)
    with pytest.raises(JournalError, match="there is none"):
        await refold.retry_batch(journal)
    await refold.run_batch(numbered(2), journal=journal)
    with pytest.raises(JournalError, match="give the input"):
        await refold.retry_batch(journal)
    with pytest.raises(ConfigError, match="keep_payloads: give the journal"):
        await refold.run_batch([], keep_payloads=True)

    assert len(service.runs) == 2


@pytest.mark.parametrize("how", ["stopped", "timed out", "unreachable", "disk full", "tag"])
async def test_an_item_that_was_not_started_again_stays_what_it_was(
    service: Emulator,
    connect: Connect,
    journal: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    """It failed, with its run, as the report, the journal and the file of results say alike."""
    own: dict[str, Any] = {"instance_tag": "mine-1", "unique_tag": True} if how == "tag" else {}
    requests = [
        *numbered(1),
        ExecutionRequest("wf_1", slug="s", payload={"n": 1}, key="bad", **own),
    ]
    refold = connect(service, retry=SAFE)
    await refold.run_batch(requests, journal=journal)
    run = next(run for run in service.runs if run.payload["n"] == 1)
    options: dict[str, Any] = {}
    if how == "stopped":
        options["stop"] = asyncio.Event()
        options["stop"].set()
    elif how == "timed out":
        options["timeout"] = 1e-9
    elif how == "unreachable":  # the intent is written by then
        await service.aclose()
    elif how == "disk full":
        monkeypatch.setattr(Journal, "_commit", _full)
    out = tmp_path / "out.jsonl"
    report = await refold.retry_batch(journal, requests, **options)
    gathered = await refold.retry_batch(journal, requests, out=out, **options)
    lines = {line["key"]: line for line in map(json.loads, out.read_text().splitlines())}
    told = read_journal(journal)

    item = report.items()[1]
    assert (item.outcome, item.execution_id, item.resumed) == ("failed", run.execution_id, True)
    assert isinstance(item.error, ExecutionFailedError)
    (note,) = item.error.__notes__
    assert note.startswith("not started again: ")
    assert (how == "tag") == ("leave the tag out" in note)
    for counts in (report, gathered):
        assert (counts.succeeded, counts.failed, counts.total) == (1, 1, 2)
    assert dict(told.counts) == {"succeeded": 1, "failed": 1}
    assert told.failures[0].example.execution_id == run.execution_id
    assert (lines["bad"]["outcome"], lines["bad"]["execution_id"]) == ("failed", run.execution_id)
    assert lines["bad"]["error"]["message"] == str(item.error)
    assert len(service.runs) == 2


async def _full(*_: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")


async def test_a_retry_that_is_cancelled_before_anything_leaves_keeps_the_failure(
    service: Emulator, connect: Connect, journal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its intent is being written."""
    refold = connect(service)
    await refold.run_batch(numbered(2), journal=journal)
    commit, writing, go_on = Journal._commit, asyncio.Event(), asyncio.Event()

    async def slowly(self: Journal, *written: Any) -> None:
        writing.set()
        await go_on.wait()
        await commit(self, *written)

    monkeypatch.setattr(Journal, "_commit", slowly)
    retrying = asyncio.ensure_future(refold.retry_batch(journal, numbered(2)))
    await writing.wait()
    retrying.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(retrying, return_exceptions=True)

    told = read_journal(journal)
    assert dict(told.counts) == {"succeeded": 1, "failed": 1}
    assert told.failures[0].example.execution_id is not None
    assert len(service.runs) == 2
