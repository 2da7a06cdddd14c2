"""The asyncio-native Python SDK for Refold.

::

    async with RefoldClient(api_key="tk...", linked_account_id="acct_1") as refold:
        handle = await refold.execute(
            "6a106ba4...", slug="hubspot", payload={"email": "j@example.com"}
        )
        result = await handle
        print(handle.execution_id, result.output)
"""

from typing import TYPE_CHECKING

from refold_async._bound import BoundWorkflow, CallOptions, StartOptions
from refold_async._checks import Seconds, name_after
from refold_async._client import ExecuteOptions, RefoldClient
from refold_async._clock import Clock, SystemClock, Timer
from refold_async._config import (
    BodyForm,
    Dialect,
    PollPolicy,
    RateLimit,
    RetryMode,
    RetryPolicy,
    Shared,
    Timeouts,
)
from refold_async._errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    ConfigError,
    ConflictError,
    ConnectionFailedError,
    ExecutionOutcomeUnknownError,
    JournalError,
    NotFoundError,
    NotSentError,
    PayloadError,
    PermissionDeniedError,
    RateLimitError,
    RefoldError,
    RequestTimeoutError,
    ServerError,
    SharedStateError,
    TransportError,
    UnexpectedReplyError,
    WebhookBodyError,
    WebhookSignatureError,
)
from refold_async._handle import ExecutionHandle
from refold_async._late import late
from refold_async._models import (
    Execution,
    ExecutionError,
    ExecutionFailedError,
    ExecutionRef,
    ExecutionResult,
    ExecutionStatus,
    ExecutionStoppedError,
    ExecutionTerminatedError,
    ExecutionTimedOutError,
    NodeRun,
    OutputError,
    Page,
    Pages,
    RequestStructure,
    SessionToken,
    WaitTimeoutError,
    Workflow,
)
from refold_async._resources import Events, Executions, SessionTokens, Workflows
from refold_async._starting import Orphans
from refold_async._stats import BudgetStats, Stats, WaitingStats
from refold_async._typed import Payload, TypedWorkflow, workflow
from refold_async._version import __version__

if TYPE_CHECKING:
    from refold_async._batch import (
        BatchItem,
        BatchOutcome,
        BatchProgress,
        BatchReport,
        ExecutionRequest,
        FailureGroup,
        JournalFailures,
        JournalItem,
        JournalReport,
        StopReport,
        read_journal,
    )
    from refold_async._models import (
        ExecutionEvent,
        NodeErrored,
        NodeFinished,
        NodeRetried,
        NodeStarted,
        Progress,
        StatusChanged,
        Webhook,
    )
    from refold_async._webhooks import Webhooks

__all__ = [
    "ApiError",
    "AuthenticationError",
    "BadRequestError",
    "BatchItem",
    "BatchOutcome",
    "BatchProgress",
    "BatchReport",
    "BodyForm",
    "BoundWorkflow",
    "BudgetStats",
    "CallOptions",
    "ClientClosedError",
    "Clock",
    "ConfigError",
    "ConflictError",
    "ConnectionFailedError",
    "Dialect",
    "Events",
    "ExecuteOptions",
    "Execution",
    "ExecutionError",
    "ExecutionEvent",
    "ExecutionFailedError",
    "ExecutionHandle",
    "ExecutionOutcomeUnknownError",
    "ExecutionRef",
    "ExecutionRequest",
    "ExecutionResult",
    "ExecutionStatus",
    "ExecutionStoppedError",
    "ExecutionTerminatedError",
    "ExecutionTimedOutError",
    "Executions",
    "FailureGroup",
    "JournalError",
    "JournalFailures",
    "JournalItem",
    "JournalReport",
    "NodeErrored",
    "NodeFinished",
    "NodeRetried",
    "NodeRun",
    "NodeStarted",
    "NotFoundError",
    "NotSentError",
    "Orphans",
    "OutputError",
    "Page",
    "Pages",
    "Payload",
    "PayloadError",
    "PermissionDeniedError",
    "PollPolicy",
    "Progress",
    "RateLimit",
    "RateLimitError",
    "RefoldClient",
    "RefoldError",
    "RequestStructure",
    "RequestTimeoutError",
    "RetryMode",
    "RetryPolicy",
    "Seconds",
    "ServerError",
    "SessionToken",
    "SessionTokens",
    "Shared",
    "SharedStateError",
    "StartOptions",
    "Stats",
    "StatusChanged",
    "StopReport",
    "SystemClock",
    "Timeouts",
    "Timer",
    "TransportError",
    "TypedWorkflow",
    "UnexpectedReplyError",
    "WaitTimeoutError",
    "WaitingStats",
    "Webhook",
    "WebhookBodyError",
    "WebhookSignatureError",
    "Webhooks",
    "Workflow",
    "Workflows",
    "__version__",
    "read_journal",
    "workflow",
]


# A quarter of the package is behind what a batch takes and gives: it comes with its first use.
__getattr__ = late(
    __name__, __all__, "refold_async._models", "refold_async._webhooks", "refold_async._batch"
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


name_after(__name__, *(globals()[name] for name in __all__ if name in globals()))
