"""Session tokens: opaque strings, each bound to one linked account for a while."""

import base64
import json
import secrets
from collections.abc import Callable
from typing import Any

import attrs

from ._behaviour import Behaviour


@attrs.frozen(kw_only=True)
class SessionToken:
    """A session token as issued.

    Attributes:
        token: What the client sends as `Authorization: Bearer`.
        refresh_token: The longer lived one.
        account: The linked account both are bound to.
        expires_at: When the token ends, epoch seconds.
        refresh_expires_at: When the refresh token does.
    """

    token: str
    refresh_token: str
    account: str
    expires_at: float
    refresh_expires_at: float


class Tokens:
    """The tokens of one Refold.

    Args:
        behaviour: How long a token lives.
        now: The server's clock in epoch seconds.
    """

    def __init__(self, behaviour: Behaviour, now: Callable[[], float]) -> None:
        self._behaviour = behaviour
        self._now = now
        self._by_token: dict[str, SessionToken] = {}
        self._current: dict[str, SessionToken] = {}

    def create(self, account: str, *, force: bool = False) -> SessionToken:
        """The account's valid token, or a new one if there is none or `force` is set."""
        current = self._current.get(account)
        if not force and current is not None and self.account(current.token) is not None:
            return current
        return self._issue(account)

    def account(self, token: str) -> str | None:
        """The linked account of a valid token; None for one unknown, revoked or expired."""
        issued = self._by_token.get(token)
        return issued.account if issued is not None and self._now() < issued.expires_at else None

    def revoke(self, token: str) -> None:
        """Make a token invalid; an unknown one already is."""
        self._by_token.pop(token, None)

    def revoke_all(self, account: str) -> int:
        """Make an account's tokens invalid; give how many were valid."""
        theirs = [token for token, issued in self._by_token.items() if issued.account == account]
        valid = sum(self.account(token) is not None for token in theirs)
        for token in theirs:
            self.revoke(token)
        return valid

    def _issue(self, account: str) -> SessionToken:
        now = self._now()
        expires_at = now + self._behaviour.token_lifetime
        refresh_expires_at = now + self._behaviour.refresh_lifetime
        issued = SessionToken(
            token=_opaque(account, expires_at),
            refresh_token=_opaque(account, refresh_expires_at),
            account=account,
            expires_at=expires_at,
            refresh_expires_at=refresh_expires_at,
        )
        self._by_token[issued.token] = self._current[account] = issued
        return issued


def _opaque(account: str, expires_at: float) -> str:
    header = {"alg": "HS256", "typ": "JWT"}
    claims = {"linked_account_id": account, "exp": int(expires_at)}
    return f"{_part(header)}.{_part(claims)}.{secrets.token_urlsafe(32)}"


def _part(document: dict[str, Any]) -> str:
    text = json.dumps(document, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
