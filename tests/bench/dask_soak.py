"""A batch on Dask whose workers and whose own process die now and then: does an item run twice?

`python -m tests.bench.dask_soak` has three worker processes start 3,000 items, in `safe` mode, with
a journal and a file of results, while a fifth of the starts are lost, late or answered with 502. At
random moments a worker gets SIGKILL, five times; one is stopped for longer than its lease and woken
again; and the process of the batch gets SIGKILL, twice, while its chunks go on. Then the batch may
end, and is run once more without faults. What the file of results says is held against the count of
the emulator, which has a process of its own. It ends with 1 if an item ran twice, is lost, or is
still unknown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from refold_async import ExecutionRequest, PollPolicy, RefoldClient, RetryPolicy, Timeouts
from refold_async.dask import run_batch
from tests.soak.crashes import Row, judge, start
from tests.soak.service import SLUG, WORKFLOW
from tests.support.endings import until

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS = 3
LEASE = 2.0
READ = 2.0
SETTLE = 0.2
LIMIT = 360.0
"""Seconds for all of it."""
KILLS, DRIVERS = 5, 2
RUN = "tests.bench.dask_soak"

FAULTS: list[list[Any]] = [
    ["execute", {"drop": "after"}, 0.055],
    ["execute", {"drop": "before"}, 0.055],
    ["execute", {"delay": 2 * READ}, 0.055],
    ["execute", {"status": 502, "html": True, "perform": True}, 0.055],
    ["execute", {"delay": 0.1}, 1.0],
]
"""A fifth go wrong; the others take a moment, so that each blow meets starts under way."""


def connect() -> RefoldClient:
    """Make the client of a process; key and base URL are in its environment."""
    return RefoldClient(
        linked_account_id="acct_1",
        rate_limit=None,
        max_connections=10,
        timeouts=Timeouts(read=READ),
        polling=PollPolicy(first=0.2, max_interval=1.0),
        retry=RetryPolicy(mode="safe", settle=SETTLE, wait=0.05, max_wait=0.2),
    )


def requests(count: int) -> Iterator[ExecutionRequest]:
    """Give the items."""
    for number in range(count):
        yield ExecutionRequest(WORKFLOW, slug=SLUG, payload={"n": number})


async def drive(scheduler: str, folder: str, items: int) -> None:
    """The process that is killed: the batch, from wherever its journal says."""
    from distributed import Client

    for name in ("refold_async", "distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    async with Client(scheduler, asynchronous=True) as cluster:
        await run_batch(
            requests(items),
            cluster=cluster,
            connect=f"{RUN}:connect",
            journal=f"{folder}/batch.sqlite",
            out=f"{folder}/out.jsonl",
            lease=LEASE,
        )


class Service:
    """The emulator, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self.process = process

    async def line(self) -> str:
        """Read a line."""
        return (await self._out.readline()).decode().strip()

    async def runs(self) -> list[tuple[int, str]]:
        """Ask for all runs: item and execution id."""
        self._in.write(b"\n")
        return [(number, execution_id) for number, execution_id in json.loads(await self.line())]

    async def recover(self) -> None:
        """Have nothing go wrong any more."""
        self._in.write(b"well\n")
        await self.line()

    async def end(self) -> None:
        """End it."""
        self._in.close()
        await self.process.wait()


@attrs.define
class Blows:
    """What was done to the batch."""

    workers: int = 0
    frozen: int = 0
    drivers: int = 0


