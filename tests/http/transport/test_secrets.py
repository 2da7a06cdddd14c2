"""Where a credential must not show: text, logs, errors, tracebacks with locals, headers kept."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp
import pytest

from refold_async import ExecutionRequest, RefoldError, ServerError, Timeouts
from tests.support.endings import at_once
from tests.support.wire import RUN, STARTS, Step, http, wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from refold_async import RefoldClient

SECRET = "tk_5eac2e7f00d"


async def _token() -> str:
    return SECRET


CREDENTIALS = pytest.mark.parametrize(
    "credential",
    [
        pytest.param("api_key", id="key"),
        pytest.param("session_token", id="token"),
        pytest.param("source", id="renewable token"),
    ],
)


def holding(credential: str) -> dict[str, Any]:
    """Give the setting that holds the secret."""
    if credential == "source":
        return {"session_token": _token}
    return {credential: SECRET}


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error and all it came from."""
    if error is not None:
        yield error
        yield from chain(error.__cause__)
        yield from chain(error.__context__)


def shown(error: BaseException) -> str:
    """Give all that a crash reporter sees of an error."""
    texts = [str(error), repr(error), repr(vars(error)), repr(error.args)]
    for link in chain(error):
        report = traceback.TracebackException.from_exception(link, capture_locals=True)
        texts += [*report.format(), str(link), repr(link), repr(vars(link))]
    return "\n".join(texts)


@CREDENTIALS
@pytest.mark.parametrize(
    "step",
    [
        pytest.param(Step(reply=http(400, {"error": "no slug"})), id="400"),
        pytest.param(Step(reply=http(401, {"message": "Invalid Credentials"})), id="401"),
        pytest.param(Step(reply=http(502, "<html>")), id="502"),
        pytest.param(Step(reply=http(302, b"")), id="redirect"),
        pytest.param(Step(reply=http(200, "<html>")), id="200 HTML"),
        pytest.param(Step(reply=b"garbage\r\n\r\n", end="fin"), id="garbage"),
        pytest.param(Step(reply=http(body={}, length=99), end="fin"), id="truncated"),
        pytest.param(Step(end="fin"), id="FIN"),
        pytest.param(Step(end="rst"), id="RST"),
        pytest.param(Step(end="stall"), id="stall"),
    ],
)
async def test_no_error_shows_the_secret(
    connect: Callable[..., RefoldClient],
    caplog: pytest.LogCaptureFixture,
    credential: str,
    step: Step,
) -> None:
    """Neither what is raised, nor what it came from, nor the log at DEBUG."""
    caplog.set_level(logging.DEBUG)
    async with wire(step) as server:
        refold = connect(
            server, retry=at_once(), timeouts=Timeouts(read=0.5), **holding(credential)
        )
        with pytest.raises(RefoldError) as caught:
            await refold.execute("wf_1", slug="s", payload={"n": "x" * 70_000})
    assert len(server.seen) >= 1
    assert SECRET not in shown(caught.value)
    assert SECRET.encode() not in pickle.dumps(caught.value)
    assert SECRET not in caplog.text


def echo(status: int, page: bytes) -> Step:
    """Show the secret in body and headers; here, for a test's own locals are in tracebacks too."""
    headers = {"Location": f"https://elsewhere.example/?key={SECRET}", "x-request-id": SECRET}
    body = page.replace(b"%", SECRET.encode())
    return Step(reply=http(status, body, headers=headers), end="fin")


@CREDENTIALS
@pytest.mark.parametrize("status", [200, 202, 304, 307, 400, 401, 403, 429, 500, 502, 503])
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(b'{"message": "bad key %", "error": "%", "sent": ["%"]}', id="json"),
        pytest.param(b"<html>X-API-KEY: %<br>Authorization: Bearer %", id="page"),
    ],
)
async def test_a_service_that_shows_what_it_was_sent_is_not_quoted(
    connect: Callable[..., RefoldClient],
    caplog: pytest.LogCaptureFixture,
    credential: str,
    status: int,
    page: bytes,
) -> None:
    """Debug pages do."""
    caplog.set_level(logging.DEBUG)
    async with wire(echo(status, page)) as server:
        refold = connect(server, retry=at_once(), **holding(credential))
        with pytest.raises(RefoldError) as caught:
            await refold.execute("wf_1", slug="s")
    assert SECRET not in shown(caught.value) + caplog.text
    assert SECRET.encode() not in pickle.dumps(caught.value)


@CREDENTIALS
async def test_no_connection_error_shows_the_secret(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture, credential: str
) -> None:
    """Nor an error from before anything was sent."""
    caplog.set_level(logging.DEBUG)
    async with wire(STARTS) as server:
        server.quit()
        refold = connect(server, retry=at_once(), **holding(credential))
        with pytest.raises(RefoldError) as caught:
            await refold.execute("wf_1", slug="s")
    assert SECRET not in shown(caught.value) + caplog.text


@CREDENTIALS
@pytest.mark.parametrize("size", [pytest.param(1, id="small"), pytest.param(70_000, id="large")])
async def test_no_cancelled_call_shows_the_secret(
    connect: Callable[..., RefoldClient], credential: str, size: int
) -> None:
    """A cancelled call has a traceback as well, and `asyncio.timeout` is how most are cancelled."""
    async with wire(Step(end="stall")) as server:
        refold = connect(server, **holding(credential))
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.05):
                await refold.execute("wf_1", slug="s", payload={"n": "x" * size})
    assert SECRET not in shown(caught.value)


