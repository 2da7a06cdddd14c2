"""Requests: method, path, headers and body of each operation."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import ConfigError, PayloadError
from refold_async._protocol import (
    Operation,
    Request,
    create_session_token_request,
    create_webhook_request,
    delete_webhook_request,
    enabled_workflows_request,
    execute_request,
    get_execution_request,
    get_response_request,
    get_webhook_request,
    list_batches_request,
    list_executions_request,
    list_webhooks_request,
    list_workflows_request,
    request_structure_request,
    rerun_request,
    stop_request,
    trigger_event_request,
    update_webhook_request,
)

if TYPE_CHECKING:
    from collections.abc import Callable

V2 = "/api/v2/public"


def execute(**changes: Any) -> Request:
    """Build an execute request."""
    arguments: dict[str, Any] = {
        "workflow_id": "wf_1",
        "slug": "hubspot",
        "max_payload_bytes": 1000,
    } | changes
    return execute_request(**arguments)


SIMPLE = [
    pytest.param(
        get_execution_request("e1", account="a"),
        ("get_execution", "GET", f"{V2}/execution/e1"),
        id="get",
    ),
    pytest.param(
        get_response_request("e1", account="a"),
        ("get_response", "GET", "/api/v1/execution/e1/response"),
        id="response",
    ),
    pytest.param(
        stop_request("e1", account="a"), ("stop", "POST", f"{V2}/execution/e1/stop"), id="stop"
    ),
    pytest.param(
        rerun_request("e1", account="a"), ("rerun", "POST", f"{V2}/execution/e1/rerun"), id="rerun"
    ),
    pytest.param(
        list_executions_request(account="a", query={}),
        ("list_executions", "GET", f"{V2}/execution"),
        id="list",
    ),
    pytest.param(
        list_batches_request("e1", "n-2", account="a", query={"page": 2}),
        ("list_batches", "GET", f"{V2}/execution/e1/nodes/n-2/batches?page=2"),
        id="batches",
    ),
    pytest.param(
        list_workflows_request(account="a", query={"published": True}),
        ("list_workflows", "GET", f"{V2}/workflow?published=true"),
        id="workflows",
    ),
    pytest.param(
        enabled_workflows_request(account="a"),
        ("enabled_workflows", "GET", f"{V2}/workflow/enabled"),
        id="enabled",
    ),
    pytest.param(
        request_structure_request("wf_1", account="a"),
        ("request_structure", "GET", f"{V2}/workflow/request-structure/wf_1"),
        id="structure",
    ),
]


@pytest.mark.parametrize(("request_", "wanted"), SIMPLE)
def test_request_is_the_documented_one(request_: Request, wanted: tuple[str, str, str]) -> None:
    """Operation, method and path are those of the page; there is no body."""
    assert (request_.operation, request_.method, request_.target) == wanted
    assert (request_.headers, request_.body, request_.account) == ({}, None, "a")


def test_execute_is_the_documented_one() -> None:
    """A bare execute carries the application, the way to run, and an empty payload."""
    request = execute()
    assert (request.operation, request.method) == (Operation.EXECUTE, "POST")
    assert request.target == f"{V2}/workflow/wf_1/execute"
    assert request.body == b'{"payload":{}}'
    assert request.headers == {
        "Content-Type": "application/json",
        "slug": "hubspot",
        "sync_execution": "false",
    }
    assert (request.account, request.sync, request.instance_tag) == (None, False, None)
    assert not request.unique_tag


def test_execute_carries_all_its_options() -> None:
    """Each option has its documented header, and what the caller needs again is kept."""
    request = execute(
        payload={"email": "jané@example.com"},
        sync=True,
        account="acct_1",
        config_id="cfg",
        instance_tag="nightly",
        unique_tag=True,
        include_headers=True,
    )
    assert request.headers == {
        "Content-Type": "application/json",
        "slug": "hubspot",
        "sync_execution": "true",
        "config_id": "cfg",
        "instance_tag": "nightly",
        "include-headers": "true",
    }
    assert request.body == '{"payload":{"email":"jané@example.com"}}'.encode()
    assert (request.account, request.sync) == ("acct_1", True)
    assert (request.instance_tag, request.unique_tag) == ("nightly", True)
    assert (request.workflow_id, request.slug) == ("wf_1", "hubspot")


def test_own_tag_stands_in_for_a_missing_one() -> None:
    """The SDK's tag identifies the run; a caller's tag wins, and is unique only if it says so."""
    own, given = execute(own_tag="rfa-1"), execute(own_tag="rfa-1", instance_tag="nightly")
    assert (own.instance_tag, own.unique_tag, own.headers["instance_tag"]) == (
        "rfa-1",
        True,
        "rfa-1",
    )
    assert (given.instance_tag, given.unique_tag, given.headers["instance_tag"]) == (
        "nightly",
        False,
        "nightly",
    )


def test_what_calls_of_one_workflow_share_is_not_mixed_up() -> None:
    """Requests are checked once per workflow; neither tags nor options pass to the next call."""
    tagged, synced = execute(instance_tag="nightly"), execute(sync=True, include_headers=True)
    plain = execute()
    assert tagged.headers == {**plain.headers, "instance_tag": "nightly"}
    assert synced.headers == {
        **plain.headers,
        "sync_execution": "true",
        "include-headers": "true",
    }
    assert plain.headers == execute(config_id=None).headers


def trigger(*, idempotent: bool) -> Request:
    """Build a request that fires an event."""
    return trigger_event_request(
        "Contact Created",
        slug=None,
        payload=None,
        account="acct_1",
        config_id=None,
        instance_tag=None,
        headers=None,
        idempotent=idempotent,
        max_payload_bytes=1000,
    )


def test_payload_does_not_show() -> None:
    """A payload may hold personal data; a request's repr does not."""
    shown = repr(execute(payload={"email": "jane@example.com"}))
    assert shown == f"<Request execute POST {V2}/workflow/wf_1/execute>"


