"""The emulator's page as HTTP: what it tells, what it does, for whom, and what it leaves alone."""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import aiohttp
import pytest

from refold_async.emulator import Behaviour, Emulator, Fault, NodeFailed
from refold_async.emulator import _page as page
from tests.support.asking import RUN, ask, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator with a workflow that never ends."""
    async with Emulator() as emulator:
        emulator.workflow("wf", slug="hubspot", duration=None)(dict)
        yield emulator


def own(emulator: Emulator) -> dict[str, str]:
    """Headers of the page itself, as a browser sends them."""
    origin = emulator.page_url.removesuffix("/_emulator/")
    return {"Origin": origin, "Sec-Fetch-Site": "same-origin"}


async def act(
    emulator: Emulator, action: str, headers: dict[str, str] | None = None, **body: Any
) -> tuple[int, Any]:
    """Do what the page does at the press of a button; give status and answer."""
    headers = own(emulator) if headers is None else headers
    url = emulator.page_url + action
    async with aiohttp.request("POST", url, headers=headers, json=body) as answer:
        return answer.status, await answer.json()


@asynccontextmanager
async def watching(emulator: Emulator, query: str = "") -> AsyncIterator[AsyncIterator[Any]]:
    """Watch what is new, frame by frame."""

    async def frames(answer: aiohttp.ClientResponse) -> AsyncIterator[Any]:
        async for line in answer.content:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])

    limit = aiohttp.ClientTimeout(total=60)
    async with (
        aiohttp.ClientSession(timeout=limit, read_bufsize=2**20) as session,
        session.get(f"{emulator.page_url}events{query}") as answer,
    ):
        assert answer.status == 200, await answer.text()
        yield frames(answer)


async def test_the_page_is_one_file_that_loads_nothing() -> None:
    """It names no other host, and its policy lets nothing in but what is written in it."""
    async with (
        Emulator(prefix="/refold") as emulator,
        aiohttp.request("GET", emulator.page_url.removesuffix("/")) as answer,
    ):
        text, policy = await answer.text(), answer.headers["Content-Security-Policy"]

    assert emulator.page_url.endswith("/refold/_emulator/")
    assert set(re.findall(r"\w+://[^\"'`$\s]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert {"default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'"} <= {
        each.strip() for each in policy.split(";")
    }
    assert "unsafe" not in policy
    assert "innerHTML" not in text


async def test_it_tells_what_is_new(emulator: Emulator) -> None:
    """The first frame has all there is, the next ones what has changed."""
    first_run = await start(emulator, {"a": 1})
    async with watching(emulator) as frames:
        first = await anext(frames)
        second_run = await start(emulator)
        told: dict[str, Any] = {}
        while "runs" not in told or second_run not in {each["id"] for each in told["runs"]}:
            told = await anext(frames)
        emulator.finish(second_run)
        emulator.faults.always("stop", Fault(status=500))
        async for frame in frames:
            told |= frame
            if told["totals"].get("COMPLETED") == 1 and told["detail"]["over"]:
                break

    assert [each["id"] for each in first["runs"]] == [first_run]
    assert first["detail"]["payload"] == '{\n  "a": 1\n}'
    assert (first["totals"]["going"], first["totals"]["requests"]) == (1, 1)
    assert [each["operation"] for each in first["requests"]] == ["execute"]
    assert "workflows" not in told, "what has not changed is not told again"
    assert told["detail"]["id"] == second_run
    assert told["rules"] == ["every stop: 500"]


async def test_a_run_is_shown_with_its_nodes_in_time() -> None:
    """Each node has when it began and ended; one that failed says why."""
    clock = [1_000_000_000.0]
    async with Emulator(now=lambda: clock[0]) as emulator:

        @emulator.workflow("wf", slug="hubspot", duration=10.0, nodes=("a", "b", "c"))
        def fail(_: dict[str, Any]) -> Any:
            raise NodeFailed(node="b", message="no such order")

        run = await start(emulator)
        seen = []
        for seconds in (2.5, 20.0):
            clock[0] = 1_000_000_000.0 + seconds
            async with watching(emulator, f"?run={run}") as frames:
                seen.append((await anext(frames))["detail"])

    going, over = seen
    assert [(each["status"], each["since"], each["until"]) for each in going["ends"]] == [
        ("Ready", 0.0, 2.5),
        ("Waiting", None, None),
        ("Waiting", None, None),
    ]
    assert [(each["status"], each["since"], each["until"]) for each in over["ends"]] == [
        ("Success", 0.0, 5.0),
        ("Errored", 5.0, 10.0),
        ("Waiting", None, None),
    ]
    assert (over["status"], over["error"], over["output"]) == ("ERRORED", "no such order", None)


async def test_a_page_is_bounded() -> None:
    """Of many runs the newest are told, all are counted; long texts are cut."""
    async with Emulator() as emulator:
        nodes: Any = ("Start", 2, "Response")  # text, as people mean it
        emulator.workflow("wf", slug="hubspot", nodes=nodes)(lambda _: {"text": "y" * 100_000})
        await start(emulator, instance_tag="x" * 1000)
        for number in range(200):
            await act(emulator, "start", workflow="wf", account="a", payload={"n": number})
        async with watching(emulator, f"?run={emulator.runs[0].execution_id}") as frames:
            told = await anext(frames)

    assert [each["number"] for each in told["runs"]] == [*range(101, 201)]
    assert told["totals"]["COMPLETED"] == 201
    assert len(told["detail"]["tag"]) < 200
    assert len(told["detail"]["output"]) < 21_000


async def test_what_is_not_recorded_is_not_listed(emulator: Emulator) -> None:
    """With recording off requests are counted, and that is all."""
    emulator.recording = False
    await start(emulator)
    async with watching(emulator) as frames:
        told = await anext(frames)

    assert told["totals"]["requests"] == 1
    assert "requests" not in told


async def test_it_is_no_request_to_the_service() -> None:
    """Nothing of the page is counted, recorded, limited or met by a fault."""
    async with Emulator(behaviour=Behaviour(rate_limit=(0.001, 1))) as emulator:
        emulator.workflow("wf", slug="hubspot")(dict)
        emulator.faults.always("*", Fault(status=500))
        async with aiohttp.request("GET", emulator.page_url) as answer:
            shown = answer.status
        async with watching(emulator) as frames:
            told = await anext(frames)
        started, _ = await act(emulator, "start", workflow="wf", account="acct_1")

    assert (shown, started) == (200, 200)
    assert (told["totals"]["requests"], emulator.counts, [*emulator.requests]) == (0, {}, [])
    assert len(emulator.runs) == 1


async def test_who_watches_holds_no_time() -> None:
    """With a page open, three hours pass while they are awaited, and no second more."""
    async with Emulator(skip_time=True) as emulator, emulator.client() as refold:
        emulator.workflow("long", slug="s", duration=3 * 3600.0)(dict)
        began = emulator.time.time()
        async with watching(emulator) as frames:
            await anext(frames)
            await refold.run("long", slug="s")
            ended = emulator.time.time()
            async for frame in frames:
                if frame.get("totals", {}).get("COMPLETED"):
                    break
            stands = emulator.time.time()

    assert ended - began == pytest.approx(3 * 3600, abs=0.01)
    assert stands == ended


async def test_the_emulator_ends_promptly_while_somebody_watches() -> None:
    """An open page does not keep it from ending, and sees it again when it is back."""
    emulator = Emulator()
    for _ in range(2):
        await emulator.start()
        async with watching(emulator) as frames:
            await anext(frames)
            began = time.perf_counter()
            await emulator.aclose()
            took = time.perf_counter() - began
            with pytest.raises(aiohttp.ClientError):
                async for _frame in frames:
                    pass
        assert took < 1


async def test_time_is_advanced() -> None:
    """A virtual one passes in the background, one advance at a time; a real one is refused."""
    async with Emulator(skip_time=True) as emulator:
        began = emulator.time.time()
        with emulator.time.hold():
            first = await act(emulator, "advance", seconds=60)
            again = await act(emulator, "advance", seconds=60)
            bad = await act(emulator, "advance", seconds="60")
        while emulator.time.time() < began + 60:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
        passed = emulator.time.time() - began
        with emulator.time.hold():
            await act(emulator, "advance", seconds=60)
            await emulator.aclose()  # does not wait for it
    async with Emulator() as emulator:
        real = await act(emulator, "advance", seconds=60)

    assert (first, passed) == ((200, {}), 60)
    assert [status for status, _ in (again, bad, real)] == [400, 400, 400]
    assert "already" in again[1]["error"]
    assert "not '60'" in bad[1]["error"]
    assert "real time" in real[1]["error"]


async def test_a_fault_is_switched_on_and_off(emulator: Emulator) -> None:
    """It comes before what a test has scripted, and `clear` ends it too."""
    emulator.faults.script("execute", Fault(status=418))
    statuses = []
    for on in (True, False):
        assert await act(emulator, "switch", name="shed", on=on, share=1.0) == (200, {})
        statuses.append((await ask(emulator, "POST", RUN, json={"payload": {}})).status)
    await act(emulator, "switch", name="shed", on=True, share=0.5)
    await act(emulator, "switch", name="held", on=True)
    async with watching(emulator) as frames:
        switches = {each["name"]: each for each in (await anext(frames))["switches"]}
    emulator.faults.clear()

    assert statuses == [503, 418]
    assert (switches["shed"]["on"], switches["shed"]["share"]) == (True, 0.5)
    assert emulator.pushes.stopped
    assert emulator.faults.switched == {}


async def test_a_run_is_ended_by_hand(emulator: Emulator) -> None:
    """One is finished, one stopped; one that is over is neither."""
    finished, stopped = await start(emulator), await start(emulator)
    answers = [
        await act(emulator, "finish", run=finished),
        await act(emulator, "stop", run=stopped),
        await act(emulator, "stop", run=finished),
        await act(emulator, "finish", run="nobody"),
    ]

    assert [status for status, _ in answers] == [200, 200, 400, 400]
    assert emulator.runs[0].ending == "COMPLETED"
    assert emulator.runs[1].stopping_since is not None


@pytest.mark.parametrize(
    ("action", "body", "said"),
    [
        pytest.param("start", {"workflow": "no", "account": "a"}, "no such workflow", id="unknown"),
        pytest.param("start", {"workflow": "wf"}, "account is text", id="no-account"),
        pytest.param("start", {"workflow": "wf", "account": "b"}, "not found", id="stranger"),
        pytest.param("start", {"workflow": "own", "account": "a"}, "does not own", id="not-owned"),
        pytest.param(
            "start", {"workflow": "wf", "account": "a", "payload": [1]}, "JSON object", id="payload"
        ),
        pytest.param(
            "start",
            {"workflow": "wf", "account": "a", "payload": {"n": "1"}},
            "n: '1' is not of type 'integer'",
            id="schema",
        ),
        pytest.param("start", {"workflow": "wf", "account": "a", "tag": 1}, "a tag", id="tag"),
        pytest.param("switch", {"name": "no", "on": True}, "no switch 'no'", id="switch"),
        pytest.param("switch", {"name": "shed", "on": 1}, "true or false", id="on"),
        pytest.param(
            "switch", {"name": "shed", "on": True, "share": "1"}, "share is one of", id="share"
        ),
    ],
)
async def test_what_cannot_be_done_is_said(action: str, body: dict[str, Any], said: str) -> None:
    """A form that is filled in wrongly gets a sentence, and nothing happens."""
    async with Emulator(behaviour=Behaviour(linked_accounts=["a", "c"])) as emulator:
        schema = {"properties": {"n": {"type": "integer"}}}
        emulator.workflow("wf", slug="hubspot", schema=schema)(dict)
        emulator.workflow("own", slug="hubspot", accounts=["c"])(dict)
        status, answer = await act(emulator, action, **body)

    assert status == 400
    assert said in answer["error"]
    assert (emulator.runs, emulator.faults.switched) == ([], {})


async def test_only_the_page_itself_asks(emulator: Emulator) -> None:
    """Another site, a name of somebody else's and a form are refused, and change nothing."""
    right = own(emulator)
    on = {"name": "down", "on": True, "share": 1.0}
    port = emulator.page_url.split(":")[2].split("/")[0]
    statuses = {}
    for name, headers in {
        "origin": {**right, "Origin": "http://evil.example"},
        "other port": {**right, "Origin": "http://127.0.0.1:1"},
        "no origin": {},
        "null": {"Origin": "null"},
        "cross-site": {**right, "Sec-Fetch-Site": "cross-site"},
        "rebound": {"Host": f"evil.example:{port}", "Origin": f"http://evil.example:{port}"},
        "no json": {**right, "Content-Type": "text/plain"},
    }.items():
        statuses[name] = (await act(emulator, "switch", headers, **on))[0]
    for name, path, headers in (
        ("rebound page", "", {"Host": "evil.example"}),
        ("rebound stream", "events", {"Host": "127.0.0.1.evil.example"}),
        ("foreign stream", "events", {"Origin": "http://evil.example"}),
        ("embedded stream", "events", {"Sec-Fetch-Site": "cross-site"}),
        ("nothing", "nothing", {}),
    ):
        url = emulator.page_url + path
        async with aiohttp.request("GET", url, headers=headers) as answer:
            statuses[name] = answer.status
    localhost = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}

    assert {name for name, status in statuses.items() if status == 403} == {
        *("origin", "other port", "no origin", "null", "cross-site", "rebound"),
        *("rebound page", "rebound stream", "foreign stream", "embedded stream"),
    }
    assert (statuses["no json"], statuses["nothing"]) == (415, 404)
    assert emulator.faults.switched == {}
    assert (await act(emulator, "switch", localhost, **on))[0] == 200


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "10.0.0.1", "::ffff:10.0.0.1"]
)
def test_this_machine_alone(address: str) -> None:
    """A page is shown to who connects over loopback, whatever the emulator listens on."""
    assert page._is_loopback(address) is not address.endswith("10.0.0.1")


def test_it_goes_on_while_a_debugger_holds_the_test(refold_emulator: Emulator) -> None:
    """The plugin's emulator answers although the thread of the test does nothing but wait."""
    with urlopen(refold_emulator.page_url, timeout=60) as answer:  # noqa: S310 - our own
        assert answer.status == 200


def test_a_page_has_an_address_that_can_be_opened() -> None:
    """One that listens on all addresses is seen on this machine's own."""
    assert Emulator(host="0.0.0.0", port=80).page_url == "http://127.0.0.1:80/_emulator/"  # noqa: S104
