"""The credential at work: headers, and the renewal of refused tokens."""

from __future__ import annotations

import asyncio
import gc
from contextvars import ContextVar
from typing import Any

import pytest

from refold_async import Clock, SystemClock
from refold_async._config import Credential, Secret
from refold_async._errors import (
    ClientClosedError,
    ConfigError,
    ConnectionFailedError,
    RequestTimeoutError,
)
from refold_async._transport.credentials import Authenticator
from tests.support.clock import FakeClock, settle


class Source:
    """Gives the scripted tokens one by one, slowly; an exception is raised."""

    def __init__(self, *tokens: object) -> None:
        self.tokens = list(tokens)
        self.calls = 0

    async def __call__(self) -> str:
        """Give the next token."""
        self.calls += 1
        await asyncio.sleep(0)
        token = self.tokens.pop(0)
        if isinstance(token, BaseException):
            raise token
        return token  # type: ignore[return-value]


def authenticator(credential: Credential, clock: Clock | None = None) -> Authenticator:
    """Give an authenticator whose source has 30 seconds."""
    return Authenticator(credential, clock or SystemClock(), 30)


def from_source(*tokens: object) -> tuple[Authenticator, Source]:
    """Give an authenticator and the source it asks."""
    source = Source(*tokens)
    return authenticator(Credential(token_source=source)), source


async def test_api_key_has_its_own_header() -> None:
    """An API key is sent as `x-api-key`, and a call has to say for which account it is."""
    auth = authenticator(Credential(api_key=Secret("tk_1")))
    secret = await auth.renewed(None)
    assert auth.headers(secret, "acct_1") == {"x-api-key": "tk_1", "linked_account_id": "acct_1"}
    assert auth.headers(secret, None) == {"x-api-key": "tk_1"}
    assert not auth.bound_to_account


async def test_session_token_is_a_bearer_token() -> None:
    """A session token is sent as `Authorization`, and says itself for which account it is."""
    auth = authenticator(Credential(session_token=Secret("jwt")))
    assert auth.headers(await auth.renewed(None), "acct_1") == {"Authorization": "Bearer jwt"}
    assert auth.bound_to_account


async def test_fetched_token_is_a_bearer_token() -> None:
    """A token from a callable is sent like any other."""
    auth, _ = from_source("jwt")
    assert auth.current is None
    assert auth.bound_to_account
    assert auth.headers(await auth.renewed(None), "acct_1") == {"Authorization": "Bearer jwt"}


async def test_many_callers_fetch_the_first_token_once() -> None:
    """Fifty calls that need the first token ask the source once."""
    auth, source = from_source("jwt")
    secrets = await asyncio.gather(*(auth.renewed(None) for _ in range(50)))
    assert source.calls == 1
    assert {id(secret) for secret in secrets} == {id(auth.current)}


async def test_known_token_is_not_fetched_again() -> None:
    """A token is used until it is refused."""
    auth, source = from_source("jwt")
    assert await auth.renewed(None) is await auth.renewed(None)
    assert source.calls == 1


async def test_refused_token_is_renewed_once() -> None:
    """Fifty calls refused with one token ask for one new token."""
    auth, source = from_source("old", "new")
    refused = await auth.renewed(None)
    renewed = await asyncio.gather(*(auth.renewed(refused) for _ in range(50)))
    assert {secret.reveal() for secret in renewed} == {"new"}
    assert source.calls == 2


async def test_late_refusal_of_an_old_token_renews_nothing() -> None:
    """A call refused with a token that is already replaced takes the replacement."""
    auth, source = from_source("old", "new")
    refused = await auth.renewed(None)
    renewed = await auth.renewed(refused)
    assert await auth.renewed(refused) is renewed
    assert source.calls == 2


async def test_source_without_a_newer_token_gives_the_refused_one() -> None:
    """The same token again is the same secret: the caller sees that there is nothing to try."""
    auth, _ = from_source("jwt", "jwt")
    refused = await auth.renewed(None)
    assert await auth.renewed(refused) is refused


@pytest.mark.parametrize(
    "credential",
    [
        pytest.param(Credential(api_key=Secret("tk_1")), id="key"),
        pytest.param(Credential(session_token=Secret("jwt")), id="token"),
    ],
)
async def test_fixed_credential_can_not_be_renewed(credential: Credential) -> None:
    """A credential without a source is all there is."""
    auth = authenticator(credential)
    refused = await auth.renewed(None)
    assert await auth.renewed(refused) is refused


