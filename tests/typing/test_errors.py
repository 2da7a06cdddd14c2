"""What errors carry is typed: mypy reads this module, and it runs as well."""

from __future__ import annotations

from typing import Any, assert_type

from refold_async import (
    Execution,
    ExecutionError,
    ExecutionFailedError,
    ExecutionResult,
    ExecutionStatus,
    NodeRun,
    RefoldError,
    WaitTimeoutError,
)


def test_bad_ending_is_typed() -> None:
    """The node, the result and its document need no cast."""
    ended = ExecutionResult[Any](execution_id="e1", status=ExecutionStatus.ERRORED, output=None)
    error = ExecutionFailedError("ended badly", result=ended)
    assert_type(error.failed_node, NodeRun | None)
    assert_type(error.result, ExecutionResult[Any])
    assert_type(error.execution_id, str | None)
    assert isinstance(error, ExecutionError)


def test_end_of_a_wait_is_typed() -> None:
    """The last document and status need no cast."""
    error = WaitTimeoutError("waited", last_status=ExecutionStatus.RUNNING)
    assert_type(error.last_status, ExecutionStatus | None)
    assert_type(error.snapshot, Execution | None)
    assert_type(error.node, NodeRun | None)
    assert error.last_status is ExecutionStatus.RUNNING


def test_context_is_typed() -> None:
    """Whoever logs an error knows what is there without asking for its class."""
    error = RefoldError("lost").about(operation="stop")
    assert_type(error, RefoldError)
    assert_type(error.operation, str | None)
    assert_type(error.linked_account_id, str | None)
    assert_type(error.advice, str | None)
    assert error.operation == "stop"
