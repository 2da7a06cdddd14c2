"""A raw asyncio server: answers with scripted bytes, or breaks the connection in a chosen way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@attrs.frozen(kw_only=True)
class Step:
    """What happens to one request.

    Attributes:
        reply: bytes to send.
        end: `keep` the connection, `fin`, `rst`, or `stall` until the client leaves.
        read: read the request before (`all`), only its `head`, or `nothing`.
        drip: seconds between single bytes of the reply; 0 sends it at once.
        delay: seconds before the reply.
    """

    reply: bytes = b""
    end: str = "keep"
    read: str = "all"
    drip: float = 0.0
    delay: float = 0.0


@attrs.frozen(kw_only=True)
class Seen:
    """A request as it came in."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@attrs.define(eq=False)
class Wire:
    """The server: `script` what happens next, look at `seen` afterwards."""

    base_url: str = ""
    seen: list[Seen] = attrs.field(factory=list)
    connections: int = 0
    _steps: list[Step] = attrs.field(factory=list)
    _last: Step = attrs.field(factory=Step)
    _writers: set[asyncio.StreamWriter] = attrs.field(factory=set)

    def script(self, *steps: Step) -> None:
        """Let the next requests meet these steps; the last one is repeated."""
        self._steps.extend(steps)

    def _next(self) -> Step:
        if self._steps:
            self._last = self._steps.pop(0)
        return self._last

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection."""
        self.connections += 1
        self._writers.add(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._one(reader, writer):
                    pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        step = self._next()
        seen = _parse(head)
        if step.read == "all":
            length = int(seen.headers.get("content-length", "0"))
            seen = attrs.evolve(seen, body=await reader.readexactly(length))
        self.seen.append(seen)
        if step.delay:
            await asyncio.sleep(step.delay)
        for piece in (
            [step.reply[i : i + 1] for i in range(len(step.reply))] if step.drip else [step.reply]
        ):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(step.drip)
        if step.end == "stall":
            while await reader.read(65536):
                pass
        if step.end == "rst":
            reset(writer)
        return step.end == "keep"

    def abort(self) -> None:
        """Cut every open connection."""
        for writer in self._writers:
            writer.transport.abort()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _parse(head: bytes) -> Seen:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = (line.split(":", 1) for line in lines)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    return Seen(method=method, target=target, headers=headers, body=b"")


def http(
    status: int = 200,
    body: Any = None,
    *,
    headers: Mapping[str, str] | None = None,
    length: int | None = None,
) -> bytes:
    """Write a reply: bytes go out as they are, text as HTML, anything else as JSON."""
    kind = "application/json"
    if isinstance(body, str):
        kind = "text/html"
        body = body.encode()
    data: bytes = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Type": kind, "Content-Length": str(len(data) if length is None else length)}
    fields.update(headers or {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Scripted\r\n{lines}\r\n".encode("latin-1") + data


ACCEPTED = http(
    body={"message": "Workflow execution started", "execution_id": "6a314c54d4616e99e7fa5a02"}
)
"""The documented acknowledgement."""


@contextlib.asynccontextmanager
async def wire(*steps: Step) -> AsyncIterator[Wire]:
    """Run the server on a free port of loopback."""
    server_side = Wire()
    server_side.script(*steps)
    server = await asyncio.start_server(server_side.serve, "127.0.0.1", 0)
    server_side.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield server_side
    finally:
        server.close()
        server_side.abort()
        await asyncio.sleep(0)
