"""Bodies of deliveries become events."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from refold_async import ExecutionStatus, RefoldError, WebhookBodyError
from refold_async.webhooks import (
    WORKFLOW_EVENTS,
    ConnectionEvent,
    WebhookEvent,
    WebhookEventKind,
    WorkflowEvent,
    parse,
)
from tests.support.deliveries import RUN, connection_event, encoded, workflow_event


@pytest.mark.parametrize("kind", WORKFLOW_EVENTS)
def test_a_workflow_event_names_its_run(kind: WebhookEventKind) -> None:
    """`instance_id` is the execution's id."""
    event = parse(encoded(workflow_event(event=kind.value, environment="production")))
    assert isinstance(event, WorkflowEvent)
    assert event.kind is kind
    assert event.execution_id == RUN
    assert event.workflow_id == "6a106ba44480b80424a65289"
    assert event.workflow_name == "Create contact"
    assert (event.linked_account_id, event.config_id) == ("acct_1", "acct_1")
    assert event.environment == "production"
    assert event.status is ExecutionStatus.COMPLETED
    assert event.failed_node is None


def test_a_connection_event_is_read() -> None:
    """It has a slug and an HTTP date."""
    event = parse(encoded(connection_event()))
    assert isinstance(event, ConnectionEvent)
    assert event.kind is WebhookEventKind.CONNECTION_EXPIRED
    assert (event.slug, event.org_id, event.linked_account_id) == ("hubspot", "org_1", "acct_1")
    assert event.created_at == datetime(2023, 11, 7, 8, 3, 27, tzinfo=UTC)


def test_unknown_fields_and_events_are_kept() -> None:
    """The service grows; nothing it says is lost."""
    run = parse(encoded(workflow_event(event="Workflow Paused", mood="good")))
    assert isinstance(run, WorkflowEvent)
    assert run.kind == "Workflow Paused"
    assert run.raw["mood"] == "good"
    other = parse(encoded({"event": "Plan Changed", "plan": "gold"}))
    assert type(other) is WebhookEvent
    assert other.kind == "Plan Changed"
    assert other.raw == {"event": "Plan Changed", "plan": "gold"}


@pytest.mark.parametrize(
    ("fields", "node"),
    [
        pytest.param({"failed_node": "Update deal"}, "Update deal", id="a-name"),
        pytest.param({"failed_node": {"node_name": "Update deal"}}, "Update deal", id="a-node"),
        pytest.param({"node_name": "Update deal"}, "Update deal", id="beside"),
        pytest.param({"node": {"node_id": "3"}}, None, id="without-a-name"),
    ],
)
def test_the_failed_node_is_found_where_it_may_stand(
    fields: dict[str, Any], node: str | None
) -> None:
    """Its field is not documented."""
    event = parse(encoded(workflow_event(event="Workflow Errored", status="ERRORED", **fields)))
    assert isinstance(event, WorkflowEvent)
    assert event.failed_node == node


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"instance_id": RUN}, id="instance-id-alone"),
        pytest.param({"execution_id": RUN, "text": "done"}, id="execution-id"),
        pytest.param({"event": {"instance_id": RUN}, "workflow_response": {}}, id="event-inside"),
        pytest.param({"event": json.dumps({"instance_id": RUN})}, id="event-quoted"),
    ],
)
def test_a_template_that_keeps_the_run_is_understood(document: dict[str, Any]) -> None:
    """A custom body may say little; the id is enough for a hint."""
    event = parse(encoded(document))
    assert isinstance(event, WorkflowEvent)
    assert event.execution_id == RUN


def test_ids_are_read_inside_the_event_only() -> None:
    """The response beside it is end users' data, and may say anything."""
    other = "6a314c54d4616e99e7fa5a03"
    event = parse(encoded({"event": {"instance_id": RUN}, "instance_id": other}))
    assert isinstance(event, WorkflowEvent)
    assert event.execution_id == RUN


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b"hello", "not JSON", id="text"),
        pytest.param(b'{"instance_id": "\xff"}', "not JSON", id="no-utf8"),
        pytest.param(b"[1]", "not a JSON object", id="array"),
        pytest.param(b'{"a": NaN}', "not JSON", id="nan"),
        pytest.param(b'{"a": 1e999}', "not JSON", id="infinite"),
        pytest.param(b'{"a": ' + b"9" * 5_000 + b"}", "not JSON", id="endless-number"),
        pytest.param(b'{"text": "a run ended"}', "names no run", id="template-without-id"),
        pytest.param(b'{"event": "Workflow Completed"}', "names no run", id="event-without-id"),
        pytest.param(b'{"instance_id": "a/b"}', "can.t be one", id="id-with-a-slash"),
        pytest.param(b'{"instance_id": 7}', "can.t be one", id="id-is-a-number"),
        pytest.param(b'{"instance_id": ".."}', "can.t be one", id="id-is-a-path"),
        pytest.param(b'{"a":' * 300 + b"1" + b"}" * 300, "nested deeper", id="deep"),
        pytest.param(b"[" * 100_000, "not JSON", id="very-deep"),
        pytest.param(b" " * (1024 * 1024 + 1), "longer than", id="long"),
    ],
)
def test_what_is_no_event_says_why(body: bytes, said: str) -> None:
    """Each has its own remedy, and none leads to the body, which holds data of end users."""
    with pytest.raises(WebhookBodyError, match=said) as raised:
        parse(body)
    behind = raised.value.__context__
    assert behind is None or isinstance(behind, RefoldError)
