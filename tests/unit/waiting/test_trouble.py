"""What a wait survives, what ends it, and where the output comes from, by a clock moved by hand."""

from __future__ import annotations

import asyncio
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
from refold_async._protocol import Output
from tests.support.service import House

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


async def test_retry_after_postpones_the_look_and_costs_no_budget(house: House) -> None:
    """The service's own advice is not held against it."""
    house.service.documents[0] = RateLimitError("slow down", status=429, retry_after=100)
    task = asyncio.create_task(house.handle().result())
    await house.clock.advance(99)
    assert len(house.service.looks) == 1
    await house.clock.advance(150)
    assert len(house.service.looks) == 3
    assert not task.done()
    task.cancel()


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
        patch.setattr(house.tracker._agenda, "_start_look", broken)
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
