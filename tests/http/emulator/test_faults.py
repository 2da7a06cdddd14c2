"""What goes wrong in the emulator goes wrong on the wire."""

import asyncio
import errno
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from refold_async.emulator import Emulator, Fault
from tests.support.endings import until

V2 = "/api/v2/public"


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator with a workflow that ends at once and one that never does."""
    async with Emulator() as emulator:
        emulator.workflow("wf", slug="hubspot")(lambda _: {"id": 1})
        emulator.workflow("wf_endless", slug="hubspot", duration=None)(dict)
        yield emulator


@pytest.fixture
async def session(emulator: Emulator) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that speaks for acct_1 with the API key."""
    headers = {"x-api-key": emulator.api_key, "linked_account_id": "acct_1", "slug": "hubspot"}
    async with aiohttp.ClientSession(emulator.base_url, headers=headers) as session:
        yield session


async def execute(
    session: aiohttp.ClientSession, workflow_id: str = "wf", **headers: str
) -> tuple[aiohttp.ClientResponse, str]:
    """Execute a workflow and read the answer as text."""
    path = f"{V2}/workflow/{workflow_id}/execute"
    async with session.post(path, json={"payload": {}}, headers=headers) as answer:
        return answer, await answer.text()


async def statuses(session: aiohttp.ClientSession, times: int) -> list[int]:
    """Execute a workflow several times."""
    return [(await execute(session))[0].status for _ in range(times)]


async def test_a_status_is_answered_in_the_services_envelope(
    emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """A fault with a status answers in place of the operation, which does not happen."""
    emulator.faults.script("execute", Fault(status=503, headers={"Retry-After": "2"}))
    answer, _ = await execute(session)
    body = await answer.json()

    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert (body["status_code"], body["http_error_type"]) == (503, "SERVICE_UNAVAILABLE")
    assert emulator.runs == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        pytest.param(401, "UNAUTHORIZED", id="401"),
        pytest.param(404, "NOT_FOUND", id="404"),
        pytest.param(418, "INTERNAL_SERVER_ERROR", id="unlisted"),
        pytest.param(599, "INTERNAL_SERVER_ERROR", id="nobodys"),
    ],
)
async def test_any_status_has_an_envelope(
    emulator: Emulator, session: aiohttp.ClientSession, status: int, kind: str
) -> None:
    """Every status can be answered, those without a name too."""
    emulator.faults.script("execute", Fault(status=status))
    answer, _ = await execute(session)

    assert (answer.status, (await answer.json())["http_error_type"]) == (status, kind)


async def test_an_operation_may_happen_and_its_answer_be_lost(
    emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """With `perform` the run is started behind the proxy's page."""
    emulator.faults.script("execute", Fault(status=502, html=True, perform=True))
    answer, text = await execute(session)

    assert (answer.status, answer.content_type) == (502, "text/html")
    assert answer.headers["Server"] == "nginx/1.22.1"
    assert "<h1>502 Bad Gateway</h1>" in text
    assert len(emulator.runs) == 1


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param("no json", "no json", id="text"),
        pytest.param(b"\xc3\xa9", "é", id="bytes"),
        pytest.param({"execution_id": 7}, '{"execution_id":7}', id="json"),
    ],
)
async def test_a_body_is_sent_as_given(
    emulator: Emulator, session: aiohttp.ClientSession, body: Any, text: str
) -> None:
    """A body without a status is a 200 that calls itself JSON."""
    emulator.faults.script("execute", Fault(body=body))
    answer, received = await execute(session)

    assert (answer.status, received) == (200, text)
    assert answer.content_type == "application/json"
    assert emulator.runs == []


@pytest.mark.parametrize(
    ("drop", "runs"), [pytest.param("before", 0, id="before"), pytest.param("after", 1, id="after")]
)
async def test_a_connection_is_reset(
    emulator: Emulator, session: aiohttp.ClientSession, drop: Any, runs: int
) -> None:
    """The peer sees a reset, whether the operation happened or not."""
    emulator.faults.script("execute", Fault(drop=drop))

    with pytest.raises(aiohttp.ClientOSError) as caught:
        await execute(session)
    assert caught.value.errno == errno.ECONNRESET
    assert len(emulator.runs) == runs


async def test_an_answer_is_cut_in_half(emulator: Emulator, session: aiohttp.ClientSession) -> None:
    """A truncated answer announces its length, and the operation has happened."""
    emulator.faults.script("execute", Fault(truncate=True))

    with pytest.raises(aiohttp.ClientPayloadError):
        await execute(session)
    assert len(emulator.runs) == 1
    assert await statuses(session, 1) == [200]


