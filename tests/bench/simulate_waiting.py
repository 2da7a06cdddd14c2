"""Ways to learn that runs have ended, simulated: reads per run, and the delay until it is known.

    python -m tests.bench.simulate_waiting [--prices] [--plot FOLDER]

Runs start at a rate and take a lognormal time (median 12 s, sigma 0.5). A read takes 0.1 s and
shows the state in the middle of it; a page has 100 entries. No network, and no time passes but
simulated time. *ours* is the tracker of the package itself, over a service of two functions.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import random
from bisect import bisect_left
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import attrs

from refold_async._waiting import cadence as _cadence
from tests.bench.plotting import Line, line_chart
from tests.bench.simulated_service import our_tracker
from tests.bench.virtual_time import simulate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

MEDIAN, SIGMA = 12.0, 0.5
ROUND_TRIP = 0.1
PAGE = 100
_APART = 120.0
"""Seconds between runs that are alone."""


@attrs.define(eq=False)
class World:
    """The runs of one scenario, and what a client has learned of them."""

    rate: float  # 0: one at a time
    count: int
    warm_up: int
    starts: list[float] = attrs.field(factory=list)
    ends: list[float] = attrs.field(factory=list)
    known: dict[int, float] = attrs.field(factory=dict)
    reads: int = 0
    _marks: list[tuple[int, int]] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        draw = random.Random(7)
        now = 0.0
        for _ in range(self.count):
            now += draw.expovariate(self.rate) if self.rate else _APART
            self.starts.append(round(now, 3))  # as precise as the service tells
            self.ends.append(now + math.exp(draw.gauss(math.log(MEDIAN), SIGMA)))

    async def read(self) -> None:
        """Send a read; afterwards it is the moment whose state it shows."""
        self.reads += 1
        await asyncio.sleep(ROUND_TRIP / 2)

    async def answer(self, *ended: int) -> None:
        """Have the answer travel back, which tells of runs that ended."""
        await asyncio.sleep(ROUND_TRIP / 2)
        now = asyncio.get_running_loop().time()
        for run in ended:
            self.known.setdefault(run, now)

    def has_ended(self, run: int) -> bool:
        """Whether a run is over."""
        return self.ends[run] <= asyncio.get_running_loop().time()

    def started(self) -> int:
        """How many runs have started."""
        return bisect_left(self.starts, asyncio.get_running_loop().time())

    async def each(self, wait: Callable[[World, int], Awaitable[None]]) -> None:
        """Wait for every run with a task of its own, from its start on."""
        async with asyncio.TaskGroup() as tasks:
            for run in self.moments():
                await self.until(self.starts[run])
                tasks.create_task(wait(self, run))  # type: ignore[arg-type]
            self.mark()

    def moments(self) -> Iterator[int]:
        """Give the runs in their order, noting where the measurement begins."""
        for run in range(self.count):
            if run == self.warm_up:
                self.mark()
            yield run

    def mark(self) -> None:
        """Note how many reads there were for how many runs."""
        self._marks.append((self.reads, len(self.known)))

    async def until(self, moment: float) -> None:
        """Sleep up to a moment."""
        await asyncio.sleep(max(moment - asyncio.get_running_loop().time(), 0))

    def result(self) -> Result:
        """Give the figures of what came after the warm-up."""
        (reads, known), (reads_then, known_then) = self._marks
        delays = sorted(self.known[run] - self.ends[run] for run in range(self.warm_up, self.count))
        return Result(
            reads=(reads_then - reads) / (known_then - known),
            median=median(delays),
            p99=delays[int(len(delays) * 0.99)],
        )


@attrs.frozen
class Result:
    """What a strategy costs and gives: reads per run, and seconds of delay."""

    reads: float
    median: float
    p99: float


def every(seconds: float) -> Callable[[World], Awaitable[None]]:
    """Read each run by itself at a fixed interval."""
    return _each_after(lambda _: seconds)


def backoff(first: float, longest: float, factor: float) -> Callable[[World], Awaitable[None]]:
    """Read each run by itself at growing intervals."""
    return _each_after(lambda number: min(first * factor**number, longest))


def _each_after(pause: Callable[[int], float]) -> Callable[[World], Awaitable[None]]:
    async def wait(world: World, run: int) -> None:
        number, ended = 0, False
        while not ended:
            await asyncio.sleep(pause(number))
            number += 1
            await world.read()
            ended = world.has_ended(run)
            await world.answer(*[run] * ended)

    return lambda world: world.each(wait)


async def _look_again(world: World, interval: float, look: Callable[[], Awaitable[None]]) -> None:
    """Look at all pending runs again and again, until all are known to be over."""

    async def starts() -> None:
        for run in world.moments():
            await world.until(world.starts[run])
        world.mark()

    task = asyncio.create_task(starts())
    due = 0.0
    while len(world.known) < world.count:
        due = max(due + interval, asyncio.get_running_loop().time())
        await world.until(due)
        await look()
    await task


def newest_first(interval: float) -> Callable[[World], Awaitable[None]]:
    """List all runs, the newest first, back to the oldest pending one."""

    async def sweep(world: World) -> None:
        pending = (run for run in range(world.started()) if run not in world.known)
        oldest = next(pending, None)
        newest = world.started()
        while oldest is not None and newest > oldest:
            await world.read()
            page = range(max(newest - PAGE, 0), newest)
            await world.answer(*[run for run in page if world.has_ended(run)])
            newest -= PAGE

    return lambda world: _look_again(world, interval, lambda: sweep(world))


def running_only(interval: float) -> Callable[[World], Awaitable[None]]:
    """List what is running, page by page, and read by itself what is not shown any more.

    The pages shift when a run ends between two of them: then some that go on seem to have ended.
    """

    async def check(world: World, run: int) -> None:
        await world.read()
        await world.answer(*[run] * world.has_ended(run))

    async def sweep(world: World) -> None:
        asked = [run for run in range(world.started()) if run not in world.known]
        shown: set[int] = set()
        for first in itertools.count(step=PAGE):
            await world.read()
            running = [run for run in asked if not world.has_ended(run)]
            shown.update(running[first : first + PAGE])
            await world.answer()
            if first + PAGE >= len(running):
                break
        await asyncio.gather(*(check(world, run) for run in asked if run not in shown))

    return lambda world: _look_again(world, interval, lambda: sweep(world))


def webhook(lost: float, interval: float) -> Callable[[World], Awaitable[None]]:
    """Be told 0.2 to 0.4 s later, and sweep behind it for what was lost."""

    async def play(world: World) -> None:
        draw = random.Random(8)

        async def deliver(run: int) -> None:
            late = draw.uniform(0.2, 0.4)
            if draw.random() >= lost:
                await world.until(world.ends[run] + late)
                world.known.setdefault(run, asyncio.get_running_loop().time())

        async with asyncio.TaskGroup() as tasks:
            for run in range(world.count):
                tasks.create_task(deliver(run))
            await newest_first(interval)(world)

    return play


STRATEGIES: dict[str, Callable[[World], Awaitable[None]]] = {
    "each handle every 1 s": every(1),
    "each handle every 5 s": every(5),
    "each handle, backoff 0.5 to 10 s": backoff(0.5, 10, 2),
    "list newest first, every 1 s": newest_first(1),
    "list of the running, every 1 s": running_only(1),
    "webhook, 1 % lost, sweep every 30 s": webhook(0.01, 30),
    "ours": our_tracker,
}
RATES = {0.0: (320, 20), 8.0: (2_400, 800), 100.0: (9_000, 4_000)}


def play(strategy: Callable[[World], Awaitable[None]], rate: float) -> Result:
    """Play a strategy at so many runs per second."""
    world = World(rate, *RATES[rate])

    async def main() -> None:
        await strategy(world)

    random.seed(9)
    simulate(main())
    return world.result()


def at_price(price: float) -> Callable[[World], Awaitable[None]]:
    """Give our strategy with another price of a read."""

    async def strategy(world: World) -> None:
        usual, _cadence._PRICE = _cadence._PRICE, price
        try:
            await our_tracker(world)
        finally:
            _cadence._PRICE = usual

    return strategy


PRICES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)


def table(strategies: dict[str, Callable[[World], Awaitable[None]]]) -> None:
    """Print reads, median and 99th percentile of the delay."""
    heads = "".join(f"{f'{rate:g} runs/s' if rate else 'one at a time':>26}" for rate in RATES)
    print(f"{'':<38}{heads}")
    print(f"{'strategy':<38}" + f"{'reads':>10}{'median':>8}{'p99':>8}" * len(RATES))
    for name, strategy in strategies.items():
        found = [play(strategy, rate) for rate in RATES]
        cells = "".join(f"{r.reads:>10.2f}{r.median:>8.2f}{r.p99:>8.1f}" for r in found)
        print(f"{name:<38}{cells}", flush=True)


def plot(rate: float) -> str:
    """Draw what each way to wait costs for how much delay."""

    def line(name: str, ways: list[Callable[[World], Awaitable[None]]]) -> Line:
        found = [play(way, rate) for way in ways]
        return Line(name, sorted((r.reads, r.median) for r in found))

    return line_chart(
        f"Reads per run and delay, {rate:g} runs/s of about 12 s (simulated)",
        "reads per run",
        "median delay, s",
        [
            line("refold_async", [at_price(price) for price in PRICES]),
            line("each handle every 1.5 to 10 s", [every(s) for s in (1.5, 2, 3, 4, 5, 7, 10)]),
            line("backoff up to 2 to 20 s", [backoff(0.5, m, 2) for m in (2, 3, 5, 20)]),
            line("newest first, every 0.2 to 4 s", [newest_first(s) for s in (0.2, 0.5, 1, 2, 4)]),
        ],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prices", action="store_true", help="ours at other prices of a read")
    parser.add_argument("--plot", type=Path, help="folder for waiting-8.svg and waiting-100.svg")
    options = parser.parse_args()
    table({f"price {p:g}": at_price(p) for p in PRICES} if options.prices else STRATEGIES)
    if options.plot:
        for runs_per_second in filter(None, RATES):
            file = options.plot / f"waiting-{runs_per_second:g}.svg"
            file.write_text(plot(runs_per_second), encoding="utf-8")
