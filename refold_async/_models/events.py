"""What changed between two looks at a run, as typed values. Pure: no I/O and no clock."""

import math
from collections import Counter
from collections.abc import Iterator
from enum import Enum, auto

import attrs

from refold_async._checks import name_after
from refold_async._models.execution import Execution, ExecutionStatus, NodeRun
from refold_async._value import Value

_Key = tuple[str, str, int]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ExecutionEvent(Value):
    """A change that a look at a run has shown; the base of all events.

    Attributes:
        execution: the document it was seen in.

    See: "Get Execution".
    """

    execution: Execution = attrs.field(repr=False)

    @property
    def execution_id(self) -> str:
        """The run it happened in."""
        return self.execution.execution_id


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StatusChanged(ExecutionEvent):
    """The run has another status; the last event of all is the one whose status is terminal.

    Attributes:
        previous: the status before; None at the first look.
        status: the status now.
    """

    previous: ExecutionStatus | None
    status: ExecutionStatus


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Progress(ExecutionEvent):
    """The completion percentage has changed; it may go back, as a loop does.

    Attributes:
        previous: the percentage before; None if there was none.
        percentage: the percentage now, as the service says.
    """

    previous: float | None
    percentage: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class NodeStarted(ExecutionEvent):
    """A node was begun, or begun anew by a loop.

    Attributes:
        node: the node as the document shows it; it may be over already.
    """

    node: NodeRun


@attrs.frozen(kw_only=True, eq=False, repr=False)
class NodeRetried(ExecutionEvent):
    """A node was tried again, once or more often since the look before.

    Attributes:
        node: the node as the document shows it; `node.attempts` counts all tries.
        previous_attempts: the tries counted before, or None if they were not.
    """

    node: NodeRun
    previous_attempts: int | None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class NodeErrored(ExecutionEvent):
    """A node ended badly: Errored, Timed_Out or Rejected; it may be tried again.

    Attributes:
        node: the node as the document shows it; `node.output` says why.
    """

    node: NodeRun


@attrs.frozen(kw_only=True, eq=False, repr=False)
class NodeFinished(ExecutionEvent):
    """A node is over and did not fail: Success, Errored_and_Skipped or Stopped.

    Attributes:
        node: the node as the document shows it.
    """

    node: NodeRun


class _Phase(Enum):
    AHEAD = auto()  # not begun, as far as anybody can tell
    GOING = auto()
    ERRORED = auto()
    FINISHED = auto()


def changes(before: Execution | None, after: Execution) -> list[ExecutionEvent]:
    """Tell what happened between two looks at a run.

    What began and ended in between is told as both. What happened several times in between is told
    once, since documents don't say how often. A node that is gone from the document is not told of.

    Args:
        before: the document of the look before; None at the first one, which tells all there is.
        after: the document now.

    Returns:
        The events of the nodes in the document's order, then progress, then the status.
    """
    known = {} if before is None else dict(_keyed(before.nodes))
    events: list[ExecutionEvent] = []
    for key, node in _keyed(after.nodes):
        events += _of_node(known.get(key), node, after)
    was = None if before is None else _percentage(before)
    now = _percentage(after)
    if now is not None and now != was:
        events.append(Progress(execution=after, previous=was, percentage=now))
    previous = None if before is None else before.status
    if previous != after.status:
        events.append(StatusChanged(execution=after, previous=previous, status=after.status))
    return events


def _keyed(nodes: tuple[NodeRun, ...]) -> Iterator[tuple[_Key, NodeRun]]:
    """Give each node a key that finds it again: its id, else its name, and which of several."""
    seen: Counter[tuple[str, str]] = Counter()
    for node in nodes:
        key = ("id", node.node_id) if node.node_id else ("name", node.name or "")
        yield (*key, seen[key]), node
        seen[key] += 1


def _percentage(run: Execution) -> float | None:
    done = run.completion_percentage
    return None if done is None or math.isnan(done) else done


def _phase(node: NodeRun | None) -> _Phase:
    if node is None:
        return _Phase.AHEAD
    if node.ended:
        return _Phase.ERRORED if node.failed else _Phase.FINISHED
    return _Phase.GOING if node.begun else _Phase.AHEAD


def _of_node(was: NodeRun | None, node: NodeRun, run: Execution) -> Iterator[ExecutionEvent]:
    old, new = _phase(was), _phase(node)
    if new is _Phase.AHEAD:
        return
    counted = None if was is None else was.attempts
    tries = _change_of_tries(counted, node.attempts)
    ended = was is None or was.status != node.status
    if anew := _is_anew(old, new, tries):
        if node.begun:
            yield NodeStarted(execution=run, node=node)
        retried = old is _Phase.AHEAD and (node.attempts or 0) > 1
        counted = counted or 1
    else:
        retried = tries > 0 or (old is _Phase.ERRORED and _has_gone_on(new, node))
    if retried:
        yield NodeRetried(execution=run, node=node, previous_attempts=counted)
    if new is not _Phase.GOING and (ended or anew or retried):
        kind = NodeErrored if new is _Phase.ERRORED else NodeFinished
        yield kind(execution=run, node=node)


def _change_of_tries(before: int | None, now: int | None) -> int:
    """Give by how much the tries have grown, 0 where nobody counted them."""
    return 0 if before is None or now is None else now - before


def _is_anew(old: _Phase, new: _Phase, tries: int) -> bool:
    """Tell a node that was begun from one that goes on: a loop runs a finished node again."""
    if old is _Phase.AHEAD or tries < 0:
        return True
    return old is _Phase.FINISHED and (new is not _Phase.FINISHED or tries > 0)


def _has_gone_on(new: _Phase, node: NodeRun) -> bool:
    """Tell whether a node that had failed was tried since, though no try was counted."""
    return new is _Phase.GOING or (node.status or "").casefold() == "success"


name_after(
    "refold_async",
    ExecutionEvent,
    NodeErrored,
    NodeFinished,
    NodeRetried,
    NodeStarted,
    Progress,
    StatusChanged,
)
