"""Several processes that wait for the same runs; the service tells one of them when they end.

    python -m tests.bench.ear [--processes 4] [--runs 200]

No look would be in time (`PollPolicy(first=600)`), so what settles was told. What is measured is
how long after the one that is told each of the others has the result, its read of it included,
without a rate limit. Needs redis-server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refold_async import PollPolicy, RefoldClient
from refold_async.emulator import Emulator
from refold_async.webhooks import aiohttp_handler
from tests.support.receiving import PATH, serving_aiohttp
from tests.support.redis import EXECUTABLE, MISSING, RedisServer

if TYPE_CHECKING:
    from refold_async.webhooks import WebhookEvent

WORKFLOW, KEY, ACCOUNT = "wf_1", "tk_ear", "acct_1"
PER_SECOND = 20
NEVER = PollPolicy(first=600.0, max_interval=600.0, push_sweep=600.0)
LASTS = 15.0
"""Seconds that a run takes: all are started, and waited for by all processes, before one ends."""


async def worker(base_url: str, redis: str, number: int) -> None:
    """Wait for the runs that are named on stdin; print when each was told, and when settled."""
    told: dict[str, float] = {}
    settled: dict[str, float] = {}

    async def note(event: WebhookEvent) -> None:
        told[event.execution_id] = time.time()  # type: ignore[attr-defined]

    async with RefoldClient(
        api_key=KEY,
        linked_account_id=ACCOUNT,
        base_url=base_url,
        polling=NEVER,
        rate_limit=None,
        shared=redis,
    ) as refold:

        async def wait(execution_id: str) -> None:
            await refold.handle(execution_id).result()
            settled[execution_id] = time.time()

        async with serving_aiohttp(aiohttp_handler(refold, on_event=note)) as port:
            if number == 0:
                await refold.webhooks.create(f"http://127.0.0.1:{port}{PATH}")
            print("ready", flush=True)
            ids = json.loads(await asyncio.to_thread(sys.stdin.readline))
            await asyncio.gather(*map(wait, ids))
    print(json.dumps([told, settled]))


async def measure(redis: str, processes: int, runs: int, lasts: float = LASTS) -> list[list[float]]:
    """Give how many seconds after the first one each of the others had each result."""
    async with Emulator(api_key=KEY) as emulator:
        emulator.workflow(WORKFLOW, slug="s", duration=lasts)(dict)
        workers = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.bench.ear", "--worker"),
                *(emulator.base_url, redis, str(number)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=2**26,
            )
            for number in range(processes)
        ]
        for each in workers:
            assert each.stdout is not None
            assert await each.stdout.readline() == b"ready\n"
        async with RefoldClient(
            api_key=KEY, linked_account_id=ACCOUNT, base_url=emulator.base_url, rate_limit=None
        ) as refold:
            ids: list[Any] = []
            for _ in range(runs):
                ids.append((await refold.execute(WORKFLOW, slug="s")).execution_id)
                await asyncio.sleep(1 / PER_SECOND)
        named = json.dumps(ids).encode() + b"\n"
        answers = await asyncio.gather(*(each.communicate(named) for each in workers))
    (told, _), *others = (json.loads(said) for said, _ in answers)
    return [[at - told[run] for run, at in settled.items()] for _, settled in others]


async def main(processes: int, runs: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        redis = RedisServer(Path(folder))
        redis.start()
        try:
            delays = await measure(redis.url, processes, runs)
        finally:
            redis.kill()
    print(f"{runs} runs, {PER_SECOND} a second, waited for by {processes} processes; one is told")
    for number, each in enumerate(delays, 2):
        each.sort()
        middle, late = statistics.median(each), each[int(0.99 * len(each))]
        print(
            f"  process {number}: {len(each)} settled, median {middle * 1000:.1f} ms after that,"
            f" 99 % within {late * 1000:.1f} ms, the last {each[-1] * 1000:.1f} ms"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        address, url, place = options.worker
        asyncio.run(worker(address, url, int(place)))
    elif EXECUTABLE is None:
        sys.exit(MISSING)
    else:
        asyncio.run(main(options.processes, options.runs))
