"""The client against every answer the documentation leaves open, over real HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from refold_async import (
    AuthenticationError,
    BadRequestError,
    ExecutionFailedError,
    ExecutionStoppedError,
    NotFoundError,
    PollPolicy,
    RateLimitError,
    RefoldClient,
    RefoldError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    Timeouts,
)
from refold_async.emulator import Behaviour, Emulator, NodeFailed, Respond

if TYPE_CHECKING:
    from collections.abc import Callable

    Connect = Callable[..., RefoldClient]

UNKNOWN = "0" * 24
SCHEMA = {"type": "object", "properties": {"email": {"type": "string"}}}


def playing(behaviour: dict[str, Any]) -> Emulator:
    """An emulator with a workflow for each way to end."""
    emulator = Emulator(behaviour=Behaviour(**behaviour))
    emulator.workflow("wf", slug="s", duration=0.05)(lambda payload: payload)
    emulator.workflow("strict", slug="s", schema=SCHEMA)(dict)
    emulator.workflow("endless", slug="s", duration=None)(dict)
    emulator.workflow("answers", slug="s")(lambda _: Respond(status=422, data={"why": "taken"}))

    @emulator.workflow("fails", slug="s", duration=0.05)
    def fail(_: dict[str, Any]) -> Any:
        raise NodeFailed(node="Work", message="the CRM said no")

    return emulator


async def outcome(refold: RefoldClient, workflow_id: str = "wf", **more: Any) -> Any:
    """What `run` comes to: (status, output), or the error."""
    try:
        result = await refold.run(
            workflow_id, slug="s", payload=more.pop("payload", {"a": 1}), timeout=20, **more
        )
    except RefoldError as error:
        return error
    return result.status, result.output


COMPLETED = ("COMPLETED", {"a": 1})


@pytest.mark.parametrize("behaviour", [
    {"execute_body": "wrapped"}, {"execute_body": "either"},
    {"response_path": "v1"}, {"response_path": "missing"},
    {"response_status_for_ended": "ERRORED"}, {"response_status_for_ended": "true"},
    {"response_path": "missing", "response_node_output": "bare"},
    {"response_path": "missing", "response_node_output": "wrapped"},
    {"echo_instance_tag_in_list": False, "echo_instance_tag_in_get": False},
    {"max_page_size": 5, "larger_page": "lowered"}, {"max_page_size": 5, "larger_page": "refused"},
    {"list_dates": "times"}, {"list_dates": "days"},
    {"list_lag": 0.2}, {"list_lead": 0.2}, {"list_lag": 0.1, "list_lead": 0.2},
    {"ignores_filters": True}, {"undated_every": 1}, {"undated_every": 3},
    {"created_at": "milliseconds"}, {"created_at": "seconds"},
    {"object_ids": True}, {"object_ids": False}, {"object_ids": False, "undated_every": 2},
    {"extra_fields": True}, {"extra_fields": False},
    {"status_case": "upper"}, {"status_case": "lower"},
    {"queued_for": 0.1}, {"clock_skew": 3600.0}, {"clock_skew": -3600.0},
    {"retention": None}, {"retention": 60.0},
    {"keepalive": 0.02}, {"keepalive": 0.0}, {"keepalive": 2.0, "keepalive_announced": True},
    {"keepalive": 1.0, "keepalive_announced": True},
    {"linked_accounts": ["acct_1"]}, {"unknown_execution": "hangs"},
    {"rate_limit": (200.0, 20), "retry_after": 1.0}, {"rate_limit_counts_reads": False},
], ids=str)  # fmt: skip
async def test_runs_end_as_they_ended(connect: Connect, behaviour: dict[str, Any]) -> None:
    """However the service answers, eight runs at once have their outputs, and each ran once."""
    async with playing(behaviour) as emulator:
        refold = connect(emulator)
        found = await asyncio.gather(
            *(outcome(refold, payload={"a": number}) for number in range(8))
        )
        failed = await outcome(refold, "fails")

    assert found == [("COMPLETED", {"a": number}) for number in range(8)]
    assert isinstance(failed, ExecutionFailedError)
    assert len(emulator.runs) == 9


async def test_a_bare_body_is_the_payload(connect: Connect) -> None:
    """A service that takes bare bodies hands the wrapped one to the workflow as it is."""
    async with playing({"execute_body": "bare"}) as emulator:
        found = await outcome(connect(emulator))

    assert found == ("COMPLETED", {"payload": {"a": 1}})


@pytest.mark.parametrize("path", ["v1", "missing"])
@pytest.mark.parametrize("output", ["bare", "wrapped"])
async def test_a_failed_node_is_named(connect: Connect, path: str, output: str) -> None:
    """The error carries the node that failed and what it said, out of what it is shown in."""
    async with playing({"response_path": path, "response_node_output": output}) as emulator:
        error = await outcome(connect(emulator), "fails")

    assert isinstance(error, ExecutionFailedError)
    assert error.failed_node is not None
    assert (error.failed_node.node_id, error.failed_node.name) == ("2", "Work")
    assert error.failed_node.output == {"error": "the CRM said no"}
    assert error.failed_node.raw["latest_output"]["status"] == "Errored"
    assert "the CRM said no" in str(error)


@pytest.mark.parametrize("honours", [True, False])
@pytest.mark.parametrize("code", ["set", "null"])
async def test_the_status_of_a_response_node(connect: Connect, honours: bool, code: str) -> None:
    """A sync run's status comes from the field, else from HTTP; without both it is not known."""
    behaviour = {"honours_response_status": honours, "sync_status_code": code}
    async with playing(behaviour) as emulator:
        handle = await connect(emulator).execute("answers", slug="s", sync=True)
        result = await handle.result()

    told = code == "set" or honours
    assert result.status_code == (422 if told else 200)
    assert (result.status, result.output) == ("COMPLETED", {"why": "taken"})
    assert len(emulator.runs) == 1


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(
    ("shape", "error"),
    [("text", "the CRM said no"), ("object", {"message": "the CRM said no"}), ("null", None)],
)
@pytest.mark.parametrize("strips", [(), ("execution_id",), ("status_code", "executed_by_thanos")])
async def test_a_sync_run_that_failed(
    connect: Connect, status: int, shape: str, error: Any, strips: tuple[str, ...]
) -> None:
    """`execution_error` is text, an object or null, with any status: it ran once, and failed."""
    behaviour = {"sync_error_shape": shape, "sync_error_status": status, "sync_strips": strips}
    async with playing(behaviour) as emulator:
        refold = connect(emulator, retry=RetryPolicy(mode="safe", wait=0.0, max_wait=0.0))
        handle = await refold.execute("fails", slug="s", sync=True)
        result = await handle.wait()

    assert (result.status, result.error, result.raw["errored"]) == ("ERRORED", error, True)
    assert len(emulator.runs) == 1


