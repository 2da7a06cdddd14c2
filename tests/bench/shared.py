"""Several processes with one key at a service that sheds: with a shared budget, and without.

    python -m tests.bench.shared [--starts 1000] [--processes 4] [--ceiling] [--only shared]
                                 [--plot docs/images/many-workers.svg]

The service takes 8 starts per second and sheds the others with 503; with `--ceiling` it takes them
all, and each process has the same `RateLimit(per_second=20)`. Needs redis-server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from refold_async import RefoldClient, RefoldError
from tests.bench.plotting import Line, line_chart
from tests.bench.shedding import ACCOUNT, CAPACITY, KEY, SETTLING, service
from tests.soak.service import SLUG, WORKFLOW
from tests.support.redis import EXECUTABLE, MISSING, RedisServer


async def worker(base_url: str, redis: str, first: int, starts: int) -> None:
    """Start runs under one gather; print when each was accepted, and what it took."""
    at: list[float] = []
    refusals: list[float] = []
    failed = 0
    async with RefoldClient(
        api_key=KEY, linked_account_id=ACCOUNT, base_url=base_url, shared=redis or None
    ) as refold:

        async def start(number: int) -> None:
            nonlocal failed
            try:
                await refold.execute(WORKFLOW, slug=SLUG, payload={"n": number})
            except RefoldError:
                failed += 1
            else:
                at.append(time.time())

        async def watch() -> None:
            while True:
                new = refold.stats.budget.refused - len(refusals)
                refusals.extend([time.time()] * new)
                await asyncio.sleep(0.5)

        watching = asyncio.create_task(watch())
        await asyncio.gather(*map(start, range(first, first + starts)))
        await asyncio.sleep(0.6)
        watching.cancel()
        requests = sum(refold.stats.requests.values())
    print(json.dumps({"at": at, "failed": failed, "requests": requests, "refused": refusals}))


async def measure(
    base_url: str, redis: str, processes: int, starts: int
) -> tuple[float, list[dict[str, Any]]]:
    """Let the processes loose; give when they began, and what each came to."""
    each = starts // processes
    began = time.time()
    running = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.shared", "--worker"),
            *(base_url, redis, str(number * each), str(each)),
            stdout=asyncio.subprocess.PIPE,
            limit=2**26,
        )
        for number in range(processes)
    ]
    told = await asyncio.gather(*(process.communicate() for process in running))
    return began, [json.loads(said) for said, _ in told]


async def main(starts: int, processes: int, only: str | None, *, ceiling: bool) -> list[Line]:
    """Print the table; give what there is to draw."""
    lines = []
    capacity = 20.0 if ceiling else CAPACITY
    behaviour = {} if ceiling else {"capacity": capacity}
    kind = f"ceiling of {capacity:g}/s" if ceiling else f"service that takes {capacity:g}/s"
    print(
        f"{starts} starts by {processes} processes, {kind}; after {SETTLING:g} s, while all queue"
    )
    print(f"{'budget':<10}{'per s':>8}{'of it':>8}{'refused':>9}{'failed':>8}  shares per s")
    with tempfile.TemporaryDirectory() as folder:
        redis = RedisServer(Path(folder))
        redis.start()
        try:
            for name, url in (("shared", redis.url), ("unshared", "")):
                if only not in {None, name}:
                    continue
                async with service(behaviour) as process:
                    assert process.stdout is not None
                    base_url = (await process.stdout.readline()).decode().strip()
                    began, parts = await measure(base_url, url, processes, starts)
                line(name, capacity, began + SETTLING, parts)
                lines.append(Line(name, refused_over_time(parts)))
        finally:
            redis.kill()
    return lines


def refused_over_time(parts: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """Count all refusals up to each moment, in seconds from the first start that was accepted."""
    zero = min(min(part["at"]) for part in parts)
    until = max(max(part["at"]) for part in parts) - zero
    at = sorted(at - zero for part in parts for at in part["refused"])
    return [(float(t), float(sum(each <= t for each in at))) for t in range(int(until) + 1)]


def line(name: str, capacity: float, begin: float, parts: list[dict[str, Any]]) -> None:
    """Print what one way came to."""
    end = min(max(part["at"]) for part in parts)
    begin = min(begin, (min(min(part["at"]) for part in parts) + end) / 2)  # if all was over soon
    shares = [sum(begin <= at <= end for at in part["at"]) / (end - begin) for part in parts]
    refused = sum(len(part["refused"]) for part in parts)
    refused /= sum(part["requests"] for part in parts)
    failed = sum(part["failed"] for part in parts)
    print(
        f"{name:<10}{sum(shares):>8.2f}{sum(shares) / capacity:>8.1%}{refused:>9.1%}{failed:>8}  "
        + " ".join(f"{share:.2f}" for share in shares),
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--starts", type=int, default=1_000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--ceiling", action="store_true", help="no shedding, but a ceiling")
    parser.add_argument("--only", choices=["shared", "unshared"], help="this one alone")
    parser.add_argument("--plot", type=Path, help="draw what is refused over time into this SVG")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        address, url, begin, count = options.worker
        asyncio.run(worker(address, url, int(begin), int(count)))
    elif EXECUTABLE is None:
        sys.exit(MISSING)
    else:
        measured = main(options.starts, options.processes, options.only, ceiling=options.ceiling)
        drawn = asyncio.run(measured)
        if options.plot is not None:
            headline = f"{options.starts:,} starts by {options.processes} processes"
            chart = line_chart(headline, "seconds", "requests refused so far", drawn)
            options.plot.write_text(chart, encoding="utf-8")
