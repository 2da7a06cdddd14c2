"""The request budget: who gets a slot, and when."""

from __future__ import annotations

import asyncio
import random

import pytest

from refold_async import ClientClosedError, RateLimit
from refold_async._pacing.budget import Budget
from tests.support.clock import FakeClock, settle


class Queue:
    """Callers that take a slot each, and remember when they got it."""

    def __init__(
        self, clock: FakeClock, per_second: float | None = 10.0, burst: int = 2, places: int = 100
    ) -> None:
        rate = None if per_second is None else RateLimit(per_second=per_second, burst=burst)
        self.clock = clock
        self.begun = clock.now
        self.budget = Budget(rate, places, clock)
        self.served: list[tuple[str, float]] = []

    async def take(self, name: str, deadline: float | None = None) -> bool:
        """Wait for a slot, by a deadline in seconds from the beginning."""
        latest = None if deadline is None else self.begun + deadline
        taken = await self.budget.acquire(deadline=latest) is not None
        if taken:
            self.served.append((name, round(self.clock.now - self.begun, 6)))
        return taken

    async def come(self, name: str, deadline: float | None = None) -> asyncio.Task[bool]:
        """Let a caller ask for a slot."""
        task = asyncio.create_task(self.take(name, deadline))
        await settle()
        return task

    @property
    def names(self) -> str:
        """Who was served, in order."""
        return "".join(name for name, _ in self.served)


async def test_burst_leaves_at_once_and_then_the_rate_holds(clock: FakeClock) -> None:
    """After a pause `burst` requests go at once, the others as tokens come."""
    queue = Queue(clock, per_second=10, burst=2)
    for name in "abcde":
        await queue.come(name)
    await clock.advance(10)
    assert queue.served == [("a", 0), ("b", 0), ("c", 0.1), ("d", 0.2), ("e", 0.3)]


async def test_idle_time_earns_no_more_than_a_burst(clock: FakeClock) -> None:
    """Tokens are not saved up past `burst`."""
    queue = Queue(clock, per_second=10, burst=2)
    await clock.advance(100)
    for name in "abc":
        await queue.come(name)
    assert queue.names == "ab"
    await clock.advance(0.1)
    assert queue.names == "abc"


async def test_half_a_token_shortens_the_wait(clock: FakeClock) -> None:
    """Who comes between two tokens waits for the rest of the time only."""
    queue = Queue(clock, per_second=10, burst=1)
    await queue.come("a")
    await clock.advance(0.06)
    await queue.come("b")
    await clock.advance(1)
    assert queue.served == [("a", 0), ("b", 0.1)]


@pytest.mark.parametrize("rate", [20.0, 200.0])
async def test_a_clock_that_has_run_for_long_serves_at_the_same_rate(rate: float) -> None:
    """Its seconds round coarsely: no token is waited for by less than what moves it."""
    clock = FakeClock(now=30 * 86_400 + 0.123)
    queue = Queue(clock, per_second=rate, burst=1)
    async with asyncio.timeout(5):
        for _ in range(60):
            await queue.come("a")
        await clock.advance(59 / rate + 0.001)
    assert len(queue.served) == 60
    assert len(clock.slept) < 2 * 60


