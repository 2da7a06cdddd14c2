"""CPU per `execute` beside that of an ordinary aiohttp call, 64 in flight.

    python tests/bench/execute_cpu.py [--rounds 41] [--calls 1280]

All run in this process, in alternating rounds, against a server in another process; the figures are
CPU time of this process per call (user and system), medians over the rounds. The ratios are medians
too, each of two rounds next to each other: many short rounds see the same weather.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from refold_async import RateLimit, RefoldClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ORDINARY = "ordinary aiohttp"
IN_FLIGHT = 64
PLENTY = RateLimit(per_second=1e6, burst=1000)
"""A budget that is asked for every slot and never makes anybody wait."""
PAYLOAD = {"email": "jane@example.com", "name": "Jane Doe", "plan": {"tier": "pro", "seats": 12}}


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[str]:
    """Run the answering server in a process of its own; give its base URL."""
    script = Path(__file__).with_name("server.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.stdin.close()
        await process.wait()


async def one_round(call: Callable[[], Awaitable[object]], calls: int) -> float:
    """Make the calls with 64 workers; give microseconds of CPU per call."""
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            await call()

    gc.collect()
    began = time.process_time()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return (time.process_time() - began) / calls * 1e6


async def measure(rounds: int, calls: int) -> dict[str, list[float]]:
    """Alternate the two contenders and collect their figures."""
    async with (
        server() as base_url,
        aiohttp.ClientSession() as session,
        RefoldClient(
            api_key="tk_bench", linked_account_id="acct_1", base_url=base_url, rate_limit=None
        ) as free,
        RefoldClient(  # with a key of its own: clients with one key share their budget
            api_key="tk_other", linked_account_id="acct_1", base_url=base_url, rate_limit=PLENTY
        ) as paced,
    ):
        url = f"{base_url}/api/v2/public/workflow/wf_1/execute"
        headers = {"x-api-key": "tk_bench", "linked_account_id": "acct_1", "slug": "hubspot"}

        async def ordinary() -> None:
            async with session.post(url, json={"payload": PAYLOAD}, headers=headers) as response:
                await response.json()

        contenders: dict[str, Callable[[], Awaitable[object]]] = {
            ORDINARY: ordinary,
            "execute": lambda: free.execute("wf_1", slug="hubspot", payload=PAYLOAD),
            "execute, paced": lambda: paced.execute("wf_1", slug="hubspot", payload=PAYLOAD),
        }
        figures: dict[str, list[float]] = {name: [] for name in contenders}
        for call in contenders.values():
            await one_round(call, calls // 2)  # warm-up
        names = list(contenders)
        for number in range(rounds):
            for name in names[:: -1 if number % 2 else 1]:
                figures[name].append(await one_round(contenders[name], calls))
        return figures


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--calls", type=int, default=1280)
    options = parser.parse_args()
    figures = asyncio.run(measure(options.rounds, options.calls))
    print(f"CPU per call, {IN_FLIGHT} in flight, {options.rounds} rounds of {options.calls} calls")
    for name, values in figures.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        ratio = statistics.median(
            ours / theirs for ours, theirs in zip(values, figures[ORDINARY], strict=True)
        )
        print(
            f"  {name:<18} median {middle:6.1f} µs   (min {low:.1f}, max {high:.1f})"
            f"   ratio {ratio:5.2f}"
        )


if __name__ == "__main__":
    main()