@pytest.mark.parametrize(("where", "there"), [("reply", True), ("payload", False), ("both", True)])
@pytest.mark.parametrize("field", ["headers", "request_headers"])
async def test_included_headers(connect: Connect, where: str, there: bool, field: str) -> None:
    """The request's headers are in the reply, in the payload the workflow sees, or in both."""
    behaviour = {"included_headers_in": where, "included_headers_field": field}
    async with playing(behaviour) as emulator:
        refold = connect(emulator)
        handle = await refold.execute("wf", slug="s", payload={}, sync=True, include_headers=True)
        result = await handle.result()

    assert (result.headers is not None) is there
    assert (field in result.output) is (where != "reply")
    shown = result.headers or result.output[field]
    assert shown["slug"] == "s"
    assert "x-api-key" not in shown


@pytest.mark.parametrize(
    "behaviour",
    [
        {"payload_error_status": status, "payload_error_shape": shape}
        for status in (400, 422)
        for shape in ("errors", "fields", "text")
    ],
    ids=str,
)
async def test_a_payload_that_fails_its_schema(connect: Connect, behaviour: dict[str, Any]) -> None:
    """Whatever the status and the shape, the error carries what is wrong with which field."""
    async with playing(behaviour) as emulator:
        error = await outcome(connect(emulator), "strict", payload={"email": 1})

    assert isinstance(error, BadRequestError)
    assert error.status == behaviour["payload_error_status"]
    assert "email" in str(error.body)
    assert emulator.counts == {"execute": 1}


@pytest.mark.parametrize("accepts", [True, False])
async def test_a_session_token_reads_the_output(connect: Connect, accepts: bool) -> None:
    """Where the response path takes no session token, the document has the output."""
    async with playing({"response_accepts_session_token": accepts}) as emulator:
        refold = connect(emulator, session_token=emulator.issue_token("acct_1"))
        found = await outcome(refold)

    assert found == COMPLETED


@pytest.mark.parametrize(
    ("answer", "error"), [("404", NotFoundError), ("hangs", RequestTimeoutError)]
)
async def test_an_unknown_execution(
    connect: Connect, answer: str, error: type[RefoldError]
) -> None:
    """An id that nobody knows is not found, or its read times out: nobody waits for ever."""
    async with playing({"unknown_execution": answer}) as emulator:
        refold = connect(
            emulator, timeouts=Timeouts(read=0.1), polling=PollPolicy(failure_budget=0.0)
        )
        with pytest.raises(error):
            await refold.executions.get(UNKNOWN)
        with pytest.raises(error):
            await refold.handle(UNKNOWN).result(timeout=20)


async def test_a_run_that_is_kept_no_longer(connect: Connect) -> None:
    """A run past its retention is not found, and not listed."""
    async with playing({"retention": 0.0}) as emulator:
        refold = connect(emulator, polling=PollPolicy(not_found_grace=0.0, failure_budget=0.0))
        handle = await refold.execute("wf", slug="s")
        await asyncio.sleep(0.01)
        with pytest.raises(NotFoundError):
            await handle.fetch()
        listed = [run async for run in refold.executions.list()]

    assert listed == []


