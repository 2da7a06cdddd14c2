"""Where connections come from: a pool of our own or a lent one, TLS, a proxy; and how old they get.

All of them pass one door just before they are written to. There an attempt is marked as sent, and
a connection that has been idle for too long, or on which the server spoke unasked, is left: a POST
on one that the server is just closing is a lost answer.
"""

from __future__ import annotations

import base64
import math
import re
import ssl as tls
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakKeyDictionary

import aiohttp
import attrs

from refold_async._checks import Seconds, check_count, check_flag, positive_seconds
from refold_async._config import Secret
from refold_async._errors import ConfigError
from refold_async._transport.attempt import under_way
from refold_async._value import Value
from refold_async._version import __version__

if TYPE_CHECKING:
    import asyncio

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from refold_async._clock import Clock
    from refold_async._transport.attempt import Attempt

COMMON_HEADERS = {"Accept": "application/json", "User-Agent": f"refold-async/{__version__}"}

_ANNOUNCED = re.compile(r"(?:^|[\s,;])timeout\s*=\s*\"?([0-9]{1,9})(?![0-9])", re.IGNORECASE)

_fresh_until: WeakKeyDictionary[asyncio.Protocol, float] = WeakKeyDictionary()
"""Until when idle connections may be used again, in monotonic seconds of their client's clock."""


class _Door(aiohttp.BaseConnector):
    """Hands out the connections of another connector, which keeps them."""

    def __init__(self, pool: aiohttp.BaseConnector, clock: Clock) -> None:
        super().__init__()
        self._pool, self._clock = pool, clock
        self.allowed_protocol_schema_set = pool.allowed_protocol_schema_set

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        attempt = under_way.get()
        while True:
            connection = await self._pool.connect(req, traces, timeout)
            kept = connection.protocol  # not its transport: uvloop's can't be referred to weakly
            try:
                attempt.check_may_leave()
            except TimeoutError:
                connection.release()
                raise
            if kept is None or self._is_usable(kept):
                attempt.depart(kept)  # nothing is awaited before the write
                return connection
            connection.close()

    def _is_usable(self, kept: ResponseHandler) -> bool:
        """Tell whether it is fresh, and silent: what came unasked would be taken for the answer."""
        fresh = self._clock.monotonic() < _fresh_until.get(kept, math.inf)
        return fresh and not kept.should_close


@attrs.frozen(eq=False, repr=False)
class Proxy(Value):
    """A proxy, its credentials apart.

    Attributes:
        url: where it is.
        basic: what shows it who we are, if it asks: user and password in base64.
        password: the part of it that is secret by itself.
    """

    url: str
    basic: Secret | None = None
    password: Secret | None = None


