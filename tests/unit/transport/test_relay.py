"""A coroutine that is driven by hand: its deadline moves, and its caller may leave."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from refold_async._transport.relay import Relay, Relays

if TYPE_CHECKING:
    from collections.abc import Coroutine


def soon() -> float:
    """Give a deadline that is close."""
    return asyncio.get_running_loop().time() + 0.01


async def ends(relay: Relay[Any], waiting: asyncio.Future[Any]) -> str:
    """Wait, and tell how that ended, as the wire does."""
    try:
        return str(await waiting)
    except asyncio.CancelledError:
        if relay.expired:
            return "expired"
        if relay.aborted:
            return "aborted"
        raise


class Leaving(Relay[str]):
    """A relay that is told whether its coroutine outlives the caller."""

    outlives = True


class Handover:
    """Takes the rest of a coroutine over in a task of its own."""

    def __init__(self, *, outlives: bool = True) -> None:
        self.relay = Leaving(Relays())
        self.relay.outlives = outlives
        self.waiting: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.rests: list[asyncio.Task[str]] = []
        self.caller = asyncio.create_task(self._call())

    async def _call(self) -> str:
        return await self.relay.run(ends(self.relay, self.waiting), left=self._take)

    def _take(self, rest: Coroutine[Any, Any, str]) -> None:
        self.rests.append(asyncio.create_task(rest))

    async def leave(self) -> None:
        """Let the coroutine begin to wait, and cancel its caller then."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.caller.cancel()
        await asyncio.wait([self.caller])


async def test_the_result_is_handed_through() -> None:
    """What the coroutine returns is what the caller gets, across real waits."""

    async def work() -> str:
        await asyncio.sleep(0.001)
        return "done"

    assert await Relay[str](Relays()).run(work()) == "done"


async def test_an_exception_is_handed_through() -> None:
    """What the coroutine raises reaches the caller as it is."""
    error = ValueError("no")

    async def work() -> None:
        await asyncio.sleep(0.001)
        raise error

    with pytest.raises(ValueError, match="no") as caught:
        await Relay[None](Relays()).run(work())
    assert caught.value is error


async def test_an_awaited_exception_is_raised_inside() -> None:
    """A future that fails raises in the coroutine, which may handle it."""
    waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> str:
        try:
            await waiting
        except OSError:
            return "handled"
        return "missed"

    asyncio.get_running_loop().call_soon(waiting.set_exception, OSError())
    assert await Relay[str](Relays()).run(work()) == "handled"


async def test_bare_yields_let_others_run() -> None:
    """`asyncio.sleep(0)` inside gives the loop a turn each time."""
    turns: list[int] = []

    async def work() -> int:
        for _ in range(3):
            await asyncio.sleep(0)
        return len(turns)

    async def other() -> None:
        for turn in range(3):
            turns.append(turn)
            await asyncio.sleep(0)

    _, seen = await asyncio.gather(other(), Relay[int](Relays()).run(work()))
    assert seen >= 2


