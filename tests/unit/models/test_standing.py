"""Where a run stands: its current node, and the line that says it."""

from __future__ import annotations

from typing import Any

import pytest

from refold_async import Execution, ExecutionStatus, NodeRun

RUN = "6a314c54d4616e99e7fa5a02"


def node(name: str, status: str | None, tries: int | None = None, **fields: Any) -> NodeRun:
    """Give a node."""
    return NodeRun(node_id=name, status=status, attempts=tries, **fields)


def run(*nodes: NodeRun, status: str = "RUNNING", **fields: Any) -> Execution:
    """Give a document."""
    return Execution(execution_id=RUN, status=ExecutionStatus(status), nodes=nodes, **fields)


@pytest.mark.parametrize(
    ("nodes", "at"),
    [
        pytest.param([], None, id="no-nodes"),
        pytest.param([("a", "Success", 1), ("b", "Ready", 1), ("c", "Waiting", 0)], "b", id="runs"),
        pytest.param([("a", "Success"), ("b", "Ready"), ("c", "Waiting")], "b", id="uncounted"),
        pytest.param([("a", "Success", 1), ("b", "Ready", 0), ("c", "Ready", 0)], "b", id="may"),
        pytest.param([("a", "Success"), ("b", "Ready"), ("c", "Ready")], "b", id="may-uncounted"),
        pytest.param([("a", "Waiting", 1), ("b", "Waiting", 0)], "a", id="human-task"),
        pytest.param([("a", "Success"), ("b", "Waiting"), ("c", "Waiting")], "b", id="between"),
        pytest.param(
            [("loop", "Ready", 1), ("in", "Ready", 2), ("z", "Waiting", 0)], "in", id="in"
        ),
        pytest.param([("a", "Success", 1), ("b", "Pondering", 1)], "b", id="unknown-status"),
        pytest.param([("a", "Success", 1), ("b", None)], "b", id="no-status"),
        pytest.param([("a", "Errored_and_Skipped", 3), ("b", "Ready", 1)], "b", id="skipped"),
        pytest.param([("a", "Success", 1), ("b", "Success", 1)], None, id="all-over"),
        pytest.param([("a", "Errored", 3), ("b", "Waiting", 0)], "b", id="no-tries-left"),
    ],
)
def test_current_node(nodes: list[tuple[Any, ...]], at: str | None) -> None:
    """The last one that was tried and is not over, else the next."""
    current = run(*(node(*each) for each in nodes)).current_node
    assert (current and current.node_id) == at


def test_node_between_two_tries_is_the_current_one() -> None:
    """It failed, has tries left, and the run goes on."""
    failed = node("b", "Errored", 2, max_attempts=5)
    assert run(node("a", "Success", 1), failed, node("c", "Waiting", 0)).current_node is failed


@pytest.mark.parametrize("status", ["COMPLETED", "ERRORED", "STOPPED", "TIMED_OUT", "TERMINATED"])
def test_run_that_is_over_stands_nowhere(status: str) -> None:
    """Whatever its nodes say."""
    assert run(node("a", "Ready", 1), status=status).current_node is None


@pytest.mark.parametrize(
    ("execution", "line"),
    [
        pytest.param(run(), "RUNNING", id="entry-of-a-list"),
        pytest.param(run(completion_percentage=40.0), "RUNNING, 40 %", id="percentage"),
        pytest.param(run(completion_percentage=float("nan")), "RUNNING", id="no-number"),
        pytest.param(
            run(
                node("n1", "Success", 1),
                NodeRun(
                    node_id="n2",
                    name="Create contact",
                    status="Ready",
                    attempts=2,
                    max_attempts=5,
                    duration=12.345,
                ),
                completion_percentage=40.0,
            ),
            "RUNNING, 40 %, at node 'Create contact' (Ready, 2 of 5 tries) for 12.3 s",
            id="all-that-is-known",
        ),
        pytest.param(run(node("n1", None)), "RUNNING, at node 'n1'", id="id-alone"),
        pytest.param(
            run(NodeRun(status="Ready", attempts=1, duration=0.0)),
            "RUNNING, at a node without a name (Ready, 1 try)",
            id="nameless",
        ),
        pytest.param(
            run(NodeRun(name="A", attempts=3, max_attempts=None, duration=float("inf"))),
            "RUNNING, at node 'A' (3 tries)",
            id="no-maximum",
        ),
        pytest.param(
            run(NodeRun(name="A\nB\x1b[2J", status="Rea\rdy"), status="PAU\nSED"),
            "PAU\\nSED, at node 'A\\nB\\x1b[2J' (Rea\\rdy)",
            id="control-characters",
        ),
        pytest.param(
            run(NodeRun(name="A" * 99)),
            f"RUNNING, at node '{'A' * 80}... (99 characters)'",
            id="long-name",
        ),
        pytest.param(
            run(node("a", "Success", 1), node("b", "Errored", 3, max_attempts=3), status="ERRORED"),
            "ERRORED, failed at node 'b' (Errored, 3 of 3 tries)",
            id="failed",
        ),
        pytest.param(
            run(node("a", "Success", 1), status="COMPLETED", completion_percentage=100.0),
            "COMPLETED, 100 %",
            id="completed",
        ),
    ],
)
def test_run_is_described_in_a_line(execution: Execution, line: str) -> None:
    """What the document knows is said, what it doesn't is left out."""
    assert line == execution.describe()
