"""The crash soak in brief, and that its bookkeeping can tell a broken promise."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.soak.crashes import Row, judge

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]


async def test_a_batch_that_is_killed_again_and_again_runs_each_item_once() -> None:
    """`make crashes` does the same with 2,000 items and 20 kills: its output is in "Batches"."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak.crashes"),
        *("--items", "120", "--kills", "4", "--longest", "0.4"),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    async with asyncio.timeout(300):
        out, _ = await process.communicate()
    printed = out.decode()
    assert process.returncode == 0, printed
    totals = [line for line in printed.splitlines() if line.startswith("  kills ")]
    assert len(totals) == 2
    assert all("runs 120, succeeded 120, unknown 0, twice 0, lost 0" in line for line in totals)
    kills = [int(re.findall(r"kills (\d+)", line)[0]) for line in totals]
    assert min(kills) > 0, "nothing was killed, so nothing was shown"


@pytest.mark.parametrize(
    ("told", "runs", "broken"),
    [
        pytest.param(("succeeded", "e1"), ["e1"], False, id="well"),
        pytest.param(("unknown", None), [], False, id="unknown, not run"),
        pytest.param(("unknown", None), ["e1"], False, id="unknown, run"),
        pytest.param(("succeeded", "e1"), ["e1", "e2"], True, id="twice"),
        pytest.param(("unknown", None), ["e1", "e2"], True, id="unknown, twice"),
        pytest.param(("succeeded", "e1"), [], True, id="lost"),
        pytest.param(("unsent", None), ["e1"], True, id="called unsent"),
        pytest.param(("succeeded", "e9"), ["e1"], True, id="another's run"),
        pytest.param(None, ["e1"], True, id="missing"),
    ],
)
def test_the_crash_soak_tells_a_broken_promise(told: Any, runs: list[str], broken: bool) -> None:
    """One item: what was reported of it against what the service ran."""
    row = Row()
    judge(row, {} if told is None else {0: told}, {0: runs})
    assert row.broken is broken