@pytest.mark.parametrize("told", ["refused", "stopped"])
async def test_a_short_gate_earns_no_token(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    """Half a second at one per second is half a token, whoever shut the gate meanwhile."""
    monkeypatch.setattr(random, "random", lambda: 0.99)
    queue = Queue(clock, per_second=1, burst=1)
    await queue.come("a")
    if told == "refused":
        queue.budget.refused(0, 0.5)
    else:
        queue.budget.pace.stop(0.5)
    await queue.come("b")
    await clock.advance(0.9)
    assert queue.names == "a"
    await clock.advance(1)
    assert queue.names == "ab"


async def test_no_rate_means_places_alone_count(clock: FakeClock) -> None:
    """Without a ceiling requests go as soon as there is a place, and no timer is set."""
    queue = Queue(clock, per_second=None, places=2)
    for name in "abc":
        await queue.come(name)
    assert queue.names == "ab"
    queue.budget.release()
    await settle()
    assert queue.names == "abc"
    assert clock.slept == []


async def test_places_bound_what_is_in_flight(clock: FakeClock) -> None:
    """Tokens alone are not enough: a request waits, without a timer, until another is over."""
    queue = Queue(clock, per_second=1000, burst=100, places=2)
    for name in "abcd":
        await queue.come(name)
    await clock.advance(60)
    assert queue.names == "ab"
    for name in "cd":
        queue.budget.release()
        await settle()
        assert queue.served[-1] == (name, 60)
    assert clock.slept == []


async def test_waiting_for_a_place_spends_no_token(clock: FakeClock) -> None:
    """A queue that waited for places does not leave as one burst with stale tokens."""
    queue = Queue(clock, per_second=1, burst=2, places=1)
    for name in "abcd":
        await queue.come(name)
    await clock.advance(100)
    for _ in range(3):
        queue.budget.release()
    await clock.advance(10)
    assert queue.served == [("a", 0), ("b", 100), ("c", 100), ("d", 101)]


async def test_slots_are_granted_in_order_of_arrival(clock: FakeClock) -> None:
    """Nobody overtakes, not even who comes when a token is just there."""
    queue = Queue(clock, per_second=10, burst=1)
    for name in "abc":
        await queue.come(name)
    clock.now += 0.1  # the token is there, its timer has not fired yet
    await queue.come("d")
    await clock.advance(1)
    assert queue.names == "abcd"


async def test_cancelled_waiter_leaves_the_queue(clock: FakeClock) -> None:
    """Cancelling a queued caller costs the others nothing."""
    queue = Queue(clock, per_second=10, burst=1)
    await queue.come("a")
    waiting = await queue.come("b")
    await queue.come("c")
    waiting.cancel()
    await clock.advance(0.1)
    assert waiting.cancelled()
    assert queue.served == [("a", 0), ("c", 0.1)]


@pytest.mark.parametrize("deadline", [None, 60.0])
async def test_slot_of_a_caller_cancelled_in_the_same_turn_goes_on(
    clock: FakeClock, deadline: float | None
) -> None:
    """A slot granted to a caller that is cancelled before it wakes loses no token and no place."""
    queue = Queue(clock, per_second=0.001, burst=3, places=1)
    await queue.come("a")
    waiting = await queue.come("b", deadline)
    rest = [await queue.come(name) for name in "cde"]
    queue.budget.release()  # grants b the one place, and a token
    waiting.cancel()
    await settle()
    assert waiting.cancelled()
    assert queue.names == "ac"
    queue.budget.release()
    queue.budget.release()
    await settle()
    assert queue.names == "acd"
    rest[-1].cancel()
    await settle()


async def test_deadline_ends_the_wait(clock: FakeClock) -> None:
    """No slot in time is told, and costs the others nothing."""
    queue = Queue(clock, per_second=1, burst=1)
    await queue.come("a")
    late = await queue.come("b", deadline=0.5)
    await queue.come("c")
    await clock.advance(0.4)
    assert not late.done()
    await clock.advance(0.1)
    assert await late is False
    await clock.advance(0.5)
    assert queue.served == [("a", 0), ("c", 1)]


async def test_slot_before_the_deadline_is_taken(clock: FakeClock) -> None:
    """A caller with a deadline gets its slot when it comes."""
    queue = Queue(clock, per_second=1, burst=1)
    await queue.come("a")
    waiting = await queue.come("b", deadline=5)
    await clock.advance(1)
    assert await waiting is True


async def test_passed_deadline_does_not_wait(clock: FakeClock) -> None:
    """A caller whose time is over gets no slot that isn't there."""
    queue = Queue(clock, per_second=1, burst=1)
    await queue.come("a")
    late = await queue.come("b", deadline=-1)
    await clock.advance(0)
    assert await late is False


async def test_passed_deadline_takes_no_free_slot(clock: FakeClock) -> None:
    """What could not be sent in time leaves its slot to the next."""
    queue = Queue(clock, per_second=1, burst=1)
    late = await queue.come("late", deadline=0)
    assert await late is False
    await queue.come("next")
    assert queue.served == [("next", 0.0)]


async def test_close_ends_every_wait(clock: FakeClock) -> None:
    """All waiters get the error, each a copy of its own, and no timer is left."""
    queue = Queue(clock, per_second=0.001, burst=1)
    await queue.come("a")
    waiting = [await queue.come("b"), await queue.come("c", deadline=9)]
    error = ClientClosedError("closed")
    queue.budget.close(error)
    caught = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in caught] == [ClientClosedError, ClientClosedError]
    assert len({id(error), *map(id, caught)}) == 3
    kept = queue.budget.pace._forget  # for the next client: a token is missing
    assert {timer.callback for *_, timer in clock._queue} <= {None, kept}


async def test_closing_twice_or_with_nobody_waiting_is_harmless(clock: FakeClock) -> None:
    """Closing has nothing to do where nobody waits."""
    queue = Queue(clock)
    queue.budget.close(ClientClosedError("closed"))
    queue.budget.close(ClientClosedError("closed"))
    assert queue.served == []


async def test_waiter_cancelled_while_the_client_closes_is_cancelled(clock: FakeClock) -> None:
    """Cancelling wins over the error of closing, which is then not reported as unseen."""
    queue = Queue(clock, per_second=0.001, burst=1)
    await queue.come("a")
    waiting = await queue.come("b")
    gone = await queue.come("c")
    gone.cancel()
    await settle()
    queue.budget.close(ClientClosedError("closed"))
    waiting.cancel()
    await settle()
    assert (waiting.cancelled(), gone.cancelled()) == (True, True)


async def test_waiter_just_cancelled_is_skipped_by_close(clock: FakeClock) -> None:
    """A waiter whose wait is over already needs no error."""
    queue = Queue(clock, per_second=0.001, burst=1)
    await queue.come("a")
    waiting = await queue.come("b")
    waiting.cancel()  # its future is cancelled, the task has not run yet
    queue.budget.close(ClientClosedError("closed"))
    await settle()
    assert waiting.cancelled()
