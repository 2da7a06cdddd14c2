"""Documents and lists: what is read, what is kept, what is left out."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from refold_async import ExecutionStatus, NodeRun, UnexpectedReplyError
from refold_async._protocol import (
    create_session_token_request,
    judge,
    list_executions_request,
    read_execution,
    read_page,
    read_request_structure,
    read_response,
    read_session_token,
    read_workflow,
)
from refold_async._protocol.replies import read_time
from tests.support.making import RUN, accepted, reply

DOCUMENT: dict[str, Any] = {
    "_id": RUN,
    "name": "Sync contacts",
    "org_id": "org_1",
    "environment": "production",
    "status": "ERRORED",
    "completion_percentage": 50,
    "config_id": "cfg",
    "linked_account_id": "acct_1",
    "instance_tag": "nightly",
    "createdAt": "2026-06-16T13:15:00.887Z",
    "completion_time": "2026-06-16T15:15:12+02:00",
    "associated_workflow": {"_id": "wf_1", "name": "Sync contacts", "icon": None},
    "type_of_execution": "ASYNC",
    "something_new": {"a": 1},
    "nodes": [
        {
            "node_id": "n1",
            "node_name": "Create contact",
            "node_type": "action",
            "node_status": "Errored",
            "is_batch": False,
            "attempts_made": 2,
            "maximum_attempts": 3,
            "execution_time": 1250,
            "input_data": {"email": "jane@example.com"},
            "latest_output": {"error": "no such list"},
        }
    ],
}


def test_document_is_read() -> None:
    """Each documented field has its place, and the whole is kept as it came."""
    run = read_execution(DOCUMENT)
    assert (run.execution_id, run.status) == (RUN, ExecutionStatus.ERRORED)
    assert (run.workflow_id, run.linked_account_id, run.config_id) == ("wf_1", "acct_1", "cfg")
    assert (run.completion_percentage, run.instance_tag) == (50, "nightly")
    assert run.created_at == datetime(2026, 6, 16, 13, 15, 0, 887_000, tzinfo=UTC)
    assert run.completed_at == datetime(2026, 6, 16, 13, 15, 12, tzinfo=UTC)
    assert run.raw is DOCUMENT


@pytest.mark.parametrize(
    ("latest", "output"),
    [
        pytest.param(
            {"status": "Errored", "node_id": "7", "node_name": "A", "body": {"error": "no"}},
            {"error": "no"},
            id="shown-in",
        ),
        pytest.param(
            {"status": "Success", "node_id": "7", "node_name": "A", "body": None}, None, id="null"
        ),
        *(
            pytest.param(output, output, id=name)
            for name, output in {
                "another-node": {"status": "", "node_id": "8", "node_name": "A", "body": 1},
                "one-field-more": {
                    "status": "",
                    "node_id": "7",
                    "node_name": "",
                    "body": 1,
                    "a": 2,
                },
                "one-field-less": {"node_id": "7", "node_name": "A", "body": 1},
                "text": "done",
                "nothing": None,
            }.items()
        ),
    ],
)
def test_output_of_a_node_is_taken_out_of_what_it_is_shown_in(latest: Any, output: Any) -> None:
    """The service may show a node's output with the node around it; `raw` keeps it so."""
    node = {"node_id": "7", "latest_output": latest}
    (read,) = read_execution({"status": "RUNNING", "nodes": [node]}).nodes
    assert (read.output, read.raw["latest_output"]) == (output, latest)


def test_data_of_a_run_does_not_show() -> None:
    """Inputs and outputs may hold personal data; the repr of a run leaves them out."""
    shown = repr(read_execution(DOCUMENT))
    assert "Create contact" in shown
    assert "jane" not in shown
    assert "no such list" not in shown


def test_node_is_read_with_seconds_from_milliseconds() -> None:
    """Durations on the wire are milliseconds, and seconds everywhere else."""
    document = DOCUMENT["nodes"][0]
    assert read_execution(DOCUMENT).nodes == (
        NodeRun(
            node_id="n1",
            name="Create contact",
            type="action",
            status="Errored",
            attempts=2,
            max_attempts=3,
            duration=1.25,
            output={"error": "no such list"},
            raw=document,
        ),
    )


