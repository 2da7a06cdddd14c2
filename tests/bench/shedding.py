"""A thousand starts at a service that sheds: ours, beside a plain gather with tenacity.

    python -m tests.bench.shedding [--starts 1000] [--only NAME] [--plot docs/images/goodput.svg]

Two emulators run in processes of their own: one takes 8 starts per second and sheds the others with
503, one takes 8 requests per second (bursts of 5) and answers the others with 429 and
`Retry-After: 1`. Both are asked at once, by one strategy after the other; that takes some minutes.
Ours is asked from one process, and from four with one key that know nothing of each other.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from refold_async import RefoldClient, RefoldError
from tests.bench.plotting import Line, line_chart
from tests.soak.service import SLUG, WORKFLOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

CAPACITY = 8.0
SETTLING = 10.0
"""Seconds from the beginning that goodput does not count."""
SERVICES: dict[str, dict[str, Any]] = {
    "503": {"capacity": CAPACITY},
    "429, Retry-After": {"rate_limit": [CAPACITY, 5], "retry_after": 1},
}
PROCESSES = 4
KEY, ACCOUNT = "tk_emulator", "acct_1"


@attrs.define
class Outcome:
    """What a strategy came to at one service."""

    requests: int = 0
    refused: int = 0
    started: dict[int, str] = attrs.field(factory=dict)  # execution ids by number of the call
    at: list[float] = attrs.field(factory=list)  # seconds at which starts were accepted
    well: int = 0
    failed: int = 0
    busy_until: float = 0.0  # seconds at which the first of several had nothing more to start

    def note(self, number: int, execution_id: str | None, began: float) -> None:
        """Take note of a start that was accepted."""
        self.at.append(time.monotonic() - began)
        self.started[number] = execution_id or ""

    def goodput(self, until: float) -> float:
        """Accepted starts per second after the first 10 s."""
        return sum(SETTLING <= at <= until for at in self.at) / max(until - SETTLING, 1e-9)

    def windows(self, wide: float = 5.0) -> list[tuple[float, float]]:
        """Accepted starts per second over time, in windows of some seconds."""
        counted = Counter(int(at // wide) for at in self.at)
        return [((n + 0.5) * wide, counted[n] / wide) for n in range(int(self.at[-1] // wide))]


async def ours(base_url: str, starts: int, first: int = 0) -> Outcome:
    """Start all runs under one gather."""
    outcome, began = Outcome(), time.monotonic()
    async with RefoldClient(api_key=KEY, linked_account_id=ACCOUNT, base_url=base_url) as refold:

        async def start(number: int) -> None:
            try:
                handle = await refold.execute(WORKFLOW, slug=SLUG, payload={"n": number})
            except RefoldError:
                outcome.failed += 1
            else:
                outcome.note(number, handle.execution_id, began)

        await asyncio.gather(*map(start, range(first, first + starts)))
        outcome.requests = sum(refold.stats.requests.values())
        outcome.refused = refold.stats.budget.refused
    return outcome


async def four_processes(base_url: str, starts: int) -> Outcome:
    """Start a quarter of the runs in each of four processes."""
    each = starts // PROCESSES
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.shedding"),
            *("--quarter", base_url, str(number * each), str(each)),
            stdout=asyncio.subprocess.PIPE,
            limit=2**26,
        )
        for number in range(PROCESSES)
    ]
    outcome = Outcome()
    for process in processes:
        told, _ = await process.communicate()
        part = Outcome(**json.loads(told))
        outcome.requests += part.requests
        outcome.refused += part.refused
        outcome.failed += part.failed
        outcome.at += part.at
        outcome.busy_until = min(outcome.busy_until or part.at[-1], part.at[-1])
        outcome.started |= {int(number): run for number, run in part.started.items()}
    outcome.at.sort()
    return outcome


class Refused(Exception):  # noqa: N818 - a signal to tenacity
    """429 or 503."""


async def plain(base_url: str, starts: int) -> Outcome:
    """The usual way: gather, and tenacity with a random exponential wait, many attempts."""
    outcome, began = Outcome(), time.monotonic()
    url = f"{base_url}/api/v2/public/workflow/{WORKFLOW}/execute"
    headers = {"x-api-key": KEY, "linked_account_id": ACCOUNT, "slug": SLUG}
    retrying = AsyncRetrying(
        wait=wait_random_exponential(multiplier=0.5, max=60),
        stop=stop_after_attempt(30),
        retry=retry_if_exception_type(Refused),
    )
    async with aiohttp.ClientSession(headers=headers) as session:

        async def post(number: int) -> None:
            outcome.requests += 1
            async with session.post(url, json={"payload": {"n": number}}) as response:
                if response.status in {429, 503}:
                    outcome.refused += 1
                    raise Refused
                outcome.note(number, (await response.json())["execution_id"], began)

        ends = await asyncio.gather(
            *(retrying.copy()(post, number) for number in range(starts)), return_exceptions=True
        )
        outcome.failed = sum(isinstance(end, BaseException) for end in ends)
    return outcome


STRATEGIES: dict[str, Callable[[str, int], Awaitable[Outcome]]] = {
    "refold_async": ours,
    "four processes": four_processes,
    "gather + tenacity": plain,
}


@contextlib.asynccontextmanager
async def service(
    behaviour: dict[str, Any], **more: Any
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run an emulator in a process of its own."""
    settings = json.dumps({"behaviour": behaviour, "faults": [], **more})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak.service", settings),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**26,
    )
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.stdin.close()
        await process.wait()


