"""How a run ended, as a value and as an error: a result raises its error, which carries the result.

The two need each other's types, so they stand in one module; and an error with a run in it can't
stand in `_errors`, which is below the models.
"""

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic

import attrs

from refold_async._errors import RefoldError, api_error_class, clip
from refold_async._models.execution import Execution, ExecutionStatus, NodeRun
from refold_async._value import Value

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    # With a default, so that whoever has no types writes no brackets.
    Out_co = TypeVar("Out_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    Out_co = TypeVar("Out_co", covariant=True)

_NAME = 80
_SAID = 300
"""Characters of a name, and of what the run said, in a message."""


class _Unread(Enum):
    """A value of its own, which survives pickling."""

    OUTPUT = "unread"


UNREAD: Any = _Unread.OUTPUT
"""The output of a run that was waited for without it."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ExecutionResult(Value, Generic[Out_co]):
    """How a run ended.

    Attributes:
        execution_id: the run (None for a sync reply that had none).
        status: the terminal status.
        output: the Response node's data: `return_value` of a sync run, `/response` of an async one.
            Of a run that was waited for with `output=False` it was not read, and asking for it
            raises a `RefoldError` that says so.
        status_code: the HTTP status the Response node set, if known.
        execution: the document, if it was read.
        error: `execution_error` of a sync run, or the output of the node that failed.
        headers: the sanitised request headers, with `include_headers`.
        raw: the reply or document this was read from, or the delivery of a webhook that brought it.
    """

    execution_id: str | None
    status: ExecutionStatus
    _output: Out_co
    status_code: int | None = None
    execution: Execution | None = None
    error: Any = None
    headers: Mapping[str, Any] | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict)
    _received: tuple[Any] | None = None

    @property
    def output(self) -> Out_co:
        """The Response node's data.

        Raises:
            RefoldError: it was not read: the run was waited for with `output=False`, or in a batch
                its end alone could be learned.
        """
        if not self.output_is_read:
            raise RefoldError(
                f"the output of execution {self.execution_id} was not read (it was waited for with"
                " output=False, or could not be read); `await handle.result()` reads it"
            )
        return self._output

    @property
    def json_output(self) -> Any:
        """The output as it came, in JSON values, also where a typed workflow has read it."""
        return self.output if self._received is None else self._received[0]

    @property
    def output_is_read(self) -> bool:
        """Whether the output is here: always, unless the run was waited for without it."""
        return self._output is not UNREAD

    def __repr__(self) -> str:
        output = repr(self._output) if self.output_is_read else "<not read>"
        return (
            f"ExecutionResult(execution_id={self.execution_id!r}, status={self.status!r},"
            f" output={output}, status_code={self.status_code!r}, error={self.error!r})"
        )

    @property
    def ok(self) -> bool:
        """Whether the run completed and its Response node set no error status."""
        fine = self.status_code is None or self.status_code < 400  # noqa: PLR2004
        return self.status is ExecutionStatus.COMPLETED and fine

    def raise_for_status(self) -> None:
        """Raise unless `ok`.

        Raises:
            ApiError: the run completed and its Response node set 4xx or 5xx; the class is that of
                the status.
            ExecutionError: the run ended badly; the class is that of the ending.
        """
        self.raise_for_ending()
        if not self.ok and self.status_code is not None:
            said = clip(self.output, _SAID)
            error = api_error_class(self.status_code)(
                f"the Response node of execution {self.execution_id} set this status: {said}",
                status=self.status_code,
                body=self.output,
            )
            raise self._owned(error)

    def raise_for_ending(self) -> None:
        """Raise the `ExecutionError` of a run that did not complete."""
        if self.status is ExecutionStatus.COMPLETED:
            return
        node = None if self.execution is None else self.execution.failed_node
        words = f"execution {self.execution_id} ended {clip(self.status, _NAME)}"
        if node is not None:
            words += f" at node {clip(node.name or node.node_id, _NAME)!r}"
        if self.error is not None:
            words += f": {clip(self.error, _SAID)}"
        error = _ERRORS.get(self.status, ExecutionError)(words, result=self, failed_node=node)
        raise self._owned(error)

    def _owned(self, error: RefoldError) -> RefoldError:
        run = self.execution
        if run is None:
            return error.about(execution_id=self.execution_id)
        return error.about(
            execution_id=self.execution_id,
            workflow_id=run.workflow_id,
            linked_account_id=run.linked_account_id,
        )


class ExecutionError(RefoldError):
    """The run ended badly.

    Attributes:
        result: the `ExecutionResult`, with what is known about the run.
        execution_id: the run.
        failed_node: the `NodeRun` that failed, if the document names one.
    """

    def __init__(
        self,
        message: str,
        *,
        result: ExecutionResult[Any],
        failed_node: NodeRun | None = None,
    ) -> None:
        super().__init__(message)
        self.result = result
        self.execution_id = result.execution_id
        self.failed_node = failed_node


class ExecutionFailedError(ExecutionError):
    """The run ended ERRORED."""


class ExecutionStoppedError(ExecutionError):
    """Somebody stopped the run."""


class ExecutionTimedOutError(ExecutionError):
    """The service ended the run because it took too long."""


class ExecutionTerminatedError(ExecutionError):
    """The service terminated the run."""


class OutputError(RefoldError):
    """The run went well, and its output does not fit the type its workflow was given.

    The run happened: don't start it again.

    Attributes:
        result: the `ExecutionResult`, with the output as it came.
        execution_id: the run.
        path: JSON path of the value at fault, as `$.items[3].price`.
    """

    advice = (
        "The run happened, so don't start it again: its output is in error.result.output. Mend the"
        " type, or what the workflow returns"
    )

    def __init__(self, message: str, *, result: ExecutionResult[Any], path: str = "$") -> None:
        super().__init__(message)
        self.result = result
        self.execution_id = result.execution_id
        self.path = path


class WaitTimeoutError(RefoldError, TimeoutError):
    """The wait ended, the run goes on, and the handle stays usable.

    Attributes:
        execution_id: the run.
        last_status: the last status seen, or None if no look has succeeded.
        snapshot: the last `Execution` document seen, or None.
        waited: seconds this wait took.
        node: the `NodeRun` it stood at, or None; `node.attempts` of `node.max_attempts` tries.
        node_age: seconds since a look first saw it there, or None; documents don't tell more.
        completion_percentage: 0 to 100 as last seen, or None.
        look_age: seconds since the last look that succeeded, or None if none has.
        failed_looks: looks that have failed since then.
        last_error: what the last of them failed with, or None.
        reattach: the line of code that waits for it again, in any process.
    """

    def __init__(
        self,
        message: str,
        *,
        execution_id: str | None = None,
        last_status: ExecutionStatus | None = None,
        snapshot: Execution | None = None,
        waited: float = 0.0,
        node: NodeRun | None = None,
        node_age: float | None = None,
        completion_percentage: float | None = None,
        look_age: float | None = None,
        failed_looks: int = 0,
        last_error: str | None = None,
        reattach: str | None = None,
    ) -> None:
        super().__init__(message)
        self.execution_id = execution_id
        self.last_status = last_status
        self.snapshot = snapshot
        self.waited = waited
        self.node = node
        self.node_age = node_age
        self.completion_percentage = completion_percentage
        self.look_age = look_age
        self.failed_looks = failed_looks
        self.last_error = last_error
        self.reattach = reattach


_ERRORS: dict[ExecutionStatus, type[ExecutionError]] = {
    ExecutionStatus.ERRORED: ExecutionFailedError,
    ExecutionStatus.STOPPED: ExecutionStoppedError,
    ExecutionStatus.TIMED_OUT: ExecutionTimedOutError,
    ExecutionStatus.TERMINATED: ExecutionTerminatedError,
}
