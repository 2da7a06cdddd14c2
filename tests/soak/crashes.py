"""Batches whose process is killed again and again: is every item run, and none twice?

`python -m tests.soak.crashes` runs a batch with a journal in a process of its own, against an
emulator in another. The batch's process gets SIGKILL at random moments and is started again with
the same journal; the last time it may finish. What it reported is then held against what the
emulator ran. It ends with 1 if an item ran twice or not at all.

Each process lives by a clock that is off, and is set at a random moment. After some of the kills
what stands beside the journal is lost: should the next process refuse the journal for it, by a
`JournalError`, it is put back.

A line per kill: how long the process lived, and the journal's items by state at that moment (*new*:
not in it yet; *unknown*: ended in an earlier process without anybody knowing).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import attrs

from refold_async import (
    ExecutionRequest,
    JournalError,
    PollPolicy,
    RateLimit,
    RefoldClient,
    RetryPolicy,
    SystemClock,
    Timeouts,
)
from tests.soak.service import SLUG, WORKFLOW

RATE = 400.0
"""Requests per second: so that there is something left to kill."""
SETTLE = 0.3
STATES = ("new", "intended", "started", "settled", "unknown")
REFUSED = 3
"""The exit code of a batch whose journal was refused."""
STEPS = (0.0, -3600.0, 3600.0, -120.0, -90_000.0)
"""Seconds by which clocks are off, and are set."""
FINISHES = 5
"""Times the batch may be run to its end: what an answer that was lost leaves unknown, the next
run clears up."""

SLOW = ["execute", {"delay": 0.1}, 1.0]
"""Every answer takes a tenth of a second, so that each kill meets starts under way."""

VARIANTS: dict[str, dict[str, Any]] = {
    "all well": {"behaviour": {}, "faults": [SLOW]},
    "answers lost and late": {
        "behaviour": {"list_lag": 0.1},
        "faults": [
            ["execute", {"drop": "after"}, 0.05],
            ["execute", {"drop": "before"}, 0.05],
            ["execute", {"delay": 0.5}, 0.05],
            ["execute", {"status": 502, "html": True, "perform": True}, 0.05],
            ["list_executions", {"status": 502, "html": True}, 0.05],
            SLOW,
        ],
    },
}


class SetClock(SystemClock):
    """A clock that is off, and is set once, at a moment nobody knows."""

    def __init__(self, draw: random.Random) -> None:
        self._shifts = draw.choice(STEPS), draw.choice(STEPS)
        self._at = time.monotonic() + draw.uniform(0, 0.8)

    def time(self) -> float:
        """Give the epoch seconds, as they have been set."""
        return time.time() + self._shifts[time.monotonic() >= self._at]


@attrs.define
class Row:
    """What one variant came to."""

    kills: int = 0
    losses: int = 0
    refused: int = 0
    succeeded: int = 0
    unknown: int = 0
    runs: int = 0
    twice: int = 0
    lost: int = 0
    misreported: int = 0
    at_kills: Counter[str] = attrs.field(factory=Counter)

    @property
    def broken(self) -> bool:
        """Whether an item ran twice, or is not known to have run in the end."""
        return bool(self.twice or self.lost or self.misreported)


async def batch(base_url: str, journal: str, items: int, mode: str) -> None:
    """The process that is killed: one batch, from wherever its journal says."""
    logging.getLogger("refold_async").setLevel(logging.ERROR)
    async with RefoldClient(
        api_key="tk_emulator",
        linked_account_id="acct_1",
        base_url=base_url,
        rate_limit=RateLimit(per_second=RATE, burst=50),
        timeouts=Timeouts(read=5.0),
        retry=RetryPolicy(mode=mode, wait=0.02, max_wait=0.1, settle=SETTLE),  # type: ignore[arg-type]
        polling=PollPolicy(first=0.2, max_interval=1.0),
        clock=SetClock(random.Random(os.getpid())),
    ) as refold:
        print("begun", flush=True)
        requests = [ExecutionRequest(WORKFLOW, slug=SLUG, payload={"n": n}) for n in range(items)]
        try:
            report = await refold.run_batch(requests, journal=journal)
        except JournalError as error:
            print(error, file=sys.stderr)
            sys.exit(REFUSED)
    outcomes = {item.index: [str(item.outcome), item.execution_id] for item in report.items()}
    print(json.dumps(outcomes), flush=True)


async def start(*arguments: object) -> asyncio.subprocess.Process:
    """Start a process of ours."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**26,
    )


def states(journal: Path, items: int) -> Counter[str]:
    """Count the journal's items by state, in a copy: the file itself stays as the kill left it."""
    with tempfile.TemporaryDirectory() as folder:
        for path in journal.parent.glob(f"{journal.name}*"):
            shutil.copy(path, folder)
        connection = sqlite3.connect(Path(folder) / journal.name)
        try:
            found = connection.execute("SELECT state, outcome FROM items").fetchall()
        except sqlite3.OperationalError:  # killed before it had tables
            found = []
        finally:
            connection.close()
    counted = Counter("unknown" if o == "unknown" else state for state, o in found)
    counted["new"] = items - len(found)
    return counted


