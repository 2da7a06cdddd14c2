"""The documented examples: the emulator answers each with the same fields, of the same types."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from pytest_asyncio import fixture as async_fixture

from refold_async.emulator import Behaviour, Emulator, Event, NodeFailed, Respond
from tests.support.asking import V2, ask
from tests.support.contract import DELIVERIES, EXAMPLES, SUBSCRIBED, Example

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Documented(NamedTuple):
    """A Refold that adds nothing to the documented documents, and the ids of what is in it."""

    emulator: Emulator
    run: str
    failed: str


@async_fixture(scope="module", loop_scope="module")
async def documented() -> AsyncIterator[Documented]:
    """One emulator for all examples, with what they speak of."""
    behaviour = Behaviour(extra_fields=False, linked_accounts={"acct_1"})
    async with Emulator(behaviour=behaviour) as emulator:
        schema = {"type": "object", "properties": {"email": {"type": "string"}}}
        emulator.workflow("wf", slug="hubspot", schema=schema, batches={"Work": [{"n": 1}]})(dict)
        emulator.workflow("long", slug="hubspot", duration=None)(dict)
        emulator.workflow("draft", slug="hubspot", published=False)(dict)
        emulator.workflow("grouped", slug="hubspot", has_group_node=True)(dict)
        emulator.event(Event(name="Contact Created", starts=["wf"], slug="hubspot"))

        @emulator.workflow("responding", slug="hubspot")
        def respond(_: Any) -> Any:
            return Respond(status=422, data={"reason": "taken"})

        @emulator.workflow("failing", slug="hubspot")
        def fail(_: Any) -> Any:
            raise NodeFailed(node="Work", message="no")

        emulator.pushes.lost = 1.0
        await subscribed(emulator)
        yield Documented(emulator, await begun(emulator), await begun(emulator, "failing"))


async def begun(emulator: Emulator, workflow_id: str = "wf") -> str:
    """Start a run and give its id."""
    path = f"{V2}/workflow/{workflow_id}/execute"
    answer = await ask(emulator, "POST", path, json={"payload": {}})
    return str(answer.body["execution_id"])


async def subscribed(emulator: Emulator, events: Sequence[str] = ("Workflow Completed",)) -> str:
    """Make a webhook and give its id."""
    sent = {**SUBSCRIBED, "webhook_events": [*events]}
    return str((await ask(emulator, "POST", f"{V2}/webhook", json=sent)).body["_id"])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: f"{each.asked} {each.case}")
async def test_documented_example(documented: Documented, example: Example) -> None:
    """A documented request has the documented answer: its status, and exactly its fields."""
    emulator = documented.emulator
    ids = {"{run}": documented.run, "{failed}": documented.failed}
    asked = json.dumps([example.asked, {**example.headers}, example.sent])
    if "{long}" in asked:
        ids["{long}"] = await begun(emulator, "long")
    if "{hook}" in asked:
        ids["{hook}"] = await subscribed(emulator)
    ids["{token}"] = emulator.issue_token("acct_1")
    for place, value in ids.items():
        asked = asked.replace(place, value)
    request, headers, sent = json.loads(asked)
    method, path = request.split(" ")
    answer = await ask(emulator, method, path, headers, **({} if sent is None else {"json": sent}))

    assert (answer.status, answer.body) == (example.status, example.body)


async def test_documented_deliveries() -> None:
    """What is pushed has exactly the documented fields."""
    async with Emulator(skip_time=True) as emulator:
        emulator.pushes.retries = 0
        emulator.workflow("wf", slug="hubspot")(dict)
        emulator.workflow("long", slug="hubspot", duration=None)(dict)
        emulator.workflow("failing", slug="hubspot")(lambda _: 1 / 0)
        await subscribed(emulator, [*DELIVERIES])
        await begun(emulator)
        await begun(emulator, "failing")
        await ask(emulator, "POST", f"{V2}/execution/{await begun(emulator, 'long')}/stop")
        emulator.connection_event("Connection Created", linked_account_id="acct_1", slug="hubspot")
        await emulator.advance(1)
        told = {each.event: json.loads(each.body) for each in emulator.pushes.deliveries}

    assert told == DELIVERIES
