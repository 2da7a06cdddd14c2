"""Any sequence of moves: nobody waits in vain, nothing is started twice, lost or left behind.

Over loopback and over an imagined network; `--hypothesis-profile=explore` plays longer, at random.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import warnings
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
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
    ClientClosedError,
    Execution,
    ExecutionError,
    ExecutionHandle,
    ExecutionOutcomeUnknownError,
    ExecutionResult,
    PollPolicy,
    RateLimit,
    RefoldError,
    RetryPolicy,
    WaitTimeoutError,
)
from refold_async.emulator import Behaviour, Fault
from refold_async.webhooks import WorkflowEvent
from tests.support.clock import settle
from tests.support.machine import Imagined, Loopback, play, played

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from refold_async.emulator import Run

pytestmark = pytest.mark.long

POLLING = PollPolicy(first=0.5, max_interval=2, page_size=3, not_found_grace=3, failure_budget=8)
PACE: dict[str, Any] = {"attempts": 3, "wait": 0.2, "max_wait": 1.0, "settle": 0.2}
FAULTS = {
    "fine": Fault(),
    "slow": Fault(delay=0.02),
    "page": Fault(html=True),
    "page, ran": Fault(html=True, perform=True),
    "500": Fault(status=500),
    "500, ran, slow": Fault(status=500, perform=True, delay=0.02),
    "reset": Fault(drop="before"),
    "reset, ran": Fault(drop="after", delay=0.02),
    "cut": Fault(truncate=True),
    "garbage": Fault(body="garbage"),
    "429, slow": Fault(status=429, delay=0.02),
    "429, later": Fault(status=429, headers={"Retry-After": "2"}),
    "429, a day": Fault(status=429, headers={"Retry-After": "86400"}),
    "429, absurd": Fault(status=429, headers={"Retry-After": "9" * 40}),
    "503": Fault(status=503),
    "503, a minute": Fault(status=503, headers={"Retry-After": "60"}),
    "503 of a gateway": Fault(status=503, body={"message": "upstream error", "code": 503}),
    "503 of a gateway, ran": Fault(
        status=503, body={"error": "timed out"}, perform=True, headers={"Retry-After": "1"}
    ),
    "400": Fault(status=400),
    "401": Fault(status=401),
    "404": Fault(status=404),
    "hidden": Fault(body={"docs": [], "hasNextPage": False}),
}
LOST = ["slow", "page", "500", "reset", "reset, ran", "cut", "garbage", "429, slow"]
LOST += ["503", "503 of a gateway"]
GATES = ["429, later", "429, a day", "429, absurd", "503, a minute"]
STARTS = [*LOST, *GATES, "fine", "page, ran", "500, ran, slow", "503 of a gateway, ran", "400"]
LISTS = [*LOST, "hidden"]
READS = [*LOST, "404"]
ENDINGS = [None, "COMPLETED", "ERRORED", "STOPPED", "TIMED_OUT", "TERMINATED"]
PATIENCE = 3
"""Looks that may fail one after another before any wait is given up."""
KINDS = ["result", "wait", "status", "timed", "timed status", "shield", "wait_for", "gather"]
THEN = st.integers(0, 8) | st.sampled_from([0.01, 0.05, 0.3, 2.0])
"""What comes before the next move: turns of the loop, or seconds."""
ANY = st.integers(0, 1_000)


@attrs.define(eq=False, kw_only=True)
class Going:
    """A task of the game: a call that starts run `number`, or a wait for `runs`."""

    task: asyncio.Task[Any]
    kind: str
    runs: tuple[str | None, ...] = ()
    number: int = 0
    whole: bool = False  # it waits for the end of its run too
    cancelled: bool = False
    judged: bool = False


@attrs.define(eq=False)
class Reader:
    """An iterator of snapshots, where it stands, and the task that moves it on."""

    run: str | None
    snapshots: AsyncGenerator[Execution, None]
    going: Going | None = None
    last: Execution | None = None


class LifeOfRuns(RuleBasedStateMachine):
    """Moves of a caller, of the service and of time, in any order."""

    world_class: ClassVar[type[Loopback | Imagined]]

    def __init__(self) -> None:
        super().__init__()
        self.world = self.world_class()
        self.starts: list[Going] = []
        self.orphans: list[ExecutionHandle[Any]] = []
        self.known: set[ExecutionHandle[Any]] = set()
        self.hard = self.troubles = 0
        self.log: list[str] = []
        self.listener = logging.Handler()
        self.listener.emit = lambda record: self.log.append(record.getMessage())  # type: ignore[method-assign]
        logger = logging.getLogger("refold_async")
        logger.addHandler(self.listener)
        logger.propagate = False

    @initialize(
        shown=st.booleans(),
        lag=st.sampled_from([0.0, 0.3, 5.0]),
        lead=st.sampled_from([0.0, 0.3, 5.0]),
        rate=st.sampled_from([None, RateLimit(per_second=10, burst=3)]),
        connections=st.sampled_from([4, 100]),
    )
    def begin(
        self, shown: bool, lag: float, lead: float, rate: RateLimit | None, connections: int
    ) -> None:
        """Choose the service and the client's settings."""
        behaviour = Behaviour(
            echo_instance_tag_in_list=shown, list_lag=lag, list_lead=lead, stop_takes=1.0
        )
        self.options = {"rate_limit": rate, "max_connections": connections, "polling": POLLING}
        self.play(self.world.start(behaviour))
        self.connect()

    def connect(self) -> None:
        """Begin with a new client; the runs there were go on."""
        self.refold = self.world.connect(**self.options)
        self.waits: list[Going] = []
        self.readers: list[Reader] = []
        self.handles: list[ExecutionHandle[Any]] = []
        self.results: dict[tuple[str | None, bool], ExecutionResult[Any]] = {}
        self.closed = False

    def play(self, move: Coroutine[Any, Any, Any], then: float = 0) -> Any:
        """Make a move, and let turns of the loop or seconds pass."""
        return play(self.world, move, then)

    def go(self, move: Coroutine[Any, Any, Any], kind: str, **about: Any) -> Going:
        """Make a move in a task of its own."""
        return Going(task=self.world.loop.create_task(move), kind=kind, **about)

    # -- moves -------------------------------------------------------------------------------

    @rule(
        mode=st.sampled_from(["safe", "transient", "never"]),
        faults=st.lists(st.sampled_from(STARTS), max_size=3),
        seconds=st.sampled_from([None, 0.0, 3.0]),
        whole=st.booleans(),
        timeout=st.sampled_from([None, None, 0.02, 0.3, 2.0]),
        patience=st.sampled_from([0.0, 3.0, 120.0]),
        then=THEN,
    )
    def submit(
        self,
        mode: Any,
        faults: list[str],
        seconds: Any,
        whole: bool,
        timeout: float | None,
        patience: float,
        then: float,
    ) -> None:
        """Start a run, and maybe wait for it in the same breath, whatever its answers meet."""
        self.world.emulator.faults.script("execute", *map(FAULTS.get, faults))
        number = len(self.starts)
        payload = {"number": number, "seconds": seconds}
        view = self.refold.with_options(retry=RetryPolicy(mode=mode, patience=patience, **PACE))
        start: Any = view.run if whole else view.execute
        call = start("wf_1", slug="s", payload=payload, timeout=timeout)
        self.starts.append(self.go(call, mode, number=number, whole=whole))
        self.play(settle(0), then)

    @precondition(lambda self: not all(start.task.done() for start in self.starts))
    @rule(which=ANY, then=THEN)
    def cancel_a_start(self, which: int, then: float) -> None:
        """Leave a call, wherever it is."""
        self.cancel(self.starts, which, then)

    def cancel(self, among: list[Going], which: int, then: float) -> None:
        """Cancel a task that still goes on."""
        if pending := [going for going in among if not going.task.done()]:
            going = pending[which % len(pending)]
            going.cancelled = going.task.cancel() or going.cancelled
            self.play(settle(0), then)

    @precondition(lambda self: self.handles)
    @rule(which=ANY, other=ANY, kind=st.sampled_from(KINDS), then=THEN)
    def wait(self, which: int, other: int, kind: str, then: float) -> None:
        """Wait for a run, one way or another."""
        one = self.handles[which % len(self.handles)]
        two = self.handles[other % len(self.handles)]
        runs = (one.execution_id, two.execution_id) if kind == "gather" else (one.execution_id,)
        self.waits.append(self.go(self.awaited(one, two, kind), kind, runs=runs))
        self.play(settle(0), then)

    async def awaited(
        self, one: ExecutionHandle[Any], two: ExecutionHandle[Any], kind: str
    ) -> list[ExecutionResult[Any]]:
        """Give the results of a wait."""
        if kind == "gather":
            return list(await asyncio.gather(one, two.wait()))
        if kind == "shield":
            inner = self.go(self.awaited(one, two, "result"), "result", runs=(one.execution_id,))
            self.waits.append(inner)
            try:
                return await asyncio.shield(inner.task)
            except asyncio.CancelledError:
                if inner.task.cancelled() and inner.cancelled:
                    return []
                raise
        if kind == "wait_for":
            return [await asyncio.wait_for(one, 0.01)]
        if kind in {"timed", "timed status"}:
            return [await one.wait(timeout=1, output=kind == "timed")]
        if kind in {"wait", "status"}:
            return [await one.wait(output=kind == "wait")]
        return [await one]

    @precondition(lambda self: not all(wait.task.done() for wait in self.waits))
    @rule(which=ANY, then=THEN)
    def cancel_a_wait(self, which: int, then: float) -> None:
        """Stop waiting; nobody else does."""
        self.cancel(self.waits, which, then)

    @precondition(lambda self: self.world.emulator.runs)
    @rule(which=ANY)
    def reattach(self, which: int) -> None:
        """Take another handle of a run."""
        self.handles.append(self.refold.handle(self.run_at(which).execution_id))

    def run_at(self, which: int) -> Run:
        """Choose a run."""
        runs = self.world.emulator.runs
        return runs[which % len(runs)]

    @precondition(lambda self: self.handles)
    @rule(which=ANY, interval=st.sampled_from([None, 0.3]))
    def open_snapshots(self, which: int, interval: float | None) -> None:
        """Begin to iterate over a run."""
        handle = self.handles[which % len(self.handles)]
        snapshots = handle.snapshots(interval=interval)
        self.readers.append(Reader(handle.execution_id, snapshots))

    @precondition(lambda self: self.readers)
    @rule(which=ANY, then=THEN)
    def read_a_snapshot(self, which: int, then: float) -> None:
        """Ask an iterator for the next snapshot."""
        if idle := [r for r in self.readers if r.going is None or r.going.task.done()]:
            reader = idle[which % len(idle)]

            async def following() -> Any:
                return await anext(reader.snapshots, None)

            reader.going = self.go(following(), "snapshot", runs=(reader.run,))
            self.waits.append(reader.going)
            self.play(settle(0), then)

    @precondition(lambda self: self.readers)
    @rule(which=ANY, politely=st.booleans(), then=THEN)
    def leave_snapshots(self, which: int, politely: bool, then: float) -> None:
        """Close an iterator, or forget it."""
        reader = self.readers.pop(which % len(self.readers))
        if politely and (reader.going is None or reader.going.task.done()):
            self.play(reader.snapshots.aclose())
        del reader
        self.play(settle(0), then)

    @precondition(lambda self: self.world.emulator.runs)
    @rule(which=ANY, status=st.sampled_from(ENDINGS), then=THEN)
    def finish(self, which: int, status: str | None, then: float) -> None:
        """Let a run end."""
        self.world.emulator.finish(self.run_at(which).execution_id, status=status)
        self.play(settle(0), then)

    @precondition(lambda self: self.handles)
    @rule(which=ANY, then=THEN)
    def stop(self, which: int, then: float) -> None:
        """Ask the service to stop a run."""
        handle = self.handles[which % len(self.handles)]
        self.waits.append(self.go(handle.stop(), "call", runs=(handle.execution_id,)))
        self.play(settle(0), then)

    @rule()
    def ask_whether_tags_show(self) -> None:
        """Read the list, from which the client learns what absence proves."""
        self.waits.append(self.go(self.refold.check_reconcile("wf_1"), "call"))

    @rule(faults=st.lists(st.sampled_from(LISTS), min_size=1, max_size=3))
    def trouble_lists(self, faults: list[str]) -> None:
        """Let the list fail, or hide what is there."""
        self.world.emulator.faults.script("list_executions", *map(FAULTS.get, faults))

    @rule(
        operation=st.sampled_from(["get_execution", "get_response"]), fault=st.sampled_from(READS)
    )
    def trouble_a_read(self, operation: str, fault: str) -> None:
        """Let a look fail, which ends no wait."""
        self.troubles += 1
        self.world.emulator.faults.script(operation, FAULTS[fault])

    @rule(fault=st.sampled_from([*READS, "401"]))
    def trouble_all_reads(self, fault: str) -> None:
        """Let looks fail until further notice."""
        self.hard += 1
        self.world.emulator.faults.always("get_execution", FAULTS[fault])

    @rule()
    def calm(self) -> None:
        """Let nothing go wrong any more."""
        self.world.emulator.faults.clear()

    @rule(seconds=st.sampled_from([-3600.0, -6.0, 6.0, 3600.0]))
    def set_the_clock(self, seconds: float) -> None:
        """Set the client's wall clock, which proves nothing."""
        self.world.set_clock(seconds)

    @rule(fault=st.sampled_from(GATES))
    def refuse_a_look(self, fault: str) -> None:
        """Refuse a look, and all that would come soon after it."""
        self.hard += 1
        self.world.emulator.faults.script("get_execution", FAULTS[fault])

    @rule(seconds=st.sampled_from([1.0, 5.0, 30.0]))
    def let_time_pass(self, seconds: float) -> None:
        """Nobody looks at a run that nobody waits for."""
        self.play(self.world.rest(2.0))
        wanted = {run for wait in self.waits if not wait.task.done() for run in wait.runs}
        whole = [start for start in self.starts if start.whole and not start.task.done()]
        before = self.world.looks()
        self.play(self.world.rest(seconds))
        looked = {*(self.world.looks() - before)}
        wanted |= {run.execution_id for start in whole for run in self.runs_of(start.number)}
        assert looked <= wanted

    @rule()
    def drain_orphans(self) -> None:
        """Take over the runs whose callers left."""
        for handle in self.refold.orphans:
            self.orphans.append(handle)
            self.handles.append(handle)

    @rule(
        how=st.sampled_from(["once", "twice", "at once", "interrupted", "gracefully"]),
        turns=st.integers(0, 5),
    )
    def close(self, how: str, turns: int) -> None:
        """Close the client in the middle of it all, and go on with a new one."""
        self.play(self.closing(how, turns), 5)
        self.all_is_over()
        self.connect()

    async def closing(self, how: str, turns: int) -> None:
        """Close the client in one way or another."""
        self.closed = True
        if how == "interrupted":
            task = asyncio.create_task(self.refold.aclose())
            await settle(turns)
            task.cancel()
        elif how == "gracefully":
            task = asyncio.create_task(self.refold.aclose(grace=turns))
            await self.world.rest(turns + 0.1)
            assert task.done(), "grace has no end"
        elif how == "at once":
            await asyncio.gather(self.refold.aclose(), self.refold.aclose())
        elif how == "twice":
            await self.refold.aclose()
        await self.refold.aclose()

    # -- what holds --------------------------------------------------------------------------

    @invariant()
    def nothing_is_amiss(self) -> None:
        """Judge what has ended since the last move."""
        for start in self.starts:
            self.judge_start(start)
        for wait in self.waits if hasattr(self, "waits") else ():
            if wait.task.done() and not wait.judged:
                wait.judged = True
                self.judge_wait(wait)
        for reader in self.readers if hasattr(self, "readers") else ():
            self.judge_reader(reader)
        assert all(handle.done() for handle in self.known)
        self.known.update(handle for handle in self.handles if handle.done())
        assert self.world.complaints == []

    def runs_of(self, number: int) -> list[Run]:
        """Give the runs a call has started, by the service's own count."""
        return [run for run in self.world.emulator.runs if run.payload["number"] == number]

    def judge_start(self, start: Going) -> None:
        """A call starts one run and gives its handle, or says that it can't tell."""
        runs, task = self.runs_of(start.number), start.task
        ids = {run.execution_id for run in runs}
        assert len({run.instance_tag for run in runs}) <= 1
        assert len(runs) <= (1 if start.kind != "transient" else PACE["attempts"])
        if not task.done():
            return
        if task.cancelled():
            assert start.cancelled, "nobody cancelled this call"
            return
        error = task.exception()
        if error is None:
            told = task.result()
            assert told.execution_id in ids
            if start.whole:
                self.is_true(told)
            else:
                assert len(runs) == 1 or told.possible_duplicate
                if not start.judged:
                    self.handles.append(told)
        elif start.whole and isinstance(error, RefoldError) and error.execution_id is not None:
            assert error.execution_id in ids
            if isinstance(error, ExecutionError):
                self.is_true(error.result)
        elif isinstance(error, ExecutionOutcomeUnknownError):
            assert {run.instance_tag for run in runs} <= {error.instance_tag}
        else:
            assert isinstance(error, RefoldError)
            assert not runs, f"started, although {error!r}"
        start.judged = True

    def judge_wait(self, wait: Going) -> None:
        """A wait ends with what its run came to, or with the reason it could not wait for it."""
        if wait.task.cancelled():
            assert wait.cancelled, f"nobody cancelled this wait: {wait}"
            return
        error = wait.task.exception()
        if error is None:
            for result in wait.task.result() if wait.kind in KINDS else ():
                self.judge_result(result)
        elif isinstance(error, ExecutionError):
            assert error.result.status != "COMPLETED"
            self.judge_result(error.result)
        elif isinstance(error, WaitTimeoutError):
            assert wait.kind in {"timed", "timed status"}
        elif isinstance(error, TimeoutError):
            assert wait.kind == "wait_for"
        else:
            assert isinstance(error, RefoldError)
            if wait.kind == "call":
                return
            assert error.execution_id in wait.runs
            if isinstance(error, ClientClosedError):
                assert self.closed
            else:
                assert self.hard or self.troubles > PATIENCE, f"gave up too early: {error!r}"

    def judge_result(self, result: ExecutionResult[Any]) -> None:
        """A result is true, and the same for all who wait for the run."""
        self.is_true(result)
        told = (result.execution_id, result.output_is_read)
        assert self.results.setdefault(told, result) is result

    def is_true(self, result: ExecutionResult[Any]) -> None:
        """A result is what the run came to."""
        runs = [r for r in self.world.emulator.runs if r.execution_id == result.execution_id]
        assert len(runs) == 1, f"whose end is this? {result}"
        run = runs[0]
        assert run.status(self.world.now()) == result.status
        if result.output_is_read:
            assert result.output == (run.payload if result.status == "COMPLETED" else None)

    def judge_reader(self, reader: Reader) -> None:
        """Snapshots come once per change, and end with the terminal one."""
        going, reader.going = reader.going, None
        if going is None or not going.task.done():
            reader.going = going
        elif not going.task.cancelled() and going.task.exception() is None:
            seen = going.task.result()
            over = reader.last is not None and reader.last.status.is_terminal
            assert over or seen is None or reader.last is None or seen.raw != reader.last.raw
            assert not over or seen is None
            reader.last = seen or reader.last

    def account_for_all(self) -> None:
        """Each run of a call that was left is an orphan, or somebody was warned of it."""
        kept = {handle.execution_id: handle for handle in self.orphans}
        assert len(kept) == len(self.orphans), "orphaned twice"
        lost = [line for line in self.log if "nobody knows whether a run started" in line]
        for start in self.starts:
            runs = self.runs_of(start.number)
            mine = [kept[run.execution_id] for run in runs if run.execution_id in kept]
            assert not mine or has_left(start.task), "an orphan whose caller has a handle"
            flagged = any(handle.possible_duplicate for handle in mine)
            for run in runs if start.task.cancelled() and not flagged else ():
                told = run.execution_id in kept or any(str(run.instance_tag) in s for s in lost)
                assert told, f"nobody was told of {run.execution_id}"

    def all_is_over(self) -> None:
        """After closing nobody waits, nothing goes on, and what was known is still known."""
        assert all(wait.task.done() for wait in self.waits), "waiting in vain"
        tasks = asyncio.all_tasks(self.world.loop) - {start.task for start in self.starts}
        assert not [task for task in tasks if "refold_async/_" in repr(task)]
        self.play(self.world.rest(0.0))
        assert all(start.task.done() for start in self.starts), "starting in vain"
        self.nothing_is_amiss()
        self.drain_orphans()
        self.account_for_all()
        uses: list[Any] = [handle.wait(output=False) for handle in self.handles]
        uses += [self.refold.execute("wf_1", slug="s"), self.refold.find("a", workflow_id="wf_1")]
        for use, outcome in zip([*self.handles, None, None], self.play(ended(uses)), strict=True):
            if use is not None and use.done():
                self.judge_result(outcome)
            else:
                assert isinstance(outcome, ClientClosedError)

    async def run_out(self) -> None:
        """Let all runs end, and everybody who waits hear of it."""
        self.world.emulator.faults.clear()
        for _ in range(400):  # a gate may be shut for two minutes, twice over
            for run in self.world.emulator.runs:
                self.world.emulator.finish(run.execution_id)
            await self.world.rest(1.0)
            if all(going.task.done() for going in (*self.starts, *self.waits)):
                break
        await self.world.rest(10.0)

    def teardown(self) -> None:
        """Play the game to its end, and look for what is left behind."""
        loop, failed = self.world.loop, sys.exc_info()[0] is not None
        try:
            if hasattr(self, "refold"):
                self.end(failed=failed)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
            logging.getLogger("refold_async").removeHandler(self.listener)
            logging.getLogger("refold_async").propagate = True
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            self.waits, self.starts, self.readers = [], [], []
            gc.collect()
        assert failed or (warned, self.world.complaints) == ([], []), (
            warned,
            self.world.complaints,
        )

    def end(self, *, failed: bool) -> None:
        """Wait for everything, close the client, and stop the service."""
        if not failed:
            self.play(self.run_out())
            assert all(going.task.done() for going in (*self.starts, *self.waits))
            self.nothing_is_amiss()
            self.drain_orphans()
            self.account_for_all()
        self.play(self.closing("once", 0), 5)
        if not failed:
            self.all_is_over()
        self.readers.clear()
        self.play(self.world.end())
        tasks = asyncio.all_tasks(self.world.loop)
        for task in tasks:
            task.cancel()
        self.world.loop.run_until_complete(settle())
        assert failed or not tasks, f"left behind: {tasks}"


