"""A caller's own aiohttp session: used as it is connected, and for nothing else; never closed."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from refold_async import (
    BadRequestError,
    ClientClosedError,
    ConfigError,
    ConnectionFailedError,
    ExecutionOutcomeUnknownError,
    Timeouts,
    UnexpectedReplyError,
)
from tests.support.endings import MODES, at_once, until
from tests.support.wire import ACCEPTED, RUN, STARTS, Step, Wire, full_port, http, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient

LARGE = {"blob": "x" * 2_000_000}
OURS = {
    *("accept", "accept-encoding", "content-length", "content-type", "host", "user-agent"),
    *("instance_tag", "linked_account_id", "slug", "sync_execution", "x-api-key"),
}


async def test_a_session_is_used_and_never_closed(connect: Callable[..., RefoldClient]) -> None:
    """Its connections carry our calls, and it goes on when our client ends."""
    async with wire(STARTS) as server, aiohttp.ClientSession() as session:
        refold = connect(server, session=session)
        await refold.execute("wf_1", slug="s")
        await refold.aclose()
        assert not session.closed
        async with session.get(server.base_url) as answer:
            assert answer.status == 200
    assert server.connections == 1


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="plain"),
        pytest.param(
            {"headers": {"X-Api-Key": "theirs", "slug": "theirs", "X-Trace": "1"}}, id="headers"
        ),
        pytest.param({"headers": {"Authorization": "Basic amFuZQ=="}}, id="authorization"),
        pytest.param({"headers": {"Content-Type": "text/plain"}}, id="content type"),
        pytest.param({"headers": {"Content-Encoding": "identity"}}, id="content encoding"),
        pytest.param({"headers": {"Expect": "100-continue"}}, id="expect"),
        pytest.param({"headers": {"Host": "elsewhere.example"}}, id="host"),
        pytest.param({"headers": {"Transfer-Encoding": "chunked"}}, id="transfer encoding"),
        pytest.param({"cookies": {"session": "theirs"}}, id="cookies"),
        pytest.param({"skip_auto_headers": ["User-Agent", "Content-Type"]}, id="skipped headers"),
        pytest.param({"raise_for_status": True}, id="raise_for_status"),
        pytest.param({"auto_decompress": False}, id="auto_decompress"),
        pytest.param({"timeout": aiohttp.ClientTimeout(total=0.001)}, id="timeout"),
        pytest.param({"json_serialize": lambda value: "theirs"}, id="json_serialize"),
        pytest.param({"base_url": "https://elsewhere.example/x/"}, id="base_url"),
        pytest.param({"trust_env": True}, id="trust_env"),
    ],
)
async def test_its_settings_change_nothing(
    connect: Callable[..., RefoldClient], settings: dict[str, Any]
) -> None:
    """What is sent and what is understood is the same as over a session of ours."""
    packed = gzip.compress(json.dumps({"execution_id": RUN}).encode())
    reply = http(200, packed, headers={"Content-Encoding": "gzip"})
    async with (
        wire(Step(reply=reply, delay=0.01)) as server,
        aiohttp.ClientSession(**settings) as session,
    ):
        refold = connect(server, session=session, api_key="tk_1", timeouts=Timeouts(read=0.5))
        handle = await refold.execute("wf_1", slug="s", payload={"n": 1})
    (request,) = server.seen
    assert handle.execution_id == RUN
    assert json.loads(request.body) == {"payload": {"n": 1}}
    assert request.headers.keys() <= OURS
    sent = {name: request.headers[name] for name in ("x-api-key", "slug", "content-type", "host")}
    assert sent == {
        "x-api-key": "tk_1",
        "slug": "s",
        "content-type": "application/json",
        "host": server.base_url.removeprefix("http://"),
    }
    assert request.headers["user-agent"].startswith("refold-async/")


async def test_its_credentials_are_not_sent(connect: Callable[..., RefoldClient]) -> None:
    """A session's own basic auth gives way to ours."""
    with pytest.warns(DeprecationWarning, match="auth"):
        session = aiohttp.ClientSession(auth=aiohttp.BasicAuth("jane", "secret"))
    async with wire(STARTS) as server, session:
        await connect(server, session=session).execute("wf_1", slug="s")
        await connect(server, session=session, session_token="jwt").execute("wf_1", slug="s")
    first, second = server.seen
    assert "authorization" not in first.headers
    assert second.headers["authorization"] == "Bearer jwt"


