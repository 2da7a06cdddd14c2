"""A raw asyncio server: answers with scripted bytes, or breaks the connection in a chosen way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterator

RUN = "6a314c54d4616e99e7fa5a02"
_LIST = "/api/v2/public/execution?"
_NO_RUNS = {"docs": [], "totalDocs": 0, "hasNextPage": False, "page": 1}


@attrs.frozen(kw_only=True)
class Step:
    """What happens to one request.

    Attributes:
        reply: bytes to send.
        end: `keep` the connection, `fin`, `rst`, `stall` until the client leaves, or `quit`: FIN,
            and nobody listens any more.
        read: read the request before (`all`), or only its `head`: the body is then left unread.
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


@attrs.define(eq=False, repr=False)
class Wire:
    """The server: `script` what happens next, look at `seen` afterwards.

    Lists of executions are answered with an empty page, beside the script, and kept in `listed`.
    A `deaf` server takes connections and never answers, whatever is said to it.
    """

    base_url: str = ""
    deaf: bool = False
    seen: list[Seen] = attrs.field(factory=list)
    listed: list[Seen] = attrs.field(factory=list)
    connections: int = 0
    open_now: int = 0
    quit: Callable[[], None] = attrs.field(default=lambda: None)
    _steps: list[Step] = attrs.field(factory=list)
    _last: Step = attrs.field(factory=Step)
    _writers: set[asyncio.StreamWriter] = attrs.field(factory=set)
    _over: asyncio.Event = attrs.field(factory=asyncio.Event)

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
        self.open_now += 1
        self._writers.add(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                if self.deaf:
                    await _until_left(reader)
                while await self._one(reader, writer):
                    pass
        finally:
            self.open_now -= 1
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        seen = _parse(await reader.readuntil(b"\r\n\r\n"))
        if seen.method == "GET" and _LIST in seen.target:
            self.listed.append(seen)
            writer.write(http(body=_NO_RUNS))
            return True
        step = self._next()
        if step.read == "all":
            length = int(seen.headers.get("content-length", "0"))
            seen = attrs.evolve(seen, body=await reader.readexactly(length))
        self.seen.append(seen)
        if step.end == "quit":
            self.quit()
        if step.delay:
            await self._nap(step.delay)
        for piece in (
            [step.reply[i : i + 1] for i in range(len(step.reply))] if step.drip else [step.reply]
        ):
            writer.write(piece)
            await writer.drain()
            if step.drip:
                await self._nap(step.drip)
        if step.end == "stall" and step.read == "all":
            await _until_left(reader)
        elif step.end == "stall":
            await self._over.wait()
        if step.end == "rst":
            reset(writer)
        return step.end == "keep"

    async def _nap(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    def abort(self) -> None:
        """Cut every open connection."""
        for writer in self._writers:
            writer.transport.abort()

    def say(self, reply: bytes) -> None:
        """Answer on every open connection, although nobody asked."""
        for writer in self._writers:
            writer.write(reply)

    async def end(self) -> None:
        """Cut every connection, and let what stalls or naps go."""
        self._over.set()
        self.abort()
        while self.open_now:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0)


async def _until_left(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


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


ACCEPTED = http(body={"message": "Workflow execution started", "execution_id": RUN})
"""The documented acknowledgement."""
STARTS = Step(reply=ACCEPTED)
"""The service starts the run and says so."""


@contextlib.asynccontextmanager
async def wire(
    *steps: Step,
    deaf: bool = False,
    tls: ssl.SSLContext | None = None,
    at: socket.socket | None = None,
) -> AsyncIterator[Wire]:
    """Run the server on a free port of loopback, or on a socket that is bound already."""
    server_side = Wire(deaf=deaf)
    server_side.script(*steps)
    if at is None:
        at = socket.create_server(("127.0.0.1", 0))
    at.setsockopt(
        socket.SOL_SOCKET, socket.SO_RCVBUF, 65536
    )  # what is not read holds the sender up
    server = await asyncio.start_server(server_side.serve, sock=at, ssl=tls)
    server_side.quit = server.close
    server_side.base_url = f"http{'s' if tls else ''}://127.0.0.1:{at.getsockname()[1]}"
    try:
        yield server_side
    finally:
        server.close()
        await server_side.end()


@contextlib.contextmanager
def refusing_port() -> Iterator[socket.socket]:
    """Hold a port of loopback that refuses connections for as long as nobody listens on it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


@contextlib.contextmanager
def full_port() -> Iterator[socket.socket]:
    """Hold a port of loopback whose queue is full: connections to it never stand."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        yield listener
