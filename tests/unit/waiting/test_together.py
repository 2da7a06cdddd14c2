"""The tracker with many runs at once, in simulated time: when lists are asked, and when not."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest

from refold_async import PollPolicy, RateLimitError, ServerError
from refold_async._stats import Counters
from refold_async._waiting.pool import Account, Lists, Page
from refold_async._waiting.schedule import Schedule
from refold_async._waiting.tracker import Tracker
from tests.bench.simulate_waiting import World
from tests.bench.simulated_service import Setting, SimulatedApi
from tests.bench.virtual_time import LoopClock, simulate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Container, Mapping

    from refold_async import Execution
    from refold_async import Page as Reply
    from refold_async._waiting.watch import Watch
    from tests.support.clock import FakeClock

POLICY = PollPolicy()


class Troubled(SimulatedApi):
    """A service whose lists can be made to fail."""

    trouble: Exception | None = None
    lists = 0
    hanging: Container[str] = ()

    async def get_execution(self, execution_id: str, *, priority: Any, **_: Any) -> Execution:
        """Read, or never answer."""
        if execution_id in self.hanging:
            await asyncio.Event().wait()
        return await super().get_execution(execution_id, priority=priority)

    async def list_executions(
        self, *, account: str, query: Mapping[str, Any], priority: Any, **_: Any
    ) -> Reply[Execution]:
        """List, or fail."""
        self.lists += 1
        if self.trouble is not None:
            raise self.trouble
        return await super().list_executions(account=account, query=query, priority=priority)


@attrs.define(eq=False)
class Stage:
    """A tracker over a service where runs take the seconds given, started 10 ms apart."""

    api: Troubled
    tracker: Tracker
    counters: Counters

    @classmethod
    @asynccontextmanager
    async def of(cls, *seconds: float) -> AsyncIterator[Stage]:
        """Open it when all runs have started; close it, and see that nothing is left."""
        world, counters = World(0, len(seconds), 0), Counters()
        world.starts = [round(number / 100, 3) for number in range(len(seconds))]
        world.ends = [start + took for start, took in zip(world.starts, seconds, strict=True)]
        api = Troubled(world, Setting())
        tracker = Tracker(cast("Any", api), POLICY, LoopClock(), counters, at_once=25)
        await asyncio.sleep(len(seconds) / 100)
        yield cls(api, tracker, counters)
        await tracker.aclose()

    def watch(self, run: int, *, fresh: bool = True, account: str = "acct_1") -> Watch:
        """Give the watch of a run."""
        return self.tracker.watch(
            self.api.execution_id(run),
            account,
            known_at=LoopClock().monotonic(),
            workflow="wf_1",
            fresh=fresh,
        )

    def wait(self, *runs: int, fresh: bool = True) -> list[asyncio.Task[Any]]:
        """Wait for runs, each with a task of its own."""
        return [
            asyncio.create_task(self.tracker.wait(self.watch(run, fresh=fresh))) for run in runs
        ]


async def leave(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel waits."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_list_of_runs_nobody_waits_for_any_more_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """All waits end in the turn in which it is begun, as at the end of a batch: no fault of it."""

    async def main() -> None:
        async with Stage.of(*[1e4] * 20) as stage:
            waits = stage.wait(*range(20))
            await asyncio.sleep(60)
            lists, schedule = stage.api.lists, stage.tracker._schedule
            begin = schedule._start_look

            def leave_and_begin(page: Page) -> None:
                for wait in waits:
                    wait.cancel()
                begin(page)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(schedule, "_start_look", leave_and_begin)
                await asyncio.gather(*waits, return_exceptions=True)
            await asyncio.sleep(1)
            assert lists > 0
            assert stage.api.lists == lists
            assert stage.tracker.stats().lists_of_no_use == 0

    simulate(main())
    assert not caplog.records


def test_no_list_is_read_for_runs_nobody_waits_for() -> None:
    """A page splits them; the newer ones end, then whoever waits for the older ones leaves."""

    async def main() -> None:
        async with Stage.of(*[1e4] * 100, *[3.0] * 50) as stage:
            waits = stage.wait(*range(150))
            await asyncio.gather(*waits[100:])
            await leave(waits)
            await asyncio.sleep(1)
            reads = stage.api.world.reads
            await asyncio.sleep(300)
            assert stage.api.world.reads == reads
            assert stage.tracker._accounts == {}

    simulate(main())


def test_waits_left_while_their_list_is_under_way_leave_nothing() -> None:
    """What the page then tells is about nobody; to wait again works as ever."""

    async def main() -> None:
        async with Stage.of(*[5.0] * 10) as stage:
            waits = stage.wait(*range(10))
            await asyncio.sleep(POLICY.first + 0.05)  # an answer takes 0.1 s
            assert stage.api.lists == 1
            await leave(waits)
            await asyncio.sleep(30)
            assert (stage.api.lists, stage.tracker._accounts) == (1, {})
            await asyncio.gather(*stage.wait(*range(10)))
            assert stage.counters.settled == 10

    simulate(main())


def test_a_reader_of_snapshots_gets_documents_at_once() -> None:
    """Lists go on for the others, and put its looks off no further."""

    async def main() -> None:
        async with Stage.of(*[60.0] * 100, *[3.0] * 50) as stage:
            waits = stage.wait(*range(150))
            await asyncio.gather(*waits[100:])
            async with asyncio.timeout(5):
                _, snapshot = await stage.tracker.next_change(stage.watch(50), 0, 2.0)
            assert snapshot.status == "RUNNING"
            assert stage.watch(50).progress.document is snapshot
            await leave(waits)

    simulate(main())


def test_a_reattached_run_is_looked_at_at_once_among_others_too() -> None:
    """Its neighbours are not expected to end for long; it may have ended long ago."""

    async def main() -> None:
        async with Stage.of(*[30.0] * 40, *[0.1] * 3) as stage:
            await asyncio.gather(*stage.wait(*range(20)))
            began = LoopClock().monotonic()
            others = [stage.watch(run) for run in range(20, 40)]
            for watch in others:
                watch.born = watch.going_at = began  # as if they were new
            waits = [asyncio.create_task(stage.tracker.wait(watch)) for watch in others]
            await asyncio.sleep(0)
            await asyncio.gather(*stage.wait(40, 41, 42, fresh=False))
            assert LoopClock().monotonic() - began < 1
            await leave(waits)

    simulate(main())


def test_waiting_again_and_again_brings_no_look_forward() -> None:
    """A loop with a short timeout costs less than two long waits."""

    async def main(pauses: int) -> int:
        async with Stage.of(*[1e4] * 10) as stage:
            for _ in range(pauses):
                waits = stage.wait(*range(10))
                await asyncio.sleep(60 / pauses)
                await leave(waits)
            return stage.api.lists

    once, often = simulate(main(1)), simulate(main(200))
    assert 5 <= once < 25
    assert often <= 2 * once


def test_a_run_that_joins_does_not_break_retry_after() -> None:
    """The list was refused for a minute, whoever else comes to wait."""

    async def main() -> None:
        async with Stage.of(*[1e4] * 10) as stage:
            stage.api.trouble = RateLimitError("slow down", status=429, retry_after=60)
            waits = stage.wait(*range(5))
            await asyncio.sleep(2)
            assert stage.api.lists == 1
            waits += stage.wait(*range(5, 10)) + stage.wait(0, fresh=False)
            await asyncio.sleep(57)
            assert stage.api.lists == 1
            stage.api.trouble = None
            await asyncio.sleep(5)
            assert stage.api.lists == 2
            await leave(waits)

    simulate(main())


def test_lists_that_fail_are_left_alone_for_longer_each_time() -> None:
    """Meanwhile runs are read singly; when lists work again, all runs are listed again."""

    async def main() -> None:
        async with Stage.of(*[200.0] * 10) as stage:
            stage.api.trouble = ServerError("down", status=500)
            waits = stage.wait(*range(6))
            await asyncio.sleep(60)
            assert stage.api.lists == 6, "after 1, 2, 4, 8, 16 s"
            assert stage.tracker.stats().lists_of_no_use == 1
            assert stage.tracker.stats().read_singly == 6
            assert stage.api.world.reads > 10
            stage.api.trouble = None
            waits += stage.wait(*range(6, 10))
            await asyncio.sleep(60)
            assert stage.api.lists > 6
            assert stage.tracker.stats().read_singly == 0
            await asyncio.gather(*waits)
            assert stage.counters.settled == 10

    simulate(main())


def test_the_end_that_a_reader_of_snapshots_saw_is_not_wasted_and_teaches() -> None:
    """Also if nobody waits for the output."""

    async def main() -> None:
        async with Stage.of(*[0.0] * 5) as stage:
            for run in range(5):
                _, snapshot = await stage.tracker.next_change(stage.watch(run), 0, None)
                assert snapshot.status == "COMPLETED"
            assert (stage.counters.polls, stage.counters.wasted) == (5, 0)
            assert stage.tracker.planner.knows(stage.watch(0))

    simulate(main())


async def test_a_look_that_was_put_off_is_made_later(clock: FakeClock) -> None:
    """And one that was brought forward sooner: what counts is `due`, not when it was arranged."""
    looks: list[float] = []
    page = Page(Account("acct", Lists(100)), due=clock.now + 10)
    page.runs["run"] = cast("Any", None)

    async def look(_: Page) -> None:
        looks.append(clock.now - 1_000)

    schedule = Schedule(
        clock,
        at_once=1,
        pick=lambda page: page,
        look=look,
        looked=lambda *_: None,
        broken=lambda _: None,
    )
    schedule.arrange(page)
    page.due += 20
    schedule.arrange(page)
    await clock.advance(29)
    assert looks == []
    await clock.advance(20)
    page.due = clock.now + 10
    schedule.arrange(page)
    page.due -= 5
    schedule.arrange(page)
    await clock.advance(60)
    assert looks == [30, 54]
    await schedule.aclose()


async def test_accounts_take_turns_and_leave_each_other_places(clock: FakeClock) -> None:
    """However many looks one has to make, and however long they take, the others get theirs."""
    one, two, three = (Account(name, Lists(100)) for name in ("one", "two", "three"))
    going: list[str | None] = []

    async def look(page: Page) -> None:
        going.append(page.account.name)
        await asyncio.sleep(3_600)

    schedule = Schedule(
        clock,
        at_once=9,
        pick=lambda page: page,
        look=look,
        looked=lambda *_: None,
        broken=lambda _: None,
    )
    for account, looks in [(one, 100), (two, 100), (three, 1)]:
        for number in range(looks):
            page = Page(account, due=clock.now)
            page.runs[str(number)] = cast("Any", None)
            schedule.arrange(page)
        await clock.advance(1)
    assert [going.count(name) for name in ("one", "two", "three")] == [6, 2, 1]
    assert schedule.overdue([one, two, three]) == 3.0
    await schedule.aclose()


def test_a_list_that_breaks_us_ends_no_wait(caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours is no reason to fail anybody: the runs are read singly."""

    async def main() -> None:
        async with Stage.of(*[5.0] * 11) as stage:
            waits = stage.wait(*range(10))
            stage.api.trouble = ZeroDivisionError()
            await asyncio.gather(*waits)

    simulate(main())
    assert "a list broke us" in caplog.text


@pytest.mark.parametrize("others", [1, 5], ids=["singly", "by lists"])
def test_a_read_that_hangs_keeps_no_other_run_waiting(others: int) -> None:
    """An id the service doesn't answer for stands beside runs of the same account."""

    async def main() -> None:
        async with Stage.of(*[1.0] * (others + 1)) as stage:
            stage.api.hanging = {stage.api.execution_id(0)}
            hung = stage.wait(0, fresh=False)
            await asyncio.sleep(0.2)  # it is being read
            async with asyncio.timeout(3):
                await asyncio.gather(*stage.wait(*range(1, others + 1)))
            assert stage.api.world.reads <= 2 * others + 2
            await leave(hung)

    simulate(main())
