"""A service of two functions, for what waits for it: time is the test's, and no bytes are moved."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from refold_async import (
    Execution,
    ExecutionHandle,
    ExecutionStatus,
    PollPolicy,
    RefoldError,
)
from refold_async._handle import Services
from refold_async._protocol import Output, Started, read_execution
from refold_async._stats import Counters
from refold_async._waiting.tracker import Tracker

if TYPE_CHECKING:
    from refold_async import RetryPolicy
    from refold_async._pacing import Priority
    from tests.support.clock import FakeClock

RUN = "6a314c54d4616e99e7fa5a02"
POLLING = PollPolicy(first=1, max_interval=10, not_found_grace=5, failure_budget=60, sweep=False)


class ScriptedService:
    """Answers looks from a script; the last answer is repeated. Errors in the script are raised."""

    def __init__(self) -> None:
        self.documents: deque[dict[str, Any] | str | RefoldError] = deque(["RUNNING"])
        self.outputs: deque[Any] = deque(["the output"])
        self.transport = SimpleNamespace(
            check_usable=lambda: None, server_clock=SimpleNamespace(at=lambda local: local)
        )
        self.looks: list[str] = []
        self.fetched: list[str] = []
        self._shown: dict[str, dict[str, Any]] = {}  # documents a look has not read yet
        self._over: set[str] = set()  # runs whose end the document has shown

    async def get_execution(
        self,
        execution_id: str,
        *,
        account: str | None,
        policy: RetryPolicy | None = None,
        priority: Priority | None = None,
    ) -> Execution:
        """Give the next document (a string is its status)."""
        document = self._shown.pop(execution_id, None) or self._next_document(execution_id)
        run = read_execution(document, execution_id=execution_id)
        if run.status.is_terminal:
            self._over.add(execution_id)
        return run

    async def get_response(
        self,
        execution_id: str,
        *,
        account: str | None,
        policy: RetryPolicy | None = None,
        priority: Priority | None = None,
    ) -> Output:
        """Give the next output of a run that is over, else the next status."""
        if execution_id not in self._over:
            document = self._next_document(execution_id)
            status = ExecutionStatus(document["status"])
            if status.is_terminal:
                self._shown[execution_id] = document
            if status is not ExecutionStatus.COMPLETED:
                return Output(None, _BRIEFLY[status.is_terminal])
        self.fetched.append(execution_id)
        said = _next(self.outputs)
        if isinstance(said, RefoldError):
            raise said
        if isinstance(said, Output):
            return said
        return Output(value=said, status=ExecutionStatus.COMPLETED)

    def _next_document(self, execution_id: str) -> dict[str, Any]:
        self.looks.append(execution_id)
        said = _next(self.documents)
        if isinstance(said, RefoldError):
            raise said
        return {"status": said} if isinstance(said, str) else said


_BRIEFLY = {True: ExecutionStatus("ERRORED"), False: ExecutionStatus("RUNNING")}
"""What the response path says of a run that has not completed, by whether it has ended."""


def _next(script: deque[Any]) -> Any:
    return script.popleft() if len(script) > 1 else script[0]


class House:
    """A tracker over a scripted service."""

    def __init__(
        self, clock: FakeClock, *, at_once: int = 25, polling: PollPolicy = POLLING
    ) -> None:
        self.clock = clock
        self.service = ScriptedService()
        self.counters = Counters()
        api = cast("Any", self.service)
        self.tracker = Tracker(api, polling, clock, self.counters, at_once=at_once)
        self.services = Services(api, self.tracker, polling, clock)

    def handle(
        self, execution_id: str | None = RUN, *, attempts: int = 0, workflow: str | None = None
    ) -> ExecutionHandle[Any]:
        """Give a handle; `attempts=1` makes it one of a run that was just started."""
        started = Started(execution_id=execution_id, attempts=attempts) if attempts else None
        return ExecutionHandle(
            self.services,
            execution_id,
            workflow_id=workflow,
            linked_account_id="acct",
            started=started,
        )
