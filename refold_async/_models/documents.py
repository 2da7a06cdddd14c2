"""What the service says, as frozen values. Unknown fields and unknown values are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from refold_async import _errors as errors
from refold_async._models.execution import Execution, ExecutionStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")

_ENDINGS: dict[ExecutionStatus, type[errors.ExecutionError]] = {
    ExecutionStatus.ERRORED: errors.ExecutionFailedError,
    ExecutionStatus.STOPPED: errors.ExecutionStoppedError,
    ExecutionStatus.TIMED_OUT: errors.ExecutionTimedOutError,
    ExecutionStatus.TERMINATED: errors.ExecutionTerminatedError,
}


class _Unread(Enum):
    """A value of its own, which survives pickling."""

    OUTPUT = "unread"


UNREAD: Any = _Unread.OUTPUT
"""The output of a run that was waited for without it."""


@attrs.frozen(kw_only=True, repr=False)
class ExecutionResult(Generic[T]):
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
        raw: the reply or document this was read from.
    """

    execution_id: str | None
    status: ExecutionStatus
    _output: T
    status_code: int | None = None
    execution: Execution | None = None
    error: Any = None
    headers: Mapping[str, Any] | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def output(self) -> T:
        """The Response node's data.

        Raises:
            RefoldError: it was not read: the run was waited for with `output=False`.
        """
        if not self.output_is_read:
            raise errors.RefoldError(
                f"the output of execution {self.execution_id} was not read, because it was waited"
                " for with output=False; `await handle.result()` reads it"
            )
        return self._output

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
            raise errors.api_error_class(self.status_code)(
                f"the Response node of execution {self.execution_id} set this status: "
                + errors.clip(self.output),
                status=self.status_code,
                body=self.output,
            )

    def raise_for_ending(self) -> None:
        """Raise the `ExecutionError` of a run that did not complete."""
        if self.status is ExecutionStatus.COMPLETED:
            return
        node = None if self.execution is None else self.execution.failed_node
        words = f"execution {self.execution_id} ended {self.status}"
        if node is not None:
            words += f" at node {errors.clip(node.name or node.node_id)!r}"
        if self.error is not None:
            words += f": {errors.clip(self.error)}"
        raise _ENDINGS.get(self.status, errors.ExecutionError)(
            words, result=self, execution_id=self.execution_id, failed_node=node
        )


@attrs.frozen(kw_only=True)
class ExecutionRef:
    """All that is needed to find a run again; picklable, without secrets.

    Attributes:
        execution_id: the run (None for a sync reply that had none).
        workflow_id: the workflow or alias it was started with, if known.
        slug: the application it was started with, if known.
        linked_account_id: for whom it runs, if known.
        instance_tag: its label, if known.
    """

    execution_id: str | None
    workflow_id: str | None = None
    slug: str | None = None
    linked_account_id: str | None = None
    instance_tag: str | None = None

    @property
    def created_at(self) -> datetime | None:
        """When the service made the run, read from its id; None if the id does not tell."""
        return None if self.execution_id is None else created_at(self.execution_id)


def created_second(execution_id: str) -> int | None:
    """Read the creation time (epoch seconds) out of a MongoDB ObjectId; None for other ids."""
    return int(execution_id[:8], 16) if _OBJECT_ID.fullmatch(execution_id) else None


def created_at(execution_id: str) -> datetime | None:
    """Give the same as a `datetime` (UTC)."""
    second = created_second(execution_id)
    if second is None:
        return None
    try:
        return datetime.fromtimestamp(second, UTC)
    except (ValueError, OverflowError, OSError):  # a platform with a 32-bit time_t
        return None


@attrs.frozen(kw_only=True)
class Workflow:
    """A workflow; `raw` is the document as received.

    See: "List Workflows", "List Enabled Workflows".
    """

    workflow_id: str
    name: str | None = None
    slug: str | None = None
    description: str | None = None
    published: bool | None = None
    config_id: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


@attrs.frozen(kw_only=True)
class RequestStructure:
    """What a workflow expects as its payload.

    Attributes:
        payload: an example payload.
        schema: its JSON Schema, or None.
        raw: the document as received.

    See: "Get Workflow Request Structure".
    """

    payload: Any = None
    schema: Mapping[str, Any] | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


@attrs.frozen(kw_only=True)
class SessionToken:
    """A session token of one linked account; the tokens don't show in its `repr`.

    Attributes:
        token: the JWT to authenticate with.
        refresh_token: the JWT to renew it with, if one came.
        expires_in: seconds the token is good for.
        refresh_expires_in: seconds the refresh token is good for.

    See: "Generate Session Token".
    """

    token: str = attrs.field(repr=False)
    refresh_token: str | None = attrs.field(default=None, repr=False)
    expires_in: float | None = None
    refresh_expires_in: float | None = None


@attrs.frozen(kw_only=True)
class Page(Generic[T]):
    """One page of a list.

    Attributes:
        items: what the page holds.
        page: its number, from 1.
        has_next: whether the service says that more follow.
        total: how many items there are on all pages, if the service says.
        raw: the answer as received.
    """

    items: tuple[T, ...]
    page: int = 1
    has_next: bool = False
    total: int | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)
