"""A journal whose process was killed, and to whose files something happened: refused, or whole.

The process gets a real SIGKILL, the files are real, and the emulator counts the runs.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import JournalError
from refold_async.emulator import Emulator
from tests.support.crashing import ITEMS, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]
ONCE_EACH = dict.fromkeys(range(ITEMS), 1)


@pytest.fixture
async def service() -> AsyncIterator[Emulator]:
    """A Refold whose runs take a moment."""
    emulator = Emulator()
    emulator.workflow("wf_1", slug="s", duration=0.05)(dict)
    async with emulator:
        yield emulator


async def killed(service: Emulator, journal: Path, instant: str) -> None:
    """Run the batch in a process of its own, until it kills itself."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.crashing"),
        *(service.base_url, str(journal), instant, "safe"),
        cwd=ROOT,
    )
    async with asyncio.timeout(120):
        await child.communicate()
    assert child.returncode == -signal.SIGKILL


async def resumed(service: Emulator, journal: Path) -> Any:
    """Run the batch again; give its report, or what it was refused with."""
    try:
        return await run(service.base_url, str(journal))
    except JournalError as error:
        return error


def files(folder: Path) -> list[Path]:
    """Give what holds something."""
    return sorted(path for path in folder.iterdir() if path.stat().st_size)


def ran(service: Emulator) -> dict[int, int]:
    """How often each item really ran."""
    return dict(sorted(Counter(run.payload["n"] for run in service.runs).items()))


COMMITS = [f"in a commit {microseconds}" for microseconds in (50, 300, 600, 1000, 2000)]
INSTANTS = ["before intended", "after intended", "after started", "after settled", *COMMITS]


@pytest.mark.parametrize("instant", INSTANTS)
async def test_what_stands_beside_the_journal_may_be_lost(
    service: Emulator, tmp_path: Path, instant: str
) -> None:
    """Whatever the kill left there: what was told to be written is in the file itself."""
    journal = tmp_path / "batch.sqlite"
    await killed(service, journal, instant)
    for beside in files(tmp_path):
        if beside != journal:
            beside.unlink()
    report = await resumed(service, journal)
    if isinstance(report, JournalError):
        assert instant in COMMITS
        assert "it is corrupt" in str(report)
        assert max(ran(service).values()) == 1
    else:
        assert (report.succeeded, ran(service)) == (ITEMS, ONCE_EACH)


def cut(path: Path, draw: random.Random) -> None:
    """Lose the end of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(len(content))])


def flip(path: Path, draw: random.Random) -> None:
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("damage", [cut, flip])
@pytest.mark.parametrize("instant", ["after started", "in a commit 600"])
async def test_a_damaged_journal_is_refused_or_was_not_hurt(
    service: Emulator,
    tmp_path: Path,
    instant: str,
    damage: Callable[[Path, random.Random], None],
    seed: int,
) -> None:
    """Nothing runs twice, and no outcome is made up: an error says that it is not whole."""
    journal, draw = tmp_path / "batch.sqlite", random.Random(seed)
    await killed(service, journal, instant)
    damage(draw.choice(files(tmp_path)), draw)
    report = await resumed(service, journal)
    if isinstance(report, JournalError):
        assert max(ran(service).values()) == 1
        assert report.remedy in str(report)
    else:
        assert (report.succeeded, ran(service)) == (ITEMS, ONCE_EACH)
        results = [item.result.output["n"] for item in report.items()]
        assert results == list(range(ITEMS))


async def test_a_journal_that_was_closed_leaves_nothing_beside_it(
    service: Emulator, tmp_path: Path
) -> None:
    """One file is the whole of it."""
    journal = tmp_path / "batch.sqlite"
    await run(service.base_url, str(journal))
    assert files(tmp_path) == [journal]