@pytest.mark.parametrize(
    ("force", "target"),
    [(False, f"{V2}/session-token"), (True, f"{V2}/session-token?force_refresh=true")],
)
def test_session_token_is_asked_for_an_account(force: bool, target: str) -> None:
    """The account stands in the body, and forcing in the query."""
    request = create_session_token_request('acct "1"', force_refresh=force)
    assert (request.method, request.target) == ("POST", target)
    assert request.headers == {"Content-Type": "application/json"}
    assert json.loads(request.body or b"") == {"linked_account_id": 'acct "1"'}
    assert request.account is None


def test_only_starts_are_not_repeatable() -> None:
    """Sending execute or rerun twice, or an event, may start two runs; nothing else may."""
    requests: list[Any] = [case.values[0] for case in SIMPLE]
    requests += [
        execute(),
        trigger(idempotent=False),
        create_session_token_request("a", force_refresh=True),
        trigger(idempotent=False),
    ]
    requests += [
        create_webhook_request({}),
        list_webhooks_request(),
        get_webhook_request("w1"),
        update_webhook_request("w1", {}),
        delete_webhook_request("w1"),
    ]
    assert {request.operation for request in requests} == {*Operation}
    starts = {request.operation for request in requests if not request.repeatable}
    assert starts == {Operation.EXECUTE, Operation.RERUN, Operation.TRIGGER_EVENT}
    assert trigger(idempotent=True).repeatable


class Status(StrEnum):
    """A stand-in for the caller's own enum."""

    DONE = "COMPLETED"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        pytest.param({}, "", id="empty"),
        pytest.param({"slug": None}, "", id="not-asked"),
        pytest.param({"page": 1, "limit": 10}, "?page=1&limit=10", id="numbers"),
        pytest.param({"sortAsc": False}, "?sortAsc=false", id="flag"),
        pytest.param({"status": Status.DONE}, "?status=COMPLETED", id="enum"),
        pytest.param({"name": "a b&c=d/é"}, "?name=a%20b%26c%3Dd%2F%C3%A9", id="special"),
        pytest.param({"start_date": "13:15+00:00"}, "?start_date=13%3A15%2B00%3A00", id="plus"),
    ],
)
def test_query_is_quoted(query: dict[str, Any], text: str) -> None:
    """What a value holds can't become another parameter; None is left out."""
    target = list_executions_request(account=None, query=query).target
    assert target == f"{V2}/execution{text}"


@pytest.mark.parametrize("value", ["", "a\nb", "\x00", "\ud800"])
def test_query_value_must_be_printable(value: str) -> None:
    """A value that can't be meant is refused, and the parameter named."""
    with pytest.raises(ConfigError, match="printable text") as caught:
        list_executions_request(account=None, query={"slug": value})
    assert caught.value.field == "slug"


BAD_ID = "../../admin"
BAD_HEADER = "a\r\nx-api-key: b"


@pytest.mark.parametrize(
    ("build", "field"),
    [
        pytest.param(lambda: execute(workflow_id=BAD_ID), "workflow_id", id="workflow"),
        pytest.param(lambda: execute(slug=BAD_HEADER), "slug", id="slug"),
        pytest.param(lambda: execute(slug=""), "slug", id="empty-slug"),
        pytest.param(lambda: execute(slug=["hubspot"]), "slug", id="unhashable-slug"),
        pytest.param(lambda: execute(workflow_id={}), "workflow_id", id="unhashable-workflow"),
        pytest.param(lambda: execute(config_id=BAD_HEADER), "config_id", id="config"),
        pytest.param(lambda: execute(instance_tag=BAD_HEADER), "instance_tag", id="tag"),
        pytest.param(lambda: execute(payload=[1]), "payload", id="payload"),
        pytest.param(lambda: get_execution_request(BAD_ID, account=None), "execution_id", id="get"),
        pytest.param(
            lambda: get_response_request(BAD_ID, account=None), "execution_id", id="response"
        ),
        pytest.param(lambda: stop_request(BAD_ID, account=None), "execution_id", id="stop"),
        pytest.param(lambda: rerun_request(BAD_ID, account=None), "execution_id", id="rerun"),
        pytest.param(
            lambda: list_batches_request(BAD_ID, "n", account=None, query={}),
            "execution_id",
            id="batches",
        ),
        pytest.param(
            lambda: list_batches_request("e", BAD_ID, account=None, query={}), "node_id", id="node"
        ),
        pytest.param(
            lambda: request_structure_request(BAD_ID, account=None), "workflow_id", id="structure"
        ),
        pytest.param(
            lambda: create_session_token_request(BAD_HEADER, force_refresh=False),
            "linked_account_id",
            id="account",
        ),
    ],
)
def test_wrong_argument_is_named(build: Callable[[], Request], field: str) -> None:
    """What could change the path or the headers is refused, and the argument named."""
    with pytest.raises(ConfigError) as caught:
        build()
    assert caught.value.field == field


def test_node_id_with_braces_is_refused_before_it_is_formatted() -> None:
    """Nothing a caller gives is ever taken for a template."""
    with pytest.raises(ConfigError):
        list_batches_request("e", "{0.__class__}", account=None, query={})


def test_payload_limit_is_handed_on() -> None:
    """The limit of the client's settings is that of the payload."""
    with pytest.raises(PayloadError, match="more than the 10 allowed"):
        execute(payload={"a": "x" * 20}, max_payload_bytes=10)
