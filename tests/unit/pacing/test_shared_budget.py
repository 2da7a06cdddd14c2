"""Clients with one credential share the pace; each has places of its own."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import ClientClosedError, RateLimit, SystemClock
from refold_async._config import Credential, Secret
from refold_async._pacing import Priority
from refold_async._pacing.budget import Budget, _shared
from refold_async._transport.credentials import Authenticator
from tests.support.clock import FakeClock, settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def budgets(
    clock: FakeClock, *limits: RateLimit | None, keys: str = "kk", places: int = 100
) -> list[Budget]:
    """Make budgets that join by the given keys."""
    made = [Budget(limit, places, clock) for limit in limits]
    for budget, key in zip(made, keys, strict=True):
        budget.join(key)
    return made


def tasks(budget: Budget, count: int) -> list[asyncio.Task[int | None]]:
    """Let callers of a budget ask for slots."""
    return [asyncio.create_task(budget.acquire()) for _ in range(count)]


def done(*groups: list[asyncio.Task[int | None]]) -> list[int]:
    """Count who was served."""
    return [sum(task.done() for task in group) for group in groups]


async def end(*groups: list[asyncio.Task[int | None]]) -> None:
    """Send home who still waits."""
    every = [task for group in groups for task in group]
    for task in every:
        task.cancel()
    await asyncio.gather(*every, return_exceptions=True)


TEN = RateLimit(per_second=10, burst=1)


async def test_one_key_is_one_rate(clock: FakeClock) -> None:
    """Two clients together keep to the rate, and take turns: a long queue delays no other's."""
    one, two = budgets(clock, TEN, TEN)
    first = tasks(one, 1_000)
    await clock.advance(0.95)
    assert done(first) == [10]
    second = tasks(two, 5)
    await clock.advance(1)
    assert done(first, second) == [15, 5]
    await end(first, second)


async def test_two_keys_are_two_rates(clock: FakeClock) -> None:
    """Clients with different credentials don't slow each other."""
    one, two = budgets(clock, TEN, TEN, keys="kl")
    first, second = tasks(one, 20), tasks(two, 20)
    await clock.advance(0.95)
    assert done(first, second) == [10, 10]
    one.refused(0, retry_after=60.0)
    assert (one.stats().stopped_for, two.stats().stopped_for) == (60, 0)
    await end(first, second)


async def test_refusal_of_one_slows_the_other(clock: FakeClock) -> None:
    """Gate and rate are those of the service, whoever ran into it."""
    one, two = budgets(clock, TEN, TEN)
    phase = await one.acquire()
    assert phase is not None
    one.refused(phase, retry_after=3.0)
    waiting = tasks(two, 1)
    await clock.advance(2.9)
    assert done(waiting) == [0]
    assert (one.stats().rate, two.stats().rate) == (one.stats().rate, one.stats().rate)
    assert (one.stats().refused, two.stats().refused) == (1, 0)
    await clock.advance(0.3)
    assert done(waiting) == [1]


async def test_stricter_ceiling_holds_while_both_live(clock: FakeClock) -> None:
    """And goes with the client that asked for it."""
    one, two, three = budgets(clock, RateLimit(per_second=50, burst=9), TEN, None, keys="kkk")
    assert {budget.stats().ceiling for budget in (one, two, three)} == {10}
    two.close(ClientClosedError("closed"))
    assert {budget.stats().ceiling for budget in (one, three)} == {50}
    one.close(ClientClosedError("closed"))
    assert three.stats().ceiling is None


async def test_full_client_does_not_hold_up_the_other(clock: FakeClock) -> None:
    """Who has no free place is passed over, and served when it has."""
    one, two = budgets(clock, TEN, TEN, places=1)
    first = tasks(one, 2)
    await settle()
    second = tasks(two, 1)
    await clock.advance(0.1)
    assert done(first, second) == [1, 1]
    await clock.advance(1)
    one.release()
    await clock.advance(0)
    assert done(first, second) == [2, 1]


async def test_closing_one_client_leaves_the_other_its_queue(clock: FakeClock) -> None:
    """The waiters of the closed one get the error, those behind them the slots."""
    one, two = budgets(clock, TEN, TEN)
    first, second = tasks(one, 3), tasks(two, 2)
    await settle()
    one.close(ClientClosedError("closed"))
    await clock.advance(0.2)
    assert done(first, second) == [3, 2]
    assert [type(task.exception()) for task in first[1:]] == [ClientClosedError] * 2


async def test_what_nobody_uses_is_forgotten(clock: FakeClock) -> None:
    """Nothing of a budget is left when its clients are gone."""
    made = budgets(clock, TEN, TEN, keys="ab")
    pace = weakref.ref(made[0].pace)
    assert pace() in [*_shared.values()]
    made.clear()
    gc.collect()
    assert pace() is None


