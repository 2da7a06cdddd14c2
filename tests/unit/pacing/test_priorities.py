"""Who goes first, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from refold_async import RateLimit
from refold_async._pacing import Budget, Priority
from tests.support.clock import settle

if TYPE_CHECKING:
    from tests.support.clock import FakeClock

START, STOP, RESULT, STATUS = Priority


class Queue:
    """Callers of one budget at 10 requests per second; each holds its slot for ever."""

    def __init__(self, clock: FakeClock, *, places: int = 1_000) -> None:
        self.clock = clock
        self.budget = Budget(RateLimit(per_second=10, burst=1), places, clock)
        self.served: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def _take(self, name: str, priority: Priority) -> None:
        await self.budget.acquire(priority)
        self.served.append(name)

    async def come(self, names: str, priority: Priority) -> None:
        """Let callers ask for a slot, one per letter."""
        for name in names:
            self.tasks.append(asyncio.create_task(self._take(name, priority)))
            await settle()

    async def end(self) -> None:
        """Send home who still waits."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_classes_take_turns(clock: FakeClock) -> None:
    """However many starts and looks are queued, as many outputs are read as runs are started."""
    queue = Queue(clock)
    await queue.come("!", START)  # takes the token that is there
    await queue.come("4" * 20, STATUS)
    await queue.come("3" * 20, RESULT)
    await queue.come("2" * 20, STOP)
    await queue.come("1" * 20, START)
    await clock.advance(1.65)
    assert "".join(queue.served) == "!1234123412341234"
    await queue.end()


async def test_results_get_half_of_the_slots_while_starts_queue(clock: FakeClock) -> None:
    """Finished runs are read as fast as others are started."""
    queue = Queue(clock)
    await queue.come("!", START)
    await queue.come("r" * 5, RESULT)
    await queue.come("s" * 40, START)
    await clock.advance(1.45)
    assert "".join(queue.served) == "!" + "sr" * 5 + "s" * 4
    await queue.end()


async def test_turns_are_not_saved_up(clock: FakeClock) -> None:
    """Only slots that went to others while somebody waited below count."""
    queue = Queue(clock)
    await queue.come("s" * 30, START)
    await clock.advance(2)
    await queue.come("xy", STATUS)
    await clock.advance(0.45)
    assert "".join(queue.served) == "s" * 21 + "xsys"
    await queue.end()


async def test_who_comes_with_a_free_slot_still_lets_others_go_first(clock: FakeClock) -> None:
    """A look that comes just when the token does waits behind a start."""
    queue = Queue(clock)
    await queue.come("!", START)
    await queue.come("a", START)
    clock.now += 0.1  # the token is there, its timer has not fired yet
    await queue.come("x", STATUS)
    assert "".join(queue.served) == "!a"
    await clock.advance(0.1)
    assert "".join(queue.served) == "!ax"


@pytest.mark.parametrize("priority", Priority)
async def test_cancelled_caller_frees_its_place_in_every_class(
    clock: FakeClock, priority: Priority
) -> None:
    """Those behind move up, and the figures know at once."""
    queue = Queue(clock)
    await queue.come("!", START)
    await queue.come("abc", priority)
    queue.tasks[1].cancel()
    await settle()
    assert queue.budget.stats().waiting[priority.name.lower()] == 2
    await clock.advance(0.2)
    assert "".join(queue.served) == "!bc"
    assert sum(queue.budget.stats().waiting.values()) == 0


async def test_figures_show_what_is_going_on(clock: FakeClock) -> None:
    """`stats` has the rate, who waits, what is in flight and what was granted."""
    queue = Queue(clock, places=2)
    await queue.come("ab", START)
    await queue.come("x", STATUS)
    await clock.advance(0.1)
    stats = queue.budget.stats()
    assert (stats.rate, stats.ceiling, stats.stopped_for) == (10, 10, 0)
    assert stats.waiting == {"start": 0, "stop": 0, "result": 0, "status": 1}
    assert stats.granted == {"start": 2, "stop": 0, "result": 0, "status": 0}
    assert (stats.in_flight, stats.refused) == (2, 0)
    await queue.end()
