"""A service that means no good: no key shows, bounds are kept, and there is a report."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from refold_async.emulator import Behaviour, Emulator
from refold_async.probe import ProbeReport, Target, Work, probe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Speak = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]

KEY = "tk_a_key_of_some_length"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n"


@asynccontextmanager
async def serving(speak: Speak) -> AsyncIterator[str]:
    """Run a server that says what it likes to each request; give its address."""
    speaking: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        speaking.add(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                body = await reader.readexactly(int(length[1])) if length else b""
                await speak(head + body, writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in speaking:
            if task is not None and not task.done():
                task.cancel()


async def probed(url: str, **work: Any) -> ProbeReport:
    """Probe it; the report has to be usable, whatever came."""
    target = Target(base_url=url, api_key=KEY, account="acct_1")
    async with asyncio.timeout(30):
        report = await probe(target, Work(workflow_id="wf", slug="s", idle=0.2, **work))
    whys = [each.because for each in report.findings]
    assert KEY not in f"{report!r}{whys}{report.stopped}{report.settings}"
    assert max(map(len, [*whys, report.stopped or ""])) < 1_000
    names: dict[str, Any] = {"Behaviour": Behaviour}
    exec(report.settings.splitlines()[-1], names)  # noqa: S102 - our own
    assert isinstance(names["behaviour"], Behaviour)
    return report


ECHOED = f"x-api-key {KEY}\r\n\r\n".encode()
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ECHOES = {
    "chunk": CHUNKED + ECHOED,
    "header": b"HTTP/1.1 200 OK\r\n" + ECHOED,
    "long": CHUNKED + b"x" * 30_000 + ECHOED,
    "rate": OK + f"X-RateLimit-For: {KEY}\r\n\r\n".encode() + b'{"docs":[]}',
    "after": f"HTTP/1.1 429 No\r\nRetry-After: {KEY}\r\nContent-Length: 0\r\n\r\n".encode(),
}


@pytest.mark.parametrize("echo", ECHOES)
async def test_what_is_thrown_back_shows_no_key(echo: str) -> None:
    """In a broken reply, or in a header that is told of."""

    async def speak(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(ECHOES[echo])
        writer.write_eof()

    async with serving(speak) as url:
        await probed(url, max_requests=4)


async def test_each_request_that_is_made_is_counted() -> None:
    """None is sent again behind the probe's back, on a connection that was promised to be kept."""
    made = 0
    begun: set[asyncio.StreamWriter] = set()

    async def speak(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal made
        made += 1
        if writer in begun:
            writer.close()
            return
        begun.add(writer)
        writer.write(OK + b"Connection: keep-alive\r\n\r\n" + b'{"docs":[]}')

    async with serving(speak) as url:
        report = await probed(url, max_requests=6)
    assert made == report.requests <= 6


async def test_a_service_that_wants_no_request_for_long_gets_none() -> None:
    """Longer than anybody waits for: the probe ends, and says so."""
    made = 0

    async def speak(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal made
        made += 1
        writer.write(b"HTTP/1.1 429 No\r\nRetry-After: 86400\r\nContent-Length: 0\r\n\r\n")

    async with serving(speak) as url:
        report = await probed(url)
    assert made == report.requests == 1
    assert "86400 s" in (report.stopped or "")


@pytest.mark.parametrize(
    "kept", [b"Keep-Alive: timeout=" + b"9" * 400, b"Keep-Alive: timeout=" + b"9" * 5_000, b"drip"]
)
async def test_an_idle_connection_is_left_after_its_time(kept: bytes) -> None:
    """Whatever it announces and however it drips; the runs that were started are told."""
    async with Emulator(api_key=KEY) as emulator:
        emulator.workflow("wf", slug="s")(dict)
        port = int(emulator.base_url.rpartition(":")[2])

        async def speak(sent: bytes, writer: asyncio.StreamWriter) -> None:
            head, _, body = sent.partition(b"\r\n\r\n")
            head = re.sub(rb"(?im)^connection:.*\r\n", b"", head + b"\r\n")
            reader, through = await asyncio.open_connection("127.0.0.1", port)
            through.write(head + b"Connection: close\r\n\r\n" + body)
            answer, _, rest = (await reader.read()).partition(b"\r\n\r\n")
            through.close()
            answer = re.sub(rb"(?im)^connection:.*\r\n", b"", answer + b"\r\n")
            is_idle = sent.startswith(b"GET ") and b"/workflow?limit=1 " in sent
            line = kept + b"\r\n" if is_idle and kept != b"drip" else b""
            writer.write(answer + line + b"\r\n" + rest)
            while is_idle and kept == b"drip":
                await asyncio.sleep(0.05)
                writer.write(b" ")
                await writer.drain()

        async with serving(speak) as url:
            report = await probed(url, patience=3.0)
        assert {run.execution_id for run in emulator.runs} <= {*report.execution_ids}
        assert emulator.runs
