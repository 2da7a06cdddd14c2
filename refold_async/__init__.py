"""The asyncio-native Python SDK for Refold.

::

    async with RefoldClient(api_key="tk...", linked_account_id="acct_1") as refold:
        handle = await refold.execute(
            "6a106ba4...", slug="hubspot", payload={"email": "j@example.com"}
        )
        result = await handle
        print(handle.execution_id, result.output)
"""

import attrs

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
from refold_async._bound import BoundWorkflow, CallOptions, StartOptions
from refold_async._checks import Seconds
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
from refold_async._models import (
    Execution,
    ExecutionError,
    ExecutionEvent,
    ExecutionFailedError,
    ExecutionRef,
    ExecutionResult,
    ExecutionStatus,
    ExecutionStoppedError,
    ExecutionTerminatedError,
    ExecutionTimedOutError,
    NodeErrored,
    NodeFinished,
    NodeRetried,
    NodeRun,
    NodeStarted,
    OutputError,
    Page,
    Pages,
    Progress,
    RequestStructure,
    SessionToken,
    StatusChanged,
    WaitTimeoutError,
    Webhook,
    Workflow,
)
from refold_async._resources import Events, Executions, SessionTokens, Workflows
from refold_async._starting import Orphans
from refold_async._stats import BudgetStats, Stats, WaitingStats
from refold_async._typed import Payload, TypedWorkflow, workflow
from refold_async._version import __version__
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

# A class names the place it is imported from, and not the room it lives in: in tracebacks, in the
# documentation, and in pickles, which so outlive a move between rooms. The types of its fields are
# looked up before, while it still tells where its own imports are.
for _name in __all__:
    _class = globals()[_name]
    if attrs.has(_class):
        attrs.resolve_types(_class)
        _class.__annotations__ = {f.name: f.type for f in attrs.fields(_class) if not f.inherited}
    if isinstance(_class, type):
        _class.__module__ = __name__
