"""What waiting costs where time is skipped: `python tests/bench/skipping.py`.

A workflow of three hours, awaited once and 1,000 times, over real HTTP, by a client with default
settings (20 requests a second, by the virtual clock) and by one without a ceiling.
"""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Any

from refold_async.emulator import Emulator

HOURS = 3 * 3600.0
RUNS = 1_000


async def main() -> None:
    """Measure, and print."""
    async with Emulator(skip_time=True) as emulator:
        emulator.workflow("wf", slug="demo", duration=HOURS)(dict)
        async with emulator.client() as refold:
            await refold.run("wf", slug="demo")  # connects
            one = [await measured(refold, 1) for _ in range(20)]
            print(f"one run of three hours:    {1000 * median(one):6.1f} ms of CPU")
            print(f"{RUNS} runs, 20 requests/s: {await measured(refold, RUNS):6.2f} s of CPU")
        async with emulator.client(rate_limit=None) as refold:
            print(f"{RUNS} runs, no ceiling:    {await measured(refold, RUNS):6.2f} s of CPU")
        print(f"virtual time passed:       {emulator.time.monotonic() / 86_400:6.1f} days")


async def measured(refold: Any, runs: int) -> float:
    """Give the CPU seconds of starting and awaiting so many runs."""
    began = time.process_time()
    await asyncio.gather(*(refold.run("wf", slug="demo") for _ in range(runs)))
    return time.process_time() - began


if __name__ == "__main__":
    asyncio.run(main())
