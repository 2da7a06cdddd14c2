"""The soak in brief, and that its bookkeeping can tell a broken promise."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.soak.__main__ import Row
from tests.soak.calls import Told
from tests.soak.cells import Cell

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]


async def test_a_fifth_of_the_attempts_fail_and_no_run_is_lost_or_doubled_in_silence() -> None:
    """`make soak` does the same for minutes: the table it prints is in "Reliability"."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak", "--brief", "--calls", "150", "--seconds", "3"),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    async with asyncio.timeout(300):
        out, _ = await process.communicate()
    lines = out.decode().splitlines()
    rows = [line.split() for line in lines if line.startswith(("safe ", "transient "))]
    assert process.returncode == 0, out.decode()
    assert "tasks left 0, promises broken 0" in lines[-1]
    # ... calls runs lost wrong silent flagged unknown adopted pushed per_s
    assert len(rows) == 16
    assert sum(int(row[-10].replace(",", "")) for row in rows) > 1_000
    assert all(row[-8:-5] == ["0", "0", "0"] for row in rows)
    assert sum(int(row[-3]) for row in rows) > 50, "nothing went wrong, so nothing was shown"
    assert [row[1] for row in rows if row[-2] != "0"] == ["webhooks"] * 2


@pytest.mark.parametrize(
    ("told", "runs", "broken"),
    [
        pytest.param(Told(execution_id="e1"), ["e1"], (False, False), id="well"),
        pytest.param(Told(error="refused"), [], (False, False), id="refused"),
        pytest.param(Told(unknown=True), ["e1"], (False, False), id="unknown"),
        pytest.param(Told(error="refused"), ["e1"], (True, True), id="lost"),
        pytest.param(Told(error="cancelled"), ["e1"], (True, True), id="lost in silence"),
        pytest.param(Told(execution_id="e1"), [], (True, True), id="another's run"),
        pytest.param(Told(execution_id="e1", wrong=True), ["e1"], (True, True), id="wrong"),
        pytest.param(Told(execution_id="e1"), ["e1", "e2"], (True, True), id="silent double"),
        pytest.param(
            Told(execution_id="e1", flagged=True), ["e1", "e2"], (True, False), id="flagged double"
        ),
        pytest.param(Told(unknown=True), ["e1", "e2"], (True, True), id="unknown double"),
    ],
)
def test_the_soak_tells_a_broken_promise(
    told: Told, runs: list[str], broken: tuple[bool, bool]
) -> None:
    """By mode: `safe`, then `transient`, where a double is fine if it was told."""
    row = Row()
    row.judge(told, runs)
    cells = Cell("safe", "tags visible", "all"), Cell("transient", "tags visible", "all")
    assert tuple(row.broken(cell) for cell in cells) == broken
