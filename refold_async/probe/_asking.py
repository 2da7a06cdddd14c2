"""Requests as they are, without the SDK's client: counted, paced, and nothing smoothed over."""

import asyncio
import contextlib
import json
import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp
import attrs

from refold_async._checks import check_header
from refold_async._clock import Clock, clock_at, done_within, outside, sleep, waiting
from refold_async._config import DEFAULT_BASE_URL, Secret, check_base_url
from refold_async._errors import clip
from refold_async._version import __version__

V1 = "/api/v1"
V2 = "/api/v2/public"

_PAUSE = 0.2
"""Seconds between two requests: a quarter of the documented rate."""
_PATIENCE = 30.0
_LONGEST_PAUSE = 60.0
_TRIES = 3
_LONGEST_NUMBER = 9
_SHED = (429, 503)
_MOST_BYTES = 4 * 1024 * 1024


def _key(value: str) -> str:
    return check_header(value, "api_key")


def _account(value: str) -> str:
    return check_header(value, "linked_account_id")


def _check_url(target: "Target", _: object, value: str) -> None:
    check_base_url(value, allow_insecure_http=target.allow_insecure_http)


@attrs.frozen(kw_only=True)
class Target:
    """The service that is asked, and for whom.

    Attributes:
        api_key: the key; a test key, unless you know better. It shows in no `repr`.
        account: the linked account.
        base_url: where it is.
        allow_insecure_http: allow http beyond loopback, in a private network.
        clock: what the time goes by.
    """

    api_key: str = attrs.field(converter=_key, repr=False)
    account: str = attrs.field(converter=_account)
    base_url: str = attrs.field(default=DEFAULT_BASE_URL, validator=_check_url)
    allow_insecure_http: bool = False
    clock: Clock = attrs.field(
        default=attrs.Factory(lambda self: clock_at(self.base_url), takes_self=True)
    )

    @property
    def url(self) -> str:
        """The base URL without a slash at its end."""
        return check_base_url(self.base_url, allow_insecure_http=self.allow_insecure_http)


