"""The budget under random load: never too many in flight, never too many in any window."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from refold_async import RateLimit
from refold_async._pacing import Budget
from tests.support.clock import FakeClock

CALLERS = st.lists(
    st.tuples(
        st.floats(0, 5),  # comes at
        st.floats(0, 2),  # holds its slot for
        st.none() | st.floats(0, 2),  # gives up after
        st.none() | st.floats(0, 2),  # is cancelled after
    ),
    min_size=1,
    max_size=30,
)


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


class Load:
    """Callers who come, hold a slot, give up or are cancelled, as they are told."""

    def __init__(self, budget: Budget, clock: FakeClock) -> None:
        self.budget = budget
        self.clock = clock
        self.in_flight = self.most = 0
        self.granted: list[float] = []

    async def call(self, hold: float, patience: float | None) -> None:
        """Take a slot, or give up."""
        deadline = None if patience is None else self.clock.now + patience
        if await self.budget.acquire(deadline=deadline) is None:
            return
        self.granted.append(self.clock.now)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        done = asyncio.get_running_loop().create_future()
        self.clock.call_later(hold, partial(_finish, done))
        try:
            await done
        finally:
            self.in_flight -= 1
            self.budget.release()

    def come(self, hold: float, patience: float | None, cancelled: float | None) -> None:
        """Let a caller come, who may be cancelled later."""
        task = asyncio.get_running_loop().create_task(self.call(hold, patience))
        self.tasks.append(task)
        if cancelled is not None:
            self.clock.call_later(cancelled, task.cancel)

    async def run(
        self, callers: list[tuple[float, float, float | None, float | None]]
    ) -> list[BaseException | None]:
        """Play the load out, and say how each caller's task ended."""
        self.tasks: list[asyncio.Task[None]] = []
        for at, hold, patience, cancelled in callers:
            self.clock.call_later(at, partial(self.come, hold, patience, cancelled))
        await self.clock.advance(10_000)
        return await asyncio.gather(*self.tasks, return_exceptions=True)


@given(
    callers=CALLERS,
    per_second=st.floats(0.5, 50),
    burst=st.integers(1, 6),
    places=st.integers(1, 6),
)
async def test_budget_holds_under_any_load(
    callers: list[tuple[float, float, float | None, float | None]],
    per_second: float,
    burst: int,
    places: int,
) -> None:
    """Places bound what is in flight, the bucket every window, and everybody is served or told."""
    clock = FakeClock()
    load = Load(Budget(RateLimit(per_second=per_second, burst=burst), places, clock), clock)
    ended = await load.run(callers)
    assert len(ended) == len(callers)
    assert {type(each) for each in ended} <= {type(None), asyncio.CancelledError}
    assert load.most <= places
    for (i, since), (j, until) in itertools.combinations(enumerate(load.granted), 2):
        assert j - i + 1 <= burst + per_second * (until - since) + 1e-6


@given(callers=CALLERS, burst=st.integers(1, 6), places=st.integers(1, 6))
async def test_nothing_is_lost_under_any_load(
    callers: list[tuple[float, float, float | None, float | None]], burst: int, places: int
) -> None:
    """When all is quiet again, every place is free and the bucket is full."""
    clock = FakeClock()
    budget = Budget(RateLimit(per_second=5, burst=burst), places, clock)
    await Load(budget, clock).run(callers)
    soon = clock.now + 0.001
    fresh = [asyncio.create_task(budget.acquire(deadline=soon)) for _ in range(10)]
    await clock.advance(0.01)
    assert sum(slot is not None for slot in await asyncio.gather(*fresh)) == min(burst, places)
