"""Both ways to authenticate, and the renewal of a token that is refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    AuthenticationError,
    RateLimitError,
)
from refold_async.emulator import Emulator, Fault, Respond
from tests.support.endings import MODES, at_once
from tests.support.wire import RUN, STARTS, Step, http, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient

UNAUTHORISED = Step(
    reply=http(401, {"status_code": 401, "error": "SERVER_ERROR", "message": "Invalid Credentials"})
)


class Source:
    """A `session_token` callable that counts how often it is asked."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.asked = 0

    async def __call__(self) -> str:
        """Give the next token; the last one is repeated."""
        self.asked += 1
        await asyncio.sleep(0.01)
        return self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]


async def test_a_key_comes_with_the_linked_account(connect: Callable[..., RefoldClient]) -> None:
    """`x-api-key` plus `linked_account_id`, and no bearer."""
    async with wire(STARTS) as server:
        await connect(server, api_key="tk_1").execute("wf_1", slug="s", linked_account_id="a2")
    headers = server.seen[0].headers
    assert (headers["x-api-key"], headers["linked_account_id"]) == ("tk_1", "a2")
    assert "authorization" not in headers


async def test_a_token_brings_its_account(connect: Callable[..., RefoldClient]) -> None:
    """A bearer alone: neither key nor linked account is sent with it."""
    async with wire(STARTS) as server:
        await connect(server, session_token="jwt").execute("wf_1", slug="s")
    headers = server.seen[0].headers
    assert headers["authorization"] == "Bearer jwt"
    assert {"x-api-key", "linked_account_id"}.isdisjoint(headers)


async def test_a_renewable_token_is_fetched_with_the_first_call(
    connect: Callable[..., RefoldClient],
) -> None:
    """Not before, and not again for the next."""
    source = Source("one")
    async with wire(STARTS) as server:
        refold = connect(server, session_token=source)
        assert source.asked == 0
        await asyncio.gather(*(refold.execute("wf_1", slug="s") for _ in range(5)))
        await refold.execute("wf_1", slug="s")
    assert (source.asked, len(server.seen)) == (1, 6)


@MODES
async def test_a_refused_token_is_renewed_once_and_is_no_attempt(
    connect: Callable[..., RefoldClient], mode: str
) -> None:
    """In every mode the call goes on with the new token, as if it were the first try."""
    source = Source("old", "new")
    async with wire(UNAUTHORISED, STARTS) as server:
        refold = connect(server, session_token=source, retry=at_once(mode, attempts=1))
        handle = await refold.execute("wf_1", slug="s")
    assert [r.headers["authorization"] for r in server.seen] == ["Bearer old", "Bearer new"]
    assert (handle.attempts, handle.possible_duplicate, source.asked) == (1, False, 2)


@MODES
async def test_a_new_token_that_is_refused_ends_the_call(
    connect: Callable[..., RefoldClient], mode: str
) -> None:
    """One renewal per call: two requests, and the error."""
    source = Source("one", "two", "three")
    async with wire(UNAUTHORISED) as server:
        refold = connect(server, session_token=source, retry=at_once(mode))
        with pytest.raises(AuthenticationError):
            await refold.execute("wf_1", slug="s")
    assert (source.asked, len(server.seen)) == (2, 2)


@MODES
async def test_a_source_without_a_new_token_ends_the_call(
    connect: Callable[..., RefoldClient], mode: str
) -> None:
    """The same token again isn't sent again: one request, and the error."""
    source = Source("same")
    async with wire(UNAUTHORISED) as server:
        refold = connect(server, session_token=source, retry=at_once(mode))
        with pytest.raises(AuthenticationError):
            await refold.execute("wf_1", slug="s")
    assert (source.asked, len(server.seen)) == (2, 1)


@MODES
@pytest.mark.parametrize(
    "credential",
    [pytest.param({"session_token": "jwt"}, id="token"), pytest.param({"api_key": "k"}, id="key")],
)
async def test_a_credential_that_can_not_be_renewed_is_sent_once(
    connect: Callable[..., RefoldClient], mode: str, credential: dict[str, Any]
) -> None:
    """401 is final for a key and for a fixed token."""
    async with wire(UNAUTHORISED) as server:
        with pytest.raises(AuthenticationError, match="Invalid Credentials") as caught:
            await connect(server, retry=at_once(mode), **credential).execute("wf_1", slug="s")
    assert (caught.value.status, caught.value.error, len(server.seen)) == (401, "SERVER_ERROR", 1)


async def test_concurrent_refusals_renew_once(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """Forty calls whose token was revoked ask the source once, and all get through."""
    emulator.workflow("wf_1", slug="s")(lambda payload: payload)
    source = Source(emulator.issue_token("acct_1"), emulator.issue_token("acct_1"))
    emulator.revoke_token(source.tokens[0])
    refold = connect(emulator, session_token=source, max_connections=40)
    await asyncio.gather(*(refold.execute("wf_1", slug="s") for _ in range(40)))
    assert (source.asked, len(emulator.runs)) == (2, 40)


@pytest.mark.parametrize("verb", ["fetch", "stop", "rerun"])
async def test_other_calls_renew_as_well(connect: Callable[..., RefoldClient], verb: str) -> None:
    """A read, a stop and a rerun go on with the new token."""
    source = Source("old", "new")
    reply = http(200, {"_id": RUN, "id": RUN, "status": "RUNNING"})
    async with wire(UNAUTHORISED, Step(reply=reply)) as server:
        refold = connect(server, session_token=source, retry=at_once("never"))
        await getattr(refold.handle(RUN), verb)()
    assert [r.headers["authorization"] for r in server.seen] == ["Bearer old", "Bearer new"]


async def test_a_run_whose_response_node_sets_401_renews_nothing(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """The run happened: its 401 is the result, and it isn't started again."""
    emulator.workflow("wf_1", slug="s")(lambda payload: Respond(status=401, data={"who": "knows"}))
    source = Source(emulator.issue_token("acct_1"), "another")
    result = await connect(emulator, session_token=source).run("wf_1", slug="s", sync=True)
    assert (result.status_code, result.output, result.ok) == (401, {"who": "knows"}, False)
    assert (source.asked, len(emulator.runs)) == (1, 1)


async def test_a_token_is_renewed_in_each_try_that_is_refused(
    connect: Callable[..., RefoldClient],
) -> None:
    """A token that expires between two tries is renewed as well."""
    source = Source("one", "two", "three")
    busy = Step(reply=http(429, {"message": "slow down"}))
    async with wire(UNAUTHORISED, busy, UNAUTHORISED, STARTS) as server:
        refold = connect(server, session_token=source, retry=at_once("safe"))
        handle = await refold.execute("wf_1", slug="s")
    assert [
        request.headers["authorization"].removeprefix("Bearer ") for request in server.seen
    ] == [*("one", "two", "two", "three")]
    assert handle.attempts == 2


async def test_a_throttled_401_is_not_an_answer_to_renew_for(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """Only a 401 asks for a new token: 403 and 429 don't."""
    source = Source(emulator.issue_token("acct_1"), "another")
    emulator.faults.always("execute", Fault(status=429))
    refold = connect(emulator, session_token=source, retry=at_once("never"))
    with pytest.raises(RateLimitError):
        await refold.execute("wf_1", slug="s")
    assert source.asked == 1
