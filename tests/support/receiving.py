"""Real servers that take webhooks, on the loop of the test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from aiohttp import web

from tests.support.deliveries import KEY, sign

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from refold_async.webhooks import WebhookEvent

PATH = "/refold/webhooks"


class Told:
    """A client that notes what it is told."""

    def __init__(self, *keys: str) -> None:
        self.webhook_keys = keys or (KEY,)
        self.events: list[WebhookEvent] = []

    def notify(self, event: WebhookEvent) -> bool:
        """Note it."""
        self.events.append(event)
        return True


@asynccontextmanager
async def serving_aiohttp(handler: Any, path: str = PATH) -> AsyncIterator[int]:
    """Serve a handler at a path; give the port."""
    app = web.Application()
    app.router.add_route("*", path, handler)
    runner = web.AppRunner(app, lingering_time=0)  # for the rest of a body that was refused
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield site.port
    finally:
        await runner.cleanup()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the test."""
        yield


@asynccontextmanager
async def serving_asgi(app: Any) -> AsyncIterator[int]:
    """Serve an ASGI application with uvicorn; give the port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = _Server(uvicorn.Config(app, log_level="warning", ws="none"))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            assert not task.done()
            await asyncio.sleep(0.005)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task


async def talk(port: int, *pieces: bytes, every: float = 0.0) -> bytes:
    """Send pieces over a raw socket, some time apart, and read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(every)

    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(20):
            received = b""
            with contextlib.suppress(ConnectionError):
                while chunk := await reader.read(65_536):
                    received += chunk
            return received
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.close()


def request(
    body: bytes = b"",
    *,
    method: str = "POST",
    path: str = PATH,
    signature: str | None = "good",
    headers: tuple[str, ...] = (),
    length: int | None = None,
) -> bytes:
    """Give a request as it is on the wire, for a connection of its own."""
    lines = [f"{method} {path} HTTP/1.1", "Host: service.example", "Connection: close", *headers]
    if not any("chunked" in header for header in headers):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    if signature is not None:
        told = sign(body) if signature == "good" else signature
        lines.append(f"X-Cobalt-Signature: {told}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def status_of(reply: bytes) -> int:
    """Give the status of a raw reply, 0 if there is none."""
    return int(reply[9:12]) if reply.startswith(b"HTTP/1.1 ") else 0