def has_left(start: asyncio.Task[Any]) -> bool:
    """Whether a caller went before there was an answer, cancelled or out of time."""
    return start.cancelled() or isinstance(start.exception(), ExecutionOutcomeUnknownError)


async def ended(calls: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Say how each of the calls ended."""
    return await asyncio.gather(*calls, return_exceptions=True)


class OverLoopback(LifeOfRuns):
    """Over real HTTP."""

    world_class = Loopback


class OverImaginedNetwork(LifeOfRuns):
    """Over a network and by a time of the test's own."""

    world_class = Imagined


class ToldByWebhooks(OverImaginedNetwork):
    """With webhooks that tell of ends, whether they have come or not."""

    @precondition(lambda self: self.world.emulator.runs)
    @rule(which=ANY, account=st.sampled_from(["acct_1", "other", None]), then=THEN)
    def be_told(self, which: int, account: str | None, then: float) -> None:
        """Be told that a run has ended, truly or not, once or again, by a webhook."""
        event = WorkflowEvent(
            execution_id=self.run_at(which).execution_id, linked_account_id=account
        )

        async def telling() -> bool:
            return self.refold.notify(event)

        if self.play(telling()):
            assert account != "other"
        self.play(settle(0), then)


def test_all_promises_hold_over_real_http() -> None:
    """Whatever is done, in whatever order, over a socket."""
    played(OverLoopback, share=1, moves=30)


def test_all_promises_hold_in_many_lives() -> None:
    """The same, often and fast."""
    played(OverImaginedNetwork, share=1.5, moves=40)


def test_all_promises_hold_where_webhooks_tell_anything() -> None:
    """True, false, once, again, of another account: no wait ends otherwise, and nobody in vain."""
    played(ToldByWebhooks, share=1, moves=40)
