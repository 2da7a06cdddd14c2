"""Connections: how many, how long they are kept, and what must not travel on them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from refold_async import ConfigError, ExecutionOutcomeUnknownError, RateLimit, Timeouts
from refold_async.emulator import Emulator, Fault
from tests.support.endings import MODES, at_once
from tests.support.wire import ACCEPTED, RUN, STARTS, Step, http, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from refold_async import RefoldClient
    from tests.support.clock import FakeClock


async def test_connections_are_capped(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """300 calls at once open `max_connections` sockets, and all of them get through."""
    emulator.workflow("wf_1", slug="s")(lambda payload: None)
    emulator.faults.always("execute", Fault(delay=0.01))
    refold = connect(emulator, max_connections=7)
    await asyncio.gather(*(refold.execute("wf_1", slug="s") for _ in range(300)))
    assert (emulator.peak_connections, len(emulator.runs)) == (7, 300)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(ACCEPTED, id="accepted"),
        pytest.param(http(400, {"error": "no"}), id="refused"),
        pytest.param(http(400, "<html>"), id="HTML"),
        pytest.param(http(400, b""), id="empty"),
    ],
)
async def test_a_connection_is_used_again(
    connect: Callable[..., RefoldClient], reply: bytes
) -> None:
    """One connection carries call after call, whatever the answers."""
    async with wire(Step(reply=reply)) as server:
        refold = connect(server)
        for _ in range(10):
            await asyncio.gather(refold.execute("wf_1", slug="s"), return_exceptions=True)
    assert (len(server.seen), server.connections) == (10, 1)


async def test_a_connection_the_server_closed_while_idle_fails_no_call(
    connect: Callable[..., RefoldClient],
) -> None:
    """A POST takes no connection that is known to be closed."""
    async with wire(STARTS) as server:
        refold = connect(server, retry=at_once("never"))
        await refold.execute("wf_1", slug="s")
        server.abort()
        await asyncio.sleep(0.02)
        await refold.execute("wf_1", slug="s")
    assert (len(server.seen), server.connections) == (2, 2)


LENT = pytest.mark.parametrize("lent", [False, True], ids=["own", "lent"])


@asynccontextmanager
async def pool(*, lent: bool) -> AsyncIterator[dict[str, Any]]:
    """Give the settings of a client over its own pool, or over a lent one."""
    if not lent:
        yield {}
        return
    async with aiohttp.ClientSession() as session:
        yield {"session": session}


@LENT
@pytest.mark.parametrize(
    ("announced", "settings", "kept"),
    [
        pytest.param(None, {}, 4.0, id="nothing said"),
        pytest.param(None, {"keepalive": 1.5}, 1.5, id="set"),
        pytest.param(None, {"keepalive": timedelta(seconds=9)}, 9.0, id="set higher"),
        pytest.param("timeout=2", {}, 1.0, id="2 s"),
        pytest.param("timeout=2, max=100", {}, 1.0, id="with max"),
        pytest.param("max=5, Timeout = 3", {}, 2.0, id="spaced"),
        pytest.param("timeout=1", {}, 0.0, id="1 s"),
        pytest.param("timeout=0", {}, 0.0, id="0 s"),
        pytest.param("timeout=75", {}, 4.0, id="longer than ours"),
        pytest.param("timeout=75", {"keepalive": 60}, 60.0, id="longer than a longer one"),
        pytest.param("timeout=99999999999999999999", {}, 4.0, id="absurd"),
        pytest.param("timeout=\u0662", {}, 4.0, id="no ASCII digit"),
        pytest.param("timeout=1e0", {"keepalive": 3}, 0.0, id="digits, then letters"),
        pytest.param("timeout=-1", {}, 4.0, id="negative"),
        pytest.param("idle=1", {}, 4.0, id="another word"),
    ],
)
async def test_an_idle_connection_is_left_before_the_server_closes_it(
    connect: Callable[..., RefoldClient],
    clock: FakeClock,
    announced: str | None,
    settings: dict[str, Any],
    kept: float,
    lent: bool,
) -> None:
    """It is used for as long as we keep it, and a second less than the server says it does."""
    said = {} if announced is None else {"Keep-Alive": announced.encode().decode("latin-1")}
    step = Step(reply=http(200, {"execution_id": RUN}, headers=said))
    async with wire(step) as server, pool(lent=lent) as over:
        refold = connect(server, retry=at_once("never"), clock=clock, **settings, **over)
        await refold.execute("wf_1", slug="s")
        if kept:
            clock.now += kept - 0.01
            await refold.execute("wf_1", slug="s")
            assert server.connections == 1
        clock.now += kept + 0.01
        await refold.execute("wf_1", slug="s")
    assert server.connections == 2


@LENT
@pytest.mark.parametrize(
    "said",
    [
        pytest.param(http(body={"execution_id": "6a314c54d4616e99e7fa5bad"}), id="another run"),
        pytest.param(http(503, {"message": "busy", "status_code": 503}), id="a refusal"),
    ],
)
async def test_what_nobody_asked_for_is_nobodys_answer(
    connect: Callable[..., RefoldClient], said: bytes, lent: bool
) -> None:
    """A connection on which an answer came to no request is left: it would be the next call's."""
    async with wire(STARTS) as server, pool(lent=lent) as over:
        refold = connect(server, retry=at_once("never"), **over)
        await refold.execute("wf_1", slug="s")
        server.say(said)
        await asyncio.sleep(0.05)
        handle = await refold.execute("wf_1", slug="s")
    assert (handle.execution_id, server.connections) == (RUN, 2)


