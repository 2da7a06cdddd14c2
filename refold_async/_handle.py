"""The awaitable handle of one run."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, Protocol

from refold_async import _telemetry as seam
from refold_async._checks import check_flag, positive_seconds
from refold_async._errors import ConfigError
from refold_async._models import ExecutionRef, Out_co, created_at
from refold_async._protocol import rerun_request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable
    from datetime import datetime

    from refold_async._checks import Seconds
    from refold_async._clock import Clock
    from refold_async._config import PollPolicy, RetryPolicy
    from refold_async._models import Execution, ExecutionEvent, ExecutionResult, ExecutionStatus
    from refold_async._protocol import Request, Started
    from refold_async._telemetry import Telemetry
    from refold_async._transport import Api
    from refold_async._waiting import Tracker, Watch


class Start(Protocol):
    """Sends a request that starts a run, and gives the run's handle."""

    async def __call__(
        self,
        request: Request,
        *,
        policy: RetryPolicy | None = None,
        limit: float | None = None,
    ) -> ExecutionHandle[Any]:
        """Start it."""


class Services:
    """What the handles of a client work with."""

    def __init__(self, api: Api, tracker: Tracker, polling: PollPolicy, clock: Clock) -> None:
        self.api = api
        self.tracker = tracker
        self.polling = polling
        self.clock = clock
        # Set by the client: the rooms that start runs stand above the handles.
        self.start: Start
        self.learn: Callable[[Iterable[Execution]], None]


