"""The soak: thousands of calls over real HTTP while a fifth of the attempts go wrong.

`python -m tests.soak` prints a row for each combination of mode, service and fault: what the
callers were told, held against what the service (a process of its own) really ran. It ends with 1
if a promise was broken. `--brief` takes the combinations of the test suite.

Columns: runs started; *lost*: runs whose caller was told, by a definite error or by nothing at all,
that there is none; *wrong*: calls that were given another's run; *silent*: calls that started
several runs and were not told; *flagged*: those that were told; *unknown*: calls that ended with
`ExecutionOutcomeUnknownError`; *adopted*: runs found in the list after a lost answer; *pushed*:
ends that a webhook told of. The service `webhooks` delivers badly: a tenth of its events get lost,
a fifth come twice, they come up to 0.3 s late and not at all for a second out of three, and of a
fifth of the runs somebody without the key says that they have failed. A forged event that was taken
is *wrong*. Against `clock steps` the caller's wall clock is right for a second, five minutes fast
for one, and five minutes slow for one.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from collections import defaultdict

import attrs

from tests.soak.calls import Caller, Told, descriptors_and_memory
from tests.soak.cells import SERVICES, Cell, briefly, everything


@attrs.define
class Row:
    """What one combination came to."""

    calls: int = 0
    runs: int = 0
    lost: int = 0
    wrong: int = 0
    silent: int = 0
    flagged: int = 0
    unknown: int = 0
    adopted: int = 0
    pushed: int = 0
    per_s: float = 0.0

    def judge(self, told: Told, runs: list[str]) -> None:
        """Hold what a caller was told against the runs of its call."""
        self.calls += 1
        self.runs += len(runs)
        self.unknown += told.unknown
        if told.wrong or (told.execution_id is not None and told.execution_id not in runs):
            self.wrong += 1
        if len(runs) > 1:
            if told.flagged:
                self.flagged += 1
            else:
                self.silent += 1
        if runs and told.execution_id is None and not told.unknown:
            self.lost += 1

    def broken(self, cell: Cell) -> bool:
        """Whether a promise of the mode was broken."""
        twice = self.silent if cell.mode == "transient" else self.silent + self.flagged
        return bool(self.lost or self.wrong or twice)


async def soak(cell: Cell, calls: int, seconds: float) -> Row:
    """Make the calls of one combination."""
    service = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak.service", json.dumps(cell.settings)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**26,
    )
    assert service.stdin is not None
    assert service.stdout is not None
    try:
        base_url = (await service.stdout.readline()).decode().strip()
        began = time.monotonic()
        caller = Caller(base_url, cell.mode, seed=1, pushed=cell.is_told, steps=cell.steps)
        await caller.make(calls, began + seconds)
        took = time.monotonic() - began
        service.stdin.write(b"\n")
        truth: dict[int, list[str]] = defaultdict(list)
        for number, execution_id in json.loads(await service.stdout.readline()):
            truth[number].append(execution_id)
    finally:
        service.stdin.close()
        await service.wait()
    stats = caller.refold.stats
    row = Row(adopted=stats.adopted, wrong=caller.forged, pushed=stats.waiting.told_by_push)
    for number, told in caller.told.items():
        row.judge(told, truth.pop(number, []))
    row.lost += len(truth)
    row.per_s = row.calls / took
    return row


async def main(options: argparse.Namespace) -> int:
    """Go through the combinations, print a row each, and the totals."""
    cells = [*(briefly() if options.brief else everything())]
    cells = [cell for cell in cells if options.mode in {None, cell.mode}]
    cells = [cell for cell in cells if options.service in {None, cell.service}]
    names = [field.name for field in attrs.fields(Row)]
    print(f"{'mode':<10}{'service':<16}{'fault':<19}" + "".join(f"{n:>9}" for n in names))
    broken, start = 0, (0, 0.0)
    for number, cell in enumerate(cells):
        row = await soak(cell, options.calls, options.seconds)
        figures = "".join(f"{v:>9,.0f}" for v in attrs.astuple(row))
        mark = "  BROKEN" if row.broken(cell) else ""
        print(f"{cell.mode:<10}{cell.service:<16}{cell.fault:<19}{figures}{mark}", flush=True)
        broken += row.broken(cell)
        gc.collect()
        if number == 0:
            start = descriptors_and_memory()
    end = descriptors_and_memory()
    tasks = len(asyncio.all_tasks()) - 1
    print(f"\ndescriptors {start[0]} -> {end[0]}, RSS {start[1]:.0f} -> {end[1]:.0f} MB", end="")
    print(f" (after the first row -> at the end), tasks left {tasks}, promises broken {broken}")
    return 1 if broken or tasks or end[0] > start[0] else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=10_000, help="per row (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=120.0, help="at most, per row")
    parser.add_argument("--brief", action="store_true", help="the rows of the test suite")
    parser.add_argument("--mode", choices=["transient", "safe", "never"], help="only these rows")
    parser.add_argument("--service", choices=[*SERVICES], help="only these rows")
    sys.exit(asyncio.run(main(parser.parse_args())))
