"""Proxies and TLS: what a client is told to trust and to go through, and that nothing leaks."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import pickle
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs
import pytest
import trustme

from refold_async import ConfigError, ConnectionFailedError, RefoldClient, RefoldError
from tests.http.transport.test_secrets import shown
from tests.support.clock import settle
from tests.support.endings import at_once
from tests.support.wire import RUN, STARTS, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PASSWORD = "hunter2/5eac2e7"
BASIC = base64.b64encode(f"jane:{PASSWORD}".encode()).decode()


@attrs.define
class Proxy:
    """What a proxy on loopback was asked."""

    port: int = 0
    wants: str | None = None
    asked: list[str] = attrs.field(factory=list)
    writers: list[asyncio.StreamWriter] = attrs.field(factory=list)

    def url(self) -> str:
        """Give its address, with credentials; in no local of a test, which tracebacks show."""
        return f"http://jane:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Open a tunnel, or pass one request on, if the credentials are right."""
        self.writers.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.split("\r\n", 1)[0])
        method, target, _ = self.asked[-1].split(" ")
        if self.wants is not None and f"Proxy-Authorization: Basic {self.wants}" not in head:
            shows = head.replace("\r\n", " ")
            writer.write(f"HTTP/1.1 407 {shows}\r\nContent-Length: 0\r\n\r\n".encode())
            writer.close()
            return
        place = target if method == "CONNECT" else target.split("/")[2]
        host, _, port = place.partition(":")
        there, out = await asyncio.open_connection(host, int(port))
        self.writers.append(out)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Fine\r\n\r\n")
        else:
            out.write(head.replace(f"http://{place}", "").encode())
        await asyncio.gather(_copy(reader, out), _copy(there, writer))


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


@contextlib.asynccontextmanager
async def proxying(*, wants: str | None = None) -> AsyncIterator[Proxy]:
    """Run a proxy on loopback."""
    proxy = Proxy(wants=wants)
    tasks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(proxy.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for writer in proxy.writers:
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await settle()


@pytest.fixture
def authority() -> trustme.CA:
    """Give an authority nobody knows."""
    return trustme.CA()


@pytest.fixture
def certificate(authority: trustme.CA) -> ssl.SSLContext:
    """Give the server's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Give a context that trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_a_private_authority_is_trusted_by_context(
    connect: Callable[..., RefoldClient], certificate: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    """Without it the same server is refused, and nothing is sent."""
    async with wire(STARTS, tls=certificate) as server:
        with pytest.raises(ConnectionFailedError, match="no secure connection"):
            await connect(server, retry=at_once()).execute("wf_1", slug="s")
        assert server.seen == []
        handle = await connect(server, ssl=trusting).execute("wf_1", slug="s")
    assert handle.execution_id == RUN


def lax(**changes: Any) -> ssl.SSLContext:
    """Give a context that checks less than it could."""
    context = ssl.create_default_context()
    context.check_hostname = False
    for name, value in changes.items():
        setattr(context, name, value)
    return context


@pytest.mark.parametrize(
    "context",
    [
        pytest.param(False, id="False"),
        pytest.param(True, id="True"),
        pytest.param("ca.pem", id="path"),
        pytest.param(lax(), id="any host"),
        pytest.param(lax(verify_mode=ssl.CERT_NONE), id="any certificate"),
        pytest.param(lax(verify_mode=ssl.CERT_OPTIONAL, check_hostname=True), id="optional"),
    ],
)
def test_verification_can_not_be_switched_off(context: Any) -> None:
    """The key would go to whoever answers."""
    with pytest.raises(ConfigError) as caught:
        RefoldClient(api_key="tk_1", ssl=context)
    assert caught.value.field == "ssl"


@pytest.mark.parametrize("secure", [True, False], ids=["https", "http"])
async def test_calls_go_through_the_proxy(
    connect: Callable[..., RefoldClient],
    certificate: ssl.SSLContext,
    trusting: ssl.SSLContext,
    secure: bool,
) -> None:
    """By a tunnel to https, with its credentials, which the service does not see."""
    tls = certificate if secure else None
    async with wire(STARTS, tls=tls) as server, proxying(wants=BASIC) as proxy:
        refold = connect(server, proxy=proxy.url(), ssl=trusting)
        for _ in range(2):
            await refold.execute("wf_1", slug="s")
        await refold.aclose()
    assert len(server.seen) == 2
    assert len(proxy.asked) == 1
    assert proxy.asked[0].startswith("CONNECT" if secure else "POST http://127.0.0.1:")
    assert not secure or "proxy-authorization" not in server.seen[0].headers


async def test_a_proxy_that_refuses_shows_no_secret(
    connect: Callable[..., RefoldClient],
    certificate: ssl.SSLContext,
    trusting: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It quotes what it was sent, and was not sent the request."""
    caplog.set_level(logging.DEBUG)
    async with wire(STARTS, tls=certificate) as server, proxying(wants="other") as proxy:
        refold = connect(server, proxy=proxy.url(), ssl=trusting, retry=at_once("never"))
        with pytest.raises(ConnectionFailedError) as caught:
            await refold.execute("wf_1", slug="s")
        said = shown(caught.value) + caplog.text + repr(refold) + repr(refold._transport.wire)
    assert (server.seen, caught.value.sent) == ([], False)
    assert "***" in str(caught.value)
    for secret in (PASSWORD, BASIC, quote(PASSWORD, safe="")):
        assert secret not in said
        assert secret.encode() not in pickle.dumps(caught.value)


async def test_a_proxy_that_is_down_means_not_sent(connect: Callable[..., RefoldClient]) -> None:
    """The service is not asked past it."""
    async with wire(STARTS) as server, proxying() as proxy:
        port = proxy.port
    async with wire(STARTS) as server:
        refold = connect(server, proxy=f"http://127.0.0.1:{port}", retry=at_once("never"))
        with pytest.raises(ConnectionFailedError) as caught:
            await refold.execute("wf_1", slug="s")
    assert (caught.value.sent, server.connections) == (False, 0)


@pytest.mark.parametrize(
    "url",
    [
        *("", "proxy.example:3128", "socks5://u:s3cret@proxy", "http://", "http://u:s3cret@"),
        *("http://u:s3cret@proxy/path", "http://u:s3cret@proxy?q=1", "http://u:s3cret@proxy:99999"),
        *("http://u:s3cret@proxy:0", "http://u:s3cret@pro\nxy", "http://u:s3cr\u00e9t@proxy"),
        *(3128, b"http://proxy"),
    ],
)
def test_what_is_no_proxy_is_refused_unseen(url: Any) -> None:
    """The error says what a proxy looks like, and nothing of what was given."""
    with pytest.raises(ConfigError) as caught:
        RefoldClient(api_key="tk_1", proxy=url)
    assert caught.value.field == "proxy"
    assert "s3cr" not in str(caught.value)


@pytest.mark.parametrize("listed", [False, True], ids=["used", "in no_proxy"])
async def test_the_environments_proxy_is_used_if_asked_for(
    connect: Callable[..., RefoldClient], monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    """Its exceptions too; without `trust_env` neither."""
    async with wire(STARTS) as server, proxying() as proxy:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy.port}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "127.0.0.1" if listed else "elsewhere.example")
        await connect(server, trust_env=True).execute("wf_1", slug="s")
        assert len(proxy.asked) == (0 if listed else 1)
        await connect(server).execute("wf_1", slug="s")
        assert len(proxy.asked) == (0 if listed else 1)


