"""What a failure means to a person at a terminal: one sentence of advice, and an exit code."""

from __future__ import annotations

from refold_async import (
    ApiError,
    ConfigError,
    ExecutionError,
    ExecutionOutcomeUnknownError,
    JournalError,
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

# The first class that fits decides; an error that knows its cause brings advice of its own.
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
    (ServerError, SERVICE_OR_NETWORK, "The service failed or sheds load; try again later."),
    (ApiError, SERVICE_OR_NETWORK, "The service refused it, and will again: see what it says."),
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
    own = error.advice
    # Here the setting has the name of its variable.
    return _ending(error)[1] if own is None else own.replace("base_url", "REFOLD_BASE_URL")
