"""What changed between two looks: one table, and the order in which it is told."""

from __future__ import annotations

import math
from typing import Any

import pytest

from refold_async import (
    Execution,
    ExecutionEvent,
    ExecutionStatus,
    NodeErrored,
    NodeFinished,
    NodeRetried,
    NodeRun,
    NodeStarted,
    Progress,
    StatusChanged,
)
from refold_async._models.events import changes
from refold_async._protocol import read_execution

RUN = "6a314c54d4616e99e7fa5a02"


def node(status: str | None, tries: int | None = None, **fields: Any) -> NodeRun:
    """Give a node, `Work` unless it is named."""
    return NodeRun(**({"node_id": "work", "status": status, "attempts": tries} | fields))


def run(*nodes: NodeRun, status: str = "RUNNING", done: float | None = None) -> Execution:
    """Give a document."""
    return Execution(
        execution_id=RUN, status=ExecutionStatus(status), nodes=nodes, completion_percentage=done
    )


def told(before: Execution | None, after: Execution) -> list[str]:
    """Give the events in short: `started`, `retried 1>3`, `40.0>20.0`, `RUNNING>COMPLETED`."""
    return [_short(event) for event in changes(before, after)]


def _short(event: ExecutionEvent) -> str:
    match event:
        case NodeStarted():
            return "started"
        case NodeRetried(previous_attempts=before, node=retried):
            return f"retried {before}>{retried.attempts}"
        case NodeErrored():
            return "errored"
        case NodeFinished():
            return "finished"
        case Progress(previous=was, percentage=now):
            return f"{was}>{now}"
        case StatusChanged(previous=previous, status=status):
            return f"{previous}>{status}"
    raise AssertionError(event)


@pytest.mark.parametrize(
    ("was", "now", "expected"),
    [
        # The ordinary life of a node.
        pytest.param(("Waiting", 0), ("Ready", 1), ["started"], id="begins"),
        pytest.param(("Waiting", None), ("Ready", None), ["started"], id="begins-uncounted"),
        pytest.param(("Ready", 1), ("Success", 1), ["finished"], id="ends"),
        pytest.param(("Waiting", 0), ("Success", 1), ["started", "finished"], id="both"),
        pytest.param(("Waiting", None), ("Success", None), ["started", "finished"], id="uncounted"),
        pytest.param(("Ready", 1), ("Ready", 1), [], id="goes-on"),
        pytest.param(("Waiting", 0), ("Waiting", 0), [], id="waits-on"),
        pytest.param(("Success", 1), ("Success", 1), [], id="is-over"),
        pytest.param(("Ready", 1), ("Waiting", 1), [], id="waits-for-a-person"),
        # Failures and tries.
        pytest.param(("Ready", 1), ("Errored", 1), ["errored"], id="fails"),
        pytest.param(("Ready", 1), ("Timed_Out", 1), ["errored"], id="times-out"),
        pytest.param(("Ready", 1), ("Rejected", 1), ["errored"], id="is-rejected"),
        pytest.param(("Errored", 1), ("Errored", 1), [], id="stays-failed"),
        pytest.param(("Errored", 1), ("Ready", 2), ["retried 1>2"], id="again"),
        pytest.param(("Errored", 1), ("Ready", 1), ["retried 1>1"], id="again-uncounted"),
        pytest.param(("Errored", 1), ("Errored", 2), ["retried 1>2", "errored"], id="fails-again"),
        pytest.param(("Errored", 1), ("Success", 2), ["retried 1>2", "finished"], id="recovers"),
        pytest.param(
            ("Errored", None), ("Success", None), ["retried None>None", "finished"], id="recovered"
        ),
        pytest.param(("Ready", 1), ("Ready", 4), ["retried 1>4"], id="three-tries-at-once"),
        pytest.param(("Ready", 1), ("Errored", 3), ["retried 1>3", "errored"], id="last-try"),
        pytest.param(("Ready", 2), ("Success", 3), ["retried 2>3", "finished"], id="last-try-ok"),
        pytest.param(
            ("Waiting", 0), ("Ready", 3), ["started", "retried 1>3"], id="begun-and-tried-thrice"
        ),
        pytest.param(
            ("Waiting", 0), ("Errored", 3), ["started", "retried 1>3", "errored"], id="all-at-once"
        ),
        pytest.param(("Errored", 3), ("Errored_and_Skipped", 3), ["finished"], id="is-skipped"),
        pytest.param(("Errored", 1), ("Timed_Out", 1), ["errored"], id="another-failure"),
        # A loop runs a node again.
        pytest.param(("Success", 1), ("Ready", 1), ["started"], id="loop"),
        pytest.param(("Success", 1), ("Ready", 2), ["started"], id="loop-counted-on"),
        pytest.param(("Success", 1), ("Success", 2), ["started", "finished"], id="loop-unseen"),
        pytest.param(("Success", 3), ("Ready", 1), ["started"], id="loop-counts-anew"),
        pytest.param(("Ready", 3), ("Ready", 1), ["started"], id="loop-end-unseen"),
        pytest.param(("Success", 1), ("Errored", 1), ["started", "errored"], id="loop-fails"),
        pytest.param(("Success", 1), ("Waiting", 0), [], id="loop-ahead"),
        # What the service may say as well.
        pytest.param(("Waiting", 0), ("Stopped", 0), ["finished"], id="stopped-before-it-began"),
        pytest.param(("Ready", 1), ("Stopped", 1), ["finished"], id="stopped"),
        pytest.param(("Ready", 1), ("Pondering", 1), [], id="unknown-while-it-goes-on"),
        pytest.param(("Waiting", 0), ("Pondering", 1), ["started"], id="unknown-and-begun"),
        pytest.param(("Waiting", None), ("Pondering", None), [], id="unknown-and-uncounted"),
        pytest.param(("Pondering", 1), ("Success", 1), ["finished"], id="unknown-and-over"),
        pytest.param((None, None), ("SUCCESS", 1), ["started", "finished"], id="no-status-before"),
        pytest.param(("Ready", 1), (None, None), [], id="no-status-after"),
        pytest.param(("Ready", 0), ("Ready", 1), ["started"], id="ready-is-not-begun"),
    ],
)
def test_what_is_told_of_a_node(
    was: tuple[str | None, int | None], now: tuple[str | None, int | None], expected: list[str]
) -> None:
    """One node, before and after: what began and ended in between is told as both."""
    assert expected == told(run(node(*was)), run(node(*now)))