class Answer(NamedTuple):
    """What came back; `body` is None for what is no JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any

    def field(self, name: str) -> Any:
        """Give a field of a JSON object; None if there is none."""
        return self.body.get(name) if isinstance(self.body, dict) else None

    @property
    def docs(self) -> list[dict[str, Any]]:
        """The entries of a page."""
        docs = self.field("docs")
        return [each for each in docs if isinstance(each, dict)] if isinstance(docs, list) else []

    def __str__(self) -> str:
        """Say it in a few words: status, and what it says for itself."""
        said = self.field("message") or self.field("error")
        return f"{self.status} {said!r:.100}" if said else str(self.status)


class NoAnswerError(Exception):
    """Nothing came back: says why."""


class SpentError(Exception):
    """No more requests may be made: says why."""


class Asker:
    """Asks one request after the other.

    Args:
        target: the service.
        most: how many requests may be made.

    Attributes:
        made: how many were made.
        refused: the last answer by which load was shed, if there was one.
        told_of_rate: headers that tell of rates, as they came last.
        skew: bounds of the seconds by which the service's clock is ahead.
    """

    def __init__(self, target: "Target", most: int) -> None:
        self.target = target
        self.clock = target.clock
        self.most = most
        self._url = target.url
        self._secret = Secret(target.api_key)
        self.made = 0
        self.refused: Answer | None = None
        self.told_of_rate: dict[str, str] = {}
        self.skew = (-math.inf, math.inf)
        self._next_at = 0.0
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            # On a connection that is kept, aiohttp sends some requests again by itself.
            connector=aiohttp.TCPConnector(force_close=True),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def left(self) -> int:
        """How many requests may still be made."""
        return self.most - self.made

    async def read(self, path: str, query: Mapping[str, str] | None = None, **more: Any) -> Answer:
        """Read, for the account unless headers say otherwise; again where load is shed."""
        return await self._again("GET", path, query=query, **more)

    async def post(self, path: str, sent: Any = None, **more: Any) -> Answer:
        """Post; again where a refusal by load proves that nothing was done."""
        return await self._again("POST", path, sent=sent, **more)

    async def _again(self, method: str, path: str, **more: Any) -> Answer:
        for _ in range(_TRIES):
            answer = await self._ask(method, path, **more)
            # A 503 may come from something in between that let a start through.
            if answer.status not in _SHED or (method == "POST" and answer.status != _SHED[0]):
                break
        return answer

    async def take_turn(self) -> None:
        """Wait until another request may be made, and count it."""
        if self.made >= self.most:
            raise SpentError(f"{self.made} requests were made, and no more may be")
        left = self._next_at - self.clock.monotonic()
        if left > _LONGEST_PAUSE:
            raise SpentError(f"it wants no request for {left:.0f} s, which nobody waits for")
        self.made += 1
        await self.pause(left)
        self._next_at = self.clock.monotonic() + _PAUSE

    async def pause(self, seconds: float) -> None:
        """Let time pass."""
        if seconds > 0:
            await sleep(self.clock, seconds)

    def headers(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Give the headers of a request; an empty one is left out."""
        usual = {
            "User-Agent": f"refold-async/{__version__} probe",
            "x-api-key": self.target.api_key,
            "linked_account_id": self.target.account,
        }
        return {name: value for name, value in {**usual, **(more or {})}.items() if value}

    def failed(self, error: Exception) -> NoAnswerError:
        """Say why nothing came back; what came may throw back what was sent."""
        return NoAnswerError(self._hidden(str(error) or type(error).__name__))

    def _hidden(self, text: str) -> str:
        return clip(self._secret.hidden_in(text.encode(errors="replace")).decode(errors="replace"))

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        sent: Any = None,
        patience: float = _PATIENCE,
    ) -> Answer:
        await self.take_turn()
        begun = self.clock.time()
        exchange = asyncio.ensure_future(self._exchange(method, path, query, headers, sent))
        try:
            with outside(self.clock), waiting(self.clock, f"{method} {path}"):
                done = await done_within(self.clock, exchange, patience)
        finally:
            if not exchange.done():
                exchange.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await exchange
        if not done:
            raise NoAnswerError(f"no answer within {patience:g} s")
        try:
            answer = exchange.result()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self.failed(error) from None
        self._note(answer, begun)
        return answer

    async def _exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        sent: Any,
    ) -> Answer:
        assert self._session is not None  # noqa: S101 - within the block
        async with self._session.request(
            method,
            self._url + path,
            params=query,
            headers=self.headers(headers),
            json=sent,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=_PATIENCE),
        ) as reply:
            raw = await reply.content.read(_MOST_BYTES)
            while not reply.content.at_eof() and len(raw) < _MOST_BYTES:
                raw += await reply.content.read(_MOST_BYTES - len(raw))
            told = {name: self._hidden(value) for name, value in reply.headers.items()}
            return Answer(reply.status, told, _json(self._secret.hidden_in(raw)))

    def _note(self, answer: Answer, begun: float) -> None:
        told = {name.lower(): value for name, value in answer.headers.items()}
        self.told_of_rate |= {
            name: value
            for name, value in told.items()
            if "ratelimit" in name.replace("-", "") or name == "retry-after"
        }
        at = moment(told.get("date"))
        if at is not None:  # the second it was answered in
            low, high = self.skew
            self.skew = max(low, at - self.clock.time()), min(high, at + 1 - begun)
        if answer.status in _SHED:
            self.refused = answer
            after = _seconds(told.get("retry-after"), self.clock.time())
            self._next_at = self.clock.monotonic() + max(1.0, after)


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _seconds(text: str | None, now: float) -> float:
    """Give what Retry-After says."""
    if text is not None and is_number(text):
        return float(text)
    at = moment(text)
    return 0.0 if at is None else max(at - now, 0.0)


def is_number(text: str) -> bool:
    """Tell whether a header is a whole number of seconds."""
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER


def moment(text: str | None) -> float | None:
    """Give the time that a header tells, in epoch seconds; None if it tells none."""
    try:
        return None if text is None else parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
