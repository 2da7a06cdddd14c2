"""Whatever has a deadline ends in time on a loop that is busy: time is counted in its turns."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    ClientClosedError,
    ConnectionFailedError,
    ExecutionOutcomeUnknownError,
    ExecutionRequest,
    RequestTimeoutError,
    Timeouts,
    WaitTimeoutError,
)
from tests.support.clock import FakeClock
from tests.support.endings import at_once, until
from tests.support.wire import RUN, STARTS, Step, Wire, full_port, http, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from refold_async import RefoldClient

pytestmark = pytest.mark.long

TURN = 0.005
LIMIT = 0.3
"""The deadline under test: 60 turns."""
LATE = 3 * LIMIT / TURN
"""Turns after which a call is late, by any measure."""
CALLS = 10
LONG = Timeouts(connect=3600, read=3600, sync=3600, abandoned=LIMIT)
DRIP = Step(reply=http(body={"a": "x" * 100_000}), drip=0.001)


class TurnClock(FakeClock):
    """A clock that moves 5 ms with each turn of the loop, which takes as long to compute."""

    @property
    def turns(self) -> float:
        """Turns since the test began."""
        return (self.now - 1_000.0) / TURN

    async def run(self) -> None:
        """Burn 5 ms of CPU in each turn, and call back what is due by then."""
        while True:
            until = time.thread_time() + TURN
            while time.thread_time() < until:
                pass
            self.now += TURN
            while self._queue and self._queue[0][0] <= self.now:
                heapq.heappop(self._queue)[2].fire()
            await asyncio.sleep(0)


@pytest.fixture
async def clock() -> AsyncIterator[TurnClock]:
    """Have the loop kept busy."""
    clock = TurnClock()
    burning = asyncio.create_task(clock.run())
    yield clock
    burning.cancel()
    await asyncio.wait([burning])


@asynccontextmanager
async def in_time(clock: TurnClock, refold: RefoldClient) -> AsyncIterator[None]:
    """See to it that the block ends in time, and that it leaves no slot taken."""
    began = clock.turns
    yield
    took = clock.turns - began
    assert took <= LATE, f"{took:.0f} turns for a deadline of {LIMIT / TURN:.0f}"
    await until(lambda: not refold.stats.budget.in_flight or clock.turns > began + LATE)
    stats = refold.stats
    assert (stats.budget.in_flight, stats.abandoned, sum(stats.budget.waiting.values())) == (0,) * 3


async def ends(calls: list[Any]) -> set[type[Any]]:
    """Say in which ways many calls at one time end."""
    return {type(end) for end in await asyncio.gather(*calls, return_exceptions=True)}


@pytest.mark.parametrize("bound", ["call", "sync"])
async def test_bounds_on_a_start(
    connect: Callable[..., RefoldClient], clock: TurnClock, bound: str
) -> None:
    """`Timeouts.call`, and `Timeouts.sync` of a sync run, while an answer drips."""
    timeouts = Timeouts(**{"connect": 3600, "read": 3600, "abandoned": LIMIT, bound: LIMIT})
    async with wire(DRIP) as server:
        refold = connect(server, clock=clock, timeouts=timeouts, retry=at_once("never"))
        async with in_time(clock, refold):
            starts = (refold.execute("wf_1", slug="s", sync=bound == "sync") for _ in range(CALLS))
            assert await ends([*starts]) == {ExecutionOutcomeUnknownError}


async def test_a_bound_on_connecting(
    connect: Callable[..., RefoldClient], clock: TurnClock
) -> None:
    """`Timeouts.connect`, where nobody takes connections: nothing was sent."""
    with full_port() as port:
        server = Wire(base_url=f"http://127.0.0.1:{port.getsockname()[1]}")
        timeouts = Timeouts(connect=LIMIT)
        refold = connect(server, clock=clock, timeouts=timeouts, retry=at_once("never"))
        async with in_time(clock, refold):
            starts = [refold.execute("wf_1", slug="s") for _ in range(CALLS)]
            assert await ends(starts) == {ConnectionFailedError}


async def test_what_was_abandoned(connect: Callable[..., RefoldClient], clock: TurnClock) -> None:
    """`Timeouts.abandoned`: callers that are gone leave their slots soon."""
    async with wire(DRIP) as server:
        refold = connect(server, clock=clock, timeouts=LONG, retry=at_once("never"))
        calls = [asyncio.create_task(refold.execute("wf_1", slug="s")) for _ in range(CALLS)]
        await until(lambda: len(server.seen) == CALLS)
        async with in_time(clock, refold):
            for call in calls:
                call.cancel()
            assert await ends([*calls]) == {asyncio.CancelledError}


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda handle: handle.result(timeout=LIMIT), id="result"),
        pytest.param(lambda handle: handle.wait(timeout=LIMIT, output=False), id="without output"),
    ],
)
async def test_waits(connect: Callable[..., RefoldClient], clock: TurnClock, use: Any) -> None:
    """`timeout=` of a wait, while the looks at its run drip."""
    async with wire(DRIP) as server:
        refold = connect(server, clock=clock, timeouts=LONG)
        handles = [refold.handle(f"{RUN[:-2]}{n:02x}") for n in range(CALLS)]
        async with in_time(clock, refold):
            assert await ends([use(handle) for handle in handles]) == {WaitTimeoutError}
            await refold.aclose()  # looks are the client's own


async def test_a_token_that_never_comes(
    connect: Callable[..., RefoldClient], clock: TurnClock
) -> None:
    """`timeout=` of a call whose token source hangs, and of those that wait with it."""

    async def source() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    async with wire(STARTS) as server:
        refold = connect(server, clock=clock, session_token=source, retry=at_once("never"))
        async with in_time(clock, refold):
            starts = [refold.execute("wf_1", slug="s", timeout=LIMIT) for _ in range(CALLS)]
            assert await ends(starts) == {RequestTimeoutError}
    assert server.seen == []


async def test_grace(connect: Callable[..., RefoldClient], clock: TurnClock) -> None:
    """`aclose(grace=)`, with calls under way and waits for runs."""
    async with wire(DRIP) as server:
        refold = connect(server, clock=clock, timeouts=LONG, retry=at_once("never"))
        calls = [asyncio.create_task(refold.execute("wf_1", slug="s")) for _ in range(CALLS)]
        waits = [asyncio.create_task(refold.handle(RUN).result()) for _ in range(CALLS)]
        await until(lambda: len(server.seen) > CALLS)
        async with in_time(clock, refold):
            await refold.aclose(grace=LIMIT)
            assert await ends([*calls]) == {ExecutionOutcomeUnknownError}
            assert await ends([*waits]) == {ClientClosedError}


async def test_a_batch_that_is_asked_to_stop(
    connect: Callable[..., RefoldClient], clock: TurnClock, tmp_path: Any
) -> None:
    """`run_batch(stop=)`, with an endless input and answers that drip for `read` seconds."""

    async def endless() -> AsyncIterator[ExecutionRequest]:
        for number in itertools.count():
            yield ExecutionRequest("wf_1", slug="s", payload={"n": number}, timeout=LIMIT)

    async with wire(DRIP) as server:
        refold = connect(server, clock=clock, timeouts=LONG, retry=at_once("never"))
        stop = asyncio.Event()
        batch = asyncio.create_task(
            refold.run_batch(endless(), journal=tmp_path / "batch", stop=stop, concurrency=CALLS)
        )
        await until(lambda: len(server.seen) > 0)
        async with in_time(clock, refold):
            stop.set()
            report = await batch
    assert report.stopped is not None
    assert (report.succeeded, report.failed) == (0, 0)


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda refold: refold.execute("wf_1", slug="s"), id="execute"),
        pytest.param(lambda refold: refold.run("wf_1", slug="s"), id="run"),
        pytest.param(lambda refold: refold.handle(RUN).result(), id="result"),
        pytest.param(lambda refold: refold.executions.get(RUN), id="get"),
        pytest.param(lambda refold: anext(refold.handle(RUN).snapshots()), id="snapshots"),
    ],
)
async def test_a_timeout_of_the_callers(
    connect: Callable[..., RefoldClient], clock: TurnClock, use: Any
) -> None:
    """`asyncio.timeout` around a call ends it as `TimeoutError`, and nothing but it."""

    async def bounded() -> None:
        async with asyncio.timeout(LIMIT):
            await use(refold)

    async with wire(DRIP) as server:
        refold = connect(server, clock=clock, timeouts=LONG, retry=at_once("never"))
        async with in_time(clock, refold):
            calls = [bounded() for _ in range(CALLS)]
            assert await ends(calls) == {TimeoutError}
            await refold.aclose()  # looks are the client's own