class ExecutionHandle(Generic[Out_co]):
    """A run: await it, ask about it, stop it, or pick it up again elsewhere by its `ref`.

    `await handle` is `await handle.result()`; `asyncio.gather(*handles)` waits for many, and
    `create_task(handle.result())` makes a task of one. Any number of tasks may await one handle,
    and any number of handles may point at one run: there is one stream of looks. Cancelling an
    awaiter ends that wait alone, never the run and never another's wait.

    Two handles are equal only if they are the same object, and handles are hashable.
    """

    __slots__ = (
        "__weakref__",
        "_fresh",
        "_known_at",
        "_read",
        "_result",
        "_services",
        "_traceparent",
        "_watch",
        "attached",
        "attempts",
        "execution_id",
        "instance_tag",
        "linked_account_id",
        "possible_duplicate",
        "slug",
        "workflow_id",
    )

    execution_id: str | None
    """The run's id; None for a sync reply that had none."""
    workflow_id: str | None
    """The workflow (or alias) it was started with, if known."""
    slug: str | None
    """The application it was started with, if known."""
    linked_account_id: str | None
    """The linked account it runs for, if known."""
    instance_tag: str | None
    """Its label, if known."""
    attempts: int
    """Requests it took to start the run, the first one included; 0 for a reattached handle."""
    attached: bool
    """Whether the run had been started before under the same `once`, by whomever."""
    possible_duplicate: bool
    """Whether an earlier try of the same call may have started a second run."""

    def __init__(
        self,
        services: Services,
        execution_id: str | None,
        *,
        workflow_id: str | None = None,
        slug: str | None = None,
        linked_account_id: str | None = None,
        instance_tag: str | None = None,
        started: Started | None = None,
        traceparent: str | None = None,
    ) -> None:
        self._services = services
        self._traceparent = traceparent
        self.execution_id = execution_id
        self.workflow_id = workflow_id
        self.slug = slug
        self.linked_account_id = linked_account_id
        self.instance_tag = instance_tag
        self._result: ExecutionResult[Any] | None
        self._read: Callable[[ExecutionResult[Any]], ExecutionResult[Out_co]] | None = None
        self._watch: Watch | None = None
        self._known_at = services.clock.monotonic()
        self._fresh = started is not None
        self.attached = False
        if started is None:
            self._result, self.attempts, self.possible_duplicate = None, 0, False
        else:
            self._result = started.result
            self.attempts = started.attempts
            self.possible_duplicate = started.possible_duplicate

    @property
    def ref(self) -> ExecutionRef:
        """What is needed to find the run again; picklable, without secrets."""
        return ExecutionRef(
            execution_id=self.execution_id,
            workflow_id=self.workflow_id,
            slug=self.slug,
            linked_account_id=self.linked_account_id,
            instance_tag=self.instance_tag,
            traceparent=self._traceparent,
        )

    @property
    def created_at(self) -> datetime | None:
        """When the service made it (UTC, to the second), if its id tells."""
        return None if self.execution_id is None else created_at(self.execution_id)

    def __repr__(self) -> str:
        result = self._ending()
        state = "pending" if result is None else str(result.status)
        return f"<ExecutionHandle {self.execution_id} {state}>"

    def __await__(self) -> Generator[Any, None, ExecutionResult[Out_co]]:
        return self.result().__await__()

    async def result(self, *, timeout: Seconds | None = None) -> ExecutionResult[Out_co]:
        """Wait for the run and give its result.

        Args:
            timeout: seconds (or a timedelta) this wait may take; None for no limit. It bounds the
                wait, not the run.

        Returns:
            The result of a completed run. A Response node that set 4xx or 5xx is a result too, with
            `ok == False`.

        Raises:
            ExecutionError: the run ended badly: `ExecutionFailedError`, `ExecutionStoppedError`,
                `ExecutionTimedOutError` or `ExecutionTerminatedError`.
            WaitTimeoutError: the time is over; the run goes on and the handle stays usable.
            ClientClosedError: the client was closed meanwhile.
            ApiError: the run can't be read (see `wait`).
            TransportError: the same.
            OutputError: the handle is one of a typed workflow, and the output does not fit.

        See: "Get Execution", "Workflow API".
        """
        result = await self.wait(timeout=timeout)
        result.raise_for_ending()
        return result

    async def wait(
        self, *, timeout: Seconds | None = None, output: bool = True
    ) -> ExecutionResult[Out_co]:
        """Wait for the run and give its result, whatever the ending.

        Args:
            timeout: seconds (or a timedelta) this wait may take; None for no limit.
            output: whether to read what the run returned, and for one that ended badly why. Without
                it the status that a list shows is enough, which saves a request per run; asking
                the result for its `output` then raises an error.

        Raises:
            WaitTimeoutError: the time is over; the run goes on and the handle stays usable.
            ClientClosedError: the client was closed meanwhile.
            ApiError: the run can't be read: 401 and 403 at once, 404 too unless the run was
                started in the last `PollPolicy.not_found_grace` seconds, others after
                `PollPolicy.failure_budget`.
            TransportError: no answer came for `PollPolicy.failure_budget` seconds.
            OutputError: the handle is one of a typed workflow, and the output does not fit.

        See: "Get Execution", "Workflow API".
        """
        limit = positive_seconds(timeout, "timeout")
        check_flag(output, "output")
        result = self._known() if output else self._ending()
        if result is None:
            tracker, watch = self._services.tracker, self._watched()
            if seam.telemetry is not None:
                result = await self._wait_seen(seam.telemetry, watch, limit, output=output)
            elif limit is None:
                result = await tracker.wait(watch, output=output)
            else:
                result = await tracker.wait_within(watch, limit, output=output)
        return result if self._read is None else self._read(result)

    async def _wait_seen(
        self, telemetry: Telemetry, watch: Watch, limit: float | None, *, output: bool
    ) -> ExecutionResult[Any]:
        names = {
            "execution_id": self.execution_id,
            "workflow_id": self.workflow_id,
            "slug": self.slug,
            "linked_account_id": self.linked_account_id,
            "instance_tag": self.instance_tag,
        }
        news = self._fresh and watch.ending is None
        with telemetry.wait(
            names,
            self._services.clock,
            traceparent=self._traceparent,
            started_at=self._known_at if news else None,
        ) as scope:
            tracker = self._services.tracker
            if limit is None:
                result = await tracker.wait(watch, output=output)
            else:
                result = await tracker.wait_within(watch, limit, output=output)
            scope.note(status=str(result.status))
            return result

    def done(self) -> bool:
        """Whether the end of the run is known; makes no request.

        Looking begins with the first waiter, so `while not handle.done()` alone never ends.
        """
        return self._ending() is not None

    async def status(self) -> ExecutionStatus:
        """Ask for the run's status: one request. See: "Get Execution"."""
        return (await self.fetch()).status

    async def fetch(self) -> Execution:
        """Read the run's document: one request.

        Raises:
            ConfigError: the run has no `execution_id`.
            ApiError: the service refused, `NotFoundError` for a run it does not know.
            TransportError: no usable answer came.

        See: "Get Execution".
        """
        return await self._services.api.get_execution(
            self._id("fetch"), account=self.linked_account_id
        )

    async def snapshots(self, *, interval: Seconds | None = None) -> AsyncGenerator[Execution]:
        """Iterate over the run's document, once per change seen, up to the terminal one.

        A slow reader gets the newest state, not each one in between. `Execution.current_node` and
        `Execution.describe()` say why it isn't over.

        Args:
            interval: the longest time between two looks, in seconds; it shortens the intervals
                that all waiters of this run share and adds no second stream of looks.

        Raises:
            RefoldError: the run can't be read (see `wait`).

        See: "Get Execution".
        """
        longest = positive_seconds(interval, "interval")
        watch, seen = self._watched("snapshots"), 0
        while True:
            seen, snapshot = await self._services.tracker.next_change(watch, seen, longest)
            yield snapshot
            if snapshot.status.is_terminal:
                return

    def eta(self) -> float | None:
        """Give the seconds the run will probably still take; makes no request.

        From the durations of its workflow's runs seen so far, else from the completion percentage
        last seen; None if neither tells, 0 for a run that is over.
        """
        if self.done():
            return 0.0
        if self.execution_id is None:
            return None
        return self._services.tracker.planner.eta(self._watched("eta"))

    async def events(self, *, interval: Seconds | None = None) -> AsyncGenerator[ExecutionEvent]:
        """Iterate over what changes in the run, up to the `StatusChanged` that ends it.

        The first look tells of all that has happened so far. What happens between two looks comes
        with the second: nodes in the document's order, then progress, then the status.

        Args:
            interval: as of `snapshots`.

        Raises:
            RefoldError: the run can't be read (see `wait`).

        See: "Get Execution".
        """
        from refold_async._models import changes  # noqa: PLC0415 - few use them

        before: Execution | None = None
        async with aclosing(self.snapshots(interval=interval)) as snapshots:
            async for after in snapshots:
                for event in changes(before, after):
                    yield event
                before = after

    async def stop(self) -> None:
        """Ask the service to stop the run; it goes STOPPING, then STOPPED. May be repeated.

        Raises:
            ConfigError: the run has no `execution_id`.
            ApiError: the service refused, as for a run that is over.

        See: "Stop Execution".
        """
        await self._services.api.stop(self._id("stop"), account=self.linked_account_id)

    async def rerun(self) -> ExecutionHandle[Out_co]:
        """Start a new run from the original payload, and give its handle.

        Starting is not repeatable: failures are dealt with as those of `execute`.

        Raises:
            ConfigError: the run has no `execution_id`.
            ExecutionOutcomeUnknownError: the new run may or may not have started.
            ApiError: the service refused.

        See: "Rerun Execution".
        """
        request = rerun_request(self._id("rerun"), account=self.linked_account_id)._replace(
            workflow_id=self.workflow_id,
            slug=self.slug,
        )
        handle = await self._services.start(request)
        return handle if self._read is None else read_by(handle, self._read)

    def _id(self, verb: str) -> str:
        if self.execution_id is None:
            raise ConfigError(
                f"{verb} needs an execution_id, and the service's sync reply had none; all that is"
                " known is in `await handle.wait()`",
                field="execution_id",
            )
        return self.execution_id

    def _known(self) -> ExecutionResult[Any] | None:
        """Give the whole result, if it is known, by whichever handle of the run."""
        if self._result is None and (watch := self._found()) is not None:
            self._result = watch.result
        return self._result

    def _ending(self) -> ExecutionResult[Any] | None:
        """Give the same, or a result without the output."""
        watch = self._found()
        return self._known() or (None if watch is None else watch.ending)

    def _found(self) -> Watch | None:
        if self._watch is None and self.execution_id is not None:
            self._watch = self._services.tracker.find(self.execution_id, self.linked_account_id)
        return self._watch

    def _watched(self, verb: str = "wait") -> Watch:
        self._services.api.transport.check_usable()
        if self._watch is None:
            self._watch = self._services.tracker.watch(
                self._id(verb),
                self.linked_account_id,
                known_at=self._known_at,
                workflow=self.workflow_id,
                fresh=self._fresh,
            )
        return self._watch


