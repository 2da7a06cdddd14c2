"""One look at a pending run: what it tells, and which of its failures end the wait."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

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
    from refold_async._api import Api
    from refold_async._clock import Clock
    from refold_async._config import PollPolicy
    from refold_async._stats import Counters

_ONE_TRY = RetryPolicy(mode="never")
"""A look that fails is repeated by the schedule, not by the request."""

_BEHIND = {ExecutionStatus.RUNNING, ExecutionStatus.QUEUED, ExecutionStatus.WAITING}
"""What the response path may still say of a run whose document says COMPLETED."""

_AT_ONCE = (AuthenticationError, PermissionDeniedError, ConfigError, ClientClosedError)


@attrs.define(eq=False, repr=False)
class Progress:
    """What the looks at one run have shown so far."""

    snapshot: Execution | None = None
    failing_since: float | None = None  # monotonic seconds; None while looks succeed
    not_before: float = -math.inf  # the service asked not to look earlier

    @property
    def ended(self) -> bool:
        """Whether the run was seen to be over."""
        return self.snapshot is not None and self.snapshot.status.is_terminal

    def forget_failures(self) -> None:
        """Begin with a full budget again."""
        self.failing_since = None


class Look:
    """Reads a run once, and its output when it has ended and somebody wants it."""

    def __init__(self, api: Api, policy: PollPolicy, clock: Clock, counters: Counters) -> None:
        self._api = api
        self._policy = policy
        self._clock = clock
        self._counters = counters

    async def __call__(
        self, progress: Progress, execution_id: str, account: str | None, *, with_output: bool
    ) -> ExecutionResult[Any] | RefoldError | None:
        """Look once.

        Returns:
            How the run ended; or the error that ends the wait; or None: look again later.
        """
        try:
            snapshot = progress.snapshot
            if snapshot is None or not progress.ended:
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

    async def _read(self, progress: Progress, execution_id: str, account: str | None) -> Execution:
        self._counters.polls += 1
        document = await self._api.get_execution(
            execution_id, account=account, policy=_ONE_TRY, priority=Priority.STATUS
        )
        progress.failing_since = None
        if progress.snapshot is None or document.raw != progress.snapshot.raw:
            progress.snapshot = document
        return progress.snapshot

    async def _output(
        self, progress: Progress, run: Execution, account: str | None
    ) -> ExecutionResult[Any] | None:
        """Read what a completed run returned; None while the service is not ready to say.

        The path is an old one: where a deployment doesn't serve it, or not to session tokens, the
        Response node in the document has the same data.

        See: "Workflow API".
        """
        node = run.response_node
        try:
            output = await self._api.get_response(
                run.execution_id, account=account, policy=_ONE_TRY
            )
        except (NotFoundError, AuthenticationError, PermissionDeniedError):
            return _completed(run, None if node is None else node.output)
        if output.status not in _BEHIND:
            return _completed(run, output.value)
        if node is not None:
            return _completed(run, node.output)
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
        if isinstance(error, _AT_ONCE):
            return error
        unknown = isinstance(error, NotFoundError) and progress.snapshot is None
        allowed = self._policy.not_found_grace if unknown else self._policy.failure_budget
        if self._has_failed_for(progress, allowed):
            return error
        asked = error.retry_after if isinstance(error, ApiError) else None
        if asked and progress.failing_since is not None:
            progress.not_before = self._clock.monotonic() + asked
            progress.failing_since += asked
        return None


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
