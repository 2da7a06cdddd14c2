"""Thousands at once: one settlement and one stream of looks each, bounded sockets and memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from refold_async import PollPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient
    from refold_async.emulator import Emulator

pytestmark = pytest.mark.long


async def test_a_thousand_handles_awaited_by_three_tasks_each(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """1,000 settlements, few looks, and cancelling a third of the awaiters disturbs nobody."""
    emulator.workflow("wf_1", slug="hubspot", duration=0.0)(lambda payload: payload["n"])
    refold = connect(emulator, polling=PollPolicy(first=0.2, max_interval=5.0))
    handles = await asyncio.gather(
        *(refold.execute("wf_1", slug="hubspot", payload={"n": n}) for n in range(1000))
    )
    waits = [[asyncio.create_task(h.result()) for _ in range(3)] for h in handles]
    await asyncio.sleep(0)
    for first, _, _ in waits:
        first.cancel()
    results = await asyncio.gather(*(task for _, *two in waits for task in two))
    gone = await asyncio.gather(*(first for first, _, _ in waits), return_exceptions=True)
    assert [n for n in range(1000) for _ in range(2)] == [r.output for r in results]
    assert all(isinstance(g, asyncio.CancelledError) for g in gone)
    stats = refold.stats
    assert stats.settled == 1000
    assert stats.sweeps == emulator.counts["list_executions"] < 40
    assert stats.reads_per_settled is not None
    assert stats.reads_per_settled < 0.1
    assert 1000 <= emulator.counts["get_response"] < 1010
    assert {1000} == {len({run.execution_id for run in emulator.runs})}


async def test_several_handles_of_one_run_share_one_stream(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """However many handles point at a run, the service is asked as if there were one."""
    emulator.workflow("wf_1", slug="hubspot", duration=0.15)(lambda payload: "done")
    refold = connect(emulator)
    started = await refold.execute("wf_1", slug="hubspot")
    assert started.execution_id is not None
    handles = [refold.handle(started.execution_id) for _ in range(50)]
    results = await asyncio.gather(started, *handles)
    assert {"done"} == {result.output for result in results}
    assert refold.stats.polls < 15
    assert emulator.counts["get_response"] + emulator.counts["get_execution"] < 15


SCRIPT = """
    import asyncio, sys
    from refold_async import RefoldClient

    async def main():
        async with RefoldClient(
            api_key="tk_emulator", linked_account_id="acct_1", base_url=sys.argv[1],
            rate_limit=None, max_connections=50,
        ) as refold:
            handles = await asyncio.gather(
                *(refold.execute("wf_1", slug="hubspot", payload={"n": n}) for n in range(10_000))
            )
            assert len({h.execution_id for h in handles}) == 10_000
            await asyncio.gather(*handles)
    asyncio.run(main())
    # Not `ru_maxrss`, which a child takes over from its parent.
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(int(peak.split()[1]) // 1024)
"""


async def test_ten_thousand_calls_under_one_gather(emulator: Emulator) -> None:
    """All resolve, over at most `max_connections` sockets, in less than 150 MB at the peak."""
    emulator.workflow("wf_1", slug="hubspot", duration=0.0)(lambda payload: payload["n"])
    emulator.recording = False
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-c",
        textwrap.dedent(SCRIPT),
        emulator.base_url,
        stdout=subprocess.PIPE,
    )
    printed, _ = await asyncio.wait_for(child.communicate(), 300)
    assert child.returncode == 0
    assert len(emulator.runs) == 10_000
    # Those left after a quiet time may still be open at the other end when new ones come.
    assert emulator.peak_connections <= 2 * 50
    peak_megabytes = int(printed)
    assert peak_megabytes < 150
