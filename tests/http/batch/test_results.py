"""`out=`: results written to a file as items end, instead of kept."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    ConfigError,
    ExecutionRequest,
    RefoldClient,
    RetryPolicy,
    read_journal,
)
from refold_async._batch.journal import Journal
from refold_async._batch.journal_rows import CLAIM
from refold_async._batch.results import Results
from refold_async.emulator import Emulator, Fault, NodeFailed
from tests.http.batch.test_batch import numbered
from tests.support.endings import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    Connect = Callable[..., RefoldClient]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The path of a file of results that is not there yet."""
    return tmp_path / "out.jsonl"


@pytest.fixture
async def service() -> AsyncIterator[Emulator]:
    """Workflows that do well, fail, and never end."""
    async with Emulator() as emulator:
        emulator.workflow("wf_1", slug="s", duration=0.02)(dict)
        emulator.workflow("wf_endless", slug="s", duration=None)(dict)

        @emulator.workflow("wf_fails", slug="s")
        def fail(_: dict[str, Any]) -> Any:
            raise NodeFailed(node="Work", message="the CRM said no")

        yield emulator


def documents(out: Path) -> list[dict[str, Any]]:
    """Read the file."""
    return [json.loads(line) for line in out.read_text().splitlines()]


def spoil(out: Path, how: str) -> int:
    """Leave a file as a kill, or somebody, may leave it; tell how many lines it had."""
    content = out.read_bytes()
    if how == "longer":  # a kill between a line and its row
        out.write_bytes(content + b'{"key": "4", "outcome": "fai')
    elif how == "shorter":
        out.write_bytes(content[:-10])
    elif how == "gone":
        out.unlink()
    elif how == "another":
        out.write_bytes(b'{"key": "0", "outcome": "another batch\'s"}\n' * 20)
    return content.count(b"\n")


def lines(out: Path) -> dict[str, str]:
    """The outcome of each key; there may be one line of each only."""
    read = documents(out)
    assert len({line["key"] for line in read}) == len(read)
    return {line["key"]: line["outcome"] for line in read}


@pytest.mark.parametrize("journaled", [False, True])
async def test_results_are_in_the_file_and_figures_in_the_report(
    service: Emulator, connect: Connect, journal: str, out: Path, journaled: bool
) -> None:
    """Counts, reasons and the slowest; the items are not kept, and whoever asks is told where."""
    await asyncio.to_thread(out.write_text, "something else\n" * 1000)
    requests = [*numbered(3), *numbered(2, "wf_fails"), ExecutionRequest("wf_1", slug="")]
    report = await connect(service).run_batch(
        requests, out=out, journal=journal if journaled else None
    )

    assert (report.total, report.succeeded, report.failed, report.rejected) == (6, 3, 2, 1)
    first = report.failures[0]
    assert (first.count, first.error) == (2, "ExecutionFailedError")
    assert len(report.slowest) == 5
    assert lines(out) == {
        "0": "succeeded",
        "1": "succeeded",
        "2": "succeeded",
        "3": "failed",
        "4": "failed",
        "5": "rejected",
    }
    assert {"n": 2} in [line["output"] for line in documents(out)]
    with pytest.raises(ConfigError, match=str(out)):
        report.items()
    with pytest.raises(ExceptionGroup, match="3 of 6 items"):
        report.raise_for_failures()