async def measure(
    strategy: Callable[[str, int], Awaitable[Outcome]], behaviour: dict[str, Any], starts: int
) -> Outcome:
    """Let a strategy loose on a fresh service, and ask the service what it ran."""
    async with service(behaviour) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        base_url = (await process.stdout.readline()).decode().strip()
        outcome = await strategy(base_url, starts)
        process.stdin.write(b"\n")
        runs = json.loads(await process.stdout.readline())
    truth = Counter(number for number, _ in runs)
    ids = {execution_id: number for number, execution_id in runs}
    outcome.well = sum(
        truth[number] == 1 and ids.get(execution_id) == number
        for number, execution_id in outcome.started.items()
    )
    return outcome


async def main(starts: int, only: str | None) -> list[Line]:
    """Print the table; give what there is to draw."""
    print(f"{starts:,} starts under one gather; capacity {CAPACITY:g} per second\n")
    print(f"{'service':<18}{'strategy':<20}{'wall s':>8}{'goodput':>9}{'to the end':>12}", end="")
    print(f"{'requests':>10}{'refused':>9}{'ended well':>12}{'failed':>8}")
    lines = []
    for name, strategy in STRATEGIES.items():
        if only not in {None, name}:
            continue
        outcomes = await asyncio.gather(
            *(measure(strategy, behaviour, starts) for behaviour in SERVICES.values())
        )
        for kind, outcome in zip(SERVICES, outcomes, strict=True):
            last = outcome.at[-1]
            goodput = outcome.goodput(outcome.busy_until or last) / CAPACITY
            to_the_end = outcome.goodput(last) / CAPACITY
            print(
                f"{kind:<18}{name:<20}{last:>8.1f}{goodput:>9.1%}{to_the_end:>12.1%}"
                f"{outcome.requests:>10,}{outcome.refused / outcome.requests:>9.1%}"
                f"{outcome.well:>12,}{outcome.failed:>8,}",
                flush=True,
            )
            lines.append(Line(f"{name}, {kind}", outcome.windows()))
    last = max(line.points[-1][0] for line in lines)
    return [*lines, Line("capacity", [(0.0, CAPACITY), (last, CAPACITY)], dashed=True)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--starts", type=int, default=1_000)
    parser.add_argument("--plot", type=Path, help="draw goodput over time into this SVG")
    parser.add_argument("--only", choices=[*STRATEGIES], help="this strategy alone")
    parser.add_argument("--quarter", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quarter is not None:
        address, number, share = options.quarter
        print(json.dumps(attrs.asdict(asyncio.run(ours(address, int(share), int(number))))))
        sys.exit()
    drawn = asyncio.run(main(options.starts, options.only))
    if options.plot is not None:
        headline = f"{options.starts:,} starts at a service that takes {CAPACITY:g} per second"
        chart = line_chart(headline, "seconds", "accepted starts per second", drawn)
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        options.plot.write_text(chart, encoding="utf-8")
