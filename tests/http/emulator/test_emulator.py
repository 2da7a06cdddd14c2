"""The emulator answers as the service documents: executions and workflows."""

import io
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from refold_async.emulator import Emulator

V2 = "/api/v2/public"
RUN = f"{V2}/workflow/wf_1/execute"
START = 1_781_615_700.887


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.seconds = START

    def __call__(self) -> float:
        """The time in epoch seconds."""
        return self.seconds


async def ask(
    emulator: Emulator,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> tuple[int, Any]:
    """Make one request, as acct_1 with the API key unless the headers say otherwise."""
    usual = {"x-api-key": emulator.api_key, "linked_account_id": "acct_1", "slug": "hubspot"}
    sent = usual if headers is None else {**headers}
    async with aiohttp.request(method, emulator.base_url + path, headers=sent, **more) as answer:
        return answer.status, await answer.json()


async def start(emulator: Emulator, workflow_id: str = "wf_1", **more: Any) -> str:
    """Start a run and give its id."""
    status, body = await ask(
        emulator, "POST", f"{V2}/workflow/{workflow_id}/execute", json={"payload": {}}, **more
    )
    assert status == 200, body
    return str(body["execution_id"])


def as_account(emulator: Emulator, account: str, **more: str) -> dict[str, str]:
    """Headers that speak for another account."""
    return {"x-api-key": emulator.api_key, "linked_account_id": account, "slug": "hubspot", **more}


@pytest.fixture
def clock() -> Clock:
    """The server's clock."""
    return Clock()


@pytest.fixture
async def emulator(clock: Clock) -> AsyncIterator[Emulator]:
    """An emulator with one workflow of three seconds, each node taking one."""
    async with Emulator(now=clock) as emulator:

        @emulator.workflow("wf_1", slug="hubspot", alias="create-contact", duration=3.0)
        def create_contact(payload: dict[str, Any]) -> Any:
            return {"id": 1, "email": payload.get("email")}

        yield emulator


async def test_execute_answers_the_documented_envelope(emulator: Emulator) -> None:
    """A started run is answered with a message and its id."""
    status, body = await ask(emulator, "POST", RUN, json={"payload": {}})

    (run,) = emulator.runs
    assert status == 200
    assert body == {
        "message": "Workflow execution started",
        "execution_id": run.execution_id,
    }


async def test_an_id_begins_with_the_creation_time(emulator: Emulator) -> None:
    """The first eight digits of an id are its creation time in seconds."""
    execution_id = await start(emulator)

    assert len(execution_id) == 24
    assert int(execution_id[:8], 16) == int(START)


async def test_the_run_knows_what_it_was_started_with(emulator: Emulator) -> None:
    """The emulator's own record carries payload, tag, account and configuration."""
    headers = as_account(emulator, "acct_2", instance_tag="nightly", config_id="eu")
    await ask(emulator, "POST", RUN, headers, json={"payload": {"email": "jane@example.com"}})

    (run,) = emulator.runs
    assert run.workflow_id == "wf_1"
    assert run.payload == {"email": "jane@example.com"}
    assert (run.linked_account_id, run.config_id) == ("acct_2", "eu")
    assert run.instance_tag == "nightly"
    assert run.created_at == START
    assert emulator.started("nightly") == 1


async def test_an_alias_works_as_an_id(emulator: Emulator) -> None:
    """A workflow is run by its alias too."""
    await start(emulator, "create-contact")

    assert [run.workflow_id for run in emulator.runs] == ["wf_1"]


async def test_progress_follows_the_time_spent(emulator: Emulator, clock: Clock) -> None:
    """Nodes succeed one after the other, and the percentage grows with them."""
    execution_id = await start(emulator)
    seen = []
    for clock.seconds in (START, START + 1.5, START + 3):
        _, body = await ask(emulator, "GET", f"{V2}/execution/{execution_id}")
        statuses = [node["node_status"] for node in body["nodes"]]
        seen.append((body["status"], body["completion_percentage"], statuses))

    assert seen == [
        ("RUNNING", 0, ["Ready", "Waiting", "Waiting"]),
        ("RUNNING", 50, ["Success", "Ready", "Waiting"]),
        ("COMPLETED", 100, ["Success", "Success", "Success"]),
    ]


async def test_a_completed_execution_carries_its_nodes(emulator: Emulator, clock: Clock) -> None:
    """The document has the documented fields, the output in its Response node."""
    execution_id = await start(emulator)
    clock.seconds += 5
    status, body = await ask(emulator, "GET", f"{V2}/execution/{execution_id}")

    assert status == 200
    assert body["_id"] == execution_id
    assert body["createdAt"] == "2026-06-16T13:15:00.887Z"
    assert body["completion_time"] == "2026-06-16T13:15:03.887Z"
    assert body["instance_execution_time"] == 3000
    assert body["type_of_execution"] == "ASYNC"
    assert body["associated_workflow"]["_id"] == "wf_1"
    assert body["nodes"][-1] == {
        "node_id": "3",
        "node_name": "Response",
        "node_type": "response",
        "node_status": "Success",
        "is_batch": False,
        "attempts_made": 1,
        "maximum_attempts": 3,
        "execution_time": 1000,
        "input_data": {},
        "latest_output": {"id": 1, "email": None},
    }


async def test_the_response_is_revealed_at_the_end(emulator: Emulator, clock: Clock) -> None:
    """The response is null while the run goes on, and the output afterwards."""
    path = f"/api/v1/execution/{await start(emulator)}/response"
    before = await ask(emulator, "GET", path)
    clock.seconds += 3
    after = await ask(emulator, "GET", path)

    assert before == (200, {"response": None, "status": "RUNNING"})
    assert after == (200, {"response": {"id": 1, "email": None}, "status": "COMPLETED"})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"{", 400, id="broken-json"),
        pytest.param(b"[1]", 400, id="no-object"),
        pytest.param(b'{"payload": [1]}', 400, id="payload-no-object"),
        pytest.param(b"", 400, id="empty"),
        pytest.param(b'{"payload": {"x": "' + b"x" * 3_200_000 + b'"}}', 413, id="3-mb"),
    ],
)
async def test_a_body_that_is_no_payload_is_refused(
    emulator: Emulator, body: bytes, status: int
) -> None:
    """What is no JSON object gets 400, what is too large 413."""
    headers = as_account(emulator, "acct_1", **{"Content-Type": "application/json"})
    answer = await ask(emulator, "POST", RUN, headers, data=io.BytesIO(body))

    assert answer[0] == status
    assert emulator.runs == []


