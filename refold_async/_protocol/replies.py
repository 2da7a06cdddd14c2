"""Parsed answers → models. Unknown fields are kept in `raw`, missing ones are None."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from refold_async._models import (
    Execution,
    ExecutionResult,
    ExecutionStatus,
    NodeRun,
    Page,
    RequestStructure,
    SessionToken,
    Workflow,
)
from refold_async._protocol.evidence import rerun_id
from refold_async._protocol.requests import Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from refold_async._protocol.evidence import Answer
    from refold_async._protocol.requests import Request

_INLINE = ("return_value", "errored", "execution_error")
"""Fields that tell the end of a sync run; `status_code` is one of error envelopes as well."""
_MOST = 2**53
"""No number in a reply is larger: beyond it a float does not even count to the next."""
_SHOWN_IN = {"status", "node_id", "node_name", "body"}
_HEADER_FIELDS = ("headers", "request_headers", "requestHeaders")


class Started(NamedTuple):
    """What a start came to.

    Attributes:
        execution_id: the run (None for a sync reply that had none).
        result: how it ended, if the reply says so.
        attempts: tries the call took.
        possible_duplicate: whether an earlier try may have started a run as well.
    """

    execution_id: str | None
    result: ExecutionResult[Any] | None = None
    attempts: int = 1
    possible_duplicate: bool = False


def read_execute_answer(answer: Answer, *, sync: bool) -> Started:
    """Read an accepted answer to execute.

    A reply that only names the run is an acknowledgement, even where a sync run was asked for: a
    proxy drops the `sync_execution` header, and then the result has to be waited for.

    See: "Execute Workflow", "Response Node".
    """
    document: dict[str, Any] = answer.document
    execution_id = _text(document.get("execution_id"))
    ended = execution_id is None or _tells_the_end(document, sync=sync)
    result = _inline_result(answer, execution_id) if ended else None
    return Started(execution_id, result, answer.attempts, answer.possible_duplicate)


def _tells_the_end(document: Mapping[str, Any], *, sync: bool) -> bool:
    if sync:
        return any(name in document for name in _INLINE)
    return (
        document.get("return_value") is not None
        or document.get("errored") is True
        or bool(document.get("execution_error"))
    )


def _inline_result(answer: Answer, execution_id: str | None) -> ExecutionResult[Any]:
    document = answer.document
    code = document.get("status_code")
    failed = document.get("errored") is True or (
        bool(document.get("execution_error")) and "errored" not in document
    )
    return ExecutionResult(
        execution_id=execution_id,
        status=ExecutionStatus.ERRORED if failed else ExecutionStatus.COMPLETED,
        output=document.get("return_value"),
        status_code=code if _is_http_status(code) else answer.status,
        error=document.get("execution_error"),
        headers=next((h for h in map(document.get, _HEADER_FIELDS) if isinstance(h, dict)), None),
        raw=document,
    )


def read_started(answer: Answer, request: Request) -> Started:
    """Read an accepted answer to whatever starts a run."""
    if request.operation is Operation.RERUN:
        return read_rerun_answer(answer)
    return read_execute_answer(answer, sync=request.sync)


def read_rerun_answer(answer: Answer) -> Started:
    """Read an accepted answer to rerun, in either shape. See: "Rerun Execution"."""
    return Started(
        execution_id=rerun_id(answer.document),
        attempts=answer.attempts,
        possible_duplicate=answer.possible_duplicate,
    )


def read_execution(document: Mapping[str, Any], *, execution_id: str | None = None) -> Execution:
    """Read an execution document. See: "Get Execution", "List Executions"."""
    workflow = document.get("associated_workflow")
    workflow_id = workflow.get("_id") if isinstance(workflow, dict) else workflow
    nodes = document.get("nodes")
    return Execution(
        execution_id=_text(document.get("_id"), document.get("execution_id"), execution_id) or "",
        status=ExecutionStatus(_text(document.get("status")) or "UNKNOWN"),
        workflow_id=_text(workflow_id, document.get("workflow_id")),
        linked_account_id=_text(document.get("linked_account_id")),
        config_id=_text(document.get("config_id")),
        created_at=read_time(document.get("createdAt")),
        completed_at=read_time(document.get("completion_time")) or _end(document),
        completion_percentage=_percentage(document.get("completion_percentage")),
        nodes=tuple(_read_node(n) for n in nodes if isinstance(n, dict))
        if isinstance(nodes, list)
        else (),
        instance_tag=_text(document.get("instance_tag")),
        raw=document,
    )


def _end(document: Mapping[str, Any]) -> datetime | None:
    """Tell when a run ended from how long it took, where the end itself is missing."""
    took_ms = _number(document.get("instance_execution_time"))
    created_at = None if took_ms is None else read_time(document.get("createdAt"))
    over = ExecutionStatus(_text(document.get("status")) or "UNKNOWN").is_terminal
    if took_ms is None or created_at is None or not over or not took_ms >= 0:
        return None
    try:
        return created_at + timedelta(milliseconds=took_ms)
    except OverflowError:
        return None


def _read_node(node: Mapping[str, Any]) -> NodeRun:
    duration_ms = _number(node.get("execution_time"))
    return NodeRun(
        node_id=_text(node.get("node_id")),
        name=_text(node.get("node_name")),
        type=_text(node.get("node_type")),
        status=_text(node.get("node_status")),
        attempts=_whole(node.get("attempts_made")),
        max_attempts=_whole(node.get("maximum_attempts")),
        duration=None if duration_ms is None else duration_ms / 1000,
        output=_output(node),
        raw=node,
    )


def _output(node: Mapping[str, Any]) -> Any:
    """Give what a node put out, taken out of what the service may show it in.

    See: "Get Execution": `{status, node_id, node_name, body}`.
    """
    shown = node.get("latest_output")
    if not isinstance(shown, dict) or shown.keys() != _SHOWN_IN:
        return shown
    return shown["body"] if shown["node_id"] == node.get("node_id") else shown


class Output(NamedTuple):
    """What the response path says: the Response node's data, and how far the run is."""

    value: Any
    status: ExecutionStatus
    raw: Mapping[str, Any] = {}


