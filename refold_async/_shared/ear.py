"""One ear for all processes: what a webhook tells one of them, the others hear as a hint.

It goes through a Redis stream, so that who is away for a moment reads on where it was. What it
carries is which run has ended, never how: who waits reads the run itself, and whoever can write to
the Redis can do no more than have a run read that is waited for anyway.

The last entry that was read has to be in the stream still. If it isn't (the stream was emptied, or
cut beyond it, or is an older copy), something may have been missed.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict, deque
from contextvars import Context
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from refold_async._clock import pause
from refold_async._errors import SharedStateError
from refold_async._logs import Log
from refold_async._shared.link import Link

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from refold_async._clock import Clock
    from refold_async._config import Shared

logger = Log("shared")

_LENGTH = 10_000
"""Entries that the stream keeps, roughly."""
_KEPT_FOR = 86_400.0
"""Seconds after the last entry in which the stream is forgotten."""
_BLOCK = 0.5
"""Seconds for which a read waits for something new; then it is checked that nothing was missed."""
_TIMEOUT = 0.75
"""Seconds after which a read that waits has failed. Two that fail are deafness: 1.5 s."""
_PAUSE = 0.25
"""Seconds between two tries while Redis is away."""
_UNTOLD = 1_000
"""Hints that wait for Redis, at most; the oldest are dropped."""
_AT_ONCE = 100
_AGAIN = 5.0
"""Seconds in which a repeated event is passed on once."""
_LONGEST = 1_024
"""Characters of an id that is heard, at most: others may write to the Redis."""

_TELL = f"""
for i = 2, #ARGV, 2 do
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', {_LENGTH}, '*', 'by', ARGV[1], 'run', ARGV[i],
        'account', ARGV[i + 1])
end
return redis.call('PEXPIRE', KEYS[1], {_KEPT_FOR * 1000:.0f})
"""

_BEGIN = f"""
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if #last > 0 then return last[1][1] end
local id = redis.call('XADD', KEYS[1], '*', 'by', ARGV[1])
redis.call('PEXPIRE', KEYS[1], {_KEPT_FOR * 1000:.0f})
return id
"""
"""Give the last entry, which there is one of from then on."""

_IS_THERE = """
return #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
"""


class Listener(Protocol):
    """Who waits for runs, and is told."""

    def notify(self, execution_id: str, account: str | None) -> bool:
        """Take a hint that a run has ended."""

    def deafen(self) -> None:
        """Take note that others may be told what is not heard here."""

    def hear_again(self, *, missed: bool) -> None:
        """Take note that all is heard from now on, and whether something was missed before."""


class Ear:
    """What webhooks tell, told to the others and heard of them.

    Args:
        shared: the Redis.
        name: by which processes find each other.
        clock: what tells the time.
        listener: is told what others were told.
    """

    def __init__(self, shared: Shared, name: str, clock: Clock, listener: Listener) -> None:
        self._mouth = Link(shared.url, clock, "other processes don't hear what webhooks tell here")
        self._link = Link(
            shared.url,
            clock,
            "looks are made as without the webhooks that other processes take",
            timeout=_TIMEOUT,
        )
        self._keys = [f"refold:{name}:ear"]
        self._clock = clock
        self._listener = listener
        self._me = os.urandom(8).hex()
        self._untold: deque[tuple[str, str]] = deque(maxlen=_UNTOLD)
        self._lately: OrderedDict[tuple[str, str], float] = OrderedDict()  # told, and when
        self._speaking: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._position = ""  # the last entry that was read; none before the first
        self._sure = ""  # the last one up to which nothing was missed
        self._checked_at = 0.0
        self._deaf = False

    @property
    def hears(self) -> bool:
        """Whether all that others are told is heard, as far as anybody knows."""
        return self._listening is not None and not self._deaf

    # -- telling -----------------------------------------------------------------------------

    def tell(self, execution_id: str, account: str | None) -> None:
        """Let the others know that a run has ended, soon; needs the running loop."""
        hint, now = (execution_id, account or ""), self._clock.monotonic()
        if now - self._lately.get(hint, now - _AGAIN) < _AGAIN:
            return
        self._lately.pop(hint, None)
        self._lately[hint] = now
        if len(self._lately) > _LENGTH:
            self._lately.popitem(last=False)
        self._untold.append(hint)
        if self._speaking is None or self._speaking.done():
            self._speaking = _begun(self._speak())

    async def _speak(self) -> None:
        while self._untold:
            batch = [*islice(self._untold, _AT_ONCE)]
            flat = [part for hint in batch for part in hint]
            try:
                await self._mouth.run(_TELL, self._keys, self._me, *flat)
            except SharedStateError:
                await self._pause()
            else:
                for hint in batch:  # but for those that gave way to newer ones meanwhile
                    if self._untold and self._untold[0] == hint:
                        self._untold.popleft()

    # -- listening ---------------------------------------------------------------------------

    def listen(self) -> None:
        """Hear what others are told, from now on; needs the running loop."""
        if self._listening is None:
            self._deafen()  # until it is known from where on
            self._listening = _begun(self._listen_on())

    async def _listen_on(self) -> None:
        failed = 0  # reads in a row
        while True:
            try:
                await (self._read() if self._position else self._begin())
            except SharedStateError:
                failed += 1
            except Exception:  # a mistake of ours must not end all hearing in silence
                logger.exception("what webhooks told another process could not be used")
                failed += 2
            else:
                failed = 0
            if failed > 1:
                self._deafen()
                await self._pause()

    async def _begin(self) -> None:
        self._sure = self._position = await self._link.run(_BEGIN, self._keys, self._me)
        self._checked_at = self._clock.monotonic()
        self._deaf = False
        self._listener.hear_again(missed=True)

    async def _read(self) -> None:
        for entry, told in await self._link.read(self._keys[0], self._position, _BLOCK):
            self._position = entry
            run, account = told.get("run", ""), told.get("account", "")
            if told.get("by") != self._me and 0 < len(run) <= _LONGEST >= len(account):
                self._listener.notify(run, account or None)
        if self._deaf or self._clock.monotonic() - self._checked_at >= _BLOCK:
            await self._check()

    async def _check(self) -> None:
        if not await self._link.run(_IS_THERE, self._keys, self._sure):
            logger.info("what webhooks told other processes may have been missed: looks find it")
            self._position = ""
            return
        self._sure, self._checked_at = self._position, self._clock.monotonic()
        if self._deaf:
            self._deaf = False
            self._listener.hear_again(missed=False)

    def _deafen(self) -> None:
        if not self._deaf:
            self._deaf = True
            self._listener.deafen()

    async def _pause(self) -> None:
        await pause(self._clock, _PAUSE)

    async def aclose(self) -> None:
        """Hear nothing more, and tell what there is to tell, if Redis is there."""
        if self._speaking is not None and not self._speaking.done():
            await asyncio.wait([self._speaking], timeout=_PAUSE)
        for task in (self._speaking, self._listening):
            while task is not None and not task.done():
                task.cancel()
                await self._link.cut()
                await asyncio.wait([task], timeout=_PAUSE)
        await self._link.aclose()
        await self._mouth.aclose()


def _begun(work: Coroutine[None, None, None]) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(work, context=Context())