@pytest.mark.parametrize(
    ("fields", "completed_at"),
    [
        pytest.param({"instance_execution_time": 12_500}, "13:15:13.387", id="from how long"),
        pytest.param({"instance_execution_time": 0}, "13:15:00.887", id="no time at all"),
        pytest.param({"instance_execution_time": 5, "status": "RUNNING"}, None, id="going on"),
        pytest.param({"instance_execution_time": 5, "createdAt": None}, None, id="since when"),
        pytest.param({"instance_execution_time": -1}, None, id="negative"),
        pytest.param({"instance_execution_time": "5"}, None, id="text"),
        pytest.param({"instance_execution_time": float("nan")}, None, id="nan"),
        pytest.param({"instance_execution_time": float("inf")}, None, id="infinite"),
        pytest.param({"instance_execution_time": 10**30}, None, id="beyond the calendar"),
        pytest.param({}, None, id="nothing"),
        pytest.param(
            {"instance_execution_time": 1, "completion_time": "2026-06-16T13:16:00Z"},
            "13:16:00",
            id="the end itself wins",
        ),
    ],
)
def test_end_is_told_by_how_long_a_run_took_where_it_is_missing(
    fields: dict[str, Any], completed_at: str | None
) -> None:
    """`createdAt` and the milliseconds of `instance_execution_time`, once the run is over."""
    run = read_execution({**DOCUMENT, "completion_time": None, **fields})
    wanted = completed_at and datetime.fromisoformat(f"2026-06-16T{completed_at}+00:00")
    assert run.completed_at == wanted


def test_empty_document_is_read() -> None:
    """All that is missing is None; a run without a status counts as going on."""
    run = read_execution({}, execution_id=RUN)
    assert (run.execution_id, run.status) == (RUN, "UNKNOWN")
    assert (run.workflow_id, run.created_at, run.nodes) == (None, None, ())
    assert not run.status.is_terminal
    assert read_execution({}).execution_id == ""


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        pytest.param({"_id": "a", "execution_id": "b"}, "a", id="document-id"),
        pytest.param({"execution_id": "b"}, "b", id="execution-id"),
        pytest.param({"_id": {"$oid": "a"}, "execution_id": "b"}, "b", id="odd-document-id"),
        pytest.param({"_id": 5}, "asked", id="odd-everything"),
        pytest.param({"_id": ""}, "asked", id="empty"),
    ],
)
def test_id_is_the_first_readable_one(fields: dict[str, Any], found: str) -> None:
    """The document's own id wins, then that of the request."""
    assert read_execution(fields, execution_id="asked").execution_id == found


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        pytest.param({"associated_workflow": {"_id": "wf_1"}}, "wf_1", id="object"),
        pytest.param({"associated_workflow": "wf_1"}, "wf_1", id="text"),
        pytest.param({"workflow_id": "wf_1"}, "wf_1", id="plain"),
        pytest.param({"associated_workflow": {}, "workflow_id": "wf_1"}, "wf_1", id="no-id"),
        pytest.param({"associated_workflow": {"_id": 5}, "workflow_id": "wf_1"}, "wf_1", id="odd"),
        pytest.param({"associated_workflow": [1]}, None, id="list"),
    ],
)
def test_workflow_of_a_document_is_found(fields: dict[str, Any], found: str | None) -> None:
    """The workflow may be an object, a text, or a field of its own."""
    assert read_execution(fields).workflow_id == found


@pytest.mark.parametrize("nodes", [None, {}, "nodes", 5, [], [None, 5, "x", []]])
def test_nodes_of_another_shape_are_none(nodes: Any) -> None:
    """What is no list of objects holds no node."""
    assert read_execution({"nodes": nodes}).nodes == ()


@pytest.mark.parametrize(
    ("value", "percentage", "seconds"),
    [
        (150, 100.0, 0.15),
        (0, 0.0, 0.0),
        (-1, None, None),
        (1e300, None, None),
        (2**60, None, None),
        (math.nan, None, None),
        (math.inf, None, None),
        (-math.inf, None, None),
    ],
)
def test_a_number_that_can_not_be_is_none(
    value: Any, percentage: float | None, seconds: float | None
) -> None:
    """Nothing that is reckoned with them runs away."""
    node = {"execution_time": value, "attempts_made": value}
    run = read_execution({"completion_percentage": value, "nodes": [node]})
    assert (run.completion_percentage, run.nodes[0].duration) == (percentage, seconds)
    assert run.nodes[0].attempts == (value if value in {150, 0} else None)


@pytest.mark.parametrize("value", [None, "12", True, [], {}, 10**400])
def test_number_of_another_type_is_none(value: Any) -> None:
    """Numbers are numbers, and no text or flag is."""
    node = {"execution_time": value, "attempts_made": value if value != 10**400 else 1.5}
    run = read_execution({"completion_percentage": value, "nodes": [node]})
    assert run.completion_percentage is None
    assert (run.nodes[0].duration, run.nodes[0].attempts) == (None, None)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-06-16T13:15:00Z", datetime(2026, 6, 16, 13, 15, tzinfo=UTC)),
        ("2026-06-16T13:15:00", datetime(2026, 6, 16, 13, 15, tzinfo=UTC)),
        ("2026-06-16T15:15:00+02:00", datetime(2026, 6, 16, 13, 15, tzinfo=UTC)),
        ("2026-06-16", datetime(2026, 6, 16, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
        ("2026-06-31T00:00:00Z", None),
        ("0001-01-01T00:00:00+05:00", None),
        (1_781_615_700_000, None),
        (None, None),
    ],
)
def test_time_is_aware_and_utc(text: Any, moment: datetime | None) -> None:
    """Times are ISO 8601; without a zone they are UTC, with another they become it."""
    read = read_time(text)
    assert read == moment
    assert read is None or read.tzinfo is UTC