async def test_a_body_must_call_itself_json(emulator: Emulator) -> None:
    """A body of another content type is not read."""
    status, body = await ask(emulator, "POST", RUN, data=b'{"payload": {}}')

    assert (status, body["message"]) == (400, "Content-Type must be application/json")


async def test_a_stopped_run_goes_through_stopping(emulator: Emulator, clock: Clock) -> None:
    """A stop is queued; asking again changes nothing, and once it has ended it is refused."""
    path = f"{V2}/execution/{await start(emulator)}"
    stopped = await ask(emulator, "POST", f"{path}/stop")
    again = await ask(emulator, "POST", f"{path}/stop")
    _, stopping = await ask(emulator, "GET", path)
    clock.seconds += 0.05
    _, ended = await ask(emulator, "GET", path)
    too_late, refusal = await ask(emulator, "POST", f"{path}/stop")

    assert stopped == again == (200, {"message": "Stopping instance"})
    assert (stopping["status"], ended["status"]) == ("STOPPING", "STOPPED")
    assert [node["node_status"] for node in ended["nodes"]] == ["Stopped", "Waiting", "Waiting"]
    assert (too_late, refusal["http_error_type"]) == (400, "BAD_REQUEST")


async def test_a_rerun_calls_the_function_again(emulator: Emulator) -> None:
    """A rerun is a new run with the payload of the first."""
    calls: list[Any] = []
    emulator.workflow("wf_2", slug="hubspot")(calls.append)
    first = await start(emulator, "wf_2")
    status, body = await ask(emulator, "POST", f"{V2}/execution/{first}/rerun")

    assert (status, body["status"]) == (200, "success")
    assert [run.execution_id for run in emulator.runs] == [first, body["id"]]
    assert emulator.runs[1].rerun_of == first
    assert calls == [{}, {}]


