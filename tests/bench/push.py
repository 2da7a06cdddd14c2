"""What waiting costs where webhooks tell of ends, in virtual time; and what their loss costs.

    python -m tests.bench.push [--only WORDS]

As `hard_waiting`, with the tracker of the package itself: runs take about 12 s (lognormal, sigma
0.5), a read 0.1 s, a delivery 0.02 s unless said otherwise. *Reads* are those of status per run:
lists, and single reads that found no end or were made for no push. The read that a push is the
reason for brings the output along. `tests/unit/waiting/test_pushed.py` asserts the bounds.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING

import attrs

from refold_async import PollPolicy, RateLimit
from refold_async._pacing import Priority
from tests.bench.hard_waiting import Figures, play, world_of
from tests.bench.simulated_service import Kind, Setting, Waiting

if TYPE_CHECKING:
    from tests.bench.simulate_waiting import World


@attrs.frozen(kw_only=True)
class Pushing:
    """How webhooks fare, and for how many runs a second."""

    rate: float = 8.0
    accounts: int = 1
    runs: int = 1_600
    warm_up: int = 600  # runs in which durations are learned, and how far pushes can be relied on
    length: float = 12.0  # the median
    lost: float = 0.0  # share of the webhooks that never come
    late: float = 0.02  # seconds a delivery takes
    none_from: float = math.inf  # seconds from which on none comes
    told: Callable[[int], bool] = lambda _: True  # whether a run's end is subscribed to
    policy: PollPolicy = attrs.field(factory=PollPolicy)


async def deliver(waiting: Waiting, pushing: Pushing) -> None:
    """Tell the tracker of each end, as far as webhooks come."""
    world, draw = waiting.world, random.Random(8)
    loop = asyncio.get_running_loop()

    def tell(run: int) -> None:
        if loop.time() < pushing.none_from and pushing.told(run) and draw.random() >= pushing.lost:
            name = waiting.setting.kind(run).account
            waiting.tracker.notify(waiting.api.execution_id(run), name)

    for run in sorted(range(world.count), key=world.ends.__getitem__):
        await world.until(world.ends[run] + pushing.late)
        tell(run)


def runs_of(pushing: Pushing) -> World:
    """Give runs that start at the rate, the same ones each time."""
    draw, now, starts, ends = random.Random(7), 0.0, [], []
    for _ in range(pushing.runs):
        now += draw.expovariate(pushing.rate)
        starts.append(round(now, 3))
        ends.append(now + draw.lognormvariate(math.log(pushing.length), 0.5))
    return world_of(starts, ends)


def push(pushing: Pushing) -> Figures:
    """Wait for runs whose ends are told; give reads per run and delays once all is learned."""

    async def main() -> Figures:
        world = runs_of(pushing)
        setting = Setting(kind=lambda run: Kind(account=f"acct_{run % pushing.accounts}"))
        waiting = Waiting(world, setting, pushing.policy)
        marks: list[tuple[int, int]] = []
        async with asyncio.TaskGroup() as tasks:
            deliveries = tasks.create_task(deliver(waiting, pushing))
            for run, start in enumerate(world.starts):
                if run in {pushing.warm_up, len(world.starts) - 1}:
                    counters = waiting.counters
                    marks.append((counters.polls + counters.sweeps, len(world.known)))
                await world.until(start)
                tasks.create_task(waiting.run(run))
        await deliveries
        lost = waiting.tracker.stats().pushes_lost
        await waiting.tracker.aclose()
        (reads, known), (reads_then, known_then) = marks
        late = delays(world, pushing.warm_up)
        return {
            "reads": (reads_then - reads) / (known_then - known),
            "median delay": median(late),
            "p99": late[int(len(late) * 0.99)],
            "latest": late[-1],
            "lost": lost,
        }

    return play(main)


def delays(world: World, first: int = 0, last: int | None = None) -> list[float]:
    """Give the seconds from end to knowledge, the shortest first."""
    numbers = range(first, world.count if last is None else last)
    return sorted(world.known[run] - world.ends[run] for run in numbers)


def stopped(rate: float = 8.0, accounts: int = 1) -> Figures:
    """No webhook comes from some moment on: figures of the runs that end a minute later and on."""
    runs = int(240 * rate)
    with_pushes = Pushing(rate=rate, accounts=accounts, runs=runs, none_from=100.0)
    polling = attrs.evolve(with_pushes, none_from=0.0)

    def figures(pushing: Pushing) -> Figures:
        async def main() -> Figures:
            world = runs_of(pushing)
            setting = Setting(kind=lambda run: Kind(account=f"acct_{run % pushing.accounts}"))
            waiting = Waiting(world, setting, pushing.policy)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(deliver(waiting, pushing))
                for run, start in enumerate(world.starts):
                    await world.until(start)
                    tasks.create_task(waiting.run(run))
            await waiting.tracker.aclose()
            late = [world.known[run] - world.ends[run] for run in range(world.count)]
            during = [late[r] for r, end in enumerate(world.ends) if 100 <= end < 160]
            after = [late[r] for r, end in enumerate(world.ends) if 160 <= end < 240]
            return {"latest in the first minute": max(during), "median after it": median(after)}

        return play(main)

    return figures(with_pushes) | {
        "median of polling": figures(polling)["median after it"],
    }


def short(seconds: float, rate: float = 20.0) -> Figures:
    """Runs so short that most have ended before anybody waits: the share settled by their push."""
    found = push(Pushing(rate=rate, runs=1_000, warm_up=200, length=max(seconds, 1e-6), late=0.02))
    return {"status reads per run": found["reads"], "median delay": found["median delay"]}


def storm(ends_per_second: float = 100.0, ceiling: float = 20.0) -> Figures:
    """A thousand runs end within ten seconds and are told, under a ceiling; starts go on."""

    async def main() -> Figures:
        number = 1_000
        starts = [n * 0.06 for n in range(number)]
        world = world_of(starts, [90 + n / ends_per_second for n in range(number)])
        waiting = Waiting(world, Setting(limit=RateLimit(per_second=ceiling)))
        waited: list[float] = []
        loop = asyncio.get_running_loop()

        async def start_some() -> None:
            await world.until(85.0)
            for _ in range(400):
                asked = loop.time()
                await waiting.api.slot(Priority.START, "acct_2")
                waited.append(loop.time() - asked)
                await asyncio.sleep(0.2)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(deliver(waiting, Pushing()))
            tasks.create_task(start_some())
            for run, start in enumerate(world.starts):
                await world.until(start)
                tasks.create_task(waiting.run(run))
        await waiting.tracker.aclose()
        return {
            "longest wait of a start": max(waited),
            "latest result": max(world.known[run] - world.ends[run] for run in range(number)),
        }

    return play(main)


def cases() -> dict[str, Callable[[], Figures]]:
    """Give all scenarios by name."""
    found: dict[str, Callable[[], Figures]] = {}

    def add(name: str, pushing: Pushing) -> None:
        found[name] = lambda: push(pushing)

    for rate, runs, warm_up in ((8.0, 1_600, 600), (100.0, 6_000, 3_000)):
        for accounts in (1, 40):
            where = f"{rate:g} runs/s, {accounts} account{'s' * (accounts > 1)}"
            base = Pushing(rate=rate, accounts=accounts, runs=runs, warm_up=warm_up)
            add(where, base)
            add(f"{where}, none", attrs.evolve(base, none_from=0.0))
            # One in ten of those that are lost is the 99th percentile: that takes many runs.
            add(f"{where}, a tenth lost", attrs.evolve(base, lost=0.1, runs=warm_up + 10_000))
            add(f"{where}, 1 s late", attrs.evolve(base, late=1.0))
    found["8 runs/s, stopped"] = stopped
    found["8 runs/s, 40 accounts, stopped"] = lambda: stopped(accounts=40)
    found["runs of 0 ms"] = lambda: short(0.0)
    found["runs of 50 ms"] = lambda: short(0.05)
    found["100 ends/s, 20 requests/s"] = storm
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    options = parser.parse_args()
    for name, scenario in cases().items():
        if options.only in name:
            told = ", ".join(f"{what} {value:.3f}" for what, value in scenario().items())
            print(f"{name:<38}{told}", flush=True)
