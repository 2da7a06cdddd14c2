"""Starting a run without losing it, whether its answer is lost or its caller leaves."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from refold_async import _protocol as protocol
from refold_async._errors import RefoldError
from refold_async._handle import ExecutionHandle
from refold_async._pacing import Priority
from refold_async._retry import Finding, logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from refold_async._config import RetryPolicy
    from refold_async._handle import Services
    from refold_async._reconcile import Found, Reconciler
    from refold_async._stats import Counters

_KEPT = 1_000


class Orphans:
    """Runs whose caller was cancelled after the request had left: nobody holds their handles.

    Iterating takes them out, oldest first. At most 1,000 are kept; what is dropped is logged.
    """

    def __init__(self) -> None:
        self._handles: deque[ExecutionHandle[Any]] = deque()

    def add(self, handle: ExecutionHandle[Any]) -> None:
        """Keep a handle until somebody takes it."""
        self._handles.append(handle)
        if len(self._handles) > _KEPT:
            dropped = self._handles.popleft()
            logger.warning("orphans are full, dropped execution %s", dropped.execution_id)

    def __iter__(self) -> Iterator[ExecutionHandle[Any]]:
        while self._handles:
            yield self._handles.popleft()

    def __len__(self) -> int:
        return len(self._handles)


class Starter:
    """Starts runs for the client and its handles."""

    def __init__(self, services: Services, reconciler: Reconciler, counters: Counters) -> None:
        self.services = services
        self.reconciler = reconciler
        self.counters = counters
        self.orphans = Orphans()
        self.tasks: set[asyncio.Task[None]] = set()  # reconciling for callers that are gone

    async def start(
        self,
        request: protocol.Request,
        *,
        policy: RetryPolicy | None = None,
        limit: float | None = None,
    ) -> ExecutionHandle[Any]:
        """Send a request that starts a run, and give the handle of the run.

        `limit` is in seconds, from when this is awaited.
        """
        deadline = None if limit is None else self.services.clock.monotonic() + limit
        care = Care(self, request, policy, deadline)
        answer = await self.services.api.transport.send(
            request, policy=policy, deadline=deadline, care=care, priority=Priority.START
        )
        return care.handle(protocol.read_started(answer, request))

    async def aclose(self) -> None:
        """Stop reconciling; what is not found yet is logged as unknown."""
        tasks = [*self.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Care:
    """What one start needs when things go wrong; the transport and the retries call back to it."""

    __slots__ = (
        "_deadline",
        "_policy",
        "_request",
        "_since",
        "_starter",
        "expecting",
        "resent",
        "uncertain",
    )

    def __init__(
        self,
        starter: Starter,
        request: protocol.Request,
        policy: RetryPolicy | None,
        deadline: float | None,
    ) -> None:
        self._starter = starter
        self._request = request
        self._policy = policy or starter.services.api.transport.policy
        self._deadline = deadline
        self.expecting = False  # an attempt goes on without its caller
        self.uncertain = False  # an attempt that is over may have started a run
        self.resent = False  # and the request was sent again nevertheless
        self._since = starter.services.clock.time()

    def handle(self, started: protocol.Started) -> ExecutionHandle[Any]:
        """Make the handle of the run, and remember that it is ours."""
        if started.execution_id is not None:
            self._starter.reconciler.own(started.execution_id, self._request.instance_tag)
        return ExecutionHandle.of_started(self._starter.services, started, self._request)

    async def reconcile(self) -> Found:
        """Look for the run in the list."""
        found = await self._starter.reconciler.look(
            self._request, self._policy, since=self._since, deadline=self._deadline
        )
        if found.finding is Finding.FOUND:
            self._starter.counters.adopted += 1
        return found

    def orphaned(self, answer: protocol.Answer) -> None:
        """Take over from a caller that was cancelled after the request had left; never send again.

        Args:
            answer: what the attempt came to after all.
        """
        if answer.evidence is protocol.Evidence.ACCEPTED:
            self._keep(protocol.read_started(answer, self._request))
        elif answer.evidence is protocol.Evidence.UNCERTAIN or self.uncertain:
            task = asyncio.get_running_loop().create_task(self._reconcile_alone())
            self._starter.tasks.add(task)
            task.add_done_callback(self._starter.tasks.discard)

    async def _reconcile_alone(self) -> None:
        self._deadline = None
        try:
            found = None if self._policy.mode == "never" else await self.reconcile()
        except (RefoldError, asyncio.CancelledError):
            found = None
        if found is not None and found.finding is Finding.FOUND:
            self._keep(protocol.Started(execution_id=found.execution_id))
        else:
            logger.warning(
                "the caller of %s was cancelled, and nobody knows whether a run started"
                " (workflow_id=%s, instance_tag=%s)",
                self._request.operation,
                self._request.workflow_id,
                self._request.instance_tag,
            )

    def _keep(self, started: protocol.Started) -> None:
        handle = self.handle(started)
        handle.possible_duplicate = self.resent
        logger.warning(
            "the caller of %s was cancelled after the request had left: execution %s runs on,"
            " its handle is in refold.orphans",
            self._request.operation,
            handle.execution_id,
        )
        self._starter.counters.orphaned += 1
        self._starter.orphans.add(handle)
