"""Starts per second by the workers of a Dask cluster, beside one process.

`python -m tests.bench.on_dask`. The service is an emulator in a process of its own, without a rate
limit; nobody waits for the runs. What limits it shows in the CPU time per start of this process and
of the emulator.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from refold_async import ExecutionRequest, RefoldClient
from refold_async.dask import run_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

ITEMS = 3_000
TICKS = os.sysconf("SC_CLK_TCK")


def connect() -> RefoldClient:
    """Make a client that nothing slows down; the rest is in the environment."""
    return RefoldClient(rate_limit=None)


def requests() -> Iterator[ExecutionRequest]:
    """Give the items."""
    for number in range(ITEMS):
        yield ExecutionRequest("wf_echo", slug="demo", payload={"n": number})


def cpu_of(pid: int) -> float:
    """Give the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def show(name: str, seconds: float, here: float, service: float) -> None:
    """Print a line of the table."""
    each = 1e6 / ITEMS
    print(f"{name:<14}{ITEMS / seconds:>10,.0f}{here * each:>14,.0f}{service * each:>14,.0f}")


async def main(pid: int) -> None:
    """Measure one process, and one to three workers."""
    from distributed import Client, LocalCluster

    print(f"{'started by':<14}{'per s':>10}{'us here':>14}{'us service':>14}")
    async with connect() as refold:
        began, here, there = time.monotonic(), time.process_time(), cpu_of(pid)
        report = await refold.run_batch(requests(), wait=False)
        assert report.succeeded == ITEMS
        seconds = time.monotonic() - began
        show("one process", seconds, time.process_time() - here, cpu_of(pid) - there)
    for workers in (1, 2, 3):
        async with (
            LocalCluster(n_workers=workers, dashboard_address=None, asynchronous=True) as local,
            Client(local, asynchronous=True) as cluster,
        ):
            name = "tests.bench.on_dask:connect"
            await run_batch([*requests()][:50], cluster=cluster, connect=name, wait=False)
            began, here, there = time.monotonic(), time.process_time(), cpu_of(pid)
            report = await run_batch(requests(), cluster=cluster, connect=name, wait=False)
            assert report.succeeded == ITEMS
            seconds = time.monotonic() - began
            show(f"{workers} workers", seconds, time.process_time() - here, cpu_of(pid) - there)


if __name__ == "__main__":
    with subprocess.Popen(
        [sys.executable, "-m", "refold_async.emulator", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    ) as emulator:
        assert emulator.stdout is not None
        url = next(line.split()[-1] for line in emulator.stdout if "base URL" in line)
        os.environ |= {
            "REFOLD_BASE_URL": url,
            "REFOLD_API_KEY": "tk_emulator",
            "REFOLD_LINKED_ACCOUNT_ID": "acct_1",
        }
        try:
            asyncio.run(main(emulator.pid))
        finally:
            emulator.terminate()
