"""A client made before a fork: every process has tags of its own, and adopts only its own runs."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

from refold_async.emulator import Emulator, Fault

ROOT = Path(__file__).parents[3]
CHILDREN, CALLS = 4, 5


async def forked(emulator: Emulator) -> list[tuple[list[int], object]]:
    """Let children of one process use the client it made; give what each asked for and got."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.forking"),
        *(emulator.base_url, str(CHILDREN), str(CALLS)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, _ = await child.communicate()
    assert child.returncode == 0
    return [tuple(json.loads(line)) for line in out.decode().splitlines()]


async def test_no_two_processes_use_a_tag(emulator: Emulator) -> None:
    """Though all of them inherited the same client."""
    emulator.workflow("wf_1", slug="s")(dict)
    told = await forked(emulator)
    assert [got for _, got in told] == [asked for asked, _ in told]
    tags = Counter(run.instance_tag for run in emulator.runs)
    assert (len(tags), set(tags.values())) == (CHILDREN * CALLS, {1})


async def test_safe_never_adopts_the_run_of_another_process(emulator: Emulator) -> None:
    """Half of the starts are lost before a run begins: what is looked up is the own run or none."""
    emulator.workflow("wf_1", slug="s")(dict)
    for _ in range(CHILDREN * CALLS // 2):
        emulator.faults.script("execute", Fault(drop="before"), None)
    told = await forked(emulator)
    assert len(told) == CHILDREN * CALLS
    assert [(a, g) for a, g in told if g not in (a, "ExecutionOutcomeUnknownError")] == []
    assert max(Counter(str(run.payload["asked"]) for run in emulator.runs).values()) == 1
