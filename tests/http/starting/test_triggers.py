"""Starts by event: fired once, or it is said that nobody knows; and there is no execution id."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    ApiError,
    BadRequestError,
    ConfigError,
    ExecutionOutcomeUnknownError,
    NotFoundError,
    PayloadError,
    RefoldError,
    ServerError,
    Timeouts,
)
from refold_async.emulator import Behaviour, Emulator, Event, Fault
from tests.support.asking import V2, ask
from tests.support.endings import MODES, at_once
from tests.support.wire import Step, http, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient

    Connect = Callable[..., RefoldClient]

FIRED = Step(reply=http(body={"message": "Webhook Fired Success"}))
HTML = "<html>bad gateway</html>"
LOST = [
    pytest.param(Step(end="rst"), id="reset"),
    pytest.param(Step(reply=http(502, HTML)), id="502 page"),
    pytest.param(Step(reply=http(500, {"message": "Server Error"})), id="500"),
    pytest.param(Step(reply=http(200, HTML)), id="200 page"),
    pytest.param(Step(end="stall"), id="no answer"),
]
IMPATIENT = Timeouts(read=0.1)


async def test_an_event_is_fired(connect: Connect) -> None:
    """One request says which event of which application, and nothing comes back."""
    async with wire(FIRED) as server:
        answer: object = await connect(server).events.trigger(  # type: ignore[func-returns-value]
            "Contact Created",
            slug="hubspot",
            payload={"email": "jane@example.com"},
            config_id="eu",
            instance_tag="nightly",
            headers={"Idempotency-Key": "invoice-4711"},
        )

    (asked,) = server.seen
    assert answer is None
    assert (asked.method, asked.target) == ("POST", "/api/v2/public/event/trigger")
    assert json.loads(asked.body) == {
        "event": "Contact Created",
        "payload": {"email": "jane@example.com"},
    }
    sent = {
        "x-api-key": "tk_test",
        "linked_account_id": "acct_1",
        "slug": "hubspot",
        "config_id": "eu",
        "instance_tag": "nightly",
        "idempotency-key": "invoice-4711",
        "content-type": "application/json",
    }
    assert sent.items() <= asked.headers.items()


@MODES
@pytest.mark.parametrize("lost", LOST)
async def test_what_may_have_been_fired_is_not_fired_again(
    connect: Connect, mode: str, lost: Step
) -> None:
    """Whatever the mode: nobody could see that it was fired twice."""
    async with wire(lost) as server:
        refold = connect(server, retry=at_once(mode), timeouts=IMPATIENT)
        with pytest.raises(ExecutionOutcomeUnknownError, match='execution_source="Event"'):
            await refold.events.trigger("Contact Created")

    assert len(server.seen) == 1
    assert server.listed == []


@MODES
@pytest.mark.parametrize("lost", LOST)
async def test_an_idempotent_trigger_is_fired_until_it_is_heard(
    connect: Connect, mode: str, lost: Step
) -> None:
    """A repeat starts nothing, so a lost answer is asked for again, unless the mode is `never`."""
    failed: RefoldError | None = None
    async with wire(lost, FIRED) as server:
        refold = connect(server, retry=at_once(mode), timeouts=IMPATIENT)
        try:
            await refold.events.trigger("Contact Created", payload={"id": 1}, idempotent=True)
        except RefoldError as error:
            failed = error

    assert not isinstance(failed, ExecutionOutcomeUnknownError)
    assert (failed is None) is (mode != "never")
    assert len(server.seen) == (1 if mode == "never" else 2)
    assert len({asked.body for asked in server.seen}) == 1


@pytest.mark.parametrize("mode", ["safe", "transient"])
async def test_what_was_turned_away_is_fired_again(connect: Connect, mode: str) -> None:
    """A refusal by load fired nothing."""
    shed = {"status_code": 503, "http_error_type": "SERVICE_UNAVAILABLE", "message": "shed"}
    async with wire(
        Step(reply=http(429, {"message": "slow down"})), Step(reply=http(503, shed)), FIRED
    ) as server:
        refold = connect(server, retry=at_once(mode, patience=30))
        await refold.events.trigger("Contact Created")

    assert len(server.seen) == 3


@pytest.mark.parametrize(("status", "error"), [(404, NotFoundError), (400, BadRequestError)])
async def test_an_unknown_event_is_said_so(
    connect: Connect, status: Any, error: type[ApiError]
) -> None:
    """The error names the cause and what to look at; older pages document a 400."""
    async with Emulator(behaviour=Behaviour(unknown_event_status=status)) as emulator:
        with pytest.raises(error, match="Check the event's name") as caught:
            await connect(emulator).events.trigger("Contact Deleted", slug="hubspot")

    assert (caught.value.error_code, emulator.counts) == ("INVALID_EVENT", {"trigger_event": 1})


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        pytest.param({"event": ""}, "event", id="no-event"),
        pytest.param({"event": 7}, "event", id="event-a-number"),
        pytest.param({"event": "a\nb"}, "event", id="event-of-two-lines"),
        pytest.param({"slug": ""}, "slug", id="slug"),
        pytest.param({"config_id": "é"}, "config_id", id="config"),
        pytest.param({"instance_tag": " a"}, "instance_tag", id="tag"),
        pytest.param({"idempotent": "yes"}, "idempotent", id="idempotent"),
        pytest.param({"headers": {"X-API-Key": "tk"}}, "headers", id="key-of-ours"),
        pytest.param({"headers": {"Slug": "a"}}, "headers", id="slug-of-ours"),
        pytest.param({"headers": {"Content-Length": "1"}}, "headers", id="length"),
        pytest.param({"headers": {"Proxy-Authorization": "b"}}, "headers", id="proxys"),
        pytest.param({"headers": {"a b": "1"}}, "headers", id="no-name"),
        pytest.param({"headers": "X-Key: 1"}, "headers", id="a-line"),
        pytest.param({"headers": [("X-Key", "1")]}, "headers", id="pairs"),
        pytest.param({"headers": {"a": "1\r\nb: 2"}}, "headers", id="two-lines"),
    ],
)
async def test_wrong_arguments_are_refused_before_anything_is_sent(
    connect: Connect, arguments: dict[str, Any], field: str
) -> None:
    """The error names the argument."""
    async with wire(FIRED) as server:
        with pytest.raises(ConfigError) as caught:
            await connect(server).events.trigger(**{"event": "Contact Created", **arguments})

    assert caught.value.field == field
    assert server.seen == []


async def test_a_payload_that_cannot_be_sent_is_refused(connect: Connect) -> None:
    """It is held to what that of `execute` is."""
    async with wire(FIRED) as server:
        with pytest.raises(PayloadError):
            await connect(server).events.trigger("Contact Created", payload={"a": {1}})

    assert server.seen == []


async def test_an_event_belongs_to_an_account(connect: Connect) -> None:
    """Without a linked account there is nobody whose event it is."""
    async with wire(FIRED) as server:
        with pytest.raises(ConfigError, match="linked_account_id"):
            _ = connect(server, linked_account_id=None).events


@pytest.fixture
async def service(emulator: Emulator) -> Emulator:
    """An emulator with an event that starts two workflows, and one that starts nothing."""
    emulator.workflow("wf_1", slug="hubspot")(dict)
    emulator.workflow("wf_2", slug="hubspot", alias="second")(dict)
    emulator.workflow("draft", slug="hubspot", published=False)(dict)
    emulator.event(
        Event(
            name="Contact Created",
            starts=["wf_1", "second", "draft", "wf_none"],
            slug="hubspot",
            idempotency_header="Idempotency-Key",
        )
    )
    emulator.event(Event(name="Paid", starts=["wf_1"], idempotency_field="invoice", within=0.2))
    emulator.event(Event(name="Seen", starts=[]))
    return emulator


async def test_an_event_starts_what_waits_for_it(connect: Connect, service: Emulator) -> None:
    """The list shows what ran, and by which event."""
    refold = connect(service)
    await refold.execute("wf_1", slug="hubspot")
    await refold.events.trigger(
        "Contact Created", slug="hubspot", payload={"id": 1}, instance_tag="nightly"
    )
    await refold.events.trigger("Seen")
    by_event = [run async for run in refold.executions.list(execution_source="Event")]

    assert {run.workflow_id for run in by_event} == {"wf_1", "wf_2"}
    assert {run.raw["trigger_application_event"] for run in by_event} == {"Contact Created"}
    assert [(run.payload, run.instance_tag) for run in service.runs[1:]] == [
        ({"id": 1}, "nightly")
    ] * 2
    assert [len(fired.execution_ids) for fired in service.fired] == [2, 0]


async def test_a_repeat_starts_nothing(connect: Connect, service: Emulator) -> None:
    """The same key within its time is recorded as a duplicate; another key, or account, is not."""
    refold = connect(service)
    for key in ("a", "a", "b"):
        headers = {"Idempotency-Key": key}
        await refold.events.trigger("Contact Created", slug="hubspot", headers=headers)
    await refold.for_account("acct_2").events.trigger(
        "Contact Created", slug="hubspot", headers={"Idempotency-Key": "a"}
    )
    await refold.events.trigger("Contact Created", slug="hubspot")

    assert [fired.duplicate for fired in service.fired] == [False, True, False, False, False]
    assert len(service.runs) == 8


async def test_a_key_is_taken_from_the_payload(connect: Connect) -> None:
    """A repeat after its time is a new event."""
    clock = [1_000_000_000.0]
    async with Emulator(now=lambda: clock[-1]) as emulator:
        emulator.workflow("wf", slug="s")(dict)
        emulator.event(Event(name="Paid", starts=["wf"], idempotency_field="invoice"))
        refold = connect(emulator)
        for seconds in (0, 299, 2):
            clock.append(clock[-1] + seconds)
            await refold.events.trigger("Paid", payload={"invoice": 4711}, idempotent=True)

    assert [(fired.key, fired.duplicate) for fired in emulator.fired] == [
        ("4711", False),
        ("4711", True),
        ("4711", False),
    ]


async def test_an_answer_that_was_lost_fired_it_once(connect: Connect, service: Emulator) -> None:
    """With a key, an event that was fired behind a proxy's page is fired again, and runs once."""
    lost = Fault(status=502, html=True, perform=True)
    service.faults.script("trigger_event", lost, Fault(drop="after"))
    refold = connect(service, retry=at_once())
    await refold.events.trigger("Paid", payload={"invoice": 1}, idempotent=True)

    assert [fired.duplicate for fired in service.fired] == [False, True, True]
    assert len(service.runs) == 1


