"""Events and the reasons of a wait that timed out, over real HTTP against the emulator."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    ConfigError,
    ExecutionEvent,
    NodeErrored,
    NodeFinished,
    NodeRetried,
    NodeStarted,
    NotFoundError,
    PollPolicy,
    Progress,
    StatusChanged,
    WaitTimeoutError,
)
from refold_async.emulator import Emulator, Fault, NodeFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import ExecutionHandle, RefoldClient

    Connect = Callable[..., RefoldClient]

STAGES = ("Start", "Extract", "Load", "Response")


async def told(handle: ExecutionHandle[Any]) -> list[ExecutionEvent]:
    """All events of a run, from looks close together."""
    return [event async for event in handle.events(interval=0.03)]


def of_nodes(events: list[ExecutionEvent]) -> list[tuple[str, str | None]]:
    """The events of nodes, as (kind, name)."""
    kinds = NodeStarted | NodeRetried | NodeErrored | NodeFinished
    return [(type(e).__name__, e.node.name) for e in events if isinstance(e, kinds)]


async def test_a_run_is_told_from_its_start_to_its_end(
    emulator: Emulator, connect: Connect
) -> None:
    """Each node begins and ends, progress grows, and the status is the last word."""
    emulator.workflow("wf_1", slug="hubspot", duration=0.4, nodes=STAGES)(lambda _: "done")
    handle = await connect(emulator).execute("wf_1", slug="hubspot")
    events = await told(handle)

    expected = [(kind, name) for name in STAGES for kind in ("NodeStarted", "NodeFinished")]
    assert expected == of_nodes(events)
    grown = [event.percentage for event in events if isinstance(event, Progress)]
    assert len(grown) > 1
    assert grown == sorted(set(grown))
    assert grown[-1] == 100
    statuses = [event.status for event in events if isinstance(event, StatusChanged)]
    assert statuses == ["RUNNING", "COMPLETED"]
    assert isinstance(events[-1], StatusChanged)
    assert {handle.execution_id} == {event.execution_id for event in events}
    assert (await handle).output == "done"


async def test_a_failing_run_names_the_node(emulator: Emulator, connect: Connect) -> None:
    """The node that failed comes with what it said, before the run's own end."""

    @emulator.workflow("wf_1", slug="hubspot", duration=0.2, nodes=STAGES)
    def fail(_: dict[str, Any]) -> Any:
        raise NodeFailed(node="Load", message="table is locked")

    events = await told(await connect(emulator).execute("wf_1", slug="hubspot"))

    assert of_nodes(events)[-2:] == [("NodeStarted", "Load"), ("NodeErrored", "Load")]
    (errored,) = (event for event in events if isinstance(event, NodeErrored))
    assert errored.node.output == {"error": "table is locked"}
    assert isinstance(events[-1], StatusChanged)
    assert events[-1].status == "ERRORED"


async def test_a_stopped_run_ends_its_events(emulator: Emulator, connect: Connect) -> None:
    """STOPPING is a change like any other, STOPPED the last."""
    emulator.workflow("wf_1", slug="hubspot", duration=None)(lambda _: None)
    handle = await connect(emulator).execute("wf_1", slug="hubspot")
    seen: list[str] = []
    async for event in handle.events(interval=0.02):
        if isinstance(event, StatusChanged):
            seen.append(event.status)
            if event.status == "RUNNING":
                await handle.stop()
    assert seen[0] == "RUNNING"
    assert seen[-1] == "STOPPED"


def document(status: str, node_status: str, tries: int, done: float) -> Fault:
    """Answer a read with this document: the emulator's own nodes never need a second try."""
    node = {
        "node_id": "n1",
        "node_name": "Create contact",
        "node_status": node_status,
        "attempts_made": tries,
        "maximum_attempts": 5,
    }
    return Fault(body={"status": status, "completion_percentage": done, "nodes": [node]})


async def test_tries_of_a_node_are_told(emulator: Emulator, connect: Connect) -> None:
    """Also those between two looks, and a percentage that goes back."""
    emulator.workflow("wf_1", slug="hubspot")(lambda _: None)
    emulator.faults.script(
        "get_execution",
        document("RUNNING", "Ready", 1, 40),
        document("RUNNING", "Errored", 1, 40),
        Fault(status=503),
        document("RUNNING", "Ready", 4, 20),
        document("COMPLETED", "Success", 5, 100),
    )
    events = await told(await connect(emulator).execute("wf_1", slug="hubspot"))

    assert [type(event) for event in events] == [
        *(NodeStarted, Progress, StatusChanged),
        NodeErrored,
        *(NodeRetried, Progress),
        *(NodeRetried, NodeFinished, Progress, StatusChanged),
    ]
    retried = [event for event in events if isinstance(event, NodeRetried)]
    assert [(e.previous_attempts, e.node.attempts) for e in retried] == [(1, 4), (4, 5)]
    assert [e.percentage for e in events if isinstance(e, Progress)] == [40, 20, 100]


