"""Deliveries over real HTTP: aiohttp, and uvicorn with FastAPI, Starlette and Litestar."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from litestar import Litestar
from litestar import asgi as litestar_asgi
from starlette.applications import Starlette
from starlette.routing import Mount

from refold_async import ConfigError, RefoldClient
from refold_async.webhooks import (
    ConnectionEvent,
    WebhookEvent,
    WorkflowEvent,
    _aiohttp,
    _asgi,
    _receiver,
    aiohttp_handler,
    asgi,
)
from tests.support.clock import settle
from tests.support.deliveries import KEY, RUN, connection_event, encoded, sign, workflow_event
from tests.support.receiving import (
    PATH,
    Told,
    request,
    serving_aiohttp,
    serving_asgi,
    status_of,
    talk,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EVENT = encoded(workflow_event())
SERVERS = ["aiohttp", "asgi"]


@asynccontextmanager
async def serving(kind: str, told: Told, **options: Any) -> AsyncIterator[int]:
    """Serve a receiver; give the port."""
    if kind == "aiohttp":
        async with serving_aiohttp(aiohttp_handler(told, **options)) as port:
            yield port
    else:
        async with serving_asgi(asgi(told, **options)) as port:
            yield port


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give bodies a fifth of a second."""
    monkeypatch.setattr(_aiohttp, "BODY_WITHIN", 0.2)
    monkeypatch.setattr(_asgi, "BODY_WITHIN", 0.2)


# -- what is taken -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_a_signed_event_is_taken_and_told(kind: str, method: str) -> None:
    """With whatever method the webhook was set to."""
    told = Told()
    async with serving(kind, told) as port:
        reply = await talk(port, request(EVENT, method=method))
    assert (status_of(reply), reply.endswith(b"taken")) == (200, True)
    [event] = told.events
    assert isinstance(event, WorkflowEvent)
    assert event.execution_id == RUN


@pytest.mark.parametrize("kind", SERVERS)
async def test_events_of_connections_and_unknown_ones_are_taken_too(kind: str) -> None:
    """What is verified is never refused for being new."""
    told = Told()
    async with serving(kind, told) as port:
        for body in (encoded(connection_event()), encoded({"event": "Plan Changed"})):
            assert status_of(await talk(port, request(body))) == 200
    assert [type(event) for event in told.events] == [ConnectionEvent, WebhookEvent]


@pytest.mark.parametrize("kind", SERVERS)
async def test_either_of_two_keys_may_have_signed(kind: str) -> None:
    """While a key is rotated."""
    told = Told()
    async with serving(kind, told, api_key=["tk_old", "tk_new"]) as port:
        for key, status in (("tk_old", 200), ("tk_new", 200), (KEY, 401)):
            assert status_of(await talk(port, request(EVENT, signature=sign(EVENT, key)))) == status
    assert len(told.events) == 2


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_body_of_a_mebibyte_in_chunks_is_taken(kind: str) -> None:
    """Up to the limit, however it is cut."""
    told = Told()
    body = encoded(workflow_event(error="x" * (1024 * 1024 - 400)))
    half = len(body) // 2
    pieces = [b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:])]
    head = request(signature=sign(body), headers=("Transfer-Encoding: chunked",))
    async with serving(kind, told) as port:
        assert status_of(await talk(port, head, *pieces, b"0\r\n\r\n")) == 200
    assert len(told.events) == 1


# -- where it is mounted -------------------------------------------------------------------------


def _fastapi(app: Any) -> Any:
    outer = FastAPI()
    outer.mount(PATH, app)
    return outer


def _starlette(app: Any) -> Any:
    return Starlette(routes=[Mount(PATH, app)])


def _litestar(app: Any) -> Any:
    handler = litestar_asgi(PATH, is_mount=True, copy_scope=True)(app)
    return Litestar([handler], logging_config=None)


@pytest.mark.parametrize("mount", [_fastapi, _starlette, _litestar])
async def test_it_is_mounted_in_a_framework(mount: Any) -> None:
    """An URL with a slash at the end reaches it in all of them."""
    told = Told()
    async with serving_asgi(mount(asgi(told))) as port:
        assert status_of(await talk(port, request(EVENT, path=f"{PATH}/"))) == 200
        assert status_of(await talk(port, request(b"{}", path=f"{PATH}/", signature="no"))) == 401
    assert len(told.events) == 1