async def test_batches_are_paged(emulator: Emulator) -> None:
    """A node's batches come in pages; a node without any gets 501."""
    emulator.workflow("wf_2", slug="hubspot", batches={"Work": [{"n": n} for n in range(3)]})(dict)
    path = f"{V2}/execution/{await start(emulator, 'wf_2')}/nodes"
    status, page = await ask(emulator, "GET", f"{path}/2/batches?limit=2&page=2")
    missing = [await ask(emulator, "GET", f"{path}/{node}/batches") for node in ("1", "9", "x")]

    assert (status, page["docs"], page["totalPages"]) == (200, [{"n": 2}], 2)
    assert [status for status, _ in missing] == [501, 501, 501]
    with pytest.raises(ValueError, match="no node 'work'"):
        emulator.workflow("wf_2", slug="hubspot", batches={"work": []})(dict)


async def test_workflows_are_listed(emulator: Emulator) -> None:
    """The list is filtered by slug, name, publication, scope and ownership."""
    emulator.workflow("wf_2", slug="slack", name="Notify", published=False)(dict)
    emulator.workflow("wf_3", slug="slack", accounts={"acct_1"})(dict)
    emulator.workflow("wf_4", slug="slack", accounts={"acct_9"})(dict)
    queries = ("", "?slug=slack", "?name=notify", "?published=true", "?scope=private", "?limit=1")
    found = []
    for query in queries:
        _, page = await ask(emulator, "GET", f"{V2}/workflow{query}")
        found.append([document["_id"] for document in page["docs"]])

    assert found == [
        ["wf_1", "wf_2", "wf_3"],
        ["wf_2", "wf_3"],
        ["wf_2"],
        ["wf_1", "wf_3"],
        ["wf_3"],
        ["wf_1"],
    ]


async def test_enabled_workflows_are_a_plain_array(emulator: Emulator) -> None:
    """The enabled workflows are those published and owned."""
    emulator.workflow("wf_2", slug="slack", published=False)(dict)
    status, body = await ask(emulator, "GET", f"{V2}/workflow/enabled")

    assert status == 200
    assert [workflow["id"] for workflow in body] == ["wf_1"]
    assert body[0].keys() == {"id", "name", "description", "icon", "config_id", "application"}


async def test_the_request_structure_shows_the_schema(emulator: Emulator) -> None:
    """A workflow tells what it wants; one that is unknown is not found."""
    schema = {"type": "object", "properties": {"email": {"type": "string"}}}
    emulator.workflow("wf_2", slug="hubspot", schema=schema)(dict)
    path = f"{V2}/workflow/request-structure"
    free = await ask(emulator, "GET", f"{path}/wf_1")
    strict = await ask(emulator, "GET", f"{path}/wf_2")
    missing, _ = await ask(emulator, "GET", f"{path}/wf_none")

    assert free == (200, {"payload": {}, "schema": None, "schema_interpreted": {}})
    assert strict == (
        200,
        {
            "payload": {"email": None},
            "schema": schema,
            "schema_interpreted": {"email": "string"},
        },
    )
    assert missing == 404


async def test_an_unknown_path_is_not_found(emulator: Emulator) -> None:
    """A path or method that is none of the API's gets 404 and is counted as unknown."""
    statuses = [
        (await ask(emulator, method, path))[0]
        for method, path in (("GET", "/"), ("DELETE", f"{V2}/workflow"), ("GET", RUN))
    ]

    assert statuses == [404, 404, 404]
    assert emulator.counts == {"unknown": 3}
