"""What a journal costs: wall time of a batch with one, beside the same batch without.

    python -m tests.bench.journal [--items 1500]

Sync runs of a workflow that ends at once: one request and three journal writes per item. The
service is a process of its own. The two kinds alternate; the figures are medians of five.
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

from refold_async import ExecutionRequest, RateLimit, RefoldClient
from tests.soak.service import SLUG, WORKFLOW

ROUNDS = 5
RATE = 500.0


async def batch(base_url: str, items: int, rate: float | None, journal: Path | None) -> float:
    """Run one batch; give its wall time in seconds."""
    limit = None if rate is None else RateLimit(per_second=rate, burst=10)
    async with RefoldClient(
        api_key="tk_emulator", linked_account_id="acct_1", base_url=base_url, rate_limit=limit
    ) as refold:
        began = time.perf_counter()
        report = await refold.run_batch(
            (
                ExecutionRequest(WORKFLOW, slug=SLUG, payload={"n": n}, sync=True)
                for n in range(items)
            ),
            journal=journal,
        )
        seconds = time.perf_counter() - began
    assert report.succeeded == items, report
    return seconds


async def compare(base_url: str, items: int, rate: float | None, folder: Path) -> None:
    """Print the medians with and without a journal, and their ratio."""
    without, with_one = [], []
    for number in range(ROUNDS):
        without.append(await batch(base_url, items, rate, None))
        with_one.append(await batch(base_url, items, rate, folder / f"{rate}-{number}.sqlite"))
    plain, kept = statistics.median(without), statistics.median(with_one)
    pace = "as fast as it goes" if rate is None else f"at {rate:g} items per second"
    print(
        f"{pace:<26} without {plain:6.2f} s ({items / plain:5.0f}/s),"
        f" with {kept:6.2f} s ({items / kept:5.0f}/s): {kept / plain - 1:+.1%}",
        flush=True,
    )


async def main(items: int) -> None:
    """Start a service and compare."""
    settings = {"behaviour": {}, "faults": [], "seconds": [0, 0]}
    service = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak.service", json.dumps(settings)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert service.stdin is not None
    assert service.stdout is not None
    base_url = (await service.stdout.readline()).decode().strip()
    # Beside this file, not in a folder that may be in memory.
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        await batch(base_url, 200, None, None)
        await compare(base_url, items, RATE, Path(folder))
        await compare(base_url, items, None, Path(folder))
    service.stdin.close()
    await service.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=1_500)
    asyncio.run(main(parser.parse_args().items))
