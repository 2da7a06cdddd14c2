"""One connection to Redis, for one purpose: a call takes a moment at most, or has failed."""

from __future__ import annotations

import asyncio
import functools
import random
from contextvars import Context
from typing import TYPE_CHECKING, Any

from refold_async._errors import SharedStateError, clip
from refold_async._logs import Log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio import Redis
    from redis.commands.core import AsyncScript

    from refold_async._clock import Clock
    from refold_async._config import Secret

logger = Log("shared")

_TIMEOUT = 0.25
"""Seconds for a connection, and for an answer unless said otherwise."""
_AT_ONCE = 1_000
"""Entries of a stream that are read at once."""
_FAILURES = 3
"""In a row, after which Redis is left alone for a while."""
_SHORTEST, _LONGEST = 1.0, 10.0
"""Seconds for which it is."""


class Link:
    """Runs scripts, and reads a stream, one call after the other.

    A script that timed out may have run all the same, so each is harmless to repeat.

    Args:
        url: of the Redis.
        clock: what tells the time.
        purpose: what can't be done while Redis is away, for the log.
        timeout: seconds for an answer.
    """

    def __init__(
        self, url: Secret, clock: Clock, purpose: str, *, timeout: float = _TIMEOUT
    ) -> None:
        self._url = url
        self._clock = clock
        self._purpose = purpose
        self._timeout = timeout
        self._client: Redis | None = None
        self._scripts: dict[str, AsyncScript] = {}
        self._turn = asyncio.Lock()
        self._calls: set[asyncio.Task[Any]] = set()  # they end by themselves, and soon
        self._failures = 0
        self._closed_until = 0.0  # monotonic seconds; nothing is asked before

    @property
    def away(self) -> bool:
        """Whether the last call failed."""
        return self._failures > 0

    async def run(self, script: str, keys: Sequence[str], *args: str | int) -> Any:
        """Run a script and give what it returns.

        Who is cancelled leaves at once, and the script runs all the same: in a task of its own,
        since redis-py loses most cancellations (8.1.0), and a connection should not be cut for it.

        Raises:
            SharedStateError: there was no answer. The script may have run.
        """
        return await self._ask(functools.partial(self._run, script, keys, args))

    async def read(self, stream: str, after: str, block: float) -> list[tuple[str, dict[str, str]]]:
        """Read the entries of a stream after one, and wait up to `block` seconds for the first.

        Raises:
            SharedStateError: there was no answer.
        """
        milliseconds = int(block * 1000)
        told = await self._ask(
            lambda: self._connected().xread({stream: after}, count=_AT_ONCE, block=milliseconds)
        )
        return [entry for _, entries in told or () for entry in entries]

    async def _ask(self, call: Callable[[], Awaitable[Any]]) -> Any:
        loop = asyncio.get_running_loop()
        asking = loop.create_task(self._call(call), context=Context())
        self._calls.add(asking)
        asking.add_done_callback(self._over)
        await asyncio.wait([asking])
        return asking.result()

    def _over(self, call: asyncio.Task[Any]) -> None:
        self._calls.discard(call)
        _ = call.cancelled() or call.exception()  # somebody has looked, if the caller has left

    async def _call(self, call: Callable[[], Awaitable[Any]]) -> Any:
        async with self._turn:
            if self._clock.monotonic() < self._closed_until:
                raise SharedStateError("Redis did not answer a moment ago, and is left alone")
            try:
                answer = await call()
            except Exception as error:  # noqa: BLE001 - whatever it is, Redis has not answered
                failure = self._failed(error)
            else:
                self._answered()
                return answer
        raise failure

    async def _run(self, script: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        prepared = self._scripts.get(script)
        if prepared is None:
            prepared = self._scripts[script] = self._connected().register_script(script)
        return await prepared(keys=keys, args=args)

    def _connected(self) -> Redis:
        # With the first call: importing it takes longer than importing all of this package.
        from redis.asyncio import Redis  # noqa: PLC0415
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415

        if self._client is None:
            self._client = Redis.from_url(
                self._url.reveal(),
                decode_responses=True,
                encoding_errors="replace",  # others may have written what we read
                protocol=2,  # what a stream answers depends on it
                single_connection_client=True,
                socket_timeout=self._timeout,
                socket_connect_timeout=_TIMEOUT,
                retry=Retry(NoBackoff(), 0),
            )
        return self._client

    def _failed(self, error: Exception) -> SharedStateError:
        self._failures += 1
        said = self._url.hidden_in(str(error).encode(errors="replace")).decode(errors="replace")
        if self._failures == 1:
            logger.warning(
                "Redis does not answer (%s: %s): %s until it does",
                type(error).__name__,
                clip(said, 200),
                self._purpose,
            )
        if self._failures >= _FAILURES:
            pause = min(_SHORTEST * 2 ** min(self._failures - _FAILURES, 10), _LONGEST)
            self._closed_until = self._clock.monotonic() + pause * random.uniform(0.5, 1)
        return SharedStateError(
            f"Redis does not answer ({type(error).__name__}: {clip(said, 200)})"
        )

    def _answered(self) -> None:
        if self._failures:
            logger.info("Redis answers again")
        self._failures = 0

    async def cut(self) -> None:
        """End what is under way, whatever comes of it."""
        while calls := {call for call in self._calls if not call.done()}:
            for call in calls:
                call.cancel()
            await asyncio.wait(calls, timeout=_TIMEOUT)  # redis-py loses some

    async def aclose(self) -> None:
        """Close the connection, once it is at rest."""
        if self._calls:
            await asyncio.wait(self._calls)
        if self._client is not None:
            await self._client.aclose()
