"""The emulator as a server: connections, records, its end, its command line."""

import asyncio
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from refold_async.emulator import Emulator, Fault, Outcome
from refold_async.emulator.__main__ import add_samples, main

RUN = "/api/v2/public/workflow/wf/execute"
ACCOUNT = {"linked_account_id": "acct_1", "slug": "hubspot"}


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator with a workflow that never ends."""
    async with Emulator() as emulator:
        emulator.workflow("wf", slug="hubspot", duration=None)(dict)
        yield emulator


def client(emulator: Emulator, **more: str) -> aiohttp.ClientSession:
    """A client with the API key."""
    headers = {"x-api-key": emulator.api_key, **ACCOUNT, **more}
    return aiohttp.ClientSession(emulator.base_url, headers=headers)


async def test_connections_are_counted(emulator: Emulator) -> None:
    """The emulator knows how many connections are open and how many there were at most."""
    emulator.faults.always("execute", Fault(delay=0.02))

    async def execute(session: aiohttp.ClientSession) -> None:
        async with session.post(RUN, json={"payload": {}}) as answer:
            await answer.read()

    async with client(emulator) as session:
        await asyncio.gather(*(execute(session) for _ in range(3)))
        held, peak = emulator.open_connections, emulator.peak_connections
    while emulator.open_connections:  # noqa: ASYNC110 - it is the server's own news
        await asyncio.sleep(0)
    emulator.reset_peak()

    assert (held, peak, emulator.peak_connections) == (3, 3, 0)


async def test_requests_are_recorded(emulator: Emulator) -> None:
    """A record says what was asked, with headers whatever their case."""
    async with client(emulator) as session:
        for body in (b'{"payload": {}}', b"{", b""):
            async with session.post(f"{RUN}?include-headers=false", data=body) as answer:
                await answer.read()
        emulator.recording = False
        async with session.get("/api/v2/public/execution") as answer:
            await answer.read()

    first = emulator.requests[0]
    assert (first.operation, first.method, first.path) == ("execute", "POST", RUN)
    assert first.query == {"include-headers": "false"}
    assert first.headers["X-API-KEY"] == emulator.api_key
    assert abs(first.at - time.time()) < 60
    assert [request.body for request in emulator.requests] == [{"payload": {}}, b"{", None]
    assert emulator.counts == {"execute": 3, "list_executions": 1}
    assert not emulator.recording


async def test_everything_may_live_under_a_prefix() -> None:
    """With a prefix the API is served below it, and nowhere else."""
    async with Emulator(prefix="/refold/") as emulator:
        paths = {}
        for path in ("/refold/api/v2/public/workflow", "/api/v2/public/workflow"):
            root = emulator.base_url.removesuffix("/refold")
            headers = {"x-api-key": emulator.api_key}
            async with aiohttp.request("GET", root + path, headers=headers) as answer:
                paths[path] = answer.status

    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/refold", emulator.base_url)
    assert list(paths.values()) == [200, 404]


async def test_it_ends_promptly_with_requests_in_flight(emulator: Emulator) -> None:
    """A held sync run, a delayed answer and an idle connection do not keep it from ending."""
    emulator.faults.script("execute", None, Fault(delay=60))
    async with client(emulator, sync_execution="true") as session:
        async with session.get("/") as answer:
            await answer.read()
        held = [asyncio.create_task(session.post(RUN, json={"payload": {}})) for _ in range(2)]
        while len(emulator.runs) < 2:  # noqa: ASYNC110 - it is the server's own news
            await asyncio.sleep(0)
        began = time.perf_counter()
        await emulator.aclose()
        took = time.perf_counter() - began
        left = [task for task in asyncio.all_tasks() if "RequestHandler" in repr(task)]
        ends = await asyncio.gather(*held, return_exceptions=True)

    assert took < 1
    assert left == []
    assert emulator.open_connections == 0
    assert all(isinstance(end, aiohttp.ClientConnectionError) for end in ends)


async def test_it_ends_promptly_with_half_a_request(emulator: Emulator) -> None:
    """A client that stops in the middle of a body does not keep it from ending."""
    port = int(emulator.base_url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST {RUN} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{".encode())
    await asyncio.sleep(0.02)
    began = time.perf_counter()
    await emulator.aclose()
    took = time.perf_counter() - began
    end = await reader.read()
    writer.close()

    assert took < 1
    assert end == b""


async def test_it_ends_promptly_with_an_answer_nobody_reads(emulator: Emulator) -> None:
    """A client that leaves a large answer on the wire does not keep it from ending."""
    emulator.faults.script("unknown", Fault(body="x" * 20_000_000))
    port = int(emulator.base_url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.05)
        held = emulator.open_connections
        began = time.perf_counter()
        await emulator.aclose()
        took = time.perf_counter() - began

    assert (held, emulator.open_connections) == (1, 0)
    assert took < 1


@pytest.mark.parametrize("turns", range(5))
async def test_a_connection_of_the_last_moment_is_closed(emulator: Emulator, turns: int) -> None:
    """Wherever the loop is with a connection that came just before the end, its client hears it."""
    port = int(emulator.base_url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as late:
        for _ in range(turns):
            await asyncio.sleep(0)
        await emulator.aclose()
        held = emulator.open_connections
        late.setblocking(False)
        async with asyncio.timeout(60):
            try:
                told = await asyncio.get_running_loop().sock_recv(late, 1)
            except ConnectionResetError:
                told = b""

    assert (told, held) == (b"", 0)


async def test_it_comes_back_where_it_was() -> None:
    """Started again, an emulator has its address and its runs; twice at once is refused."""
    emulator = Emulator()
    emulator.workflow("wf", slug="hubspot")(dict)
    urls = []
    for _ in range(2):
        async with emulator, client(emulator) as session:
            urls.append(emulator.base_url)
            with pytest.raises(RuntimeError, match="already"):
                await emulator.start()
            async with session.post(RUN, json={"payload": {}}) as answer:
                await answer.read()

    assert urls[0] == urls[1]
    assert len(emulator.runs) == 2


async def test_closing_is_repeatable() -> None:
    """Closing twice, or without a start, does nothing."""
    emulator = Emulator()
    await emulator.aclose()
    await emulator.start()
    await emulator.aclose()
    await emulator.aclose()

    assert (emulator.open_connections, Emulator().peak_connections) == (0, 0)
    Emulator().reset_peak()


async def test_the_command_serves_until_it_is_told_to_stop() -> None:
    """`python -m refold_async.emulator` says where it listens, serves, and ends with 0."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "refold_async.emulator", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    text = ""
    while "curl" not in text:
        text += (await process.stdout.readline()).decode()
    (url,) = re.findall(r"base URL +(\S+)", text)
    headers = {"x-api-key": "tk_emulator", "linked_account_id": "acct_1", "slug": "demo"}
    (page,) = re.findall(r"page +(\S+)", text)
    async with aiohttp.request("GET", page) as answer:
        shown = await answer.text()
    async with aiohttp.request(
        "POST", f"{url}{RUN.replace('/wf/', '/wf_echo/')}", headers=headers, json={"payload": {}}
    ) as answer:
        started = await answer.json()
    process.send_signal(signal.SIGTERM)
    _, errors = await process.communicate()

    assert "tk_emulator" in text
    assert "<title>Refold emulator</title>" in shown
    assert "wf_contact" in text
    assert started["message"] == "Workflow execution started"
    assert (process.returncode, errors) == (0, b"")


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_the_command_in_this_process(
    capsys: pytest.CaptureFixture[str], kind: signal.Signals
) -> None:
    """A signal ends the command, and the handlers that were there before are back."""
    before, last = signal.getsignal(kind), signal.getsignal(signal.SIGTERM)

    def send_once_it_is_expected(*_: object) -> None:
        if signal.getsignal(signal.SIGTERM) is not last:  # asyncio has SIGINT taken over before
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.kill(os.getpid(), kind)

    previous = signal.signal(signal.SIGALRM, send_once_it_is_expected)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        code = main(["--port", "0", "--rate-limit", "20/5", "--capacity", "8", "--faulty", "0.1"])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

    assert code == 0
    assert signal.getsignal(kind) is before
    assert "wf_slow" in capsys.readouterr().out


