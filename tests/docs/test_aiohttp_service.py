"""The service of the page about aiohttp, over HTTP, with a Refold whose time is skipped."""

from __future__ import annotations

import asyncio
import json
import runpy
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer, unused_port

from refold_async.emulator import Emulator, Fault, NodeFailed
from tests.docs.conftest import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from refold_async import RefoldClient
    from refold_async.emulator import VirtualTime

    Service = TestClient[web.Request, web.Application]

ACME, BELL = {"X-API-Key": "key-of-acme"}, {"X-API-Key": "key-of-bell"}
JANE = {"email": "jane@example.com"}


@pytest.fixture(autouse=True)
def _workflows(refold_emulator: Emulator) -> None:
    """Refold, as this service knows it."""

    @refold_emulator.workflow("wf_contact", slug="demo", duration=2.0)
    def contact(payload: dict[str, Any]) -> Any:
        if "email" not in payload:
            raise NodeFailed(node="Work", message="a contact needs an email")
        return {"id": 1, **payload}

    refold_emulator.workflow("wf_slow", slug="demo", duration=600.0)(dict)


@pytest.fixture
async def service(refold: RefoldClient, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    """The example, where Refold reaches it."""
    port = unused_port()
    monkeypatch.setenv("PUBLIC_URL", f"http://127.0.0.1:{port}")
    app = runpy.run_path(str(EXAMPLES / "aiohttp_service.py"))["make_app"](refold)
    async with TestClient(TestServer(app, port=port), headers=ACME) as client:
        yield client


async def test_a_contact_is_made_for_whoever_asks(
    service: Service, refold_emulator: Emulator, refold_time: VirtualTime
) -> None:
    """It is made for their account, and Refold tells the service of the end."""
    answer = await service.post("/contacts", json=JANE, headers=BELL)
    assert (answer.status, await answer.json()) == (201, {"id": 1, **JANE})
    [run] = refold_emulator.assert_started("wf_contact", payload=JANE)
    assert run.linked_account_id == "acct_bell"

    await refold_time.advance(1)
    [delivery] = refold_emulator.pushes.deliveries
    assert (delivery.event, delivery.status) == ("Workflow Completed", 200)


async def test_what_went_wrong_has_its_answer(service: Service, refold_emulator: Emulator) -> None:
    """Only where nothing was started is the customer invited to try again."""
    assert (await service.post("/contacts", data="no JSON")).status == 422
    assert (await service.post("/contacts", json=JANE, headers={"X-API-Key": "?"})).status == 401
    assert refold_emulator.runs == []
    assert (await service.post("/contacts", json={})).status == 422

    refold_emulator.faults.always("list_executions", Fault(status=500))
    refold_emulator.faults.script("execute", Fault(drop="after"))
    answer = await service.post("/contacts", json=JANE)
    assert answer.status == 500
    assert refold_emulator.started((await answer.json())["look_for"]) == 1

    refold_emulator.faults.always("execute", Fault(status=503))
    assert (await service.post("/contacts", json=JANE)).status == 503


async def test_who_waits_too_long_is_told_where_to_ask(
    service: Service, refold_emulator: Emulator
) -> None:
    """The run goes on, and only its customer sees it."""
    refold_emulator.workflow("wf_contact", slug="demo", duration=60.0)(dict)
    answer = await service.post("/contacts", json=JANE)
    assert answer.status == 202

    where = answer.headers["Location"]
    assert (await (await service.get(where)).json())["status"] == "RUNNING"
    for path in (where, f"{where}/events"):
        assert (await service.get(path, headers=BELL)).status == 404


async def test_an_import_is_followed_to_its_end(service: Service) -> None:
    """Its events come one by one, the last one with the status that ends it."""
    where = (await service.post("/imports", json={})).headers["Location"]
    events = (await (await service.get(f"{where}/events")).text()).strip().split("\n\n")
    assert events[0].startswith("event: NodeStarted\ndata: ")
    assert json.loads(events[-1].removeprefix("event: StatusChanged\ndata: ")) == {
        "status": "COMPLETED",
        "percent": 100,
    }


async def test_who_hangs_up_leaves_an_orphan(
    service: Service, refold: RefoldClient, refold_emulator: Emulator, caplog: Any
) -> None:
    """The handler is cancelled, the run goes on, and the log names it when the service ends."""
    refold_emulator.workflow("wf_contact", slug="demo", duration=None)(dict)
    asking = asyncio.create_task(service.post("/contacts", json=JANE))
    async with asyncio.timeout(30):
        while not refold_emulator.runs:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        asking.cancel()
        while not refold.orphans:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    await service.close()
    assert f"execution_id={refold_emulator.runs[0].execution_id!r}" in caplog.text