async def test_forked_child_shares_nothing_with_its_parent(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the parent's callers wait for is none of the child's business."""
    (parent,) = budgets(clock, TEN, keys="k")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    (child,) = budgets(clock, TEN, keys="k")
    parent.refused(0, retry_after=60.0)
    assert (parent.stats().stopped_for, child.stats().stopped_for) == (60, 0)


async def test_share_that_others_leave_us_is_a_ceiling(clock: FakeClock) -> None:
    """Whoever shares the service with other processes sets it, and takes it back."""
    one, two = budgets(clock, TEN, None)
    one.pace.part = 0.2
    first = tasks(two, 30)
    await clock.advance(2)
    assert done(first) == [5]
    assert two.stats().ceiling == 2
    one.pace.part = 1.0
    await clock.advance(0.95)
    assert done(first) == [14]
    await end(first)


async def test_clients_with_clocks_of_their_own_do_not_share(clock: FakeClock) -> None:
    """A test's clock tells another time than the system's."""
    one, two = Budget(TEN, 1, clock), Budget(TEN, 1, FakeClock())
    three, four = Budget(TEN, 1, SystemClock()), Budget(TEN, 1, SystemClock())
    for budget in (one, two, three, four):
        budget.join("k")
    assert len({id(budget.pace) for budget in (one, two, three, four)}) == 3
    assert three.pace is four.pace


class Tokens:
    """A source of tokens, as services have them."""

    async def give(self) -> str:
        """Give a token."""
        return "jwt"


async def _give() -> str:
    return "jwt"


async def _give_too() -> str:
    return "jwt"


def source(give: Callable[[], Awaitable[str]]) -> Credential:
    """Make a credential of a callable."""
    return Credential(token_source=give)


ONE, OTHER = Tokens(), Tokens()


@pytest.mark.parametrize(
    ("credential", "same", "other"),
    [
        pytest.param(
            Credential(api_key=Secret("tk_1")),
            Credential(api_key=Secret("tk_1")),
            Credential(api_key=Secret("tk_2")),
            id="key",
        ),
        pytest.param(
            Credential(session_token=Secret("jwt")),
            Credential(session_token=Secret("jwt")),
            Credential(api_key=Secret("jwt")),
            id="token",
        ),
        pytest.param(source(_give), source(_give), source(_give_too), id="function"),
        pytest.param(source(ONE.give), source(ONE.give), source(OTHER.give), id="method"),
    ],
)
def test_credential_is_told_by_what_it_is(
    credential: Credential, same: Credential, other: Credential
) -> None:
    """Equal keys and tokens are one credential, a callable is itself; no secret shows."""
    identity: Any = Authenticator(credential, FakeClock(), 30).identity
    assert identity == Authenticator(same, FakeClock(), 30).identity
    assert identity != Authenticator(other, FakeClock(), 30).identity
    assert "tk_1" not in repr(identity)
    assert "jwt" not in repr(identity)


@pytest.mark.parametrize("clients", [2, 3, 4])
async def test_clients_take_turns_in_each_class(clock: FakeClock, clients: int) -> None:
    """However the classes' own turns fall: nobody gets all the starts, and another all reads."""
    made = budgets(clock, *[TEN] * clients, keys="k" * clients)
    classes = Priority.START, Priority.RESULT
    asking = {
        (number, priority): [asyncio.create_task(one.acquire(priority)) for _ in range(30)]
        for number, one in enumerate(made)
        for priority in classes
    }
    await clock.advance(clients * 2)
    served = [sum(task.done() for task in group) for group in asking.values()]
    assert max(served) - min(served) <= 2, served
    assert min(served) >= 9
    await end(*asking.values())


async def test_clients_that_follow_each_other_share_one_burst(clock: FakeClock) -> None:
    """A job that makes a client for each of its calls keeps to the rate as well."""
    limit, sent = RateLimit(per_second=10, burst=5), 0
    for _ in range(40):
        (client,) = budgets(clock, limit, keys="k")
        sent += client.take(Priority.START) is not None
        client.close(ClientClosedError("closed"))
        await clock.advance(0.02)
    assert 5 <= sent <= 5 + 0.8 * 10 + 1
    await clock.advance(10)
    (client,) = budgets(clock, limit, keys="k")
    assert sum(client.take(Priority.START) is not None for _ in range(10)) == 5


async def test_a_gate_outlasts_the_client_that_was_told(clock: FakeClock) -> None:
    """The next one waits as long as the service has asked for; then there is nothing to keep."""
    (client,) = budgets(clock, TEN, keys="k")
    client.refused(0, retry_after=30.0)
    client.close(ClientClosedError("closed"))
    del client
    gc.collect()
    await clock.advance(20)
    (client,) = budgets(clock, TEN, keys="k")
    assert client.stats().stopped_for == pytest.approx(10)
    client.close(ClientClosedError("closed"))
    del client
    await clock.advance(60)
    gc.collect()
    (client,) = budgets(clock, TEN, keys="k")
    assert client.stats().stopped_for == 0
