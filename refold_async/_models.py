"""What the service says, as frozen values. Unknown fields and unknown values are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from refold_async import _errors as errors

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")


class ExecutionStatus(StrEnum):
    """Where a run stands.

    A status nobody has heard of is kept as it is; it is neither terminal nor a success.

    See: "Get Execution", "List Executions", and the changelog for QUEUED and TERMINATED.
    """

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    STOPPING = "STOPPING"
    COMPLETED = "COMPLETED"
    ERRORED = "ERRORED"
    STOPPED = "STOPPED"
    TIMED_OUT = "TIMED_OUT"
    TERMINATED = "TERMINATED"

    @classmethod
    def _missing_(cls, value: object) -> ExecutionStatus:
        text = str(value)
        known = cls._value2member_map_.get(text.strip().upper().replace(" ", "_"))
        if isinstance(known, cls):
            return known
        unknown = str.__new__(cls, text)
        unknown._name_ = unknown._value_ = text
        return unknown

    @property
    def is_terminal(self) -> bool:
        """Whether the run is over."""
        return self in _TERMINAL

    def __repr__(self) -> str:
        return f"<ExecutionStatus {self.value!r}>"


_TERMINAL = frozenset(
    {
        ExecutionStatus.COMPLETED,
        ExecutionStatus.ERRORED,
        ExecutionStatus.STOPPED,
        ExecutionStatus.TIMED_OUT,
        ExecutionStatus.TERMINATED,
    }
)

_ENDINGS: dict[ExecutionStatus, type[errors.ExecutionError]] = {
    ExecutionStatus.ERRORED: errors.ExecutionFailedError,
    ExecutionStatus.STOPPED: errors.ExecutionStoppedError,
    ExecutionStatus.TIMED_OUT: errors.ExecutionTimedOutError,
    ExecutionStatus.TERMINATED: errors.ExecutionTerminatedError,
}


@attrs.frozen(kw_only=True)
class NodeRun:
    """One node of a run.

    Attributes:
        node_id: the node's id in the workflow.
        name: what the workflow's author called it.
        type: the node's type, as the service names it.
        status: Success, Ready, Errored, Waiting, Stopped, Rejected, Errored_and_Skipped, Timed_Out,
            or a word this SDK has not heard of.
        attempts: how often the node was tried.
        max_attempts: how often it may be tried.
        duration: seconds it took, or None.
        output: the latest output.
        raw: the node as received.

    See: "Get Execution".
    """

    node_id: str | None = None
    name: str | None = None
    type: str | None = None
    status: str | None = None
    attempts: int | None = None
    max_attempts: int | None = None
    duration: float | None = None
    output: Any = attrs.field(default=None, repr=False)
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    @property
    def failed(self) -> bool:
        """Whether the node ended badly and was not skipped."""
        return (self.status or "").casefold() in {"errored", "timed_out", "rejected"}


@attrs.frozen(kw_only=True)
class Execution:
    """A run as the service documents it; `raw` is the whole document as received.

    Attributes:
        execution_id: the run's id.
        status: where it stands.
        workflow_id: the workflow it runs, if the document says.
        linked_account_id: for whom it runs.
        config_id: with which configuration.
        created_at: when the service made it (aware, UTC).
        completed_at: when it ended.
        completion_percentage: 0 to 100, or None.
        nodes: its nodes in order; empty for an entry of a list.
        instance_tag: its label, if the service echoes it.
        raw: the document.

    See: "Get Execution", "List Executions".
    """

    execution_id: str
    status: ExecutionStatus
    workflow_id: str | None = None
    linked_account_id: str | None = None
    config_id: str | None = None
    created_at: datetime | None = None
    completed_at: datetime | None = None
    completion_percentage: float | None = None
    nodes: tuple[NodeRun, ...] = ()
    instance_tag: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    @property
    def failed_node(self) -> NodeRun | None:
        """The first node that ended badly."""
        return next((node for node in self.nodes if node.failed), None)

    @property
    def response_node(self) -> NodeRun | None:
        """The Response node, whose output is the output of the run."""
        named = (n for n in self.nodes if "response" in f"{n.type} {n.name}".casefold())
        typed = (n for n in self.nodes if "response" in (n.type or "").casefold())
        return next(typed, None) or next(named, None)


@attrs.frozen(kw_only=True)
class ExecutionResult(Generic[T]):
    """How a run ended.

    Attributes:
        execution_id: the run (None for a sync reply that had none).
        status: the terminal status.
        output: the Response node's data: `return_value` of a sync run, `/response` of an async one.
        status_code: the HTTP status the Response node set, if known.
        execution: the document, if it was read.
        error: `execution_error` of a sync run, or the output of the node that failed.
        headers: the sanitised request headers, with `include_headers`.
        raw: the reply or document this was read from.
    """

    execution_id: str | None
    status: ExecutionStatus
    output: T
    status_code: int | None = None
    execution: Execution | None = attrs.field(default=None, repr=False)
    error: Any = None
    headers: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

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


def created_at(execution_id: str) -> datetime | None:
    """Read the creation time (to the second) out of a MongoDB ObjectId; None for other ids."""
    if not _OBJECT_ID.fullmatch(execution_id):
        return None
    try:
        return datetime.fromtimestamp(int(execution_id[:8], 16), UTC)
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
