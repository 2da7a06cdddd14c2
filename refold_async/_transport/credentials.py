"""The credential at work: the header of each attempt, and the renewal of a token after a 401."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from refold_async._checks import check_header
from refold_async._config import Credential, Secret
from refold_async._errors import ConfigError, ConnectionFailedError, RefoldError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable


class Authenticator:
    """Gives the header that proves who we are; knows when a token can be renewed."""

    def __init__(self, credential: Credential) -> None:
        self.origin = credential.origin  # for errors
        self._api_key = credential.api_key
        self._token = credential.session_token
        self._source = credential.token_source
        self._renewing = asyncio.Lock()

    @property
    def bound_to_account(self) -> bool:
        """Whether the credential itself says for which linked account calls are."""
        return self._api_key is None

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

    async def secret(self) -> Secret:
        """Give the secret to use now, fetching the first token if need be."""
        return self.current or await self.renewed(None)

    def headers(self, secret: Secret, account: str | None) -> dict[str, str]:
        """Give the headers that say who calls, and for which account. See: "Authentication"."""
        if self._api_key is None:
            return {"Authorization": f"Bearer {secret.reveal()}"}
        if account is None:
            return {"x-api-key": secret.reveal()}
        return {"x-api-key": secret.reveal(), "linked_account_id": account}

    async def renewed(self, refused: Secret | None) -> Secret:
        """Give a token other than the one that was refused; it is refused itself if there is none.

        However many calls were refused with one token, the source is asked once.

        Raises:
            ConnectionFailedError: the source failed; nothing was sent to the service.
        """
        if self._source is None:
            return self.current or _no_token()
        async with self._renewing:
            if self._token is None or self._token is refused:
                self._token = await _fetch(self._source, self._token)
            return self._token


def _no_token() -> Secret:
    raise ConfigError("no credential", field="session_token")


async def _fetch(source: Callable[[], Awaitable[str]], current: Secret | None) -> Secret:
    try:
        token = await source()
    except RefoldError:
        raise
    except Exception as error:
        raise ConnectionFailedError(
            f"the session_token callable failed with {type(error).__name__}; nothing was sent"
        ) from error
    token = check_header(token, "session_token")
    same = current is not None and current.reveal() == token
    return current if same and current is not None else Secret(token)