async def test_events_add_no_polling(emulator: Emulator, connect: Connect) -> None:
    """Three readers of events, one of snapshots and an awaiter share one stream of looks."""
    emulator.workflow("wf_1", slug="hubspot", duration=0.3, nodes=STAGES)(lambda _: "done")
    refold = connect(emulator)
    handle = await refold.execute("wf_1", slug="hubspot")

    async def snapshots() -> int:
        return len([snapshot async for snapshot in handle.snapshots()])

    first, second, third, looked, result = await asyncio.gather(
        told(handle), told(handle), told(handle), snapshots(), handle.wait()
    )
    assert result.output == "done"
    assert first == second == third
    assert looked <= refold.stats.polls == emulator.counts["get_execution"] < 25


async def test_an_ended_run_is_told_at_once(emulator: Emulator, connect: Connect) -> None:
    """A run that is picked up after its end takes one look."""
    emulator.workflow("wf_1", slug="hubspot")(lambda _: None)
    refold = connect(emulator)
    started = await refold.execute("wf_1", slug="hubspot")
    await started
    events = await told(connect(emulator).handle(str(started.execution_id)))

    assert len(events) == 6 + 2
    assert isinstance(events[-1], StatusChanged)
    assert (events[-1].previous, events[-1].status) == (None, "COMPLETED")


async def test_a_reader_may_leave_early(emulator: Emulator, connect: Connect) -> None:
    """Nobody looks for it any more, and the handle stays usable."""
    emulator.workflow("wf_1", slug="hubspot", duration=0.2)(lambda _: "done")
    handle = await connect(emulator).execute("wf_1", slug="hubspot")
    async with aclosing(handle.events()) as events:
        async for _ in events:
            break
    assert (await handle).output == "done"


async def test_a_run_that_cannot_be_read_ends_its_events(
    emulator: Emulator, connect: Connect
) -> None:
    """With the error that a wait would end with."""
    refold = connect(emulator, polling=PollPolicy(first=0.02, not_found_grace=0.05))
    with pytest.raises(NotFoundError):
        await told(refold.handle("6a314c54d4616e99e7fa5a02"))


async def test_a_bad_interval_is_refused(emulator: Emulator, connect: Connect) -> None:
    """The error names the argument, and no request was made."""
    with pytest.raises(ConfigError, match="interval"):
        await anext(connect(emulator).handle("e1").events(interval=-1))
    assert not emulator.requests


async def test_a_wait_in_vain_says_where_the_run_stands(connect: Connect) -> None:
    """The node, its tries, how far, and the line that reattaches, which works as it stands."""
    moments = [1_781_615_700.0]
    async with Emulator(now=lambda: moments[-1]) as emulator:
        emulator.workflow("wf_1", slug="hubspot", duration=100, nodes=STAGES)(lambda _: "done")
        handle = await connect(emulator, linked_account_id="acct_7").execute("wf_1", slug="hubspot")
        moments.append(moments[0] + 30)
        with pytest.raises(WaitTimeoutError) as caught:
            await handle.result(timeout=1)
        error = caught.value

        assert error.node is not None
        assert (error.node.name, error.node.attempts, error.node.max_attempts) == ("Extract", 1, 3)
        assert (error.completion_percentage, error.failed_looks) == (30, 0)
        assert error.look_age is not None
        assert error.node_age is not None
        assert error.look_age < error.node_age < error.waited
        seen = "last seen RUNNING, 30 %, at node 'Extract' (Ready, 1 of 3 tries) for 5.0 s. That"
        assert seen in str(error)
        assert str(error).endswith(f"It goes on: {error.reattach}")

        moments.append(moments[0] + 100)
        line = str(error.reattach).removeprefix("await ")
        other = connect(emulator, linked_account_id="acct_2")
        again = eval(line, {"refold": other})  # noqa: S307 - our own words
        assert (await again).output == "done"


async def test_a_wait_in_vain_says_that_looks_fail(emulator: Emulator, connect: Connect) -> None:
    """The service is down: how old the last news is, and what has failed since."""
    emulator.workflow("wf_1", slug="hubspot", duration=None)(lambda _: None)
    emulator.faults.script("get_execution", None)
    for operation in ("get_execution", "get_response"):
        emulator.faults.always(operation, Fault(status=503))
    refold = connect(emulator)
    handle = await refold.execute("wf_1", slug="hubspot")
    with pytest.raises(WaitTimeoutError) as caught:
        await handle.result(timeout=1)
    error = caught.value

    assert error.last_status == "RUNNING"
    assert error.look_age is not None
    assert error.look_age < error.waited
    assert error.failed_looks > 1
    assert error.last_error is not None
    assert error.last_error.startswith("ServerError: ")
    assert f"{error.failed_looks} looks have failed since, the last one with Serv" in str(error)
