"""Whatever happens to a journal's bytes: it is refused, or it says what was written to it."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import JournalError
from refold_async._batch.journal import Journal
from refold_async._batch.journal_rows import READ
from tests.unit.batch.test_journal import META, opened, row

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.long

PAGE = 4096


async def written(path: Path, first: int, many: int, **fields: Any) -> None:
    """Write rows, as many commits as there are tens."""
    async with opened(path) as journal:
        for begin in range(first, first + many, 10):
            rows = (row(f"{n:04}", position=n, **fields) for n in range(begin, begin + 10))
            await asyncio.gather(*map(journal.write, rows))


async def held(path: Path) -> list[tuple[Any, ...]] | None:
    """Give all the rows of a journal; None if it is refused."""
    journal = Journal(path)
    try:
        await journal.open(META)
    except JournalError:
        return None
    found = await journal._fetch(f"{READ} ORDER BY position")
    await journal.aclose()
    return [*map(tuple, found)]


async def test_a_changed_bit_is_noticed_wherever_it_matters(tmp_path: Path) -> None:
    """In a row, in the tables' own pages, in the header; what is left over changes nothing."""
    whole, draw = tmp_path / "whole.sqlite", random.Random(1)
    await written(whole, 0, 50, result='{"output": "' + "x" * 200 + '"}')
    rows, content = await held(whole), whole.read_bytes()
    refused = 0
    for _ in range(300):
        changed = bytearray(content)
        changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path = tmp_path / "changed.sqlite"
        path.write_bytes(changed)
        told = await held(path)
        assert told in (None, rows)
        refused += told is None
    assert refused > 100


async def test_a_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    """At any byte, page boundaries included; an empty file is a new journal."""
    whole, draw = tmp_path / "whole.sqlite", random.Random(2)
    await written(whole, 0, 50)
    content = whole.read_bytes()
    ends = {*range(PAGE, len(content), PAGE), *(draw.randrange(1, len(content)) for _ in range(50))}
    for end in ends:
        path = tmp_path / "cut.sqlite"
        path.write_bytes(content[:end])
        assert await held(path) is None
    path.write_bytes(b"")
    assert await held(path) == []


@pytest.mark.parametrize("many", [10, 200], ids=["one commit", "many pages"])
async def test_a_commit_that_reached_the_disk_in_part_is_refused(tmp_path: Path, many: int) -> None:
    """As a kill leaves it whose `-journal` was then lost: any mixture of old and new pages."""
    path, draw = tmp_path / "batch.sqlite", random.Random(3)
    await written(path, 0, many)
    old = path.read_bytes()
    before = await held(path)
    await written(path, many, 100, error='{"message": "' + "y" * 300 + '"}')
    new = path.read_bytes()
    after = await held(path)
    pages = range(max(len(old), len(new)) // PAGE)
    refused = 0
    for _ in range(100):
        mixed = b"".join(
            draw.choice((old, new))[n * PAGE : (n + 1) * PAGE].ljust(PAGE, b"\0") for n in pages
        )
        path.write_bytes(mixed)
        told = await held(path)
        assert told in (None, before, after)
        refused += told is None
    assert refused > 80


async def test_a_row_that_was_lost_or_changed_by_hand_is_noticed(tmp_path: Path) -> None:
    """SQLite finds nothing wrong with it; the sum does."""
    for change in (
        "DELETE FROM items WHERE key = '0003'",
        "UPDATE items SET execution_id = 'other' WHERE key = '0003'",
        "UPDATE meta SET value = 'https://other' WHERE name = 'base_url'",
        "DELETE FROM meta WHERE name = 'sum'",
    ):
        path = tmp_path / f"{len(change)}.sqlite"
        await written(path, 0, 10)
        connection = sqlite3.connect(path)
        connection.execute(change)
        connection.commit()
        connection.close()
        with pytest.raises(JournalError, match="changed or lost beside SQLite"):
            await Journal(path).open(META)
