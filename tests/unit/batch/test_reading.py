"""What a journal tells without its input, and without the batch that has it open."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from refold_async import ConfigError, JournalError, read_journal
from refold_async._batch import reading
from tests.unit.batch.test_journal import META, opened, row

if TYPE_CHECKING:
    from pathlib import Path

FAILED = (
    '{"type": "ExecutionFailedError", "message": "no", "node": {"node_id": "n", "name": "Work"}}'
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is not there yet."""
    return tmp_path / "batch.sqlite"


async def test_it_counts_groups_and_names_what_runs(path: Path) -> None:
    """By state; failures by reason with the first of them; the oldest and the slowest first."""
    done = {"state": "settled", "outcome": "succeeded", "result": "{}"}
    async with opened(path) as journal:
        await journal.write(row("#0", execution_id="e0", settled_at=4.5, **done))
        await journal.write(row("b", position=1, execution_id="e1", settled_at=9.5, **done))
        for n in (3, 2):
            failed = {"state": "settled", "outcome": "failed", "error": FAILED, "settled_at": 2.0}
            await journal.write(row(f"f{n}", position=n, execution_id=f"e{n}", **failed))
        await journal.write(row("r", position=4, state="started", execution_id="e4"))
        await journal.write(row("##s", position=5, intended_at=0.5))
    report = read_journal(path)
    (group,) = report.failures

    assert (report.in_use, report.is_exact, report.total) == (False, True, 6)
    assert dict(report.counts) == {"succeeded": 2, "failed": 2, "running": 1, "starting": 1}
    assert [item.key for item in report.slowest] == ["b", "0", "f2", "f3"]
    assert report.slowest[0].seconds == 8.0
    assert [(item.key, item.state) for item in report.running] == [
        ("#s", "starting"),
        ("r", "running"),
    ]
    assert (group.count, group.error, group.node) == (2, "ExecutionFailedError", "Work")
    assert (group.example.key, group.example.message) == ("f2", "no")
    assert (report.base_url, report.linked_account_id) == (META["base_url"], "acct_1")


async def test_a_batch_of_another_process_is_read_and_not_disturbed(path: Path) -> None:
    """It holds its lock; what it has written is told, that it is in use too, and it goes on."""
    async with opened(path) as journal:
        await journal.write(row())
        code = (
            "import sys; from refold_async import read_journal; r = read_journal(sys.argv[1]);"
            "print(r.in_use, r.is_exact, dict(r.counts))"
        )
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, str(path), stdout=subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(child.communicate(), 60)
        await journal.write(row("1", position=1))

    assert out.decode().strip() == "True True {'starting': 1}"
    assert read_journal(path).total == 2


async def test_a_journal_open_in_this_process_is_left_alone(path: Path) -> None:
    """To read it would drop the locks of the batch: its own progress tells."""
    async with opened(path):
        with pytest.raises(JournalError, match="progress="):
            read_journal(path)


async def test_a_commit_that_is_met_half_way_is_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sum tells; where there is never a quiet moment, the report says that it is not exact."""
    async with opened(path) as journal:
        await journal.write(row())
    once, tries = reading._read_once, []

    def torn(name: str, taker: reading.Taker) -> object:
        tries.append(name)
        meta, is_exact = once(name, taker)
        return meta, is_exact and len(tries) % 5 == 3

    monkeypatch.setattr(reading, "_read_once", torn)
    monkeypatch.setattr(reading, "_PAUSE", 0.0)

    assert (read_journal(path).total, len(tries)) == (1, 3)
    monkeypatch.setattr(reading, "_read_once", lambda name, taker: (once(name, taker)[0], False))
    monkeypatch.setattr(reading, "is_in_use", lambda _: True)
    report = read_journal(path)
    assert (report.total, report.is_exact) == (1, False)
    monkeypatch.setattr(reading, "is_in_use", lambda _: False)
    with pytest.raises(JournalError, match="corrupt"):
        read_journal(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "there is none", id="missing"),
        pytest.param(b"", "nothing is in it yet", id="empty"),
        pytest.param(b"my notes", "no journal", id="notes"),
        pytest.param(b"SQLite format 3\x00".ljust(100, b"\0"), "another program's", id="foreign"),
    ],
)
def test_what_is_no_journal_is_said_and_left_as_it_is(
    path: Path, content: bytes | None, said: str
) -> None:
    """By its first bytes, before SQLite touches it."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(JournalError, match=said):
        read_journal(path)

    assert (path.read_bytes() if path.exists() else None) == content


def test_a_path_has_to_be_one() -> None:
    """And the argument is named."""
    with pytest.raises(ConfigError, match="journal"):
        read_journal(7)  # type: ignore[arg-type]
