"""Documents of any content: what changes between them can be told, and told in full."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold_async import (
    Execution,
    ExecutionEvent,
    NodeErrored,
    NodeFinished,
    NodeRetried,
    NodeStarted,
    Progress,
    StatusChanged,
)
from refold_async._models.events import _keyed, _Phase, _phase, changes
from refold_async._protocol import read_execution
from tests.property.test_replies import JSON, OBJECT

pytestmark = pytest.mark.long

RUN = "6a314c54d4616e99e7fa5a02"
# fmt: off
NODE_STATUS = st.sampled_from([
    "Success", "Ready", "Errored", "Waiting", "Stopped", "Rejected", "Errored_and_Skipped",
    "Timed_Out", "Pondering", "", None, 7,
])
RUN_STATUS = st.sampled_from([
    "QUEUED", "RUNNING", "WAITING", "STOPPING", "COMPLETED", "ERRORED", "STOPPED", "TIMED_OUT",
    "TERMINATED", "Pondering", "", None, 7,
])
# fmt: on
NODE = st.fixed_dictionaries(
    {"node_status": NODE_STATUS},
    optional={
        "node_id": st.sampled_from(["a", "b", "c", "", None]),
        "node_name": st.sampled_from(["a", "b", "", None]),
        "attempts_made": st.integers(-1, 4) | st.none() | st.text(max_size=2),
        "maximum_attempts": st.integers(0, 4) | st.none(),
        "execution_time": st.floats() | st.integers(),
    },
)
DOCUMENT = st.fixed_dictionaries(
    {"status": RUN_STATUS},
    optional={
        "completion_percentage": st.floats(0, 100) | st.floats() | st.none(),
        "nodes": st.lists(NODE | JSON, max_size=5) | JSON,
    },
)
PHASES = {
    NodeStarted: _Phase.GOING,
    NodeRetried: _Phase.GOING,
    NodeErrored: _Phase.ERRORED,
    NodeFinished: _Phase.FINISHED,
}


def _read(document: Any) -> Execution:
    return read_execution(document, execution_id=RUN)


def _keys(run: Execution) -> dict[int, Any]:
    return {id(node): key for key, node in _keyed(run.nodes)}


@given(st.none() | DOCUMENT, DOCUMENT)
def test_replaying_the_events_gives_the_new_state(old: Any, new: Any) -> None:
    """Who saw the old document and hears the events knows what the new one says."""
    before, after = None if old is None else _read(old), _read(new)
    phases = {} if before is None else {key: _phase(node) for key, node in _keyed(before.nodes)}
    status = None if before is None else before.status
    done = None if before is None else before.completion_percentage
    keys = _keys(after)
    for event in changes(before, after):
        match event:
            case NodeStarted() | NodeRetried() | NodeErrored() | NodeFinished():
                phases[keys[id(event.node)]] = PHASES[type(event)]
            case Progress():
                done = event.percentage
            case StatusChanged():
                assert status == event.previous
                status = event.status
    assert after.status == status
    if after.completion_percentage == after.completion_percentage is not None:
        assert after.completion_percentage == done
    for key, node in _keyed(after.nodes):
        if _phase(node) is not _Phase.AHEAD:
            assert _phase(node) is phases[key]


@given(st.none() | DOCUMENT, DOCUMENT)
def test_events_come_in_order_and_once(old: Any, new: Any) -> None:
    """Nodes in the document's order, each begun before it ends; then progress, then the status."""
    before, after = None if old is None else _read(old), _read(new)
    events = changes(before, after)
    places = [_place(after, event) for event in events]
    assert sorted(places) == places
    assert len(set(places)) == len(places)
    assert all(event.execution is after for event in events)


def _place(run: Execution, event: ExecutionEvent) -> tuple[int, int]:
    match event:
        case NodeStarted(node=node):
            step = 0
        case NodeRetried(node=node):
            step = 1
        case NodeErrored(node=node) | NodeFinished(node=node):
            step = 2
        case _:
            return len(run.nodes) + isinstance(event, StatusChanged), 0
    return next(at for at, each in enumerate(run.nodes) if each is node), step


@given(DOCUMENT)
def test_nothing_has_changed_in_the_same_document(document: Any) -> None:
    """A document compared with itself tells nothing."""
    assert changes(_read(document), _read(document)) == []


@given(OBJECT | DOCUMENT)
def test_any_run_can_be_described(document: Any) -> None:
    """In one line, whatever the types of the fields."""
    run = _read(document)
    assert run.describe().isprintable()
    assert run.current_node is None or run.current_node in run.nodes
    assert all(isinstance(event, ExecutionEvent) for event in changes(None, run))
