"""A run and its nodes, as the service documents them. Unknown fields and values are kept."""

import math
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

import attrs

from refold_async._errors import clip
from refold_async._value import Value


class ExecutionStatus(StrEnum):
    """Where a run stands.

    A status nobody has heard of is kept as it is; it is neither terminal nor a success.

    See: "Get Execution", "List Executions", and the changelog for QUEUED and TERMINATED.
    """

    QUEUED = "QUEUED"
    """Accepted, and not begun."""
    RUNNING = "RUNNING"
    """Under way."""
    WAITING = "WAITING"
    """Under way, and waiting for somebody's answer."""
    STOPPING = "STOPPING"
    """Somebody asked for it to stop, and it has not yet."""
    COMPLETED = "COMPLETED"
    """Over, and it reached its end; its Response node may have set an error status."""
    ERRORED = "ERRORED"
    """Over, since a node failed."""
    STOPPED = "STOPPED"
    """Over, since somebody stopped it."""
    TIMED_OUT = "TIMED_OUT"
    """Over, since it took longer than the service allows."""
    TERMINATED = "TERMINATED"
    """Over, since the service ended it."""

    @classmethod
    def _missing_(cls, value: object) -> Self:
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

_FAILED = frozenset({"errored", "timed_out", "rejected"})
_ENDED_OTHERWISE = frozenset({"success", "errored_and_skipped", "stopped"})
_LABEL = 80
"""Characters of a name or a status that reach a line."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class NodeRun(Value):
    """One node of a run.

    Attributes:
        node_id: the node's id in the workflow.
        name: what the workflow's author called it.
        type: the node's type, as the service names it.
        status: Success, Ready, Errored, Waiting, Stopped, Rejected, Errored_and_Skipped, Timed_Out,
            or a word this SDK has not heard of.
        attempts: how often the node was tried.
        max_attempts: how often it may be tried.
        duration: seconds it took, so far if it is not over, or None.
        output: the latest output, without what the service may show it in (`raw` has that).
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
        return self._word in _FAILED

    @property
    def ended(self) -> bool:
        """Whether the node is over, well or badly; one that failed may be tried again."""
        return self._word in _FAILED | _ENDED_OTHERWISE

    @property
    def begun(self) -> bool:
        """Whether the node was tried at all, as far as the document tells."""
        if self.attempts is None:
            return self._word == "ready" or self._has_run
        return self.attempts > 0 or self._has_run

    @property
    def _has_run(self) -> bool:
        # A node is stopped before it began, too.
        return self.ended and self._word != "stopped"

    @property
    def _word(self) -> str:
        return (self.status or "").casefold()

    def describe(self) -> str:
        """Say in one line which node it is and how far: `node 'Work' (Ready, 2 of 5 tries)`."""
        name = self.name or self.node_id
        words = "a node without a name" if name is None else f"node '{clip(name, _LABEL)}'"
        known = [clip(self.status, _LABEL)] if self.status else []
        if self.attempts is not None and self.max_attempts is not None:
            known.append(f"{self.attempts} of {self.max_attempts} tries")
        elif self.attempts is not None:
            known.append("1 try" if self.attempts == 1 else f"{self.attempts} tries")
        if known:
            words += f" ({', '.join(known)})"
        if self.duration is not None and math.isfinite(self.duration) and self.duration > 0:
            words += f" for {self.duration:.1f} s"
        return words


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Execution(Value):
    """A run as the service documents it; `raw` is the whole document as received.

    Attributes:
        execution_id: the run's id.
        status: where it stands.
        workflow_id: the workflow it runs, if the document says.
        linked_account_id: for whom it runs.
        config_id: with which configuration.
        created_at: when the service made it (aware, UTC).
        completed_at: when it ended: `completion_time`, or `createdAt` and
            `instance_execution_time` of a run that is over.
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
    def current_node(self) -> NodeRun | None:
        """The node a run that is not over stands at; None for one that is, and without nodes.

        It is the last node that was tried and is not over, or that failed and has tries left. If
        no node says so, the run stands before the first one that is not over.
        """
        if self.status.is_terminal:
            return None
        tried = [node for node in self.nodes if node.attempts and not node.ended]
        ready = [node for node in self.nodes if node.begun and not node.ended]
        again = [node for node in self.nodes if node.failed and _has_tries_left(node)]
        ahead = [node for node in self.nodes if not node.ended]
        # Nobody documents whether Ready is said of a node that runs or of all that may: where
        # tries are not counted, the first one is right in both cases.
        return next(iter([*tried[-1:], *ready[:1], *again[-1:], *ahead[:1]]), None)

    def describe(self) -> str:
        """Say in one line where the run stands, with what the document knows and no more.

        As `RUNNING, 40 %, at node 'Create contact' (Ready, 2 of 5 tries) for 12.3 s`.
        """
        words = clip(self.status, _LABEL)
        done = self.completion_percentage
        if done is not None and math.isfinite(done):
            words += f", {done:g} %"
        if node := self.current_node:
            words += f", at {node.describe()}"
        elif self.status.is_terminal and (node := self.failed_node):
            words += f", failed at {node.describe()}"
        return words

    @property
    def response_node(self) -> NodeRun | None:
        """The Response node, whose output is the output of the run."""
        named = (n for n in self.nodes if "response" in f"{n.type} {n.name}".casefold())
        typed = (n for n in self.nodes if "response" in (n.type or "").casefold())
        return next(typed, None) or next(named, None)


def _has_tries_left(node: NodeRun) -> bool:
    return (node.attempts or 0) < (node.max_attempts or 0)
