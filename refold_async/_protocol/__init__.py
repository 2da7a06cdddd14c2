"""The sans-I/O centre: arguments → `Request`, `Reply` → what it proves → models.

No network, no clock, no aiohttp: all of it can be read and tested alone.
"""

from typing import TYPE_CHECKING

from refold_async._late import late
from refold_async._protocol.advice import explained
from refold_async._protocol.evidence import Answer, Evidence, judge, read_http_date
from refold_async._protocol.replies import (
    Output,
    Started,
    read_execution,
    read_page,
    read_request_structure,
    read_response,
    read_session_token,
    read_started,
    read_workflow,
)
from refold_async._protocol.reply import Reply
from refold_async._protocol.requests import (
    STARTING,
    Operation,
    Request,
    create_session_token_request,
    enabled_workflows_request,
    execute_request,
    get_execution_request,
    get_response_request,
    list_batches_request,
    list_executions_request,
    list_workflows_request,
    request_structure_request,
    rerun_request,
    stop_request,
    trigger_event_request,
)
from refold_async._protocol.templates import TEMPLATES

if TYPE_CHECKING:
    from refold_async._protocol.pushed import (
        MAX_EVENT_BYTES,
        check_keys,
        read_event,
        signed_by,
        told_output,
    )
    from refold_async._protocol.webhooks import (
        OUTPUTS_BODY,
        create_webhook_request,
        delete_webhook_request,
        get_webhook_request,
        list_webhooks_request,
        read_webhook,
        update_webhook_request,
        webhook_fields,
    )

__all__ = [
    "MAX_EVENT_BYTES",
    "OUTPUTS_BODY",
    "STARTING",
    "TEMPLATES",
    "Answer",
    "Evidence",
    "Operation",
    "Output",
    "Reply",
    "Request",
    "Started",
    "check_keys",
    "create_session_token_request",
    "create_webhook_request",
    "delete_webhook_request",
    "enabled_workflows_request",
    "execute_request",
    "explained",
    "get_execution_request",
    "get_response_request",
    "get_webhook_request",
    "judge",
    "list_batches_request",
    "list_executions_request",
    "list_webhooks_request",
    "list_workflows_request",
    "read_event",
    "read_execution",
    "read_http_date",
    "read_page",
    "read_request_structure",
    "read_response",
    "read_session_token",
    "read_started",
    "read_webhook",
    "read_workflow",
    "request_structure_request",
    "rerun_request",
    "signed_by",
    "stop_request",
    "told_output",
    "trigger_event_request",
    "update_webhook_request",
    "webhook_fields",
]

__getattr__ = late(
    __name__, __all__, "refold_async._protocol.pushed", "refold_async._protocol.webhooks"
)
