"""Starting a run without losing it, whether its answer is lost or its caller leaves."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import math
import os
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Any

from refold_async import _protocol as protocol
from refold_async._clock import done_within, waiting
from refold_async._errors import RefoldError
from refold_async._handle import handle_of_started
from refold_async._logs import Log, about
from refold_async._pacing import Priority
from refold_async._transport import Finding, outcome_unknown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from refold_async._config import RetryPolicy
    from refold_async._handle import ExecutionHandle, Services
    from refold_async._starting.by_key import KeyLooks
    from refold_async._starting.found import Found
    from refold_async._starting.reconcile import Reconciler
    from refold_async._stats import Counters

logger = Log("starting")

_KEPT = 1_000


def new_tag() -> str:
    """Make a tag that nobody else makes, in whatever process or copy of it: all of it is drawn now.

    The system's own randomness is asked for it, which nothing that was forked or copied shares.
    """
    return "rfa-" + os.urandom(16).hex()


class Orphans:
    """Runs whose caller was cancelled after the request had left, or in `run` while it waited.

    Nobody else holds their handles.

    Iterating takes them out, oldest first. At most 1,000 are kept; what is dropped is logged.
    """

    def __init__(self) -> None:
        self._handles: deque[ExecutionHandle[Any]] = deque()

    def add(self, handle: ExecutionHandle[Any]) -> None:
        """Keep a handle until somebody takes it."""
        self._handles.append(handle)
        if len(self._handles) > _KEPT:
            dropped = self._handles.popleft()
            logger.warning(
                "orphans are full, dropped execution %s",
                dropped.execution_id,
                extra=_about_run(dropped),
            )

    def __iter__(self) -> Iterator[ExecutionHandle[Any]]:
        while self._handles:
            yield self._handles.popleft()

    def __len__(self) -> int:
        return len(self._handles)


class Starter:
    """Starts runs for the client and its handles."""

    def __init__(
        self, services: Services, reconciler: Reconciler, keys: KeyLooks, counters: Counters
    ) -> None:
        self.services = services
        self.lists = reconciler.lists
        self.reconciler = reconciler
        self.keys = keys
        self.counters = counters
        self.orphans = Orphans()
        self.tasks: set[asyncio.Task[None]] = set()  # reconciling for callers that are gone

    def viewed(self, services: Services) -> Starter:
        """Give a starter for a view of the client; what is known of runs is shared."""
        view = copy.copy(self)
        view.services = services
        return view

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
        deadline = self.deadline(limit)
        care = Care(self, request, policy, deadline)
        return care.accepted(await self.send(request, care, policy, deadline))

    def deadline(self, limit: float | None) -> float | None:
        """Give the monotonic second by which a start of so many seconds ends, if one bounds it."""
        if limit is None:
            limit = self.services.api.timeouts.call
        return None if limit is None else self.services.clock.monotonic() + limit

    def send(
        self,
        request: protocol.Request,
        care: Care,
        policy: RetryPolicy | None,
        deadline: float | None,
    ) -> Coroutine[Any, Any, protocol.Answer]:
        """Send a request whose care is taken of; `deadline` is in monotonic seconds."""
        return self.services.api.send(
            request, policy=policy, deadline=deadline, care=care, priority=Priority.START
        )

    def orphan(self, handle: ExecutionHandle[Any], when: str) -> None:
        """Keep the handle of a run that nobody holds any more, and say so."""
        logger.warning(
            "the caller of %s: execution %s runs on, its handle is in refold.orphans",
            when,
            handle.execution_id,
            extra=_about_run(handle),
        )
        self.counters.orphaned += 1
        self.orphans.add(handle)

    async def drain(self, seconds: float) -> None:
        """Start nothing more, and let calls, abandoned attempts and looks end for so long."""
        clock = self.services.clock
        until = clock.monotonic() + seconds
        await self.services.api.transport.drain(seconds)
        if self.tasks:
            looks = asyncio.gather(*self.tasks, return_exceptions=True)
            with waiting(clock, "looks for lost starts, before the client is closed"):
                await done_within(clock, looks, until - clock.monotonic())

    async def aclose(self) -> None:
        """Stop reconciling; what is not found yet is logged as unknown."""
        tasks = [*self.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Submission:
    """A start that is prepared and can be called off: what had left by then is accounted for."""

    def __init__(
        self,
        starter: Starter,
        request: protocol.Request,
        *,
        policy: RetryPolicy | None,
        limit: float | None,
        tag_is_ours: bool,
    ) -> None:
        self.request = request
        self.policy = policy or starter.services.api.policy
        self._starter = starter
        self._limit = limit
        self._tag_is_ours = tag_is_ours
        self._care: Care | None = None

    @property
    def fingerprint(self) -> str:
        """A hash of all that is sent, but for the credential and a tag that was made for it."""
        request = self.request
        left_out = {"instance_tag"} if self._tag_is_ours else set()
        headers = sorted((k, v) for k, v in request.headers.items() if k not in left_out)
        head = json.dumps([request.target, request.account, headers]).encode()
        # Of the payload, not of the body: a dialect may have to be put right.
        return hashlib.sha256(head + b"\n" + request.payload).hexdigest()

    def retag(self, tag: str) -> None:
        """Send the tag that was made for an earlier try of the same start."""
        headers = {**self.request.headers, "instance_tag": tag}
        self.request = self.request._replace(headers=headers, instance_tag=tag)

    async def handle(
        self, before: Callable[[], Awaitable[None]] | None = None
    ) -> ExecutionHandle[Any]:
        """Send it, once, and give the handle of the run; raises as `RefoldClient.execute`.

        Args:
            before: awaited before each attempt, once it has its slot; if it raises, nothing leaves.
        """
        starter = self._starter
        deadline = starter.deadline(self._limit)
        self._care = Care(starter, self.request, self.policy, deadline)
        self._care.before = before
        answer = await starter.send(self.request, self._care, self.policy, deadline)
        return self._care.accepted(answer)

    def started_elsewhere(self, started: protocol.Started) -> ExecutionHandle[Any]:
        """Give the handle of the run that another process has started for this."""
        return Care(self._starter, self.request, self.policy, None).handle(started)

    @property
    def has_left(self) -> bool:
        """Whether a run may have begun, after `handle` was cancelled."""
        return self._care is not None and (self._care.expecting or self._care.uncertain)

    def later(self, told: Callable[[ExecutionHandle[Any] | None], object]) -> None:
        """Have something told of a start that had left when `handle` was cancelled.

        Ask before anything else is awaited. It is given the handle of the run, which is in the
        orphans, or None if no run is known to have begun.
        """
        if self._care is not None:
            self._care.told = told

    async def rest(self) -> ExecutionHandle[Any] | None:
        """Tell what became of a start whose `handle` was cancelled; nothing more is sent.

        Ask before anything else is awaited. If this is cancelled too, the run's handle goes to the
        orphans.

        Returns:
            The handle of the run that began all the same, or None if nothing had left.

        Raises:
            RefoldError: the service refused, or nobody knows.
        """
        if self._care is None or not self.has_left:
            return None
        heir: asyncio.Future[ExecutionHandle[Any]]
        heir = self._care.heir = asyncio.get_running_loop().create_future()
        try:
            return await heir
        except asyncio.CancelledError:
            if not heir.cancelled() and heir.exception() is None:  # told in the same moment
                self._starter.orphans.add(heir.result())
            raise


class Care:
    """What one start needs when things go wrong; the transport and the retries call back to it."""

    __slots__ = (
        "_deadline",
        "_policy",
        "_request",
        "_since",
        "_starter",
        "before",
        "expecting",
        "heir",
        "leaves_by",
        "resent",
        "told",
        "traceparent",
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
        self._policy = policy or starter.services.api.policy
        self._deadline = deadline
        self.expecting = False  # an attempt goes on without its caller
        self.uncertain = False  # an attempt that is over may have started a run
        self.resent = False  # and the request was sent again nevertheless
        self.traceparent: str | None = None  # the call's name in traces
        self._since = starter.lists.service_time.now()
        self.before: Callable[[], Awaitable[None]] | None = None
        self.leaves_by = math.inf  # monotonic seconds, for the attempt that is made next
        # Who is told when the caller has left, instead of the orphans.
        self.heir: asyncio.Future[ExecutionHandle[Any]] | None = None
        # Who else wants to know what became of it after the caller had left.
        self.told: Callable[[ExecutionHandle[Any] | None], object] = lambda _: None

    def accepted(self, answer: protocol.Answer) -> ExecutionHandle[Any]:
        """Make the handle of the run that an answer tells of."""
        return self.handle(protocol.read_started(answer, self._request))

    def handle(self, started: protocol.Started) -> ExecutionHandle[Any]:
        """Make the handle of the run, and remember that it is ours."""
        if started.execution_id is not None:
            self._starter.lists.own(started.execution_id, self._request.instance_tag)
        return handle_of_started(self._starter.services, started, self._request, self.traceparent)

    async def reconcile(self) -> Found:
        """Look for the run in the list."""
        found = await self._starter.reconciler.look(
            self._request, self._policy, since=self._since, deadline=self._deadline
        )
        if found.finding is Finding.FOUND:
            self._starter.counters.adopted += 1
            logger.info(
                "the answer to %s was lost: execution %s was found by its tag and is taken for it"
                " (workflow_id=%s, instance_tag=%s)",
                self._request.operation,
                found.execution_id,
                self._request.workflow_id,
                self._request.instance_tag,
                extra=about(**self._request.ids | {"execution_id": found.execution_id}),
            )
        return found

    def orphaned(self, answer: protocol.Answer) -> None:
        """Take over from a caller that was cancelled after the request had left; never send again.

        Args:
            answer: what the attempt came to after all.
        """
        if answer.evidence is protocol.Evidence.ACCEPTED:
            self._keep(protocol.read_started(answer, self._request))
            return
        if answer.evidence is protocol.Evidence.UNCERTAIN or self.uncertain:
            task = asyncio.get_running_loop().create_task(
                self._reconcile_alone(answer), context=Context()
            )
            self._starter.tasks.add(task)
            task.add_done_callback(self._starter.tasks.discard)
            return
        self.expecting = False
        self.told(None)
        if heir := self._waiting_heir:
            error = answer.error or RefoldError("no answer")
            heir.set_exception(self._starter.services.api.transport.explained(error, self._request))

    @property
    def _waiting_heir(self) -> asyncio.Future[ExecutionHandle[Any]] | None:
        return None if self.heir is None or self.heir.done() else self.heir

    async def _reconcile_alone(self, answer: protocol.Answer) -> None:
        self._deadline = None
        try:
            found = None if self._policy.mode == "never" else await self.reconcile()
        except (RefoldError, asyncio.CancelledError):
            found = None
        except Exception:
            logger.exception(
                "looking a start up broke; that a run may exist is said all the same",
                extra=about(**self._request.ids),
            )
            found = None
        if found is not None and found.finding is Finding.FOUND:
            self._keep(protocol.Started(execution_id=found.execution_id))
            return
        self.told(None)
        if heir := self._waiting_heir:
            cause = answer.error or RefoldError("the call was given up")
            finding = None if found is None else found.finding
            unknown = outcome_unknown(self._request, answer.attempts, cause, finding)
            self._starter.counters.unknown += 1
            heir.set_exception(unknown)
        else:
            logger.warning(
                "the caller of %s has left, and nobody knows whether a run started"
                " (workflow_id=%s, instance_tag=%s)",
                self._request.operation,
                self._request.workflow_id,
                self._request.instance_tag,
                extra=about(**self._request.ids),
            )

    def _keep(self, started: protocol.Started) -> None:
        handle = self.handle(started)
        handle.possible_duplicate = self.resent
        self.told(handle)
        if heir := self._waiting_heir:
            heir.set_result(handle)
        else:
            self._starter.orphan(handle, f"{self._request.operation} left after the request had")


def _about_run(handle: ExecutionHandle[Any]) -> dict[str, object]:
    """Give the `extra` of a line that tells of a run."""
    return about(
        execution_id=handle.execution_id,
        workflow_id=handle.workflow_id,
        slug=handle.slug,
        linked_account_id=handle.linked_account_id,
        instance_tag=handle.instance_tag,
    )
