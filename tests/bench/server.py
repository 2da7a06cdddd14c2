"""The leanest server that answers execute: a bare asyncio protocol, so as not to be in the way.

Started as a child process by the benchmarks: prints its port, serves until its stdin closes.
"""

from __future__ import annotations

import asyncio
import sys

BODY = b'{"message":"Workflow execution started","execution_id":"6a314c54d4616e99e7fa5a02"}'
REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n"
    b"Date: Tue, 16 Jun 2026 13:15:00 GMT\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


class Answering(asyncio.Protocol):
    """Answers each complete request with the documented acknowledgement."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer when headers and body are complete."""
        self.buffer += data
        while True:
            head, found, rest = self.buffer.partition(b"\r\n\r\n")
            if not found:
                return
            lower = head.lower()
            at = lower.find(b"content-length:")
            length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            self.transport.write(REPLY)


async def main() -> None:
    """Serve on a free port of loopback."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
