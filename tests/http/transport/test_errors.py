"""Every call that fails says what, whose and what to do, over real HTTP."""

from __future__ import annotations

import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailedError,
    ExecutionFailedError,
    ExecutionOutcomeUnknownError,
    NotFoundError,
    PollPolicy,
    RefoldClient,
    RefoldError,
    UnexpectedReplyError,
)
from tests.support.endings import at_once
from tests.support.wire import Step, http, wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from refold_async.emulator import Emulator

KEY = "tk_verysecret"
RUN = "6a314c54d4616e99e7fa5a02"

EVERY_CALL = pytest.mark.parametrize(
    ("call", "operation", "names"),
    [
        pytest.param(
            lambda r: r.execute("wf_1", slug="hubspot", payload={"n": 1}),
            "execute",
            {"workflow_id": "wf_1", "slug": "hubspot"},
            id="execute",
        ),
        pytest.param(
            lambda r: r.run("wf_1", slug="hubspot"),
            "execute",
            {"workflow_id": "wf_1", "slug": "hubspot"},
            id="run",
        ),
        pytest.param(
            lambda r: r.executions.get(RUN), "get_execution", {"execution_id": RUN}, id="get"
        ),
        pytest.param(
            lambda r: r.executions.response(RUN),
            "get_response",
            {"execution_id": RUN},
            id="response",
        ),
        pytest.param(lambda r: r.executions.stop(RUN), "stop", {"execution_id": RUN}, id="stop"),
        pytest.param(lambda r: r.executions.rerun(RUN), "rerun", {"execution_id": RUN}, id="rerun"),
        pytest.param(
            lambda r: _all(r.executions.batches(RUN, "n1")),
            "list_batches",
            {"execution_id": RUN},
            id="batches",
        ),
        pytest.param(lambda r: _all(r.workflows.list()), "list_workflows", {}, id="workflows"),
        pytest.param(lambda r: r.workflows.enabled(), "enabled_workflows", {}, id="enabled"),
        pytest.param(
            lambda r: r.workflows.request_structure("wf_1"),
            "request_structure",
            {"workflow_id": "wf_1"},
            id="structure",
        ),
        pytest.param(
            lambda r: r.handle(RUN).fetch(), "get_execution", {"execution_id": RUN}, id="fetch"
        ),
        pytest.param(lambda r: r.handle(RUN), None, {"execution_id": RUN}, id="wait"),
    ],
)


async def _all(items: Any) -> None:
    async for _ in items:
        pass


@EVERY_CALL
async def test_every_call_says_whose_it_was(
    connect: Callable[..., RefoldClient],
    call: Callable[[RefoldClient], Awaitable[Any]],
    operation: str | None,
    names: dict[str, str],
) -> None:
    """A refusal carries operation, ids, account, request id and advice, and no secret."""
    refusal = http(401, {"message": f"Invalid Credentials: {KEY}", "request_id": "req-9"})
    async with wire(Step(reply=refusal)) as server:
        refold = connect(server, api_key=KEY, linked_account_id="acct_1")
        with pytest.raises(AuthenticationError) as caught:
            await call(refold)
    error = caught.value
    assert error.operation == (operation or error.operation)
    assert {name: getattr(error, name) for name in names} == names
    assert (error.linked_account_id, error.request_id) == ("acct_1", "req-9")
    assert "the test API key given as api_key" in (error.advice or "")
    told = str(error)
    assert all(f"{name}={value}" in told for name, value in names.items())
    assert "linked_account_id=acct_1, request_id=req-9" in told
    everything = f"{told} {error!r} {vars(error)}" + "".join(traceback.format_exception(error))
    assert KEY not in everything
    assert len(told) < 600
    assert str(pickle.loads(pickle.dumps(error))) == told  # noqa: S301


@EVERY_CALL
async def test_tracebacks_stay_short_and_plain(
    connect: Callable[..., RefoldClient],
    call: Callable[[RefoldClient], Awaitable[Any]],
    operation: str | None,
    names: dict[str, str],
) -> None:
    """A call that was tried three times ends without a frame of what repeats it."""
    async with wire(Step(reply=http(500, {"message": "down"}))) as server:
        refold = connect(server, retry=at_once("transient", attempts=3), polling=_impatient())
        with pytest.raises(RefoldError) as caught:
            await call(refold)
    seen = "".join(traceback.format_exception(caught.value))
    assert "tenacity" not in seen
    assert caught.value.__context__ is None
    assert {name: getattr(caught.value, name) for name in names} == names


def _impatient() -> PollPolicy:
    return PollPolicy(first=0.001, failure_budget=0.0)