async def test_the_service_refuses_by_load(connect: Connect) -> None:
    """Events start runs, so they count in the capacity."""
    async with Emulator(behaviour=Behaviour(capacity=1.0)) as emulator:
        emulator.event(Event(name="Seen", starts=[]))
        refold = connect(emulator, retry=at_once("never"))
        await refold.events.trigger("Seen")
        with pytest.raises(ServerError):
            await refold.events.trigger("Seen")

    assert len(emulator.fired) == 1


@pytest.mark.parametrize(
    ("path", "headers", "body", "status"),
    [
        pytest.param("event/trigger", {}, {"trigger": "Contact Created"}, 200, id="trigger"),
        pytest.param("event/hubspot", {"slug": ""}, {"event": "Contact Created"}, 200, id="path"),
        pytest.param("event/slack", {}, {"event": "Contact Created"}, 404, id="other-slug"),
        pytest.param("event/trigger", {"slug": ""}, {"event": "Contact Created"}, 404, id="none"),
        pytest.param("event/trigger", {}, {"event": {"a": 1}}, 404, id="no-name"),
        pytest.param("event/trigger", {}, {"event": "Seen", "payload": [1]}, 400, id="payload"),
        pytest.param("event/trigger", {"x-api-key": "no"}, {"event": "Seen"}, 401, id="key"),
    ],
)
async def test_what_the_emulator_takes_for_an_event(
    service: Emulator, path: str, headers: dict[str, str], body: Any, status: int
) -> None:
    """The slug stands in the path or in a header, the event under either of two names."""
    answer = await ask(service, "POST", f"{V2}/{path}", headers, json=body)

    assert answer.status == status
    assert len(service.fired) == (status == 200)