async def test_a_cancellation_at_a_bare_yield_is_raised_inside() -> None:
    """A caller that is cancelled while the coroutine yields cancels the coroutine."""
    ended: list[str] = []

    async def work() -> None:
        try:
            for _ in range(1000):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    caller = asyncio.ensure_future(Relay[None](Relays()).run(work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    assert (ended, caller.cancelled()) == (["cancelled"], True)


async def test_the_deadline_cancels_and_says_so() -> None:
    """The coroutine is cancelled at its deadline, its caller is not."""
    relay = Relay[str](Relays())
    relay.reschedule(soon())
    waiting = asyncio.get_running_loop().create_future()
    assert await relay.run(ends(relay, waiting)) == "expired"
    assert waiting.cancelled()


async def test_a_moved_deadline_counts_from_its_new_place() -> None:
    """A deadline that is moved on from within does not strike at the old place."""
    relay = Relay[str](Relays())
    relay.reschedule(soon())

    async def work() -> str:
        relay.reschedule(soon() + 30)
        await asyncio.sleep(0.03)
        return "done"

    assert await relay.run(work()) == "done"
    assert not relay.expired


async def test_a_deadline_that_passes_between_two_waits_strikes_at_the_next() -> None:
    """Bare yields can't be cancelled, so the next real wait is."""
    relay = Relay[str](Relays())
    relay.reschedule(asyncio.get_running_loop().time())
    waiting = asyncio.get_running_loop().create_future()

    async def work() -> str:
        while not relay.expired:  # noqa: ASYNC110
            await asyncio.sleep(0)
        return await ends(relay, waiting)

    assert await relay.run(work()) == "expired"


async def test_the_deadline_strikes_once() -> None:
    """What the coroutine awaits while it cleans up is left alone."""
    relay = Relay[str](Relays())
    relay.reschedule(soon())

    async def work() -> str:
        said = await ends(relay, asyncio.get_running_loop().create_future())
        await asyncio.sleep(0.001)
        return said

    assert await relay.run(work()) == "expired"


async def test_one_timer_serves_the_deadlines_of_all() -> None:
    """Each ends at its own deadline, whichever was set first; what has ended is left alone."""
    relays, loop = Relays(), asyncio.get_running_loop()
    early, late, brief = Relay[str](relays), Relay[str](relays), Relay[str](relays)
    over: list[str] = []

    async def wait(name: str, relay: Relay[str], deadline: float) -> str:
        relay.reschedule(deadline)
        ended = await relay.run(ends(relay, loop.create_future()))
        over.append(name)
        return ended

    brief.reschedule(soon())
    assert await brief.run(asyncio.sleep(0, "done")) == "done"
    both = [wait("late", late, loop.time() + 0.04), wait("early", early, loop.time() + 0.02)]
    assert await asyncio.gather(*both) == ["expired", "expired"]
    assert (over, brief.expired, len(relays)) == (["early", "late"], False, 0)


async def test_all_are_aborted_together_and_the_timer_stopped() -> None:
    """Their owner ends them; no deadline strikes afterwards."""
    relays, loop = Relays(), asyncio.get_running_loop()
    both = [Relay[str](relays), Relay[str](relays)]
    for relay in both:
        relay.reschedule(soon())
    tasks = [asyncio.ensure_future(r.run(ends(r, loop.create_future()))) for r in both]
    await asyncio.sleep(0)
    relays.abort()
    relays.stop_timer()
    assert await asyncio.gather(*tasks) == ["aborted", "aborted"]
    await asyncio.sleep(0.02)
    assert [relay.expired for relay in both] == [False, False]


async def test_abort_cancels_and_says_so() -> None:
    """Whoever owns the relay may end its coroutine, which can tell why."""
    relay = Relay[str](Relays())
    asyncio.get_running_loop().call_soon(relay.abort)
    assert await relay.run(ends(relay, asyncio.get_running_loop().create_future())) == "aborted"
    assert not relay.expired


@pytest.mark.parametrize("outlives", [None, False])
async def test_a_caller_that_leaves_too_early_takes_the_coroutine_along(
    outlives: bool | None,
) -> None:
    """With nobody to take it over, or while it does not outlive, it is cancelled as well."""
    if outlives is None:
        relay = Relay[str](Relays())
        waiting = asyncio.get_running_loop().create_future()
        caller = asyncio.ensure_future(relay.run(ends(relay, waiting)))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        assert (caller.cancelled(), waiting.cancelled()) == (True, True)
        return
    handover = Handover(outlives=False)
    await handover.leave()
    assert (
        handover.caller.cancelled(),
        handover.waiting.cancelled(),
        handover.rests,
    ) == (True, True, [])


async def test_a_coroutine_that_outlives_its_caller_ends_with_its_true_result() -> None:
    """The caller is gone at once; the rest waits on, and gives what it would have given."""
    handover = Handover()
    await handover.leave()
    assert handover.caller.cancelled()
    assert not handover.waiting.done()
    handover.waiting.set_result("done")
    assert await handover.rests[0] == "done"


async def test_what_was_handed_over_obeys_its_deadline() -> None:
    """Nobody waits any more, and still it ends in time."""
    handover = Handover()
    handover.relay.reschedule(soon())
    await handover.leave()
    assert await handover.rests[0] == "expired"


async def test_what_was_handed_over_can_be_aborted() -> None:
    """Its owner can end what has no caller."""
    handover = Handover()
    await handover.leave()
    await asyncio.sleep(0)
    handover.relay.abort()
    assert await handover.rests[0] == "aborted"


async def test_what_was_handed_over_is_not_handed_over_again() -> None:
    """Cancelling the task that took it over cancels the coroutine."""
    handover = Handover()
    await handover.leave()
    await asyncio.sleep(0)
    handover.rests[0].cancel()
    await asyncio.wait(handover.rests)
    assert (
        handover.rests[0].cancelled(),
        handover.waiting.cancelled(),
        len(handover.rests),
    ) == (True, True, 1)


async def test_a_timeout_inside_works() -> None:
    """`asyncio.timeout` in the coroutine ends its block, not its caller."""

    async def work() -> str:
        try:
            async with asyncio.timeout(0.005):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            await asyncio.sleep(0)
            return "in time"
        return "never"

    assert await Relay[str](Relays()).run(work()) == "in time"


async def test_a_cancellation_that_meets_a_finished_wait_is_not_lost() -> None:
    """The awaited future is done but not yet seen: the coroutine is cancelled at its next step."""
    handover = Handover(outlives=False)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    handover.waiting.set_result("done")
    handover.caller.cancel()
    await asyncio.wait([handover.caller])
    assert handover.caller.cancelled()


async def test_a_wait_that_is_finished_when_the_caller_leaves_keeps_its_result() -> None:
    """What outlives its caller goes on from a future that is done already."""
    handover = Handover()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    handover.waiting.set_result("done")
    handover.caller.cancel()
    await asyncio.wait([handover.caller])
    assert await handover.rests[0] == "done"
