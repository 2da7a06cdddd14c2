"""The tracker of the package over a simulated service, which answers looks and lists."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from refold_async import Execution, ExecutionStatus, Page, PollPolicy
from refold_async._pacing import Priority
from refold_async._protocol import Output
from refold_async._stats import Counters
from refold_async._tracker import Tracker
from tests.bench.virtual_time import EPOCH, LoopClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.bench.simulate_waiting import World

WORKFLOW = "wf_1"


class SimulatedApi:
    """What the tracker asks, answered from a world; reads for outputs are not counted."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.transport = SimpleNamespace(
            check_usable=lambda: None, server_clock=SimpleNamespace(at=lambda local: local)
        )

    async def _show(self, runs: range | list[int], priority: Priority | None) -> list[Execution]:
        await self.world.read()
        self.world.reads -= priority is not Priority.STATUS
        shown = [self._entry(run) for run in runs]
        await self.world.answer()
        return shown

    def _entry(self, run: int) -> Execution:
        ended = self.world.has_ended(run)
        return Execution(
            execution_id=execution_id(self.world, run),
            status=ExecutionStatus.COMPLETED if ended else ExecutionStatus.RUNNING,
            workflow_id=WORKFLOW,
            created_at=_at(self.world.starts[run]),
            completed_at=_at(self.world.ends[run]) if ended else None,
        )

    async def get_execution(self, execution_id: str, *, priority: Any, **_: Any) -> Execution:
        """Read a run."""
        return (await self._show([_number(execution_id)], priority))[0]

    async def get_response(self, execution_id: str, *, priority: Any = None, **_: Any) -> Output:
        """Read a run's output."""
        entry = (await self._show([_number(execution_id)], priority))[0]
        return Output(value=None, status=entry.status)

    async def list_executions(
        self, *, query: Mapping[str, Any], priority: Any, **_: Any
    ) -> Page[Execution]:
        """List runs of a window, the oldest first."""
        dates = (query["start_date"], query["end_date"])
        begin, end = (round(date.timestamp() - EPOCH, 3) for date in dates)
        first = bisect_left(self.world.starts, begin)
        last = min(bisect_right(self.world.starts, end), self.world.started())
        page = range(first, min(first + query["limit"], last))
        entries = await self._show(page, priority)
        return Page(items=tuple(entries), has_next=page.stop < last)


def execution_id(world: World, run: int) -> str:
    """Give an id as the service makes it: its first digits are the second of its creation."""
    return f"{int(EPOCH + world.starts[run]):08x}{run:016x}"


def _number(execution_id: str) -> int:
    return int(execution_id[8:], 16)


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(EPOCH + seconds, UTC)


async def our_tracker(world: World) -> None:
    """Wait for every run with the tracker of a client."""
    policy, clock, counters = PollPolicy(), LoopClock(), Counters()
    tracker = Tracker(cast("Any", SimulatedApi(world)), policy, clock, counters, at_once=25)

    async def wait(world: World, run: int) -> None:
        watch = tracker.watch(
            execution_id(world, run),
            "acct_1",
            first_look=clock.monotonic() + policy.first,
            workflow=WORKFLOW,
            fresh=True,
        )
        await tracker.wait(watch)
        assert watch.progress.last_look_at is not None
        world.known[run] = watch.progress.last_look_at

    await world.each(wait)
    await tracker.aclose()
