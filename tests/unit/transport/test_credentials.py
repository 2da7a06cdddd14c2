"""The credential at work: headers, and the renewal of refused tokens."""

from __future__ import annotations

import asyncio

import pytest

from refold_async._config import Credential, Secret
from refold_async._errors import ClientClosedError, ConfigError, ConnectionFailedError
from refold_async._transport.credentials import Authenticator


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


def from_source(*tokens: object) -> tuple[Authenticator, Source]:
    """Give an authenticator and the source it asks."""
    source = Source(*tokens)
    return Authenticator(Credential(token_source=source)), source


async def test_api_key_has_its_own_header() -> None:
    """An API key is sent as `x-api-key`, and a call has to say for which account it is."""
    auth = Authenticator(Credential(api_key=Secret("tk_1")))
    secret = await auth.secret()
    assert auth.headers(secret, "acct_1") == {"x-api-key": "tk_1", "linked_account_id": "acct_1"}
    assert auth.headers(secret, None) == {"x-api-key": "tk_1"}
    assert not auth.bound_to_account


async def test_session_token_is_a_bearer_token() -> None:
    """A session token is sent as `Authorization`, and says itself for which account it is."""
    auth = Authenticator(Credential(session_token=Secret("jwt")))
    assert auth.headers(await auth.secret(), "acct_1") == {"Authorization": "Bearer jwt"}
    assert auth.bound_to_account


async def test_fetched_token_is_a_bearer_token() -> None:
    """A token from a callable is sent like any other."""
    auth, _ = from_source("jwt")
    assert auth.current is None
    assert auth.bound_to_account
    assert auth.headers(await auth.secret(), "acct_1") == {"Authorization": "Bearer jwt"}


async def test_many_callers_fetch_the_first_token_once() -> None:
    """Fifty calls that need the first token ask the source once."""
    auth, source = from_source("jwt")
    secrets = await asyncio.gather(*(auth.secret() for _ in range(50)))
    assert source.calls == 1
    assert {id(secret) for secret in secrets} == {id(auth.current)}


async def test_known_token_is_not_fetched_again() -> None:
    """A token is used until it is refused."""
    auth, source = from_source("jwt")
    assert await auth.secret() is await auth.secret()
    assert source.calls == 1


async def test_refused_token_is_renewed_once() -> None:
    """Fifty calls refused with one token ask for one new token."""
    auth, source = from_source("old", "new")
    refused = await auth.secret()
    renewed = await asyncio.gather(*(auth.renewed(refused) for _ in range(50)))
    assert {secret.reveal() for secret in renewed} == {"new"}
    assert source.calls == 2


async def test_late_refusal_of_an_old_token_renews_nothing() -> None:
    """A call refused with a token that is already replaced takes the replacement."""
    auth, source = from_source("old", "new")
    refused = await auth.secret()
    renewed = await auth.renewed(refused)
    assert await auth.renewed(refused) is renewed
    assert source.calls == 2


async def test_source_without_a_newer_token_gives_the_refused_one() -> None:
    """The same token again is the same secret: the caller sees that there is nothing to try."""
    auth, _ = from_source("jwt", "jwt")
    refused = await auth.secret()
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
    auth = Authenticator(credential)
    refused = await auth.secret()
    assert await auth.renewed(refused) is refused


async def test_failing_source_means_nothing_was_sent() -> None:
    """A source's own error becomes ours, with the cause attached and out of the message."""
    failure = OSError("password=hunter2")
    auth, _ = from_source(failure)
    with pytest.raises(ConnectionFailedError, match="failed with OSError") as caught:
        await auth.secret()
    assert caught.value.__cause__ is failure
    assert caught.value.sent is False
    assert "hunter2" not in str(caught.value)


async def test_source_may_recover() -> None:
    """A failed source is asked again by the next call."""
    auth, _ = from_source(OSError(), "jwt")
    with pytest.raises(ConnectionFailedError):
        await auth.secret()
    assert (await auth.secret()).reveal() == "jwt"


async def test_our_own_errors_pass_through() -> None:
    """A source built on another of our clients keeps its errors."""
    closed = ClientClosedError("closed")
    auth, _ = from_source(closed)
    with pytest.raises(ClientClosedError) as caught:
        await auth.secret()
    assert caught.value is closed


@pytest.mark.parametrize("token", ["", "a b\n", "é", None, b"jwt"])
async def test_token_that_fits_no_header_is_refused(token: object) -> None:
    """What the source gives is held to the same rules as an argument."""
    auth, _ = from_source(token)
    with pytest.raises(ConfigError) as caught:
        await auth.secret()
    assert caught.value.field == "session_token"


async def test_cancelled_renewal_lets_the_next_one_ask() -> None:
    """A cancelled caller does not keep the lock."""
    auth, source = from_source("jwt", "jwt")
    task = asyncio.create_task(auth.secret())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await auth.secret()).reveal() == "jwt"
    assert source.calls == 2


async def test_empty_credential_is_a_wrong_setting() -> None:
    """A credential of neither kind is refused where it would be used."""
    with pytest.raises(ConfigError, match="no credential"):
        await Authenticator(Credential()).secret()
