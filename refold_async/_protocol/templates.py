"""What the paths of an operation have in common: under one name in traces and metrics."""

from __future__ import annotations

from refold_async._protocol.requests import Operation

_PUBLIC = "/api/v2/public"

TEMPLATES = {
    Operation.EXECUTE: f"{_PUBLIC}/workflow/{{workflow_id}}/execute",
    Operation.RERUN: f"{_PUBLIC}/execution/{{execution_id}}/rerun",
    Operation.TRIGGER_EVENT: f"{_PUBLIC}/event/trigger",
    Operation.STOP: f"{_PUBLIC}/execution/{{execution_id}}/stop",
    Operation.GET_EXECUTION: f"{_PUBLIC}/execution/{{execution_id}}",
    Operation.GET_RESPONSE: "/api/v1/execution/{execution_id}/response",
    Operation.LIST_EXECUTIONS: f"{_PUBLIC}/execution",
    Operation.LIST_BATCHES: f"{_PUBLIC}/execution/{{execution_id}}/nodes/{{node_id}}/batches",
    Operation.LIST_WORKFLOWS: f"{_PUBLIC}/workflow",
    Operation.ENABLED_WORKFLOWS: f"{_PUBLIC}/workflow/enabled",
    Operation.REQUEST_STRUCTURE: f"{_PUBLIC}/workflow/request-structure/{{workflow_id}}",
    Operation.CREATE_SESSION_TOKEN: f"{_PUBLIC}/session-token",
    Operation.CREATE_WEBHOOK: f"{_PUBLIC}/webhook",
    Operation.LIST_WEBHOOKS: f"{_PUBLIC}/webhook",
    Operation.GET_WEBHOOK: f"{_PUBLIC}/webhook/{{webhook_id}}",
    Operation.UPDATE_WEBHOOK: f"{_PUBLIC}/webhook/{{webhook_id}}",
    Operation.DELETE_WEBHOOK: f"{_PUBLIC}/webhook/{{webhook_id}}",
}
