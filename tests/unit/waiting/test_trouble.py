"""What a wait survives, what ends it, and where the output comes from, by a clock moved by hand."""

from __future__ import annotations

import asyncio
import functools
import pickle
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    ApiError,
    AuthenticationError,
    ExecutionStatus,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RefoldError,
    ServerError,
    TransportError,
    WaitTimeoutError,
)
from refold_async._protocol import Output, read_execution
from tests.support.service import RUN, House

if TYPE_CHECKING:
    from tests.support.clock import FakeClock

DONE_WITH_NODES = {
    "status": "COMPLETED",
    "nodes": [{"node_name": "Answer", "node_type": "response", "latest_output": "of the node"}],
}
DOWN = ServerError("down", status=503)
GONE = NotFoundError("Execution not found", status=404)


@pytest.fixture
def house(clock: FakeClock) -> House:
    """A tracker over a scripted service."""
    return House(clock)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(AuthenticationError("Invalid Credentials", status=401), id="401"),
        pytest.param(PermissionDeniedError("not yours", status=403), id="403"),
    ],
)
async def test_401_and_403_end_the_wait_at_once(house: House, error: ApiError) -> None:
    """Looking again would not help; a later wait tries afresh."""
    house.service.documents[0] = error
    handle = house.handle()
    with pytest.raises(type(error)):
        await handle
    house.service.documents = type(house.service.documents)(["COMPLETED"])
    assert (await handle).output == "the output"


async def test_failed_looks_are_survived_for_a_minute(house: House) -> None:
    """5xx, resets and 429 in a row don't end a wait that the service then answers."""
    house.service.documents.clear()
    house.service.documents.extend(
        [DOWN, TransportError("reset"), DOWN, "RUNNING", DOWN, "COMPLETED"]
    )
    task = asyncio.create_task(house.handle().result())
    await house.clock.advance(60)
    assert task.result().output == "the output"


async def test_failures_for_longer_than_the_budget_end_the_wait(house: House) -> None:
    """The read error is raised; the next wait has a full budget again."""
    house.service.documents[0] = DOWN
    handle = house.handle()
    task = asyncio.create_task(handle.result())
    await house.clock.advance(59)
    assert not task.done()
    await house.clock.advance(30)
    with pytest.raises(ServerError):
        task.result()
    again = asyncio.create_task(handle.result())
    await house.clock.advance(30)
    house.service.documents[0] = "COMPLETED"
    await house.clock.advance(15)
    assert again.result().output == "the output"


async def test_a_fresh_run_may_be_unknown_for_a_while(house: House) -> None:
    """404 is no news for `not_found_grace` seconds, then it is the answer."""
    house.service.documents[0] = GONE
    task = asyncio.create_task(house.handle().result())
    await house.clock.advance(4.5)
    assert not task.done()
    await house.clock.advance(6)
    with pytest.raises(NotFoundError):
        task.result()


async def test_404_after_the_run_was_seen_is_a_failed_look(house: House) -> None:
    """A replica that lags behind doesn't make a known run unknown."""
    house.service.documents.clear()
    house.service.documents.extend(["RUNNING", *[GONE] * 4, "COMPLETED"])
    task = asyncio.create_task(house.handle().result())
    await house.clock.advance(60)
    assert task.result().output == "the output"


async def test_retry_after_postpones_the_look(house: House) -> None:
    """What the service asks for is obeyed, and load is waited out for two minutes."""
    house.service.documents[0] = RateLimitError("slow down", status=429, retry_after=100)
    task = asyncio.create_task(house.handle().result())
    await house.clock.advance(99)
    assert len(house.service.looks) == 1
    await house.clock.advance(2)
    assert (len(house.service.looks), task.done()) == (2, False)
    await house.clock.advance(100)
    with pytest.raises(RateLimitError):
        task.result()


@pytest.mark.parametrize("asked", [86_400.0, 1e308])
async def test_a_long_retry_after_puts_nobody_to_sleep(house: House, asked: float) -> None:
    """It counts as two minutes; and the failure budget counts from the failure."""
    house.service.documents.clear()
    house.service.documents.extend(
        [ServerError("down", status=503, retry_after=asked), "COMPLETED"]
    )
    once = asyncio.create_task(house.handle().result())
    await house.clock.advance(121)
    assert once.result().output == "the output"
    house.service.documents[0] = ServerError("down", status=503, retry_after=asked)
    always = asyncio.create_task(house.handle("other", attempts=1).result())
    await house.clock.advance(125)
    with pytest.raises(ServerError):
        always.result()


async def test_a_pause_in_waiting_gives_a_new_wait_its_whole_budget(house: House) -> None:
    """Looks that failed an hour ago say nothing of now."""
    house.service.documents[0] = DOWN
    handle = house.handle()
    for _ in range(3):
        wait = asyncio.create_task(handle.result())
        await house.clock.advance(40)
        assert not wait.done()
        wait.cancel()
        await house.clock.advance(3_600)


