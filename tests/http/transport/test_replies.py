"""How a reply is read: up to a limit, within a time, with bounded memory."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import ExecutionOutcomeUnknownError, Timeouts, UnexpectedReplyError
from tests.support.endings import at_once
from tests.support.wire import Step, http, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient

LIMIT = 10_000


def document(size: int) -> bytes:
    """Give the document of a run that has exactly so many bytes."""
    empty = json.dumps({"_id": "e1", "status": "RUNNING", "filler": ""}).encode()
    return empty[:-2] + b"x" * (size - len(empty)) + b'"}'


def chunked(body: bytes) -> bytes:
    """Write a reply that doesn't say how long it is."""
    pieces = [body[i : i + 1000] for i in range(0, len(body), 1000)]
    written = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + written + b"0\r\n\r\n"


def squeezed(body: bytes, encoding: str = "gzip") -> bytes:
    """Write a compressed reply."""
    packer = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    packed = packer.compress(body) + packer.flush()
    return http(200, packed, headers={"Content-Encoding": encoding})


def plain(body: bytes) -> bytes:
    """Write an ordinary reply."""
    return http(200, body)


WRITTEN = pytest.mark.parametrize(
    "write",
    [
        pytest.param(plain, id="declared"),
        pytest.param(chunked, id="chunked"),
        pytest.param(squeezed, id="gzip"),
        pytest.param(lambda body: squeezed(body, "deflate"), id="deflate"),
    ],
)


@WRITTEN
async def test_a_reply_of_exactly_the_limit_is_read(
    connect: Callable[..., RefoldClient], write: Callable[[bytes], bytes]
) -> None:
    """`max_reply_bytes` counts what is left after decompression, itself included."""
    async with wire(Step(reply=write(document(LIMIT)))) as server:
        execution = await connect(server, max_reply_bytes=LIMIT).executions.get("e1")
    assert execution.status == "RUNNING"


@WRITTEN
async def test_a_reply_beyond_the_limit_is_not_read(
    connect: Callable[..., RefoldClient], write: Callable[[bytes], bytes]
) -> None:
    """One byte more is an unexpected reply, however it was framed or packed."""
    async with wire(Step(reply=write(document(LIMIT + 1)))) as server:
        refold = connect(server, max_reply_bytes=LIMIT, retry=at_once("never"))
        with pytest.raises(UnexpectedReplyError, match="max_reply_bytes=10,000"):
            await refold.executions.get("e1")


async def test_a_connection_with_half_a_reply_is_not_used_again(
    connect: Callable[..., RefoldClient],
) -> None:
    """What was left unread must not become the next call's answer."""
    async with wire(
        Step(reply=http(200, document(500_000))), Step(reply=http(200, document(100)))
    ) as server:
        refold = connect(server, max_reply_bytes=1000)
        execution = await refold.executions.get("e1")
    assert (execution.status, server.connections) == ("RUNNING", 2)


async def test_a_gzip_bomb_takes_little_memory(connect: Callable[..., RefoldClient]) -> None:
    """A reply that unpacks to 128 MiB is given up at the limit of 1 MiB."""
    packer = zlib.compressobj(wbits=31)
    zeros = bytes(1024 * 1024)
    packed = b"".join(packer.compress(zeros) for _ in range(128)) + packer.flush()
    bomb = http(200, packed, headers={"Content-Encoding": "gzip"})
    async with wire(Step(reply=bomb)) as server:
        refold = connect(server, max_reply_bytes=len(zeros), retry=at_once("never"))
        tracemalloc.start()
        try:
            with pytest.raises(UnexpectedReplyError, match="max_reply_bytes"):
                await refold.executions.get("e1")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 16 * len(zeros)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(http(200, document(5000)), id="declared"),
        pytest.param(chunked(document(5000)), id="chunked"),
    ],
)
async def test_a_slow_drip_ends(connect: Callable[..., RefoldClient], reply: bytes) -> None:
    """`Timeouts.read` bounds the whole reply, however often a byte of it arrives."""
    async with wire(Step(reply=reply, drip=0.005)) as server:
        refold = connect(server, timeouts=Timeouts(read=0.5), retry=at_once("never"))
        async with asyncio.timeout(20):
            with pytest.raises(ExecutionOutcomeUnknownError, match="not answered in time"):
                await refold.execute("wf_1", slug="s")


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(http(200, {"execution_id": "e1"}, headers={"X": "x" * 9000}), id="header"),
        pytest.param(b"HTTP/1.1 200 " + b"O" * 9000 + b"\r\n\r\n", id="status line"),
        pytest.param(
            http(200, {"execution_id": "e1"}, headers={f"X-{n}": "x" for n in range(9000)}),
            id="headers",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", id="negative length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX\x00Y: 1\r\n\r\n", id="NUL in a header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="no chunk"),
    ],
)
async def test_a_reply_that_is_no_http_is_uncertain(
    connect: Callable[..., RefoldClient], reply: bytes
) -> None:
    """The parser's own "400" is no refusal: the request had left."""
    async with wire(Step(reply=reply, end="fin")) as server:
        refold = connect(server, retry=at_once("never"))
        with pytest.raises(ExecutionOutcomeUnknownError) as caught:
            await refold.execute("wf_1", slug="s")
    assert isinstance(caught.value.__cause__, UnexpectedReplyError)
    assert len(server.seen) == 1


async def test_hints_before_the_reply_are_skipped(connect: Callable[..., RefoldClient]) -> None:
    """An informational reply is not the answer."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    async with wire(Step(reply=hints + http(200, document(100)))) as server:
        execution = await connect(server).executions.get("e1")
    assert execution.status == "RUNNING"


@pytest.mark.parametrize(
    ("body", "remote"),
    [
        pytest.param({"message": "x" * 100_000}, "x" * 150, id="long message"),
        pytest.param("x" * 100_000, "an HTML page", id="long page"),
        pytest.param({"message": "\x1b[2J\r\nboo"}, "\\x1b[2J\\r\\nboo", id="control characters"),
    ],
)
async def test_remote_text_is_cut_and_escaped_in_messages(
    connect: Callable[..., RefoldClient], body: Any, remote: str
) -> None:
    """An error fits on a screen and can't write on it."""
    async with wire(Step(reply=http(400, body))) as server:
        with pytest.raises(Exception, match="HTTP 400") as caught:
            await connect(server).execute("wf_1", slug="s")
    assert remote in str(caught.value)
    assert len(str(caught.value)) < 1000