def test_a_port_in_use_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    """A taken port is a line on stderr and exit code 1, not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code = main(["--port", str(taken.getsockname()[1])])

    assert code == 1
    assert "in use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        pytest.param("--rate-limit", "often", "must be N/BURST, as 20/5, not 'often'", id="rate"),
        pytest.param("--rate-limit", "0/5", "must be N/BURST, as 20/5, not '0/5'", id="rate-0"),
        pytest.param("--capacity", "-1", "must be a number above 0, not '-1'", id="capacity"),
        pytest.param("--capacity", "nan", "must be a number above 0, not 'nan'", id="nan"),
        pytest.param("--prefix", "/a?b", "must be a path, as /refold, not '/a?b'", id="prefix"),
        pytest.param("--prefix", "/..", "must be a path, as /refold, not '/..'", id="prefix-up"),
        pytest.param("--api-key", "", "must be visible ASCII characters, not ''", id="no-key"),
        pytest.param("--api-key", "a b", "must be visible ASCII characters, not 'a b'", id="key"),
        pytest.param("--faulty", "7", "must be a share from 0 to 1, not '7'", id="faulty"),
        pytest.param("--port", "70000", "must be a port from 0 to 65535, not '70000'", id="port"),
    ],
)
def test_an_option_of_no_use_is_refused(
    capsys: pytest.CaptureFixture[str], option: str, value: str, reason: str
) -> None:
    """With the option and what it takes, before anything listens."""
    with pytest.raises(SystemExit, match="2"):
        main([f"{option}={value}"])

    assert f"argument {option}: {reason}" in capsys.readouterr().err


def test_the_samples_show_every_ending() -> None:
    """The sample workflows complete, reject and fail as their descriptions say."""
    emulator = Emulator()
    add_samples(emulator)
    endings = {}
    for workflow in emulator.workflows:
        outcome = workflow.perform({"email": "jane@example.com"})
        assert isinstance(outcome, Outcome)
        endings[workflow.workflow_id] = (outcome.status, outcome.output)

    assert endings == {
        "wf_echo": ("COMPLETED", {"email": "jane@example.com"}),
        "wf_contact": ("COMPLETED", {"id": 1, "email": "jane@example.com"}),
        "wf_slow": ("COMPLETED", {"rows": 1}),
        "wf_rejects": ("COMPLETED", {"reason": "email is taken"}),
        "wf_fails": ("ERRORED", None),
    }


def test_a_host_that_is_none_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """With its name, and without a traceback."""
    assert main(["--port", "0", "--host", "a..b"]) == 1
    assert "can't listen at a..b port 0: " in capsys.readouterr().err
