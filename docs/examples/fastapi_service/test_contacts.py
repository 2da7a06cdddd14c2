"""The service's tests: a Refold of their own for each, over HTTP, whose time is skipped."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import uvicorn
from contacts import create_app, create_contact, import_contacts

from refold_async import RefoldClient
from refold_async.emulator import Emulator, Fault, NodeFailed, VirtualTime

ACME, BELL = {"X-API-Key": "key-of-acme"}, {"X-API-Key": "key-of-bell"}
JANE = {"email": "jane@example.com"}
SOURCE = {"url": "https://example.com/contacts.csv"}


@pytest.fixture(autouse=True)
def workflows(refold_emulator: Emulator) -> None:
    """Refold, as this service knows it."""

    @refold_emulator.workflow(create_contact.workflow_id, slug=create_contact.slug, duration=2.0)
    def contact(payload: dict[str, Any]) -> Any:
        if payload["email"] == "nobody":
            raise NodeFailed(node="Work", message="the CRM knows no nobody")
        return {"id": 1, **payload}

    slow = import_contacts
    refold_emulator.workflow(slow.workflow_id, slug=slow.slug, duration=600.0)(dict)


@pytest.fixture
async def service(refold: RefoldClient) -> AsyncIterator[httpx2.AsyncClient]:
    """The service behind uvicorn, as in production, where Refold reaches it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(create_app(refold, public_url=url), log_level="warning")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        async with httpx2.AsyncClient(base_url=url, headers=ACME) as client:
            yield client
        server.should_exit = True
        await serving


async def test_a_contact_is_made_for_whoever_asks(
    service: httpx2.AsyncClient, refold_emulator: Emulator
) -> None:
    answer = await service.post("/contacts", json=JANE, headers=BELL)

    assert (answer.status_code, answer.json()) == (201, {"id": 1, **JANE})
    [run] = refold_emulator.assert_started("wf_contact", payload=JANE)
    assert run.linked_account_id == "acct_bell"


async def test_what_is_no_contact_starts_nothing(
    service: httpx2.AsyncClient, refold_emulator: Emulator
) -> None:
    assert (await service.post("/contacts", json={})).status_code == 422
    assert (await service.post("/contacts", json=JANE, headers=BELL | {"X-API-Key": "?"})).is_error
    assert refold_emulator.runs == []


async def test_a_contact_that_fails_says_why(service: httpx2.AsyncClient) -> None:
    answer = await service.post("/contacts", json={"email": "nobody"})

    assert answer.status_code == 422
    assert "knows no nobody" in answer.text


async def test_who_waits_too_long_is_told_where_to_ask(
    service: httpx2.AsyncClient, refold_emulator: Emulator
) -> None:
    refold_emulator.workflow("wf_contact", slug="demo", duration=60.0)(dict)
    answer = await service.post("/contacts", json=JANE)

    assert answer.status_code == 202  # and not a second contact, when they try again
    shown = await service.get(answer.headers["Location"])
    assert shown.json()["status"] == "RUNNING"


async def test_a_lost_answer_makes_one_contact(
    service: httpx2.AsyncClient, refold_emulator: Emulator
) -> None:
    refold_emulator.faults.script("execute", Fault(drop="after"))

    assert (await service.post("/contacts", json=JANE)).status_code == 201
    refold_emulator.assert_started("wf_contact", times=1)


async def test_nobody_is_invited_to_try_again_while_it_is_unknown(
    service: httpx2.AsyncClient, refold_emulator: Emulator
) -> None:
    refold_emulator.faults.script("execute", Fault(drop="after"))
    refold_emulator.faults.always("list_executions", Fault(status=500))
    answer = await service.post("/contacts", json=JANE)

    assert answer.status_code == 500
    assert refold_emulator.started(answer.json()["look_for"]) == 1


async def test_refold_is_down(service: httpx2.AsyncClient, refold_emulator: Emulator) -> None:
    refold_emulator.faults.always("execute", Fault(status=503))

    assert (await service.post("/contacts", json=JANE)).status_code == 503  # nothing was started


async def test_an_import_is_followed_to_its_end(service: httpx2.AsyncClient) -> None:
    started = await service.post("/imports", json=SOURCE)
    where = started.headers["Location"]
    events = (await service.get(f"{where}/events")).text.split("\n\n")
    names = [event.partition("\n")[0].removeprefix("event: ") for event in events]
    told = [json.loads(event.partition("data: ")[2]) for event in events if "data: " in event]

    assert started.status_code == 202
    assert {"StatusChanged", "Progress", "NodeStarted", "NodeFinished"} <= {*names}
    assert told[-1] == {"status": "COMPLETED", "percent": 100}
    assert (await service.get(where)).json()["percent"] == 100


@pytest.mark.parametrize("path", ["", "/events"])
async def test_customers_do_not_see_each_other(service: httpx2.AsyncClient, path: str) -> None:
    where = (await service.post("/imports", json=SOURCE)).headers["Location"]

    assert (await service.get(where + path, headers=BELL)).status_code == 404
    assert (await service.get("/runs/no:id" + path)).status_code == 404


async def test_refold_tells_of_the_end(
    service: httpx2.AsyncClient, refold_emulator: Emulator, refold_time: VirtualTime
) -> None:
    await service.post("/contacts", json=JANE)
    await refold_time.advance(1)
    [delivery] = refold_emulator.pushes.deliveries

    assert (delivery.event, delivery.status) == ("Workflow Completed", 200)


async def test_it_starts_although_webhooks_can_not_be_had(
    refold: RefoldClient, refold_emulator: Emulator
) -> None:
    refold_emulator.faults.always("list_webhooks", Fault(status=403))
    app = create_app(refold, public_url="https://service.example")
    async with app.router.lifespan_context(app):
        assert (
            await refold.for_account("acct_acme").run("wf_contact", slug="demo", payload=JANE)
        ).ok


async def test_a_caller_who_leaves_is_in_the_log(
    refold: RefoldClient, refold_emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    refold_emulator.workflow("wf_contact", slug="demo", duration=None)(dict)
    app = create_app(refold)
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
            asking = asyncio.create_task(client.post("/contacts", json=JANE, headers=ACME))
            while not refold_emulator.runs:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            asking.cancel()
            await asyncio.wait([asking])

    [run] = refold_emulator.runs  # it goes on
    assert f"nobody waited for ExecutionRef(execution_id={run.execution_id!r}" in caplog.text
