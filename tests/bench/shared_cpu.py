"""CPU per `execute` with a budget that processes share, beside that with one of its own.

    python -m tests.bench.shared_cpu [--rounds 41] [--calls 1280]

As `execute_cpu`, 64 in flight, in alternating rounds, each with a client of its own that has made
64 calls before, so that no beats of the other kind fall into it. The beats themselves are measured
too: what a client that shares costs while it does nothing. Needs redis-server.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from refold_async import RefoldClient, Shared
from tests.bench.execute_cpu import IN_FLIGHT, PAYLOAD, PLENTY, one_round, server
from tests.support.redis import EXECUTABLE, MISSING, RedisServer

IDLE = 5.0
"""Seconds in which nothing is done but to beat."""


async def measure(
    base_url: str, shared: Shared | None, calls: int, idle: float = 0.0
) -> tuple[float, float]:
    """Give microseconds of CPU per call, and per second of idleness."""
    async with RefoldClient(
        api_key="tk_bench",
        linked_account_id="acct_1",
        base_url=base_url,
        rate_limit=PLENTY,
        shared=shared,
    ) as refold:

        async def call() -> None:
            await refold.execute("wf_1", slug="hubspot", payload=PAYLOAD)

        await one_round(call, IN_FLIGHT)
        await asyncio.sleep(0.6)  # by then it has its share
        per_call = await one_round(call, calls)
        began = time.process_time()
        await asyncio.sleep(idle)
        return per_call, (time.process_time() - began) / (idle or 1.0) * 1e6


async def main(rounds: int, calls: int) -> None:
    """Print the table."""
    figures: dict[str, list[float]] = {"local": [], "shared": []}
    with tempfile.TemporaryDirectory() as folder:
        redis = RedisServer(Path(folder))
        redis.start()
        ways = {"local": None, "shared": Shared(redis.url, "bench")}
        try:
            async with server() as base_url:
                for number in range(rounds):
                    for name in list(ways)[:: -1 if number % 2 else 1]:
                        figures[name].append((await measure(base_url, ways[name], calls))[0])
                idle = {
                    name: (await measure(base_url, shared, 1, IDLE))[1]
                    for name, shared in ways.items()
                }
        finally:
            redis.kill()
    print(f"CPU per call, {IN_FLIGHT} in flight, {rounds} rounds of {calls} calls")
    for name, values in figures.items():
        ratio = statistics.median(
            ours / local for ours, local in zip(values, figures["local"], strict=True)
        )
        print(
            f"  {name:<7} median {statistics.median(values):6.1f} µs   ratio {ratio:6.3f}"
            f"   and {idle[name] / 1000:.2f} ms in a second of doing nothing"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--calls", type=int, default=1280)
    options = parser.parse_args()
    if EXECUTABLE is None:
        sys.exit(MISSING)
    asyncio.run(main(options.rounds, options.calls))
