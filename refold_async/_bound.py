"""A workflow with its types, bound to a client: a function that runs it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypedDict, Unpack

from refold_async._caller import Caller, failing, named
from refold_async._checks import Seconds  # noqa: TC001 - for who resolves `CallOptions`
from refold_async._config import RetryPolicy  # noqa: TC001 - for who resolves `StartOptions`
from refold_async._errors import ConfigError, RefoldError
from refold_async._handle import read_by
from refold_async._models import Out_co
from refold_async._typed import UNTYPED, In_contra, TypedWorkflow, workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from typing_extensions import TypeForm

    from refold_async._batch import ExecutionRequest
    from refold_async._handle import ExecutionHandle
    from refold_async._models import ExecutionRef
    from refold_async._typed import In, Out


class StartOptions(TypedDict, total=False):
    """The arguments of `execute` beside the payload that other calls pass on."""

    sync: bool
    linked_account_id: str | None
    config_id: str | None
    instance_tag: str | None
    unique_tag: bool
    include_headers: bool
    retry: RetryPolicy | None


class CallOptions(StartOptions, total=False):
    """The arguments of `execute` beside the payload that the call of a bound workflow passes on."""

    once: str | None
    once_within: Seconds
    once_scope: Literal["shared", "process"]
    once_fallback: Literal["look"] | None


class BoundWorkflow(Generic[In_contra, Out_co]):
    """A workflow at a client: call it. Get it as `refold.workflow(...)`; it is cheap.

    A call takes what `execute` takes, starts the workflow, waits for it, raises unless the run went
    well, and gives the output::

        contact = await create_contact(NewContact("jane@example.com"))
        handle = await create_contact.execute(NewContact("joe@example.com"))
        async for item in refold.map(create_contact.request(row) for row in rows):
            ...
    """

    __slots__ = ("_caller", "_workflow")

    def __init__(self, caller: Caller, spec: TypedWorkflow[In_contra, Out_co]) -> None:
        self._caller = caller
        self._workflow = spec

    def __call__(
        self,
        payload: In_contra,
        *,
        timeout: Seconds | None = None,
        **options: Unpack[CallOptions],
    ) -> Coroutine[None, None, Out_co]:
        """Start the workflow, wait for it, and give its output.

        Args:
            payload: the input. It is written as JSON when this is called.
            timeout: seconds (or a timedelta) for all of it. Once the run has started, its end is a
                `WaitTimeoutError` that names the run.
            options: the other arguments of `RefoldClient.execute`.

        Cancelling it cancels no run: once it has started, its handle is in `refold.orphans`.

        Raises:
            RefoldError: whatever `RefoldClient.run` and `ExecutionResult.raise_for_status` raise.
                An error with an `execution_id` is about a run that exists: don't start it again.
            PayloadError: the payload does not fit its type; nothing was sent.
            OutputError: the output does not fit its type; the run happened.

        See: "Execute Workflow".
        """
        try:
            start = self._planned(payload, timeout, options)
        except RefoldError as error:
            return named(failing(error), "BoundWorkflow.__call__")
        return named(self._output(start, timeout), "BoundWorkflow.__call__")

    def execute(
        self,
        payload: In_contra,
        *,
        timeout: Seconds | None = None,
        **options: Unpack[CallOptions],
    ) -> Coroutine[None, None, ExecutionHandle[Out_co]]:
        """Start the workflow and give the handle of the run, which reads its output by its type.

        Args:
            payload: the input. It is written as JSON when this is called.
            timeout: seconds (or a timedelta) for the start: slot, attempts and pauses.
            options: the other arguments of `RefoldClient.execute`.

        Raises:
            RefoldError: whatever `RefoldClient.execute` raises.
            PayloadError: the payload does not fit its type; nothing was sent.

        See: "Execute Workflow".
        """
        try:
            start = self._planned(payload, timeout, options)
        except RefoldError as error:
            return named(failing(error), "BoundWorkflow.execute")
        return named(start(), "BoundWorkflow.execute")

    def request(
        self,
        payload: In_contra,
        *,
        timeout: Seconds | None = None,
        key: str | None = None,
        **options: Unpack[StartOptions],
    ) -> ExecutionRequest[Out_co]:
        """Give a run of it as a value, for `map` and `run_batch`; for this one's linked account.

        Nothing is checked here: an item whose payload does not fit is `rejected`. One whose output
        does not fit has `succeeded`, and an `OutputError` as its `error`: it ran.

        Args:
            payload: the input; don't change it before its item is yielded.
            timeout: seconds (or a timedelta) for all of the item.
            key: your own id for the item.
            options: the other arguments of `RefoldClient.execute`, but for `once` and what belongs
                to it: items of a batch have a `key` and a journal for that.
        """
        from refold_async._batch import ExecutionRequest  # noqa: PLC0415 - with the first batch

        options.setdefault("linked_account_id", self._caller.account)
        untyped: Any = payload
        return ExecutionRequest(
            self._workflow.workflow_id,
            slug=self._workflow.slug,
            payload=untyped,
            timeout=timeout,
            key=key,
            types=self._workflow,
            **options,
        )

    def handle(
        self, execution_id_or_ref: str | ExecutionRef, *, linked_account_id: str | None = None
    ) -> ExecutionHandle[Out_co]:
        """Give a handle of a run of it that was started before; makes no request.

        Args:
            execution_id_or_ref: the run's id, or the `ref` of another handle.
            linked_account_id: for whom it runs, if neither the ref nor the client says so.

        Raises:
            ConfigError: the id can't be one, no linked account is known, or the ref is that of a
                run of another workflow.
        """
        found = self._caller.reattach(execution_id_or_ref, linked_account_id=linked_account_id)
        if found.workflow_id not in {None, self._workflow.workflow_id}:
            raise ConfigError(
                f"this run is one of {found.workflow_id}, not of {self._workflow.workflow_id};"
                " refold.handle(...) takes any",
                field="workflow_id",
            )
        return read_by(found, self._workflow.read)

    def for_account(self, linked_account_id: str) -> BoundWorkflow[In_contra, Out_co]:
        """Give the same for another linked account, as of `RefoldClient.for_account`.

        Raises:
            ConfigError: the client authenticates with a session token, which is bound to one
                account.
        """
        return BoundWorkflow(self._caller.for_account(linked_account_id), self._workflow)

    def __repr__(self) -> str:
        spec, account = self._workflow, self._caller.account
        return f"<BoundWorkflow {spec.workflow_id} {spec.slug} linked_account_id={account!r}>"

    def _planned(
        self, payload: In_contra, timeout: Seconds | None, options: CallOptions
    ) -> Callable[[], Coroutine[Any, Any, ExecutionHandle[Out_co]]]:
        start = self._caller.planned(
            self._workflow.workflow_id,
            slug=self._workflow.slug,
            payload=self._workflow.payload(payload),
            timeout=timeout,
            **options,
        )
        return partial(self._typed, start)

    async def _typed(
        self, start: Callable[[], Coroutine[Any, Any, ExecutionHandle[Any]]]
    ) -> ExecutionHandle[Out_co]:
        return read_by(await start(), self._workflow.read)

    async def _output(
        self,
        start: Callable[[], Coroutine[Any, Any, ExecutionHandle[Out_co]]],
        timeout: Seconds | None,
    ) -> Out_co:
        result = await self._caller.run(start, timeout)
        result.raise_for_status()
        return result.output


def bind(
    caller: Caller,
    spec: TypedWorkflow[In, Out] | str,
    *,
    slug: str | None,
    input: TypeForm[In],  # noqa: A002 - as of `workflow`
    output: TypeForm[Out],
) -> BoundWorkflow[In, Out]:
    """Bind a workflow, or make one and bind it; see `RefoldClient.workflow`."""
    if not isinstance(spec, TypedWorkflow):
        if slug is None:
            raise ConfigError("a workflow's id needs one beside it", field="slug")
        spec = workflow(spec, slug=slug, input=input, output=output)
    elif slug is not None or input is not UNTYPED or output is not UNTYPED:
        raise ConfigError(
            "it says slug, input and output itself; give them where it is made", field="workflow"
        )
    return BoundWorkflow(caller, spec)