@pytest.mark.parametrize(
    ("was", "now", "expected"),
    [
        pytest.param(None, None, [], id="never"),
        pytest.param(None, 0.0, ["None>0.0"], id="first"),
        pytest.param(40.0, 40.0, [], id="same"),
        pytest.param(40.0, 60.0, ["40.0>60.0"], id="grows"),
        pytest.param(40.0, 20.0, ["40.0>20.0"], id="goes-back"),
        pytest.param(40.0, None, [], id="vanishes"),
        pytest.param(math.nan, math.nan, [], id="not-a-number"),
        pytest.param(40.0, math.nan, [], id="becomes-no-number"),
        pytest.param(math.nan, 40.0, ["None>40.0"], id="becomes-a-number"),
        pytest.param(99.0, 250.0, ["99.0>250.0"], id="beyond-all-bounds"),
    ],
)
def test_progress_is_told_as_it_is(
    was: float | None, now: float | None, expected: list[str]
) -> None:
    """Percentages may go back, and are reported as the service says them."""
    assert expected == told(run(done=was), run(done=now))


@pytest.mark.parametrize("status", ["COMPLETED", "Pondering"])
def test_status_is_told_when_it_changes(status: str) -> None:
    """A status nobody has heard of is told like any other."""
    assert told(run(), run(status=status)) == [f"RUNNING>{status}"]
    assert told(run(status=status), run(status=status)) == []


def test_first_look_tells_all_there_is() -> None:
    """A run that is picked up again tells where it stands."""
    nodes = (node("Success", 1), node("Ready", 2, node_id="next"), node("Waiting", 0, node_id="z"))
    expected = ["started", "finished", "started", "retried 1>2", "None>33.0", "None>RUNNING"]
    assert expected == told(None, run(*nodes, done=33.0))


def test_first_look_at_an_ended_run_tells_its_end() -> None:
    """It is the last thing told."""
    assert told(None, run(node("Errored", 1), status="ERRORED")) == [
        "started",
        "errored",
        "None>ERRORED",
    ]


def test_events_come_in_order() -> None:
    """Nodes as the document has them, then progress, then the status."""
    before = run(node("Ready", 1, node_id="a"), node("Waiting", 0, node_id="b"), done=10.0)
    after = run(
        node("Waiting", 0, node_id="c"),
        node("Success", 1, node_id="b"),
        node("Success", 1, node_id="a"),
        status="COMPLETED",
        done=100.0,
    )
    events = changes(before, after)
    assert [e.node.node_id for e in events[:3]] == ["b", "b", "a"]  # type: ignore[attr-defined]
    assert [type(event).__name__ for event in events[3:]] == ["Progress", "StatusChanged"]
    assert all(event.execution is after and event.execution_id == RUN for event in events)


def test_nodes_come_and_go() -> None:
    """A node that appears is told of like one that was ahead; one that is gone is not."""
    assert told(run(), run(node("Ready", 1))) == ["started"]
    assert told(run(node("Ready", 1)), run()) == []


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"node_id": None, "name": "Work"}, id="by-name"),
        pytest.param({"node_id": None, "name": None}, id="by-place"),
        pytest.param({"node_id": "", "name": ""}, id="empty"),
    ],
)
def test_node_without_an_id_is_found_again(fields: dict[str, Any]) -> None:
    """By its name, else by its place."""
    before = run(node("Success", 1, **fields), node("Ready", 1, **fields))
    after = run(node("Success", 1, **fields), node("Success", 1, **fields))
    assert told(before, after) == ["finished"]


def test_an_id_is_no_name() -> None:
    """A node called like another one's id is not that one."""
    before = run(node("Success", 1, node_id="a"))
    after = run(node("Success", 1, node_id=None, name="a"))
    assert told(before, after) == ["started", "finished"]


def test_node_listed_twice_is_two() -> None:
    """A document may list each pass of a loop."""
    before = run(node("Success", 1))
    assert told(before, run(node("Success", 1), node("Ready", 1))) == ["started"]


def test_event_repr_is_short() -> None:
    """The whole document is left out."""
    document = read_execution({"status": "RUNNING", "secret": "x" * 1000}, execution_id=RUN)
    (event,) = changes(None, document)
    assert len(repr(event)) < 120