async def test_an_answer_is_slow(emulator: Emulator, session: aiohttp.ClientSession) -> None:
    """A fault of delay and headers alone only slows the true answer down and adds to it."""
    emulator.faults.script("execute", Fault(delay=0.05, headers={"x-proxy": "yes"}))
    began = time.perf_counter()
    answer, text = await execute(session)

    assert time.perf_counter() - began >= 0.045
    assert answer.headers["x-proxy"] == "yes"
    assert "Workflow execution started" in text


async def test_a_slow_answers_run_has_started(
    emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """A client that gives up on a slow answer leaves a run behind, and no held request."""
    emulator.faults.script("execute", Fault(delay=60))

    call = asyncio.create_task(execute(session))
    await until(lambda: len(emulator.runs) == 1)
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert await statuses(session, 1) == [200]


async def test_a_held_sync_run_is_answered_by_the_proxy(
    emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """A false answer does not wait for the sync run that goes on behind it."""
    emulator.faults.script("execute", Fault(status=504, html=True, perform=True))
    answer, _ = await execute(session, "wf_endless", sync_execution="true")

    assert answer.status == 504
    assert [run.sync for run in emulator.runs] == [True]


async def test_a_script_is_followed_in_order(
    emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """Scripted faults meet the next requests one by one; None lets one through."""
    emulator.faults.always("execute", Fault(status=500))
    emulator.faults.script("execute", Fault(status=429), None)
    emulator.faults.script("*", Fault(status=403))

    assert await statuses(session, 5) == [429, 200, 403, 500, 500]


async def test_a_share_meets_a_fault(emulator: Emulator, session: aiohttp.ClientSession) -> None:
    """The same seed picks the same requests."""
    emulator.faults.share("execute", Fault(status=500), share=0.5, seed=7)
    emulator.faults.share("*", Fault(status=502), share=1.0)
    first = await statuses(session, 20)
    emulator.faults.clear()
    none = await statuses(session, 3)
    emulator.faults.share("execute", Fault(status=500), share=0.5, seed=7)
    emulator.faults.share("get_execution", Fault(status=502), share=1.0)
    again = await statuses(session, 20)

    assert set(first) == {500, 502}
    assert none == [200, 200, 200]
    assert again == [500 if status == 500 else 200 for status in first]


async def test_the_first_reads_of_every_execution_fail(
    emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """The first reads of each execution meet the fault, whichever way they read it."""
    await statuses(session, 2)
    emulator.faults.first_reads(2, Fault(status=404))
    seen = []
    for run in emulator.runs:
        document = f"{V2}/execution/{run.execution_id}"
        response = f"/api/v1/execution/{run.execution_id}/response"
        for path in (document, response, document, response):
            async with session.get(path) as answer:
                seen.append(answer.status)

    assert seen == [404, 404, 200, 200] * 2


async def test_an_unknown_path_meets_faults_too(
    emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    """A fault that meets everything meets what is no operation."""
    emulator.faults.always("*", Fault(status=502, html=True))
    async with session.get("/nowhere") as answer:
        assert answer.status == 502


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"drop": "after", "status": 500}, id="dropped-with-an-answer"),
        pytest.param({"drop": "after", "truncate": True}, id="dropped-and-cut"),
        pytest.param({"drop": "before", "perform": True}, id="before-it-happened"),
    ],
)
def test_a_contradiction_is_refused(arguments: dict[str, Any]) -> None:
    """A fault that could not happen is not made."""
    with pytest.raises(ValueError, match=r"dropped"):
        Fault(**arguments)


def test_a_mistyped_operation_is_refused() -> None:
    """A fault for an operation that does not exist would wait for ever."""
    with pytest.raises(ValueError, match="no operation 'exceute'"):
        Emulator().faults.script("exceute", Fault(status=500))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(status=503, headers={"Retry-After": "2"}), "503, Retry-After: 2"),
        (Fault(html=True, perform=True), "502 as a page, performed"),
        (Fault(drop="before", delay=1.5), "reset before it happened, 1.5 s late"),
        (Fault(drop="after"), "answer lost"),
        (Fault(truncate=True), "cut in half"),
        (Fault(delay=60), "true answer, 60 s late"),
    ],
)
def test_a_fault_says_what_goes_wrong(fault: Fault, said: str) -> None:
    """In a few words, as the page and a listing show it."""
    assert str(fault) == said


def test_rules_are_listed() -> None:
    """Printed, the faults of an emulator are what a test has set."""
    faults = Emulator().faults
    faults.script("execute", Fault(status=429), None)
    faults.first_reads(2, Fault(status=404))
    faults.always("stop", Fault(status=500))
    faults.share("*", Fault(drop="after"), share=0.1)

    assert str(faults).splitlines() == [
        "next execute: 429",
        "next execute: none",
        "first 2 reads of each run: 404",
        "every stop: 500",
        "10% of *: answer lost",
    ]
