"""A real redis-server of a test's own, in a temporary folder; it remembers nothing on disk."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

EXECUTABLE = shutil.which("redis-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
"""Where it is, None where it is not installed."""
MISSING = "redis-server is not installed: apt-get install redis-server"


class RedisServer:
    """A redis-server that can be killed, frozen, started anew and emptied."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with an empty memory, and wait until it answers."""
        assert EXECUTABLE is not None
        self._process = subprocess.Popen(  # noqa: S603 - our own arguments
            [EXECUTABLE, "--port", str(self.port), "--save", "", "--appendonly", "no"],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        latest = time.monotonic() + 10
        while self.ask("PING") != "+PONG":
            if self._process.poll() is not None or time.monotonic() > latest:
                raise RuntimeError("redis-server did not start")
            time.sleep(0.005)

    def ask(self, command: str) -> str:
        """Send a command by hand and give the first line of the answer, or nothing."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(f"{command}\r\n".encode())
                return connection.recv(65536).decode().partition("\r\n")[0]
        except OSError:
            return ""

    def grow_old(self) -> None:
        """Wait until it says that it has been up for a second."""
        while self.ask("EVAL \"return redis.call('INFO', 'server')\" 0") == "":
            time.sleep(0.01)
        time.sleep(1.05)

    def remembers(self, name: str) -> None:
        """Let it have kept keys by this name for long, unless it knows better."""
        self.ask(f"SET refold:{name}:born 1 NX")

    def empty(self) -> None:
        """Have it forget everything."""
        assert self.ask("FLUSHALL") == "+OK"

    def freeze(self) -> None:
        """Have it answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port
