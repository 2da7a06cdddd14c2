"""What the service says, as frozen values; unknown fields and unknown values are kept."""

from refold_async._models.documents import (
    UNREAD,
    ExecutionRef,
    ExecutionResult,
    Page,
    RequestStructure,
    SessionToken,
    Workflow,
    created_at,
    created_second,
)
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
from refold_async._models.execution import Execution, ExecutionStatus, NodeRun
from refold_async._models.paging import Pages

__all__ = [
    "UNREAD",
    "Execution",
    "ExecutionEvent",
    "ExecutionRef",
    "ExecutionResult",
    "ExecutionStatus",
    "NodeErrored",
    "NodeFinished",
    "NodeRetried",
    "NodeRun",
    "NodeStarted",
    "Page",
    "Pages",
    "Progress",
    "RequestStructure",
    "SessionToken",
    "StatusChanged",
    "Workflow",
    "changes",
    "created_at",
    "created_second",
]
