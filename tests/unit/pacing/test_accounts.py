"""One account that misbehaves does not hold up the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from refold_async import RateLimit
from refold_async._pacing import Budget, Priority
from tests.support.clock import settle

if TYPE_CHECKING:
    from collections.abc import Hashable

    from tests.support.clock import FakeClock


class Accounts:
    """Callers for accounts, at 10 requests per second; who was served keeps its place."""

    def __init__(self, clock: FakeClock, *, places: int = 10_000) -> None:
        self.budget = Budget(RateLimit(per_second=10, burst=1), places, clock)
        self.served: list[Hashable] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def _call(self, account: Hashable, priority: Priority) -> None:
        await self.budget.acquire(priority, account=account)
        self.served.append(account)

    async def come(
        self, account: Hashable, calls: int = 1, priority: Priority = Priority.START
    ) -> list[asyncio.Task[None]]:
        """Let an account ask for slots."""
        made = [asyncio.create_task(self._call(account, priority)) for _ in range(calls)]
        self._tasks += made
        await settle(3)
        return made

    async def end(self) -> None:
        """Send home who still waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.mark.parametrize("priority", Priority)
async def test_long_queue_of_one_account_does_not_delay_the_first_of_another(
    clock: FakeClock, priority: Priority
) -> None:
    """A thousand calls wait: the next slot but one is the other's, in every class."""
    accounts = Accounts(clock)
    await accounts.come("loud", 1_000, priority)
    await clock.advance(1)
    await accounts.come("quiet", 1, priority)
    await clock.advance(0.2)
    assert "quiet" in accounts.served
    await accounts.end()


async def test_accounts_take_turns_within_a_class(clock: FakeClock) -> None:
    """Each sends one request, then the next; nobody's own order changes."""
    accounts = Accounts(clock)
    await accounts.come("!")
    await accounts.come("a", 4)
    await accounts.come("b", 2)
    await accounts.come(None, 3)
    await clock.advance(1)
    assert accounts.served == ["!", "a", "b", None, "a", "b", None, "a", None, "a"]


async def test_call_that_was_refused_goes_ahead_of_its_accounts_others(clock: FakeClock) -> None:
    """It had its place in the queue already: a thousand behind it are no reason to fail late."""
    budget = Budget(RateLimit(per_second=10, burst=1), 100, clock)
    assert budget.take(Priority.START) is not None
    queued = [asyncio.create_task(budget.acquire(account="a")) for _ in range(3)]
    await settle()
    again = asyncio.create_task(budget.acquire(account="a", again=True))
    await clock.advance(0.15)
    assert again.done()
    assert not any(task.done() for task in queued)
    await clock.advance(1)
    await asyncio.gather(*queued)


async def test_account_whose_callers_are_gone_has_no_turn(clock: FakeClock) -> None:
    """The slot goes to who is there."""
    accounts = Accounts(clock)
    await accounts.come("!")
    gone = await accounts.come("a", 3)
    await accounts.come("b", 2)
    for task in gone:
        task.cancel()
    await clock.advance(0.2)
    assert accounts.served == ["!", "b", "b"]
    await accounts.come("a")
    await clock.advance(0.1)
    assert accounts.served[-1] == "a"


async def test_hanging_account_leaves_a_quarter_of_the_places(clock: FakeClock) -> None:
    """Where several share a client, none of them holds more than three quarters of its places."""
    accounts = Accounts(clock, places=8)
    await accounts.come("quiet")
    await accounts.come("hangs", 20)
    await clock.advance(5)
    assert accounts.served.count("hangs") == 6
    assert accounts.budget.take(Priority.START, "hangs") is None
    await accounts.come("quiet")
    await accounts.come("other", 2)
    await clock.advance(5)
    assert [accounts.served.count(name) for name in ("quiet", "other")] == [2, 0]
    for _ in range(3):
        accounts.budget.release("hangs")
    await clock.advance(0.4)
    assert accounts.served[-3:] == ["hangs", "other", "hangs"]
    await accounts.end()


@pytest.mark.parametrize("places", [1, 2, 3, 8])
async def test_only_account_of_a_client_may_use_all_places(clock: FakeClock, places: int) -> None:
    """Nothing is kept for others where there are none."""
    accounts = Accounts(clock, places=places)
    await accounts.come("a", 20)
    await clock.advance(5)
    assert accounts.served.count("a") == places
    await accounts.end()


async def test_nothing_is_kept_of_accounts_that_are_gone(clock: FakeClock) -> None:
    """A service with ever new customers does not grow by them."""
    accounts = Accounts(clock)
    for number in range(30):
        await accounts.come(number)
    await clock.advance(5)
    for number in range(30):
        accounts.budget.release(number)
    assert accounts.budget._in_flight == {}
    await accounts.come("a")
    assert [len(queue._queues) for queue in accounts.budget.queues] in ([0] * 4, [1, 0, 0, 0])
    await accounts.end()


@pytest.mark.parametrize("places", [1, 2, 3, 7, 10, 100])
async def test_an_account_leaves_places_also_if_the_others_came_one_by_one(
    clock: FakeClock, places: int
) -> None:
    """Whether a client serves several shows, even if no two were ever under way together."""
    budget = Budget(None, places, clock)
    for account in "abc":
        assert budget.take(Priority.START, account) is not None
        budget.release(account)
    taken = sum(budget.take(Priority.START, "slow") is not None for _ in range(2 * places))
    assert taken == max(places * 3 // 4, 1)
    assert (budget.take(Priority.START, "a") is not None) is (places > 1)
