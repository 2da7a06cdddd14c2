"""How a large payload is sent: with its length, without a warning, and not for ever."""

from __future__ import annotations

import asyncio
import json
import socket
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import ApiError, ExecutionOutcomeUnknownError, Timeouts
from tests.support.endings import at_once, until
from tests.support.wire import ACCEPTED, STARTS, Step, Wire, http, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient
    from refold_async.emulator import Emulator
    from tests.support.clock import FakeClock

LARGE: dict[str, Any] = {"blob": "é" * 1_450_000}


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(None, id="none"),
        pytest.param({"n": "x" * 65_000}, id="just small"),
        pytest.param({"n": "x" * 70_000}, id="just large"),
        pytest.param(LARGE, id="2.9 MB"),
    ],
)
async def test_a_body_is_sent_with_its_length_and_without_a_warning(
    connect: Callable[..., RefoldClient], payload: Any
) -> None:
    """Every size arrives whole, framed by Content-Length."""
    async with wire(STARTS) as server:
        with warnings.catch_warnings(record=True) as complaints:
            warnings.simplefilter("always")
            await connect(server).execute("wf_1", slug="s", payload=payload)
    (request,) = server.seen
    assert {"payload": payload or {}} == json.loads(request.body)
    assert str(len(request.body)) == request.headers["content-length"]
    assert "transfer-encoding" not in request.headers
    assert [str(complaint.message) for complaint in complaints] == []


async def test_a_large_upload_is_run(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """2.9 MB of input reach the workflow."""
    emulator.workflow("wf_1", slug="s")(lambda payload: len(payload["blob"]))
    result = await connect(emulator).run("wf_1", slug="s", payload=LARGE)
    assert result.output == 1_450_000


async def test_a_large_upload_is_sent_whole_again(connect: Callable[..., RefoldClient]) -> None:
    """A second try starts from the first byte."""
    async with wire(Step(reply=http(429, {"message": "x"})), STARTS) as server:
        await connect(server, retry=at_once()).execute("wf_1", slug="s", payload=LARGE)
    first, second = server.seen
    assert first.body == second.body
    assert len(second.body) > 2_900_000


async def test_a_stalled_upload_ends(connect: Callable[..., RefoldClient]) -> None:
    """A server that stops reading is given up on; it may have had the whole of it."""
    async with wire(Step(read="head", end="stall")) as server:
        refold = connect(server, timeouts=Timeouts(read=0.5), retry=at_once("never"))
        async with asyncio.timeout(20):
            with pytest.raises(ExecutionOutcomeUnknownError, match="not answered in time"):
                await refold.execute("wf_1", slug="s", payload=LARGE)


async def test_a_slow_but_steady_upload_is_not_cut(
    connect: Callable[..., RefoldClient], clock: FakeClock
) -> None:
    """`Timeouts.read` counts from the last piece taken, not from the first sent."""

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        left = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while left:
            left -= len(await reader.read(65_536))
            await clock.advance(0.01)
        writer.write(ACCEPTED)
        await writer.drain()
        writer.close()

    at = socket.create_server(("127.0.0.1", 0))
    at.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    async with await asyncio.start_server(slowly, sock=at):
        server = Wire(base_url=f"http://127.0.0.1:{at.getsockname()[1]}")
        refold = connect(
            server,
            clock=clock,
            timeouts=Timeouts(read=2),
            retry=at_once("never"),
            max_payload_bytes=2**25,
        )
        began = clock.now
        # More than the buffers of the two sockets take.
        await refold.execute("wf_1", slug="s", payload={"blob": "x" * 30_000_000})
        await refold.aclose()
    assert clock.now - began > 2


async def test_an_answer_before_the_end_of_the_upload_counts(
    connect: Callable[..., RefoldClient],
) -> None:
    """A service that refuses while the body is still coming is heard."""
    early = Step(read="head", reply=http(413, {"message": "too large"}), end="stall")
    async with wire(early) as server:
        with pytest.raises(ApiError, match="too large") as caught:
            await connect(server).execute("wf_1", slug="s", payload=LARGE)
    assert (caught.value.status, len(server.seen)) == (413, 1)


@pytest.mark.parametrize("end", ["fin", "rst"])
async def test_an_upload_that_is_cut_off_is_unknown(
    connect: Callable[..., RefoldClient], end: str
) -> None:
    """A service that leaves in the middle of a body may have had enough of it."""
    async with wire(Step(read="head", end=end)) as server:
        refold = connect(server, retry=at_once("never"))
        with pytest.raises(ExecutionOutcomeUnknownError):
            await refold.execute("wf_1", slug="s", payload=LARGE)
    assert len(server.seen) == 1


async def test_closing_the_client_ends_an_upload(connect: Callable[..., RefoldClient]) -> None:
    """It was under way, so its outcome is unknown."""
    async with wire(Step(read="head", end="stall")) as server:
        refold = connect(server)
        call = asyncio.create_task(refold.execute("wf_1", slug="s", payload=LARGE))
        await until(lambda: len(server.seen) == 1)
        await refold.aclose()
        async with asyncio.timeout(20):
            with pytest.raises(ExecutionOutcomeUnknownError):
                await call


async def test_cancelling_an_upload_leaves_nothing_behind(
    connect: Callable[..., RefoldClient],
) -> None:
    """No task goes on writing, and the slot is free."""
    async with wire(Step(read="head", end="stall"), STARTS) as server:
        refold = connect(server, max_connections=1, timeouts=Timeouts(abandoned=0.1))
        call = asyncio.create_task(refold.execute("wf_1", slug="s", payload=LARGE))
        await until(lambda: len(server.seen) == 1)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        await refold.execute("wf_1", slug="s")
    assert len(server.seen) == 2
