"""What waiting costs, at the wire: reads per run, and how late its end is known.

Ours, and ours told by webhooks, with outputs and without, beside the loop people write
(`/response` every 3 s) and exponential backoff per handle. The service is a process of its own. Its
clock and the client's run several times as fast as the wall's, so that a run of 12 s passes sooner;
all figures are in their seconds. A read takes 0.1 s of them, a delivery 0.02 s.

A *read* is any request made to learn that a run has ended; for the loops, the last of them brings
the output along. *All reads* counts ours for the outputs as well, and those a webhook is the reason
for. The first part of each scenario, in which durations are learned, and how far webhooks can be
relied on, is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import sys
import time
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import attrs
from aiohttp import web

from refold_async import ExecutionHandle, PollPolicy, RefoldClient, RetryPolicy, webhooks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.bench.waiting_service import WORKFLOW

MEDIAN, SIGMA = 12.0, 0.5
ROUND_TRIP = 0.1
DELIVERY = 0.02


@attrs.frozen
class Scenario:
    """Runs that start at a rate, `None` for one after the other."""

    name: str
    rate: float | None
    runs: int
    warm_up: int  # the first runs, which are left out
    scale: float  # how many times faster than the wall's all clocks run
    accounts: int = 1  # the loops know none, and are played with one alone


SCENARIOS = [
    Scenario("one run at a time", None, 80, 20, 10),
    Scenario("8 runs/s", 8, 2_400, 800, 5),
    Scenario("8 runs/s, 40 accounts", 8, 2_400, 800, 5, accounts=40),
    Scenario("100 runs/s", 100, 7_500, 4_000, 1),
    Scenario("100 runs/s, 40 accounts", 100, 7_500, 4_000, 1, accounts=40),
]


class FastClock:
    """The clock of the client: the wall's, faster."""

    def __init__(self, began: float, scale: float) -> None:
        self.began, self.scale = began, scale

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        return self.time() - self.began

    def time(self) -> float:
        """Epoch seconds."""
        return self.began + (time.time() - self.began) * self.scale

    def call_later(self, delay: float, callback: Callable[[], object], /) -> asyncio.TimerHandle:
        """Call back after so many of its seconds."""
        return asyncio.get_running_loop().call_later(delay / self.scale, callback)

    async def sleep(self, seconds: float) -> None:
        """Sleep so many of its seconds."""
        await asyncio.sleep(seconds / self.scale)


@attrs.define
class Bench:
    """One strategy in one scenario."""

    scenario: Scenario
    clock: FastClock
    refold: RefoldClient
    reads: int = 0
    known_at: dict[str, float] = attrs.field(factory=dict)  # that it has ended
    has_it_at: dict[str, float] = attrs.field(factory=dict)  # the result

    async def ours(self, handle: ExecutionHandle[Any]) -> None:
        """Await the handle."""
        await handle

    async def told(self, handle: ExecutionHandle[Any]) -> None:
        """Await the handle, too: the webhook's route stands beside it."""
        await handle

    async def told_all(self, handle: ExecutionHandle[Any]) -> None:
        """Await the handle, once more: the webhook brings the output along."""
        await handle

    async def every_3_s(self, handle: ExecutionHandle[Any]) -> None:
        """Ask for the output every 3 s."""
        await self._ask(handle, lambda _: 3.0)

    async def backoff(self, handle: ExecutionHandle[Any]) -> None:
        """Ask for the output after pauses from 0.5 s that grow by half up to 10 s."""
        await self._ask(handle, lambda n: min(0.5 * 1.5**n, 10.0))

    async def _ask(self, handle: ExecutionHandle[Any], pause: Callable[[int], float]) -> None:
        api, number, status = self.refold._caller.parts.services.api, 0, "RUNNING"
        while status == "RUNNING":
            await self.clock.sleep(pause(number))
            self.reads += 1
            number += 1
            output = await api.get_response(str(handle.execution_id), account="acct_1")
            status = output.status.value

    async def play(self, wait: Callable[[Bench, ExecutionHandle[Any]], Awaitable[None]]) -> Row:
        """Start all runs and wait for them."""
        draw = random.Random(7)
        waits: list[asyncio.Task[None]] = []
        marks: list[tuple[int, int, int]] = []
        due = self.clock.monotonic()
        async for number in self._moments(draw, due):
            if number == self.scenario.warm_up:
                marks.append(self._mark())
            seconds = math.exp(draw.gauss(math.log(MEDIAN), SIGMA))
            waits.append(asyncio.create_task(self._one(wait, seconds, number)))
            if self.scenario.rate is None:
                await waits[-1]
        marks.append(self._mark())
        await asyncio.gather(*waits)
        (reads, all_reads, settled), (r2, a2, s2) = marks
        return Row(reads=(r2 - reads) / (s2 - settled), all_reads=(a2 - all_reads) / (s2 - settled))

    async def _moments(self, draw: random.Random, due: float) -> AsyncIterator[int]:
        for number in range(self.scenario.runs):
            if self.scenario.rate is not None:
                due += draw.expovariate(self.scenario.rate)
                await self.clock.sleep(max(due - self.clock.monotonic(), 0))
            yield number

    def _mark(self) -> tuple[int, int, int]:
        stats = self.refold.stats
        requests = sum(n for name, n in stats.requests.items() if name != "execute")
        return self.reads or stats.polls + stats.sweeps, requests, len(self.known_at)

    async def _one(self, wait: Any, seconds: float, number: int) -> None:
        handle = await self.refold.execute(
            WORKFLOW,
            slug="bench",
            payload={"seconds": seconds},
            linked_account_id=f"acct_{number % self.scenario.accounts + 1}",
        )
        await wait(self, handle)
        key = str(handle.execution_id)
        if number < self.scenario.warm_up:
            self.known_at[key] = self.has_it_at[key] = math.nan
            return
        self.has_it_at[key] = self.known_at[key] = self.clock.time()
        if handle._watch is not None and handle._watch.progress.last_look_at is not None:
            self.known_at[key] = self.clock.began + handle._watch.progress.last_look_at


