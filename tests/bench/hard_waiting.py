"""Waiting under attack, in virtual time: outages, crowds, and accounts that misbehave.

    python -m tests.bench.hard_waiting [--only WORDS]

As `simulate_waiting`, with the tracker of the package itself. Each scenario gives a few figures,
whose bounds `tests/unit/waiting/test_hard_scenarios.py` asserts.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from bisect import bisect_left
from functools import cache
from statistics import median
from typing import TYPE_CHECKING

from refold_async import RateLimit
from refold_async._pacing import Priority
from tests.bench.simulate_waiting import World
from tests.bench.simulated_service import Kind, Setting, Waiting
from tests.bench.virtual_time import simulate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

Figures = dict[str, float]


def world_of(starts: Iterable[float], ends: Iterable[float]) -> World:
    """Give a world of runs by hand."""
    world = World(0, 0, 0)
    world.starts, world.ends = list(starts), list(ends)
    world.count = len(world.starts)
    return world


def rate(moments: list[float], begin: float, end: float) -> float:
    """Give how many there are per second between two moments."""
    return (bisect_left(moments, end) - bisect_left(moments, begin)) / (end - begin)


def play(main: Callable[[], Awaitable[Figures]]) -> Figures:
    """Play a scenario in simulated time."""

    async def coroutine() -> Figures:
        return await main()

    random.seed(9)
    return simulate(coroutine())


async def leave(waits: Iterable[asyncio.Task[None]]) -> None:
    """Wait no longer."""
    for wait in (tasks := list(waits)):
        wait.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def one_at_a_time(accounts: int = 100, seconds: float = 60.0) -> Figures:
    """Each account starts a run of exactly 1 s when the last is known, 25 a second in all."""

    async def main() -> Figures:
        pause = 4.0 - 1.2
        world = world_of([], [])
        waiting = Waiting(world, Setting(kind=lambda run: Kind(account=f"acct_{of[run]}")))
        of: list[int] = []
        clock = asyncio.get_running_loop()

        async def customer(number: int) -> None:
            await asyncio.sleep(pause * number / accounts)
            while clock.time() < seconds:
                run, now = len(of), clock.time()
                of.append(number)
                world.starts.append(now)
                world.ends.append(now + 1.0)
                await waiting.run(run)
                await asyncio.sleep(pause)

        async with asyncio.TaskGroup() as customers:
            for number in range(accounts):
                customers.create_task(customer(number))
        await waiting.tracker.aclose()
        late = [
            world.known[run] - world.ends[run] for run in range(len(of)) if world.starts[run] > 10
        ]
        asked = len(waiting.api.requests) - bisect_left(waiting.api.requests, 10)
        return {"requests per run": 1 + asked / len(late), "median delay": median(late)}

    return play(main)


def batch(accounts: int = 1, items: int = 400, seconds: float = 2.0) -> Figures:
    """Runs are started and awaited as fast as 20 requests a second allow."""

    async def main() -> Figures:
        world = world_of([], [])
        kind = cache(lambda run: Kind(account=f"acct_{run % accounts}"))
        waiting = Waiting(world, Setting(kind=kind, limit=RateLimit()))
        clock, late = asyncio.get_running_loop(), []

        async def settle(run: int) -> None:
            await waiting.run(run)
            late.append(clock.time() - world.ends[run])

        async with asyncio.TaskGroup() as waits:
            for run in range(items):
                await waiting.api.slot(Priority.START, kind(run).account)
                world.starts.append(round(clock.time(), 3))  # as precise as the service tells
                world.ends.append(clock.time() + seconds)
                waits.create_task(settle(run))
        took = clock.time()
        await waiting.tracker.aclose()
        return {
            "items/s": items / took,
            "median delay": median(late),
            "latest delay": max(late),
            "lists": waiting.api.listed,
            "requests": len(waiting.api.requests) + items,
        }

    return play(main)


def an_hour(
    accounts: int = 500, each: int = 2, hour: float = 3600.0, until: float = 1800.0
) -> Figures:
    """Runs of an unknown workflow that take an hour, a few in each of many accounts."""

    async def main() -> Figures:
        number = accounts * each
        world = world_of([n / 100 for n in range(number)], [n / 100 + hour for n in range(number)])
        waiting = Waiting(world, Setting(kind=lambda run: Kind(account=f"acct_{run % accounts}")))
        waits = []
        for run in range(number):
            await world.until(world.starts[run])
            waits.append(asyncio.create_task(waiting.run(run)))
        await world.until(until)
        asked = waiting.api.requests
        figures = {
            "reads/s after 10 min": rate(asked, 600, 660),
            "reads/s after 20 min": rate(asked, 1200, 1260) if until > 1260 else 0.0,
        }
        if until > hour:
            await asyncio.gather(*waits)
            figures["latest delay"] = max(world.known[r] - world.ends[r] for r in range(number))
        await leave(waits)
        await waiting.tracker.aclose()
        return figures

    return play(main)


def lists_down(seconds: float, pending: int = 5_000) -> Figures:
    """Lists answer 503 for some seconds while many runs of half an hour are pending."""

    async def main() -> Figures:
        world = world_of([n / 50 for n in range(pending)], [1_800 + n / 50 for n in range(pending)])
        waiting = Waiting(world, Setting(lists_down=(600.0, 600.0 + seconds)))
        waits = []
        for run in range(pending):
            await world.until(world.starts[run])
            waits.append(asyncio.create_task(waiting.run(run)))
        await world.until(900.0)
        asked, singly = waiting.api.requests, waiting.tracker.stats().read_singly
        await leave(waits)
        await waiting.tracker.aclose()
        return {
            "read singly": singly,
            "reads/s before": rate(asked, 540, 600),
            "meanwhile": rate(asked, 600, 600 + seconds),
            "the minute after": rate(asked, 600 + seconds, 660 + seconds),
            "a minute later": rate(asked, 660 + seconds, 720 + seconds),
        }

    return play(main)


def misbehaving(*, slow: float = 0.0, broken: bool = False, runs: int = 2_000) -> Figures:
    """One account has many runs whose reads are slow or fail; another has runs of 5 s."""

    async def main() -> Figures:
        theirs = [(n / 100, n / 100 + 3600) for n in range(runs)]
        ours = [(30 + n / 2, 35 + n / 2) for n in range(100)]
        both = sorted(theirs + ours)
        bad = {at for at, (start, end) in enumerate(both) if end - start > 60}
        world = world_of(*map(list, zip(*both, strict=True)))
        setting = Setting(
            kind=lambda run: Kind(*(("bad", "wf_bad") if run in bad else ("good", "wf_good"))),
            slow=lambda kind: slow if kind.account == "bad" else 0.0,
            broken=lambda kind: broken and kind.account == "bad",
        )
        waiting = Waiting(world, setting)
        waits: dict[int, asyncio.Task[None]] = {}
        for run in range(world.count):
            await world.until(world.starts[run])
            waits[run] = asyncio.create_task(waiting.run(run))
        await asyncio.gather(*(wait for run, wait in waits.items() if run not in bad))
        late = [world.known[run] - world.ends[run] for run in waits if run not in bad]
        await leave(waits.values())
        await waiting.tracker.aclose()
        return {"latest delay": max(late), "median delay": median(late)}

    return play(main)


def reattached(
    *, newest_first: bool = False, object_ids: bool = True, spread: float = 300.0
) -> Figures:
    """A thousand runs started before, some time apart, are waited for from now on."""

    async def main() -> Figures:
        starts = [n * spread / 1_000 for n in range(1_000)]
        world = world_of(starts, [7_200.0] * 1_000)
        waiting = Waiting(world, Setting(object_ids=object_ids))
        await asyncio.sleep(spread)
        order = range(999, -1, -1) if newest_first else range(1_000)
        waits = [asyncio.create_task(waiting.run(run, fresh=False)) for run in order]
        await asyncio.sleep(180)
        asked = waiting.api.requests
        await leave(waits)
        await waiting.tracker.aclose()
        first = rate(asked, spread, spread + 60) * 60
        return {
            "reads in the first minute": first,
            "reads/s then": rate(asked, spread + 60, spread + 180),
        }

    return play(main)


def crowd(pending: int, seconds: float = 100.0) -> Figures:
    """Very many runs are pending, 100 a second apart: CPU for some virtual seconds."""

    async def main() -> Figures:
        world = world_of([n / 100 for n in range(pending)], [1e5] * pending)
        waiting = Waiting(world, Setting())
        await asyncio.sleep(pending / 100)
        waits = [asyncio.create_task(waiting.run(run, fresh=False)) for run in range(pending)]
        await asyncio.sleep(300)
        now, begun, began = (
            asyncio.get_running_loop().time(),
            waiting.api.listed,
            time.process_time(),
        )
        await asyncio.sleep(seconds)
        used = time.process_time() - began
        lists = waiting.api.listed - begun
        await leave(waits)
        await waiting.tracker.aclose()
        return {
            "CPU seconds": used,
            "reads/s": rate(waiting.api.requests, now, now + seconds),
            "CPU ms per list": 1000 * used / lists,
        }

    return play(main)


def whole_seconds(per_second: int = 250) -> Figures:
    """More runs a second than a page holds, and lists that tell whole seconds."""

    async def main() -> Figures:
        starts = [n / per_second for n in range(10 * per_second)]
        draw = random.Random(3)
        world = world_of(starts, [start + draw.uniform(8, 16) for start in starts])
        waiting = Waiting(world, Setting(whole_seconds=True))
        waits = []
        for run, start in enumerate(starts):
            await world.until(start)
            waits.append(asyncio.create_task(waiting.run(run)))
        await asyncio.gather(*waits)
        await waiting.tracker.aclose()
        late = [world.known[run] - world.ends[run] for run in range(len(starts))]
        counters = waiting.counters
        return {
            "lists per run": counters.sweeps / len(late),
            "single reads per run": counters.polls / len(late),
            "median delay": median(late),
            "latest delay": max(late),
        }

    return play(main)


SCENARIOS: dict[str, Callable[[], Figures]] = {
    "one at a time x 100 accounts": one_at_a_time,
    "400 runs of 2 s at 20 requests/s": batch,
    "the same in 40 accounts": lambda: batch(40),
    "500 accounts x 2 runs of an hour": an_hour,
    "one run of an hour": lambda: an_hour(1, 1, until=3_700.0),
    "lists down for 3 s": lambda: lists_down(3.0),
    "lists down for 10 s": lambda: lists_down(10.0),
    "another account's reads take 30 s": lambda: misbehaving(slow=30.0),
    "another account's reads fail": lambda: misbehaving(broken=True),
    "1,000 handles, oldest first": reattached,
    "1,000 handles, newest first": lambda: reattached(newest_first=True),
    "1,000 handles, other ids": lambda: reattached(object_ids=False),
    "20,000 pending": lambda: crowd(20_000),
    "40,000 pending": lambda: crowd(40_000),
    "250 runs/s, times in whole seconds": whole_seconds,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    options = parser.parse_args()
    for name, scenario in SCENARIOS.items():
        if options.only in name:
            told = ", ".join(f"{what} {value:.2f}" for what, value in scenario().items())
            print(f"{name:<38}{told}", flush=True)