class Trial:
    """One batch, killed and started again."""

    def __init__(self, base_url: str, journal: Path, *, items: int, mode: str, seed: int) -> None:
        self.row = Row()
        self._command = ("tests.soak.crashes", "--batch", base_url, journal, items, mode)
        self._journal, self._items = journal, items
        self._copy = journal.parent / "copy"
        self._draw = random.Random(seed)

    async def kill(self, longest: float) -> bool:
        """Start the batch, and kill it at a random moment; False if it ended before."""
        child = await start(*self._command)
        assert child.stdout is not None
        assert (await child.stdout.readline()) == b"begun\n"
        lifetime = self._draw.uniform(0, longest)
        try:
            async with asyncio.timeout(lifetime):
                await child.wait()
        except TimeoutError:
            child.send_signal(signal.SIGKILL)
            await child.wait()
        if child.returncode == REFUSED:
            self.row.refused += 1
            self._put_back()
            print("  refused", flush=True)
            return True
        ended = child.returncode != -signal.SIGKILL
        self.row.kills += not ended
        at_kill = states(self._journal, self._items)
        self.row.at_kills += at_kill
        shown = " ".join(f"{state} {at_kill[state]:>5}" for state in STATES)
        lost = self._lose() if not ended else ""
        print(
            f"  {'ended' if ended else 'killed'} after {lifetime:5.2f} s: {shown}{lost}", flush=True
        )
        return not ended

    def _beside(self) -> list[Path]:
        return list(self._journal.parent.glob(f"{self._journal.name}-*"))

    def _lose(self) -> str:
        """Lose what stands beside the journal, now and then; a copy is kept."""
        shutil.rmtree(self._copy, ignore_errors=True)
        if not (beside := self._beside()) or self._draw.random() < 1 / 2:
            return ""
        self._copy.mkdir()
        for path in (self._journal, *beside):
            shutil.copy(path, self._copy)
        for path in beside:
            path.unlink()
        self.row.losses += 1
        return f"  lost {', '.join(path.name for path in beside)}"

    def _put_back(self) -> None:
        for path in self._copy.iterdir():
            shutil.copy(path, self._journal.parent)

    async def finish(self) -> dict[int, tuple[str, str | None]]:
        """Run the batch to its end; give outcome and run of each item."""
        child = await start(*self._command)
        out, _ = await child.communicate()
        if child.returncode == REFUSED:
            self.row.refused += 1
            self._put_back()
            return await self.finish()
        assert child.returncode == 0, out
        told = json.loads(out.decode().splitlines()[-1])
        return {int(index): tuple(said) for index, said in told.items()}


async def variant(name: str, options: argparse.Namespace, mode: str) -> Row:
    """Kill a batch as often as asked, let it finish, and hold its report against the truth."""
    settings = {**VARIANTS[name], "seconds": [0.2, 1.0]}
    service = await start("tests.soak.service", json.dumps(settings))
    assert service.stdin is not None
    assert service.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        base_url = (await service.stdout.readline()).decode().strip()
        journal = Path(folder) / "batch.sqlite"
        trial = Trial(base_url, journal, items=options.items, mode=mode, seed=options.seed)
        for _ in range(options.kills):
            if not await trial.kill(options.longest):
                break
        for _ in range(FINISHES):
            told = await trial.finish()
            if not any(outcome == "unknown" for outcome, _ in told.values()):
                break
        service.stdin.write(b"\n")
        truth: dict[int, list[str]] = {n: [] for n in range(options.items)}
        for number, execution_id in json.loads(await service.stdout.readline()):
            truth[number].append(execution_id)
    service.stdin.close()
    await service.wait()
    judge(trial.row, told, truth)
    return trial.row


def judge(row: Row, told: dict[int, tuple[str, str | None]], truth: dict[int, list[str]]) -> None:
    """Hold what was told of each item against its runs."""
    for number, runs in truth.items():
        outcome, execution_id = told.get(number, ("missing", None))
        row.succeeded += outcome == "succeeded"
        row.unknown += outcome == "unknown"
        row.runs += len(runs)
        row.twice += len(runs) > 1
        row.lost += not runs and outcome != "unknown"
        row.misreported += outcome == "succeeded" and execution_id not in runs
        row.misreported += outcome not in {"succeeded", "unknown"}


async def main(options: argparse.Namespace) -> int:
    """Go through the variants, and print what became of each."""
    broken = 0
    for name in VARIANTS:
        print(f"{name}: {options.items:,} items in `{options.mode}` mode")
        row = await variant(name, options, options.mode)
        in_sending = f"items uncertain at the kills {row.at_kills['intended']:,}"
        print(
            f"  kills {row.kills}, files lost {row.losses}, refused {row.refused}, {in_sending};"
            f" runs {row.runs:,}, succeeded {row.succeeded:,},"
            f" unknown {row.unknown}, twice {row.twice}, lost {row.lost},"
            f" misreported {row.misreported}{'  BROKEN' if row.broken else ''}",
            flush=True,
        )
        broken += row.broken
    return 1 if broken else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--batch"]:
        asyncio.run(batch(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]))
        sys.exit(0)
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=2_000, help="default %(default)s")
    parser.add_argument("--kills", type=int, default=20, help="per variant (default %(default)s)")
    parser.add_argument("--longest", type=float, default=0.8, help="seconds a process lives")
    parser.add_argument("--mode", choices=["safe", "transient"], default="safe")
    parser.add_argument("--seed", type=int, default=1)
    sys.exit(asyncio.run(main(parser.parse_args())))