@pytest.mark.parametrize("left", ["as it was", "longer", "shorter", "gone", "another"])
async def test_a_batch_that_goes_on_has_each_line_once(
    service: Emulator, connect: Connect, journal: str, out: Path, left: str
) -> None:
    """It is written anew, from the journal, whatever became of the file."""
    requests = [*numbered(4), *numbered(1, "wf_endless"), *numbered(4)]
    settings: dict[str, Any] = {"journal": journal, "out": out}
    running = asyncio.ensure_future(connect(service).run_batch(requests, concurrency=1, **settings))
    await until(lambda: len(service.runs) == 5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    written = spoil(out, left)
    service.finish(service.runs[4].execution_id)
    report = await connect(service).run_batch(requests, **settings)
    again = await connect(service).run_batch(requests, **settings)

    assert written == 4
    assert (report.succeeded, report.resumed, again.resumed) == (9, 5, 9)
    assert lines(out) == {str(n): "succeeded" for n in range(9)}
    assert len(service.runs) == 9


async def test_a_disk_that_is_full_stops_the_batch(
    service: Emulator,
    connect: Connect,
    journal: str,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing more is sent; what is settled is in the journal, and written the next time."""

    def full(results: Results, lines: bytes) -> None:
        if not results.broken:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Results, "_put", full)
    refold = connect(service)
    report = await refold.run_batch([*numbered(6)], out=out, journal=journal, concurrency=1)
    monkeypatch.undo()
    again = await refold.run_batch([*numbered(6)], out=out, journal=journal)

    assert "No space left" in str(report.out_error)
    assert report.unsent > 0
    assert again.succeeded == 6
    assert lines(out) == {str(n): "succeeded" for n in range(6)}
    assert len(service.runs) == 6


async def test_an_item_that_is_tried_again_has_a_further_line(
    service: Emulator, connect: Connect, journal: str, out: Path
) -> None:
    """The last one of a key counts; the next time it is the only one."""
    service.faults.script("execute", Fault(status=400), None)
    refold = connect(service)
    for _ in range(2):
        await refold.run_batch([*numbered(2)], out=out, journal=journal, concurrency=1)
    found = [(line["key"], line["outcome"]) for line in documents(out)]
    assert found == [("0", "rejected"), ("1", "succeeded"), ("0", "succeeded")]
    await refold.run_batch([*numbered(2)], out=out, journal=journal)
    assert lines(out) == {"0": "succeeded", "1": "succeeded"}


async def test_a_line_from_the_journal_is_as_it_was(
    service: Emulator, connect: Connect, journal: str, out: Path
) -> None:
    """But for the seconds, which the journal does not keep, and that it is resumed."""
    service.faults.script("execute", Fault(status=400), None)
    requests = [*numbered(3), *numbered(1, "wf_fails", key="#one")]
    refold = connect(service)
    await refold.run_batch(requests, out=out, journal=journal, concurrency=1)
    first = documents(out)
    await refold.retry_batch(journal, [], out=out)
    for line in first:
        line |= {"seconds": None, "resumed": True}
    assert documents(out) == first


async def test_a_retry_without_input_keeps_the_lines_of_all_that_is_settled(
    service: Emulator, connect: Connect, journal: str, out: Path
) -> None:
    """Also of a batch that was stopped; and a batch that goes on has them all."""
    requests = [*numbered(3), *numbered(1, "wf_fails"), *numbered(4)]
    refold = connect(service)
    settings: dict[str, Any] = {"journal": journal, "out": out}
    await refold.run_batch(
        iter(requests), keep_payloads=True, stop_after_failures=1, concurrency=1, **settings
    )
    before = lines(out)
    await refold.retry_batch(journal, out=out)
    assert {line["key"] for line in documents(out)} == {*before}
    report = await refold.run_batch(requests, **settings)
    assert report.total == 8
    assert {line["key"] for line in documents(out)} == {str(n) for n in range(8)}


async def test_an_item_that_a_retry_did_not_begin_stays_as_it_was(
    service: Emulator, connect: Connect, journal: str, out: Path
) -> None:
    """It failed: no line says that it was not sent."""
    requests = [*numbered(6, "wf_fails")]
    refold = connect(service)
    await refold.run_batch(requests, out=out, journal=journal)
    report = await refold.retry_batch(
        journal, requests, out=out, stop_after_failures=1, concurrency=2
    )
    assert report.failed == 6
    assert {line["outcome"] for line in documents(out)} == {"failed"}
    assert all(line["execution_id"] for line in documents(out))


@pytest.mark.parametrize("how", ["changed", "twice", "wrong"])
async def test_what_the_journal_does_not_take_has_no_line(
    service: Emulator, connect: Connect, journal: str, out: Path, how: str
) -> None:
    """It is rejected, and what stands under its key is what became of the key."""
    refold = connect(service)
    asked: dict[str, Any] = {"workflow_id": "wf_1", "slug": "s", "payload": {"n": 0}, "key": "k"}
    first = ExecutionRequest(**asked)
    await refold.run_batch([first], journal=journal)
    requests = {
        "changed": [ExecutionRequest(**asked | {"payload": {"n": 1}})],
        "twice": [first, first],
        "wrong": [ExecutionRequest(**asked | {"slug": ""})],
    }[how]
    report = await refold.run_batch(requests, journal=journal, out=out)

    assert report.rejected == 1
    assert lines(out) == {"k": "succeeded"}
    assert documents(out)[0]["execution_id"] == service.runs[0].execution_id


async def test_an_item_whose_row_cannot_be_read_may_have_run(
    service: Emulator,
    connect: Connect,
    journal: str,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody says that it was not sent; in a journal that is new there is no row to read."""
    fetch = Journal._fetch

    async def full(self: Journal, statement: str, *values: Any) -> Any:
        if statement == CLAIM:
            raise sqlite3.OperationalError("database or disk is full")
        return await fetch(self, statement, *values)

    refold = connect(service)
    await refold.run_batch([*numbered(2)], journal=journal)
    monkeypatch.setattr(Journal, "_fetch", full)
    known = await refold.run_batch([*numbered(2)], journal=journal, out=out)
    new = await refold.run_batch([*numbered(2)], journal=f"{journal}.new")

    assert (known.unknown, known.unsent, new.unsent) == (2, 0, 2)
    assert "disk is full" in str(known.journal_error)
    assert lines(out) == {"0": "succeeded", "1": "succeeded"}
    assert len(service.runs) == 2


async def test_a_run_that_was_not_waited_for_and_is_left_is_running(
    service: Emulator, connect: Connect, journal: str, out: Path
) -> None:
    """Its item is unknown, in the file of results too; the journal knows it as running."""
    requests = [*numbered(1, "wf_endless")]
    refold = connect(service)
    await refold.run_batch(requests, journal=journal, wait=False)
    options: dict[str, Any] = {"journal": journal, "timeout": 1e-9, "drain": 0}
    item = (await refold.run_batch(requests, **options)).items()[0]
    assert (item.outcome, item.execution_id) == ("unknown", service.runs[0].execution_id)
    assert dict(read_journal(journal).counts) == {"running": 1}

    report = await refold.run_batch(requests, out=out, **options)
    assert report.unknown == 1
    assert lines(out) == {"0": "unknown"}
    service.finish(service.runs[0].execution_id)
    await refold.run_batch(requests, journal=journal, out=out)
    assert lines(out) == {"0": "succeeded"}
    assert len(service.runs) == 1


async def test_a_run_that_is_adopted_and_left_is_running_and_no_failure(
    service: Emulator, connect: Connect, journal: str, out: Path
) -> None:
    """Once its id is known, it is unknown no more to the journal."""
    requests = [*numbered(1, "wf_endless")]
    service.faults.script("execute", Fault(drop="after"))
    service.faults.always("list_executions", Fault(status=500))
    refold = connect(service, retry=RetryPolicy(mode="safe", settle=0.02, wait=0, max_wait=0))
    first = await refold.run_batch(requests, journal=journal)
    service.faults.clear()
    left = await refold.run_batch(requests, journal=journal, out=out, timeout=1e-9, drain=0)
    told = read_journal(journal)

    assert (first.unknown, left.unknown) == (1, 1)
    assert (dict(told.counts), told.failures) == ({"running": 1}, ())
    assert documents(out)[-1]["execution_id"] == service.runs[0].execution_id


async def test_a_file_that_cannot_be_written_is_said_before_anything_is_sent(
    service: Emulator, connect: Connect, tmp_path: Path
) -> None:
    """The argument is named."""
    refold = connect(service)
    for path in (tmp_path, 7, "a\0b"):
        with pytest.raises(ConfigError, match=r"^out: "):
            await refold.run_batch([*numbered(1)], out=path)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^journal: "):
        await refold.run_batch([*numbered(1)], journal="a\0b")

    assert not service.runs


@pytest.mark.parametrize("name", ["batch.sqlite", "batch.sqlite-journal", "batch.sqlite.stop"])
@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to"])
async def test_results_are_not_written_over_the_journal(
    service: Emulator, connect: Connect, tmp_path: Path, journal: str, name: str, link: str | None
) -> None:
    """By whatever name: it would be lost, and with it what has run."""
    refold = connect(service)
    await refold.run_batch(numbered(2), journal=journal)
    path = tmp_path / name
    if link is not None:
        path.touch()
        getattr(tmp_path / "out.jsonl", link)(path)
        path = tmp_path / "out.jsonl"
    with pytest.raises(ConfigError, match="out: is the journal, or a file that belongs to it"):
        await refold.run_batch(numbered(3), journal=journal, out=path)
    report = await refold.run_batch(numbered(2), journal=journal)
    assert (report.succeeded, len(service.runs)) == (2, 2)