def test_response_is_read() -> None:
    """The response path gives the output and how far the run is."""
    output = read_response(accepted({"response": {"a": 1}, "status": "Completed"}))
    assert (output.value, output.status) == ({"a": 1}, ExecutionStatus.COMPLETED)
    empty = read_response(accepted({}))
    assert (empty.value, empty.status.is_terminal) == (None, False)


def test_page_is_read_with_its_envelope() -> None:
    """A page knows its items, its number, and whether more follow."""
    document = {
        "docs": [DOCUMENT, {"_id": "second"}],
        "totalDocs": 12,
        "limit": 2,
        "page": 3,
        "hasNextPage": True,
    }
    page = read_page(accepted(document), read_execution)
    assert [run.execution_id for run in page] == [RUN, "second"]
    assert (page.page, page.has_next, page.total) == (3, True, 12)
    assert page.raw is document


@pytest.mark.parametrize("more", [None, False, 1, "true"])
def test_bare_page_is_the_last(more: Any) -> None:
    """Without a clear word that more follow, none do; what is no object is left out."""
    page = read_page(accepted({"docs": [None, 5, {"a": 1}], "hasNextPage": more}), dict)
    assert page.items == ({"a": 1},)
    assert (page.page, page.has_next, page.total) == (1, False, None)


@pytest.mark.parametrize("docs", [None, {}, "docs"])
def test_list_without_docs_is_an_error(docs: Any) -> None:
    """An envelope without its list is no empty list, but a reply that is no answer."""
    request = list_executions_request(account="acct_1", query={})
    answer = judge(request, reply(200, {"docs": docs}))
    assert isinstance(answer.error, UnexpectedReplyError)
    assert answer.error.status == 200


@pytest.mark.parametrize(
    ("document", "slug"),
    [
        pytest.param({"_id": "w", "application": {"slug": "hubspot"}}, "hubspot", id="object"),
        pytest.param({"id": "w", "application": "hubspot"}, "hubspot", id="text"),
        pytest.param({"_id": "w", "slug": "hubspot", "application": {}}, "hubspot", id="own"),
        pytest.param(
            {"_id": "w", "associated_application": {"slug": "hubspot"}}, "hubspot", id="associated"
        ),
        pytest.param(
            {"id": "w", "slug": 5, "application": {"slug": "hubspot"}}, "hubspot", id="odd"
        ),
        pytest.param({"_id": {"$oid": "x"}, "id": "w"}, None, id="none"),
    ],
)
def test_workflow_of_either_list_is_read(document: dict[str, Any], slug: str | None) -> None:
    """The two lists name id and application differently."""
    workflow = read_workflow(document)
    assert (workflow.workflow_id, workflow.slug, workflow.raw) == ("w", slug, document)


@pytest.mark.parametrize(
    ("published", "read"), [(True, True), (False, False), (None, None), ("yes", None), (1, None)]
)
def test_workflow_is_published_or_not_or_nobody_said(published: Any, read: bool | None) -> None:
    """Only a plain flag tells whether a workflow is published."""
    document = {"name": "n", "description": "d", "config_id": "c", "published": published}
    workflow = read_workflow(document)
    assert workflow.published is read
    assert (workflow.workflow_id, workflow.name) == ("", "n")
    assert (workflow.description, workflow.config_id) == ("d", "c")


@pytest.mark.parametrize(
    ("schema", "read"), [({"type": "object"}, {"type": "object"}), (None, None), ("x", None)]
)
def test_request_structure_is_read(schema: Any, read: Any) -> None:
    """A workflow may have a JSON Schema or none."""
    document = {"payload": {"email": ""}, "schema": schema, "schema_interpreted": {}}
    structure = read_request_structure(accepted(document))
    assert (structure.payload, structure.schema) == ({"email": ""}, read)
    assert structure.raw is document


def test_session_token_is_read() -> None:
    """A token comes with its refresh token and both lifetimes, in seconds."""
    document = {"token": "a", "refresh_token": "b", "expires_in": 604800, "refresh_expires_in": 9}
    token = read_session_token(accepted(document))
    assert (token.token, token.refresh_token) == ("a", "b")
    assert (token.expires_in, token.refresh_expires_in) == (604800, 9)
    assert read_session_token(accepted({"token": "a"})).refresh_token is None


@pytest.mark.parametrize("token", [None, "", 5])
def test_answer_without_a_token_is_an_error(token: Any) -> None:
    """There is no empty session token."""
    request = create_session_token_request("acct_1", force_refresh=False)
    answer = judge(request, reply(200, {"token": token}))
    assert isinstance(answer.error, UnexpectedReplyError)
