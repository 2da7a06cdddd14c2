"""The output that a delivery brings: read strictly, or not at all; its event is a hint still."""

from __future__ import annotations

import json
from typing import Any

import pytest

from refold_async import WebhookBodyError
from refold_async._protocol import MAX_EVENT_BYTES, read_event, told_output
from refold_async.webhooks import WorkflowEvent
from tests.support.deliveries import RUN, workflow_event

EVENT = json.dumps(workflow_event())
OTHER = "6a314c54d4616e99e7fa5aff"


def body_of(response: str, event: str = EVENT) -> bytes:
    """Fill the template in."""
    return f'{{"event": {event}, "workflow_response": {response}}}'.encode()


@pytest.mark.parametrize("output", [{}, {"n": 1, "ok": None}, [], [1, {"a": [True, 1.5]}]])
def test_an_object_or_a_list_is_read_as_it_is(output: Any) -> None:
    """Types and all."""
    told = told_output(body_of(json.dumps(output)))
    assert json.dumps(told) == json.dumps(output)


def twice(text: str) -> str:
    """Give an event whose end is told a second time."""
    return EVENT.removesuffix("}") + f", {text}}}"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(body_of('"text"'), id="a text"),
        pytest.param(body_of('"{\\"n\\": 1}"'), id="an object in a text"),
        pytest.param(body_of("7"), id="a number"),
        pytest.param(body_of("null"), id="null"),
        pytest.param(body_of('{"n": NaN}'), id="NaN"),
        pytest.param(body_of('{"n": -Infinity}'), id="Infinity"),
        pytest.param(body_of('{"n": 1e999}'), id="infinite"),
        pytest.param(body_of('{"n": 1, "n": 1}'), id="a name twice"),
        pytest.param(body_of('{"a": [{"n": 1, "n": 2}]}'), id="a name twice deep inside"),
        pytest.param(body_of("{}", twice('"status": "COMPLETED"')), id="a status twice"),
        pytest.param(body_of("{}", twice(f'"execution_id": "{OTHER}"')), id="two runs"),
        pytest.param(body_of('{}, "event": {}'), id="a second event"),
        pytest.param(body_of('{}, "workflow_response": {}'), id="a second output"),
        pytest.param(body_of('{}, "instance_id": "x"'), id="a third member"),
        pytest.param(body_of("{}", json.dumps(EVENT)), id="an event in a text"),
        pytest.param(body_of("{}", "null"), id="no event"),
        pytest.param(f'{{"workflow_response": {{}}, "event": {EVENT}}}'.encode(), id="order"),
        pytest.param(f'{{"event": {EVENT}}}'.encode(), id="no output"),
        pytest.param(body_of("{}") + b"{}", id="trailing text"),
        pytest.param(body_of("[" * 250 + "]" * 250), id="depth"),
        pytest.param(body_of("[" * 100_000), id="bottomless"),
        pytest.param(body_of(f'"{"x" * MAX_EVENT_BYTES}"'), id="size"),
        pytest.param(body_of("{}").replace(b"acct_1", b"acct\xff"), id="no UTF-8"),
        pytest.param(EVENT.encode(), id="the default form"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_whatever_is_in_doubt_brings_no_output(body: bytes) -> None:
    """It may be a hint; the run is read."""
    assert told_output(body) is None


def test_an_output_that_closes_the_json_brings_nothing_for_another_run() -> None:
    """Pasted without escapes, it ends the output and tells of a run that somebody else has."""
    forged = json.dumps(workflow_event(instance_id=OTHER))
    pasted = f'{{"note": "x"}}, "event": {forged}, "workflow_response": {{"note": "y"}}'
    assert told_output(body_of(pasted)) is None


@pytest.mark.parametrize(
    "response",
    ["", "undefined", "[object Object]", '{"a": "cut', '{"a": "say "hi""}', "{&quot;a&quot;: 1}"],
)
def test_an_output_that_breaks_the_json_does_not_cost_the_hint(response: str) -> None:
    """The event stands before it."""
    event = read_event(body_of(response))
    assert isinstance(event, WorkflowEvent)
    assert (event.execution_id, event.raw) == (RUN, {"event": workflow_event()})


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(body_of("", EVENT.removesuffix("}")), id="the event is broken"),
        pytest.param(f'{{"event": {EVENT}'.encode(), id="nothing follows"),
        pytest.param(f'{{"event": {EVENT}, "other": '.encode(), id="something else follows"),
        pytest.param(body_of("", '{"event": ' * 300 + "1" + "}" * 300), id="depth"),
        pytest.param(body_of("x" * MAX_EVENT_BYTES), id="size"),
    ],
)
def test_what_is_broken_otherwise_is_no_event(body: bytes) -> None:
    """Only the output may be broken, at the place where it is filled in."""
    with pytest.raises(WebhookBodyError):
        read_event(body)