@pytest.mark.parametrize("raising", [True, False])
async def test_a_refusal_is_read_whether_it_raises_or_not(
    connect: Callable[..., RefoldClient], raising: bool
) -> None:
    """`raise_for_status` would hide the body, and the body is what counts."""
    refusal = Step(reply=http(400, {"message": "Server Error", "error": "no slug"}))
    ran = Step(reply=http(400, {"execution_id": RUN, "return_value": 1}))
    async with (
        wire(refusal, ran) as server,
        aiohttp.ClientSession(raise_for_status=raising) as session,
    ):
        refold = connect(server, session=session)
        with pytest.raises(BadRequestError, match="no slug"):
            await refold.execute("wf_1", slug="s")
        result = await refold.run("wf_1", slug="s", sync=True)
    assert (result.status_code, result.ok) == (400, False)


@MODES
async def test_its_middlewares_are_left_out(
    connect: Callable[..., RefoldClient], mode: str
) -> None:
    """One that retries would start runs twice, in silence."""
    called = []

    async def retrying(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        called.append(request)
        for _ in range(3):
            response = await handler(request)
            if response.status < 500:
                break
        return response

    async with (
        wire(Step(reply=http(500, {"message": "boom"}))) as server,
        aiohttp.ClientSession(middlewares=(retrying,)) as session,
    ):
        refold = connect(server, session=session, retry=at_once(mode, attempts=1))
        with pytest.raises(ExecutionOutcomeUnknownError):
            await refold.execute("wf_1", slug="s")
    assert (len(server.seen), called) == (1, [])


async def test_its_cookie_jar_shares_nothing_between_accounts(
    connect: Callable[..., RefoldClient],
) -> None:
    """Whatever it keeps, our next request carries no cookie."""
    cookie = {"Set-Cookie": "session=of-account-1; Path=/"}
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        wire(Step(reply=http(200, {"execution_id": RUN}, headers=cookie))) as server,
        aiohttp.ClientSession(cookie_jar=jar) as session,
    ):
        refold = connect(server, session=session)
        for account in ("acct_1", "acct_2"):
            await refold.for_account(account).execute("wf_1", slug="s")
    assert ["cookie" in request.headers for request in server.seen] == [False, False]


async def test_a_redirect_is_not_followed(connect: Callable[..., RefoldClient]) -> None:
    """The other host sees neither the key nor the body."""
    async with wire(STARTS) as other, wire() as server, aiohttp.ClientSession() as session:
        server.script(Step(reply=http(307, b"", headers={"Location": other.base_url})))
        with pytest.raises(UnexpectedReplyError, match="307"):
            await connect(server, session=session).execute("wf_1", slug="s")
    assert (len(server.seen), other.connections) == (1, 0)


@MODES
async def test_a_refused_connection_was_not_sent(
    connect: Callable[..., RefoldClient], mode: str
) -> None:
    """Evidence over a lent connector is as good as over our own."""
    async with aiohttp.ClientSession() as session, wire(STARTS) as server:
        refold = connect(server, session=session, retry=at_once(mode))
        server.quit()
        with pytest.raises(ConnectionFailedError) as caught:
            await refold.execute("wf_1", slug="s")
    assert (caught.value.sent, refold.stats.requests["execute"]) == (
        False,
        1 if mode == "never" else 4,
    )


async def test_a_connect_timeout_was_not_sent(connect: Callable[..., RefoldClient]) -> None:
    """`Timeouts.connect` bounds the connection over a lent connector as well."""
    with full_port() as port:
        server = Wire(base_url=f"http://127.0.0.1:{port.getsockname()[1]}")
        async with aiohttp.ClientSession() as session:
            refold = connect(server, session=session, timeouts=Timeouts(connect=0.05))
            async with asyncio.timeout(20):
                with pytest.raises(ConnectionFailedError) as caught:
                    await refold.execute("wf_1", slug="s", retry=at_once("never"))
    assert caught.value.sent is False


async def test_a_session_whose_trace_hooks_wait_changes_nothing(
    connect: Callable[..., RefoldClient],
) -> None:
    """They are the session's, and only its connector is lent."""
    told = []

    async def slow(*_: Any) -> None:
        told.append(1)
        await asyncio.sleep(3600)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(slow)
    trace.on_connection_create_end.append(slow)
    async with wire(STARTS) as server, aiohttp.ClientSession(trace_configs=[trace]) as session:
        await connect(server, session=session).execute("wf_1", slug="s")
    assert (len(server.seen), told) == (1, [])


async def test_a_session_that_is_closed_lends_nothing(connect: Callable[..., RefoldClient]) -> None:
    """It is refused at once, and a client whose lent connector is closed later says so."""
    session = aiohttp.ClientSession()
    async with wire(STARTS) as server:
        refold = connect(server, session=session, retry=at_once())
        await refold.execute("wf_1", slug="s")
        await session.close()
        with pytest.raises(ClientClosedError, match="connector of the aiohttp session"):
            await refold.execute("wf_1", slug="s")
        with pytest.raises(ConfigError, match="closed"):
            connect(server, session=session)
    assert len(server.seen) == 1


