"""Processes that all ask for the same keys at once, and what goes wrong: has each key one run?

`python -m tests.soak.keys` has eight processes ask for 200 keys with `once=`, all at the same
moment, while a fifth of the answers are lost. Three of them get SIGKILL (when they have claimed
their first key, when they may send it, when its answer is there) and one is frozen between claim
and request, and woken when all others have ended. A line per situation:

- `kept`, `emptied`, `restarted`: what becomes of Redis in the middle of it.
- `none, at once`: no Redis (`once_scope="process"`); three are killed at random moments. What
  is started twice is started within the *window*: the most seconds between two runs of a key, as
  long as it takes from a process' look at the list to its run's showing there.
- `none, frozen`: the same, and one is frozen in between: it may send when it wakes.
- `none, in turn`: no Redis, and no two processes at the same time.

It ends with 1 if a key has two runs or none where Redis is used or the processes take turns, or if
a process was told of another run than there is.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import attrs

from refold_async.emulator import Emulator, Fault
from tests.support.endings import until
from tests.support.keyed import WORKFLOW, Worker, client
from tests.support.redis import EXECUTABLE, MISSING, RedisServer

PROCESSES = 8
BLOWS = (("claimed", "killed"), ("sent", "killed"), ("answered", "killed"), ("claimed", "frozen"))
LOST = 0.2
AWAY = 0.5
"""Seconds for which Redis is away when it is restarted."""
LIMIT = 300.0
"""Seconds for a situation."""
SITUATIONS = ("kept", "emptied", "restarted", "none, at once", "none, frozen", "none, in turn")


@attrs.define
class Row:
    """What one situation came to."""

    situation: str
    runs: int
    twice: int
    none: int
    window: float
    told: int
    errors: Counter[str]
    misreported: int
    lists: int
    starts: int
    seconds: float

    @property
    def broken(self) -> bool:
        """Whether a promise was broken."""
        allowed = self.situation in {"none, at once", "none, frozen"}
        return bool(self.misreported or self.none or (self.twice and not allowed))

    def __str__(self) -> str:
        return (
            f"{self.situation:14} runs {self.runs:4}, twice {self.twice:3}, none {self.none:2};"
            f" told {self.told:5}, misreported {self.misreported}, errors {dict(self.errors)};"
            f" starts sent {self.starts}, lists read {self.lists}; window {self.window:.2f} s;"
            f" {self.seconds:.1f} s{'  BROKEN' if self.broken else ''}"
        )


async def ask_at_once(
    emulator: Emulator, redis: RedisServer, name: str, keys: list[str], situation: str
) -> list[list[Any]]:
    """Have all ask at the same moment, and what is to go wrong go wrong; give what they told."""
    blows = [*BLOWS, *[None] * (PROCESSES - len(BLOWS))]
    workers = [
        await Worker.start(
            emulator.base_url,
            redis.url,
            name,
            keys=keys,
            waits=True,
            **({} if blow is None else dict(zip(("instant", "how"), blow, strict=True))),
        )
        for blow in blows
    ]
    await all_begin(workers)
    frozen = len(BLOWS) - 1
    before = await asyncio.gather(*map(until_struck, workers[: frozen + 1], BLOWS))
    await until(lambda: len(emulator.runs) > len(keys) // 3)
    if situation == "emptied":
        redis.empty()
    elif situation == "restarted":
        redis.kill()
        await asyncio.sleep(AWAY)
        redis.start()
    told = await asyncio.gather(*(worker.end() for worker in workers[frozen + 1 :]))
    workers[frozen].wake()
    return [*before, *told, await workers[frozen].end()]


async def until_struck(worker: Worker, blow: tuple[str, str]) -> list[Any]:
    """Wait until a process has come to grief; give what it had told."""
    told = []
    while (line := await worker.line()) != blow[0]:
        told.append(line)
    return told


async def ask_alone(
    emulator: Emulator, keys: list[str], situation: str, draw: random.Random
) -> list[list[Any]]:
    """Have processes that know nothing of each other ask: at once, or one after the other."""
    workers = [
        await Worker.start(emulator.base_url, None, "", keys=keys, waits=True)
        for _ in range(PROCESSES)
    ]
    if situation.endswith("in turn"):
        told = []
        for worker in workers:
            await all_begin([worker])
            told.append(await worker.end())
        return told
    await all_begin(workers)
    freezes = situation.endswith("frozen")
    if freezes:
        await until(lambda: len(emulator.runs) > 1)
        workers[3].freeze()
    for worker in workers[:3]:
        await asyncio.sleep(draw.uniform(0, 0.3))
        worker.process.kill()
    told = await asyncio.gather(*(worker.end() for worker in workers[3 + freezes :]))
    if freezes:
        workers[3].wake()
        told.append(await workers[3].end())
    return told


async def all_begin(workers: list[Worker]) -> None:
    """Wait until all are ready, and have them begin."""
    for worker in workers:
        assert await worker.line() == "ready"
    for worker in workers:
        worker.begin()


def judge(emulator: Emulator, keys: list[str], told: list[list[Any]], situation: str) -> Row:
    """Hold what the processes were told against what ran."""
    ran: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for run in emulator.runs:
        if "key" in run.payload:
            ran[run.payload["key"]].append((run.created_at, run.execution_id))
    answers = [answer for each in told for answer in each if isinstance(answer, list)]
    errors = Counter(said for _, said in answers if said.endswith("Error"))
    ids = {key: {execution_id for _, execution_id in runs} for key, runs in ran.items()}
    return Row(
        situation=situation,
        runs=sum(map(len, ran.values())),
        twice=sum(len(runs) - 1 for runs in ran.values()),
        none=sum(key not in ran for key in keys),
        window=max(max(runs)[0] - min(runs)[0] for runs in ran.values()),
        told=len(answers),
        errors=errors,
        misreported=sum(
            said not in ids[key] for key, said in answers if not said.endswith("Error")
        ),
        lists=emulator.counts["list_executions"],
        starts=emulator.counts["execute"],
        seconds=0.0,
    )


async def soak(situation: str, keys: list[str], redis: RedisServer, draw: random.Random) -> Row:
    """Try one situation."""
    name = os.urandom(8).hex()
    redis.remembers(name)
    async with Emulator() as emulator, asyncio.timeout(LIMIT):
        emulator.workflow(WORKFLOW, slug="s")(dict)
        async with client(emulator.base_url, redis.url, name) as refold:
            await refold.execute(WORKFLOW, slug="s", once="earlier")  # shows that tags are visible
        emulator.faults.share("execute", Fault(drop="after"), share=LOST, seed=1)
        began = time.monotonic()
        if situation.startswith("none"):
            told = await ask_alone(emulator, keys, situation, draw)
        else:
            told = await ask_at_once(emulator, redis, name, keys, situation)
        row = judge(emulator, keys, told, situation)
        row.seconds = time.monotonic() - began
        return row


async def main(situations: list[str], count: int, seed: int) -> int:
    """Print a line per situation."""
    if EXECUTABLE is None:
        print(MISSING)
        return 1
    logging.getLogger("refold_async").setLevel(logging.ERROR)
    keys = [f"key {number}" for number in range(count)]
    draw, broken = random.Random(seed), False
    print(f"{PROCESSES} processes, {count} keys, {LOST:.0%} of the answers lost, seed {seed}")
    for situation in situations:
        with tempfile.TemporaryDirectory() as folder:
            redis = RedisServer(Path(folder))
            redis.start()
            try:
                row = await soak(situation, keys, redis, draw)
            finally:
                redis.kill()
        print(row, flush=True)
        broken = broken or row.broken
    return 1 if broken else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keys", type=int, default=200, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default %(default)s)")
    parser.add_argument("--only", choices=SITUATIONS, help="one situation")
    given = parser.parse_args()
    sys.exit(
        asyncio.run(main([given.only] if given.only else [*SITUATIONS], given.keys, given.seed))
    )
