"""Every answer to what the documentation leaves open can be played."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from refold_async.emulator import Behaviour, Emulator

V2 = "/api/v2/public"
NOW = 1_000_000_000.25
SCHEMA = {"type": "object", "properties": {"email": {"type": "string"}}}


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.seconds = NOW

    def __call__(self) -> float:
        """The time in epoch seconds."""
        return self.seconds


class Answer:
    """What a request was answered."""

    def __init__(self, status: int, headers: Mapping[str, str], text: str, body: Any) -> None:
        self.status, self.headers, self.text, self.body = status, headers, text, body


async def ask(emulator: Emulator, method: str, path: str, **more: Any) -> Answer:
    """Make one request with the API key for acct_1."""
    usual = {"x-api-key": emulator.api_key, "linked_account_id": "acct_1", "slug": "hubspot"}
    headers = {**usual, **more.pop("headers", {})}
    async with aiohttp.request(method, emulator.base_url + path, headers=headers, **more) as answer:
        is_json = answer.content_type == "application/json"
        body = await answer.json() if is_json else None
        return Answer(answer.status, answer.headers, await answer.text(), body)


async def execute(
    emulator: Emulator,
    headers: Mapping[str, str] | None = None,
    *,
    payload: Any = None,
    query: str = "",
) -> Answer:
    """Execute workflow wf."""
    path = f"{V2}/workflow/wf/execute{query}"
    document = {"payload": payload or {}}
    return await ask(emulator, "POST", path, json=document, headers=headers or {})


def playing(clock: Clock | None = None, schema: Any = None, **behaviour: Any) -> Emulator:
    """An emulator that behaves so, with one workflow that ends at once."""
    emulator = Emulator(behaviour=Behaviour(**behaviour), now=clock or Clock())
    emulator.workflow("wf", slug="hubspot", schema=schema)(lambda _: {"id": 1})
    return emulator


@pytest.mark.parametrize(
    ("status", "shape", "body"),
    [
        pytest.param(
            400,
            "errors",
            {
                "message": "Payload validation failed",
                "errors": [{"field": "email", "message": "1 is not of type 'string'"}],
            },
            id="list",
        ),
        pytest.param(
            422,
            "fields",
            {
                "message": "Payload validation failed",
                "errors": {"email": ["1 is not of type 'string'"]},
            },
            id="by-field",
        ),
        pytest.param(
            422,
            "text",
            {"message": "Server Error", "error": "email: 1 is not of type 'string'"},
            id="text",
        ),
    ],
)
async def test_a_payload_that_fails_its_schema(status: int, shape: str, body: Any) -> None:
    """Status and shape of a schema error are open."""
    async with playing(
        schema=SCHEMA, payload_error_status=status, payload_error_shape=shape
    ) as emulator:
        refused = await execute(emulator, payload={"email": 1})
        accepted = await execute(emulator, payload={"email": "jane@example.com"})
        runs = len(emulator.runs)

    assert (refused.status, refused.body) == (status, body)
    assert (accepted.status, runs) == (200, 1)


async def test_the_response_path_may_be_missing() -> None:
    """A deployment without the v1 path answers 404."""
    async with playing(response_path="missing") as emulator:
        started = await execute(emulator)
        path = f"/api/v1/execution/{started.body['execution_id']}/response"
        answer = await ask(emulator, "GET", path)

    assert answer.status == 404


@pytest.mark.parametrize(
    ("accepts", "status"), [pytest.param(True, 200, id="yes"), pytest.param(False, 401, id="no")]
)
async def test_the_response_path_and_session_tokens(accepts: bool, status: int) -> None:
    """Whether the v1 path takes a session token is open; the API key always works."""
    async with playing(response_accepts_session_token=accepts) as emulator:
        started = await execute(emulator)
        path = f"/api/v1/execution/{started.body['execution_id']}/response"
        bearer = {"Authorization": f"Bearer {emulator.issue_token('acct_1')}", "x-api-key": ""}
        by_token = await ask(emulator, "GET", path, headers=bearer)
        by_key = await ask(emulator, "GET", path)

    assert (by_token.status, by_key.status) == (status, 200)


async def test_the_response_may_tell_the_true_status() -> None:
    """The response's status of a bad ending is ERRORED, or the run's own."""
    async with playing(response_status_for_ended="true") as emulator:
        emulator.workflow("wf", slug="hubspot", ends="TIMED_OUT")(dict)
        started = await execute(emulator)
        path = f"/api/v1/execution/{started.body['execution_id']}/response"
        answer = await ask(emulator, "GET", path)

    assert answer.body == {"response": None, "status": "TIMED_OUT"}


@pytest.mark.parametrize("in_list", [True, False])
@pytest.mark.parametrize("in_get", [True, False])
async def test_whether_the_tag_is_echoed(in_list: bool, in_get: bool) -> None:
    """List and single document echo the tag independently of each other."""
    async with playing(
        echo_instance_tag_in_list=in_list, echo_instance_tag_in_get=in_get
    ) as emulator:
        started = await execute(emulator, {"instance_tag": "nightly"})
        got = await ask(emulator, "GET", f"{V2}/execution/{started.body['execution_id']}")
        page = await ask(emulator, "GET", f"{V2}/execution")

    assert got.body.get("instance_tag") == ("nightly" if in_get else None)
    assert page.body["docs"][0].get("instance_tag") == ("nightly" if in_list else None)


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        pytest.param("id", {"status": "success", "id": "..."}, id="id"),
        pytest.param(
            "instanceId", {"message": "Execution queued", "instanceId": "..."}, id="instance-id"
        ),
    ],
)
async def test_both_shapes_of_a_rerun(shape: str, body: dict[str, str]) -> None:
    """A rerun gives the new id in either of the two documented fields."""
    async with playing(rerun_shape=shape, rerun_keeps_tag=True) as emulator:
        started = await execute(emulator, {"instance_tag": "nightly"})
        path = f"{V2}/execution/{started.body['execution_id']}/rerun"
        answer = await ask(emulator, "POST", path)
        again = emulator.runs[1]

    assert answer.body == {**body, shape: again.execution_id}
    assert again.instance_tag == "nightly"
    assert emulator.started("nightly") == 2


async def test_an_id_may_be_opaque() -> None:
    """Not every deployment needs to use ObjectIds."""
    async with playing(object_ids=False) as emulator:
        started = await execute(emulator)
        execution_id = started.body["execution_id"]
        answer = await ask(emulator, "GET", f"{V2}/execution/{execution_id}")

    assert execution_id.startswith("run_")
    assert answer.body["_id"] == execution_id


@pytest.mark.parametrize("extra", [True, False])
async def test_documents_may_carry_unknown_fields(extra: bool) -> None:
    """Fields nobody documented appear in every document, or don't."""
    async with playing(extra_fields=extra) as emulator:
        await execute(emulator)
        executions = await ask(emulator, "GET", f"{V2}/execution")
        workflows = await ask(emulator, "GET", f"{V2}/workflow")

    for page in (executions, workflows):
        assert ("emulated" in page.body["docs"][0]) is extra


