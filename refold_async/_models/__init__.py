"""What the service says, as frozen values; unknown fields and unknown values are kept."""

from typing import TYPE_CHECKING

from refold_async._late import late
from refold_async._models.documents import (
    ExecutionRef,
    Page,
    RequestStructure,
    SessionToken,
    Workflow,
    created_at,
    created_second,
)
from refold_async._models.endings import (
    UNREAD,
    ExecutionError,
    ExecutionFailedError,
    ExecutionResult,
    ExecutionStoppedError,
    ExecutionTerminatedError,
    ExecutionTimedOutError,
    Out_co,
    OutputError,
    WaitTimeoutError,
)
from refold_async._models.execution import Execution, ExecutionStatus, NodeRun
from refold_async._models.paging import Pages

if TYPE_CHECKING:
    from refold_async._models.events import (
        ExecutionEvent,
        NodeErrored,
        NodeFinished,
        NodeRetried,
        NodeStarted,
        Progress,
        StatusChanged,
        changes,
    )
    from refold_async._models.pushed import (
        WORKFLOW_EVENTS,
        ConnectionEvent,
        Webhook,
        WebhookEvent,
        WebhookEventKind,
        WorkflowEvent,
    )

__all__ = [
    "UNREAD",
    "WORKFLOW_EVENTS",
    "ConnectionEvent",
    "Execution",
    "ExecutionError",
    "ExecutionEvent",
    "ExecutionFailedError",
    "ExecutionRef",
    "ExecutionResult",
    "ExecutionStatus",
    "ExecutionStoppedError",
    "ExecutionTerminatedError",
    "ExecutionTimedOutError",
    "NodeErrored",
    "NodeFinished",
    "NodeRetried",
    "NodeRun",
    "NodeStarted",
    "Out_co",
    "OutputError",
    "Page",
    "Pages",
    "Progress",
    "RequestStructure",
    "SessionToken",
    "StatusChanged",
    "WaitTimeoutError",
    "Webhook",
    "WebhookEvent",
    "WebhookEventKind",
    "Workflow",
    "WorkflowEvent",
    "changes",
    "created_at",
    "created_second",
]

__getattr__ = late(__name__, __all__, "refold_async._models.events", "refold_async._models.pushed")