async def test_a_connector_that_is_closed_under_a_waiting_call_cancels_nobody(
    connect: Callable[..., RefoldClient],
) -> None:
    """Aiohttp cancels what queues for its pool: the caller was not, and gets an error."""
    async with wire(Step(end="stall")) as server:
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
        refold = connect(server, session=session, retry=at_once("never"))
        async with asyncio.TaskGroup() as group:
            holder = group.create_task(_swallowed(session.get(server.base_url)))
            await until(lambda: len(server.seen) == 1)
            call = group.create_task(_swallowed(refold.executions.get("e1")))
            await asyncio.sleep(0.02)
            await session.close()
    await holder
    assert isinstance(await call, (ConnectionFailedError, ClientClosedError))


async def _swallowed(call: Any) -> Any:
    try:
        return await call
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error


@pytest.mark.parametrize("verify", [False, "none", "host"])
async def test_a_connector_that_verifies_nothing_is_refused(
    connect: Callable[..., RefoldClient], verify: Any
) -> None:
    """It would show the key to whoever answers."""
    context: Any = False
    if verify:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE if verify == "none" else ssl.CERT_REQUIRED
    connector = aiohttp.TCPConnector(ssl=context)
    async with wire(STARTS) as server, aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(ConfigError, match="does not verify"):
            connect(server, session=session)


async def test_no_more_is_in_flight_than_its_pool_holds(
    connect: Callable[..., RefoldClient],
) -> None:
    """Calls queue in our budget, where it eats no timeout, instead of in the lent pool."""
    connector = aiohttp.TCPConnector(limit=2)
    async with (
        wire(Step(reply=ACCEPTED, delay=0.15)) as server,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        timeouts = Timeouts(connect=0.8, read=0.8)
        refold = connect(server, session=session, timeouts=timeouts, retry=at_once("never"))
        await asyncio.gather(*(refold.execute("wf_1", slug="s") for _ in range(16)))
    assert (len(server.seen), server.connections) == (16, 2)


async def test_a_read_over_it_is_repeated(connect: Callable[..., RefoldClient]) -> None:
    """What may be repeated is, whether it was sent or not."""
    document = Step(reply=http(200, {"_id": "e1", "status": "RUNNING"}))
    async with (
        wire(Step(end="rst"), document) as server,
        aiohttp.ClientSession() as session,
    ):
        execution = await connect(server, session=session, retry=at_once()).executions.get("e1")
    assert (execution.status, len(server.seen)) == ("RUNNING", 2)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="plain"),
        pytest.param({"middlewares": ()}, id="no middlewares"),
        pytest.param({"headers": {"X-Trace": "1"}}, id="headers"),
    ],
)
async def test_a_large_body_keeps_its_length(
    connect: Callable[..., RefoldClient], settings: dict[str, Any]
) -> None:
    """It is framed by Content-Length, not chunked, and arrives whole."""
    async with wire(STARTS) as server, aiohttp.ClientSession(**settings) as session:
        await connect(server, session=session).execute("wf_1", slug="s", payload=LARGE)
    (request,) = server.seen
    assert request.headers["content-length"] == str(len(request.body))
    assert "transfer-encoding" not in request.headers
    assert json.loads(request.body) == {"payload": LARGE}


async def test_a_slow_reply_over_it_ends(connect: Callable[..., RefoldClient]) -> None:
    """`Timeouts.read` bounds the reply, not the session's own timeout."""
    async with (
        wire(Step(reply=ACCEPTED, drip=0.01)) as server,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
    ):
        refold = connect(server, session=session, timeouts=Timeouts(read=0.5))
        async with asyncio.timeout(20):
            with pytest.raises(ExecutionOutcomeUnknownError):
                await refold.execute("wf_1", slug="s", retry=at_once("never"))


async def test_closing_the_client_ends_what_is_in_flight_over_it(
    connect: Callable[..., RefoldClient],
) -> None:
    """The session stays open, the call doesn't stay pending."""
    async with wire(Step(end="stall")) as server, aiohttp.ClientSession() as session:
        refold = connect(server, session=session)
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await until(lambda: len(server.seen) == 1)
        await refold.aclose()
        await asyncio.wait([call], timeout=10)
        ended = call.done()
        call.cancel()
        with pytest.raises(ExecutionOutcomeUnknownError):
            await call
        assert ended
        assert not session.closed
