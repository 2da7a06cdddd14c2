"""What never left, and what can't be sent like this: unreachable, redirected, untrusted."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import aiohttp
import pytest
import trustme

from refold_async import ConnectionFailedError, Timeouts, UnexpectedReplyError
from tests.support.endings import MODES, Ending, at_once, ending_of, until
from tests.support.wire import STARTS, Step, Wire, full_port, http, refusing_port, wire

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from refold_async import RefoldClient
    from refold_async.emulator import Emulator

SHORT = Timeouts(connect=0.05)


def nobody(port: socket.socket) -> Wire:
    """Give the address of a port on which no server is, as if one were."""
    return Wire(base_url=f"http://127.0.0.1:{port.getsockname()[1]}")


def not_sent(mode: str) -> Ending:
    """Give the ending of a call that was never sent, in three tries at most."""
    return Ending(
        outcome="ConnectionFailedError",
        sent=False,
        attempts=1 if mode == "never" else 3,
        posts=0,
    )


@MODES
async def test_a_refused_connection_is_not_sent(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    """A port nobody listens on: tried again but in `never`, and in the end not sent."""
    with refusing_port() as port:
        server = nobody(port)
        refold = connect(server, retry=at_once(mode, attempts=3))
        actual = await ending_of(refold.execute("wf_1", slug="s"), refold, server, caplog)
    assert not_sent(mode) == actual


@MODES
async def test_an_unknown_host_is_not_sent(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    """A name that doesn't resolve: tried again but in `never`, and in the end not sent."""
    server = Wire(base_url="https://refold.invalid")
    refold = connect(server, retry=at_once(mode, attempts=3))
    actual = await ending_of(refold.execute("wf_1", slug="s"), refold, server, caplog)
    assert not_sent(mode) == actual


@MODES
async def test_a_connect_timeout_is_not_sent(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    """A host that doesn't take the connection within `Timeouts.connect` saw nothing."""
    with full_port() as port:
        server = nobody(port)
        refold = connect(server, retry=at_once(mode, attempts=3), timeouts=SHORT)
        actual = await ending_of(refold.execute("wf_1", slug="s"), refold, server, caplog)
    assert not_sent(mode) == actual


@MODES
async def test_a_tls_handshake_timeout_is_not_sent(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    """A host that takes the connection and never says a word saw no request."""
    async with wire(deaf=True) as server:
        refold = connect(
            server,
            base_url=server.base_url.replace("http:", "https:"),
            retry=at_once(mode, attempts=3),
            timeouts=SHORT,
        )
        actual = await ending_of(refold.execute("wf_1", slug="s"), refold, server, caplog)
    assert not_sent(mode) == actual
    assert (1 if mode == "never" else 3) == server.connections


async def test_a_call_gets_through_once_the_service_is_back(
    connect: Callable[..., RefoldClient],
) -> None:
    """Tries that were never sent leave no flag on the run that starts in the end."""
    with refusing_port() as port:
        refold = connect(nobody(port), retry=at_once("safe", attempts=10_000))
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await until(lambda: refold.stats.retries >= 3)
        port.listen()
        async with wire(STARTS, at=port) as server:
            handle = await call
    assert (len(server.seen), handle.possible_duplicate) == (1, False)
    assert handle.attempts > 3


OUT_OF_FILES = """
    import asyncio, os, resource, sys
    from refold_async import ConnectionFailedError, RefoldClient, RetryPolicy

    async def main():
        async with RefoldClient(
            api_key="tk_1", linked_account_id="a", base_url=sys.argv[1],
            retry=RetryPolicy(mode=sys.argv[2], wait=0, max_wait=0, settle=0, attempts=3),
        ) as refold:
            taken = []
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
            try:
                while True:
                    taken.append(os.dup(0))
            except OSError:
                pass
            try:
                await refold.execute("wf_1", slug="s")
            except ConnectionFailedError as error:
                print(error.sent, refold.stats.requests["execute"])
            finally:
                for number in taken:
                    os.close(number)

    asyncio.run(main())
"""


@MODES
async def test_no_file_descriptor_is_not_sent(mode: str) -> None:
    """A process out of file descriptors sends nothing, also if that is its first failure."""
    async with wire(STARTS) as server:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            textwrap.dedent(OUT_OF_FILES),
            server.base_url,
            mode,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        printed, complaint = await asyncio.wait_for(child.communicate(), 30)
    assert f"False {1 if mode == 'never' else 3}" == printed.decode().strip(), complaint.decode()
    assert server.connections == 0


@MODES
@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
async def test_a_redirect_is_never_followed(
    connect: Callable[..., RefoldClient],
    caplog: pytest.LogCaptureFixture,
    mode: str,
    status: int,
) -> None:
    """The other host sees neither the key nor the body, in every mode."""
    async with wire(STARTS) as other, wire() as server:
        server.script(Step(reply=http(status, b"", headers={"Location": other.base_url})))
        refold = connect(server, retry=at_once(mode))
        actual = await ending_of(refold.execute("wf_1", slug="s"), refold, server, caplog)
    assert Ending(outcome="UnexpectedReplyError", sent=True) == actual
    assert other.connections == 0


async def test_a_read_is_not_redirected_either(connect: Callable[..., RefoldClient]) -> None:
    """A GET doesn't take the key to another host any more than a POST."""
    async with wire(STARTS) as other, wire() as server:
        server.script(Step(reply=http(302, headers={"Location": other.base_url})))
        with pytest.raises(UnexpectedReplyError, match="302 redirects to"):
            await connect(server).executions.get("e1")
    assert (len(server.seen), other.connections) == (1, 0)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Give an authority nobody trusts."""
    return trustme.CA()


@pytest.fixture
def certificate(authority: trustme.CA) -> ssl.SSLContext:
    """Give the server's side of TLS, with a certificate for loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@MODES
async def test_an_untrusted_certificate_ends_the_call(
    connect: Callable[..., RefoldClient],
    caplog: pytest.LogCaptureFixture,
    certificate: ssl.SSLContext,
    mode: str,
) -> None:
    """A certificate that isn't trusted is no accident: one try, nothing sent, in every mode."""
    async with wire(STARTS, tls=certificate) as server:
        refold = connect(server, retry=at_once(mode))
        actual = await ending_of(refold.execute("wf_1", slug="s"), refold, server, caplog)
    assert Ending(outcome="ConnectionFailedError", sent=False, posts=0) == actual


async def test_a_trusted_certificate_is_accepted(
    connect: Callable[..., RefoldClient],
    authority: trustme.CA,
    certificate: ssl.SSLContext,
) -> None:
    """The same server is spoken to by a client whose own session trusts its authority."""
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with (
        wire(STARTS, tls=certificate) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session,
    ):
        await connect(server, session=session).execute("wf_1", slug="s")
    assert len(server.seen) == 1


@MODES
async def test_tls_to_a_port_of_plain_http_ends_the_call(
    connect: Callable[..., RefoldClient], emulator: Emulator, mode: str
) -> None:
    """TLS spoken to a server that has none is a wrong base_url: one try, nothing sent."""
    url = emulator.base_url.replace("http:", "https:")
    refold = connect(emulator, base_url=url, retry=at_once(mode))
    with pytest.raises(ConnectionFailedError) as caught:
        await refold.execute("wf_1", slug="s")
    assert (caught.value.sent, refold.stats.requests["execute"]) == (False, 1)
    assert "that this machine trusts who signed" in (caught.value.advice or "")