async def test_a_status_may_be_in_lower_case() -> None:
    """The spelling of a status is the deployment's."""
    async with playing(status_case="lower") as emulator:
        started = await execute(emulator)
        answer = await ask(emulator, "GET", f"{V2}/execution/{started.body['execution_id']}")

    assert answer.body["status"] == "completed"


@pytest.mark.parametrize("sync", ["true", "false"])
async def test_headers_are_included_under_any_name(sync: str) -> None:
    """The request's headers come back without its secrets, sync or not, by header or query."""
    async with playing(included_headers_field="request_headers") as emulator:
        by_header = await execute(emulator, {"include-headers": "true", "sync_execution": sync})
        by_query = await execute(emulator, {"sync_execution": sync}, query="?include-headers=true")
        without = await execute(emulator, {"sync_execution": sync})

    for answer in (by_header, by_query):
        assert answer.body["request_headers"]["slug"] == "hubspot"
        assert "x-api-key" not in answer.body["request_headers"]
    assert "request_headers" not in without.body


async def test_a_sync_answer_may_lack_any_field() -> None:
    """Of a sync answer's fields any may be missing."""
    async with playing(sync_strips={"execution_id", "status_code", "errored"}) as emulator:
        answer = await execute(emulator, {"sync_execution": "true"})

    assert answer.body == {
        "return_value": {"id": 1},
        "execution_error": None,
        "executed_by_thanos": True,
    }


