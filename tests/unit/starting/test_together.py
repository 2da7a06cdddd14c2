"""One reading for all who wait for one, each after its question was asked."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any

import pytest

from refold_async import ServerError
from refold_async._starting.together import Together
from tests.support.clock import FakeClock, settle


class List:
    """A list that is read when the test says so; it answers with the questions it was asked."""

    def __init__(self) -> None:
        self.readings: list[tuple[str | None, list[str]]] = []
        self.gates: list[asyncio.Future[None]] = []

    async def read(self, account: str | None, questions: list[str]) -> list[str]:
        """Wait for the test."""
        self.readings.append((account, [*questions]))
        self.gates.append(asyncio.get_running_loop().create_future())
        await self.gates[-1]
        return questions


async def test_who_comes_during_a_reading_shares_the_next(clock: FakeClock) -> None:
    """What it shows may be older than their questions."""
    shown = List()
    together = Together(shown.read, clock)
    first = [asyncio.ensure_future(together.ask("a", f"q{n}", None)) for n in range(3)]
    await settle()
    later = [asyncio.ensure_future(together.ask("a", f"r{n}", None)) for n in range(50)]
    await settle()
    assert shown.readings == [("a", ["q0", "q1", "q2"])]
    shown.gates[0].set_result(None)
    await settle()
    assert [len(asked) for _, asked in shown.readings] == [3, 50]
    shown.gates[1].set_result(None)
    assert (await first[0], len(await later[0] or [])) == (["q0", "q1", "q2"], 50)
    await asyncio.gather(*first, *later)


async def test_accounts_do_not_wait_for_each_other(clock: FakeClock) -> None:
    """One list that hangs holds up its own account alone."""
    shown = List()
    together = Together(shown.read, clock)
    calls = [asyncio.ensure_future(together.ask(who, "q", None)) for who in ("a", "b", None)]
    await settle()
    shown.gates[1].set_result(None)
    assert await calls[1] == ["q"]
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    await settle()


async def test_who_leaves_disturbs_nobody_and_the_last_ends_the_reading(clock: FakeClock) -> None:
    """Cancelled, or out of time."""
    shown = List()
    together = Together(shown.read, clock)
    stays = asyncio.ensure_future(together.ask("a", "stays", None))
    leaves = asyncio.ensure_future(together.ask("a", "leaves", None))
    late = asyncio.ensure_future(together.ask("a", "late", clock.monotonic() + 5))
    await settle()
    leaves.cancel()
    await clock.advance(6)
    assert (leaves.cancelled(), await late, stays.done()) == (True, None, False)
    stays.cancel()
    await settle()
    assert shown.gates[0].cancelled()
    again = asyncio.ensure_future(together.ask("a", "again", None))
    await settle()
    shown.gates[1].set_result(None)
    assert await again == ["again"]


async def test_a_list_that_can_not_be_read_is_told_to_all_who_waited(clock: FakeClock) -> None:
    """And the next reading is another."""
    shown = List()
    together = Together(shown.read, clock)
    calls = [asyncio.ensure_future(together.ask("a", f"q{n}", None)) for n in range(2)]
    await settle()
    next_one = asyncio.ensure_future(together.ask("a", "next", None))
    await settle()
    shown.gates[0].set_exception(ServerError("down", status=503))
    for call in calls:
        with pytest.raises(ServerError):
            await call
    await settle()
    shown.gates[1].set_result(None)
    assert await next_one == ["next"]


async def test_a_waiting_reading_that_is_given_up_lets_later_ones_be(clock: FakeClock) -> None:
    """Nobody wants it any more before it began."""
    shown = List()
    together = Together(shown.read, clock)
    first = asyncio.ensure_future(together.ask("a", "first", None))
    await settle()
    second = asyncio.ensure_future(together.ask("a", "second", None))
    await settle()
    second.cancel()
    await settle()
    third = asyncio.ensure_future(together.ask("a", "third", None))
    await settle()
    shown.gates[0].set_result(None)
    await settle()
    shown.gates[1].set_result(None)
    assert (await first, await third) == (["first"], ["third"])
    assert [asked for _, asked in shown.readings] == [["first"], ["third"]]


async def test_who_comes_as_the_last_one_leaves_gets_a_reading(clock: FakeClock) -> None:
    """Not the one that is just being given up."""
    shown = List()
    together = Together(shown.read, clock)
    first = asyncio.ensure_future(together.ask("a", "first", None))
    await settle()
    second = asyncio.ensure_future(together.ask("a", "second", None))
    await settle()
    second.cancel()
    third = asyncio.ensure_future(together.ask("a", "third", None))
    await settle()
    shown.gates[0].set_result(None)
    await settle()
    shown.gates[1].set_result(None)
    assert await first == ["first"]
    assert "third" in (await third or [])  # on a loop with eager tasks it came before


async def test_a_list_that_fails_as_the_last_one_leaves_is_no_noise(clock: FakeClock) -> None:
    """Nobody is there to be told, and the loop has nothing to complain of."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: complaints.append(said))
    shown = List()
    call = asyncio.ensure_future(Together(shown.read, clock).ask("a", "q", None))
    await settle()
    shown.gates[0].set_exception(ServerError("down", status=503))
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    del call, shown
    gc.collect()
    assert complaints == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks")
async def test_an_eager_reading_has_its_questions(clock: FakeClock) -> None:
    """On a loop that begins a task where it is made, it waits for them all the same."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        pytest.skip("uvloop hands a factory what that of Python 3.13 doesn't take")
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - not in 3.11
    shown = List()
    together = Together(shown.read, clock)
    calls = [asyncio.ensure_future(together.ask("a", f"q{n}", None)) for n in range(3)]
    await settle()
    assert shown.readings == [("a", ["q0", "q1", "q2"])]
    shown.gates[0].set_result(None)
    await asyncio.gather(*calls)
