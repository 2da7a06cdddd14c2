"""The JSON documents of `--json`: their fields are a promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from refold_async import (
    ApiError,
    Execution,
    ExecutionEvent,
    ExecutionHandle,
    ExecutionResult,
    NodeErrored,
    NodeFinished,
    NodeRetried,
    NodeRun,
    NodeStarted,
    Progress,
    RefoldError,
    StatusChanged,
    Webhook,
)
from refold_async.webhooks import ConnectionEvent, WebhookEvent, WorkflowEvent

if TYPE_CHECKING:
    from datetime import datetime

Document = dict[str, Any]

EVENTS: dict[type[ExecutionEvent], str] = {
    StatusChanged: "status",
    Progress: "progress",
    NodeStarted: "node_started",
    NodeRetried: "node_retried",
    NodeErrored: "node_errored",
    NodeFinished: "node_finished",
}


def of_run(handle: ExecutionHandle[Any], result: ExecutionResult[Any] | None) -> Document:
    """A run that was started or waited for; `result` is null while it goes on."""
    return {
        "execution_id": handle.execution_id,
        "workflow_id": handle.workflow_id,
        "slug": handle.slug,
        "linked_account_id": handle.linked_account_id,
        "instance_tag": handle.instance_tag,
        "created_at": _moment(handle.created_at),
        "attempts": handle.attempts,
        "possible_duplicate": handle.possible_duplicate,
        "result": None if result is None else of_result(result),
    }


def of_result(result: ExecutionResult[Any]) -> Document:
    """How a run ended."""
    node = None if result.execution is None else result.execution.failed_node
    return {
        "status": str(result.status),
        "ok": result.ok,
        "output": result.output,
        "status_code": result.status_code,
        "error": result.error,
        "failed_node": None if node is None else of_node(node),
    }


def of_execution(run: Execution, *, with_nodes: bool = True) -> Document:
    """A run as the service documents it."""
    document = {
        "execution_id": run.execution_id,
        "status": str(run.status),
        "ended": run.status.is_terminal,
        "workflow_id": run.workflow_id,
        "workflow_name": workflow_name(run),
        "linked_account_id": run.linked_account_id,
        "config_id": run.config_id,
        "created_at": _moment(run.created_at),
        "completed_at": _moment(run.completed_at),
        "completion_percentage": run.completion_percentage,
        "instance_tag": run.instance_tag,
    }
    if with_nodes:
        document["nodes"] = [of_node(node) for node in run.nodes]
    return document


def of_node(node: NodeRun) -> Document:
    """One node of a run; `duration` is in seconds."""
    return {
        "node_id": node.node_id,
        "name": node.name,
        "type": node.type,
        "status": node.status,
        "attempts": node.attempts,
        "max_attempts": node.max_attempts,
        "duration": node.duration,
        "output": node.output,
    }


def of_event(event: ExecutionEvent) -> Document:
    """What changed in a run."""
    document: Document = {"event": EVENTS[type(event)], "execution_id": event.execution_id}
    if isinstance(event, StatusChanged):
        return document | {"status": str(event.status), "ended": event.status.is_terminal}
    if isinstance(event, Progress):
        return document | {"completion_percentage": event.percentage}
    node: NodeRun = event.node  # type: ignore[attr-defined]
    return document | {"node": of_node(node)}


def of_webhook(hook: Webhook) -> Document:
    """A webhook; `workflow_ids` is empty where it is for all."""
    return {
        "webhook_id": hook.webhook_id,
        "url": hook.url,
        "events": [str(event) for event in hook.events],
        "is_enabled": hook.is_enabled,
        "method": hook.method,
        "type": hook.type,
        "workflow_ids": [*hook.workflow_ids],
        "slug": hook.slug,
        "description": hook.description,
        "environment": hook.environment,
    }


def of_delivered(event: WebhookEvent) -> Document:
    """What a webhook delivered; `body` is all of it, as received."""
    document: Document = {
        "event": None if event.kind is None else str(event.kind),
        "linked_account_id": event.linked_account_id,
        "environment": event.environment,
    }
    if isinstance(event, WorkflowEvent):
        document |= {
            "execution_id": event.execution_id,
            "workflow_id": event.workflow_id,
            "workflow_name": event.workflow_name,
            "config_id": event.config_id,
            "status": None if event.status is None else str(event.status),
            "failed_node": event.failed_node,
        }
    if isinstance(event, ConnectionEvent):
        document |= {"slug": event.slug, "created_at": _moment(event.created_at)}
    return document | {"body": event.raw}


def of_error(error: RefoldError, *, code: int, advice: str) -> Document:
    """A failure; `execution_id` and `instance_tag` say which run it is about."""
    about: Document = {
        "type": type(error).__name__,
        "message": error.describe(),
        "advice": advice,
        "exit_code": code,
        "execution_id": error.execution_id,
        "instance_tag": getattr(error, "instance_tag", None),
    }
    if isinstance(error, ApiError):
        about |= {"status": error.status, "request_id": error.request_id}
    return {"error": about}


def workflow_name(run: Execution) -> str | None:
    """Give what people call the workflow of a run, if the document says."""
    workflow = run.raw.get("associated_workflow")
    name = workflow.get("name") if isinstance(workflow, dict) else None
    name = name or run.raw.get("name")
    return name if isinstance(name, str) else None


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
