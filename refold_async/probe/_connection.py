"""What becomes of a connection that is left alone."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from refold_async._clock import Clock, done_within, waiting
from refold_async.probe._asking import V2

if TYPE_CHECKING:
    from refold_async.probe._scene import Scene

_ANNOUNCED = re.compile(rb"(?im)^keep-alive:.*timeout=(\d{1,9})\b")
_PATIENCE = 30.0
_MOST_BYTES = 4 * 1024 * 1024


async def find_keepalive(scene: Scene) -> None:
    """Ask over a connection of its own, and wait for its end."""
    asker, notes, longest = scene.asker, scene.notes, scene.work.idle
    await asker.take_turn()
    url = urlsplit(asker.target.url)
    secure = url.scheme == "https"
    port = url.port or (443 if secure else 80)
    # Read from its own machine, as a proxy of the environment has a patience of its own.
    tls = ssl.create_default_context() if secure else None
    lines = [f"GET {url.path}{V2}/workflow?limit=1 HTTP/1.1", f"Host: {url.netloc}"]
    lines += [f"{name}: {value}" for name, value in asker.headers().items()]
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection(url.hostname, port, ssl=tls)
    except (OSError, TimeoutError) as error:
        raise asker.failed(error) from None
    try:
        async with asyncio.timeout(_PATIENCE):
            writer.write("\r\n".join([*lines, "", ""]).encode())
            head = await reader.readuntil(b"\r\n\r\n")
        announced = _ANNOUNCED.search(head)
        notes.tell("keepalive_announced", announced is not None, _said(announced))
        if re.search(rb"(?im)^connection: *close", head):
            notes.tell("keepalive", 0.0, "it closes each connection")
            return
        begun = asker.clock.monotonic()
        closed = asyncio.ensure_future(reader.read(_MOST_BYTES))
        while await _done(asker.clock, closed, begun + longest - asker.clock.monotonic()):
            if not closed.result():  # the end; before it come the rest of the body, and no more
                idle = round(asker.clock.monotonic() - begun, 2)
                notes.tell("keepalive", idle, f"closed after {idle:g} s")
                return
            closed = asyncio.ensure_future(reader.read(_MOST_BYTES))
        closed.cancel()
        seconds = float(announced[1]) if announced else None
        because = f"open after {longest:g} s; {_said(announced)}"
        notes.tell("keepalive", seconds, because)
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise asker.failed(error) from None
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _done(clock: Clock, closed: asyncio.Future[bytes], longest: float) -> bool:
    with waiting(clock, "the end of an idle connection"):
        return await done_within(clock, closed, longest)


def _said(announced: re.Match[bytes] | None) -> str:
    return f"it says timeout={int(announced[1])}" if announced else "it says nothing"
