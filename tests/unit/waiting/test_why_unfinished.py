"""Why is it not finished? What a wait that timed out says, by a clock moved by hand."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    ExecutionStatus,
    NodeRun,
    NotFoundError,
    ServerError,
    TransportError,
    WaitTimeoutError,
)
from refold_async._protocol import Output, read_execution
from refold_async._waiting.progress import Progress
from refold_async._waiting.report import reattach, wait_timeout
from tests.support.service import RUN, House

if TYPE_CHECKING:
    from refold_async import ExecutionHandle
    from tests.support.clock import FakeClock

DOWN = ServerError("down", status=503).about(operation="get_execution")
AGAIN = "await refold.handle('6a314c54d4616e99e7fa5a02', linked_account_id='acct')"


def at(name: str, done: float = 40.0, **fields: Any) -> dict[str, Any]:
    """Give a document of a run that stands at a node."""
    node = {"node_id": "n2", "node_name": name, "node_status": "Ready", "attempts_made": 2}
    nodes = [node | {"maximum_attempts": 5, "execution_time": 12_345} | fields]
    return {"status": "RUNNING", "completion_percentage": done, "nodes": nodes}


@pytest.fixture
def house(clock: FakeClock) -> House:
    """A tracker over a scripted service."""
    return House(clock)


async def why(house: House, *documents: Any, timeout: float = 60.0) -> WaitTimeoutError:
    """Wait in vain, and give the error."""
    house.service.documents = deque(documents)
    wait = asyncio.create_task(house.handle().result(timeout=timeout))
    await house.clock.advance(timeout)
    with pytest.raises(WaitTimeoutError) as caught:
        await wait
    return caught.value


async def test_all_that_is_known_is_said(house: House) -> None:
    """Where it stands, how old that is, what fails since when, and how to go on."""
    error = await why(house, at("Create contact"), at("Create contact"), DOWN, timeout=30)

    look_age, node_age = error.look_age, error.node_age
    assert look_age is not None
    assert node_age is not None
    assert 28 < look_age < node_age == 30.0
    assert str(error) == (
        "execution 6a314c54d4616e99e7fa5a02 did not end within 30.0 s; last seen RUNNING, 40 %,"
        " at node 'Create contact' (Ready, 2 of 5 tries) for 12.3 s."
        f" That look was {look_age:.1f} s ago; {error.failed_looks} looks have failed since,"
        " the last one with ServerError: get_execution: HTTP 503, down."
        " The run was first seen at that node 30.0 s ago."
        f" It goes on: {AGAIN}"
    )


async def test_all_that_is_known_is_an_attribute(house: House) -> None:
    """Code needs no message."""
    error = await why(house, at("Create contact"), DOWN, timeout=30)

    assert isinstance(error.node, NodeRun)
    assert (error.node.name, error.node.attempts, error.node.max_attempts) == (
        "Create contact",
        2,
        5,
    )
    assert error.last_status is ExecutionStatus.RUNNING
    assert (error.execution_id, error.waited, error.completion_percentage) == (RUN, 30.0, 40.0)
    assert (error.look_age, error.node_age) == (30.0, 30.0)
    assert error.failed_looks == len(house.service.looks) - 1 > 3
    assert error.last_error == "ServerError: get_execution: HTTP 503, down"
    assert error.reattach == AGAIN


async def test_a_look_that_succeeds_clears_the_failures(house: House) -> None:
    """Trouble that is over is not why a run is unfinished."""
    error = await why(house, DOWN, DOWN, at("A"))

    assert (error.failed_looks, error.last_error) == (0, None)
    assert error.look_age is not None
    assert error.look_age < 12
    assert f"That look was {error.look_age:.1f} s ago. The run was first seen" in str(error)


async def test_without_a_look_that_succeeds_there_is_no_status(house: House) -> None:
    """The message says so, and what the looks fail with."""
    gone = NotFoundError("Execution not found.", status=404)
    error = await why(house, gone, timeout=0.5)

    assert (error.last_status, error.snapshot, error.node) == (None, None, None)
    assert (error.look_age, error.node_age, error.completion_percentage) == (None, None, None)
    assert str(error) == (
        "execution 6a314c54d4616e99e7fa5a02 was not seen to end within 0.5 s."
        " No look has succeeded yet; 1 look has failed,"
        " the last one with NotFoundError: HTTP 404, Execution not found."
        f" It goes on: {AGAIN}"
    )


async def test_a_wait_before_the_first_look_says_so(house: House) -> None:
    """A fresh run isn't looked at in its first second."""
    wait = asyncio.create_task(house.handle(attempts=1).wait(timeout=0.2))
    await house.clock.advance(0.2)
    with pytest.raises(WaitTimeoutError) as caught:
        await wait
    assert str(caught.value) == (
        "execution 6a314c54d4616e99e7fa5a02 was not seen to end within 0.2 s."
        f" No look has been answered yet. It goes on: {AGAIN}"
    )