@pytest.mark.parametrize("mount", [_fastapi, _starlette])
async def test_a_mounted_path_without_its_slash_is_redirected_by_the_framework(mount: Any) -> None:
    """And a webhook does not follow: so the pages say to give the URL with a slash."""
    async with serving_asgi(mount(asgi(Told()))) as port:
        assert status_of(await talk(port, request(EVENT))) == 307


# -- what is refused -----------------------------------------------------------------------------

OTHER = "6a314c54d4616e99e7fa5a03"
REFUSED = [
    pytest.param(request(EVENT, signature=None), 401, id="no signature"),
    pytest.param(request(EVENT, signature=""), 401, id="an empty one"),
    pytest.param(request(EVENT, signature="abc"), 401, id="a short one"),
    pytest.param(request(EVENT, signature="z" * 64), 401, id="no hex"),
    pytest.param(request(EVENT, signature="0" * 64), 401, id="a forged one"),
    pytest.param(request(EVENT, signature="sha256=" + sign(EVENT)), 401, id="a prefix"),
    pytest.param(request(EVENT, signature=sign(EVENT)[:-2]), 401, id="two digits less"),
    pytest.param(request(EVENT, signature=sign(EVENT, "tk_other")), 401, id="another key's"),
    pytest.param(request(EVENT, signature=sign(EVENT + b" ")), 401, id="another body's"),
    pytest.param(request(EVENT + b" ", signature=sign(EVENT)), 401, id="a longer body"),
    pytest.param(
        request(EVENT.replace(RUN.encode(), OTHER.encode()), signature=sign(EVENT)),
        401,
        id="another run",
    ),
    pytest.param(request(EVENT, signature="\u00e9" * 64), 401, id="not ASCII"),
    pytest.param(
        request(encoded(workflow_event(environment="production"))), 401, id="other environment"
    ),
    pytest.param(request(b""), 400, id="empty"),
    pytest.param(request(b"event=Workflow+Completed"), 400, id="a form"),
    pytest.param(request(b'{"event": '), 400, id="truncated"),
    pytest.param(request(b"[]"), 400, id="an array"),
    pytest.param(request(b"null"), 400, id="null"),
    pytest.param(request(b"\xff\xfe{}"), 400, id="no UTF-8"),
    pytest.param(request(b'{"instance_id": NaN}'), 400, id="NaN"),
    pytest.param(request(b'{"instance_id": 1e999}'), 400, id="infinite"),
    pytest.param(request(b'{"n": ' + b"9" * 5_000 + b"}"), 400, id="endless number"),
    pytest.param(request(b'{"a":' * 5_000 + b"1" + b"}" * 5_000), 400, id="deep"),
    pytest.param(request(b'{"event": "Workflow Completed"}'), 400, id="no run"),
    pytest.param(request(b'{"instance_id": ""}'), 400, id="an empty run"),
    pytest.param(request(b'{"instance_id": "../x"}'), 400, id="a path for a run"),
    pytest.param(request(b'{"instance_id": {"$ne": 1}}'), 400, id="an object for a run"),
    pytest.param(request(b'{"instance_id": "a\\r\\nb"}'), 400, id="a line in a run"),
    pytest.param(request(method="GET"), 405, id="GET"),
    pytest.param(request(method="DELETE"), 405, id="DELETE"),
    pytest.param(request(method="OPTIONS"), 405, id="OPTIONS"),
    pytest.param(request(EVENT, length=1024 * 1024 + 1), 413, id="announced too large"),
    pytest.param(request(EVENT, length=10**17), 413, id="announced enormous"),
]


