"""Memory of the process of a batch on Dask: 100,000 items streamed, beside 1,000.

    python -m tests.bench.dask_memory [--items 100000] [--concurrency 10000]

The items come from a generator, their results go to a file (`out=`), and there is a journal. The
figures are the largest resident sets of that process, in MB; the two workers and the emulator,
whose runs take no time, have processes of their own. What takes memory are the places: an item has
one until its result is read, and workers start faster than this process reads.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from refold_async import ExecutionRequest, RefoldClient
from refold_async.dask import run_batch
from tests.soak.service import SLUG, WORKFLOW

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN = "tests.bench.dask_memory"
FEW = 1_000


def connect() -> RefoldClient:
    """Make a client that nothing slows down; the rest is in the environment."""
    return RefoldClient(rate_limit=None)


def requests(count: int) -> Iterator[ExecutionRequest]:
    """Give the items."""
    for number in range(count):
        yield ExecutionRequest(WORKFLOW, slug=SLUG, payload={"n": number}, key=f"k{number}")


async def drive(scheduler: str, items: int, concurrency: int) -> None:
    """The process that is measured."""
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        async with Client(scheduler, asynchronous=True) as cluster:
            report = await run_batch(
                requests(items),
                cluster=cluster,
                connect=f"{RUN}:connect",
                journal=f"{folder}/batch.sqlite",
                out=f"{folder}/out.jsonl",
                concurrency=concurrency,
            )
    assert report.succeeded == items, report
    # Not `ru_maxrss`, which a child takes over from its parent.
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()  # noqa: ASYNC240
    print(int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024)


def peak(scheduler: str, items: int, concurrency: int) -> float:
    """Run so many items in a process of its own; give its peak resident set in MB, and say it."""
    began = time.monotonic()
    printed = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", RUN, "--drive", scheduler, str(items), str(concurrency)],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    rate = items / (time.monotonic() - began)
    print(f"{items:>11,} items: peak {float(printed):6.1f} MB, {rate:,.0f} per second", flush=True)
    return float(printed)


def main(items: int, concurrency: int) -> None:
    """Print the figures."""
    from distributed import LocalCluster

    settings = json.dumps({"behaviour": {}, "faults": [], "seconds": [0, 0]})
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "tests.soak.service", settings],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as service:
        assert service.stdout is not None
        os.environ |= {
            "REFOLD_BASE_URL": service.stdout.readline().strip(),
            "REFOLD_API_KEY": "tk_emulator",
            "REFOLD_LINKED_ACCOUNT_ID": "acct_1",
        }
        try:
            with LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                dashboard_address=":0",
                silence_logs=logging.CRITICAL,
            ) as cluster:
                small = peak(cluster.scheduler_address, FEW, concurrency)
                large = peak(cluster.scheduler_address, items, concurrency)
        finally:
            service.terminate()
    print(f"  {concurrency:,} places; the difference: {large - small:.1f} MB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--drive"]:
        asyncio.run(drive(sys.argv[2], *map(int, sys.argv[3:])))
        sys.exit(0)
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=100_000, help="default %(default)s")
    parser.add_argument("--concurrency", type=int, default=10_000, help="default %(default)s")
    given = parser.parse_args()
    main(given.items, given.concurrency)
