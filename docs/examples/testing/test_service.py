"""The service's tests: real HTTP to a Refold of their own, and hours that take milliseconds."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi.testclient import TestClient
from service import create_app

from refold_async import RefoldClient
from refold_async.emulator import Emulator, Fault, NodeFailed, NothingIsDueError, VirtualTime

HOUR = 3600.0
JANE = {"email": "jane@example.com"}


@pytest.fixture(autouse=True)
def workflows(refold_emulator: Emulator) -> None:
    """Refold, as this service knows it."""

    @refold_emulator.workflow("wf_contact", slug="crm", duration=2.0)
    def contact(payload: dict[str, Any]) -> Any:
        if "email" not in payload:
            raise NodeFailed(node="Work", message="a contact needs an email")
        return {"id": 1, **payload}

    refold_emulator.workflow("wf_import", slug="crm", duration=3 * HOUR)(dict)


@pytest.fixture
def service(refold_emulator: Emulator) -> Iterator[TestClient]:
    """The service in a thread of its own, as TestClient runs it."""
    with TestClient(create_app(RefoldClient(**refold_emulator.settings))) as client:
        yield client


def test_a_contact_is_created(service: TestClient, refold_emulator: Emulator) -> None:
    answer = service.post("/accounts/acme/contacts", json=JANE)

    assert (answer.status_code, answer.json()) == (201, {"id": 1, **JANE})
    refold_emulator.assert_started("wf_contact", payload=JANE)


@pytest.mark.refold(strict=True)
def test_nothing_is_left_running(service: TestClient) -> None:
    service.post("/accounts/acme/contacts", json=JANE)


def test_a_bad_contact_is_refused_with_the_reason(service: TestClient) -> None:
    answer = service.post("/accounts/acme/contacts", json={})

    assert answer.status_code == 422
    assert "needs an email" in str(answer.json())


def test_an_import_of_three_hours(service: TestClient, refold_time: VirtualTime) -> None:
    path = "/accounts/acme/imports"
    started = service.post(path, json={}).json()["id"]
    refold_time.advance_blocking(HOUR)
    half_way = service.get(f"{path}/{started}").json()
    refold_time.advance_blocking(2 * HOUR)

    assert half_way == {"status": "RUNNING", "percent": 33}
    assert service.get(f"{path}/{started}").json()["status"] == "COMPLETED"


async def test_an_import_is_awaited(refold: RefoldClient, refold_time: VirtualTime) -> None:
    before = refold_time.time()
    result = await refold.run("wf_import", slug="crm")

    assert result.ok
    assert refold_time.time() - before == pytest.approx(3 * HOUR, abs=1)


def test_who_waits_too_long_gets_an_id(service: TestClient, refold_emulator: Emulator) -> None:
    refold_emulator.workflow("wf_contact", slug="crm", duration=HOUR)(dict)
    answer = service.post("/accounts/acme/contacts", json=JANE)

    assert answer.status_code == 202
    assert answer.json() == {"id": refold_emulator.runs[0].execution_id}


def test_an_answer_is_lost(service: TestClient, refold_emulator: Emulator) -> None:
    refold_emulator.faults.script("execute", Fault(drop="after"))
    answer = service.post("/accounts/acme/contacts", json=JANE)

    assert answer.status_code == 201  # the run was found by its tag
    refold_emulator.assert_started("wf_contact", times=1)


def test_nobody_knows_whether_it_started(service: TestClient, refold_emulator: Emulator) -> None:
    refold_emulator.faults.script("execute", Fault(drop="after"))
    refold_emulator.faults.always("list_executions", Fault(status=500))
    answer = service.post("/accounts/acme/contacts", json=JANE)

    assert answer.status_code == 500
    assert refold_emulator.started(answer.json()["look_for"]) == 1


def test_a_start_is_shed(service: TestClient, refold_emulator: Emulator) -> None:
    busy = Fault(status=503, headers={"Retry-After": "10"})
    refold_emulator.faults.script("execute", busy)
    answer = service.post("/accounts/acme/contacts", json=JANE)

    assert answer.status_code == 201
    [run] = refold_emulator.assert_started("wf_contact")
    assert run.created_at - refold_emulator.requests[0].at >= 10


def test_refold_is_down(service: TestClient, refold_emulator: Emulator) -> None:
    refold_emulator.faults.always("execute", Fault(status=503))
    answer = service.post("/accounts/acme/contacts", json=JANE)

    assert answer.status_code == 503
    refold_emulator.assert_started("wf_contact", times=0)


def test_accounts_do_not_see_each_other(service: TestClient) -> None:
    started = service.post("/accounts/acme/imports", json={}).json()["id"]

    assert service.get(f"/accounts/other/imports/{started}").status_code == 404


@pytest.fixture
def public_url(refold_emulator: Emulator) -> Iterator[str]:
    """The service on a port of its own, where Refold reaches it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = create_app(RefoldClient(**refold_emulator.settings), public_url=url)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield url
        server.should_exit = True
        thread.join()


def test_a_webhook_tells(public_url: str, refold_time: VirtualTime) -> None:
    with httpx2.Client(base_url=public_url) as client:
        started = client.post("/accounts/acme/imports", json={}).json()["id"]
        refold_time.advance_blocking(3 * HOUR)

        assert client.get("/imported").json() == [started]


def test_a_forged_webhook_is_refused(service: TestClient) -> None:
    answer = service.post("/refold/webhooks/", content=b"{}", headers={"x-cobalt-signature": "0"})

    assert answer.status_code == 401
    assert service.get("/imported").json() == []


async def test_a_run_without_an_end_is_no_riddle(
    refold: RefoldClient, refold_emulator: Emulator
) -> None:
    refold_emulator.workflow("wf_approval", slug="crm", duration=None)(dict)
    with pytest.raises(NothingIsDueError, match="wf_approval"):
        await refold.run("wf_approval", slug="crm")
