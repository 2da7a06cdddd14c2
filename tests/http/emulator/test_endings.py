"""How runs end in the emulator: sync and async, well and badly."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from refold_async.emulator import Behaviour, Emulator, NodeFailed, Respond

V2 = "/api/v2/public"


async def execute(emulator: Emulator, **headers: str) -> tuple[int, Any]:
    """Execute workflow wf with an empty payload."""
    path = f"{V2}/workflow/wf/execute"
    usual = {"x-api-key": emulator.api_key, "linked_account_id": "acct_1", "slug": "hubspot"}
    async with aiohttp.request(
        "POST", emulator.base_url + path, headers={**usual, **headers}, json={"payload": {}}
    ) as answer:
        return answer.status, await answer.json()


async def read(emulator: Emulator, path: str) -> Any:
    """Read one document."""
    headers = {"x-api-key": emulator.api_key, "linked_account_id": "acct_1"}
    async with aiohttp.request("GET", emulator.base_url + path, headers=headers) as answer:
        assert answer.status == 200
        return await answer.json()


async def document(emulator: Emulator) -> Any:
    """Read the execution started last."""
    return await read(emulator, f"{V2}/execution/{emulator.runs[-1].execution_id}")


async def response(emulator: Emulator) -> Any:
    """Read the response of the execution started last."""
    return await read(emulator, f"/api/v1/execution/{emulator.runs[-1].execution_id}/response")


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator without workflows."""
    async with Emulator() as emulator:
        yield emulator


async def test_a_sync_run_is_answered_when_it_is_over(emulator: Emulator) -> None:
    """A sync run holds the connection and brings its output."""
    emulator.workflow("wf", slug="hubspot", duration=0.06)(lambda _: {"id": 1})
    status, body = await execute(emulator, sync_execution="true")

    (run,) = emulator.runs
    assert status == 200
    assert body == {
        "execution_id": run.execution_id,
        "return_value": {"id": 1},
        "errored": False,
        "status_code": 200,
        "execution_error": None,
        "executed_by_thanos": True,
    }
    assert run.ends_at is not None
    assert run.sync
    assert emulator.requests[0].at + 0.055 <= run.ends_at


async def test_a_response_node_sets_the_status_of_a_sync_run(emulator: Emulator) -> None:
    """The Response node's status becomes the HTTP status, and the run has completed."""
    emulator.workflow("wf", slug="hubspot")(lambda _: Respond(status=422, data={"why": "taken"}))
    status, body = await execute(emulator, sync_execution="true")

    assert status == body["status_code"] == 422
    assert (body["return_value"], body["errored"]) == ({"why": "taken"}, False)


async def test_a_response_nodes_status_is_lost_on_an_async_run(emulator: Emulator) -> None:
    """An async run completes whatever status its Response node sets."""
    emulator.workflow("wf", slug="hubspot")(lambda _: Respond(status=422, data={"why": "taken"}))
    await execute(emulator)

    assert await response(emulator) == {"response": {"why": "taken"}, "status": "COMPLETED"}


async def test_a_failed_sync_run_is_errored(emulator: Emulator) -> None:
    """A failed sync run brings the reason and no value."""

    @emulator.workflow("wf", slug="hubspot")
    def fail(_: dict[str, Any]) -> Any:
        raise NodeFailed(node="Work", message="the CRM said no")

    status, body = await execute(emulator, sync_execution="true")

    assert status == 200
    assert (body["errored"], body["execution_error"]) == (True, "the CRM said no")
    assert body["return_value"] is body["status_code"] is None


@pytest.mark.parametrize(
    ("error", "statuses"),
    [
        pytest.param(
            NodeFailed(node="A", message="no"), ["Errored", "Waiting", "Waiting"], id="first-node"
        ),
        pytest.param(
            NodeFailed(node="C", message="no"), ["Success", "Success", "Errored"], id="last-node"
        ),
        pytest.param(
            NodeFailed(node="Z", message="no"), ["Success", "Errored", "Waiting"], id="unknown-node"
        ),
        pytest.param(ValueError("no"), ["Success", "Errored", "Waiting"], id="any-exception"),
    ],
)
async def test_a_run_fails_at_a_node(
    emulator: Emulator, error: Exception, statuses: list[str]
) -> None:
    """The node that failed carries the message, and later nodes have not run."""

    @emulator.workflow("wf", slug="hubspot", nodes=("A", "B", "C"))
    def fail(_: dict[str, Any]) -> Any:
        raise error

    await execute(emulator)
    body = await document(emulator)

    assert body["status"] == "ERRORED"
    assert body["completion_percentage"] < 100
    assert [node["node_status"] for node in body["nodes"]] == statuses
    failed = next(node for node in body["nodes"] if node["node_status"] == "Errored")
    assert failed["latest_output"] == {
        "status": "Errored",
        "node_id": failed["node_id"],
        "node_name": failed["node_name"],
        "body": {"error": "no"},
    }


async def test_an_exception_without_a_message_shows_its_kind(emulator: Emulator) -> None:
    """A run's error is never empty."""

    @emulator.workflow("wf", slug="hubspot")
    def fail(_: dict[str, Any]) -> Any:
        raise KeyError

    _, body = await execute(emulator, sync_execution="true")

    assert body["execution_error"] == "KeyError()"


