"""What a journal keeps of results and errors, as JSON: enough to report them again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from refold_async._batch.models import document
from refold_async._errors import ApiError, clip
from refold_async._models import UNREAD, ExecutionError, ExecutionResult, ExecutionStatus, NodeRun

if TYPE_CHECKING:
    from refold_async._batch.journal_rows import Row

_MESSAGE = 2_000
"""Characters of an error's message that are kept."""


def dump_result(result: ExecutionResult[Any] | None) -> str | None:
    """Write a result: how it ended and its output, without headers and documents."""
    if result is None:
        return None
    kept = {"status": result.status, "status_code": result.status_code, "error": result.error}
    if result.output_is_read:
        kept["output"] = result.output
    return json.dumps(kept)


def load_result(text: str | None, execution_id: str | None) -> ExecutionResult[Any] | None:
    """Read a result back."""
    if text is None:
        return None
    kept = json.loads(text)
    return ExecutionResult(
        execution_id=execution_id,
        status=ExecutionStatus(kept["status"]),
        output=kept.get("output", UNREAD),
        status_code=kept["status_code"],
        error=kept["error"],
    )


def dump_error(error: Exception | None) -> str | None:
    """Write an error: its class, its words, and the node or status that it is about."""
    if error is None:
        return None
    kept: dict[str, Any] = {"type": type(error).__name__, "message": clip(error, _MESSAGE)}
    if isinstance(error, ExecutionError) and isinstance(error.failed_node, NodeRun):
        node = error.failed_node
        kept["node"] = {"node_id": node.node_id, "name": node.name, "status": node.status}
    if isinstance(error, ApiError):
        kept["status"] = error.status
    return json.dumps(kept)


def load_failure(result: ExecutionResult[Any], text: str | None) -> Exception | None:
    """Give the error of a run that ended so, with the words and the node it had at first."""
    try:
        result.raise_for_status()
    except (ApiError, ExecutionError) as error:
        kept = json.loads(text or "{}")
        if "message" in kept:
            error.args = (kept["message"],)
        if isinstance(error, ExecutionError) and "node" in kept:
            error.failed_node = NodeRun(**kept["node"])
        return error
    return None


def document_of(row: Row) -> dict[str, Any]:
    """Give an item that has ended as a JSON object, as `BatchItem.document` does."""
    error = None
    if row.error is not None:
        error = json.loads(row.error)
        if "node" in error:
            node = NodeRun(**error["node"])
            error["node"] = clip(node.name or node.node_id, 80)
    return document(
        index=row.position,
        key=row.key.removeprefix("#"),
        outcome=row.outcome or "",
        workflow_id=row.workflow_id,
        execution_id=row.execution_id,
        result=load_result(row.result, row.execution_id),
        seconds=None,
        resumed=True,
        possible_duplicate=row.possible_duplicate,
        error=error,
    )
