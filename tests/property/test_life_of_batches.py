"""Batches with a journal that are stopped, cancelled and killed: each item ends once, with its run.

The journal is a real SQLite file; network and time are the test's own.
`--hypothesis-profile=explore` plays longer, at random.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import aiosqlite.core
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from refold_async import (
    BatchItem,
    BatchOutcome,
    BatchReport,
    ExecutionRequest,
    PollPolicy,
    RateLimit,
    RetryPolicy,
)
from refold_async.emulator import Behaviour, Fault
from tests.support.clock import settle
from tests.support.machine import Imagined, SlowDisk, play, played

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from refold_async.emulator import Run

pytestmark = pytest.mark.long

ACCOUNTS = ["acct_1", "acct_2"]
FAULTS = {
    "fine": Fault(),
    "slow": Fault(delay=3.0),
    "page": Fault(html=True),
    "page, ran": Fault(html=True, perform=True),
    "500": Fault(status=500),
    "500, ran": Fault(status=500, perform=True, delay=0.3),
    "reset": Fault(drop="before"),
    "reset, ran": Fault(drop="after", delay=0.02),
    "cut": Fault(truncate=True),
    "429": Fault(status=429),
    "429, later": Fault(status=429, headers={"Retry-After": "2"}),
    "503": Fault(status=503),
    "503 of a gateway": Fault(status=503, body={"message": "upstream error", "code": 503}),
    "400": Fault(status=400),
    "hidden": Fault(body={"docs": [], "hasNextPage": False}),
}
ANSWERS = sorted(set(FAULTS) - {"hidden"})
LISTS = sorted(set(FAULTS) - {"429, later", "page, ran", "500, ran", "reset, ran"})
ENDED = {BatchOutcome.SUCCEEDED, BatchOutcome.FAILED}
THEN = st.integers(0, 40) | st.sampled_from([0.05, 0.3, 1.0, 4.0, 20.0])
"""What comes before the next move: turns of the loop, or seconds."""


class LifeOfABatch(RuleBasedStateMachine):
    """One batch, run again and again with one journal, by processes that come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = mock.patch.multiple(aiosqlite.core, SimpleQueue=SlowDisk, Thread=mock.Mock)
        self.disk.start()
        self.world = Imagined()
        self.folder = Path(tempfile.mkdtemp())
        self.journal = self.folder / "0"
        self.batch: asyncio.Task[BatchReport] | None = None
        self.killed: list[Any] = []
        self.ends: dict[str, BatchItem] = {}
        self.cancelled = False
        logging.getLogger("refold_async").propagate = False

    @initialize(
        mode=st.sampled_from(["safe", "safe", "transient", "never"]),
        items=st.integers(1, 8),
        seconds=st.sampled_from([0.0, 2.0]),
        lag=st.sampled_from([0.0, 0.3, 5.0]),
        lead=st.sampled_from([0.0, 1.0]),
        shown=st.sampled_from([True, True, False]),
        skew=st.sampled_from([0.0, -90.0, 90.0]),
        settings=st.fixed_dictionaries(
            {
                "concurrency": st.sampled_from([None, 1, 3]),
                "wait": st.sampled_from([True, True, False]),
            }
        ),
    )
    def begin(
        self,
        mode: Any,
        items: int,
        seconds: float,
        lag: float,
        lead: float,
        shown: bool,
        skew: float,
        settings: dict[str, Any],
    ) -> None:
        """Choose the service, and the batch."""
        behaviour = Behaviour(
            echo_instance_tag_in_list=shown, list_lag=lag, list_lead=lead, clock_skew=skew
        )
        self.mode, self.items, self.seconds, self.settings = mode, items, seconds, settings
        self.lag = lag
        self.play(self.world.start(behaviour))
        self.connect()

    def connect(self) -> None:
        """Begin as a new process does."""
        self.refold = self.world.connect(
            retry=RetryPolicy(mode=self.mode, attempts=3, wait=0.2, max_wait=1.0, settle=0.4),
            polling=PollPolicy(first=0.5, max_interval=2, page_size=3, failure_budget=8),
            rate_limit=RateLimit(per_second=10, burst=3),
        )

    def play(self, move: Coroutine[Any, Any, Any], then: float = 0) -> Any:
        """Make a move, and let turns of the loop or seconds pass."""
        return play(self.world, move, then)

    async def requests(self) -> AsyncIterator[ExecutionRequest]:
        """Give the input: some items have a key, some another account."""
        for number in range(self.items):
            yield ExecutionRequest(
                "wf_1",
                slug="s",
                payload={"number": number, "seconds": self.seconds},
                linked_account_id=ACCOUNTS[number % 2],
                key=f"k{number}" if number % 3 else None,
            )
            await settle(number % 3)

    # -- moves -------------------------------------------------------------------------------

    @precondition(lambda self: self.batch is None)
    @rule(output=st.booleans(), then=THEN)
    def run(self, output: bool, then: float) -> None:
        """Run the batch, from wherever its journal says; outputs are wanted, or not this time."""
        self.stop = asyncio.Event()
        self.batch = self.world.loop.create_task(
            self.refold.run_batch(
                self.requests(),
                journal=self.journal,
                stop=self.stop,
                output=output,
                **self.settings,
            )
        )
        self.play(settle(0), then)

    @rule(
        operation=st.sampled_from(["execute", "execute", "get_execution", "get_response"]),
        faults=st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=4),
        then=THEN,
    )
    def trouble_answers(self, operation: str, faults: list[str], then: float) -> None:
        """Let starts or looks meet what may happen to them."""
        self.world.emulator.faults.script(operation, *map(FAULTS.get, faults))
        self.play(settle(0), then)

    @rule(faults=st.lists(st.sampled_from(LISTS), min_size=1, max_size=3))
    def trouble_lists(self, faults: list[str]) -> None:
        """Let the list fail."""
        kinds = [fault for fault in faults if fault != "hidden"]
        self.world.emulator.faults.script("list_executions", *map(FAULTS.get, kinds))

    @rule(seconds=st.sampled_from([-3600.0, -6.0, 6.0, 3600.0]))
    def set_the_clock(self, seconds: float) -> None:
        """Set the client's wall clock, which proves nothing."""
        self.world.set_clock(seconds)

    @precondition(lambda self: self.batch is not None)
    @rule(then=THEN)
    def ask_to_stop(self, then: float) -> None:
        """Have nothing more sent."""
        self.stop.set()
        self.play(settle(0), then)

    @precondition(lambda self: self.batch is not None)
    @rule(then=THEN)
    def cancel(self, then: float) -> None:
        """Cancel the batch, wherever it is."""
        assert self.batch is not None
        self.cancelled = self.batch.cancel() or self.cancelled
        self.play(settle(0), then)

    @rule(then=THEN)
    def close(self, then: float) -> None:
        """Close the client in the middle of it; the next one is another process's."""
        self.play(self.refold.aclose())
        if self.batch is not None:
            self.play(asyncio.wait([self.batch]), then)
            self.nothing_is_amiss()
        self.connect()

    @rule(then=THEN)
    def kill(self, then: float) -> None:
        """Kill the process: what has left arrives, nothing more leaves, the disk is as it is."""
        alive = self.journal
        self.journal = self.folder / str(len(self.killed) + 1)
        self.play(self.dying(alive))
        self.connect()
        self.batch = None
        self.play(settle(0), then)

    async def dying(self, alive: Path) -> None:
        """Copy what is on disk, then let the old process end without any effect."""
        for file in self.folder.glob(f"{alive.name}*"):
            shutil.copy(file, self.folder / file.name.replace(alive.name, self.journal.name, 1))
        self.refold._transport.wire.dead = True  # type: ignore[attr-defined]
        self.killed.append(self.refold)
        if self.batch is not None:
            self.batch.cancel()
            await asyncio.wait([self.batch])
        await self.refold.aclose()

    @rule(seconds=st.sampled_from([0.3, 1.0, 5.0, 60.0]))
    def let_time_pass(self, seconds: float) -> None:
        """Let things happen."""
        self.play(self.world.rest(seconds))

    # -- what holds --------------------------------------------------------------------------

    def runs_of(self, number: int) -> list[Run]:
        """Give the runs of an item, by the service's own count."""
        return [run for run in self.world.emulator.runs if run.payload["number"] == number]

    @invariant()
    def nothing_is_amiss(self) -> None:
        """No item runs twice in silence, and what a batch reports is true."""
        for number in range(self.items) if hasattr(self, "items") else ():
            runs = self.runs_of(number)
            assert len(runs) <= 1 or self.mode == "transient", f"{number} ran twice: {runs}"
            assert len({run.instance_tag for run in runs}) <= 1
        assert self.world.complaints == []
        if self.batch is None or not self.batch.done():
            return
        batch, self.batch = self.batch, None
        if batch.cancelled():
            assert self.cancelled, "nobody cancelled this batch"
            return
        self.judge(batch.result())

    def judge(self, report: BatchReport) -> None:
        """Each item of the input that was read has one outcome, and it is true."""
        assert report.journal_error is None
        numbers = [item.index for item in report.all_items]
        assert numbers == [*range(len(numbers))]
        assert len(numbers) == self.items or report.stopped is not None or report.input_error
        for item in report.all_items:
            self.judge_item(item)

    def judge_item(self, item: BatchItem) -> None:
        """What is said of an item is so, and stays so."""
        runs = self.runs_of(item.index)
        ids = {run.execution_id for run in runs}
        assert item.execution_id is None or item.execution_id in ids
        if item.outcome in {BatchOutcome.REJECTED, BatchOutcome.UNSENT}:
            assert not runs, f"{item} ran, although {item.error!r}"
        if item.outcome in ENDED:
            assert item.handle is not None
            assert len(runs) == 1 or item.handle.possible_duplicate, f"in silence: {item}"
            if item.result is not None:
                status = {r.execution_id: r.status(self.world.emulator._now()) for r in runs}
                assert status[item.execution_id or ""] == item.result.status
        before = self.ends.get(item.key)
        if before is not None and before.outcome in ENDED:
            assert (before.outcome, before.execution_id) == (item.outcome, item.execution_id)
        if item.outcome in ENDED:
            self.ends[item.key] = item

    def teardown(self) -> None:
        """Run the batch to its end, and look for what is left behind."""
        failed = sys.exc_info()[0] is not None
        try:
            if hasattr(self, "refold"):
                self.end(failed=failed)
        finally:
            self.world.loop.run_until_complete(self.world.loop.shutdown_asyncgens())
            self.world.loop.close()
            shutil.rmtree(self.folder)
            self.disk.stop()
            logging.getLogger("refold_async").propagate = True
        gc.collect()
        assert failed or self.world.complaints == []

    def end(self, *, failed: bool) -> None:
        """Let the batch end undisturbed: every run there is is some item's own."""
        if not failed:
            self.play(self.finishing())
        self.play(self.refold.aclose())
        self.play(self.world.end())
        tasks = asyncio.all_tasks(self.world.loop)
        for task in tasks:
            task.cancel()
        self.world.loop.run_until_complete(settle())
        assert failed or not tasks, f"left behind: {tasks}"

    async def finishing(self) -> None:
        """Run it once more, if it was not over, without any trouble."""
        if self.batch is not None:
            self.stop.set()
            async with asyncio.timeout(600):
                await asyncio.wait([self.batch])
            self.nothing_is_amiss()
        self.world.emulator.faults.clear()
        await asyncio.sleep(self.lag + 20)
        async with asyncio.timeout(600):
            report = await self.refold.run_batch(
                self.requests(), journal=self.journal, **self.settings
            )
        self.judge(report)
        assert len(report.all_items) == self.items
        for item in report.all_items:
            runs = self.runs_of(item.index)
            known = item.outcome in ENDED | {BatchOutcome.UNKNOWN}
            assert known or not runs, f"lost: {item}"
        budget = self.refold.stats.budget
        assert (budget.in_flight, sum(budget.waiting.values())) == (0, 0), "a slot leaked"


def test_no_item_is_lost_or_doubled_in_any_life_of_a_batch() -> None:
    """Stopped, cancelled, closed, killed and run again, by whatever clock."""
    played(LifeOfABatch, share=0.5, moves=20)
