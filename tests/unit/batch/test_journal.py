"""The journal's file: what is refused, what is durable, and that commits are shared."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from refold_async import ConfigError, JournalError
from refold_async._batch.journal import Journal
from refold_async._batch.journal_rows import SCHEMA_VERSION, Row
from tests.support.clock import settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

META: dict[str, str | None] = {"base_url": "http://localhost:1", "linked_account_id": "acct_1"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is not there yet."""
    return tmp_path / "batch.sqlite"


@contextlib.asynccontextmanager
async def opened(path: Path, **meta: str | None) -> AsyncIterator[Journal]:
    """An open journal, closed in the end."""
    journal = Journal(path)
    await journal.open({**META, **meta})
    try:
        yield journal
    finally:
        await journal.aclose()


def row(key: str = "0", **fields: Any) -> Row:
    """A row that has just been intended."""
    defaults: dict[str, Any] = {
        "position": 0,
        "fingerprint": "f",
        "tag": "rfa-1",
        "findable": True,
        "workflow_id": "wf_1",
        "account": "acct_1",
        "state": "intended",
        "intended_at": 1.5,
    }
    return Row(key=key, **(defaults | fields))


async def keys(journal: Journal) -> list[str]:
    """The keys that earlier openings wrote."""
    return [key for (key,) in await journal._fetch("SELECT key FROM items")]


async def test_rows_come_back_as_they_were_written(path: Path) -> None:
    """In another opening."""
    written = row(
        state="settled", execution_id="e", outcome="succeeded", result="{}", possible_duplicate=True
    )
    async with opened(path) as journal:
        await journal.write(written)
        assert (journal.size, await journal.claim("0")) == (0, None)
    async with opened(path) as journal:
        found = await journal.claim("0")
        assert found is not None
        assert attrs.astuple(found) == attrs.astuple(written)


async def test_a_row_is_on_disk_when_the_write_returns(path: Path) -> None:
    """A copy of the file alone, without whatever stands beside it, has it."""
    async with opened(path) as journal:
        await journal.write(row())
        copy = path.with_name("copy.sqlite")
        shutil.copy(path, copy)
    async with opened(copy) as journal:
        assert sorted(await keys(journal)) == ["0"]


async def test_what_is_written_at_one_time_shares_a_commit(path: Path) -> None:
    """Five hundred rows take a few transactions, and each is waited for."""
    async with opened(path) as journal:
        commits, commit = [], journal._commit

        async def counting(rows: list[Any], said: int) -> None:
            commits.append(len(rows))
            await commit(rows, said)

        journal._commit = counting  # type: ignore[method-assign]
        await asyncio.gather(*(journal.write(row(str(n))) for n in range(500)))
        assert sum(commits) == 500
        assert len(commits) <= 2  # with eager tasks the first row goes alone


async def test_a_cancelled_writer_takes_nothing_back(path: Path) -> None:
    """The row is written all the same, and those who share its commit are not disturbed."""
    async with opened(path) as journal:
        gone = asyncio.ensure_future(journal.write(row("gone")))
        stays = asyncio.ensure_future(journal.write(row("stays")))
        await asyncio.sleep(0)
        gone.cancel()
        await stays
        assert gone.cancelled()
    async with opened(path) as journal:
        assert sorted(await keys(journal)) == ["gone", "stays"]


async def test_what_was_noted_is_written_before_closing(path: Path) -> None:
    """Nobody waits for a note."""
    async with opened(path) as journal:
        journal.note(row("noted"))
    async with opened(path) as journal:
        assert sorted(await keys(journal)) == ["noted"]


async def test_the_file_is_its_owners_alone(path: Path) -> None:
    """It holds the outputs of runs."""
    async with opened(path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600  # noqa: PTH116


async def test_a_second_batch_is_told_that_the_journal_is_in_use(path: Path) -> None:
    """In this process and in another, at once; the first goes on."""
    probe = (
        "import asyncio, sys; from refold_async._batch.journal import Journal\n"
        f"asyncio.run(Journal(sys.argv[1]).open({META!r}))"
    )
    async with opened(path) as journal:
        with pytest.raises(JournalError, match="another batch uses it"):
            await Journal(path).open(META)
        other = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", probe, path), stderr=subprocess.PIPE
        )
        _, complaints = await other.communicate()
        assert b"another batch uses it; wait for that batch to end" in complaints
        await journal.write(row())