@LENT
async def test_a_server_that_closes_idle_connections_fails_no_call(
    connect: Callable[..., RefoldClient], lent: bool
) -> None:
    """It says for how long it keeps them, and answers a call just after that 30 ms late."""
    step = Step(reply=http(200, {"execution_id": RUN}, headers={"Keep-Alive": "timeout=1"}))
    async with wire(step) as server, pool(lent=lent) as over:
        refold = connect(server, retry=at_once("never"), **over)
        for _ in range(5):
            await refold.execute("wf_1", slug="s")
            server.abort()  # the client hears of it only when it sends
    assert (len(server.seen), server.connections) == (5, 5)


@pytest.mark.parametrize("keepalive", [0, -1, "4", None, float("nan"), float("inf"), True])
async def test_keepalive_is_a_duration(
    connect: Callable[..., RefoldClient], keepalive: object
) -> None:
    """Anything else is refused before any connection."""
    async with wire() as server:
        with pytest.raises(ConfigError, match="keepalive"):
            connect(server, keepalive=keepalive)


@MODES
async def test_a_connection_that_is_closed_just_then_leaves_a_start_unknown(
    connect: Callable[..., RefoldClient], mode: str
) -> None:
    """A POST on a connection that dies under it is not sent again behind the caller's back."""
    async with wire(STARTS) as server:
        refold = connect(server, retry=at_once(mode))
        await refold.execute("wf_1", slug="s")
        server.abort()
        with pytest.raises(ExecutionOutcomeUnknownError):
            await refold.execute("wf_1", slug="s")
    assert len(server.seen) == 1


async def test_a_connection_that_is_closed_just_then_costs_a_read_nothing(
    connect: Callable[..., RefoldClient],
) -> None:
    """A GET on a connection that dies under it is sent again."""
    async with wire(STARTS, Step(reply=http(200, {"_id": "e1", "status": "RUNNING"}))) as server:
        refold = connect(server, retry=at_once())
        await refold.execute("wf_1", slug="s")
        server.abort()
        execution = await refold.executions.get("e1")
    assert (execution.status, len(server.seen)) == ("RUNNING", 2)


async def test_waiting_for_a_connection_eats_no_timeout(
    connect: Callable[..., RefoldClient],
) -> None:
    """Twelve calls of 0.15 s over one connection all succeed with a read timeout of 1.2 s."""
    async with wire(Step(reply=ACCEPTED, delay=0.15)) as server:
        refold = connect(
            server,
            max_connections=1,
            timeouts=Timeouts(connect=1.2, read=1.2),
            retry=at_once("never"),
        )
        await asyncio.gather(*(refold.execute("wf_1", slug="s") for _ in range(12)))
    assert (len(server.seen), server.connections) == (12, 1)


async def test_waiting_for_the_rate_limit_eats_no_timeout(
    connect: Callable[..., RefoldClient],
) -> None:
    """A call that waits for its turn has its whole time left when it comes."""
    async with wire(STARTS) as server:
        refold = connect(
            server,
            rate_limit=RateLimit(per_second=10, burst=1),
            timeouts=Timeouts(connect=0.7, read=0.7),
            retry=at_once("never"),
        )
        await asyncio.gather(*(refold.execute("wf_1", slug="s") for _ in range(10)))
    assert len(server.seen) == 10


async def test_two_accounts_never_share_a_cookie(connect: Callable[..., RefoldClient]) -> None:
    """What the service sets is not kept, so nothing of one account reaches another."""
    cookie = {"Set-Cookie": "session=of-account-1; Path=/"}
    async with wire(Step(reply=http(200, {"execution_id": "e1"}, headers=cookie))) as server:
        refold = connect(server)
        for account in ("acct_1", "acct_2", "acct_1"):
            await refold.for_account(account).execute("wf_1", slug="s")
    assert [r.headers["linked_account_id"] for r in server.seen] == ["acct_1", "acct_2", "acct_1"]
    assert not [request for request in server.seen if "cookie" in request.headers]


async def test_proxies_of_the_environment_are_ignored(
    connect: Callable[..., RefoldClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key goes to the service, not through whatever HTTP_PROXY names."""
    async with wire(STARTS) as server, wire(STARTS) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.base_url)
            monkeypatch.setenv(name.upper(), proxy.base_url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        await connect(server).execute("wf_1", slug="s")
    assert (len(server.seen), proxy.connections) == (1, 0)


async def test_netrc_is_ignored(
    connect: Callable[..., RefoldClient], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A password somebody keeps for the host is not sent."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login jane password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with wire(STARTS) as server:
        await connect(server).execute("wf_1", slug="s")
    assert "authorization" not in server.seen[0].headers
