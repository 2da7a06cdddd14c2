"""Replies of any content: they are read into models or end in our own errors, never in another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold_async import Execution, ExecutionStatus, UnexpectedReplyError
from refold_async._errors import ApiError
from refold_async._protocol import (
    Answer,
    Evidence,
    Reply,
    enabled_workflows_request,
    execute_request,
    get_execution_request,
    judge,
    read_execution,
    read_page,
    read_request_structure,
    read_response,
    read_session_token,
    read_workflow,
    rerun_request,
)
from refold_async._protocol.replies import read_execute_answer, read_rerun_answer

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.long

RUN = "6a314c54d4616e99e7fa5a02"
# fmt: off
FIELDS = [
    "_id", "id", "execution_id", "instanceId", "name", "status", "completion_percentage",
    "config_id", "linked_account_id", "instance_tag", "createdAt", "completion_time",
    "associated_workflow", "workflow_id", "nodes", "node_id", "node_name", "node_type",
    "node_status", "attempts_made", "maximum_attempts", "execution_time", "latest_output",
    "response", "docs", "page", "hasNextPage", "totalDocs", "application",
    "associated_application", "slug", "published", "payload", "schema", "token", "refresh_token",
    "expires_in", "return_value", "errored", "status_code", "execution_error", "headers",
    "message", "error", "error_code", "request_id", "executed_by_thanos", "http_error_type",
]
# fmt: on
WORDS = st.sampled_from(
    [
        RUN,
        "COMPLETED",
        "2026-06-16T13:15:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59-14:00",
    ]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=20)
    | WORDS,
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), below, max_size=8)
    ),
    max_leaves=25,
)
OBJECT = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=12)
STATUS = st.integers(100, 599) | st.sampled_from([200, 400, 429, 500, 503])
REQUESTS = st.sampled_from(
    [
        execute_request("wf_1", slug="s", max_payload_bytes=100),
        rerun_request(RUN, account=None),
        get_execution_request(RUN, account=None),
        enabled_workflows_request(account=None),
    ]
)
HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "Date", "Location"]), st.text(max_size=40)
)


@given(
    REQUESTS, STATUS, HEADERS, st.binary(max_size=200) | JSON.map(lambda j: json.dumps(j).encode())
)
def test_any_reply_is_judged(request: Any, status: int, headers: Any, body: bytes) -> None:
    """Each reply proves one thing: an accepted one has a document, any other an error."""
    answer = judge(request, Reply(status=status, headers=headers, body=body, received_at=1e9))
    assert answer.status == status
    if answer.evidence is Evidence.ACCEPTED:
        assert answer.error is None
        assert isinstance(answer.document, (dict, list))
    else:
        assert isinstance(answer.error, (ApiError, UnexpectedReplyError))
        assert str(answer.error).isprintable()
        assert len(str(answer.error)) < 30_000


@given(STATUS, OBJECT, st.booleans())
def test_proof_of_a_run_outweighs_every_status(status: int, document: Any, sync: bool) -> None:
    """An execute reply with an id is accepted, and its run is the one it names."""
    document["execution_id"] = RUN
    request = execute_request("wf_1", slug="s", sync=sync, max_payload_bytes=100)
    body = json.dumps(document).encode()
    answer = judge(request, Reply(status=status, headers={}, body=body, received_at=1e9))
    assert answer.evidence is Evidence.ACCEPTED
    started = read_execute_answer(answer, sync=sync)
    assert started.execution_id == RUN
    assert started.result is None or started.result.status.is_terminal


@given(OBJECT, st.booleans())
def test_start_is_read_whatever_the_types(document: Any, sync: bool) -> None:
    """Fields of any type give a run's id, its end, or both."""
    started = read_execute_answer(_accepted(document), sync=sync)
    assert started.execution_id is not None or started.result is not None


@given(OBJECT)
def test_document_is_read_whatever_the_types(document: Any) -> None:
    """Fields of any type give an execution with sound types, and the document is kept."""
    run = read_execution(document, execution_id=RUN)
    assert isinstance(run, Execution)
    assert run.execution_id
    assert isinstance(run.status, ExecutionStatus)
    assert run.raw is document
    texts = (run.workflow_id, run.linked_account_id, run.config_id, run.instance_tag)
    assert all(text is None or isinstance(text, str) for text in texts)
    assert run.created_at is None or run.created_at.utcoffset() is not None
    assert run.failed_node is None or run.failed_node in run.nodes
    assert run.response_node is None or run.response_node in run.nodes


def _accepted(document: Any) -> Answer:
    return Answer(evidence=Evidence.ACCEPTED, status=200, document=document)


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(read_rerun_answer, id="rerun"),
        pytest.param(read_response, id="response"),
        pytest.param(lambda answer: read_page(answer, read_execution), id="executions"),
        pytest.param(lambda answer: read_page(answer, read_workflow), id="workflows"),
        pytest.param(lambda answer: read_page(answer, dict), id="batches"),
        pytest.param(lambda answer: read_workflow(answer.document), id="workflow"),
        pytest.param(read_request_structure, id="structure"),
        pytest.param(read_session_token, id="token"),
    ],
)
@given(OBJECT)
def test_no_reader_raises_a_foreign_exception(read: Callable[[Answer], Any], document: Any) -> None:
    """Fields of any type give a model, once an answer has what nothing could stand in for."""
    repr(read(_accepted(document | {"docs": [document], "token": "t"})))
