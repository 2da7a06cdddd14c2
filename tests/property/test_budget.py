"""The budget under random load: never too many in flight, never too many in any window.

Two clients share it; callers come in every class, give up, are cancelled and are refused.
"""

from __future__ import annotations

import asyncio
import itertools
from functools import partial

import attrs
from hypothesis import given
from hypothesis import strategies as st

from refold_async import RateLimit, RateLimitError
from refold_async._pacing import Budget, Priority
from tests.support.clock import FakeClock


@attrs.frozen
class Caller:
    """What one caller does."""

    at: float
    hold: float
    patience: float | None
    cancelled: float | None
    priority: Priority
    refused: float | None
    second: bool
    account: str


CALLERS = st.lists(
    st.builds(
        Caller,
        st.floats(0, 5),  # comes at
        st.floats(0, 2),  # holds its slot for
        st.none() | st.floats(0, 2),  # gives up after
        st.none() | st.floats(0, 2),  # is cancelled after
        st.sampled_from(Priority),
        st.sampled_from([None, None, 0.0, 0.5]),  # is refused, with this Retry-After
        st.booleans(),  # of the second client
        st.sampled_from("abc"),
    ),
    min_size=1,
    max_size=30,
)


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


class Load:
    """Callers who come, hold a slot, give up, are cancelled or refused, as they are told."""

    def __init__(self, limit: RateLimit, places: int) -> None:
        self.clock = FakeClock()
        self.budgets = [Budget(limit, places, self.clock) for _ in range(2)]
        for budget in self.budgets:
            budget.join("same")
        self.in_flight = [0, 0]
        self.most = 0
        self.granted: list[float] = []
        self.gates: list[tuple[float, float]] = []  # from, until
        self.tasks: list[asyncio.Task[None]] = []

    async def call(self, caller: Caller) -> None:
        """Take a slot, or give up."""
        clock, budget = self.clock, self.budgets[caller.second]
        deadline = None if caller.patience is None else clock.now + caller.patience
        phase = await budget.acquire(
            caller.priority, deadline, account=caller.account, patience=caller.hold
        )
        if phase is None:
            return
        self.granted.append(clock.now)
        self.in_flight[caller.second] += 1
        self.most = max(self.most, *self.in_flight)
        done = asyncio.get_running_loop().create_future()
        clock.call_later(caller.hold, partial(_finish, done))
        try:
            await done
            if caller.refused is None:
                budget.served(phase)
            else:
                self.gates.append((clock.now, clock.now + caller.refused))
                budget.refused(phase, caller.refused)
        finally:
            self.in_flight[caller.second] -= 1
            budget.release(caller.account)

    def come(self, caller: Caller) -> None:
        """Let a caller come, who may be cancelled later."""
        task = asyncio.get_running_loop().create_task(self.call(caller))
        self.tasks.append(task)
        if caller.cancelled is not None:
            self.clock.call_later(caller.cancelled, task.cancel)

    async def run(self, callers: list[Caller]) -> list[BaseException | None]:
        """Play the load out, and say how each caller's task ended."""
        for caller in callers:
            self.clock.call_later(caller.at, partial(self.come, caller))
        await self.clock.advance(10_000)
        return await asyncio.gather(*self.tasks, return_exceptions=True)


@given(
    callers=CALLERS,
    per_second=st.floats(0.5, 50),
    burst=st.integers(1, 6),
    places=st.integers(1, 6),
)
async def test_budget_holds_under_any_load(
    callers: list[Caller], per_second: float, burst: int, places: int
) -> None:
    """Places bound what is in flight, the bucket every window, and everybody is served or told."""
    load = Load(RateLimit(per_second=per_second, burst=burst), places)
    ended = await load.run(callers)
    assert len(ended) == len(callers)
    assert {type(each) for each in ended} <= {type(None), asyncio.CancelledError, RateLimitError}
    assert load.most <= places
    for (i, since), (j, until) in itertools.combinations(enumerate(load.granted), 2):
        assert j - i + 1 <= burst + per_second * (until - since) + 1e-6
    for since, until in load.gates:
        assert not [at for at in load.granted if since + 1e-6 < at < until - 1e-6]


@given(callers=CALLERS, burst=st.integers(1, 6), places=st.integers(1, 6))
async def test_nothing_is_lost_under_any_load(
    callers: list[Caller], burst: int, places: int
) -> None:
    """When all is quiet again, every place is free and the bucket is full."""
    load = Load(RateLimit(per_second=5, burst=burst), places)
    await load.run(callers)
    soon = load.clock.now + 0.001
    budget = load.budgets[0]
    asking = (budget.acquire(deadline=soon, account=number) for number in range(10))
    fresh = [asyncio.create_task(each) for each in asking]
    await load.clock.advance(0.01)
    slots = await asyncio.gather(*fresh)
    assert sum(slot is not None for slot in slots) == min(burst, places)
    assert not any(sum(each.stats().waiting.values()) for each in load.budgets)
    assert sum(load.budgets[1]._in_flight.values()) == 0