async def test_404_of_a_run_that_is_not_fresh_is_raised_at_once(house: House) -> None:
    """A mistyped id, or one of another account; also one that tells no time."""
    house.service.documents[0] = GONE
    await house.clock.advance(6)
    for execution_id in (RUN, "run-1", "f" * 24, "0" * 24):
        with pytest.raises(NotFoundError):
            await house.handle(execution_id)
    assert len(house.service.looks) == 4


async def test_an_unheard_of_status_is_neither_the_end_nor_endless(house: House) -> None:
    """It counts as running, and the caller's timeout ends the wait."""
    house.service.documents[0] = "Pondering"
    task = asyncio.create_task(house.handle().result(timeout=120))
    await house.clock.advance(121)
    with pytest.raises(WaitTimeoutError) as info:
        task.result()
    assert info.value.last_status == "Pondering"
    assert not info.value.last_status.is_terminal


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(GONE, id="path not served"),
        pytest.param(AuthenticationError("no tokens here", status=401), id="no session tokens"),
    ],
)
async def test_the_response_node_stands_in_for_the_response_path(
    house: House, refusal: ApiError
) -> None:
    """Where the v1 path refuses, the document has the same data."""
    house.service.documents[0] = DONE_WITH_NODES
    house.service.outputs[0] = refusal
    assert (await house.handle()).output == "of the node"


async def test_an_output_that_lags_behind_comes_from_the_node(house: House) -> None:
    """The document says COMPLETED, the response path RUNNING: the node has the data."""
    house.service.documents[0] = DONE_WITH_NODES
    house.service.outputs[0] = Output(value=None, status=ExecutionStatus.RUNNING)
    task = asyncio.create_task(house.handle().result())
    await house.clock.advance(20)
    assert task.result().output == "of the node"


async def test_an_output_that_lags_behind_without_a_node_is_asked_for_again(house: House) -> None:
    """And not for ever: after the failure budget, what there is is the output."""
    house.service.documents[0] = "COMPLETED"
    lagging = Output(value=None, status=ExecutionStatus.RUNNING)
    house.service.outputs.extendleft([lagging, lagging])
    task = asyncio.create_task(house.handle().result())
    await house.clock.advance(10)
    assert task.result().output == "the output"
    house.service.outputs.clear()
    house.service.outputs.append(lagging)
    other = asyncio.create_task(house.handle("other").result())
    await house.clock.advance(90)
    assert other.result().output is None


