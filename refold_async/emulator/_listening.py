"""What listens: aiohttp's server, made to count its connections and to leave limits to us."""

import asyncio
from contextlib import suppress
from typing import Any

from aiohttp import web


class CountingServer(web.Server):
    """aiohttp's server that knows the connections it has open, and how many it had at most."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.transports: dict[Any, asyncio.Transport] = {}
        self.peak = 0
        self.ends = False  # what connects from then on is cut off

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        """Note a connection."""
        super().connection_made(handler, transport)
        self.transports[handler] = transport
        if self.ends:
            transport.abort()
        self.peak = max(self.peak, len(self.transports))

    def connection_lost(self, handler: Any, exc: BaseException | None = None) -> None:
        """Forget one."""
        super().connection_lost(handler, exc)
        self.transports.pop(handler, None)


async def stop_listening(listener: asyncio.Server) -> None:
    """Take no more connections, once the server knows of those that have been accepted."""
    # asyncio accepts in one turn and makes the transport in a later one, which fails, and leaves
    # the socket open, if the listener is closed by then. Loops that don't do so know no readers.
    loop = asyncio.get_running_loop()
    for each in listener.sockets:
        with suppress(NotImplementedError):
            loop.remove_reader(each.fileno())
    for _ in range(3):
        await asyncio.sleep(0)
    listener.close()


def make_request(
    message: Any, payload: Any, protocol: Any, writer: Any, task: asyncio.Task[None]
) -> web.BaseRequest:
    """Make a request whose body has no limit of aiohttp's."""
    # 0 is no limit: the service itself refuses what is too large, in its own words.
    return web.BaseRequest(
        message, payload, protocol, writer, task, task.get_loop(), client_max_size=0
    )