@pytest.mark.parametrize("shape", ["id", "instanceId"])
@pytest.mark.parametrize("keeps", [True, False])
async def test_a_rerun(connect: Connect, shape: str, keeps: bool) -> None:
    """A rerun gives its id in either field, and is named as what it is."""
    async with playing({"rerun_shape": shape, "rerun_keeps_tag": keeps}) as emulator:
        refold = connect(emulator)
        first = await refold.execute("wf", slug="s", payload={"a": 1}, instance_tag="nightly")
        again = await first.rerun()
        await again.result()
        names = [run.raw["name"] async for run in refold.executions.list()]

    assert again.execution_id == emulator.runs[1].execution_id
    assert emulator.runs[1].instance_tag == ("nightly" if keeps else None)
    assert names == ["Retry for workflow wf", "Execution for workflow wf"]


@pytest.mark.parametrize("takes", [0.0, 0.1])
async def test_a_stop(connect: Connect, takes: float) -> None:
    """A stop may take its time; the run is STOPPED in the end."""
    async with playing({"stop_takes": takes}) as emulator:
        handle = await connect(emulator).execute("endless", slug="s")
        await handle.stop()
        with pytest.raises(ExecutionStoppedError):
            await handle.result(timeout=20)


@pytest.mark.parametrize("html", [True, False])
@pytest.mark.parametrize("after", [None, 0.5, "date"])
async def test_refusals_of_a_rate_limit(connect: Connect, html: bool, after: Any) -> None:
    """A refusal by a proxy's page or the service's JSON, with any Retry-After, started nothing."""
    behaviour = {"rate_limit": (1.0, 1), "rate_limit_html": html, "retry_after": after}
    async with playing(behaviour) as emulator:
        refold = connect(emulator, retry=RetryPolicy(mode="never"))
        await refold.execute("wf", slug="s")
        with pytest.raises(RateLimitError) as caught:
            await refold.execute("wf", slug="s")

    assert caught.value.retry_after == (None if after is None else 1.0)
    assert len(emulator.runs) == 1


@pytest.mark.parametrize("counts", [True, False])
async def test_whether_reads_count(connect: Connect, counts: bool) -> None:
    """Reads use the rate limit up, or don't."""
    behaviour = {"rate_limit": (0.01, 1), "rate_limit_counts_reads": counts}
    async with playing(behaviour) as emulator:
        refold = connect(emulator, retry=RetryPolicy(mode="never"))
        handle = await refold.execute("wf", slug="s")
        read = (await asyncio.gather(handle.fetch(), return_exceptions=True))[0]

    assert isinstance(read, RateLimitError) is counts


async def test_a_service_that_sheds(connect: Connect) -> None:
    """What the service sheds, it did not start."""
    async with playing({"capacity": 1.0, "retry_after": 1.0}) as emulator:
        refold = connect(emulator, retry=RetryPolicy(mode="never"))
        await refold.execute("wf", slug="s")
        with pytest.raises(ServerError) as caught:
            await refold.execute("wf", slug="s")

    assert (caught.value.status, caught.value.retry_after) == (503, 1.0)
    assert len(emulator.runs) == 1


async def test_an_account_that_does_not_exist(connect: Connect) -> None:
    """A token for an unknown account is refused by name."""
    async with playing({"linked_accounts": ["acct_1"]}) as emulator:
        refold = connect(emulator)
        token = await refold.session_tokens.create("acct_1")
        with pytest.raises(BadRequestError) as caught:
            await refold.session_tokens.create("acct_9")

    assert token.token
    assert caught.value.error == "INVALID_LINKED_ACCOUNT_ID"


async def test_tokens_end(connect: Connect) -> None:
    """A token that has expired is refused, and a source is asked for the next one."""
    async with playing({"token_lifetime": 0.0, "refresh_lifetime": 9.0}) as emulator:
        refold = connect(emulator, session_token=emulator.issue_token("acct_1"))
        with pytest.raises(AuthenticationError):
            await refold.execute("wf", slug="s")

    assert emulator.runs == []


async def test_headers_that_a_proxy_drops(connect: Connect) -> None:
    """Behind nginx's defaults a key names no account: nothing runs, and the client says so."""
    async with playing({"drop_underscore_headers": True}) as emulator:
        by_key = await outcome(connect(emulator))
        by_token = await outcome(
            connect(emulator, session_token=emulator.issue_token("acct_1")), sync=True
        )

    assert isinstance(by_key, BadRequestError)
    assert by_token == COMPLETED
    assert [run.sync for run in emulator.runs] == [False]


async def test_a_payload_that_is_too_large(connect: Connect) -> None:
    """The service's own limit is an error of its own, and nothing ran."""
    async with playing({"max_payload_bytes": 100}) as emulator:
        error = await outcome(connect(emulator), payload={"a": "x" * 5000})

    assert getattr(error, "status", None) == 413
    assert emulator.runs == []


ELSEWHERE = {"unknown_event_status", "webhook_response"}


def test_every_switch_is_played() -> None:
    """No field of `Behaviour` is without a test here, but for those of events and of webhooks."""
    text = Path(__file__).read_text(encoding="utf-8")
    names = {field.name for field in attrs.fields(Behaviour)} - ELSEWHERE
    assert {name for name in names if f'"{name}"' not in text} == set()