async def test_lists_that_do_not_advance_say_whose_they_are() -> None:
    """What a page itself shows is told like what a request shows."""
    page = http(200, {"docs": [{"_id": "wf_1"}], "hasNextPage": True})
    async with wire(Step(reply=page)) as server:
        refold = RefoldClient(api_key="tk", linked_account_id="a7", base_url=server.base_url)
        async with refold:
            with pytest.raises(UnexpectedReplyError, match="list_workflows: page 2 ") as caught:
                await _all(refold.workflows.list())
    assert caught.value.linked_account_id == "a7"


async def test_wrong_slug_says_what_to_check(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """A 400 to execute has three likely causes, and all are named."""
    emulator.workflow("wf_1", slug="hubspot")(lambda payload: payload)
    with pytest.raises(BadRequestError, match="that slug is its application") as caught:
        await connect(emulator).execute("wf_1", slug="salesforce")
    assert (caught.value.workflow_id, caught.value.slug) == ("wf_1", "salesforce")


async def test_unknown_run_says_whose_it_may_be(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """A 404 may be the right id under the wrong account or key."""
    with pytest.raises(NotFoundError, match="this linked account and to the environment"):
        await connect(emulator).executions.get(RUN)


async def test_unknown_outcome_says_whose_start_it_was(
    connect: Callable[..., RefoldClient],
) -> None:
    """What is known of a lost start is enough to look it up, by hand or by code."""
    async with wire(Step(end="rst")) as server:
        refold = connect(server, retry=at_once("safe"), linked_account_id="acct_1")
        with pytest.raises(ExecutionOutcomeUnknownError) as caught:
            await refold.execute("wf_1", slug="hubspot")
    error = caught.value
    assert (error.operation, error.workflow_id, error.slug) == ("execute", "wf_1", "hubspot")
    assert error.linked_account_id == "acct_1"
    assert f"await refold.find({error.instance_tag!r}" in (error.advice or "")
    assert len(str(error)) < 600


@pytest.mark.parametrize(
    ("base_url", "words"),
    [
        pytest.param("http://localhost:1", "nothing listens there", id="refused"),
        pytest.param("https://nowhere.invalid", "Check the host name in base_url", id="dns"),
    ],
)
async def test_missing_connection_says_where_to_look(base_url: str, words: str) -> None:
    """Who was not reached, and why, decides what is to be checked."""
    async with RefoldClient(
        api_key="tk", linked_account_id="a", base_url=base_url, retry=at_once(attempts=1)
    ) as refold:
        with pytest.raises(ConnectionFailedError) as caught:
            await refold.execute("wf_1", slug="s")
    assert words in (caught.value.advice or "")
    assert (caught.value.sent, caught.value.operation) == (False, "execute")


@pytest.mark.parametrize(
    ("settings", "variables", "origin"),
    [
        ({"api_key": "pk_1"}, {}, "the production API key given as api_key"),
        ({}, {"REFOLD_API_KEY": "tk_1"}, "the test API key from REFOLD_API_KEY"),
        ({"api_key": "other"}, {}, "the API key given as api_key"),
        ({"session_token": "jwt"}, {}, "the session token given as session_token"),
        ({}, {"REFOLD_SESSION_TOKEN": "jwt"}, "the session token from REFOLD_SESSION_TOKEN"),
    ],
)
async def test_refused_credential_is_named_by_where_it_came_from(
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    variables: dict[str, str],
    origin: str,
) -> None:
    """Of a key in the environment and one in the code, the one at fault is told."""
    for name in ("REFOLD_API_KEY", "REFOLD_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with wire(Step(reply=http(401, {"message": "no"}))) as server:
        refold = RefoldClient(base_url=server.base_url, linked_account_id="a", **settings)
        async with refold:
            with pytest.raises(AuthenticationError, match=f"Check {origin}: "):
                await refold.execute("wf_1", slug="s")


async def test_bad_ending_is_typed_and_says_whose_run_it_was(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """The error of a run names the run, its workflow and its account."""

    def fails(payload: Any) -> Any:
        raise ValueError("no such contact")

    emulator.workflow("wf_1", slug="hubspot")(fails)
    with pytest.raises(ExecutionFailedError) as caught:
        await connect(emulator).run("wf_1", slug="hubspot")
    error = caught.value
    assert error.result.execution is not None
    assert error.failed_node is not None
    assert error.execution_id == error.result.execution_id
    assert error.workflow_id == error.result.execution.workflow_id
    assert error.linked_account_id == error.result.execution.linked_account_id