async def test_a_failed_sync_run_may_have_another_status() -> None:
    """The HTTP status of a sync run that failed is the deployment's."""
    async with playing(sync_error_status=500) as emulator:
        emulator.workflow("wf", slug="hubspot", ends="ERRORED")(dict)
        answer = await execute(emulator, {"sync_execution": "true"})

    assert (answer.status, answer.body["errored"]) == (500, True)


async def test_requests_beyond_the_rate_are_refused() -> None:
    """Past the burst requests get 429, until time has brought new tokens."""
    clock = Clock()
    async with playing(clock, rate_limit=(2.0, 2)) as emulator:
        statuses = [(await execute(emulator)).status for _ in range(3)]
        clock.seconds += 0.5
        statuses += [(await execute(emulator)).status for _ in range(2)]

    assert statuses == [200, 200, 429, 200, 429]


@pytest.mark.parametrize(
    ("counts", "status"), [pytest.param(True, 429, id="yes"), pytest.param(False, 200, id="no")]
)
async def test_reads_may_count_against_the_rate(counts: bool, status: int) -> None:
    """Whether reads use up the rate limit is open."""
    async with playing(rate_limit=(1.0, 1), rate_limit_counts_reads=counts) as emulator:
        await execute(emulator)
        answer = await ask(emulator, "GET", f"{V2}/execution")

    assert answer.status == status


@pytest.mark.parametrize(
    ("after", "header"),
    [
        pytest.param(None, None, id="none"),
        pytest.param(1.0, "1", id="seconds"),
        pytest.param(1.5, "2", id="part-of-a-second"),
        pytest.param("date", "Sun, 09 Sep 2001 01:46:41 GMT", id="date"),
    ],
)
async def test_a_refusal_may_say_when_to_come_back(after: Any, header: str | None) -> None:
    """`Retry-After` is absent, seconds or a date, on 429 and on 503."""
    async with playing(capacity=1.0, retry_after=after) as shedding:
        await execute(shedding)
        shed = await execute(shedding)
    async with playing(rate_limit=(1.0, 0), rate_limit_html=True, retry_after=after) as limiting:
        limited = await execute(limiting)

    assert (shed.status, shed.body["http_error_type"]) == (503, "SERVICE_UNAVAILABLE")
    assert (limited.status, limited.headers["Content-Type"]) == (429, "text/html")
    assert shed.headers.get("Retry-After") == limited.headers.get("Retry-After") == header


async def test_the_servers_clock_may_be_wrong() -> None:
    """Date header, creation time and ids come from one clock, which may be ahead."""
    async with playing(clock_skew=3600.0) as emulator:
        answer = await execute(emulator)
        (run,) = emulator.runs

    date = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    assert date == int(run.execution_id[:8], 16) == int(NOW) + 3600
    assert run.created_at == NOW + 3600


async def test_a_proxy_may_drop_underscored_headers() -> None:
    """Behind nginx's defaults a sync call becomes an async one, and a key names no account."""
    async with playing(drop_underscore_headers=True) as emulator:
        bearer = {"Authorization": f"Bearer {emulator.issue_token('acct_1')}"}
        labels = {"sync_execution": "true", "instance_tag": "x"}
        by_token = await execute(emulator, {**bearer, **labels})
        by_key = await execute(emulator)
        (run,) = emulator.runs

    assert by_token.body["message"] == "Workflow execution started"
    assert (run.sync, run.instance_tag) == (False, None)
    assert by_key.status == 400


def test_a_schema_needs_jsonschema(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without jsonschema a workflow with a schema says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "jsonschema.validators", None)

    with pytest.raises(RuntimeError, match=r'pip install "refold-async\[emulator\]"'):
        Emulator().workflow("wf", slug="hubspot", schema=SCHEMA)(dict)


@pytest.mark.parametrize(
    ("switch", "choices"),
    [
        pytest.param({"execute_body": "Bare"}, "'wrapped', 'bare', 'either'", id="spelling"),
        pytest.param({"unknown_event_status": 410}, "404, 400", id="number"),
        pytest.param({"larger_page": True}, "'lowered', 'refused'", id="another-type"),
    ],
)
def test_a_mistyped_switch_is_refused(switch: dict[str, Any], choices: str) -> None:
    """A switch that was misspelt would be played as its default in silence."""
    with pytest.raises(ValueError, match=f"{next(iter(switch))} is one of {choices}, not"):
        Behaviour(**switch)
