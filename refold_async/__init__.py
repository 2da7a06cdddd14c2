"""The asyncio-native Python SDK for Refold.

::

    async with RefoldClient(api_key="tk...", linked_account_id="acct_1") as refold:
        handle = await refold.execute(
            "6a106ba4...", slug="hubspot", payload={"email": "j@example.com"}
        )
        result = await handle
        print(handle.execution_id, result.output)
"""

from refold_async._batch import (
    BatchItem,
    BatchOutcome,
    BatchProgress,
    BatchReport,
    ExecutionRequest,
    FailureGroup,
)
from refold_async._client import RefoldClient
from refold_async._clock import Clock, SystemClock
from refold_async._config import PollPolicy, RateLimit, RetryPolicy, Timeouts
from refold_async._errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    ConfigError,
    ConflictError,
    ConnectionFailedError,
    ExecutionError,
    ExecutionFailedError,
    ExecutionOutcomeUnknownError,
    ExecutionStoppedError,
    ExecutionTerminatedError,
    ExecutionTimedOutError,
    JournalError,
    NotFoundError,
    PayloadError,
    PermissionDeniedError,
    RateLimitError,
    RefoldError,
    RequestTimeoutError,
    ServerError,
    TransportError,
    UnexpectedReplyError,
    WaitTimeoutError,
    WebhookBodyError,
    WebhookSignatureError,
)
from refold_async._handle import ExecutionHandle
from refold_async._models import (
    Execution,
    ExecutionEvent,
    ExecutionRef,
    ExecutionResult,
    ExecutionStatus,
    NodeErrored,
    NodeFinished,
    NodeRetried,
    NodeRun,
    NodeStarted,
    Page,
    Pages,
    Progress,
    RequestStructure,
    SessionToken,
    StatusChanged,
    Workflow,
)
from refold_async._stats import BudgetStats, Stats
from refold_async._version import __version__

__all__ = [
    "ApiError",
    "AuthenticationError",
    "BadRequestError",
    "BatchItem",
    "BatchOutcome",
    "BatchProgress",
    "BatchReport",
    "BudgetStats",
    "ClientClosedError",
    "Clock",
    "ConfigError",
    "ConflictError",
    "ConnectionFailedError",
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
    "FailureGroup",
    "JournalError",
    "NodeErrored",
    "NodeFinished",
    "NodeRetried",
    "NodeRun",
    "NodeStarted",
    "NotFoundError",
    "Page",
    "Pages",
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
    "RetryPolicy",
    "ServerError",
    "SessionToken",
    "Stats",
    "StatusChanged",
    "SystemClock",
    "Timeouts",
    "TransportError",
    "UnexpectedReplyError",
    "WaitTimeoutError",
    "WebhookBodyError",
    "WebhookSignatureError",
    "Workflow",
    "__version__",
]