def test_a_proxy_of_the_environment_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is sent around a proxy that was meant to be used."""
    monkeypatch.setenv("https_proxy", "socks5://u:s3cret@proxy")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(ConfigError) as caught:
        RefoldClient(api_key="tk_1", trust_env=True)
    assert (caught.value.field, "s3cret" in str(caught.value)) == ("trust_env", False)
    RefoldClient(api_key="tk_1")


@pytest.mark.parametrize("value", [1, "yes", None])
def test_trust_env_is_yes_or_no(value: Any) -> None:
    """Anything else is a mistake."""
    with pytest.raises(ConfigError, match="trust_env"):
        RefoldClient(api_key="tk_1", trust_env=value)


async def test_a_client_with_a_proxy_is_not_pickled(connect: Callable[..., RefoldClient]) -> None:
    """Its credentials would go along."""
    async with wire() as server:
        refold = connect(server, proxy=f"http://jane:{PASSWORD}@127.0.0.1:1".replace("2/", "2"))
        with pytest.raises(TypeError):
            pickle.dumps(refold)
        with pytest.raises(TypeError):
            pickle.dumps(refold._transport.wire.connections.proxy)
    assert issubclass(ConfigError, RefoldError)


async def test_a_certificate_of_the_clients_own_is_shown(
    connect: Callable[..., RefoldClient],
    authority: trustme.CA,
    certificate: ssl.SSLContext,
    trusting: ssl.SSLContext,
) -> None:
    """A server that asks for one refuses who has none, and nothing was sent."""
    certificate.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(certificate)
    # With TLS 1.3 a client is refused after it has begun to write.
    certificate.maximum_version = ssl.TLSVersion.TLSv1_2
    async with wire(STARTS, tls=certificate) as server:
        with pytest.raises(ConnectionFailedError) as caught:
            await connect(server, ssl=trusting, retry=at_once("never")).execute("wf_1", slug="s")
        assert (server.seen, caught.value.sent) == ([], False)
        authority.issue_cert("jane@example.com").configure_cert(trusting)
        handle = await connect(server, ssl=trusting).execute("wf_1", slug="s")
    assert handle.execution_id == RUN