@attrs.define(eq=False, repr=False)
class Connections:
    """The settings of a client's connections; checked when it is made, opened on its loop."""

    limit: int
    keepalive: float  # seconds
    ssl: tls.SSLContext | None
    proxy: Proxy | None
    lent: aiohttp.BaseConnector | None
    _own: aiohttp.TCPConnector | None = attrs.field(default=None, init=False)

    @property
    def lost(self) -> bool:
        """Whether somebody closed the connector that was lent."""
        return self.lent is not None and self.lent.closed

    def open(self, clock: Clock) -> aiohttp.ClientSession:
        """Make a session; needs the running loop it is to live on."""
        pool = self.lent
        if pool is None:
            pool = self._own = aiohttp.TCPConnector(
                limit=self.limit, keepalive_timeout=self.keepalive
            )
        return aiohttp.ClientSession(
            connector=_Door(pool, clock),
            connector_owner=False,
            # One jar would hand account A's cookies to account B.
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=COMMON_HEADERS,
            timeout=aiohttp.ClientTimeout(total=None),
        )

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What must show nowhere: how we prove ourselves to the proxy."""
        kept = (self.proxy.basic, self.proxy.password) if self.proxy else ()
        return tuple(secret for secret in kept if secret is not None)

    async def aclose(self) -> None:
        """Close our pool; a lent connector stays open."""
        if self._own is not None:
            await self._own.close()

    def options(self, *, secure: bool) -> tuple[dict[str, Any], dict[str, str]]:
        """Give the arguments of each request, and the headers that go with them.

        Args:
            secure: whether the service is reached by https.
        """
        options: dict[str, Any] = {"allow_redirects": False}
        headers: dict[str, str] = {}
        if self.ssl is not None:
            options["ssl"] = self.ssl
        if self.proxy is not None:
            options["proxy"] = self.proxy.url
            if self.proxy.basic is not None:
                headers = {"Proxy-Authorization": f"Basic {self.proxy.basic.reveal()}"}
                if secure:  # they are for the proxy alone, which opens a tunnel
                    options["proxy_headers"], headers = headers, {}
        return options, headers

    def keep(self, attempt: Attempt, now: float, announced: str | None) -> None:
        """Note how long a connection may idle: as long as we like, and a second less than it may.

        Args:
            attempt: whose connection has just been given back.
            now: monotonic seconds.
            announced: the `Keep-Alive` of the reply. See: RFC 2068, section 19.7.1.1.
        """
        seconds = self.keepalive
        if announced is not None and (found := _ANNOUNCED.search(announced)):
            seconds = min(seconds, max(int(found[1]) - 1, 0))
        if attempt.connection is not None:
            _fresh_until[attempt.connection] = now + seconds


def check_connections(
    base_url: str,
    *,
    max_connections: object,
    keepalive: Seconds,
    ssl: object,
    proxy: object,
    trust_env: object,
    session: object,
) -> Connections:
    """Check a client's arguments that say how it connects."""
    by_environment = check_flag(trust_env, "trust_env")
    seconds = positive_seconds(keepalive, "keepalive")
    if seconds is None:
        raise ConfigError("must be a number of seconds, not None", field="keepalive")
    limit = check_count(max_connections, "max_connections")
    via = None if proxy is None else check_proxy(proxy)
    if via is None and by_environment:
        via = _proxy_of_environment(base_url)
    lent = None if session is None else _connector_of(session)
    if lent is not None and lent.limit:
        limit = min(limit, lent.limit)  # else attempts would wait for its places, unseen
    return Connections(limit, seconds, _check_ssl(ssl), via, lent)


def _connector_of(session: object) -> aiohttp.BaseConnector:
    if not isinstance(session, aiohttp.ClientSession):
        kind = type(session).__name__
        raise ConfigError(f"must be an aiohttp.ClientSession, not {kind}", field="session")
    if session.connector is None or session.closed:
        raise ConfigError("is closed, so it has no connector to lend", field="session")
    own_tls = getattr(session.connector, "_ssl", True)
    if own_tls is False or (isinstance(own_tls, tls.SSLContext) and not _verifies(own_tls)):
        raise ConfigError(
            "its connector does not verify certificates, and would show the key to whoever answers",
            field="session",
        )
    return session.connector


def _check_ssl(context: object) -> tls.SSLContext | None:
    if context is None:
        return None
    if not isinstance(context, tls.SSLContext):
        raise ConfigError(
            f"must be an ssl.SSLContext, not {context!r:.40}: verification can't be switched off;"
            " for a private CA give ssl.create_default_context(cafile=...)",
            field="ssl",
        )
    if not _verifies(context):
        raise ConfigError(
            "must verify: verify_mode=ssl.CERT_REQUIRED and check_hostname=True, as"
            " ssl.create_default_context() sets them",
            field="ssl",
        )
    return context


def _verifies(context: tls.SSLContext) -> bool:
    return context.verify_mode is tls.CERT_REQUIRED and context.check_hostname


def check_proxy(value: object, field: str = "proxy") -> Proxy:
    """Take a proxy's URL apart; what is wrong with it is said without showing it."""
    if not isinstance(value, str):
        raise ConfigError(f"must be a string, not {type(value).__name__}", field=field)
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    else:
        if parts.scheme not in {"http", "https"} or parts.path not in {"", "/"} or port == 0:
            host = None
    if not host or parts.query or parts.fragment or not value.isascii() or not value.isprintable():
        raise ConfigError(
            "must be a URL as http://host:port or http://user:password@host:port, for a proxy that"
            " speaks HTTP",
            field=field,
        )
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if parts.username is None:
        return Proxy(address)
    user, password = unquote(parts.username), unquote(parts.password or "")
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Proxy(address, Secret(basic), Secret(password) if password else None)


def _proxy_of_environment(base_url: str) -> Proxy | None:
    parts = urlsplit(base_url)
    url = getproxies().get(parts.scheme)
    if not url or proxy_bypass(parts.netloc):
        return None
    return check_proxy(url if "://" in url else f"http://{url}", "trust_env")