def read_response(answer: Answer) -> Output:
    """Read the output of a run. See: "Workflow API"."""
    document = answer.document
    status = _text(document.get("status")) or "UNKNOWN"
    return Output(value=document.get("response"), status=ExecutionStatus(status), raw=document)


def read_page(answer: Answer, read: Callable[[Mapping[str, Any]], Any]) -> Page[Any]:
    """Read one page of a list, with the pagination envelope. See: "List Executions"."""
    document = answer.document
    return Page(
        items=tuple(read(doc) for doc in document["docs"] if isinstance(doc, dict)),
        page=_whole(document.get("page")) or 1,
        has_next=document.get("hasNextPage") is True,
        total=_whole(document.get("totalDocs")),
        raw=document,
    )


def read_workflow(document: Mapping[str, Any]) -> Workflow:
    """Read a workflow, of either list. See: "List Workflows", "List Enabled Workflows"."""
    application = document.get("application") or document.get("associated_application")
    slug = application.get("slug") if isinstance(application, dict) else application
    published = document.get("published")
    return Workflow(
        workflow_id=_text(document.get("_id"), document.get("id")) or "",
        name=_text(document.get("name")),
        slug=_text(document.get("slug"), slug),
        description=_text(document.get("description")),
        published=published if isinstance(published, bool) else None,
        config_id=_text(document.get("config_id")),
        raw=document,
    )


def read_request_structure(answer: Answer) -> RequestStructure:
    """Read what a workflow expects. See: "Get Workflow Request Structure"."""
    document = answer.document
    schema = document.get("schema")
    return RequestStructure(
        payload=document.get("payload"),
        schema=schema if isinstance(schema, dict) else None,
        raw=document,
    )


def read_session_token(answer: Answer) -> SessionToken:
    """Read a session token. See: "Generate Session Token"."""
    document = answer.document
    return SessionToken(
        token=document["token"],
        refresh_token=_text(document.get("refresh_token")),
        expires_in=_number(document.get("expires_in")),
        refresh_expires_in=_number(document.get("refresh_expires_in")),
    )


def read_time(value: object) -> datetime | None:
    """Read an ISO 8601 time as one in UTC, which it is without a zone; None if it is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # in UTC it may lie before the year 1
        return None


def _text(*values: object) -> str | None:
    """Give the first value that is text; an empty one counts as missing."""
    for value in values:
        if isinstance(value, str) and value:
            return value
    return None


def _is_http_status(value: object) -> bool:
    return _whole(value) is not None and 100 <= value < 600  # type: ignore[operator] # noqa: PLR2004


def _whole(value: object) -> int | None:
    """Give a whole number from 0, as far as it can be one that was counted."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= _MOST else None


def _number(value: object) -> float | None:
    """Give a number from 0, as far as it can be one that was measured."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= _MOST else None


def _percentage(value: object) -> float | None:
    number = _number(value)
    return None if number is None else min(number, 100.0)
