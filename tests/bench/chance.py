"""Requests/s of a client without a rate limit, where a share of them is refused at random.

    python -m tests.bench.chance [--seconds 20] [--shares 0 0.02 0.2]

The emulator, a process of its own, is fast: whoever slows down does so in vain.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time

from refold_async import RefoldClient, RefoldError, RetryPolicy
from tests.bench.shedding import ACCOUNT, KEY, service
from tests.soak.service import SLUG, WORKFLOW

CALLERS = 300


async def main(seconds: float, share: float) -> None:
    """Start runs for so long, and print how many requests that came to."""
    faults = [["execute", {"status": 503}, share]] if share else []
    async with service({}, faults=faults) as process:
        assert process.stdout is not None
        base_url = (await process.stdout.readline()).decode().strip()
        async with RefoldClient(
            api_key=KEY,
            linked_account_id=ACCOUNT,
            base_url=base_url,
            rate_limit=None,
            retry=RetryPolicy(wait=0.02, max_wait=0.1),
        ) as refold:
            began, numbers, failed = time.monotonic(), itertools.count(), 0

            async def call() -> None:
                nonlocal failed
                while time.monotonic() < began + seconds:
                    try:
                        await refold.execute(WORKFLOW, slug=SLUG, payload={"n": next(numbers)})
                    except RefoldError:
                        failed += 1

            async def half_time() -> int:
                await asyncio.sleep(seconds / 2)
                return refold.stats.requests["execute"]

            watching = asyncio.create_task(half_time())
            await asyncio.gather(*(call() for _ in range(CALLERS)))
            before, stats = await watching, refold.stats
            per_second = stats.requests["execute"] / seconds
            later = (stats.requests["execute"] - before) / (seconds / 2)
            print(
                f"{share:>6.0%} refused: {per_second:>6,.0f} requests/s, in the second half"
                f" {later:>6,.0f}; {failed} calls failed; limited to {stats.budget.rate}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.02, 0.2])
    options = parser.parse_args()
    for chosen in options.shares:
        asyncio.run(main(options.seconds, chosen))