@pytest.mark.parametrize(
    ("ends", "node_status"),
    [
        pytest.param("ERRORED", "Errored", id="errored"),
        pytest.param("STOPPED", "Stopped", id="stopped"),
        pytest.param("TIMED_OUT", "Timed_Out", id="timed-out"),
        pytest.param("TERMINATED", "Stopped", id="terminated"),
    ],
)
async def test_a_workflow_may_end_badly(emulator: Emulator, ends: str, node_status: str) -> None:
    """A workflow declared to end so ends so, and has no output."""
    emulator.workflow("wf", slug="hubspot", ends=ends)(dict)
    await execute(emulator)
    body = await document(emulator)

    assert body["status"] == ends
    assert body["nodes"][1]["node_status"] == node_status
    assert await response(emulator) == {"response": None, "status": "ERRORED"}


async def test_an_unheard_of_status_stays_for_ever(emulator: Emulator) -> None:
    """A status nobody knows is shown as it is and is no ending."""
    emulator.workflow("wf", slug="hubspot", ends="HIBERNATING")(dict)
    await execute(emulator)
    body = await document(emulator)

    assert (body["status"], body["completion_time"]) == ("HIBERNATING", None)
    assert await response(emulator) == {"response": None, "status": "RUNNING"}


async def test_a_run_without_an_end_is_finished_by_hand(emulator: Emulator) -> None:
    """Such a run goes on until `finish`, then ends as its function said."""
    emulator.workflow("wf", slug="hubspot", duration=None)(lambda _: {"id": 1})
    _, started = await execute(emulator)
    before = await document(emulator)
    emulator.finish(started["execution_id"])
    emulator.finish(started["execution_id"], status="ERRORED")

    assert (before["status"], before["completion_percentage"]) == ("RUNNING", 0)
    assert (await document(emulator))["status"] == "COMPLETED"
    assert await response(emulator) == {"response": {"id": 1}, "status": "COMPLETED"}


async def test_a_held_sync_run_is_finished_by_hand(emulator: Emulator) -> None:
    """A sync run whose end nobody knew is answered once it is finished."""
    started = asyncio.Event()
    emulator.workflow("wf", slug="hubspot", duration=None)(lambda _: started.set())
    held = asyncio.create_task(execute(emulator, sync_execution="true"))
    await started.wait()
    await asyncio.sleep(0)
    emulator.finish(emulator.runs[0].execution_id, status="TIMED_OUT")
    _, body = await held

    assert (body["errored"], body["execution_error"]) == (True, "Workflow ended TIMED_OUT")
    assert (await document(emulator))["nodes"][0]["node_status"] == "Timed_Out"


async def test_a_failing_run_can_be_finished_by_hand(emulator: Emulator) -> None:
    """`finish` without a status gives a failing function's run its own ending."""

    @emulator.workflow("wf", slug="hubspot", duration=None)
    def fail(_: dict[str, Any]) -> Any:
        raise NodeFailed(node="Response", message="no")

    _, started = await execute(emulator)
    emulator.finish(started["execution_id"])
    statuses = [node["node_status"] for node in (await document(emulator))["nodes"]]

    assert statuses == ["Success", "Success", "Errored"]


def test_finishing_an_unknown_run_fails() -> None:
    """There is nothing to finish under an unknown id."""
    with pytest.raises(KeyError, match="nothing"):
        Emulator().finish("nothing")


async def test_the_duration_may_depend_on_the_payload(emulator: Emulator) -> None:
    """A callable duration is asked once per run."""
    emulator.workflow("wf", slug="hubspot", duration=lambda payload: 60.0 + len(payload))(dict)
    await execute(emulator)

    assert emulator.runs[0].duration == 60.0


async def test_a_workflow_without_a_response_node_has_no_output(emulator: Emulator) -> None:
    """What the function returns goes nowhere if no node is named Response."""
    emulator.workflow("wf", slug="hubspot", nodes=("Start", "Work"))(lambda _: {"id": 1})
    _, body = await execute(emulator, sync_execution="true")

    assert body["return_value"] is None
    assert await response(emulator) == {"response": None, "status": "COMPLETED"}


@pytest.mark.parametrize("nodes", [pytest.param((), id="none"), pytest.param("AA", id="twice")])
def test_nodes_have_distinct_names(nodes: tuple[str, ...]) -> None:
    """A workflow without nodes, or with two of one name, is refused."""
    with pytest.raises(ValueError, match="distinct names"):
        Emulator().workflow("wf", slug="hubspot", nodes=nodes)(dict)


async def test_a_group_node_refuses_sync(emulator: Emulator) -> None:
    """A workflow with a Group node runs async only."""
    emulator.workflow("wf", slug="hubspot", has_group_node=True)(dict)

    assert (await execute(emulator, sync_execution="true"))[0] == 400
    assert (await execute(emulator))[0] == 200


async def test_a_queued_run_has_not_begun() -> None:
    """A run waits in the queue before its time begins."""
    times = iter(range(100))
    behaviour = Behaviour(queued_for=3)
    async with Emulator(behaviour=behaviour, now=lambda: float(next(times))) as emulator:
        emulator.recording = False
        emulator.workflow("wf", slug="hubspot", duration=100.0)(dict)
        await execute(emulator)
        statuses = {(await document(emulator))["status"] for _ in range(5)}

    assert statuses == {"QUEUED", "RUNNING"}
