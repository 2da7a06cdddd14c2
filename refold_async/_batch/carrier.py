"""How one item of a batch goes from its request to its outcome."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from refold_async._batch.fan import Submission
from refold_async._batch.models import BatchOutcome, ExecutionRequest
from refold_async._batch.patience import ImpatientError
from refold_async._batch.preflight import Preflight
from refold_async._batch.source import not_a_request
from refold_async._checks import positive_seconds
from refold_async._errors import (
    ApiError,
    ClientClosedError,
    ConfigError,
    NotSentError,
    RateLimitError,
    RefoldError,
    ServerError,
    TransportError,
    UnexpectedReplyError,
    clip,
)
from refold_async._handle import ending_so_far
from refold_async._models import ExecutionError, WaitTimeoutError

if TYPE_CHECKING:
    from refold_async._batch.fan import Entry, Fan
    from refold_async._handle import ExecutionHandle
    from refold_async._models import ExecutionResult

_SAID = 300
"""Characters of an error in a message."""

Ending: TypeAlias = tuple[BatchOutcome, "ExecutionResult[Any] | None", "Exception | None"]


class UnsentError(Exception):
    """Carries an error that kept an item from being sent, whatever its class says elsewhere."""

    def __init__(self, error: RefoldError) -> None:
        super().__init__(error)
        self.error = error


def outcome_of_start(error: RefoldError) -> BatchOutcome:
    """Say what it means for an item that its start raised this."""
    if isinstance(error, NotSentError | ClientClosedError):
        return BatchOutcome.UNSENT
    if isinstance(error, ApiError | ConfigError | UnexpectedReplyError):
        return BatchOutcome.REJECTED
    if isinstance(error, TransportError) and not error.sent:
        return BatchOutcome.UNSENT
    return BatchOutcome.UNKNOWN


def ending_of(result: ExecutionResult[Any]) -> Ending:
    """Say what it means for an item that its run ended so."""
    try:
        result.raise_for_status()
    except (ApiError, ExecutionError) as error:
        return BatchOutcome.FAILED, result, error
    return BatchOutcome.SUCCEEDED, result, None


@attrs.define(eq=False, kw_only=True)
class Carrier:
    """Carries items without a journal.

    Attributes:
        prepare: from a request to a start that can be sent; raises `ConfigError`.
        wait: whether the runs are waited for.
        output: whether what they return is read.
        preflight: checks payloads one by one, if they are to be checked so.
        refused: what is known to be wrong with items, by index: they are not tried.
    """

    prepare: Callable[[ExecutionRequest], Submission]
    wait: bool
    output: bool = True
    preflight: Preflight | None = None
    refused: Mapping[int, Exception] = attrs.field(factory=dict)

    async def carry(self, entry: Entry, fan: Fan) -> Ending:
        """Start the run and wait for its end."""
        try:
            submission = self.prepared(entry)
            if self.preflight is not None:
                await self.check(entry, submission, self.preflight)
            fan.acknowledged(entry, await fan.send(entry, submission))
        except UnsentError as unsent:
            return BatchOutcome.UNSENT, None, unsent.error
        except RefoldError as error:
            return outcome_of_start(error), None, error
        fan.started()
        return await self.end(entry, fan)

    def prepared(self, entry: Entry) -> Submission:
        """Make the start that a request asks for.

        Raises:
            ConfigError: it is wrong; `PayloadError` if its payload is.
            UnsentError: its payload could not be checked.
        """
        request = entry.request
        if entry.index in self.refused:
            raise self.refused[entry.index]
        if not isinstance(request, ExecutionRequest):
            raise not_a_request(entry.index, request)
        if request.key is not None:
            _check_key(request.key)
        return self.prepare(request)

    async def is_over(self, entry: Entry) -> bool:  # noqa: ARG002 - where there is a journal, it tells
        """Whether the item need not be checked any more."""
        return False

    async def check(self, entry: Entry, submission: Submission, preflight: Preflight) -> None:
        """Check a payload against its schema, as it is sent: a tuple goes out as a list.

        Raises:
            RefoldError: it does not fit, or the service refuses to give the schema.
            UnsentError: the schema could not be read.
        """
        try:
            sent = json.loads(submission.request.payload)
            await preflight.check(entry.key, attrs.evolve(entry.request, payload=sent))
        except (TransportError, RateLimitError, ServerError, ClientClosedError) as error:
            raise UnsentError(error) from None

    async def end(self, entry: Entry, fan: Fan, known: Ending | None = None) -> Ending:
        """Wait for the run that has begun, if that is wanted.

        Args:
            entry: the item.
            fan: its batch.
            known: how its run ended, if only its output is missing: that holds, whatever comes of
                reading the output.
        """
        handle = entry.handle
        assert handle is not None  # noqa: S101 - it has begun
        if not self.wait:
            seen = ending_so_far(handle)  # of a sync run: the reply has told it
            return (BatchOutcome.SUCCEEDED, None, None) if seen is None else ending_of(seen)
        try:
            result = await fan.patience.bear(
                lambda: handle.wait(timeout=self._left(entry, fan), output=self.output)
            )
        except (ImpatientError, RefoldError) as why:
            seen = ending_so_far(handle)
            if known is None and seen is not None:
                known = ending_of(seen)
            if known is not None:
                return _unread(handle, known, why)
            error = _left_running(handle) if isinstance(why, ImpatientError) else why
            return BatchOutcome.UNKNOWN, None, error
        return ending_of(result)

    def _left(self, entry: Entry, fan: Fan) -> float | None:
        limit = positive_seconds(entry.request.timeout)
        if limit is None or entry.began is None or entry.resumed:
            return limit
        return max(limit - (fan.clock.monotonic() - entry.began), 1e-9)


def _unread(handle: ExecutionHandle[Any], known: Ending, why: Exception) -> Ending:
    """Give an ending that is known with the reason why there is no output.

    A failure stays the item's error, with the reason as a note.
    """
    outcome, result, failure = known
    # What a wait says of a run, as that it goes on, is not so of one that is over.
    if isinstance(why, ImpatientError | WaitTimeoutError):
        words = "there was no time left for it"
    elif isinstance(why, ClientClosedError):
        words = "the client was closed"
    else:
        words = f"{type(why).__name__}: {clip(why, _SAID)}"
    unread = f"execution {handle.execution_id} {outcome}; its output could not be read: {words}"
    if failure is not None:
        failure.add_note(unread)
        return outcome, result, failure
    error = RefoldError(unread).about(execution_id=handle.execution_id)
    error.__cause__ = why
    return outcome, result, error


def _left_running(handle: ExecutionHandle[Any]) -> WaitTimeoutError:
    return WaitTimeoutError(
        f"execution {handle.execution_id}: the batch ended before its end was known; it may go on",
        execution_id=handle.execution_id,
    )


def _check_key(key: object) -> None:
    try:
        usable = isinstance(key, str) and bool(key.encode())
    except UnicodeEncodeError:  # a lone surrogate
        usable = False
    if not usable:
        raise ConfigError(f"must be text, and not empty; got {key!r:.60}", field="key")