class Trial:
    """One batch, and what is done to it.

    Args:
        cluster: the `LocalCluster`.
        service: what counts.
        folder: for journal and results.
        items: how many.
        seed: of the moments.
    """

    def __init__(
        self, cluster: Any, service: Service, folder: Path, *, items: int, seed: int
    ) -> None:
        self.blows = Blows()
        self.began = time.monotonic()
        self._cluster, self._service, self._folder, self._items = cluster, service, folder, items
        self._draw = random.Random(seed)
        self._frozen: int | None = None
        self._down: set[int] = set()  # workers that were killed, or sleep
        self._waking: asyncio.Task[None] | None = None
        self._driver: asyncio.subprocess.Process

    async def drive(self) -> None:
        """Start the batch, in a process of its own."""
        self._driver = await start(
            *(RUN, "--drive", self._cluster.scheduler_address, self._folder, self._items)
        )

    async def begun(self, count: int) -> None:
        """Wait until so many items have begun."""
        while len({number for number, _ in await self._service.runs()}) < count:
            if self._driver.returncode is not None:
                raise RuntimeError("the batch ended before all was done to it")
            await asyncio.sleep(0.1)

    async def hit(self) -> None:
        """Do all that is to be done, each at a moment of its own."""
        blows = [self.kill_worker] * KILLS + [self.kill_driver] * DRIVERS + [self.freeze]
        self._draw.shuffle(blows)
        moments = sorted(self._draw.uniform(0.02, 0.9) for _ in blows)
        for moment, blow in zip(moments, blows, strict=True):
            await self.begun(int(moment * self._items))
            await asyncio.sleep(self._draw.uniform(0, 0.3))
            await blow()

    async def _worker(self) -> int:
        """Choose a worker that is alive and awake."""
        pids: list[int] = []

        def found() -> bool:
            now = {nanny.pid for nanny in self._cluster.workers.values()}
            pids[:] = sorted(now - self._down - {None})
            return bool(pids)

        await until(found)
        return self._draw.choice(pids)

    async def kill_worker(self) -> None:
        """Kill a worker; its nanny starts another."""
        pid = await self._worker()
        self._down.add(pid)
        os.kill(pid, signal.SIGKILL)
        self.blows.workers += 1
        self.say("a worker is killed")

    async def freeze(self) -> None:
        """Stop a worker, and wake it after its lease."""
        self._frozen = await self._worker()
        self._down.add(self._frozen)
        os.kill(self._frozen, signal.SIGSTOP)
        self.blows.frozen += 1
        self.say("a worker is stopped")
        self._waking = asyncio.create_task(self._wake(self._frozen))

    async def _wake(self, pid: int) -> None:
        await asyncio.sleep(LEASE + READ + self._draw.uniform(1, 4))
        os.kill(pid, signal.SIGCONT)
        self._down.discard(pid)
        self._frozen = None
        self.say("and woken")

    async def kill_driver(self) -> None:
        """Kill the process of the batch, and start another at once."""
        self._driver.kill()
        await self._driver.wait()
        self.blows.drivers += 1
        self.say("the batch's process is killed")
        await self.drive()

    async def finish(self) -> Counter[str]:
        """Let the batch end; count its outcomes."""
        await self._driver.communicate()
        if self._driver.returncode:
            raise RuntimeError(f"the batch ended with {self._driver.returncode}")
        if self._waking is not None:
            await self._waking
        outcomes = Counter(outcome for outcome, _ in self.told().values())
        self.say(f"the batch has ended: {dict(outcomes)}")
        return outcomes

    def told(self) -> dict[int, tuple[str, str | None]]:
        """Read the file of results: the last line of an item counts."""
        lines = (self._folder / "out.jsonl").read_text(encoding="utf-8").splitlines()
        told = map(json.loads, lines)
        return {each["index"]: (each["outcome"], each.get("execution_id")) for each in told}

    def say(self, what: str) -> None:
        """Print what happens, and when."""
        print(f"  {time.monotonic() - self.began:6.1f} s  {what}", flush=True)

    def kill(self) -> None:
        """Leave nothing behind."""
        if self._driver.returncode is None:
            self._driver.kill()
        if self._frozen is not None:
            os.kill(self._frozen, signal.SIGCONT)


async def soak(trial: Trial, service: Service, items: int) -> Row:
    """Do all that is to be done to the batch, and hold what it says against the truth."""
    await trial.drive()
    try:
        await trial.hit()
        await trial.finish()
        await service.recover()
        await trial.drive()
        await trial.finish()
    finally:
        trial.kill()
    truth: dict[int, list[str]] = {number: [] for number in range(items)}
    for number, execution_id in await service.runs():
        truth[number].append(execution_id)
    row = Row()
    judge(row, trial.told(), truth)
    return row


async def main(items: int, seed: int) -> int:
    """Set all up, and print what it came to."""
    from distributed import LocalCluster

    settings = {"behaviour": {}, "faults": FAULTS, "seconds": [0.2, 1.0]}
    service = Service(await start("tests.soak.service", json.dumps(settings)))
    os.environ |= {"REFOLD_BASE_URL": await service.line(), "REFOLD_API_KEY": "tk_emulator"}
    with tempfile.TemporaryDirectory() as folder:
        async with LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
            asynchronous=True,
        ) as cluster:
            trial = Trial(cluster, service, Path(folder), items=items, seed=seed)
            print(f"{items:,} items, {WORKERS} workers, seed {seed}", flush=True)
            async with asyncio.timeout(LIMIT):
                row = await soak(trial, service, items)
            seconds = time.monotonic() - trial.began
    await service.end()
    bad = row.twice + row.lost + row.unknown + row.misreported
    print(
        f"  items {items:,}, runs {row.runs:,}, succeeded {row.succeeded:,}, twice {row.twice},"
        f" lost {row.lost}, unknown {row.unknown}, misreported {row.misreported};"
        f" workers killed {trial.blows.workers}, frozen {trial.blows.frozen},"
        f" batch killed {trial.blows.drivers}; {seconds:.0f} s{'  BROKEN' if bad else ''}",
        flush=True,
    )
    return 1 if bad else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--drive"]:
        asyncio.run(drive(sys.argv[2], sys.argv[3], int(sys.argv[4])))
        sys.exit(0)
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=3_000, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default %(default)s)")
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.items, given.seed)))
