"""What the service says, as frozen values; unknown fields and unknown values are kept."""

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
    WaitTimeoutError,
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
    "Page",
    "Pages",
    "Progress",
    "RequestStructure",
    "SessionToken",
    "StatusChanged",
    "WaitTimeoutError",
    "Workflow",
    "changes",
    "created_at",
    "created_second",
]
