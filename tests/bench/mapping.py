"""`map` of runs of half a second at 20 requests/s: how many of those it started does it settle?

    python -m tests.bench.mapping [--seconds 60] [--account-too]

The emulator is a process of its own. With `--account-too` another account starts and awaits one run
after the other meanwhile, through a view of the same client.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import time
from contextlib import aclosing
from statistics import median

from refold_async import ExecutionRequest, RefoldClient
from tests.bench.shedding import ACCOUNT, KEY, service
from tests.soak.service import SLUG, WORKFLOW

RUN_TAKES = 0.5


async def one_by_one(refold: RefoldClient, took: list[float]) -> None:
    """Start and await one run after the other, for another account."""
    other = refold.for_account("acct_2")
    while True:
        began = time.monotonic()
        await other.run(WORKFLOW, slug=SLUG, payload={"n": -1})
        took.append(time.monotonic() - began)


async def main(seconds: float, *, account_too: bool) -> None:
    """Map for so long, and print what came of it."""
    async with service({}, seconds=(RUN_TAKES, RUN_TAKES)) as process:
        assert process.stdout is not None
        base_url = (await process.stdout.readline()).decode().strip()
        async with RefoldClient(
            api_key=KEY, linked_account_id=ACCOUNT, base_url=base_url
        ) as refold:
            took: list[float] = []
            beside = asyncio.create_task(one_by_one(refold, took)) if account_too else None
            settled = 0
            requests = (
                ExecutionRequest(WORKFLOW, slug=SLUG, payload={"n": n}) for n in itertools.count()
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds), aclosing(refold.map(requests)) as items:
                    async for item in items:
                        settled += item.outcome == "succeeded"
            stats = refold.stats
            if beside is not None:
                beside.cancel()
            started = stats.requests["execute"] - len(took)
            print(f"{started:,} started, {settled:,} settled: {settled / started:.0%};", end=" ")
            print(f"granted {dict(stats.budget.granted)}")
            if took:
                print(f"one by one: {len(took)} runs, {median(took):.2f} s each in the median")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--account-too", action="store_true", help="another account beside it")
    options = parser.parse_args()
    asyncio.run(main(options.seconds, account_too=options.account_too))