async def test_failing_source_means_nothing_was_sent() -> None:
    """A source's own error becomes ours, with the cause attached and out of the message."""
    failure = OSError("password=hunter2")
    auth, _ = from_source(failure)
    with pytest.raises(ConnectionFailedError, match="failed with OSError") as caught:
        await auth.renewed(None)
    assert caught.value.__cause__ is failure
    assert caught.value.sent is False
    assert "hunter2" not in str(caught.value)


async def test_source_may_recover() -> None:
    """A failed source is asked again by the next call."""
    auth, _ = from_source(OSError(), "jwt")
    with pytest.raises(ConnectionFailedError):
        await auth.renewed(None)
    assert (await auth.renewed(None)).reveal() == "jwt"


async def test_our_own_errors_pass_through() -> None:
    """A source built on another of our clients keeps its errors."""
    closed = ClientClosedError("closed")
    auth, _ = from_source(closed)
    with pytest.raises(ClientClosedError) as caught:
        await auth.renewed(None)
    assert str(caught.value) == str(closed)


@pytest.mark.parametrize("token", ["", "a b\n", "é", None, b"jwt"])
async def test_token_that_fits_no_header_is_refused(token: object) -> None:
    """What the source gives is held to the same rules as an argument."""
    auth, _ = from_source(token)
    with pytest.raises(ConfigError) as caught:
        await auth.renewed(None)
    assert caught.value.field == "session_token"


async def test_a_cancelled_caller_leaves_the_source_to_the_others() -> None:
    """The source is asked for all: who leaves takes nothing along."""
    auth, source = from_source("jwt", "jwt")
    first, second = (asyncio.create_task(auth.renewed(None)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).reveal() == "jwt"
    assert (first.cancelled(), source.calls) == (True, 1)


async def test_a_failure_is_for_all_who_wait() -> None:
    """Thirty calls and a source that is down: it is asked once, and each gets its own error."""
    auth, source = from_source(OSError("down"), "jwt")
    calls = (auth.renewed(None) for _ in range(30))
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in errors} == {ConnectionFailedError}
    assert (len({id(error) for error in errors}), source.calls) == (30, 1)


async def test_a_failure_nobody_waits_for_is_not_complained_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The caller left as the source failed."""
    auth, _ = from_source(OSError("down"))
    task = asyncio.create_task(auth.renewed(None))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await settle()
    del auth
    gc.collect()
    assert caplog.text == ""


async def test_a_source_that_was_cancelled_cancels_nobody() -> None:
    """What it waited for was cancelled, not the caller."""
    auth, _ = from_source(asyncio.CancelledError())
    with pytest.raises(ConnectionFailedError, match="CancelledError"):
        await auth.renewed(None)


async def test_a_plain_function_is_a_source() -> None:
    """It need not be a coroutine function."""
    auth = authenticator(Credential(token_source=lambda: "jwt"))
    assert (await auth.renewed(None)).reveal() == "jwt"


@pytest.mark.parametrize("given", [7, None, b"jwt", ["jwt"]])
async def test_a_source_of_something_else_is_a_wrong_setting(given: Any) -> None:
    """The error says what it gave, and what it must give."""
    auth = authenticator(Credential(token_source=lambda: given))
    with pytest.raises(ConfigError, match=f"a string, not {type(given).__name__}"):
        await auth.renewed(None)


async def test_a_source_has_so_much_time(clock: FakeClock) -> None:
    """After that the call is over, unsent; and the next one asks anew."""
    asked = []

    async def hang() -> str:
        asked.append(1)
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    auth = authenticator(Credential(token_source=hang), clock)
    for _ in range(2):
        task = asyncio.create_task(auth.renewed(None))
        await clock.advance(29.9)
        assert not task.done()
        await clock.advance(0.1)
        with pytest.raises(RequestTimeoutError, match="within 30 s"):
            await task
    assert len(asked) == 2


async def test_a_call_waits_no_longer_than_its_own_deadline(clock: FakeClock) -> None:
    """The source goes on for the others."""
    auth = authenticator(Credential(token_source=lambda: asyncio.sleep(0.05, "jwt")), clock)
    task = asyncio.create_task(auth.renewed(None, clock.now + 5))
    await clock.advance(5)
    with pytest.raises(RequestTimeoutError, match="own timeout"):
        await task
    assert (await auth.renewed(None)).reveal() == "jwt"


async def test_a_source_sees_nothing_of_a_caller() -> None:
    """It works for all of them, so it runs in a context of its own."""
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    tenant.set("jane")
    auth = authenticator(Credential(token_source=tenant.get))
    assert (await auth.renewed(None)).reveal() == "nobody"


async def test_empty_credential_is_a_wrong_setting() -> None:
    """A credential of neither kind is refused where it would be used."""
    with pytest.raises(ConfigError, match="no credential"):
        await authenticator(Credential()).renewed(None)
