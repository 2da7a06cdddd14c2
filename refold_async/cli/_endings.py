"""What a failure means to a person at a terminal: one sentence of advice, and an exit code."""

from __future__ import annotations

from refold_async import (
    AuthenticationError,
    BadRequestError,
    ConfigError,
    ConnectionFailedError,
    ExecutionError,
    ExecutionOutcomeUnknownError,
    JournalError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RefoldError,
    ServerError,
    WaitTimeoutError,
)

OK = 0
RUN_FAILED = 1
BAD_USAGE = 2
SERVICE_OR_NETWORK = 3
OUTCOME_UNKNOWN = 4
WAIT_TIMEOUT = 124
INTERRUPTED = 130
NOBODY_READS = 141
"""As other programs end whose reader is gone: 128 and SIGPIPE."""

_WRONG_REQUEST = "Check that the workflow is published, and that the slug is its application's."

# The first class that fits decides.
_ENDINGS: tuple[tuple[type[RefoldError], int, str], ...] = (
    (ConfigError, BAD_USAGE, "Nothing was sent."),
    (ExecutionError, RUN_FAILED, "Open the execution in Refold to see what its nodes did."),
    (JournalError, BAD_USAGE, "Nothing was sent."),
    (WaitTimeoutError, WAIT_TIMEOUT, "The run goes on; only the wait ended."),
    (
        ExecutionOutcomeUnknownError,
        OUTCOME_UNKNOWN,
        "Look the run up in Refold's execution list before you start it again.",
    ),
    (
        AuthenticationError,
        SERVICE_OR_NETWORK,
        "Check REFOLD_API_KEY (or REFOLD_SESSION_TOKEN), and that it belongs to this deployment.",
    ),
    (
        PermissionDeniedError,
        SERVICE_OR_NETWORK,
        "Check REFOLD_LINKED_ACCOUNT_ID, and what the credential may do.",
    ),
    (
        NotFoundError,
        SERVICE_OR_NETWORK,
        "Check the id, and that what it names belongs to this linked account.",
    ),
    (BadRequestError, SERVICE_OR_NETWORK, _WRONG_REQUEST),
    (RateLimitError, SERVICE_OR_NETWORK, "Wait before you try again, or start fewer runs."),
    (ServerError, SERVICE_OR_NETWORK, "The service failed or sheds load; try again later."),
    (
        ConnectionFailedError,
        SERVICE_OR_NETWORK,
        "Check REFOLD_BASE_URL and the network between here and there.",
    ),
    (RefoldError, SERVICE_OR_NETWORK, "Check REFOLD_BASE_URL, and any proxy on the way."),
)


class BadUsageError(Exception):
    """A command was told something that can't be; nothing was sent."""


def _ending(error: RefoldError) -> tuple[int, str]:
    return next((code, advice) for kind, code, advice in _ENDINGS if isinstance(error, kind))


def exit_code(error: RefoldError) -> int:
    """Choose the exit code of a failure."""
    return _ending(error)[0]


def advice(error: RefoldError) -> str:
    """Say what to do about a failure."""
    return _ending(error)[1]
