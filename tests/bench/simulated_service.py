"""The tracker of the package over a simulated service, which answers looks and lists."""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import attrs

from refold_async import Execution, ExecutionStatus, Page, PollPolicy, RateLimit, ServerError
from refold_async._pacing import Budget, Priority
from refold_async._protocol import Output
from refold_async._stats import Counters
from refold_async._waiting.tracker import Tracker
from tests.bench.virtual_time import EPOCH, LoopClock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.bench.simulate_waiting import World

ROUND_TRIP = 0.1


@attrs.frozen
class Kind:
    """Whose run it is, of which workflow, and whether we wait for it."""

    account: str = "acct_1"
    workflow: str = "wf_1"
    ours: bool = True


@attrs.frozen(kw_only=True)
class Setting:
    """What the runs of a world are, and how lists show them."""

    kind: Callable[[int], Kind] = lambda _: Kind()
    page_limit: int = 100
    lag: float = 0.0  # seconds for which lists lack a new run
    object_ids: bool = True  # else ids tell no time
    whole_seconds: bool = False  # lists tell no more of the time of creation
    lists_down: tuple[float, float] = (math.inf, math.inf)  # seconds in which they answer 503
    slow: Callable[[Kind], float] = lambda _: 0.0  # seconds a read takes longer
    broken: Callable[[Kind], bool] = lambda _: False  # whether reads answer 503
    limit: RateLimit | None = None  # the ceiling on requests


class SimulatedApi:
    """What the tracker asks, answered from a world; reads for outputs are not counted."""

    def __init__(self, world: World, setting: Setting) -> None:
        self.world = world
        self.setting = setting
        self._budget = Budget(setting.limit, 100, LoopClock())
        self._kind = cache(setting.kind)
        self.requests: list[float] = []  # when they were made, those for outputs included
        self.listed = 0
        self.transport = SimpleNamespace(
            check_usable=lambda: None, server_clock=SimpleNamespace(at=lambda local: local)
        )

    async def _trouble(self, kind: Kind) -> None:
        """Be slow, or fail, for some accounts."""
        self.requests.append(LoopClock().monotonic())
        if late := self.setting.slow(kind):
            await asyncio.sleep(late)
        if self.setting.broken(kind):
            await asyncio.sleep(ROUND_TRIP)
            raise ServerError("down", status=503)

    async def slot(self, priority: Priority, account: str) -> None:
        """Wait for a slot, and give it back at once: the ceiling is what counts."""
        await self._budget.acquire(priority, account=account)
        self._budget.release(account)

    async def _show(
        self, runs: Iterable[int], account: str, priority: Priority | None
    ) -> list[Execution]:
        await self.slot(priority or Priority.RESULT, account)
        await self.world.read()
        self.world.reads -= priority is not Priority.STATUS
        shown = [self._entry(run) for run in runs]
        await self.world.answer()
        return shown

    def _entry(self, run: int) -> Execution:
        ended, start = self.world.has_ended(run), self.world.starts[run]
        return Execution(
            execution_id=self.execution_id(run),
            status=ExecutionStatus.COMPLETED if ended else ExecutionStatus.RUNNING,
            workflow_id=self.setting.kind(run).workflow,
            created_at=_at(float(int(start)) if self.setting.whole_seconds else start),
            completed_at=_at(self.world.ends[run]) if ended else None,
            raw={"ended": ended},
        )

    def execution_id(self, run: int) -> str:
        """Give an id as the service makes it: its first digits are the second of its creation."""
        if not self.setting.object_ids:
            return f"run-{run:016x}"
        return f"{int(EPOCH + self.world.starts[run]):08x}{run:016x}"

    async def get_execution(self, execution_id: str, *, priority: Any, **_: Any) -> Execution:
        """Read a run."""
        run = _number(execution_id)
        await self._trouble(kind := self._kind(run))
        return (await self._show([run], kind.account, priority))[0]

    async def get_response(self, execution_id: str, *, priority: Any = None, **_: Any) -> Output:
        """Read a run's output."""
        run = _number(execution_id)
        await self._trouble(kind := self._kind(run))
        entry = (await self._show([run], kind.account, priority))[0]
        return Output(value=None, status=entry.status)

    async def list_executions(
        self, *, account: str, query: Mapping[str, Any], priority: Any, **_: Any
    ) -> Page[Execution]:
        """List an account's runs of a window, the oldest first."""
        self.listed += 1
        await self._trouble(Kind(account=account))
        now = LoopClock().monotonic()
        down_from, down_until = self.setting.lists_down
        if down_from <= now < down_until:
            await asyncio.sleep(ROUND_TRIP)
            raise ServerError("down", status=503)
        begin, end = (
            round(query[name].timestamp() - EPOCH, 3) for name in ("start_date", "end_date")
        )
        if self.setting.whole_seconds:
            begin, end = math.floor(begin), math.floor(end) + 0.999
        starts = self.world.starts
        listed = bisect_left(starts, now - self.setting.lag)
        window = range(bisect_left(starts, begin), min(bisect_right(starts, end), listed))
        limit = min(query["limit"], self.setting.page_limit)
        first = limit * (query["page"] - 1)
        theirs = (run for run in window if self._kind(run).account == account)
        found = list(islice(theirs, first, first + limit + 1))
        entries = await self._show(found[:limit], account, priority)
        return Page(items=tuple(entries), has_next=len(found) > limit)


def _number(execution_id: str) -> int:
    return int(execution_id[-16:], 16)


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(EPOCH + seconds, UTC)


class Waiting:
    """The tracker of a client, which waits for the runs of a world."""

    def __init__(self, world: World, setting: Setting, policy: PollPolicy | None = None) -> None:
        self.world = world
        self.setting = setting
        self.counters = Counters()
        self.api = SimulatedApi(world, setting)
        self.tracker = Tracker(
            cast("Any", self.api), policy or PollPolicy(), LoopClock(), self.counters, at_once=25
        )

    async def run(self, run: int, *, fresh: bool = True) -> None:
        """Wait for a run, if it is ours."""
        kind = self.setting.kind(run)
        if not kind.ours:
            return
        watch = self.tracker.watch(
            self.api.execution_id(run),
            kind.account,
            known_at=LoopClock().monotonic(),
            workflow=kind.workflow if fresh else None,
            fresh=fresh,
        )
        await self.tracker.wait(watch)
        assert watch.progress.last_look_at is not None
        self.world.known[run] = watch.progress.last_look_at


async def track(world: World, setting: Setting) -> Counters:
    """Wait with the tracker of a client for every run that is ours."""
    waiting = Waiting(world, setting)
    await world.each(lambda _, run: waiting.run(run))
    await waiting.tracker.aclose()
    return waiting.counters


async def our_tracker(world: World) -> None:
    """Wait for every run with the tracker of a client."""
    await track(world, Setting())