async def test_a_broken_tracker_fails_its_waits_and_starts_afresh(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of ours leaves nobody waiting for ever, and is logged with its traceback."""
    waits = [asyncio.create_task(house.handle(f"e{n}").wait()) for n in range(3)]
    await house.clock.advance(0)
    house.service.documents = type(house.service.documents)(["COMPLETED"])

    def broken(_: object) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(house.tracker._schedule, "_start_look", broken)
        second = asyncio.create_task(house.handle("e9").wait())
        await house.clock.advance(60)
        with pytest.raises(RefoldError, match="tracking e9 failed: MemoryError"):
            await second
    await asyncio.gather(*waits, return_exceptions=True)
    assert (await house.handle("e9")).output == "the output"
    assert "no room" in caplog.text


@pytest.mark.parametrize("turns", [0, 1, 5])
async def test_a_look_cancelled_by_a_stranger_is_made_again(house: House, turns: int) -> None:
    """Some servers cancel all tasks of a loop when they stop, and others wait on."""
    stuck = asyncio.Event()
    answer = house.service.get_execution

    async def never(*args: Any, **options: Any) -> Any:
        await stuck.wait()

    house.service.get_execution = never  # type: ignore[method-assign]
    wait = asyncio.create_task(house.handle().wait())
    ours = {wait, asyncio.current_task()}
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    looks = asyncio.all_tasks() - ours
    assert len(looks) == 1
    for _ in range(turns):
        await asyncio.sleep(0)
    house.service.get_execution = answer  # type: ignore[method-assign]
    house.service.documents[0] = "COMPLETED"
    for look in looks:
        look.cancel()
    await house.clock.advance(60)
    assert (await wait).output == "the output"


# -- lists and documents that are behind each other -----------------------------------------------


async def told(house: House, status: str = "COMPLETED") -> None:
    """Let a list say that the run is over."""
    entry = read_execution({"_id": RUN, "status": status}, execution_id=RUN)
    account = house.tracker._accounts["acct"]
    house.tracker.rounds.saw(entry, account, house.clock.now)
    await house.clock.advance(0)


async def test_a_list_that_runs_ahead_settles_nothing(house: House) -> None:
    """The document still says RUNNING: it is asked again soon, then ever more rarely."""
    house.service.outputs[0] = Output(value=None, status=ExecutionStatus.RUNNING)
    task = asyncio.create_task(house.handle(attempts=1).result())
    await house.clock.advance(0.5)
    await told(house)
    looks = len(house.service.looks)
    await house.clock.advance(60)
    assert not task.done()
    assert 5 <= (len(house.service.looks) - looks) / 2 <= 9, "each look reads both"
    house.service.documents[0] = "COMPLETED"
    house.service.outputs[0] = "the output"
    await house.clock.advance(16)
    assert task.result().status == "COMPLETED"
    assert task.result().output == "the output"


async def test_an_end_that_a_list_told_is_read_at_once(house: House) -> None:
    """Once, for the output."""
    task = asyncio.create_task(house.handle(attempts=1).result())
    await house.clock.advance(0.5)
    house.service.documents = type(house.service.documents)(["COMPLETED"])
    await told(house)
    assert task.result().output == "the output"
    assert house.counters.polls == 0


async def test_a_list_that_is_behind_takes_nothing_back(house: House) -> None:
    """What the document has said of the end stands, while the output is waited for."""
    house.service.documents[0] = "COMPLETED"
    house.service.outputs[0] = TransportError("reset")
    handle = house.handle()
    task = asyncio.create_task(handle.result())
    await house.clock.advance(0.5)
    await told(house, "RUNNING")
    house.service.outputs[0] = "the output"
    await house.clock.advance(20)
    assert task.result().output == "the output"


@pytest.mark.parametrize("error", [GONE, DOWN, PermissionDeniedError("not yours", status=403)])
async def test_readers_of_a_settled_run_hear_why_its_document_can_not_be_read(
    house: House, error: ApiError
) -> None:
    """And meanwhile it is asked for with growing pauses, not as fast as it answers."""
    house.service.documents[0] = "COMPLETED"
    handle = house.handle(attempts=1)
    task = asyncio.create_task(handle.result())
    await house.clock.advance(0.5)
    await told(house)
    assert task.done()
    house.service.documents[0] = error
    house.service._shown.clear()
    asked, reader = len(house.service.looks), asyncio.ensure_future(anext(handle.snapshots()))
    await house.clock.advance(80)
    with pytest.raises(type(error)):
        reader.result()
    assert len(house.service.looks) - asked <= 9


# -- what nobody needs isn't read -----------------------------------------------------------------


async def test_without_output_the_status_of_a_list_is_enough(house: House) -> None:
    """No request is made for the run; asking for the output says why it isn't there."""
    handle, other = house.handle(attempts=1), house.handle()
    task = asyncio.create_task(handle.wait(output=False))
    await house.clock.advance(0.5)
    await told(house)
    result = task.result()
    assert (result.status, result.ok, house.service.looks) == ("COMPLETED", True, [])
    with pytest.raises(RefoldError, match=r"not read.*output=False"):
        _ = result.output
    assert "<not read>" in repr(result)
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301 - our own
    assert (handle.done(), other.done()) == (True, True)
    assert await other.wait(output=False) is result
    assert house.service.fetched == []


async def test_the_output_is_read_once_somebody_wants_it(house: House) -> None:
    """Those who wait without it and those who wait for it are each served rightly, and once."""
    house.service.documents[0] = "COMPLETED"
    handle = house.handle()
    brief, full = await asyncio.gather(handle.wait(output=False), handle.result())
    assert full.output == "the output"
    assert brief.status == full.status
    assert len(house.service.fetched) == 1
    assert await handle.wait(output=False) is full
    later = house.handle("later")
    assert not (await later.wait(output=False)).output_is_read
    assert (await later.wait()).output == (await later).output == "the output"
    assert len(house.service.fetched) == 2


async def test_a_bad_ending_needs_no_output(house: House) -> None:
    """Its result is whole: who asks for the output later gets the one there is."""
    house.service.documents[0] = "STOPPED"
    handle = house.handle()
    result = await handle.wait(output=False)
    assert (result.status, result.output) == ("STOPPED", None)
    looks = [*house.service.looks]
    assert await handle.wait() is result
    assert await house.handle().wait() is result
    assert house.service.looks == looks


# -- whose work it is -----------------------------------------------------------------------------


async def test_no_contextvar_of_a_caller_reaches_the_looks(house: House) -> None:
    """They serve all who wait: neither the first look nor a later one sees whose idea it was."""
    tenant: ContextVar[str | None] = ContextVar("tenant", default=None)
    seen: list[str | None] = []
    answer = house.service.get_execution

    async def look(*args: Any, **options: Any) -> Any:
        seen.append(tenant.get())
        return await answer(*args, **options)

    house.service.get_execution = look  # type: ignore[method-assign]
    tenant.set("one customer")
    house.clock.call_later = in_context(house.clock.call_later)  # type: ignore[method-assign]
    wait = asyncio.create_task(house.handle().wait(output=False))
    await house.clock.advance(30)
    assert len(seen) > 5
    assert {*seen} == {None}
    wait.cancel()


def in_context(call_later: Any) -> Any:
    """Run callbacks in the context in which they were made, as the timers of a loop do."""

    def wrapped(delay: float, callback: Any) -> Any:
        return call_later(delay, functools.partial(copy_context().run, callback))

    return wrapped
