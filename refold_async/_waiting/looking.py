"""One look at pending runs: what it tells, and which of its failures end a wait."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from refold_async._config import RetryPolicy
from refold_async._errors import (
    ApiError,
    AuthenticationError,
    ClientClosedError,
    ConfigError,
    NotFoundError,
    PermissionDeniedError,
    RefoldError,
)
from refold_async._models import Execution, ExecutionResult, ExecutionStatus
from refold_async._pacing import Priority

if TYPE_CHECKING:
    from refold_async._clock import Clock
    from refold_async._config import PollPolicy
    from refold_async._models import Page
    from refold_async._protocol import Output
    from refold_async._stats import Counters
    from refold_async._transport import Api
    from refold_async._waiting.progress import Progress

_ONE_TRY = RetryPolicy(mode="never")
"""A look that fails is repeated by the schedule, not by the request."""

_BEHIND = {ExecutionStatus.RUNNING, ExecutionStatus.QUEUED, ExecutionStatus.WAITING}
"""What the response path may still say of a run whose document says COMPLETED."""

_WHOLE = 4
"""The first of so many looks reads the whole document: the path that gives outputs may be behind,
and says nothing of nodes."""

_AT_ONCE = (AuthenticationError, PermissionDeniedError, ConfigError, ClientClosedError)
_NOT_SERVED = (NotFoundError, AuthenticationError, PermissionDeniedError)
"""What an old path says where it is not served, or not to session tokens."""


class Look:
    """Reads a run once, and its output when it has ended and somebody wants it."""

    def __init__(self, api: Api, policy: PollPolicy, clock: Clock, counters: Counters) -> None:
        self._api = api
        self._policy = policy
        self._clock = clock
        self._counters = counters
        self._response_is_served = True  # as far as we know

    async def __call__(
        self,
        progress: Progress,
        execution_id: str,
        account: str | None,
        *,
        with_output: bool,
        document: bool = False,
    ) -> ExecutionResult[Any] | RefoldError | None:
        """Look once.

        Args:
            progress: what is known of the run.
            execution_id: the run.
            account: whose it is.
            with_output: whether somebody waits for the output.
            document: whether somebody wants to see the nodes as well.

        Returns:
            How the run ended; or the error that ends the wait; or None: look again later.
        """
        try:
            progress.looks += 1
            brief = with_output and not document and progress.looks % _WHOLE != 1
            if not progress.ended and brief and self._response_is_served:
                seen = await self._peek(progress, execution_id, account)
                if isinstance(seen, ExecutionResult):
                    return seen
                if seen is not None and not seen.is_terminal:
                    return None
            snapshot = progress.snapshot
            unread = not progress.ended or (progress.listed and document)
            if snapshot is None or unread or self._lacks_nodes(progress):
                snapshot = await self._read(progress, execution_id, account)
            if not progress.ended:
                return None
            if snapshot.status is not ExecutionStatus.COMPLETED:
                return _bad_ending(snapshot)
            if not with_output:
                return None
            return await self._output(progress, snapshot, account)
        except RefoldError as error:
            return self._weigh(progress, error)

    async def page(self, account: str | None, begin: float, end: float) -> Page[Execution]:
        """Read the runs of an account between two times (epoch seconds), the oldest first.

        See: "List Executions".
        """
        self._counters.sweeps += 1
        query = {
            "limit": self._policy.page_size,
            "start_date": datetime.fromtimestamp(begin, UTC),
            "end_date": datetime.fromtimestamp(end, UTC),
            "sortAsc": True,
            "page": 1,
        }
        return await self._api.list_executions(
            account=account, query=query, policy=_ONE_TRY, priority=Priority.STATUS
        )

    async def _peek(
        self, progress: Progress, execution_id: str, account: str | None
    ) -> ExecutionResult[Any] | ExecutionStatus | None:
        """Ask for the output, which tells as well that the run is over: one request for both.

        Returns:
            The result of a completed run, or another status; None if the document was read instead.
        """
        self._counters.polls += 1
        try:
            output = await self._api.get_response(
                execution_id, account=account, policy=_ONE_TRY, priority=Priority.STATUS
            )
        except _NOT_SERVED:
            await self._read(progress, execution_id, account)
            self._response_is_served = False  # the run is there: it is the path that isn't
            return None
        progress.heard(output.status, self._clock.monotonic())
        if output.status is not ExecutionStatus.COMPLETED:
            return output.status
        return ExecutionResult(
            execution_id=execution_id,
            status=output.status,
            output=output.value,
            raw=output.raw,
        )

    def _lacks_nodes(self, progress: Progress) -> bool:
        """Whether the document has to be read: only it names the node a run failed at."""
        return progress.listed and progress.status is not ExecutionStatus.COMPLETED

    async def _read(self, progress: Progress, execution_id: str, account: str | None) -> Execution:
        self._counters.polls += 1
        run = await self._api.get_execution(
            execution_id, account=account, policy=_ONE_TRY, priority=Priority.STATUS
        )
        return progress.saw(run, self._clock.monotonic())

    async def _output(
        self, progress: Progress, run: Execution, account: str | None
    ) -> ExecutionResult[Any] | None:
        """Read what a completed run returned; None while the service is not ready to say.

        The path is an old one: where a deployment doesn't serve it, or not to session tokens, the
        Response node in the document has the same data.

        See: "Workflow API".
        """
        output: Output | None = None
        if self._response_is_served:
            try:
                output = await self._api.get_response(
                    run.execution_id, account=account, policy=_ONE_TRY
                )
            except _NOT_SERVED:
                output = None
        if output is not None and output.status not in _BEHIND:
            return _completed(run, output.value)
        if progress.listed:
            run = await self._read(progress, run.execution_id, account)
        node = run.response_node
        if output is None or node is not None:
            return _completed(run, None if node is None else node.output)
        out_of_patience = self._has_failed_for(progress, self._policy.failure_budget)
        return _completed(run, output.value) if out_of_patience else None

    def _has_failed_for(self, progress: Progress, allowed: float) -> bool:
        """Note a failed look; tell whether they have gone on for longer than allowed."""
        now = self._clock.monotonic()
        if progress.failing_since is None:
            progress.failing_since = now
        return now - progress.failing_since > allowed

    def _weigh(self, progress: Progress, error: RefoldError) -> RefoldError | None:
        """Tell the failures that end a wait from those that only delay it."""
        progress.missed(error)
        if not is_passing(error):
            return error
        unknown = isinstance(error, NotFoundError) and progress.status is None
        allowed = self._policy.not_found_grace if unknown else self._policy.failure_budget
        if self._has_failed_for(progress, allowed):
            return error
        asked = error.retry_after if isinstance(error, ApiError) else None
        if asked and progress.failing_since is not None:
            progress.not_before = self._clock.monotonic() + asked
            progress.failing_since += asked
        return None


def is_passing(error: RefoldError) -> bool:
    """Whether a failed look is worth repeating."""
    return not isinstance(error, _AT_ONCE)


def _completed(run: Execution, output: Any) -> ExecutionResult[Any]:
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