@pytest.mark.parametrize("kind", SERVERS)
async def test_what_is_no_event_of_ours_is_refused_and_forgotten(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is told, nothing is kept, and no log line has the key or the right signature."""
    caplog.set_level(logging.DEBUG, "refold_async")
    told = Told()
    handed: list[WebhookEvent] = []

    async def on_event(event: WebhookEvent) -> None:
        handed.append(event)

    async with serving(kind, told, on_event=on_event) as port:
        for case in REFUSED:
            raw, status = case.values
            reply = await talk(port, raw)  # type: ignore[arg-type]
            assert status_of(reply) == status, case.id
            if status == 405:
                assert b"POST, PUT, PATCH" in reply
    assert (told.events, handed) == ([], [])
    assert KEY not in caplog.text
    assert sign(EVENT) not in caplog.text


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.usefixtures("hasty")
async def test_a_body_that_drips_is_ended_and_the_connection_closed(kind: str) -> None:
    """However little comes at a time; a head that never comes ends is the proxy's to end."""
    told = Told()
    drips = [b"x"] * 1_000
    async with serving(kind, told) as port:
        reply = await talk(port, request(length=1_000), *drips, every=0.02)
    assert status_of(reply) == 408
    assert told.events == []


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_body_without_end_is_cut_at_the_limit(kind: str) -> None:
    """In chunks nobody announces how much is to come."""
    told = Told()
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = request(signature="0" * 64, headers=("Transfer-Encoding: chunked",))
    async with serving(kind, told) as port:
        reply = await talk(port, head, *[chunk] * 10_000)
    assert status_of(reply) in {413, 0}, "or the connection was reset under what was being sent"
    assert told.events == []


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.usefixtures("hasty")
async def test_a_peer_that_leaves_in_the_middle_disturbs_nobody(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The next delivery is taken, and there is nothing in the log."""
    told = Told()
    async with serving(kind, told) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(b"half", length=1_000))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await asyncio.sleep(0.05)
        assert status_of(await talk(port, request(EVENT))) == 200
    assert len(told.events) == 1
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("kind", SERVERS)
async def test_chunks_that_are_none_are_refused(kind: str) -> None:
    """By the server or by us; nothing breaks over them."""
    told = Told()
    head = request(signature="0" * 64, headers=("Transfer-Encoding: chunked",))
    async with serving(kind, told) as port:
        assert status_of(await talk(port, head, b"zz\r\nxx\r\n")) in {400, 0}
        assert status_of(await talk(port, request(EVENT))) == 200


# -- on_event ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SERVERS)
async def test_on_event_runs_off_the_path_and_its_failures_are_logged(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The service has its 200 before; a failure concerns nobody else."""
    go, over = asyncio.Event(), asyncio.Event()
    seen: list[WebhookEvent] = []

    async def on_event(event: WebhookEvent) -> None:
        await go.wait()
        seen.append(event)
        if len(seen) == 2:
            over.set()
        raise ZeroDivisionError

    told = Told()
    async with serving(kind, told, on_event=on_event) as port:
        for _ in range(2):
            assert status_of(await talk(port, request(EVENT))) == 200
        assert (seen, len(told.events)) == ([], 2)
        go.set()
        await over.wait()
        await settle()
    assert caplog.text.count("on_event raised") == 2
    assert "ZeroDivisionError" in caplog.text


async def test_events_beyond_those_that_can_be_kept_are_to_be_delivered_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """503 while too many are under way; the waiting handles are told all the same."""
    monkeypatch.setattr(_receiver, "_KEPT_AT_MOST", 3)
    go, told = asyncio.Event(), Told()

    async def on_event(_: WebhookEvent) -> None:
        await go.wait()

    async with serving("asgi", told, on_event=on_event) as port:
        found = [status_of(await talk(port, request(EVENT))) for _ in range(4)]
        assert found == [200, 200, 200, 503]
        assert len(told.events) == 4
        go.set()
        await asyncio.sleep(0.01)
        assert status_of(await talk(port, request(EVENT))) == 200


async def test_what_on_event_has_under_way_at_the_end_is_named_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It was answered 200, so nobody delivers it again: the log is all there is of it."""

    async def on_event(_: WebhookEvent) -> None:
        await asyncio.Event().wait()

    receiver = _receiver.Receiver(Told(), on_event=on_event)
    assert receiver.take(EVENT, sign(EVENT)) is _receiver.Verdict.TAKEN
    await asyncio.sleep(0)
    [task] = receiver._tasks
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "on_event was cancelled for WorkflowEvent(kind=<WebhookEventKind" in caplog.text
    assert RUN in caplog.text


# -- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [aiohttp_handler, asgi])
async def test_a_client_with_a_session_token_needs_the_key_told(make: Any) -> None:
    """There is nothing to verify with otherwise."""
    async with RefoldClient(session_token="jwt", linked_account_id="acct_1") as refold:
        with pytest.raises(ConfigError, match="api_key"):
            make(refold)
        make(refold, api_key=KEY)


async def test_the_clients_own_key_verifies_and_is_shown_nowhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither by the handler nor by what it logs."""
    caplog.set_level(logging.DEBUG)
    async with RefoldClient(api_key=KEY) as refold:
        assert refold.webhook_keys == (KEY,)
        app = asgi(refold)
        async with serving_asgi(app) as port:
            assert status_of(await talk(port, request(EVENT))) == 200
            assert status_of(await talk(port, request(EVENT, signature="0" * 64))) == 401
        assert KEY not in f"{app!r} {refold!r} {caplog.text}"
