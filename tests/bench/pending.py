"""What 100,000 pending handles cost: memory each, and CPU while the tracker is idle.

    python tests/bench/pending.py [--handles 100000]

The handles are of runs nobody asks about before the bench ends (the first look is an hour away), so
that all there is to see is their own weight: awaited by a task each, and merely held. The service
is never asked. Beside them, what a task that awaits a future costs by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from refold_async import ExecutionHandle, PollPolicy, RefoldClient

IDLE = 5.0
"""Seconds over which CPU is measured."""


def resident() -> int:
    """Give the resident set of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def handles(refold: RefoldClient, number: int) -> list[ExecutionHandle[Any]]:
    """Make handles of runs that were created one after the other, 100 a second."""
    began = int(time.time()) - number // 100
    return [refold.handle(f"{began + n // 100:08x}{n:016x}") for n in range(number)]


async def main(number: int, *, awaited: bool) -> None:
    """Print bytes per handle, and CPU while idle."""
    never = PollPolicy(first=3600, max_interval=3600)
    async with RefoldClient(
        api_key="tk_1", linked_account_id="acct_1", base_url="http://127.0.0.1:9", polling=never
    ) as refold:
        gc.collect()
        before = resident()
        held = handles(refold, number)
        for handle in held:
            handle._fresh = True  # to be looked at after `first`
        waits: list[asyncio.Task[Any]] = []
        if awaited:
            waits = [asyncio.ensure_future(handle.wait()) for handle in held]
            await asyncio.sleep(0)
        gc.collect()
        each = (resident() - before) / number
        used, began = time.process_time(), time.monotonic()
        await asyncio.sleep(IDLE)
        cpu = (time.process_time() - used) / (time.monotonic() - began)
        kind = "awaited by a task each" if awaited else "held"
        print(f"{number:,} handles, {kind:<24}{each:>8,.0f} bytes each, {cpu:.1%} of a core")
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def bare(number: int) -> None:
    """Print what tasks cost that await a future of their own."""
    loop = asyncio.get_running_loop()

    async def wait(future: asyncio.Future[None]) -> None:
        await future

    gc.collect()
    before = resident()
    waits = [loop.create_task(wait(loop.create_future())) for _ in range(number)]
    await asyncio.sleep(0)
    gc.collect()
    print(
        f"{number:,} bare tasks, a future each {(resident() - before) / number:>16,.0f} bytes each"
    )
    for task in waits:
        task.cancel()
    await asyncio.gather(*waits, return_exceptions=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--handles", type=int, default=100_000)
    parser.add_argument("--kind", choices=["held", "awaited", "bare"])
    options = parser.parse_args()
    if options.kind == "bare":
        asyncio.run(bare(options.handles))
    elif options.kind:
        asyncio.run(main(options.handles, awaited=options.kind == "awaited"))
    else:  # each in a process of its own, whose memory nothing else has touched
        for kind in ("bare", "held", "awaited"):
            command = [sys.executable, __file__, "--kind", kind, "--handles", str(options.handles)]
            subprocess.run(command, check=True)  # noqa: S603 - ourselves