def _another_program(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()


def _another_kind(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA application_id=7")
    connection.commit()
    connection.close()


def _another_version(path: Path) -> None:
    asyncio.run(_make(path))
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    connection.commit()
    connection.close()


def _damaged(path: Path) -> None:
    asyncio.run(_make(path, many=2000))
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 40] = os.urandom(4096 * 37)
    path.write_bytes(data)


def _cut(path: Path) -> None:
    asyncio.run(_make(path, many=2000))
    path.write_bytes(path.read_bytes()[:6000])


async def _make(path: Path, many: int = 1) -> None:
    async with opened(path) as journal:
        await asyncio.gather(*(journal.write(row(str(n))) for n in range(many)))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        pytest.param(lambda p: p.write_text("key,value\n" * 99), "is no journal", id="text"),
        pytest.param(lambda p: p.write_bytes(b"\0" * 5000), "is no journal", id="zeros"),
        pytest.param(_another_program, "another program's database", id="another program's"),
        pytest.param(_another_kind, "another program's database", id="another kind"),
        pytest.param(_another_version, "schema version 3, and this release", id="version"),
        pytest.param(_damaged, "corrupt", id="damaged", marks=pytest.mark.long),
        pytest.param(_cut, "corrupt", id="cut short", marks=pytest.mark.long),
    ],
)
def test_what_is_no_journal_of_ours_is_refused_and_left_alone(
    path: Path, make: Callable[[Path], object], problem: str
) -> None:
    """The error says what is wrong and what to do; not a byte of the file changes."""
    make(path)
    before = path.read_bytes()
    with pytest.raises(JournalError, match=problem) as caught:
        asyncio.run(Journal(path).open(META))
    assert (caught.value.path, path.read_bytes()) == (str(path), before)
    assert caught.value.remedy in str(caught.value)


@pytest.mark.parametrize("meta", [{"base_url": "https://a"}, {"linked_account_id": None}])
async def test_a_journal_of_another_batch_is_refused(path: Path, meta: dict[str, Any]) -> None:
    """Another service or another account: the ids in it mean something else there."""
    async with opened(path):
        pass
    with pytest.raises(JournalError, match="it belongs to a batch with"):
        async with opened(path, **meta):
            raise AssertionError
    async with opened(path):
        pass


async def test_a_path_that_can_not_be_is_refused(tmp_path: Path) -> None:
    """A folder, a folder that is not there, and what is no path."""
    for path in (tmp_path, tmp_path / "no" / "batch.sqlite"):
        with pytest.raises(JournalError, match="see that the folder exists"):
            await Journal(path).open(META)
    with pytest.raises(ConfigError, match="journal: must be the path of a file"):
        Journal(3)  # type: ignore[arg-type]


async def test_a_missing_extra_says_what_to_install(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And makes no file."""
    monkeypatch.setitem(sys.modules, "aiosqlite", None)
    with pytest.raises(ConfigError, match=r"pip install 'refold-async\[batch\]'"):
        await Journal(path).open(META)
    assert not os.path.exists(path)  # noqa: PTH110, ASYNC240


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(sqlite3.OperationalError("disk is full"), "can't be read or written", id="io"),
        pytest.param(ZeroDivisionError("a bug"), "can't be read or written", id="bug"),
    ],
)
async def test_a_journal_that_can_not_be_written_says_so_from_then_on(
    path: Path, error: Exception, words: str
) -> None:
    """All who wait for that commit are told, and all who come later."""
    async with opened(path) as journal:

        async def failing(rows: list[Any], said: int) -> None:
            raise error

        await journal.write(row("before"))
        journal._commit = failing  # type: ignore[method-assign]
        told = await asyncio.gather(
            *(journal.write(row(str(n))) for n in range(3)), return_exceptions=True
        )
        journal.note(row("later"))
        await settle()
        with pytest.raises(JournalError, match=words):
            await journal.write(row("later"))
    assert all(isinstance(each, JournalError) for each in told)
    async with opened(path) as journal:
        assert sorted(await keys(journal)) == ["before"]


async def test_a_full_disk_is_named(path: Path) -> None:
    """SQLite's own limit on pages plays the full disk."""
    async with opened(path) as journal:
        assert journal._connection is not None
        await journal._connection.execute("PRAGMA max_page_count=10")
        with pytest.raises(JournalError, match="the disk is full; make room"):
            await journal.write(row(result="x" * 100_000))


async def test_an_opening_that_is_cancelled_lets_go_of_the_file_first(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that closed the file later would drop the locks of whoever has opened it since."""
    connect, may_go_on = sqlite3.connect, threading.Event()

    def slow(*where: Any, **options: Any) -> Any:
        may_go_on.wait(30)
        return connect(*where, **options)

    monkeypatch.setattr("aiosqlite.core.sqlite3.connect", slow)
    opening = asyncio.create_task(Journal(path).open(META))
    for _ in range(2):
        await settle()
        opening.cancel()
    await settle()
    went_early = opening.done()
    may_go_on.set()
    await asyncio.wait([opening])
    assert (opening.cancelled(), went_early) == (True, False)
    async with opened(path):
        pass
