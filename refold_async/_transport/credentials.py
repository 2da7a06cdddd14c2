"""The credential at work: the header of each attempt, and the renewal of a token after a 401."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from contextvars import Context
from typing import TYPE_CHECKING, Any

from refold_async._checks import check_header
from refold_async._clock import Clock, Deadline, done_within, held, is_cancelled
from refold_async._config import Credential, Secret
from refold_async._errors import (
    ClientClosedError,
    ConfigError,
    ConnectionFailedError,
    RefoldError,
    RequestTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Hashable


class Authenticator:
    """Gives the header that proves who we are; knows when a token can be renewed.

    `timeout` is how long a token may take to fetch, in seconds.
    """

    def __init__(self, credential: Credential, clock: Clock, timeout: float) -> None:
        self.origin = credential.origin  # for errors
        self._api_key = credential.api_key
        self._token = credential.session_token
        self._source = credential.token_source
        self._clock = clock
        self._timeout = timeout
        self._fetching: asyncio.Task[Secret | RefoldError] | None = None  # for all who wait

    @property
    def bound_to_account(self) -> bool:
        """Whether the credential itself says for which linked account calls are."""
        return self._api_key is None

    @property
    def signs(self) -> tuple[str, ...]:
        """What the service signs its webhooks with: the API key, where that is the credential."""
        return () if self._api_key is None else (self._api_key.reveal(),)

    @property
    def current(self) -> Secret | None:
        """The secret in use, or None before the first token was fetched."""
        return self._api_key or self._token

    @property
    def identity(self) -> Hashable:
        """What two clients with the same credential have in common; doesn't give it away."""
        if self._source is not None:
            # Each access to a method makes a new object.
            owner = getattr(self._source, "__self__", None)
            return id(owner), id(getattr(self._source, "__func__", self._source))
        kind, secret = "key" if self._api_key else "token", self.current
        revealed = "" if secret is None else secret.reveal()
        return kind, hashlib.sha256(revealed.encode()).digest()

    def headers(self, secret: Secret, account: str | None) -> dict[str, str]:
        """Give the headers that say who calls, and for which account. See: "Authentication"."""
        if self._api_key is None:
            return {"Authorization": f"Bearer {secret.reveal()}"}
        if account is None:
            return {"x-api-key": secret.reveal()}
        return {"x-api-key": secret.reveal(), "linked_account_id": account}

    async def renewed(self, refused: Secret | None, deadline: float | None = None) -> Secret:
        """Give a token other than the one that was refused; it is refused itself if there is none.

        However many calls wait for a token, the source is asked once, and what it answers, a
        failure too, is for all of them.

        Args:
            refused: the token the service does not take; None if there was none yet.
            deadline: monotonic seconds until which to wait, or None.

        Raises:
            ConnectionFailedError: the source failed; nothing was sent to the service.
            RequestTimeoutError: it gave no token in time; nothing was sent either.
            ConfigError: what it gave is no token.
            ClientClosedError: the client was closed meanwhile.
        """
        if self._source is None:
            return self.current or _no_token()
        if self._token is not None and self._token is not refused:
            return self._token
        fetching = self._fetching
        if fetching is None or fetching.done():
            # Nobody's in particular: with no caller's context, and not cancelled with any.
            fetching = self._fetching = asyncio.get_running_loop().create_task(
                self._fetch(), context=Context()
            )
        left = None if deadline is None else deadline - self._clock.monotonic()
        if not await done_within(self._clock, fetching, left):
            return _too_late("the call's own timeout")
        if fetching.cancelled():
            raise ClientClosedError("the client was closed while this call waited for its token")
        result = fetching.result()
        if isinstance(result, RefoldError):
            raise result.fresh()
        return result

    def close(self) -> None:
        """Stop asking for a token."""
        if self._fetching is not None:
            self._fetching.cancel()

    async def _fetch(self) -> Secret | RefoldError:
        within = Deadline(self._clock, self._clock.monotonic() + self._timeout)
        try:
            async with within:
                with held(self._clock, "the session_token callable"):
                    token: Any = self._source() if self._source is not None else None
                    if inspect.isawaitable(token):
                        token = await token
            token = _check_token(token)
        except RefoldError as error:
            return error
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            return _source_failed(error)
        except Exception as error:  # noqa: BLE001 - whatever a source of the caller's may raise
            if within.expired:
                return _slow(f"{self._timeout:g} s")
            return _source_failed(error)
        same = self._token is not None and self._token.reveal() == token
        if not same or self._token is None:
            self._token = Secret(token)
        return self._token


def _check_token(token: object) -> str:
    if not isinstance(token, str):
        kind = type(token).__name__
        raise ConfigError(
            f"the callable must give the token, a string, not {kind}", field="session_token"
        )
    return check_header(token, "session_token")


def _no_token() -> Secret:
    raise ConfigError("no credential", field="session_token")


def _too_late(limit: str) -> Secret:
    raise _slow(limit)


def _slow(limit: str) -> RequestTimeoutError:
    return RequestTimeoutError(
        f"the session_token callable gave no token within {limit}; nothing was sent", sent=False
    )


def _source_failed(error: BaseException) -> ConnectionFailedError:
    failed = ConnectionFailedError(
        f"the session_token callable failed with {type(error).__name__}; nothing was sent"
    )
    failed.__cause__ = error
    return failed