def parts(thing: Any, seen: set[int]) -> Iterator[Any]:
    """Give an object of ours and those below it."""
    if id(thing) in seen or not type(thing).__module__.startswith("refold_async"):
        return
    seen.add(id(thing))
    yield thing
    slots = {name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())}
    for name in {*getattr(thing, "__dict__", {})} | slots:
        yield from parts(getattr(thing, name, None), seen)


@CREDENTIALS
async def test_no_object_shows_the_secret(
    connect: Callable[..., RefoldClient], credential: str
) -> None:
    """Client, view, handle and all that is below them keep it to themselves."""
    async with wire(STARTS) as server:
        refold = connect(server, **holding(credential))
        handle = await refold.execute("wf_1", slug="s")
        seen: set[int] = set()
        ours = [*parts(refold, seen), *parts(handle, seen), *parts(refold.executions, seen)]
        kinds = {type(thing).__name__ for thing in ours}
        told = [thing for thing in ours if SECRET in f"{thing!r} {thing!s}"]
        kept = pickle.dumps(handle.ref)
        report = await refold.run_batch([ExecutionRequest("wf_1", slug="s")], wait=False)
        for holder in (handle, report, report.items()[0]):
            with pytest.raises(
                TypeError, match=r"handle\.ref, item\.document\(\) or report\.to_jsonl"
            ):
                pickle.dumps(holder)
    assert told == []
    assert SECRET.encode() not in kept
    assert {"RefoldClient", "ExecutionHandle", "Transport", "Secret"} <= kinds


@CREDENTIALS
async def test_the_session_keeps_no_secret(
    connect: Callable[..., RefoldClient], monkeypatch: pytest.MonkeyPatch, credential: str
) -> None:
    """The credential is put on each request, not on the session."""
    sessions: list[aiohttp.ClientSession] = []
    make = aiohttp.ClientSession

    def recorded(*args: Any, **options: Any) -> aiohttp.ClientSession:
        sessions.append(make(*args, **options))
        return sessions[-1]

    monkeypatch.setattr(aiohttp, "ClientSession", recorded)
    async with wire(STARTS) as server:
        await connect(server, **holding(credential)).execute("wf_1", slug="s")
    (session,) = sessions
    assert SECRET not in repr(dict(session.headers))
    assert SECRET in repr(dict(server.seen[0].headers))


async def test_a_credential_is_not_pickled_with_a_client(
    connect: Callable[..., RefoldClient],
) -> None:
    """A client that is sent to another process is refused, instead of taking the key along."""
    async with wire() as server:
        refold = connect(server, api_key=SECRET)
        with pytest.raises(TypeError):
            pickle.dumps(refold)


AWKWARD = 'tk/5e+c2="7\\f<0&d'


@pytest.mark.parametrize(
    "spelled",
    [
        pytest.param(AWKWARD, id="plain"),
        pytest.param(json.dumps(AWKWARD)[1:-1], id="JSON"),
        pytest.param(json.dumps(AWKWARD)[1:-1].replace("/", "\\/"), id="JSON of PHP"),
        pytest.param(
            "".join(c if c.isalnum() else f"\\u{ord(c):04X}" for c in AWKWARD), id="JSON of .NET"
        ),
        pytest.param(quote(AWKWARD, safe=""), id="URL"),
        pytest.param("".join(f"&#{ord(c)};" if c in '/+="<&' else c for c in AWKWARD), id="HTML"),
        pytest.param(AWKWARD.upper(), id="upper case"),
    ],
)
async def test_a_secret_is_known_however_it_is_spelled(
    connect: Callable[..., RefoldClient], spelled: str
) -> None:
    """Escaped as JSON, HTML or a URL it is the same secret."""
    async with wire(Step(reply=http(500, f"sent: {spelled}".encode()))) as server:
        refold = connect(server, retry=at_once("never"), api_key=AWKWARD)
        with pytest.raises(RefoldError) as caught:
            await refold.execute("wf_1", slug="s")
    assert "sent: ***" in repr(vars(caught.value.__cause__))
    assert spelled not in str(caught.value)
    assert spelled not in repr(vars(caught.value.__cause__))


@pytest.mark.parametrize("password", ["503", "message", "9"])
async def test_what_a_reply_proves_is_read_before_anything_is_hidden(
    connect: Callable[..., RefoldClient], password: str
) -> None:
    """A secret that stands in every reply changes neither what is known nor how long to wait."""
    refused = http(503, {"message": "m", "status_code": 503}, headers={"Retry-After": "9"})
    async with wire(Step(reply=refused)) as server:
        proxy = server.base_url.replace("://", f"://jane:{password}@")
        refold = connect(server, retry=at_once("never"), proxy=proxy)
        with pytest.raises(ServerError) as caught:
            await refold.execute("wf_1", slug="s")
    assert caught.value.retry_after == 9


async def test_an_output_that_holds_the_secret_is_handed_over_whole(
    connect: Callable[..., RefoldClient],
) -> None:
    """What a run gives is the caller's, who has the secret anyway."""
    reply = http(200, {"execution_id": RUN, "return_value": SECRET})
    async with wire(Step(reply=reply)) as server:
        result = await connect(server, api_key=SECRET).run("wf_1", slug="s", sync=True)
    assert result.output == SECRET


async def test_a_broken_reply_that_shows_the_secret_is_not_quoted(
    connect: Callable[..., RefoldClient],
) -> None:
    """Aiohttp quotes the line it can't read."""
    async with wire(
        Step(reply=b"HTTP/1.1 %b nonsense\r\n\r\n" % SECRET.encode(), end="fin")
    ) as server:
        with pytest.raises(RefoldError) as caught:
            await connect(server, retry=at_once(), api_key=SECRET).execute("wf_1", slug="s")
    assert SECRET not in shown(caught.value)