async def _read(handle: ExecutionHandle[Any]) -> None:
    async for _ in handle.snapshots():
        pass


async def test_the_node_is_timed_from_the_first_look_that_saw_it(house: House) -> None:
    """Another try or percentage is no other node; another node is."""
    clock, began = house.clock, house.clock.now
    handle = house.handle()
    house.service.documents = deque([at("A", 10.0), at("A", 20.0), at("A", 20.0, attempts_made=3)])
    wait = asyncio.create_task(handle.result(timeout=100))
    # With a reader of nodes about, every look reads them.
    reader = asyncio.create_task(_read(handle))
    await clock.advance(50)
    house.service.documents = deque([at("B", 30.0, node_id="n3")])
    moved, looks = clock.now, len(house.service.looks)
    while len(house.service.looks) == looks:
        await clock.advance(0.5)
    seen = clock.now
    await clock.advance(began + 100 - seen)
    with pytest.raises(WaitTimeoutError) as caught:
        await wait
    reader.cancel()
    assert caught.value.node_age is not None
    assert 100 - (seen - began) <= caught.value.node_age <= 100 - (moved - began)


async def test_a_run_without_nodes_has_no_node(house: House) -> None:
    """A queued run may have none yet."""
    error = await why(house, at("A"), "WAITING")

    assert (error.node, error.node_age) == (None, None)
    assert "last seen WAITING. That look" in str(error)
    assert "that node" not in str(error)


async def test_an_ended_run_whose_output_does_not_come_has_ended(house: House) -> None:
    """The message must not claim that it goes on."""
    house.service.outputs = deque([TransportError("connection reset")])
    error = await why(house, "COMPLETED", timeout=30)

    assert error.last_status is ExecutionStatus.COMPLETED
    assert str(error).startswith(
        "execution 6a314c54d4616e99e7fa5a02 has ended COMPLETED, but its output did not come"
        " within 30.0 s. That look was 30.0 s ago; "
    )
    assert "the last one with TransportError: connection reset. Read it again: await" in str(error)


async def test_an_output_that_lags_behind_is_no_failed_look(house: House) -> None:
    """The service answered, it just isn't ready."""
    house.service.outputs = deque([Output(value=None, status=ExecutionStatus.RUNNING)])
    error = await why(house, "COMPLETED", timeout=30)

    assert (error.failed_looks, error.last_error) == (0, None)


def test_nothing_remote_floods_the_message() -> None:
    """Names, statuses and errors are cut, and control characters escaped."""
    progress = Progress()
    document = at("N\x1b[2J" * 1000, node_status="S\n" * 1000) | {"status": "T\r" * 1000}
    progress.saw(read_execution(document, execution_id=RUN), 1.0)
    progress.missed(ServerError("E\x00" * 1000, status=500), 2.0)
    error = wait_timeout(execution_id=RUN, account="a", progress=progress, waited=9.0, now=10.0)

    assert str(error).isprintable()
    assert len(str(error)) < 1200
    assert error.last_error is not None
    assert len(error.last_error) < 500


@pytest.mark.parametrize(
    ("account", "line"),
    [
        pytest.param(None, "await refold.handle('e1')", id="session-token"),
        pytest.param(
            "acct_1", "await refold.handle('e1', linked_account_id='acct_1')", id="account"
        ),
        pytest.param(
            "o'brien", "await refold.handle('e1', linked_account_id=\"o'brien\")", id="quoted"
        ),
    ],
)
def test_the_line_that_reattaches_is_code(account: str | None, line: str) -> None:
    """It names the account, since a client of another one would not find the run."""
    assert line == reattach("e1", account)
    compile(line, "line", "eval", flags=0x2000)  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
