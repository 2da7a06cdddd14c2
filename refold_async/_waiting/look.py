"""One look at pending runs: a list, or one run read by itself; and what that tells of its end.

A run ends only by what is read of itself: `/response` or the document says so. Lists and either of
the two may be behind the others, so whoever says less is asked again.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from refold_async._config import RetryPolicy
from refold_async._errors import AuthenticationError, NotFoundError, PermissionDeniedError
from refold_async._models import UNREAD, Execution, ExecutionResult, ExecutionStatus
from refold_async._pacing import Priority

if TYPE_CHECKING:
    from refold_async._clock import Clock
    from refold_async._config import PollPolicy
    from refold_async._models import Page
    from refold_async._protocol import Output
    from refold_async._stats import Counters
    from refold_async._transport import Api
    from refold_async._waiting.watch import Watch

_ONE_TRY = RetryPolicy(mode="never")
"""A look that fails is repeated by the schedule, not by the request."""

_WHOLE = 4
"""One of so many looks reads the whole document: the path that gives outputs may be behind, and
says nothing of nodes."""

_NOT_SERVED = (NotFoundError, AuthenticationError, PermissionDeniedError)
"""What an old path says where it is not served, or not to session tokens."""
_NOT_SERVED_FOR = 600.0
"""Seconds for which such a path is left alone."""


class Look:
    """Reads pending runs once."""

    def __init__(self, api: Api, policy: PollPolicy, clock: Clock, counters: Counters) -> None:
        self._api = api
        self._policy = policy
        self._clock = clock
        self._counters = counters
        self._response_from = 0.0  # monotonic seconds before which the path is left alone

    async def list(
        self, account: str | None, begin: float, end: float, *, number: int, size: int
    ) -> Page[Execution]:
        """Read the runs of an account between two times (epoch seconds), the oldest first.

        See: "List Executions".
        """
        self._counters.sweeps += 1
        query = {
            "limit": size,
            "start_date": datetime.fromtimestamp(begin, UTC),
            "end_date": datetime.fromtimestamp(end, UTC),
            "sortAsc": True,
            "page": number,
        }
        return await self._api.list_executions(
            account=account, query=query, policy=_ONE_TRY, priority=Priority.STATUS
        )

    async def __call__(self, watch: Watch) -> ExecutionResult[Any] | None:
        """Read a run.

        Returns:
            How it ended; or None: it goes on, as far as the service says, or its output is not
            there yet.

        Raises:
            RefoldError: it can't be read.
        """
        progress, wants_output = watch.progress, watch.wants_output
        brief = wants_output and not self._reads_whole(watch)
        progress.looks += 1
        if not progress.ended:
            if brief and (output := await self._peek(watch)) is not None:
                if output.status is ExecutionStatus.COMPLETED:
                    return completed(watch, output)
                if not output.status.is_terminal and progress.told is None:
                    return None
            await self._read(watch)
        run = progress.document
        if run is None or not run.status.is_terminal:
            return self._contradicted(watch)
        if run.status is not ExecutionStatus.COMPLETED:
            return _bad_ending(run)
        return await self._output(watch, run) if wants_output else without_output(run)

    def _contradicted(self, watch: Watch) -> ExecutionResult[Any] | None:
        """Give a bad ending that the document has not shown for as long as a look may fail."""
        ending, since = watch.progress.bad_ending, watch.progress.bad_since
        if ending is None or self._clock.monotonic() - since <= self._policy.failure_budget:
            return None
        return unexplained(watch, ending)

    def _reads_whole(self, watch: Watch) -> bool:
        """Whether the document is read: for who reads it, what it teaches, or the failed node."""
        told, looks = watch.progress.told, watch.progress.looks
        if watch.document or watch.wants_document or self._clock.monotonic() < self._response_from:
            return True
        if told is not None:
            return told.status is not ExecutionStatus.COMPLETED
        teaches = watch.sample and watch.hint is None  # a push teaches as much
        return looks % _WHOLE == (0 if teaches else _WHOLE - 1)

    async def _peek(self, watch: Watch) -> Output | None:
        """Ask for the output, which tells as well whether the run is over: one request for both.

        Returns:
            What the path says; None where it is not served, though the run is there.
        """
        told = watch.progress.told is not None
        is_over = told or watch.hinted  # the output is all that is missing
        self._counters.polls += not is_over
        try:
            output = await self._api.get_response(
                watch.execution_id,
                account=watch.account,
                policy=_ONE_TRY,
                priority=Priority.RESULT if is_over else Priority.STATUS,
            )
        except _NOT_SERVED:
            await self._read(watch)
            self._response_from = self._clock.monotonic() + _NOT_SERVED_FOR
            return None
        progress, now = watch.progress, self._clock.monotonic()
        if output.status.is_terminal and output.status is not ExecutionStatus.COMPLETED:
            progress.heard_ended(output, now)
            return output
        progress.bad_ending = None
        if not told:
            progress.heard(output.status, now)
        return output

    async def _read(self, watch: Watch) -> None:
        """Read the document."""
        self._counters.polls += not watch.hinted
        run = await self._api.get_execution(
            watch.execution_id,
            account=watch.account,
            policy=_ONE_TRY,
            priority=Priority.RESULT if watch.hinted else Priority.STATUS,
        )
        watch.progress.saw(run, self._clock.monotonic())

    async def _output(self, watch: Watch, run: Execution) -> ExecutionResult[Any] | None:
        """Read what a run returned whose document says that it has completed.

        The path is an old one: where a deployment doesn't serve it, or not to session tokens, or
        where it is behind, the Response node in the document has the same data.

        See: "Workflow API".
        """
        output: Output | None = None
        now = self._clock.monotonic()
        if now >= self._response_from:
            with contextlib.suppress(*_NOT_SERVED):
                output = await self._api.get_response(
                    run.execution_id, account=watch.account, policy=_ONE_TRY
                )
        if output is not None and output.status.is_terminal:
            return _ended(run, output.value)
        node = run.response_node
        if output is None or node is not None:
            return _ended(run, None if node is None else node.output)
        if watch.progress.failing_since is None:
            watch.progress.failing_since = now
        out_of_patience = now - watch.progress.failing_since > self._policy.failure_budget
        return _ended(run, output.value) if out_of_patience else None


def completed(watch: Watch, output: Output) -> ExecutionResult[Any]:
    """Give the result of a run by its output alone, with the entry of a list that agrees."""
    told = watch.progress.told
    if told is not None and told.status is output.status:
        return _ended(told, output.value)
    return ExecutionResult(
        execution_id=watch.execution_id,
        status=output.status,
        output=output.value,
        raw=output.raw,
    )


def unexplained(watch: Watch, output: Output) -> ExecutionResult[Any]:
    """Give the bad ending of a run whose document can't be read, so that nobody knows why."""
    return ExecutionResult(
        execution_id=watch.execution_id, status=output.status, output=None, raw=output.raw
    )


def without_output(run: Execution) -> ExecutionResult[Any]:
    """Give the result of a run whose output nobody has asked for."""
    return _ended(run, UNREAD)


def _ended(run: Execution, output: Any) -> ExecutionResult[Any]:
    return ExecutionResult(
        execution_id=run.execution_id,
        status=run.status,
        output=output,
        execution=run,
        raw=run.raw,
    )


def _bad_ending(run: Execution) -> ExecutionResult[Any]:
    node = run.failed_node
    return ExecutionResult(
        execution_id=run.execution_id,
        status=run.status,
        output=None,
        execution=run,
        error=None if node is None else node.output,
        raw=run.raw,
    )
