"""`Shared`: one Redis for what processes with one credential share. Checked before any I/O."""

from __future__ import annotations

import hmac
import importlib.util
from typing import Any
from urllib.parse import urlsplit

import attrs

from refold_async._checks import check_count, check_header
from refold_async._config import Secret
from refold_async._errors import ConfigError

_SCHEMES = {"redis", "rediss", "unix"}


def _hidden_url(value: object) -> Secret:
    """Take a URL, whose password shows nowhere from here on."""
    if isinstance(value, Secret):
        return value
    good = isinstance(value, str) and value.isprintable()
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        _ = None if parts is None else parts.port
    except ValueError:
        good = False
    if not good or parts is None or parts.scheme not in _SCHEMES:
        raise ConfigError(
            "must be the URL of one Redis, as redis://:password@host:6379/0, rediss://... or"
            " unix:///path; Cluster and Sentinel are not supported",
            field="shared",
        )
    return Secret(str.__str__(value))


def _name(value: str | None) -> str | None:
    return None if value is None else check_header(value, "Shared.name")


def _members(value: int | None) -> int | None:
    return None if value is None else check_count(value, "Shared.members")


@attrs.frozen
class Shared:
    """One Redis for what processes and machines with one credential share.

    Attributes:
        url: where it is, as `redis://:password@host:6379/0`. One Redis of its own, no Cluster and
            no Sentinel, with `maxmemory-policy noeviction`. It shows in no repr, pickle or error.
        name: what is shared goes by this name; None for one made of base URL and API key, so that
            processes with the same key find each other. Needed with session tokens.
        members: how many processes share; a process that never reached Redis takes this part of the
            rate. None: it takes all of it.
    """

    url: Any = attrs.field(converter=_hidden_url)
    name: str | None = attrs.field(default=None, converter=_name)
    members: int | None = attrs.field(default=None, converter=_members)


def check_shared(value: object) -> Shared | None:
    """Accept a `Shared` or its URL, where what it needs is installed."""
    if value is None:
        return None
    shared = value if isinstance(value, Shared) else Shared(value)
    if importlib.util.find_spec("redis") is None:
        raise ConfigError("needs redis: pip install 'refold-async[redis]'", field="shared")
    return shared


def name_of(shared: Shared, base_url: str, api_key: str | None) -> str:
    """Give the name under which things are shared; it doesn't give the key away.

    Raises:
        ConfigError: there is no API key to make one of.
    """
    if shared.name is not None:
        return shared.name
    if api_key is None:
        raise ConfigError(
            "session tokens change, so say by which name processes share: shared=Shared(url,"
            " name='...')",
            field="Shared.name",
        )
    return hmac.digest(api_key.encode(), base_url.encode(), "sha256").hex()[:32]