def read_by(
    handle: ExecutionHandle[Any], read: Callable[[ExecutionResult[Any]], ExecutionResult[Out_co]]
) -> ExecutionHandle[Out_co]:
    """Have a handle, which nobody has awaited yet, read the output of its run so.

    It is read for each handle by itself: what is settled is JSON, for all who wait.
    """
    handle._read = read  # noqa: SLF001
    return handle


def ending_so_far(handle: ExecutionHandle[Any]) -> ExecutionResult[Any] | None:
    """Give what is known of the end of a run, with its output or without; makes no request."""
    return handle._ending()  # noqa: SLF001


def handle_of_ref(services: Services, ref: ExecutionRef) -> ExecutionHandle[Any]:
    """Make a handle of a run that was started before."""
    return ExecutionHandle(
        services,
        ref.execution_id,
        workflow_id=ref.workflow_id,
        slug=ref.slug,
        linked_account_id=ref.linked_account_id,
        instance_tag=ref.instance_tag,
        traceparent=ref.traceparent,
    )


def handle_of_started(
    services: Services, started: Started, request: Request, traceparent: str | None
) -> ExecutionHandle[Any]:
    """Make the handle of a run that was just started, by a call of that name in traces."""
    return ExecutionHandle(
        services,
        started.execution_id,
        workflow_id=request.workflow_id,
        slug=request.slug,
        linked_account_id=request.account,
        instance_tag=request.instance_tag,
        started=started,
        traceparent=traceparent,
    )
