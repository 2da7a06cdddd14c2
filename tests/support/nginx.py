"""A real nginx in front of a server of the tests, with all it writes in one folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from refold_async import ExecutionOutcomeUnknownError
from tests.support.endings import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from refold_async import ExecutionHandle, RefoldClient

    Behind = Callable[..., tuple[RefoldClient, "Nginx"]]

EXECUTABLE = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
"""Where nginx is, None where it is not installed. Distributions put it beside the user's PATH."""

PASS_ON = "location / { proxy_pass http://service; }"

_CONFIGURATION = """
daemon off;
master_process off;
pid nginx.pid;
error_log error.log info;
events {{ worker_connections 512; }}
http {{
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    log_format brief "$status $sent_http_content_encoding $connection";
    access_log access.log brief;
    {settings}
    upstream service {{ server {upstream}; }}
    server {{
        listen {address};
        {locations}
    }}
}}
"""


@attrs.frozen(kw_only=True)
class Nginx:
    """A running nginx.

    Attributes:
        base_url: where it listens.
        api_key: the key that the server behind it takes.
        folder: where its logs are.
    """

    base_url: str
    api_key: str
    folder: Path

    async def answered(self, count: int) -> list[str]:
        """Wait for so many answers; give status and content encoding (or `-`) of each."""
        return [line.rsplit(" ", 1)[0] for line in await self._noted(count)]

    async def connections(self, count: int) -> int:
        """Wait for so many answers; say how many connections they went out on."""
        return len({line.rsplit(" ", 1)[1] for line in await self._noted(count)})

    async def _noted(self, count: int) -> list[str]:
        """Nginx notes an answer down when it has been sent: its receiver may be quicker."""
        log = self.folder / "access.log"
        await until(lambda: log.read_text().count("\n") >= count)
        return log.read_text().splitlines()[:count]


@contextlib.contextmanager
def nginx(
    folder: Path, server: Any, settings: str = "", *, locations: str = PASS_ON
) -> Iterator[Nginx]:
    """Run nginx in front of a server, on a free port of loopback.

    Args:
        folder: an empty one for everything it reads and writes.
        server: what has a `base_url`; a prefix in it is left to `locations`.
        settings: directives for all of `http`.
        locations: what is in `server`; `http://service` is the server.
    """
    address = f"127.0.0.1:{_free_port()}"
    upstream = server.base_url.split("/")[2]
    (folder / "nginx.conf").write_text(
        _CONFIGURATION.format(
            address=address, upstream=upstream, settings=settings, locations=locations
        )
    )
    assert EXECUTABLE is not None
    process = subprocess.Popen(  # noqa: S603 - our own arguments
        [EXECUTABLE, "-p", f"{folder}/", "-c", "nginx.conf", "-e", "error.log"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await_start(process, folder)
        key = getattr(server, "api_key", "tk_test")
        yield Nginx(base_url=f"http://{address}", api_key=key, folder=folder)
    finally:
        process.terminate()
        process.wait(10)


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def _await_start(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for the file that nginx writes once it listens.

    A connection would prove less: if the port was taken meanwhile, somebody else may listen there.
    """
    latest = time.monotonic() + 10
    while not (folder / "nginx.pid").exists():
        if process.poll() is not None or time.monotonic() > latest:
            raise RuntimeError("nginx did not start: " + (folder / "error.log").read_text())
        time.sleep(0.001)


async def ending_of(call: Awaitable[ExecutionHandle[Any]]) -> tuple[str, int]:
    """Await a call and say how it ended, and after how many tries."""
    try:
        handle = await call
    except ExecutionOutcomeUnknownError as error:
        return "unknown", error.attempts
    return "flagged" if handle.possible_duplicate else "handle", handle.attempts