@attrs.define
class Row:
    """What came of it."""

    reads: float
    all_reads: float
    known: list[float] = attrs.field(factory=list)  # seconds from the end to when it is known
    delays: list[float] = attrs.field(factory=list)  # and to when the result is there


async def measure(scenario: Scenario, strategy: str) -> Row:
    """Play one strategy in one scenario."""
    began = time.time()
    service = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("waiting_service.py")),
        *map(str, (began, scenario.scale, ROUND_TRIP / scenario.scale, DELIVERY / scenario.scale)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**26,
    )
    assert service.stdin is not None
    assert service.stdout is not None
    clock = FastClock(began, scenario.scale)
    try:
        base_url = (await service.stdout.readline()).decode().strip()
        async with RefoldClient(
            api_key="tk_emulator",
            linked_account_id="acct_1",
            base_url=base_url,
            rate_limit=None,
            retry=RetryPolicy(mode="safe"),
            polling=PollPolicy(),
            clock=clock,
        ) as refold:
            bench = Bench(scenario, clock, refold)
            route = subscribed(refold, outputs=strategy == "told_all")
            async with route if strategy.startswith("told") else nullcontext():
                row = await bench.play(getattr(Bench, strategy))
        service.stdin.write(b"\n")
        ends: dict[str, float] = json.loads(await service.stdout.readline())
    finally:
        service.stdin.close()
        await service.wait()
    row.known = _delays(bench.known_at, ends)
    row.delays = _delays(bench.has_it_at, ends)
    return row


@asynccontextmanager
async def subscribed(refold: RefoldClient, *, outputs: bool) -> AsyncIterator[None]:
    """Serve the client's webhook on this loop, and have the service deliver there."""
    app = web.Application()
    app.router.add_post("/", webhooks.aiohttp_handler(refold))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        await refold.webhooks.ensure(f"http://127.0.0.1:{site.port}/", outputs=outputs)
        yield
    finally:
        await runner.cleanup()


def _delays(moments: dict[str, float], ends: dict[str, float]) -> list[float]:
    return sorted(at - ends[run] for run, at in moments.items() if not math.isnan(at))


STRATEGIES = {
    "ours": "ours",
    "webhooks": "told",
    "webhooks, outputs": "told_all",
    "/response every 3 s": "every_3_s",
    "backoff 0.5 to 10 s": "backoff",
}
LOOPS = {"every_3_s", "backoff"}


async def main(scenarios: list[Scenario], strategies: list[str]) -> None:
    """Print the table."""
    print(f"{'':<47}{'reads':>7}{'known after':>18}{'all':>8}{'result after':>18}")
    print(
        f"{'scenario':<25}{'strategy':<22}{'':>7}{'median, p99':>18}{'reads':>8}{'median, p99':>18}"
    )
    for scenario in scenarios:
        for name in strategies:
            if scenario.accounts > 1 and STRATEGIES[name] in LOOPS:
                continue
            row = await measure(scenario, STRATEGIES[name])
            print(
                f"{scenario.name:<25}{name:<22}{row.reads:>7.2f}{_told(row.known)}"
                f"{row.all_reads:>8.2f}{_told(row.delays)}",
                flush=True,
            )


def _told(delays: list[float]) -> str:
    return f"{median(delays):>10.2f} s{delays[int(len(delays) * 0.99)]:>5.1f} s"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    parser.add_argument("--strategy", default="", help="strategies whose name contains this")
    parser.add_argument("--scale", type=float, help="how many times faster than the wall's clocks")
    options = parser.parse_args()
    chosen = [scenario for scenario in SCENARIOS if options.only in scenario.name]
    if options.scale is not None:
        chosen = [attrs.evolve(scenario, scale=options.scale) for scenario in chosen]
    asyncio.run(
        main(
            chosen,
            [name for name in STRATEGIES if options.strategy in name],
        )
    )
